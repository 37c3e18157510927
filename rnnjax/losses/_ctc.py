"""Connectionist temporal classification."""

import jax.numpy as jnp
import optax

from rnnjax import _masking as masking
from rnnjax._types import Array


def ctc(logits: Array, labels: Array, *, logit_lengths: Array, label_lengths: Array, blank_id: int = 0) -> Array:
    """Computes -log of the sum of P(path) over the paths that collapse to the labels.

    Reference: Graves et al. 2006, "Connectionist temporal classification"; computed by optax.

    Args:
      logits: `[T, B, V]`, time-major.
      labels: integers `[B, N]`, none of them blank_id within label_lengths.
      logit_lengths: integers `[B]`, in steps.
      label_lengths: integers `[B]`, in labels.
      blank_id: the class that stands for no label.

    Returns:
      Losses `[B]`, in nats; padding, NaN included, changes nothing.

    Raises:
      TypeError: an argument that is no array.
      ValueError: shapes that do not fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> loss = ctc(jnp.zeros((1, 1, 2)), jnp.array([[1]]), logit_lengths=jnp.array([1]),
      ...            label_lengths=jnp.array([1]))
      >>> bool(jnp.isclose(loss[0], jnp.log(2.0)))
      True
    """
    arrays = {"logits": logits, "labels": labels, "logit_lengths": logit_lengths, "label_lengths": label_lengths}
    for name, array in arrays.items():
        masking.check_array("ctc", name, array)
    if logits.ndim != 3 or labels.ndim != 2 or labels.shape[0] != logits.shape[1]:
        raise ValueError(
            f"ctc: expected logits [T, B, V] and labels [B, N], got shapes {logits.shape} and {labels.shape}."
        )
    for name, lengths in (("logit_lengths", logit_lengths), ("label_lengths", label_lengths)):
        if lengths.shape != labels.shape[:1]:
            raise ValueError(f"ctc: expected {name} of shape {labels.shape[:1]}, got {lengths.shape}.")
    real_steps = masking.length_mask(logit_lengths, logits.shape[0])  # [T, B]
    real_labels = masking.length_mask(label_lengths, labels.shape[1]).T  # [B, N]
    return optax.losses.ctc_loss(
        jnp.swapaxes(masking.select(real_steps, logits, 0), 0, 1),
        1.0 - real_steps.T.astype(logits.dtype),
        masking.select(real_labels, labels, 0),
        1.0 - real_labels.astype(logits.dtype),
        blank_id=blank_id,
    )
