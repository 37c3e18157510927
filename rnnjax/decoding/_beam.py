"""Beam search: the most probable sequences of a model of the next token, inside one compiled loop.

The model is a step function, `(carry, token [K]) -> (carry, logits [K, V])`, closed over its parameters and over what
it knows of the source, which is therefore never copied for each beam. The search is written for one source; a batch is
`jax.vmap` of it. What it ranks are the outcomes of `rnnjax.sample`: sequences that end with eos, and those that are cut
after max_steps tokens.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax import _checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, StepFn
from rnnjax.decoding._largest import largest, log_sum_exp
from rnnjax.recurrence import scan

LENGTH_NORMS: dict[str, Callable[[Array], Array]] = {
    "gnmt": lambda length: (5 + length) / 6,
    "average": lambda length: length,
}


def length_norm_of(length: Array, penalty: float, name: str, dtype: Any) -> Array:
    """What a log-probability is divided by, for lengths of any shape."""
    return LENGTH_NORMS[name](length.astype(dtype)) ** jnp.asarray(penalty, dtype)


class BeamResult(NamedTuple):
    """The best hypotheses of one source, best first.

    Attributes:
      tokens: ids `[N, T]`, pad_id after the end.
      scores: what they are ranked by, `[N]`: -inf where there is no further hypothesis.
      log_probs: log-probability of each token under the model, `[N, T]`, 0 after the end.
      lengths: tokens of each up to and with its eos, `[N]`.
      finished: whether each ends with eos, or was cut after T tokens, `[N]`.
      records: what `record` returned at each step of each hypothesis, leaves `[N, T, ...]`, 0 after the end; or None.
    """

    tokens: Array
    scores: Array
    log_probs: Array
    lengths: Array
    finished: Array
    records: Any


class _Live(NamedTuple):
    """Hypotheses that go on."""

    carry: Carry  # leaves [K, ...]
    token: Array  # the last one, [K]
    log_prob: Array  # of all tokens, [K], -inf where there is none
    history: Array | None  # tokens so far, [K, T], kept only to block n-grams


class _Ended(NamedTuple):
    """The best hypotheses of each group that have ended, best first."""

    score: Array  # [G, K / G], -inf where there is none
    gain: Array  # log-probability of the last token
    length: Array
    parent: Array  # the beam that it came from


class _Trellis(NamedTuple):
    """What each step chose; a hypothesis is a path through it."""

    token: Array  # [T, K]
    parent: Array  # the beam of the step before, [T, K]
    gain: Array  # log-probability of the token, [T, K]
    record: Any  # of the beams that were extended, leaves [T, K, ...]


class _State(NamedTuple):
    """State of the loop."""

    step: Array  # tokens so far, []
    live: _Live
    ended: _Ended
    trellis: _Trellis
    done: Array  # whether nothing better can come, []


class _Picks(NamedTuple):
    """The best candidates of a group, best first."""

    rank: Array  # what they are ordered by, [N]
    total: Array  # log-probability, [N]
    gain: Array  # log-probability of the token, [N]
    token: Array  # [N]
    parent: Array  # the beam that it extends, [N]


def beam_search(
    step_fn: StepFn,
    carry: Carry,
    *,
    bos_id: int | Array,
    eos_id: int | None,
    pad_id: int = 0,
    beam_size: int,
    max_steps: int,
    length_penalty: float = 0.0,
    length_norm: str = "gnmt",
    coverage_penalty: float = 0.0,
    coverage: Callable[[Carry], Array] | None = None,
    min_length: int = 0,
    prefix: Array | None = None,
    banned: Array | None = None,
    no_repeat_ngram: int = 0,
    groups: int = 1,
    diversity: float = 0.0,
    num_results: int | None = None,
    early_stop: bool = True,
    record: Callable[[Carry], Any] | None = None,
) -> BeamResult:
    """Searches for the most probable sequences of one source.

        score(y) = log P(y) / norm(|y|)^a + b sum_s log min(coverage_s(y), 1)
        norm(n)  = (5 + n) / 6  ("gnmt")   or   n  ("average")

    with a the length_penalty and b the coverage_penalty. At every step the K best continuations of the K live
    hypotheses are found; those that end are kept aside, never lost to longer ones, and the K best others live on. With
    K of at least V^T this is exhaustive; with K = 1 and no penalty it is greedy decoding. Ties go to the lower id.

    References: Graves 2012, "Sequence transduction with recurrent neural networks" (the search); Wu et al. 2016,
    "Google's neural machine translation system" (penalties); Paulus et al. 2018, "A deep reinforced model for
    abstractive summarization" (n-gram block); Vijayakumar et al. 2018, "Diverse beam search" (groups).

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: that of one hypothesis, leaves `[...]`: the search tiles it to `[K, ...]`.
      bos_id: the first token consumed, an int or `[]`.
      eos_id: the token that ends a hypothesis, or None for hypotheses of T tokens only.
      pad_id: what fills a row after its end.
      beam_size: K; a K over V, or over the number of hypotheses, is allowed.
      max_steps: T, the largest number of tokens, eos counted.
      length_penalty: a, from 0 (raw log-probabilities) up; 1 with "average" is the mean per token.
      length_norm: "gnmt" or "average".
      coverage_penalty: b, at least 0.
      coverage: `carry -> [K, S]`, the attention that each source position has got so far, 1 at padded ones; see
        `source_coverage`.
      min_length: tokens, eos counted, below which no hypothesis ends.
      prefix: integers `[P]` that every hypothesis begins with; they are part of it and of its score. With an eos in it
        every hypothesis ends there.
      banned: integers `[N]`, tokens that are never chosen; probabilities are not renormalised.
      no_repeat_ngram: n, so that no n tokens appear twice in a row of n in a hypothesis; 0 for no block.
      groups: G, which divides K: diverse beam search over groups of K / G hypotheses.
      diversity: what a token's log-probability loses, in the choice, for each earlier group's hypothesis that takes
        it at the same step.
      num_results: N, how many hypotheses to return, K if None; fewer let the search stop earlier.
      early_stop: stop once no live hypothesis can come to be among the best N (of each group: the best N, at most
        K / G). The result is the same.
      record: `carry -> pytree [K, ...]`, of the carry after each step, such as attention weights; or None.

    Returns:
      `BeamResult(tokens [N, T], scores [N], log_probs [N, T], lengths [N], finished [N], records)`.

    Raises:
      ValueError, TypeError: sizes that are not positive, ids outside the vocabulary, groups that do not divide K, a
        coverage_penalty without coverage, or a step function whose logits or carry have the wrong shape or dtype.

    Example:
      Two steps, two words and an end (id 0). Greedy takes word 1 (0.6), after which nothing is likely:

      >>> import jax.numpy as jnp, rnnjax
      >>> after = jnp.log(jnp.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.9, 0.05, 0.05], [0.0, 0.6, 0.4]]) + 1e-9)
      >>> step_fn = lambda carry, token: (carry, after[token])
      >>> result = rnnjax.beam_search(step_fn, jnp.zeros(()), bos_id=3, eos_id=0, beam_size=2, max_steps=3)
      >>> result.tokens[0].tolist(), round(float(jnp.exp(result.scores[0])), 2)
      ([2, 0, 0], 0.36)
    """
    size = _check_sizes(beam_size, max_steps, groups, num_results, length_norm)
    if coverage_penalty and coverage is None:
        raise ValueError(
            "beam_search: expected coverage beside coverage_penalty, got None; pass a function of the carry."
        )
    if min(length_penalty, coverage_penalty, diversity, min_length, no_repeat_ngram) < 0:
        raise ValueError(
            "beam_search: expected penalties, min_length and no_repeat_ngram of at least 0, got "
            f"{length_penalty=}, {coverage_penalty=}, {diversity=}, {min_length=}, {no_repeat_ngram=}."
        )
    carry = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf)[None], (beam_size, *jnp.shape(leaf))), carry)
    step_fn = _checks.checked("beam_search", step_fn)
    vocabulary_size, dtype = _checks.logits_of("beam_search", step_fn, carry, beam_size)
    if eos_id is not None:
        _checks.check_ids("beam_search", "eos_id", eos_id, vocabulary_size)
    prefix = _check_tokens("prefix", prefix, vocabulary_size)
    banned = _check_tokens("banned", banned, vocabulary_size)
    if prefix is not None and prefix.shape[0] > max_steps:
        raise ValueError(f"beam_search: expected a prefix of at most {max_steps} tokens, got {prefix.shape[0]}.")

    ids = jnp.arange(vocabulary_size)
    never = None if banned is None else jnp.any(ids[None] == banned[:, None], axis=0, keepdims=True)

    def norm(length: Array) -> Array:
        return length_norm_of(length, length_penalty, length_norm, dtype)

    def score(log_prob: Array, length: Array, after: Carry, beams: Array) -> Array:
        """Scores of hypotheses, each of which came from one of the beams."""
        value = log_prob / norm(length)
        if coverage_penalty and coverage is not None:
            covered = jnp.clip(coverage(after).astype(value.dtype), jnp.finfo(value.dtype).tiny, 1)
            value += coverage_penalty * jnp.sum(jnp.log(covered), axis=-1)[beams]
        return value

    def blocked(step: Array, history: Array | None) -> Array | None:
        """Tokens that may not be chosen at this step, `[K, V]` or `[1, V]`, or None."""
        masks = [] if never is None else [never]
        if eos_id is not None and min_length > 1:
            masks.append(((ids == eos_id) & (step + 1 < min_length))[None])
        if history is not None:
            masks.append(_repeats(history, step, no_repeat_ngram, vocabulary_size))
        if prefix is not None and prefix.shape[0]:
            forced = prefix[jnp.minimum(step, prefix.shape[0] - 1)]
            masks.append(((ids != forced) & (step < prefix.shape[0]))[None])
        return functools.reduce(jnp.logical_or, masks) if masks else None

    def candidates(live: _Live, logits: Array, step: Array) -> _Picks:
        """The best of each beam, all that a choice could need: `[G, K / G, C]` each."""
        logits = logits.astype(dtype)
        mask = blocked(step, live.history)
        open_logits = logits if mask is None else jnp.where(mask, -jnp.inf, logits)
        # One of them may be eos; each beam of an earlier group can push one down. The order of a row's logits is
        # that of its log-probabilities, so the sum over the vocabulary is taken for K rows, and nothing else of [K, V].
        values, tokens = largest(open_logits, min(beam_size + 1, vocabulary_size))
        # Not values[:, :1]: XLA for CPUs takes top-k for a sort of all where one of its results is sliced.
        peak = jnp.max(values if mask is None else logits, axis=-1, keepdims=True)
        gain = values - log_sum_exp(logits, peak)
        total = live.log_prob[:, None] + gain
        beams = jnp.broadcast_to(jnp.arange(beam_size)[:, None], tokens.shape)
        picks = _Picks(total, total, gain, tokens, beams)
        return jax.tree.map(lambda leaf: leaf.reshape(groups, size, -1), picks)

    def body(state: _State) -> _State:
        live, step = state.live, state.step
        after, logits = step_fn(live.carry, live.token)
        found = candidates(live, logits, step)
        taken = jnp.zeros((vocabulary_size,), found.total.dtype)  # how often by earlier groups
        chosen: list[_Picks] = []
        ended: list[_Ended] = []
        for group in range(groups):
            here = jax.tree.map(lambda leaf, group=group: leaf[group].reshape(-1), found)
            if group and diversity:
                here = here._replace(rank=here.rank - diversity * taken[here.token])
            best = _best(here, min(2 * size, here.rank.shape[0]))
            is_end = jnp.zeros(best.token.shape, jnp.bool_) if eos_id is None else best.token == eos_id
            ends = is_end & (jnp.arange(is_end.shape[0]) < size)  # as good as what lives on
            value = score(best.total, step + 1, after, best.parent)
            value = jnp.where(ends, value, -jnp.inf)
            length = jnp.full(value.shape, step + 1)
            before = jax.tree.map(lambda leaf, group=group: leaf[group], state.ended)
            ended.append(_merge(before, _Ended(value, best.gain, length, best.parent), size))
            go_on = best._replace(
                rank=jnp.where(is_end, -jnp.inf, best.rank), total=jnp.where(is_end, -jnp.inf, best.total)
            )
            chosen.append(_best(go_on, size))
            if diversity:
                taken = taken.at[chosen[-1].token].add(jnp.where(chosen[-1].total > -jnp.inf, 1, 0).astype(taken.dtype))
        picks = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *chosen)
        history = live.history
        if history is not None:
            history = lax.dynamic_update_index_in_dim(history[picks.parent], picks.token, step, axis=1)
        trellis = jax.tree.map(
            lambda all_steps, now: lax.dynamic_update_index_in_dim(all_steps, now, step, axis=0),
            state.trellis,
            _Trellis(picks.token, picks.parent, picks.gain, None if record is None else record(after)),
        )
        live = _Live(jax.tree.map(lambda leaf: leaf[picks.parent], after), picks.token, picks.total, history)
        ended_now = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ended)
        return _State(step + 1, live, ended_now, trellis, nothing_better(live, ended_now))

    def nothing_better(live: _Live, ended: _Ended) -> Array:
        """Whether every group's live hypotheses are too improbable for any continuation of them to matter."""
        best = jnp.max(live.log_prob.reshape(groups, size), axis=1)
        if not early_stop:
            return jnp.all(best == -jnp.inf)
        # Log-probabilities only fall, a coverage penalty is at most 0, and a norm grows with the length or is 1.
        bound = best / norm(jnp.asarray(max_steps))
        needed = ended.score[:, min(num_results or beam_size, size) - 1]
        return jnp.all(needed >= bound)  # -inf, where nothing lives, is a bound too

    def start() -> _State:
        live = _Live(
            carry,
            jnp.full((beam_size,), bos_id, jnp.int32),
            jnp.where(jnp.arange(beam_size) % size == 0, 0.0, -jnp.inf).astype(dtype),  # one to begin with, a group
            jnp.zeros((beam_size, max_steps), jnp.int32) if no_repeat_ngram else None,
        )
        none = jnp.full((groups, size), -jnp.inf, dtype)
        ended = _Ended(none, jnp.zeros_like(none), *(jnp.zeros((groups, size), jnp.int32) for _ in range(2)))
        recorded = None if record is None else jax.eval_shape(record, carry)
        recorded = jax.tree.map(lambda leaf: jnp.zeros((max_steps, *leaf.shape), leaf.dtype), recorded)
        ids = jnp.zeros((max_steps, beam_size), jnp.int32)
        trellis = _Trellis(ids, ids, jnp.zeros(ids.shape, dtype), recorded)
        return _State(jnp.zeros((), jnp.int32), live, ended, trellis, jnp.zeros((), jnp.bool_))

    with jax.named_scope("beam_search"):
        state = lax.while_loop(lambda state: (state.step < max_steps) & ~state.done, body, start())
        # What still lives after the last step was cut there.
        cut = jnp.where(state.step == max_steps, state.live.log_prob, -jnp.inf)
        cut = score(cut, jnp.asarray(max_steps), state.live.carry, jnp.arange(beam_size))
        return _trace_back(state, cut.reshape(groups, size), num_results or beam_size, eos_id, pad_id)


