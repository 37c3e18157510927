"""The simple recurrent cell (Elman)."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, serializable
from rnnjax.cells._common import CellOptions, check_step, clipped, make_cell, masked_h, preactivations


@serializable
class RNNParams(NamedTuple):
    """Parameters of `rnn_cell`.

    Attributes:
      w_x: input weights `[F, H]`.
      w_h: recurrent weights `[H, H]`.
      b: bias `[H]`.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@serializable
class RNNCarry(NamedTuple):
    """Carry of `rnn_cell`.

    Attributes:
      h: hidden state `[..., H]`.
    """

    h: Array


@jax.named_scope("rnn_cell")
def rnn_cell(
    params: RNNParams, carry: RNNCarry, x: Array, *,
    activation: Activation = jnp.tanh, clip: float | None = None, recurrent_mask: Array | None = None, dtype=None,
) -> tuple[RNNCarry, Array]:  # fmt: skip
    """Steps the simple recurrent network.

        h_t = act(x_t W_x + h_{t-1} W_h + b)

    One bias. Reference: Elman 1990, "Finding structure in time"; with ReLU and the identity for W_h it is the
    IRNN of Le, Jaitly & Hinton 2015; with `jax.nn.identity` and b = 0 it shows the powers W_h^n.

    Args:
      params: `RNNParams(w_x [F, H], w_h [H, H], b [H])`.
      carry, x: `RNNCarry(h [..., H])` and `[..., F]`.
      activation: act, elementwise: `jnp.tanh`, `jax.nn.relu`, `jax.nn.identity`.
      clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(RNNCarry(h [..., H]), y [..., H])`, y = h.

    Examples:
      >>> import jax.numpy as jnp
      >>> params = RNNParams(w_x=jnp.ones((2, 1)), w_h=jnp.full((1, 1), 2.0), b=jnp.zeros(1))
      >>> carry, y = rnn_cell(params, RNNCarry(jnp.full(1, 3.0)), jnp.array([1.0, 4.0]), activation=lambda z: z)
      >>> y.tolist()
      [11.0]
    """
    check_step("rnn_cell", params, carry, x, gates=1)
    h = activation(clipped(preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype), clip))
    return RNNCarry(h), h


def rnn(input_size: int, hidden_size: int, **options: Unpack[CellOptions]) -> Cell:
    """Makes a `Cell` of `rnn_cell`, the simple recurrent network.

    Args:
      input_size: F.
      hidden_size: H.
      **options: see `CellOptions`; `activation=jax.nn.relu, w_h_init=rnnjax.cells.identity_init()` for the ReLU RNN.

    Returns:
      A `Cell` with `RNNParams` and `RNNCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((7, 2, 5), (2, 5))
    """
    return make_cell(rnn_cell, RNNParams, RNNCarry, "n", input_size, hidden_size, options)
