"""From the ends of episodes to the resets of a run."""

from typing import Any

import jax.numpy as jnp

from rnnjax._types import Array


def resets_from_done(done: Any, before: Any) -> Array:
    """Turns the ends of episodes into resets: the step after one that is done starts afresh.

        resets[0] = before,    resets[t] = done[t - 1]

    `done[t]` is known once step t is taken, and `resets[t]` acts before x_t is consumed. `resets=done` would be off by
    one: it forgets an episode before its last step, and carries it on into the next one.

    Args:
      done: booleans `[T, ...]`: whether step t ended an episode, by its rules or by a limit of time.
      before: booleans `[...]`: done of the step before the first one, which is `done[-1]` of the part before it;
        true where there was none.

    Returns:
      Booleans `[T, ...]`, as `unroll(..., resets=)` takes them.

    Raises:
      TypeError: flags that are not booleans.
      ValueError: before without the shape of one step.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> done = jnp.array([[False, True], [True, False], [False, False]])  # [T, B]
      >>> rnnjax.recurrence.resets_from_done(done, jnp.array([True, False])).astype(int).tolist()
      [[1, 0], [0, 1], [1, 0]]
    """
    done, before = jnp.asarray(done), jnp.asarray(before)
    for name, flags in (("done", done), ("before", before)):
        if flags.dtype != jnp.bool_:
            raise TypeError(
                f"resets_from_done: expected {name} of dtype bool, got {flags.dtype}; compare it, as in {name} > 0."
            )
    if done.ndim < 1 or before.shape != done.shape[1:]:
        raise ValueError(
            f"resets_from_done: expected done of shape [T, ...] and before of the shape of one step, got {done.shape} "
            f"and {before.shape}; pass done[-1] of the steps before these, or ones."
        )
    return jnp.concatenate([before[None], done])[:-1]
