"""The most probable labels of a conditional random field."""

from typing import NamedTuple

import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array, serializable
from rnnjax.losses._crf import CRFParams, check_crf
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

    Example:
      Label 1 is better at every step, but may not follow itself:

      >>> import jax.numpy as jnp
      >>> from rnnjax.losses import CRFParams, crf_decode
      >>> transitions = jnp.array([[0.0, 0.0], [0.0, -jnp.inf]])
      >>> params = CRFParams(transitions=transitions, start=jnp.zeros(2), end=jnp.zeros(2))
      >>> crf_decode(params, jnp.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])).labels.tolist()
      [1, 0, 1]
    """
    logits, mask = check_crf("crf_decode", params, logits, lengths)
    size, batch = logits.shape[-1], logits.shape[1:-1]
    transitions = params.transitions.reshape((1,) * len(batch) + (size, size))
    stay = jnp.broadcast_to(jnp.arange(size, dtype=jnp.int32), logits.shape[1:])

    def forward(best: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        scores, inside = now
        through = best[..., :, None] + transitions  # [..., K before, K]
        came_from = jnp.argmax(through, axis=-2).astype(jnp.int32)
        after = (jnp.max(through, axis=-2) + scores, came_from)
        return masking.select(inside, after, (best, stay))

    def backward(label: Array, came_from: Array) -> tuple[Array, Array]:
        before = jnp.take_along_axis(came_from, label[..., None], axis=-1)[..., 0]
        return before, label

    start, end = (jnp.broadcast_to(leaf, logits.shape[1:]) for leaf in (params.start, params.end))
    best, came_from = scan(forward, start + logits[0], (logits[1:], mask[1:]))
    best = best + end
    first, rest = scan(backward, jnp.argmax(best, axis=-1).astype(jnp.int32), came_from, reverse=True)
    labels = jnp.concatenate([first[None], rest])
    return CRFLabels(jnp.where(mask, labels, 0), jnp.where(mask[0], jnp.max(best, axis=-1), 0))
