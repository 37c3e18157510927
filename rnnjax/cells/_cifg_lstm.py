"""The LSTM with coupled input and forget gates (CIFG)."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, serializable
from rnnjax.cells._common import CellOptions, check_step, clipped, make_cell, masked_h, preactivations
from rnnjax.cells._lstm import LSTMCarry


@serializable
class CIFGParams(NamedTuple):
    """Parameters of `cifg_lstm_cell`; gates in the order f, g, o.

    Attributes:
      w_x: input weights `[F, 3H]`.
      w_h: recurrent weights `[H, 3H]`.
      b: bias `[3H]`; the forget bias is stored in it.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@jax.named_scope("cifg_lstm_cell")
def cifg_lstm_cell(
    params: CIFGParams, carry: LSTMCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid,
    output_activation: Activation = jnp.tanh, clip: float | None = None,
    recurrent_mask: Array | None = None, dtype=None,
) -> tuple[LSTMCarry, Array]:  # fmt: skip
    """Steps the LSTM with coupled input and forget gates, i = 1 - f.

        f = sigmoid(x W_xf + h W_hf + b_f)
        g = tanh(x W_xg + h W_hg + b_g)
        o = sigmoid(x W_xo + h W_ho + b_o)
        c = f * c + (1 - f) * g
        h = o * tanh(c)

    Gates in the order f, g, o. One bias, with the forget bias in it.
    Reference: Greff et al. 2017, "LSTM: a search space odyssey" (the variant CIFG).

    Args:
      params: `CIFGParams(w_x [F, 3H], w_h [H, 3H], b [3H])`.
      carry, x: `LSTMCarry(h [..., H], c [..., H])` and `[..., F]`.
      activation, gate_activation, output_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(LSTMCarry(h [..., H], c [..., H]), y [..., H])`, y = h.

    Examples:
      With all parameters zero, f = 1/2 and g = 0, so that c is halved:

      >>> import jax.numpy as jnp
      >>> params = CIFGParams(jnp.zeros((2, 3)), jnp.zeros((1, 3)), jnp.zeros(3))
      >>> carry, y = cifg_lstm_cell(params, LSTMCarry(jnp.zeros(1), jnp.full(1, 8.0)), jnp.ones(2))
      >>> carry.c.tolist()
      [4.0]
    """
    check_step("cifg_lstm_cell", params, carry, x, gates=3)
    z = clipped(preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype), clip)
    z_f, z_g, z_o = jnp.split(z, 3, axis=-1)
    f = gate_activation(z_f)
    c = f * carry.c + (1 - f) * activation(z_g)
    h = gate_activation(z_o) * output_activation(c)
    return LSTMCarry(h, c), h


def cifg_lstm(
    input_size: int, hidden_size: int, *,
    forget_bias: float = 1.0, output_activation: Activation = jnp.tanh, **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `cifg_lstm_cell`, the LSTM with coupled gates.

    Args:
      input_size: F.
      hidden_size: H.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag, "fgo")` for long memory.

    Returns:
      A `Cell` with `CIFGParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.cifg_lstm(3, 2).init(jax.random.key(0)).b.tolist()
      [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    return make_cell(
        cifg_lstm_cell, CIFGParams, LSTMCarry, "fgo", input_size, hidden_size, options,
        biases={"f": forget_bias}, output_activation=output_activation,
    )  # fmt: skip
