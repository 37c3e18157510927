"""Scores of given sequences."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, StepFn, serializable
from rnnjax.decoding._prompt import read_prompt
from rnnjax.decoding._scores import LOG_PROBABILITY, Score, bonus_of, check_score, normalised
from rnnjax.recurrence import scan


@serializable
class SequenceScores(NamedTuple):
    """How a model scores given sequences.

    Attributes:
      scores: on the scale of `beam_search`, `[K]`.
      log_probs: log-probability of each token, `[K, T]`, 0 after the end.
    """

    scores: Array
    log_probs: Array


def score_sequences(
    step_fn: StepFn,
    carry: Carry,
    tokens: Array,
    *,
    lengths: Array,
    bos_id: int | Array,
    prompt: Array | None = None,
    score: Score = LOG_PROBABILITY,
) -> SequenceScores:
    """Scores given sequences under a step function, on the scale of `beam_search` with the same score.

        log P(y) = sum_t log P(y_t | y_<t)

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: the first carry, every leaf `[K, ...]`.
      tokens: ids `[K, T]`, eos among them.
      lengths: tokens of each row, eos counted, `[K]`.
      bos_id: the first token consumed, an int or integers `[K]`.
      prompt: integers `[P]` or `[P, K]`, consumed after bos_id and not scored, as in `beam_search`; or None.
      score: such as `length_normalised(0.6)`; log P(y) by default.

    Returns:
      `SequenceScores(scores [K], log_probs [K, T])`; a row of length 0 scores 0.

    Raises:
      ValueError, TypeError: shapes or dtypes that do not fit, lengths over T, ids outside the vocabulary within the
        lengths, or a step function or a score that returns a wrong shape or dtype.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> step_fn = lambda carry, token: (carry, jnp.zeros((*token.shape, 4)))
      >>> tokens, lengths = jnp.array([[2, 3, 1], [1, 0, 0]]), jnp.array([3, 1])
      >>> scores = rnnjax.decoding.score_sequences(step_fn, jnp.zeros(2), tokens, lengths=lengths, bos_id=0).scores
      >>> bool(jnp.allclose(scores, jnp.log(1 / 4) * lengths.astype(float)))
      True
    """
    where = "score_sequences"
    rows = _checks.count_rows(where, carry)
    tokens = _checks.check_tokens(where, "tokens", tokens, (rows, "T"))
    lengths = masking.check_lengths(where, lengths, tokens.shape[1], (rows,))
    check_score(where, score)
    step_fn = _checks.checked(where, step_fn)
    vocabulary_size, dtype = _checks.logits_of(where, step_fn, carry, rows)
    mask = masking.length_mask(lengths, tokens.shape[1])  # [T, K]
    if not isinstance(mask, jax.core.Tracer) and not isinstance(tokens, jax.core.Tracer):
        _checks.check_ids(where, "tokens", tokens.T[mask], vocabulary_size)
    tokens = jnp.where(mask, tokens.T, 0).astype(jnp.int32)  # [T, K]
    first = jnp.broadcast_to(jnp.asarray(bos_id, jnp.int32), (rows,))
    carry, first = read_prompt(where, step_fn, carry, first, prompt)
    consumed = jnp.concatenate([first[None], tokens[:-1]])[: tokens.shape[0]]

    def body(carry: Carry, now: tuple[Array, Array, Array | None]) -> tuple[Carry, Array]:
        token, target, inside = now
        after, logits = step_fn(carry, token)
        logits = logits.astype(dtype)
        value = jnp.take_along_axis(logits, target[:, None], axis=-1)[:, 0]
        if inside is not None:
            after = masking.select(inside, after, carry)
        return after, value - jax.nn.logsumexp(logits, axis=-1)

    # Only a bonus reads the carry of each row's last step.
    carry, log_probs = scan(body, carry, (consumed, tokens, None if score.bonus is None else mask))
    log_probs = jnp.where(mask, log_probs, 0)
    value = normalised(where, score, jnp.sum(log_probs, axis=0), jnp.maximum(lengths, 1))
    bonus = bonus_of(where, score, carry, rows, dtype)
    value = value if bonus is None else value + bonus
    return SequenceScores(jnp.where(lengths > 0, value, 0), log_probs.T)
