"""What a mechanism is, and what it works on: the memory of a source, and the alignment of the steps so far."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from rnnjax._types import Array, Key, Params, serializable


@serializable
class Memory(NamedTuple):
    """A source as attention remembers it.

    Attributes:
      keys: the values as the mechanism projects them, once per source, `[*batch, S, A]`.
      values: `[*batch, S, M]`, zero behind the mask.
      mask: booleans `[*batch, S]`, true for real positions.
    """

    keys: Array
    values: Array
    mask: Array


@serializable
class Alignment(NamedTuple):
    """What attention remembers of the steps so far.

    Attributes:
      weights: the weights of the last step, `[..., S]`; zeros before the first.
      coverage: the sum of the weights of all steps so far, `[..., S]`.
      step: number of steps so far, int32 `[...]`.
    """

    weights: Array
    coverage: Array
    step: Array


class Attention(NamedTuple):
    """An attention mechanism: pure functions.

    Attributes:
      init: `(key) -> params`.
      remember: `(params, values [S, ..., M], *, lengths=None, mask=None) -> Memory`, with integers `lengths [...]`
        or booleans `mask [S, ...]`, not both; neither means that all positions are real.
      attend: `(params, query [*batch, *more, D], memory, alignment=None) -> (context [*batch, *more, M],
        weights [*batch, *more, S])`; the leaves of the alignment have the leading axes of the query.
      energies: `(params, query [*batch, N, D], memory, alignment) -> [*batch, N, S]`, alignment with leaves
        `[*batch, N, ...]` or None; or None for a mechanism that is not a softmax of energies. `local_attention` and
        `monotonic_attention` build on it.
      memory_size: M; None where the values have as many features as the query, as for `dot_attention`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.additive_attention(5, 3, 7)
      >>> params = attention.init(jax.random.key(0))
      >>> memory = attention.remember(params, jnp.ones((4, 2, 3)), lengths=jnp.array([4, 2]))
      >>> context, weights = attention.attend(params, jnp.ones((2, 5)), memory)
      >>> context.shape, weights.round(2).tolist()
      ((2, 3), [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    """

    init: Callable[[Key], Params]
    remember: Callable[..., Memory]
    attend: Callable[..., tuple[Array, Array]]
    energies: Callable[..., Array] | None = None
    memory_size: int | None = None


def initial_alignment(memory: Memory, batch_shape: tuple[int, ...] | None = None, dtype=None) -> Alignment:
    """Makes the alignment before the first step: zeros.

    Args:
      memory: a `Memory` of S positions.
      batch_shape: the leading axes of the queries to come; those of the memory if None.
      dtype: dtype of weights and coverage; that of the memory's values if None.

    Returns:
      `Alignment(weights [*batch_shape, S], coverage [*batch_shape, S], step [*batch_shape])`.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> memory = rnnjax.attention.dot_attention().remember((), jnp.ones((3, 2)))
      >>> rnnjax.attention.initial_alignment(memory).weights.tolist()
      [0.0, 0.0, 0.0]
    """
    batch_shape = memory.mask.shape[:-1] if batch_shape is None else tuple(batch_shape)
    zeros = jnp.zeros((*batch_shape, memory.mask.shape[-1]), memory.values.dtype if dtype is None else dtype)
    return Alignment(zeros, zeros, jnp.zeros(batch_shape, jnp.int32))


def next_alignment(alignment: Alignment, weights: Array) -> Alignment:
    """Returns the alignment one step later: weights, coverage + weights, step + 1.

    Args:
      alignment: `Alignment(weights [..., S], coverage [..., S], step [...])`.
      weights: those that `attend` returned, `[..., S]`.

    Returns:
      An `Alignment` of the shapes and dtypes of the one taken.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> memory = rnnjax.attention.dot_attention().remember((), jnp.zeros((2, 3)))
      >>> after = rnnjax.attention.next_alignment(rnnjax.attention.initial_alignment(memory), jnp.array([0.25, 0.75]))
      >>> rnnjax.attention.next_alignment(after, jnp.array([0.5, 0.5])).coverage.tolist()
      [0.75, 1.25]
    """
    return Alignment(
        weights.astype(alignment.weights.dtype),
        alignment.coverage + weights.astype(alignment.coverage.dtype),
        alignment.step + 1,
    )
