"""Whether search or model is at fault for an error."""

from typing import NamedTuple

import jax.numpy as jnp

from rnnjax._types import Array, serializable


@serializable
class ErrorAttribution(NamedTuple):
    """What is at fault for the wrong ones of N examples.

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
    """Attributes each error to the search or to the model, by the scores of reference y* and hypothesis y_hat.

        score(y*) >  score(y_hat)    the search: it missed a better sequence; widen the beam
        score(y*) <= score(y_hat)    the model: it prefers a wrong sequence; train it better, or change the score

    Reference: Ng 2018, "Sequence models" (error analysis of beam search).

    Args:
      score_reference: of the references y*, `[N]`, on the same scale as score_hypothesis: that of `score_sequences`.
      score_hypothesis: of what the search found, y_hat, `[N]`.
      correct: booleans `[N]`, examples without an error, for which nothing is at fault; None for none.

    Returns:
      `ErrorAttribution(search [N], model [N], search_share [], model_share [])`.

    Raises:
      ValueError, TypeError: shapes that differ, or a correct that is not of booleans.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> reference, found = jnp.array([-1.0, -3.0, -2.0]), jnp.array([-2.0, -1.0, -2.0])
      >>> blame = rnnjax.decoding.attribute_errors(reference, found, correct=jnp.array([False, False, True]))
      >>> blame.search.tolist(), blame.model.tolist(), float(blame.search_share)
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
