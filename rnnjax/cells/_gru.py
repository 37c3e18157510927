"""Gated recurrent units: the GRU in its two forms, and the simplified one with an update gate only."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, serializable
from rnnjax.cells._common import (
    CellOptions,
    add_bias,
    check_step,
    clipped,
    make_cell,
    masked_h,
    matmul,
    preactivations,
)


@serializable
class GRUParams(NamedTuple):
    """Parameters of `gru_cell`; gates in the order r, u, n.

    Attributes:
      w_x: input weights `[F, 3H]`.
      w_h: recurrent weights `[H, 3H]`.
      b: bias `[3H]`.
      b_h: recurrent bias of the candidate `[H]` if reset_after, else None; None if there is no b either.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    b_h: Array | None = None


@serializable
class GRUCarry(NamedTuple):
    """Carry of the gated recurrent units.

    Attributes:
      h: hidden state `[..., H]`.
    """

    h: Array


@jax.named_scope("gru_cell")
def gru_cell(
    params: GRUParams, carry: GRUCarry, x: Array, *,
    reset_after: bool = True, activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid,
    clip: float | None = None, recurrent_mask: Array | None = None, dtype=None,
) -> tuple[GRUCarry, Array]:  # fmt: skip
    """Steps the gated recurrent unit, in the polarity h = u * n + (1 - u) * h.

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
      carry, x: `GRUCarry(h [..., H])` and `[..., F]`.
      reset_after: whether r multiplies after the recurrent product; then params.b_h is an array, as params.b is.
      activation, gate_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(GRUCarry(h [..., H]), y [..., H])`, y = h.

    Raises:
      ValueError: params.b_h missing or superfluous.

    Examples:
      With all parameters zero, u = 1/2 and n = 0, so that h is halved:

      >>> import jax.numpy as jnp
      >>> params = GRUParams(jnp.zeros((2, 3)), jnp.zeros((1, 3)), jnp.zeros(3), jnp.zeros(1))
      >>> carry, y = gru_cell(params, GRUCarry(jnp.full(1, 8.0)), jnp.ones(2))
      >>> y.tolist()
      [4.0]
    """
    hidden = params.w_h.shape[0]
    check_step("gru_cell", params, carry, x, gates=3)
    if (params.b_h is None) == reset_after and (params.b is not None or params.b_h is not None):
        raise ValueError(
            f"gru_cell: expected params.b_h to be {'an array [H]' if reset_after else 'None'} with "
            f"reset_after={reset_after}, got {'None' if params.b_h is None else 'an array'}; make the parameters "
            "with gru(..., reset_after=...) of the same value."
        )
    h = masked_h(carry.h, recurrent_mask)
    z_x = add_bias(matmul(x, params.w_x, h.dtype, dtype), params.b)
    if reset_after:
        z_h = matmul(h, params.w_h, h.dtype, dtype)
        z = clipped(z_x[..., : 2 * hidden] + z_h[..., : 2 * hidden], clip)
        r, u = jnp.split(gate_activation(z), 2, axis=-1)
        z_n = z_x[..., 2 * hidden :] + r * add_bias(z_h[..., 2 * hidden :], params.b_h)
    else:
        z_h = matmul(h, params.w_h[:, : 2 * hidden], h.dtype, dtype)
        r, u = jnp.split(gate_activation(clipped(z_x[..., : 2 * hidden] + z_h, clip)), 2, axis=-1)
        z_n = z_x[..., 2 * hidden :] + matmul(r * h, params.w_h[:, 2 * hidden :], h.dtype, dtype)
    n = activation(clipped(z_n, clip))
    h = u * n + (1 - u) * carry.h
    return GRUCarry(h), h


def gru(input_size: int, hidden_size: int, *, reset_after: bool = True, **options: Unpack[CellOptions]) -> Cell:
    """Makes a `Cell` of `gru_cell`, the gated recurrent unit.

    Args:
      input_size: F.
      hidden_size: H.
      reset_after: whether the reset gate multiplies after the recurrent product (True, as in cuDNN) or before
        it (False, as in the paper).
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag, "run")` for long memory. b_h starts
        from zeros.

    Returns:
      A `Cell` with `GRUParams` and `GRUCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(3, 5, reset_after=False)
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((7, 2, 3)))
      >>> ys.shape
      (7, 2, 5)
    """
    return make_cell(
        gru_cell, GRUParams, GRUCarry, "run", input_size, hidden_size, options,
        further_biases={"b_h": hidden_size} if reset_after else {}, reset_after=reset_after,
    )  # fmt: skip


@serializable
class SimpleGRUParams(NamedTuple):
    """Parameters of `simple_gru_cell`; gates in the order u, n.

    Attributes:
      w_x: input weights `[F, 2H]`, W_xu and W_xn.
      w_h: recurrent weights `[H, 2H]`, W_hu and W_hn.
      b: bias `[2H]`, b_u and b_n.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@jax.named_scope("simple_gru_cell")
def simple_gru_cell(
    params: SimpleGRUParams, carry: GRUCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid, clip: float | None = None,
    recurrent_mask: Array | None = None, dtype=None,
) -> tuple[GRUCarry, Array]:  # fmt: skip
    """Steps the simplified GRU, which has an update gate only.

        u = sigmoid(x W_xu + h W_hu + b_u)
        n = tanh(x W_xn + h W_hn + b_n)
        h = u * n + (1 - u) * h

    Gates in the order u, n. One bias. Reference: the GRU of Cho et al. 2014 with r = 1, as courses introduce it.

    Args:
      params: `SimpleGRUParams(w_x [F, 2H], w_h [H, 2H], b [2H])`.
      carry, x: `GRUCarry(h [..., H])` and `[..., F]`.
      activation, gate_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(GRUCarry(h [..., H]), y [..., H])`, y = h.

    Examples:
      >>> import jax.numpy as jnp
      >>> params = SimpleGRUParams(jnp.zeros((2, 2)), jnp.zeros((1, 2)), jnp.zeros(2))
      >>> carry, y = simple_gru_cell(params, GRUCarry(jnp.full(1, 8.0)), jnp.ones(2))
      >>> y.tolist()
      [4.0]
    """
    check_step("simple_gru_cell", params, carry, x, gates=2)
    z = clipped(preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype), clip)
    z_u, z_n = jnp.split(z, 2, axis=-1)
    u = gate_activation(z_u)
    h = u * activation(z_n) + (1 - u) * carry.h
    return GRUCarry(h), h


def simple_gru(input_size: int, hidden_size: int, **options: Unpack[CellOptions]) -> Cell:
    """Makes a `Cell` of `simple_gru_cell`, the simplified GRU.

    Args:
      input_size: F.
      hidden_size: H.
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag, "un")` for long memory.

    Returns:
      A `Cell` with `SimpleGRUParams` and `GRUCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.simple_gru(3, 5).init(jax.random.key(0)).w_h.shape
      (5, 10)
    """
    return make_cell(simple_gru_cell, SimpleGRUParams, GRUCarry, "un", input_size, hidden_size, options)