def _best(picks: _Picks, count: int) -> _Picks:
    """The best `[count]` of picks `[N]`, best first."""
    _, order = lax.top_k(picks.rank, count)
    return jax.tree.map(lambda leaf: leaf[order], picks)


def _merge(before: _Ended, new: _Ended, size: int) -> _Ended:
    """The best of both, `[size]`; of equal ones that which ended first."""
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), before, new)
    _, order = lax.top_k(both.score, size)
    return jax.tree.map(lambda leaf: leaf[order], both)


def _repeats(history: Array, step: Array, n: int, vocabulary_size: int) -> Array:
    """Tokens that would end an n-gram which each history `[K, T]` of `step` tokens has already, `[K, V]`."""
    rows, steps = history.shape
    if n > steps:
        return jnp.zeros((rows, vocabulary_size), jnp.bool_)
    ends = jnp.arange(n - 1, steps)  # of the n-grams
    seen = jnp.broadcast_to((ends < step)[None], (rows, ends.shape[0]))
    for back in range(1, n):
        last = lax.dynamic_slice_in_dim(history, jnp.maximum(step - back, 0), 1, axis=1)
        seen &= history[:, n - 1 - back : steps - back] == last
    at = jnp.broadcast_to(jnp.arange(rows)[:, None], seen.shape)
    return jnp.zeros((rows, vocabulary_size), jnp.bool_).at[at, history[:, n - 1 :]].max(seen)


