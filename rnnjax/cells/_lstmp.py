"""The LSTM with a recurrent projection (LSTMP)."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, Initializer, serializable
from rnnjax.cells._common import CellOptions, check_step, clipped, make_cell, masked_h, matmul, preactivations
from rnnjax.cells._initializers import glorot
from rnnjax.cells._lstm import LSTMCarry


@serializable
class LSTMPParams(NamedTuple):
    """Parameters of `lstmp_cell`; gates in the order i, f, g, o.

    Attributes:
      w_x: input weights `[F, 4H]`.
      w_h: recurrent weights `[P, 4H]`.
      b: bias `[4H]`; the forget bias is stored in it.
      w_p: projection `[H, P]`.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    w_p: Array


@jax.named_scope("lstmp_cell")
def lstmp_cell(
    params: LSTMPParams, carry: LSTMCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid,
    output_activation: Activation = jnp.tanh, clip: float | None = None,
    recurrent_mask: Array | None = None, dtype=None,
) -> tuple[LSTMCarry, Array]:  # fmt: skip
    """Steps the LSTM whose h is a projection of what its cells put out.

        i = sigmoid(x W_xi + h W_hi + b_i)      f = sigmoid(x W_xf + h W_hf + b_f)
        g = tanh(x W_xg + h W_hg + b_g)         o = sigmoid(x W_xo + h W_ho + b_o)
        c = f * c + i * g
        h = (o * tanh(c)) W_p

    Many cells with few recurrent weights: c has H features, h has P. Gates in the order i, f, g, o, one bias with the
    forget bias in it, none of the projection.
    Reference: Sak, Senior & Beaufays 2014, "Long short-term memory recurrent neural network architectures for large
    scale acoustic modeling", without its peepholes and its part of the output that does not flow back.

    Args:
      params: `LSTMPParams(w_x [F, 4H], w_h [P, 4H], b [4H], w_p [H, P])`.
      carry, x: `LSTMCarry(h [..., P], c [..., H])` and `[..., F]`.
      activation, gate_activation, output_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(LSTMCarry(h [..., P], c [..., H]), y [..., P])`, y = h.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstmp(3, 5, 2)
      >>> carry, y = lstmp_cell(cell.init(jax.random.key(0)), cell.initial_carry((7,)), jnp.ones((7, 3)))
      >>> carry.c.shape, carry.h.shape, y.shape
      ((7, 5), (7, 2), (7, 2))
    """
    check_step("lstmp_cell", params, carry, x, gates=4, hidden=params.w_p.shape[0])
    z = clipped(preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype), clip)
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    c = gate_activation(z_f) * carry.c + gate_activation(z_i) * activation(z_g)
    h = matmul(gate_activation(z_o) * output_activation(c), params.w_p, c.dtype, dtype)
    return LSTMCarry(h, c), h


def lstmp(
    input_size: int, hidden_size: int, projection_size: int, *,
    forget_bias: float = 1.0, output_activation: Activation = jnp.tanh, w_p_init: Initializer = glorot,
    **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `lstmp_cell`, the LSTM with a recurrent projection.

    Args:
      input_size: F.
      hidden_size: H, features of c.
      projection_size: P, features of h and of the output.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = (o * tanh(c)) W_p.
      w_p_init: initialiser of the projection `[H, P]`.
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag)` for long memory.

    Returns:
      A `Cell` with `LSTMPParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., P]`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstmp(3, 5, 2)
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((7, 4, 3)))
      >>> ys.shape, carry.c.shape
      ((7, 4, 2), (4, 5))
    """
    return make_cell(
        lstmp_cell, LSTMPParams, LSTMCarry, "ifgo", input_size, hidden_size, options,
        biases={"f": forget_bias}, drawn={"w_p": (w_p_init, (hidden_size, projection_size))},
        output_size=projection_size, output_activation=output_activation,
    )  # fmt: skip
