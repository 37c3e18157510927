"""The slow twin of `unroll`."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.recurrence._call import check_carry, check_inputs, swap_time


def unroll_reference(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    time_major: bool = True,
) -> tuple[Carry, Any]:
    """Runs a cell over time like `unroll`, as the obvious Python loop: the twin that fast paths are tested against.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`.
      carry: the carry to start from, or None.
      lengths: integers `[B]`, or None.
      mask: booleans `[T, B]`, or None.
      resets: booleans `[T, B]`, or None.
      reverse: run from the last step to the first.
      time_major: False for batch first.

    Returns:
      `(carry, ys)` as `unroll` gives them, ys `[T, ..., H]`.

    Raises:
      ValueError, TypeError: as `unroll`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(3, 5)
      >>> params, xs = cell.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (7, 2, 3))
      >>> _, slow = rnnjax.recurrence.unroll_reference(cell, params, xs, reverse=True)
      >>> _, fast = rnnjax.unroll(cell, params, xs, reverse=True)
      >>> bool(jnp.allclose(slow, fast, atol=1e-6))
      True
    """
    call = check_inputs("unroll_reference", cell, xs, lengths, mask, resets, time_major)
    carry, initial = check_carry("unroll_reference", cell, call, carry)
    outputs: dict[int, Any] = {}
    for t in reversed(range(call.length)) if reverse else range(call.length):
        x, keep, reset = jax.tree.map(lambda leaf, t=t: leaf[t], call.steps)
        before = carry if reset is None else masking.select(reset, initial, carry)
        after, y = cell.apply(params, before, x)
        if keep is not None:
            after, y = masking.select(keep, after, carry), masking.select(keep, y, 0)
        carry, outputs[t] = after, y
    if outputs:
        ys = jax.tree.map(lambda *rows: jnp.stack(rows), *(outputs[t] for t in range(call.length)))
    else:  # no step ran, so the shape of y has to be asked for
        x = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), call.steps.x)
        _, y = jax.eval_shape(cell.apply, params, carry, x)
        ys = jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape), leaf.dtype), y)
    return carry, ys if time_major else swap_time(ys)
