"""The minimal gated unit (MGU)."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, serializable
from rnnjax.cells._common import CellOptions, add_bias, check_step, clipped, make_cell, masked_h, matmul
from rnnjax.cells._gru import GRUCarry


@serializable
class MGUParams(NamedTuple):
    """Parameters of `mgu_cell`; gates in the order f, n.

    Attributes:
      w_x: input weights `[F, 2H]`, W_xf and W_xn.
      w_h: recurrent weights `[H, 2H]`, W_hf and W_hn.
      b: bias `[2H]`, b_f and b_n.
    """

    w_x: Array
    w_h: Array
    b: Array | None


@jax.named_scope("mgu_cell")
def mgu_cell(
    params: MGUParams, carry: GRUCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid, clip: float | None = None,
    recurrent_mask: Array | None = None, dtype=None,
) -> tuple[GRUCarry, Array]:  # fmt: skip
    """Steps the minimal gated unit, whose one gate both forgets and resets.

        f = sigmoid(x W_xf + h W_hf + b_f)
        n = tanh(x W_xn + (f * h) W_hn + b_n)
        h = f * n + (1 - f) * h

    Gates in the order f, n. One bias.
    Reference: Zhou et al. 2016, "Minimal gated unit for recurrent neural networks".

    Args:
      params: `MGUParams(w_x [F, 2H], w_h [H, 2H], b [2H])`.
      carry, x: `GRUCarry(h [..., H])` and `[..., F]`.
      activation, gate_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`; m multiplies h in both products.

    Returns:
      `(GRUCarry(h [..., H]), y [..., H])`, y = h.

    Examples:
      >>> import jax.numpy as jnp
      >>> params = MGUParams(jnp.zeros((2, 2)), jnp.zeros((1, 2)), jnp.zeros(2))
      >>> carry, y = mgu_cell(params, GRUCarry(jnp.full(1, 8.0)), jnp.ones(2))
      >>> y.tolist()
      [4.0]
    """
    hidden = params.w_h.shape[0]
    check_step("mgu_cell", params, carry, x, gates=2)
    h = masked_h(carry.h, recurrent_mask)
    z_f, z_n = jnp.split(add_bias(matmul(x, params.w_x, h.dtype, dtype), params.b), 2, axis=-1)
    f = gate_activation(clipped(z_f + matmul(h, params.w_h[:, :hidden], h.dtype, dtype), clip))
    n = activation(clipped(z_n + matmul(f * h, params.w_h[:, hidden:], h.dtype, dtype), clip))
    h = f * n + (1 - f) * carry.h
    return GRUCarry(h), h


def mgu(input_size: int, hidden_size: int, **options: Unpack[CellOptions]) -> Cell:
    """Makes a `Cell` of `mgu_cell`, the minimal gated unit.

    Args:
      input_size: F.
      hidden_size: H.
      **options: see `CellOptions`.

    Returns:
      A `Cell` with `MGUParams` and `GRUCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.mgu(3, 5).init(jax.random.key(0)).w_x.shape
      (3, 10)
    """
    return make_cell(mgu_cell, MGUParams, GRUCarry, "fn", input_size, hidden_size, options)
