"""The beam: hypotheses that go on, hypotheses that have ended, and which candidates become which."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax._types import Array, Carry


class Live(NamedTuple):
    """Hypotheses that go on."""

    carry: Carry  # leaves [K, ...]
    token: Array  # the last one, [K]
    log_prob: Array  # of all tokens, [K], -inf where there is none
    tokens: Array | None  # so far, [K, T], kept for constraints only


class Ended(NamedTuple):
    """The best hypotheses of each group that have ended, best first."""

    score: Array  # [G, K / G], -inf where there is none
    gain: Array  # log-probability of the last token, [G, K / G]
    length: Array  # tokens, eos counted, [G, K / G]
    parent: Array  # the beam that it came from, [G, K / G]


class Candidates(NamedTuple):
    """Hypotheses that are one token longer than a live one."""

    rank: Array  # what they are ordered by, [N]
    total: Array  # log-probability of all tokens, [N]
    gain: Array  # log-probability of the last token, [N]
    token: Array  # the last one, [N]
    parent: Array  # the beam that it extends, [N]


def best_of(candidates: Candidates, count: int) -> Candidates:
    """The best `[count]` of candidates `[N]`, best first."""
    _, order = lax.top_k(candidates.rank, count)
    return jax.tree.map(lambda leaf: leaf[order], candidates)


def best_ended(before: Ended, new: Ended, size: int) -> Ended:
    """The best `[size]` of a group's ended hypotheses; of equal ones the first that ended."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), before, new)
    _, order = lax.top_k(both.score, size)
    return jax.tree.map(lambda leaf: leaf[order], both)


def ends_with(candidates: Candidates, eos_id: int | None) -> Array:
    """Which candidates have ended, booleans `[N]`."""
    if eos_id is None:
        return jnp.zeros(candidates.token.shape, jnp.bool_)
    return candidates.token == eos_id


def keep(candidates: Candidates, is_end: Array, size: int) -> Candidates:
    """The best `[size]` that have not ended."""
    rank, total = (jnp.where(is_end, -jnp.inf, value) for value in (candidates.rank, candidates.total))
    return best_of(candidates._replace(rank=rank, total=total), size)


def grow(live: Live, after: Carry, kept: Candidates, step: Array) -> Live:
    """The live hypotheses after a step, `[K]` again."""
    tokens = live.tokens
    if tokens is not None:
        tokens = lax.dynamic_update_index_in_dim(tokens[kept.parent], kept.token, step, axis=1)
    return Live(jax.tree.map(lambda leaf: leaf[kept.parent], after), kept.token, kept.total, tokens)
