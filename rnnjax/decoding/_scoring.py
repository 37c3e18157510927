"""Scores of given sequences, and whether search or model is at fault for an error."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, StepFn
from rnnjax.decoding._beam import LENGTH_NORMS, length_norm_of
from rnnjax.recurrence import scan


class SequenceScores(NamedTuple):
    """What a model thinks of given sequences.

    Attributes:
      scores: on the scale of `beam_search` without a coverage penalty, `[K]`.
      log_probs: log-probability of each token, `[K, T]`, 0 behind the lengths.
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
    length_penalty: float = 0.0,
    length_norm: str = "gnmt",
) -> SequenceScores:
    """log P(y) of given sequences under a step function, on the scale of `beam_search`.

        score(y) = sum_t log P(y_t | y_<t) / norm(|y|)^a

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: the first carry, every leaf `[K, ...]`.
      tokens: ids `[K, T]`, eos among them.
      lengths: tokens of each row, eos counted, `[K]`.
      bos_id: the first token consumed, an int or integers `[K]`.
      length_penalty: a.
      length_norm: "gnmt" or "average".

    Returns:
      `SequenceScores(scores [K], log_probs [K, T])`; a row of length 0 scores 0.

    Raises:
      ValueError, TypeError: shapes or dtypes that do not fit, lengths over T, an unknown length_norm, or ids outside
        the vocabulary within the lengths.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> step_fn = lambda carry, token: (carry, jnp.zeros((*token.shape, 4)))
      >>> tokens, lengths = jnp.array([[2, 3, 1], [1, 0, 0]]), jnp.array([3, 1])
      >>> scores = rnnjax.decoding.score_sequences(step_fn, jnp.zeros(2), tokens, lengths=lengths, bos_id=0).scores
      >>> bool(jnp.allclose(scores, jnp.log(1 / 4) * lengths.astype(float)))
      True
    """
    rows = _checks.count_rows("score_sequences", carry)
    tokens = _checks.check_tokens("score_sequences", "tokens", tokens, (rows, "T"))
    lengths = masking.check_lengths("score_sequences", lengths, tokens.shape[1], (rows,))
    if length_norm not in LENGTH_NORMS:
        raise ValueError(f"score_sequences: expected length_norm of {', '.join(LENGTH_NORMS)}, got {length_norm!r}.")
    step_fn = _checks.checked("score_sequences", step_fn)
    vocabulary_size, dtype = _checks.logits_of("score_sequences", step_fn, carry, rows)
    mask = masking.length_mask(lengths, tokens.shape[1])  # [T, K]
    if not isinstance(mask, jax.core.Tracer) and not isinstance(tokens, jax.core.Tracer):
        _checks.check_ids("score_sequences", "tokens", tokens.T[mask], vocabulary_size)
    tokens = jnp.where(mask, tokens.T, 0).astype(jnp.int32)  # [T, K]
    first = jnp.broadcast_to(jnp.asarray(bos_id, jnp.int32), (rows,))

    def body(carry: Carry, now: tuple[Array, Array]) -> tuple[Carry, Array]:
        token, target = now
        carry, logits = step_fn(carry, token)
        logits = logits.astype(dtype)
        value = jnp.take_along_axis(logits, target[:, None], axis=-1)[:, 0]
        return carry, value - jax.nn.logsumexp(logits, axis=-1)

    _, log_probs = scan(body, carry, (jnp.concatenate([first[None], tokens[:-1]])[: tokens.shape[0]], tokens))
    log_probs = jnp.where(mask, log_probs, 0)
    total = jnp.sum(log_probs, axis=0) / length_norm_of(jnp.maximum(lengths, 1), length_penalty, length_norm, dtype)
    return SequenceScores(total, log_probs.T)


class ErrorAttribution(NamedTuple):
    """Who is at fault for the wrong ones of N examples.

    Attributes:
      search: the model prefers the reference, and the search did not find it, booleans `[N]`.
      model: the model prefers what the search found to the reference, booleans `[N]`.
      search_share: of the errors, in [0, 1]; 0 without errors, `[]`.
      model_share: of the errors, in [0, 1]; 0 without errors, `[]`.
    """

    search: Array
    model: Array
    search_share: Array
    model_share: Array


def attribute_errors(
    score_reference: Array, score_hypothesis: Array, *, correct: Array | None = None
) -> ErrorAttribution:
    """Whether search or model is at fault, example by example, from P(y*|x) and P(y_hat|x).

        P(y*|x) >  P(y_hat|x)    the search: it missed a better sequence; widen the beam
        P(y*|x) <= P(y_hat|x)    the model: it prefers a wrong sequence; train it better, or penalise lengths otherwise

    Reference: Ng 2018, "Sequence models" (error analysis of beam search).

    Args:
      score_reference: of the references y*, `[N]`, on one scale with score_hypothesis: that of `score_sequences`.
      score_hypothesis: of what the search found, y_hat, `[N]`.
      correct: booleans `[N]`, examples without an error, which nobody is at fault for; None for none.

    Returns:
      `ErrorAttribution(search [N], model [N], search_share [], model_share [])`.

    Raises:
      ValueError, TypeError: shapes that differ, or a correct that is not of booleans.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> found = rnnjax.decoding.attribute_errors(jnp.array([-1.0, -3.0, -2.0]), jnp.array([-2.0, -1.0, -2.0]),
      ...                                 correct=jnp.array([False, False, True]))
      >>> found.search.tolist(), found.model.tolist(), float(found.search_share)
      ([True, False, False], [False, True, False], 0.5)
    """
    score_reference, score_hypothesis = jnp.asarray(score_reference), jnp.asarray(score_hypothesis)
    if correct is not None and jnp.asarray(correct).dtype != jnp.bool_:
        raise TypeError(f"attribute_errors: expected correct of dtype bool, got {jnp.asarray(correct).dtype}.")
    wrong = jnp.ones(score_reference.shape, jnp.bool_) if correct is None else ~jnp.asarray(correct)
    if not score_reference.shape == score_hypothesis.shape == wrong.shape or score_reference.ndim != 1:
        raise ValueError(
            f"attribute_errors: expected scores and correct of one shape [N], got {score_reference.shape}, "
            f"{score_hypothesis.shape} and {wrong.shape}."
        )
    search = wrong & (score_reference > score_hypothesis)
    model = wrong & ~search
    errors = jnp.maximum(jnp.sum(wrong), 1)
    return ErrorAttribution(search, model, jnp.sum(search) / errors, jnp.sum(model) / errors)
