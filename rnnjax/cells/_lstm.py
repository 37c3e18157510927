"""Long short-term memory."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, serializable
from rnnjax.cells._common import CellOptions, check_step, clipped, make_cell, masked_h, preactivations


@serializable
class LSTMParams(NamedTuple):
    """Parameters of `lstm_cell`; gates in the order i, f, g, o.

    Attributes:
      w_x: input weights `[F, 4H]`.
      w_h: recurrent weights `[H, 4H]`.
      b: bias `[4H]`; the forget bias is stored in it.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@serializable
class LSTMCarry(NamedTuple):
    """Carry of the LSTM cells.

    Attributes:
      h: hidden state, which is also the output, `[..., H]`.
      c: cell state `[..., H]`.
    """

    h: Array
    c: Array


@jax.named_scope("lstm_cell")
def lstm_cell(
    params: LSTMParams, carry: LSTMCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid,
    output_activation: Activation = jnp.tanh, clip: float | None = None,
    recurrent_mask: Array | None = None, dtype=None,
) -> tuple[LSTMCarry, Array]:  # fmt: skip
    """Steps the long short-term memory with a forget gate.

        i = sigmoid(x W_xi + h W_hi + b_i)      f = sigmoid(x W_xf + h W_hf + b_f)
        g = tanh(x W_xg + h W_hg + b_g)         o = sigmoid(x W_xo + h W_ho + b_o)
        c = f * c + i * g
        h = o * tanh(c)

    Gates in the order i, f, g, o, in one matrix. One bias; the forget bias is stored in it, nothing is added here.
    Reference: Hochreiter & Schmidhuber 1997, "Long short-term memory"; the forget gate is that of Gers,
    Schmidhuber & Cummins 2000, "Learning to forget".

    Args:
      params: `LSTMParams(w_x [F, 4H], w_h [H, 4H], b [4H])`.
      carry, x: `LSTMCarry(h [..., H], c [..., H])` and `[..., F]`.
      activation, gate_activation, output_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(LSTMCarry(h [..., H], c [..., H]), y [..., H])`, y = h.

    Examples:
      With all parameters zero, every gate is 1/2 and g = 0, so that c is halved:

      >>> import jax.numpy as jnp
      >>> params = LSTMParams(jnp.zeros((2, 4)), jnp.zeros((1, 4)), jnp.zeros(4))
      >>> carry, y = lstm_cell(params, LSTMCarry(jnp.zeros(1), jnp.full(1, 8.0)), jnp.ones(2))
      >>> carry.c.tolist()
      [4.0]
    """
    check_step("lstm_cell", params, carry, x, gates=4)
    z = clipped(preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype), clip)
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    c = gate_activation(z_f) * carry.c + gate_activation(z_i) * activation(z_g)
    h = gate_activation(z_o) * output_activation(c)
    return LSTMCarry(h, c), h


def lstm(
    input_size: int, hidden_size: int, *,
    forget_bias: float = 1.0, output_activation: Activation = jnp.tanh, **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `lstm_cell`, the long short-term memory.

    Args:
      input_size: F.
      hidden_size: H.
      forget_bias: the initial b_f (Jozefowicz et al. 2015 advise 1); the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag)` for long memory.

    Returns:
      A `Cell` with `LSTMParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((7, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((7, 2, 5), (2, 5))
    """
    return make_cell(
        lstm_cell, LSTMParams, LSTMCarry, "ifgo", input_size, hidden_size, options,
        biases={"f": forget_bias}, output_activation=output_activation,
    )  # fmt: skip
