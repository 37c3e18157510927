"""Scores: what a search ranks hypotheses by."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._types import Array, Carry


class Score(NamedTuple):
    """What hypotheses are ranked by: score(y) = normalise(log P(y), |y|) + bonus(carry).

    Two functions, such as `length_normalised` and `with_coverage` make them. A search stops when no hypothesis that
    lives can come to be among the best, which `normalise(log_prob, T)` and a bonus of at most 0 tell.

    Attributes:
      normalise: `(log_prob [N], length [N]) -> [N]`, increasing in log_prob, and at most `normalise(log_prob, T)` for
        whatever a hypothesis of this log_prob can become, T being the largest number of tokens. The length, eos
        counted, has the dtype of log_prob, and so has the result.
      bonus: `carry -> [K]`, at most 0, of the carry that predicted the last token; or None.

    Examples:
      A reward for each token:

      >>> import jax.numpy as jnp, rnnjax
      >>> score = rnnjax.decoding.Score(lambda log_prob, length: log_prob + 0.5 * length.astype(log_prob.dtype))
      >>> score.normalise(jnp.array([-1.0, -2.0]), jnp.array([2, 6])).tolist()
      [0.0, 1.0]
    """

    normalise: Callable[[Array, Array], Array]
    bonus: Callable[[Carry], Array] | None = None


def gnmt_length(length: Array) -> Array:
    """Computes (5 + n) / 6, which is 1 for a single token.

    Reference: Wu et al. 2016, "Google's neural machine translation system".

    Args:
      length: n, `[...]`.

    Returns:
      `[...]`.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> rnnjax.decoding.gnmt_length(jnp.array([1.0, 7.0])).tolist()
      [1.0, 2.0]
    """
    return (5 + length) / 6


def average_length(length: Array) -> Array:
    """Returns n itself, by which a log-probability becomes its mean per token.

    Args:
      length: n, `[...]`.

    Returns:
      `[...]`.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> rnnjax.decoding.average_length(jnp.array([1.0, 7.0])).tolist()
      [1.0, 7.0]
    """
    return length


def length_normalised(penalty: float = 0.0, *, norm: Callable[[Array], Array] = gnmt_length) -> Score:
    """Divides log-probabilities by a power of the length: score(y) = log P(y) / norm(|y|)^a.

    Reference: Wu et al. 2016, "Google's neural machine translation system".

    Args:
      penalty: a, from 0 (raw log-probabilities) up.
      norm: a positive function of the length that never falls, `gnmt_length` or `average_length`; a = 1 with the latter
        is the mean per token.

    Returns:
      A `Score`.

    Raises:
      ValueError: a negative penalty.
      TypeError: a norm that is not a function.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> score = rnnjax.decoding.length_normalised(1.0, norm=rnnjax.decoding.average_length)
      >>> score.normalise(jnp.array([-6.0, -6.0]), jnp.array([2, 3])).tolist()
      [-3.0, -2.0]
    """
    if not penalty >= 0:
        raise ValueError(f"length_normalised: expected a penalty of at least 0, got {penalty}.")
    if not callable(norm):
        raise TypeError(f"length_normalised: expected norm to be a function such as average_length, got {norm!r}.")

    def normalise(log_prob: Array, length: Array) -> Array:
        if not penalty:
            return log_prob
        return log_prob / norm(length.astype(log_prob.dtype)) ** jnp.asarray(penalty, log_prob.dtype)

    return Score(normalise)


LOG_PROBABILITY = length_normalised(0.0)


def with_coverage(score: Score, penalty: float, coverage: Callable[[Carry], Array]) -> Score:
    """Penalises what was not attended to: score(y) + b sum_s log min(coverage_s(y), 1).

    Reference: Wu et al. 2016, "Google's neural machine translation system".

    Args:
      score: the `Score` without it.
      penalty: b, at least 0.
      coverage: `carry -> [K, S]`, the attention that each source position has received so far, 1 at padded ones; see
        `rnnjax.seq2seq.source_coverage`.

    Returns:
      A `Score` with a bonus.

    Raises:
      ValueError: a negative penalty.
      TypeError: a score that is not a `Score`, or a coverage that is not a function.

    Examples:
      A source of two positions, the second of which has received a half:

      >>> import jax.numpy as jnp, rnnjax
      >>> score = rnnjax.decoding.length_normalised(0.6)
      >>> score = rnnjax.decoding.with_coverage(score, 0.2, lambda carry: carry)
      >>> round(float(score.bonus(jnp.array([[1.5, 0.5]]))[0]), 3)  # 0.2 log 0.5
      -0.139
    """
    if not penalty >= 0:
        raise ValueError(f"with_coverage: expected a penalty of at least 0, got {penalty}.")
    check_score("with_coverage", score)
    if not callable(coverage):
        raise TypeError(f"with_coverage: expected coverage to be a function of the carry, got {coverage!r}.")
    if not penalty:
        return score

    def bonus(carry: Carry) -> Array:
        covered = coverage(carry)
        covered = covered.astype(jnp.promote_types(covered.dtype, jnp.float32))
        # Of a position that received nothing the logarithm is large, not infinite.
        value = penalty * jnp.sum(jnp.log(jnp.clip(covered, jnp.finfo(covered.dtype).tiny, 1)), axis=-1)
        return value if score.bonus is None else score.bonus(carry) + value

    return Score(score.normalise, bonus)


def check_score(where: str, score: Any) -> None:
    """Raises unless it is a Score."""
    if not isinstance(score, Score):
        raise TypeError(f"{where}: expected score to be a Score, such as length_normalised(0.6), got {score!r}.")


def normalised(where: str, score: Score, log_prob: Array, length: Array) -> Array:
    """What score.normalise makes of log-probabilities `[N]`; -inf, which stands for no hypothesis, stays -inf."""
    value = score.normalise(log_prob, length.astype(log_prob.dtype))
    if jnp.shape(value) != log_prob.shape or jnp.result_type(value) != log_prob.dtype:
        raise ValueError(
            f"{where}: expected score.normalise to return shape {log_prob.shape} and dtype {log_prob.dtype}, those of "
            f"log_prob, got {jnp.shape(value)} and {jnp.result_type(value)}."
        )
    return jnp.where(log_prob == -jnp.inf, -jnp.inf, value)


def bonus_of(where: str, score: Score, carry: Carry, rows: int, dtype: Any) -> Array | None:
    """The bonus of each row of a carry, `[K]`, or None."""
    if score.bonus is None:
        return None
    value = score.bonus(carry)
    if jnp.shape(value) != (rows,) or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        raise ValueError(
            f"{where}: expected score.bonus to return floats of shape {(rows,)}, got {jnp.result_type(value)} of "
            f"shape {jnp.shape(value)}."
        )
    return value.astype(dtype)
