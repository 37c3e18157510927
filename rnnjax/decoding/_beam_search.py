"""Beam search: the most probable sequences of a model of the next token, inside one compiled loop.

The model is a step function, `(carry, token [K]) -> (carry, logits [K, V])`, closed over its parameters and over what
it knows of the source, which is therefore never copied for each beam. The search is written for one source; a batch is
`jax.vmap` of it. What it ranks are the outcomes of `rnnjax.sample`: sequences that end with eos, and those that are cut
after max_steps tokens, unless only finished ones are asked for.

A step extends the live hypotheses, scores those that end, and keeps the best of both; the loop ends where no better
ones can come, or after max_steps.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax import _checks
from rnnjax._types import Array, Carry, StepFn, serializable
from rnnjax.decoding import _beam as beam
from rnnjax.decoding import _beam_checks as beam_checks
from rnnjax.decoding import _trellis as trellises
from rnnjax.decoding._constraints import Constraint, check_constraints, constrain
from rnnjax.decoding._largest import largest, log_sum_exp
from rnnjax.decoding._prompt import read_prompt
from rnnjax.decoding._scores import LOG_PROBABILITY, Score, bonus_of, check_score, normalised


@serializable
class BeamResult(NamedTuple):
    """The best hypotheses of one source, best first.

    Attributes:
      tokens: ids `[N, T]`, pad_id after the end.
      scores: what they are ranked by, `[N]`: -inf where there is no further hypothesis, and then the tokens are pad_id.
      log_probs: log-probability of each token under the model, `[N, T]`, 0 after the end.
      lengths: tokens of each up to and with its eos, `[N]`; 0 where there is no further hypothesis.
      finished: whether each ends with eos, or was cut after T tokens, `[N]`.
      records: what `record` returned at each step of each hypothesis, leaves `[N, T, ...]`, 0 after the end; or None.
    """

    tokens: Array
    scores: Array
    log_probs: Array
    lengths: Array
    finished: Array
    records: Any


class _Search(NamedTuple):
    """What stays the same during a search."""

    step_fn: StepFn
    constraints: Sequence[Constraint]
    score: Score
    record: Callable[[Carry], Any] | None
    eos_id: int | None
    ends: str  # which of them compete
    finished_only: bool
    beams: int  # K
    groups: int  # G
    diversity: float  # what a token's rank loses for each earlier group that takes it
    results: int  # N
    max_steps: int  # T
    early_stop: bool
    vocabulary_size: int  # V
    dtype: Any  # of log-probabilities

    @property
    def size(self) -> int:
        """Hypotheses of a group, K / G."""
        return self.beams // self.groups


class _State(NamedTuple):
    """State of the loop."""

    step: Array  # tokens so far, []
    live: beam.Live
    ended: beam.Ended
    trellis: trellises.Trellis
    done: Array  # whether nothing better can come, []


def beam_search(
    step_fn: StepFn,
    carry: Carry,
    *,
    bos_id: int | Array,
    eos_id: int | None,
    pad_id: int = 0,
    beam_size: int,
    max_steps: int,
    constraints: Sequence[Constraint] = (),
    prompt: Array | None = None,
    score: Score = LOG_PROBABILITY,
    ends: str = "k",
    finished_only: bool = False,
    groups: int = 1,
    diversity: float = 0.0,
    num_results: int | None = None,
    early_stop: bool = True,
    record: Callable[[Carry], Any] | None = None,
) -> BeamResult:
    """Searches for the sequences of one source that have the highest scores.

    At every step the K best continuations of the K live hypotheses are found; those that end are kept aside, never lost
    to longer ones, and the K best others live on. With K of at least V^T this is exhaustive; with K = 1 and no penalty
    it is greedy decoding, unless more ends compete. Ties go to the lower id.

    Which ends compete for a place does not change what lives on:

        ends="k"      those among the K best candidates of a step, as in transformers and fairseq
        ends="2k"     those among the 2K best, as in Flax and t5x
        ends="all"    those of all live hypotheses, at every step

    The more compete, the less a search misses: on random lattices the best sequence in 27, 10 and 8 % of them, with
    K = 2 and log P(y). But what it finds need not be right. A model of smoothed labels gives some probability to an end
    everywhere, and log P(y) prefers a short wrong answer to a long right one: with K = 4 such models answer right in
    97, 91 and 10 %, and in 98 % whatever competes with `length_normalised(0.6)` (tests/decoding/test_ends_study.py). So
    "k" is the default, and "all" is for scores that are normalised by length.

    References: Graves 2012, "Sequence transduction with recurrent neural networks" (the search); Vijayakumar et al.
    2018, "Diverse beam search" (groups).

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: that of one hypothesis, leaves `[...]`: the search tiles it to `[K, ...]`.
      bos_id: the first token consumed, an int or `[]`.
      eos_id: the token that ends a hypothesis, or None for hypotheses of T tokens only.
      pad_id: what fills a row after its end.
      beam_size: K; a K over V, or over the number of hypotheses, is allowed.
      max_steps: T, the largest number of tokens, eos counted.
      constraints: functions `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`, applied in order. A token whose
        logit becomes -inf is forbidden; all others keep the log-probability that the model gives them.
      prompt: integers `[P]`, consumed after bos_id before the search begins, as in `sample`; or None. Its tokens are no
        part of a hypothesis: neither score nor length nor constraints know them. `force_prefix` is for those that are.
      score: what hypotheses are ranked by, such as `length_normalised(0.6)`; log P(y) by default.
      ends: which ends compete, "k", "2k" or "all"; in groups, K is the size of one.
      finished_only: whether hypotheses that are cut are left out. Of N places those without a finished hypothesis have
        score -inf, length 0 and tokens pad_id: all of them where none has finished, for which Flax and t5x return what
        was cut.
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
      ValueError, TypeError: sizes that are not positive, ids outside the vocabulary, groups that do not divide K,
        unknown ends, finished_only without eos_id, a prompt of another shape or dtype, a carry or a bos_id of a whole
        batch, or a step function, a constraint or a score that returns a wrong shape or dtype.

    Examples:
      Two steps, two words and an end (id 0). Greedy takes word 1 (0.6), after which nothing is likely:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> after = jnp.log(jnp.array([[0.4, 0.3, 0.3], [0.3, 0.4, 0.3], [0.9, 0.05, 0.05], [0.0, 0.6, 0.4]]) + 1e-9)
      >>> step_fn = lambda carry, token: (carry, after[token])
      >>> result = rnnjax.beam_search(step_fn, jnp.zeros(()), bos_id=3, eos_id=0, beam_size=2, max_steps=3)
      >>> result.tokens[0].tolist(), round(float(jnp.exp(result.scores[0])), 2)
      ([2, 0, 0], 0.36)

      A batch of prompts; after word 2 an end has 0.9, after word 1 it has 0.3:

      >>> def search(prompt):
      ...     options = {"bos_id": 3, "eos_id": 0, "beam_size": 2, "max_steps": 3, "finished_only": True}
      ...     return rnnjax.beam_search(step_fn, jnp.zeros(()), prompt=prompt, **options)
      >>> scores = jax.vmap(search)(jnp.array([[1, 2], [2, 1]])).scores
      >>> [round(float(probability), 2) for probability in jnp.exp(scores[:, 0])]
      [0.9, 0.3]
    """
    num_results = beam_size if num_results is None else num_results
    beam_checks.check_sizes(beam_size, max_steps, groups, num_results, diversity)
    beam_checks.check_ends(ends, finished_only, eos_id)
    beam_checks.check_source(bos_id, prompt)
    constraints = check_constraints("beam_search", constraints)
    check_score("beam_search", score)
    carry = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf)[None], (beam_size, *jnp.shape(leaf))), carry)
    step_fn = _checks.checked("beam_search", beam_checks.of_one_source(step_fn))
    vocabulary_size, dtype = _checks.logits_of("beam_search", step_fn, carry, beam_size)
    if eos_id is not None:
        _checks.check_ids("beam_search", "eos_id", eos_id, vocabulary_size)
    search = _Search(
        step_fn=step_fn,
        constraints=constraints,
        score=score,
        record=record,
        eos_id=eos_id,
        ends=ends,
        finished_only=finished_only,
        beams=beam_size,
        groups=groups,
        diversity=diversity,
        results=num_results,
        max_steps=max_steps,
        early_stop=early_stop,
        vocabulary_size=vocabulary_size,
        dtype=dtype,
    )
    with jax.named_scope("beam_search"):
        token = jnp.full((beam_size,), bos_id, jnp.int32)
        carry, token = read_prompt("beam_search", step_fn, carry, token, prompt)
        state = lax.while_loop(
            lambda state: (state.step < max_steps) & ~state.done,
            lambda state: _advance(search, state),
            _start(search, carry, token, pad_id),
        )
        paths = trellises.best_paths(state.ended, _cut(search, state), max_steps, num_results)
        tokens, log_probs, records = trellises.trace_back(state.trellis, paths, eos_id, pad_id)
    ended, finished = paths
    return BeamResult(tokens, ended.score, log_probs, ended.length, finished, records)


def _start(search: _Search, carry: Carry, token: Array, pad_id: int) -> _State:
    """One hypothesis without tokens in each group."""
    live = beam.Live(
        carry,
        token,
        jnp.where(jnp.arange(search.beams) % search.size == 0, 0.0, -jnp.inf).astype(search.dtype),
        jnp.full((search.beams, search.max_steps), pad_id, jnp.int32) if search.constraints else None,
    )
    none = jnp.full((search.groups, search.size), -jnp.inf, search.dtype)
    ended = beam.Ended(none, jnp.zeros_like(none), *(jnp.zeros(none.shape, jnp.int32) for _ in range(2)))
    record = None if search.record is None else jax.eval_shape(search.record, carry)
    trellis = trellises.empty(search.max_steps, search.beams, search.dtype, record)
    return _State(jnp.zeros((), jnp.int32), live, ended, trellis, jnp.zeros((), jnp.bool_))


def _advance(search: _Search, state: _State) -> _State:
    """Extends all hypotheses by a token; scores those that end, keeps the best of both."""
    step = state.step
    after, logits = search.step_fn(state.live.carry, state.live.token)
    candidates, all_ends = _extend(search, state.live, logits, step)
    bonus = bonus_of("beam_search", search.score, after, search.beams, search.dtype)
    taken = jnp.zeros((search.vocabulary_size,), search.dtype)  # how often each token, by earlier groups
    kept: list[beam.Candidates] = []
    ended: list[beam.Ended] = []
    for group in range(search.groups):
        here = jax.tree.map(lambda leaf, group=group: leaf[group].reshape(-1), candidates)
        if group and search.diversity:
            here = here._replace(rank=here.rank - search.diversity * taken[here.token])
        best = beam.best_of(here, min(2 * search.size, here.rank.shape[0]))
        before = jax.tree.map(lambda leaf, group=group: leaf[group], state.ended)
        rivals = best if all_ends is None else jax.tree.map(lambda leaf, group=group: leaf[group], all_ends)
        ended.append(beam.best_ended(before, _score_ends(search, rivals, step + 1, bonus), search.size))
        kept.append(beam.keep(best, beam.ends_with(best, search.eos_id), search.size))
        if search.diversity:
            taken = taken.at[kept[-1].token].add(jnp.where(kept[-1].total > -jnp.inf, 1, 0).astype(taken.dtype))
    all_kept = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *kept)
    all_ended = jax.tree.map(lambda *leaves: jnp.stack(leaves), *ended)
    record = None if search.record is None else search.record(after)
    trellis = trellises.write(state.trellis, step, all_kept, record)
    live = beam.grow(state.live, after, all_kept, step)
    return _State(step + 1, live, all_ended, trellis, _nothing_better(search, live, all_ended))


def _extend(
    search: _Search, live: beam.Live, logits: Array, step: Array
) -> tuple[beam.Candidates, beam.Candidates | None]:
    """The best continuations that a choice could need, `[G, K / G, C]`; and ends `[G, K / G]` where all compete."""
    allowed = logits.astype(search.dtype)
    if live.tokens is not None:
        constrained = constrain("beam_search", search.constraints, live.tokens, step, logits)
        allowed = jnp.where(constrained == -jnp.inf, -jnp.inf, allowed)
    logits = logits.astype(search.dtype)
    # So many of them may end; each beam of an earlier group can push one down. The order of a row's logits is that of
    # its log-probabilities, so the sum over the vocabulary is taken for K rows, and nothing else of [K, V].
    ends = search.size if search.ends == "2k" else 1
    values, tokens = largest(allowed, min(search.beams + ends, search.vocabulary_size))
    # Not values[:, :1]: XLA for CPUs takes top-k for a sort of all where one of its results is sliced.
    peak = jnp.max(values if live.tokens is None else logits, axis=-1, keepdims=True)
    log_sum = log_sum_exp(logits, peak)
    candidates = _candidates(search, live, values - log_sum, tokens)
    if search.ends != "all" or search.eos_id is None:
        return candidates, None
    eos = jnp.full((search.beams, 1), search.eos_id, jnp.int32)
    all_ends = _candidates(search, live, jnp.take_along_axis(allowed, eos, axis=-1) - log_sum, eos)
    return candidates, jax.tree.map(lambda leaf: leaf[..., 0], all_ends)


def _candidates(search: _Search, live: beam.Live, gain: Array, tokens: Array) -> beam.Candidates:
    """Live hypotheses with one more token each, whose gains and ids are `[K, C]`: leaves `[G, K / G, C]`."""
    total = live.log_prob[:, None] + gain
    parent = jnp.broadcast_to(jnp.arange(search.beams)[:, None], tokens.shape)
    candidates = beam.Candidates(total, total, gain, tokens, parent)
    return jax.tree.map(lambda leaf: leaf.reshape(search.groups, search.size, -1), candidates)


def _score_ends(search: _Search, rivals: beam.Candidates, length: Array, bonus: Array | None) -> beam.Ended:
    """The candidates of a group as ended hypotheses; only those that end, and may compete, count."""
    ends = beam.ends_with(rivals, search.eos_id)
    if search.ends == "k":
        ends &= jnp.arange(ends.shape[0]) < search.size  # as good as what lives on
    lengths = jnp.full(rivals.total.shape, length)
    score = _score(search, rivals.total, lengths, None if bonus is None else bonus[rivals.parent])
    return beam.Ended(jnp.where(ends, score, -jnp.inf), rivals.gain, lengths, rivals.parent)


def _score(search: _Search, log_prob: Array, length: Array, bonus: Array | None) -> Array:
    """Scores of hypotheses `[N]`."""
    value = normalised("beam_search", search.score, log_prob, length)
    return value if bonus is None else value + bonus


def _nothing_better(search: _Search, live: beam.Live, ended: beam.Ended) -> Array:
    """Whether every group's live hypotheses are too improbable for any continuation of them to matter."""
    best = jnp.max(live.log_prob.reshape(search.groups, search.size), axis=1)
    if not search.early_stop:
        return jnp.all(best == -jnp.inf)
    # Log-probabilities only fall and a bonus is at most 0.
    bound = _score(search, best, jnp.full(best.shape, search.max_steps), None)
    needed = ended.score[:, min(search.results, search.size) - 1]
    return jnp.all(needed >= bound)  # -inf, where nothing lives, is a bound too


def _cut(search: _Search, state: _State) -> Array:
    """Scores of the hypotheses that the last step cuts, `[G, K / G]`; -inf where none is, or counts."""
    if search.finished_only:
        return jnp.full((search.groups, search.size), -jnp.inf, search.dtype)
    log_prob = jnp.where(state.step == search.max_steps, state.live.log_prob, -jnp.inf)
    bonus = bonus_of("beam_search", search.score, state.live.carry, search.beams, search.dtype)
    scores = _score(search, log_prob, jnp.full(log_prob.shape, search.max_steps), bonus)
    return scores.reshape(search.groups, search.size)
