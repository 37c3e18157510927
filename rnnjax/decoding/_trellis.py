"""The trellis: what each step of a search kept. A hypothesis is a path through it, read backwards."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax import _masking as masking
from rnnjax._types import Array
from rnnjax.decoding._beam import Candidates, Ended
from rnnjax.recurrence import scan


class Trellis(NamedTuple):
    """What each step kept."""

    token: Array  # [T, K]
    parent: Array  # the beam of the step before, [T, K]
    gain: Array  # log-probability of the token, [T, K]
    record: Any  # of the beams that were extended, leaves [T, K, ...], or None


class Paths(NamedTuple):
    """Where hypotheses end, best first."""

    ended: Ended  # leaves [N]
    finished: Array  # whether each ends with eos, or was cut, [N]


def empty(steps: int, beams: int, dtype: Any, record: Any) -> Trellis:
    """A trellis of zeros, for records `[K, ...]` of these shapes and dtypes."""
    ids = jnp.zeros((steps, beams), jnp.int32)
    record = jax.tree.map(lambda leaf: jnp.zeros((steps, *leaf.shape), leaf.dtype), record)
    return Trellis(ids, ids, jnp.zeros(ids.shape, dtype), record)


def write(trellis: Trellis, step: Array, kept: Candidates, record: Any) -> Trellis:
    """The trellis with what this step kept."""
    return jax.tree.map(
        lambda all_steps, now: lax.dynamic_update_index_in_dim(all_steps, now, step, axis=0),
        trellis,
        Trellis(kept.token, kept.parent, kept.gain, record),
    )


def best_paths(ended: Ended, cut: Array, steps: int, count: int) -> Paths:
    """The best `[count]` of those that ended and those that were cut, whose scores are `[G, K / G]`."""
    groups, size = cut.shape
    beam = jnp.arange(groups * size, dtype=jnp.int32).reshape(groups, size)
    of_cut = Ended(cut, jnp.zeros_like(cut), jnp.full((groups, size), steps, jnp.int32), beam)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), Paths(ended, beam >= 0), Paths(of_cut, beam < 0))
    _, order = lax.top_k(both.ended.score, size)
    both = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, order, axis=1).reshape(-1), both)
    _, order = lax.top_k(both.ended.score, count)
    best = jax.tree.map(lambda leaf: leaf[order], both)
    there = best.ended.score > -jnp.inf
    lengths = jnp.where(there, best.ended.length, 0)
    return Paths(best.ended._replace(length=lengths), best.finished & there)


def trace_back(trellis: Trellis, paths: Paths, eos_id: int | None, pad_id: int) -> tuple[Array, Array, Any]:
    """Tokens `[N, T]`, log-probabilities `[N, T]` and records `[N, T, ...]`, read from the end to the beginning."""
    ended, finished = paths

    def body(beam: Array, now: tuple[Array, Trellis]) -> tuple[Array, tuple[Array, Array, Any]]:
        step, chosen = now
        is_end, inside = finished & (step == ended.length - 1), step < ended.length
        parent = jnp.where(is_end | ~inside, beam, chosen.parent[beam])
        token = jnp.where(is_end, 0 if eos_id is None else eos_id, chosen.token[beam])
        gain = jnp.where(is_end, ended.gain, chosen.gain[beam])
        recorded = jax.tree.map(lambda leaf: masking.select(inside, leaf[parent], 0), chosen.record)
        return parent, (jnp.where(inside, token, pad_id), jnp.where(inside, gain, 0), recorded)

    _, columns = scan(body, ended.parent, (jnp.arange(trellis.token.shape[0]), trellis), reverse=True)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), columns)