def _trace_back(state: _State, cut: Array, count: int, eos_id: int | None, pad_id: int) -> BeamResult:
    """The best hypotheses, each read from its end to its beginning; cut holds the scores `[G, K / G]` of live ones."""
    groups, size = cut.shape
    steps, beams = state.trellis.token.shape
    beam = jnp.arange(beams, dtype=jnp.int32).reshape(groups, size)
    of_cut = _Ended(cut, jnp.zeros_like(cut), jnp.full((groups, size), steps, jnp.int32), beam)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b], axis=1), (state.ended, beam >= 0), (of_cut, beam < 0))
    _, order = lax.top_k(both[0].score, size)
    both = jax.tree.map(lambda leaf: jnp.take_along_axis(leaf, order, axis=1).reshape(-1), both)
    _, order = lax.top_k(both[0].score, count)
    ended, finished = jax.tree.map(lambda leaf: leaf[order], both)
    there = ended.score > -jnp.inf
    lengths, finished = jnp.where(there, ended.length, 0), finished & there

    def body(beam: Array, now: tuple[Array, _Trellis]) -> tuple[Array, tuple[Array, Array, Any]]:
        step, chosen = now
        is_end, inside = finished & (step == lengths - 1), step < lengths
        parent = jnp.where(is_end | ~inside, beam, chosen.parent[beam])
        token = jnp.where(is_end, 0 if eos_id is None else eos_id, chosen.token[beam])
        gain = jnp.where(is_end, ended.gain, chosen.gain[beam])
        recorded = jax.tree.map(lambda leaf: masking.select(inside, leaf[parent], 0), chosen.record)
        return parent, (jnp.where(inside, token, pad_id), jnp.where(inside, gain, 0), recorded)

    _, columns = scan(body, ended.parent, (jnp.arange(steps), state.trellis), reverse=True)
    tokens, log_probs, records = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), columns)
    return BeamResult(tokens, ended.score, log_probs, lengths, finished, records)


