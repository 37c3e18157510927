"""The simple recurrent cell (Elman)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, Initializer, Key
from rnnjax.cells._common import (
    check_sizes,
    check_step,
    glorot,
    init_weights,
    masked_h,
    orthogonal,
    preactivations,
    zero_carry,
    zeros,
)


class RNNParams(NamedTuple):
    """Parameters of `rnn_cell`.

    Attributes:
      w_x: input weights `[F, H]`.
      w_h: recurrent weights `[H, H]`.
      b: bias `[H]`.
    """

    w_x: Array
    w_h: Array
    b: Array


class RNNCarry(NamedTuple):
    """Carry of `rnn_cell`.

    Attributes:
      h: hidden state `[..., H]`.
    """

    h: Array


@jax.named_scope("rnn_cell")
def rnn_cell(
    params: RNNParams,
    carry: RNNCarry,
    x: Array,
    *,
    activation: Activation = jnp.tanh,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[RNNCarry, Array]:
    """h_t = act(x_t W_x + h_{t-1} W_h + b).

    One bias. Reference: Elman 1990, "Finding structure in time"; with ReLU and the identity for W_h it is the
    IRNN of Le, Jaitly & Hinton 2015; with `jax.nn.identity` and b = 0 it shows the powers W_h^n.

    Args:
      params: `RNNParams(w_x [F, H], w_h [H, H], b [H])`.
      carry: `RNNCarry(h [..., H])`.
      x: `[..., F]`.
      activation: act, elementwise: `jnp.tanh`, `jax.nn.relu`, `jax.nn.identity`.
      recurrent_mask: `[..., H]` or None, see rnnjax.cells.
      dtype: dtype of the products, see rnnjax.cells.

    Returns:
      `(RNNCarry(h [..., H]), y [..., H])`, y = h.

    Raises:
      ValueError, TypeError: x or carry of the wrong shape or dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> params = RNNParams(w_x=jnp.ones((2, 1)), w_h=jnp.full((1, 1), 2.0), b=jnp.zeros(1))
      >>> carry, y = rnn_cell(params, RNNCarry(jnp.full(1, 3.0)), jnp.array([1.0, 4.0]), activation=lambda z: z)
      >>> y.tolist()
      [11.0]
    """
    check_step("rnn_cell", params, carry, x, gates=1)
    h = activation(preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype))
    return RNNCarry(h), h


def rnn(
    input_size: int,
    hidden_size: int,
    *,
    activation: Activation = jnp.tanh,
    w_x_init: Initializer = glorot,
    w_h_init: Initializer = orthogonal,
    b_init: Initializer = zeros,
    dtype=None,
    param_dtype=jnp.float32,
) -> Cell:
    """The simple recurrent cell `rnn_cell`, as a `Cell`.

    Args:
      input_size: F.
      hidden_size: H.
      activation: act of the equation.
      w_x_init: initialiser of w_x `[F, H]`.
      w_h_init: initialiser of w_h `[H, H]`; `rnnjax.cells.identity_init()` for the ReLU RNN.
      b_init: initialiser of b `[H]`.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `RNNParams` and `RNNCarry`; x is `[..., F]`, y is `[..., H]`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, ys = rnnjax.unroll(cell, params, jnp.ones((7, 2, 3)))
      >>> ys.shape, carry.h.shape
      ((7, 2, 5), (2, 5))
    """
    check_sizes("rnn", input_size=input_size, hidden_size=hidden_size)

    weights = init_weights(
        input_size, hidden_size, 1, w_x_init=w_x_init, w_h_init=w_h_init, b_init=b_init, dtype=param_dtype
    )

    def init(key: Key) -> RNNParams:
        return RNNParams(*weights(key))

    return Cell(
        init,
        zero_carry(RNNCarry, hidden_size),
        functools.partial(rnn_cell, activation=activation, dtype=dtype),
    )
