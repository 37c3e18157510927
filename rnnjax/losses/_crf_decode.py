"""The most probable labels of a conditional random field."""

from typing import NamedTuple

import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array, serializable
from rnnjax.losses._crf import CRFParams, check_crf, over_labels
from rnnjax.recurrence import scan


@serializable
class CRFLabels(NamedTuple):
    """The most probable labels.

    Attributes:
      labels: integers `[T, ...]`, 0 after the end.
      scores: score of these labels, `[...]`, not normalised: -inf if params forbid all sequences.
    """

    labels: Array
    scores: Array


def crf_decode(params: CRFParams, logits: Array, *, lengths: Array | None = None) -> CRFLabels:
    """Finds the most probable labels of a conditional random field, by the algorithm of Viterbi.

    Reference: Viterbi 1967, "Error bounds for convolutional codes and an asymptotically optimum decoding algorithm".

    Args:
      params: `CRFParams(transitions [K, K], start [K], end [K])`.
      logits: score of each label at each step, `[T, ..., K]`.
      lengths: integers `[...]`, in steps, or None for T; what follows, NaN included, changes nothing.

    Returns:
      `CRFLabels(labels [T, ...], scores [...])`; of equally good labels, the lower in the last step where they differ.

    Raises:
      TypeError, ValueError: as `crf`.

    Examples:
      Label 1 is better at every step, but may not follow itself:

      >>> import jax.numpy as jnp
      >>> from rnnjax.losses import CRFParams, crf_decode
      >>> transitions = jnp.array([[0.0, 0.0], [0.0, -jnp.inf]])
      >>> params = CRFParams(transitions=transitions, start=jnp.zeros(2), end=jnp.zeros(2))
      >>> crf_decode(params, jnp.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])).labels.tolist()
      [1, 0, 1]
    """
    logits, mask = check_crf("crf_decode", params, logits, lengths)

    def best_before(scores: Array) -> tuple[Array, Array]:
        return jnp.max(scores, axis=-2), jnp.argmax(scores, axis=-2).astype(jnp.int32)

    def backward(label: Array, came_from: Array) -> tuple[Array, Array]:
        before = jnp.take_along_axis(came_from, label[..., None], axis=-1)[..., 0]
        return before, label

    values, came_from = over_labels(params, logits, mask, best_before)
    stay = jnp.broadcast_to(jnp.arange(logits.shape[-1], dtype=jnp.int32), came_from.shape)
    came_from = masking.select(mask[1:], came_from, stay)  # after the end, the label of the end
    first, rest = scan(backward, jnp.argmax(values, axis=-1).astype(jnp.int32), came_from, reverse=True)
    labels = jnp.concatenate([first[None], rest])
    return CRFLabels(jnp.where(mask, labels, 0), jnp.where(mask[0], jnp.max(values, axis=-1), 0))
