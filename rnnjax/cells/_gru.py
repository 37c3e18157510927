"""Gated recurrent units: the GRU in its two forms, and the simplified one with an update gate only."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Cell, Initializer, Key
from rnnjax.cells._common import (
    add_bias,
    check_sizes,
    check_step,
    glorot,
    init_weights,
    masked_h,
    matmul,
    orthogonal,
    preactivations,
    zero_carry,
    zeros,
)


class GRUParams(NamedTuple):
    """Parameters of `gru_cell`; gates in the order r, u, n.

    Attributes:
      w_x: input weights `[F, 3H]`.
      w_h: recurrent weights `[H, 3H]`.
      b: bias `[3H]`.
      b_h: recurrent bias of the candidate `[H]` if reset_after, else None.
    """

    w_x: Array
    w_h: Array
    b: Array
    b_h: Array | None


class GRUCarry(NamedTuple):
    """Carry of the gated recurrent units.

    Attributes:
      h: hidden state `[..., H]`.
    """

    h: Array


@jax.named_scope("gru_cell")
def gru_cell(
    params: GRUParams,
    carry: GRUCarry,
    x: Array,
    *,
    reset_after: bool = True,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[GRUCarry, Array]:
    """The gated recurrent unit, in the polarity h = u * n + (1 - u) * h.

        r = sigmoid(x W_xr + h W_hr + b_r)
        u = sigmoid(x W_xu + h W_hu + b_u)
        n = tanh(x W_xn + (r * h) W_hn + b_n)            reset_after=False: Cho et al. 2014
        n = tanh(x W_xn + b_n + r * (h W_hn + b_h))      reset_after=True: the form of cuDNN
        h = u * n + (1 - u) * h

    Gates in the order r, u, n. One bias, and with reset_after a second one, b_h, for the candidate. Frameworks
    that write h = (1 - z) * n + z * h mean u = 1 - z.
    Reference: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder".

    Args:
      params: `GRUParams(w_x [F, 3H], w_h [H, 3H], b [3H], b_h [H] or None)`.
      carry: `GRUCarry(h [..., H])`.
      x: `[..., F]`.
      reset_after: whether r multiplies after the recurrent product; then params.b_h is an array.
      recurrent_mask: `[..., H]` or None, see rnnjax.cells.
      dtype: dtype of the products, see rnnjax.cells.

    Returns:
      `(GRUCarry(h [..., H]), y [..., H])`, y = h.

    Raises:
      ValueError, TypeError: x or carry of the wrong shape or dtype, or b_h missing or superfluous.

    Example:
      With all parameters zero, u = 1/2 and n = 0, so that h is halved:

      >>> import jax.numpy as jnp
      >>> params = GRUParams(jnp.zeros((2, 3)), jnp.zeros((1, 3)), jnp.zeros(3), jnp.zeros(1))
      >>> carry, y = gru_cell(params, GRUCarry(jnp.full(1, 8.0)), jnp.ones(2))
      >>> y.tolist()
      [4.0]
    """
    hidden = params.w_h.shape[0]
    check_step("gru_cell", params, carry, x, gates=3)
    if (params.b_h is None) == reset_after:
        raise ValueError(
            f"gru_cell: expected params.b_h to be {'an array [H]' if reset_after else 'None'} with "
            f"reset_after={reset_after}, got {'None' if params.b_h is None else 'an array'}; make the parameters "
            "with gru(..., reset_after=...) of the same value."
        )
    h = masked_h(carry.h, recurrent_mask)
    z_x = add_bias(matmul(x, params.w_x, h.dtype, dtype), params.b)
    if params.b_h is not None:
        z_h = matmul(h, params.w_h, h.dtype, dtype)
        r, u = jnp.split(jax.nn.sigmoid(z_x[..., : 2 * hidden] + z_h[..., : 2 * hidden]), 2, axis=-1)
        n = jnp.tanh(z_x[..., 2 * hidden :] + r * add_bias(z_h[..., 2 * hidden :], params.b_h))
    else:
        z_h = matmul(h, params.w_h[:, : 2 * hidden], h.dtype, dtype)
        r, u = jnp.split(jax.nn.sigmoid(z_x[..., : 2 * hidden] + z_h), 2, axis=-1)
        n = jnp.tanh(z_x[..., 2 * hidden :] + matmul(r * h, params.w_h[:, 2 * hidden :], h.dtype, dtype))
    h = u * n + (1 - u) * carry.h
    return GRUCarry(h), h


def gru(
    input_size: int,
    hidden_size: int,
    *,
    reset_after: bool = True,
    w_x_init: Initializer = glorot,
    w_h_init: Initializer = orthogonal,
    b_init: Initializer = zeros,
    dtype=None,
    param_dtype=jnp.float32,
) -> Cell:
    """The gated recurrent unit `gru_cell`, as a `Cell`.

    Args:
      input_size: F.
      hidden_size: H.
      reset_after: whether the reset gate multiplies after the recurrent product (True, as in cuDNN) or before
        it (False, as in the paper).
      w_x_init: initialiser of w_x, gate by gate `[F, H]`.
      w_h_init: initialiser of w_h, gate by gate `[H, H]`.
      b_init: initialiser of the whole b `[3H]`; `rnnjax.cells.chrono_init(max_lag, gates="run")` for long memory.
        b_h starts from zeros.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `GRUParams` and `GRUCarry`; x is `[..., F]`, y is `[..., H]`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(3, 5, reset_after=False)
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((7, 2, 3)))
      >>> ys.shape
      (7, 2, 5)
    """
    check_sizes("gru", input_size=input_size, hidden_size=hidden_size)

    weights = init_weights(
        input_size, hidden_size, 3, w_x_init=w_x_init, w_h_init=w_h_init, b_init=b_init, dtype=param_dtype
    )

    def init(key: Key) -> GRUParams:
        return GRUParams(*weights(key), jnp.zeros((hidden_size,), param_dtype) if reset_after else None)

    return Cell(
        init,
        zero_carry(GRUCarry, hidden_size),
        functools.partial(gru_cell, reset_after=reset_after, dtype=dtype),
    )


class SimpleGRUParams(NamedTuple):
    """Parameters of `simple_gru_cell`; gates in the order u, n.

    Attributes:
      w_x: input weights `[F, 2H]`.
      w_h: recurrent weights `[H, 2H]`.
      b: bias `[2H]`.
    """

    w_x: Array
    w_h: Array
    b: Array


@jax.named_scope("simple_gru_cell")
def simple_gru_cell(
    params: SimpleGRUParams,
    carry: GRUCarry,
    x: Array,
    *,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[GRUCarry, Array]:
    """The simplified GRU: an update gate only.

        u = sigmoid(x W_xu + h W_hu + b_u)
        n = tanh(x W_xn + h W_hn + b_n)
        h = u * n + (1 - u) * h

    Gates in the order u, n. One bias. Reference: the GRU of Cho et al. 2014 with r = 1, as courses introduce it.

    Args:
      params: `SimpleGRUParams(w_x [F, 2H], w_h [H, 2H], b [2H])`.
      carry: `GRUCarry(h [..., H])`.
      x: `[..., F]`.
      recurrent_mask: `[..., H]` or None, see rnnjax.cells.
      dtype: dtype of the products, see rnnjax.cells.

    Returns:
      `(GRUCarry(h [..., H]), y [..., H])`, y = h.

    Raises:
      ValueError, TypeError: x or carry of the wrong shape or dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> params = SimpleGRUParams(jnp.zeros((2, 2)), jnp.zeros((1, 2)), jnp.zeros(2))
      >>> carry, y = simple_gru_cell(params, GRUCarry(jnp.full(1, 8.0)), jnp.ones(2))
      >>> y.tolist()
      [4.0]
    """
    check_step("simple_gru_cell", params, carry, x, gates=2)
    z_u, z_n = jnp.split(preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype), 2, axis=-1)
    u = jax.nn.sigmoid(z_u)
    h = u * jnp.tanh(z_n) + (1 - u) * carry.h
    return GRUCarry(h), h


def simple_gru(
    input_size: int,
    hidden_size: int,
    *,
    w_x_init: Initializer = glorot,
    w_h_init: Initializer = orthogonal,
    b_init: Initializer = zeros,
    dtype=None,
    param_dtype=jnp.float32,
) -> Cell:
    """The simplified GRU `simple_gru_cell`, as a `Cell`.

    Args:
      input_size: F.
      hidden_size: H.
      w_x_init: initialiser of w_x, gate by gate `[F, H]`.
      w_h_init: initialiser of w_h, gate by gate `[H, H]`.
      b_init: initialiser of the whole b `[2H]`; `rnnjax.cells.chrono_init(max_lag, gates="un")` for long memory.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `SimpleGRUParams` and `GRUCarry`; x is `[..., F]`, y is `[..., H]`.

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.simple_gru(3, 5).init(jax.random.key(0)).w_h.shape
      (5, 10)
    """
    check_sizes("simple_gru", input_size=input_size, hidden_size=hidden_size)

    weights = init_weights(
        input_size, hidden_size, 2, w_x_init=w_x_init, w_h_init=w_h_init, b_init=b_init, dtype=param_dtype
    )

    def init(key: Key) -> SimpleGRUParams:
        return SimpleGRUParams(*weights(key))

    return Cell(init, zero_carry(GRUCarry, hidden_size), functools.partial(simple_gru_cell, dtype=dtype))