def _check_sizes(beam_size: int, max_steps: int, groups: int, num_results: int | None, length_norm: str) -> int:
    """The hypotheses of a group."""
    results = beam_size if num_results is None else num_results
    for name, value in (
        ("beam_size", beam_size),
        ("max_steps", max_steps),
        ("groups", groups),
        ("num_results", results),
    ):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"beam_search: expected {name} to be a positive int, got {value!r}.")
    if beam_size % groups:
        raise ValueError(f"beam_search: expected groups to divide beam_size {beam_size}, got {groups}.")
    if results > beam_size:
        raise ValueError(f"beam_search: expected num_results of at most beam_size {beam_size}, got {results}.")
    if length_norm not in LENGTH_NORMS:
        raise ValueError(f"beam_search: expected length_norm of {', '.join(LENGTH_NORMS)}, got {length_norm!r}.")
    return beam_size // groups


def _check_tokens(name: str, tokens: Array | None, vocabulary_size: int) -> Array | None:
    """Ids `[N]` in the vocabulary, or None."""
    if tokens is None:
        return None
    _checks.check_ids("beam_search", name, tokens, vocabulary_size)
    tokens = jnp.asarray(tokens, jnp.int32) if not len(tokens) else jnp.asarray(tokens)
    if tokens.ndim != 1 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"beam_search: expected {name} to be integers [N], got {tokens.dtype} of shape {tokens.shape}.")
    return tokens.astype(jnp.int32)
