"""Conditional random fields over a sequence of labels: likelihood and marginals, by the forward algorithm."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array, serializable
from rnnjax.recurrence import scan


@serializable
class CRFParams(NamedTuple):
    """Scores of a linear-chain conditional random field over K labels; -inf forbids.

    Attributes:
      transitions: score of each label (row) followed by each other (column), `[K, K]`.
      start: score of each first label, `[K]`.
      end: score of each last label, `[K]`.
    """

    transitions: Array
    start: Array
    end: Array


def crf(params: CRFParams, logits: Array, labels: Array, *, lengths: Array | None = None) -> Array:
    """Computes -log P(labels) under a linear-chain conditional random field.

        score(y) = start[y_1] + sum_t logits_t[y_t] + sum_t transitions[y_{t-1}, y_t] + end[y_T]
        P(y)     = exp(score(y)) / sum_{y'} exp(score(y'))

    Reference: Lafferty, McCallum & Pereira 2001, "Conditional random fields". Labels to predict are found by
    `crf_decode`, and probabilities of single labels by `crf_marginals`.

    Args:
      params: `CRFParams(transitions [K, K], start [K], end [K])`, trained with the rest of the model.
      logits: score of each label at each step, `[T, ..., K]`.
      labels: integers `[T, ...]`, from 0 to K - 1.
      lengths: integers `[...]`, in steps, or None for T; what follows, NaN included, changes nothing.

    Returns:
      Losses `[...]`, in nats per sequence: 0 for one of length 0, inf for labels that params forbid.

    Raises:
      TypeError: an argument that is no array, or of a wrong dtype.
      ValueError: shapes that do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> params = CRFParams(transitions=jnp.zeros((2, 2)), start=jnp.zeros(2), end=jnp.zeros(2))
      >>> loss = crf(params, jnp.zeros((3, 1, 2)), jnp.array([[0], [1], [1]]))  # one of eight, all alike
      >>> bool(jnp.isclose(loss[0], jnp.log(8.0)))
      True
    """
    logits, mask = check_crf("crf", params, logits, lengths)
    masking.check_array("crf", "labels", labels)
    if labels.shape != logits.shape[:-1] or not jnp.issubdtype(labels.dtype, jnp.integer):
        raise ValueError(
            f"crf: expected integer labels of shape {logits.shape[:-1]}, got {labels.dtype} {labels.shape}."
        )
    return _log_partition(params, logits, mask) - _score(params, logits, labels, mask)


def crf_marginals(params: CRFParams, logits: Array, *, lengths: Array | None = None) -> Array:
    """Computes the probability of each label at each step under a conditional random field, given all logits.

    They are the derivative of the log-partition function by the logits, for which differentiation of the forward
    algorithm runs what is known as the forward-backward algorithm. Reference: Eisner 2016, "Inside-outside and
    forward-backward algorithms are just backprop".

    Args:
      params: `CRFParams(transitions [K, K], start [K], end [K])`.
      logits: score of each label at each step, `[T, ..., K]`.
      lengths: integers `[...]`, in steps, or None for T.

    Returns:
      Probabilities `[T, ..., K]`: rows add up to 1, and to 0 after the end.

    Raises:
      TypeError, ValueError: as `crf`.

    Examples:
      After label 1 only label 1 can come, so it is the more likely the later:

      >>> import jax.numpy as jnp
      >>> allowed = jnp.array([[0.0, 0.0], [-jnp.inf, 0.0]])
      >>> params = CRFParams(transitions=allowed, start=jnp.zeros(2), end=jnp.zeros(2))
      >>> crf_marginals(params, jnp.zeros((3, 2)))[:, 1].round(2).tolist()
      [0.25, 0.5, 0.75]
    """
    logits, mask = check_crf("crf_marginals", params, logits, lengths)
    return jax.grad(lambda logits: jnp.sum(_log_partition(params, logits, mask)))(logits)


def check_crf(where: str, params: Any, logits: Any, lengths: Any) -> tuple[Array, Array]:
    """Returns logits `[T, ..., K]` with zeros after the end, and the mask `[T, ...]`; raises for what does not fit."""
    if not isinstance(params, CRFParams):
        raise TypeError(f"{where}: expected params to be CRFParams, got {type(params).__name__}.")
    for name, array in {**params._asdict(), "logits": logits}.items():
        masking.check_array(where, name, array)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(f"{where}: expected {name} of a floating-point dtype, got {array.dtype}.")
    if logits.ndim < 2 or not logits.shape[0]:
        raise ValueError(f"{where}: expected logits [T, ..., K] of at least one step, got shape {logits.shape}.")
    steps, *batch, size = logits.shape
    for name, shape in (("transitions", (size, size)), ("start", (size,)), ("end", (size,))):
        if getattr(params, name).shape != shape:
            raise ValueError(
                f"{where}: expected {name} of shape {shape} beside logits of shape {logits.shape}, got "
                f"{getattr(params, name).shape}."
            )
    lengths = jnp.full(batch, steps) if lengths is None else lengths
    mask = masking.length_mask(masking.check_lengths(where, lengths, steps, tuple(batch)), steps)
    return masking.select(mask, jnp.asarray(logits), 0), mask


def over_labels(
    params: CRFParams, logits: Array, mask: Array, combine: Callable[[Array], tuple[Array, Any]]
) -> tuple[Array, Any]:
    """Goes through the steps with a value for each label, which is combined over the labels before it.

    Args:
      params: `CRFParams(transitions [K, K], start [K], end [K])`.
      logits: `[T, ..., K]`.
      mask: `[T, ...]`.
      combine: scores by the label before, `[..., K, K]`, `-> (values [..., K], record)`: a sum or a maximum.

    Returns:
      `(values [..., K], records [T - 1, ...])` at the last step, with the scores of ending there.
    """
    start, end = (jnp.broadcast_to(leaf, logits.shape[1:]) for leaf in (params.start, params.end))
    transitions = params.transitions.reshape((1,) * (logits.ndim - 2) + params.transitions.shape)

    def step(before: Array, now: tuple[Array, Array]) -> tuple[Array, Any]:
        scores, inside = now
        values, record = combine(before[..., :, None] + transitions)
        return masking.select(inside, values + scores, before), record

    values, records = scan(step, start + logits[0], (logits[1:], mask[1:]))
    return values + end, records


def _log_partition(params: CRFParams, logits: Array, mask: Array) -> Array:
    """log sum_y exp(score(y)), `[...]`: the forward algorithm."""
    values, _ = over_labels(params, logits, mask, lambda scores: (_log_sum_exp(scores, axis=-2), None))
    return jnp.where(mask[0], _log_sum_exp(values, axis=-1), 0)


def _score(params: CRFParams, logits: Array, labels: Array, mask: Array) -> Array:
    """score(y), `[...]`."""
    last = jnp.sum(mask, axis=0)[None] - 1  # -1 where there is none
    labels = jnp.where(mask, labels, 0)
    emitted = jnp.take_along_axis(logits, labels[..., None], axis=-1)[..., 0]
    moved = jnp.where(mask[1:], params.transitions[labels[:-1], labels[1:]], 0)
    end = params.end[jnp.take_along_axis(labels, jnp.maximum(last, 0), axis=0)[0]]
    return jnp.where(mask[0], params.start[labels[0]] + end, 0) + jnp.sum(emitted, axis=0) + jnp.sum(moved, axis=0)


def _log_sum_exp(values: Array, axis: int) -> Array:
    """log sum exp, of which -inf for all has a gradient of zero, not NaN: no way leads to such a label."""
    top = jax.lax.stop_gradient(jnp.max(values, axis=axis, keepdims=True))
    top = jnp.where(jnp.isfinite(top), top, 0)
    total = jnp.sum(jnp.exp(values - top), axis=axis)
    reached = total > 0
    return jnp.where(reached, jnp.log(jnp.where(reached, total, 1)) + jnp.squeeze(top, axis), -jnp.inf)
