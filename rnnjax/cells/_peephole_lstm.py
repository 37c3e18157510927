"""The LSTM with peepholes."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, Initializer, serializable
from rnnjax.cells._common import CellOptions, check_step, clipped, make_cell, masked_h, preactivations
from rnnjax.cells._initializers import zeros
from rnnjax.cells._lstm import LSTMCarry


@serializable
class PeepholeLSTMParams(NamedTuple):
    """Parameters of `peephole_lstm_cell`; gates in the order i, f, g, o, peepholes in the order i, f, o.

    Attributes:
      w_x: input weights `[F, 4H]`.
      w_h: recurrent weights `[H, 4H]`.
      b: bias `[4H]`; the forget bias is stored in it.
      w_c: peepholes `[3, H]`.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    w_c: Array


@jax.named_scope("peephole_lstm_cell")
def peephole_lstm_cell(
    params: PeepholeLSTMParams, carry: LSTMCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid,
    output_activation: Activation = jnp.tanh, clip: float | None = None,
    recurrent_mask: Array | None = None, dtype=None,
) -> tuple[LSTMCarry, Array]:  # fmt: skip
    """Steps the LSTM whose gates look at the cell: i and f at the old c, o at the new one.

        i = sigmoid(x W_xi + h W_hi + p_i * c_{t-1} + b_i)
        f = sigmoid(x W_xf + h W_hf + p_f * c_{t-1} + b_f)
        g = tanh(x W_xg + h W_hg + b_g)
        c_t = f * c_{t-1} + i * g
        o = sigmoid(x W_xo + h W_ho + p_o * c_t + b_o)
        h = o * tanh(c_t)

    Gates in the order i, f, g, o; peepholes in the order i, f, o. One bias, with the forget bias in it.
    Reference: Gers & Schmidhuber 2000, "Recurrent nets that time and count".

    Args:
      params: `PeepholeLSTMParams(w_x [F, 4H], w_h [H, 4H], b [4H], w_c [3, H])`.
      carry, x: `LSTMCarry(h [..., H], c [..., H])` and `[..., F]`.
      activation, gate_activation, output_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(LSTMCarry(h [..., H], c [..., H]), y [..., H])`, y = h.

    Examples:
      A peephole from c to the forget gate closes that gate where c is negative:

      >>> import jax.numpy as jnp
      >>> w_c = jnp.array([[0.0], [1000.0], [0.0]])
      >>> params = PeepholeLSTMParams(jnp.zeros((2, 4)), jnp.zeros((1, 4)), jnp.zeros(4), w_c)
      >>> carry, y = peephole_lstm_cell(params, LSTMCarry(jnp.zeros(1), jnp.full(1, 8.0)), jnp.ones(2))
      >>> opposite, y = peephole_lstm_cell(params, LSTMCarry(jnp.zeros(1), jnp.full(1, -8.0)), jnp.ones(2))
      >>> abs(carry.c).tolist(), abs(opposite.c).tolist()
      ([8.0], [0.0])
    """
    check_step("peephole_lstm_cell", params, carry, x, gates=4)
    z = preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype)
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    p_i, p_f, p_o = (jnp.broadcast_to(p.astype(z.dtype), carry.c.shape) for p in params.w_c)
    i = gate_activation(clipped(z_i + p_i * carry.c, clip))
    f = gate_activation(clipped(z_f + p_f * carry.c, clip))
    c = f * carry.c + i * activation(clipped(z_g, clip))
    h = gate_activation(clipped(z_o + p_o * c, clip)) * output_activation(c)
    return LSTMCarry(h, c), h


def peephole_lstm(
    input_size: int, hidden_size: int, *,
    forget_bias: float = 1.0, output_activation: Activation = jnp.tanh, w_c_init: Initializer = zeros,
    **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `peephole_lstm_cell`, the LSTM with peepholes.

    Args:
      input_size: F.
      hidden_size: H.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      w_c_init: initialiser of the peepholes `[3, H]`; from zeros, the cell starts as an LSTM.
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag)` for long memory.

    Returns:
      A `Cell` with `PeepholeLSTMParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.peephole_lstm(3, 5).init(jax.random.key(0)).w_c.shape
      (3, 5)
    """
    return make_cell(
        peephole_lstm_cell, PeepholeLSTMParams, LSTMCarry, "ifgo", input_size, hidden_size, options,
        biases={"f": forget_bias}, drawn={"w_c": (w_c_init, (3, hidden_size))}, output_activation=output_activation,
    )  # fmt: skip
