"""The loss of a padded batch of sequences of classes."""

import jax
import jax.numpy as jnp

from rnnjax._masking import SumCount
from rnnjax._types import Array
from rnnjax.losses._loss import Loss, cross_entropy


def sequence_loss(
    logits: Array, labels: Array, *, where: Array | None = None, label_smoothing: float = 0.0
) -> SumCount:
    """Computes the cross-entropy of a padded batch of sequences, with smoothed labels.

        loss_t = -(1 - e) log p_t[label_t] - e mean_v log p_t[v],    p_t = softmax(logits_t)

    which is the cross-entropy against a label that keeps 1 - e and spreads e evenly over the vocabulary. Reference:
    Szegedy et al. 2016, "Rethinking the inception architecture for computer vision".

    Args:
      logits: `[..., V]`, such as `[T, B, V]`.
      labels: integers `[...]`.
      where: booleans `[...]`, true for real positions, or None for all; NaN elsewhere changes nothing.
      label_smoothing: e in [0, 1).

    Returns:
      `SumCount(sum [], count [])`, in nats.

    Raises:
      ValueError: labels of another shape, or e outside [0, 1).

    Examples:
      >>> import jax.numpy as jnp
      >>> parts = sequence_loss(jnp.zeros((3, 2, 4)), jnp.ones((3, 2), int), label_smoothing=0.1)
      >>> bool(jnp.isclose(parts.mean, jnp.log(4.0))), float(parts.count)
      (True, 6.0)
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"sequence_loss: expected label_smoothing in [0, 1), got {label_smoothing}.")

    def smoothed(logits: Array, labels: Array) -> Array:
        values = cross_entropy(logits, labels)
        if not label_smoothing:
            return values
        spread = jax.nn.logsumexp(logits, axis=-1) - jnp.mean(logits, axis=-1)
        return (1 - label_smoothing) * values + label_smoothing * spread

    return Loss("sequence", smoothed)(logits, labels, where=where)
