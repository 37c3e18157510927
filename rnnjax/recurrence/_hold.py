"""Outputs of skipped steps."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array


def hold_outputs(ys: Any, mask: Array, *, reverse: bool = False) -> Any:
    """Fills skipped steps with the output of the real step before them; `unroll` leaves zeros there.

    Args:
      ys: outputs `[T, B, ...]`, an array or a pytree of arrays.
      mask: booleans `[T, B]`, true for real steps; of lengths, `rnnjax.losses.length_mask(lengths, T)`.
      reverse: whether the run went from the last step to the first, so that "before" is later in time.

    Returns:
      `[T, B, ...]`: ys, with the last real output wherever the mask is false, and zeros where there was none yet.

    Raises:
      TypeError: a mask that is not boolean.
      ValueError: a mask whose axes are not the leading ones of ys.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> ys, mask = jnp.array([[0.0], [2.0], [0.0], [4.0]]), jnp.array([[False], [True], [False], [True]])
      >>> rnnjax.recurrence.hold_outputs(ys, mask)[:, 0].tolist()
      [0.0, 2.0, 2.0, 4.0]
    """
    for leaf in jax.tree.leaves(ys):
        masking.check_mask("hold_outputs", "mask", mask, leaf.shape)
    length = mask.shape[0]
    if not length:
        return ys
    steps = jnp.arange(length).reshape(length, *(1,) * (mask.ndim - 1))
    real = jnp.where(mask, jnp.broadcast_to(steps, mask.shape), length if reverse else -1)
    last = jax.lax.cummin(real, reverse=True) if reverse else jax.lax.cummax(real)

    def held(leaf: Array) -> Array:
        index = jnp.clip(last, 0, length - 1).reshape(*last.shape, *(1,) * (leaf.ndim - last.ndim))
        return masking.select((last >= 0) & (last < length), jnp.take_along_axis(leaf, index, axis=0), 0)

    return jax.tree.map(held, ys)
