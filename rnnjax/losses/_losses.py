"""Losses by name: values per element, masked, and a mean that is a (sum, count).

    loss = get_loss("cross_entropy")
    parts = loss(logits, labels, where=mask)     # SumCount(sum, count)
    value = loss.finish(parts.mean)              # the number that is minimised

`loss.values` gives the per-element values themselves. Every function is optax's where optax has it.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax import _masking as masking
from rnnjax._masking import SumCount
from rnnjax._types import Array


class Loss(NamedTuple):
    """A loss: a function per element, and what is done to the mean.

    Attributes:
      name: its name in `get_loss`.
      values: `(predictions, targets) -> values`, one per element or, for losses over classes, per position.
      finish: function of the mean of the values, `[] -> []`; the root for root mean squared, else the identity.
    """

    name: str
    values: Callable[..., Array]
    finish: Callable[[Array], Array] = jax.nn.identity

    def __call__(self, predictions: Array, targets: Array, *, where: Array | None = None) -> SumCount:
        """Sum and count of the values where the mask is true; NaN elsewhere changes nothing, in gradients too.

        Args:
          predictions: `[*prefix, ...]`.
          targets: `[*prefix, ...]`, see each loss.
          where: booleans `[*prefix]`, or None for all.

        Returns:
          `SumCount(sum [], count [])`.
        """
        if where is not None:
            predictions, targets = (masking.select(where, a, 0) for a in (predictions, targets))
        return masking.masked_mean(self.values(predictions, targets), where)


def _same_shape(name: str, predictions: Array, targets: Array) -> None:
    if jnp.shape(predictions) != jnp.shape(targets):
        raise ValueError(
            f"{name}: expected targets of the shape of the predictions {jnp.shape(predictions)}, got "
            f"{jnp.shape(targets)}."
        )


def bias_error(predictions: Array, targets: Array) -> Array:
    """prediction - target, whose mean is the mean bias: positive where the predictions are too high.

    Args:
      predictions: `[...]`.
      targets: `[...]`.

    Returns:
      Errors `[...]`.

    Example:
      >>> import jax.numpy as jnp
      >>> bias_error(jnp.array([1.0, 5.0]), jnp.array([2.0, 3.0])).tolist()
      [-1.0, 2.0]
    """
    _same_shape("bias_error", predictions, targets)
    return predictions - targets


def absolute_error(predictions: Array, targets: Array) -> Array:
    """|prediction - target|.

    Args:
      predictions: `[...]`.
      targets: `[...]`.

    Returns:
      Errors `[...]`.

    Example:
      >>> import jax.numpy as jnp
      >>> absolute_error(jnp.array([1.0, 5.0]), jnp.array([2.0, 3.0])).tolist()
      [1.0, 2.0]
    """
    return jnp.abs(bias_error(predictions, targets))


def kl_divergence(log_predictions: Array, targets: Array) -> Array:
    """KL(target || prediction) = sum_v target_v * (log target_v - log prediction_v).

    Args:
      log_predictions: log probabilities `[..., V]`.
      targets: probabilities `[..., V]`.

    Returns:
      Divergences `[...]`, in nats.

    Example:
      >>> import jax.numpy as jnp
      >>> p = jnp.array([0.5, 0.5])
      >>> float(kl_divergence(jnp.log(p), p))
      0.0
    """
    _same_shape("kl_divergence", log_predictions, targets)
    return optax.losses.kl_divergence(log_predictions, targets)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """-log softmax(logits)[label], for integer labels, and -sum_v p_v log softmax(logits)_v for probabilities p.

    Args:
      logits: `[..., V]`.
      labels: integers `[...]`, or probabilities `[..., V]`.

    Returns:
      Losses `[...]`, in nats.

    Raises:
      ValueError: labels of another shape.

    Example:
      >>> import jax.numpy as jnp
      >>> bool(jnp.isclose(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))[0], jnp.log(4.0)))
      True
    """
    if jnp.issubdtype(jnp.asarray(labels).dtype, jnp.integer):
        if jnp.shape(labels) != jnp.shape(logits)[:-1]:
            raise ValueError(
                f"cross_entropy: expected labels of shape {jnp.shape(logits)[:-1]} beside logits "
                f"{jnp.shape(logits)}, got {jnp.shape(labels)}."
            )
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    _same_shape("cross_entropy", logits, labels)
    return optax.losses.softmax_cross_entropy(logits, labels)


def sequence_loss(
    logits: Array, labels: Array, *, where: Array | None = None, label_smoothing: float = 0.0
) -> SumCount:
    """Cross-entropy of a padded batch of sequences, with smoothed labels.

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

    Example:
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


def binary_cross_entropy(logits: Array, labels: Array) -> Array:
    """-y log sigmoid(z) - (1 - y) log(1 - sigmoid(z)).

    Args:
      logits: z, `[...]`.
      labels: y between 0 and 1, `[...]`.

    Returns:
      Losses `[...]`, in nats.

    Example:
      >>> import jax.numpy as jnp
      >>> bool(jnp.isclose(binary_cross_entropy(jnp.zeros(1), jnp.ones(1))[0], jnp.log(2.0)))
      True
    """
    _same_shape("binary_cross_entropy", logits, labels)
    return optax.losses.sigmoid_binary_cross_entropy(logits, labels)


def hinge(predictions: Array, targets: Array) -> Array:
    """max(0, 1 - y * prediction), for labels y of -1 or 1.

    Args:
      predictions: `[...]`.
      targets: y, `[...]`.

    Returns:
      Losses `[...]`.

    Example:
      >>> import jax.numpy as jnp
      >>> hinge(jnp.array([0.25, 3.0]), jnp.array([1.0, 1.0])).tolist()
      [0.75, 0.0]
    """
    _same_shape("hinge", predictions, targets)
    return optax.losses.hinge_loss(predictions, targets)


def _checked(name: str, loss: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    def values(predictions: Array, targets: Array) -> Array:
        _same_shape(name, predictions, targets)
        return loss(predictions, targets)

    return values


def ctc(logits: Array, labels: Array, *, logit_lengths: Array, label_lengths: Array, blank_id: int = 0) -> Array:
    """Connectionist temporal classification: -log of the sum of P(path) over paths that collapse to the labels.

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
      ValueError: shapes that do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = ctc(jnp.zeros((1, 1, 2)), jnp.array([[1]]), logit_lengths=jnp.array([1]),
      ...            label_lengths=jnp.array([1]))
      >>> bool(jnp.isclose(loss[0], jnp.log(2.0)))
      True
    """
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


def _root(mean: Array) -> Array:
    """sqrt with the gradient 0, not NaN, at 0."""
    positive = mean > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, mean, jnp.ones_like(mean))), jnp.zeros_like(mean))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        Loss("mean_bias", bias_error),
        Loss("mean_absolute", absolute_error),
        Loss("mean_squared", _checked("mean_squared", optax.losses.squared_error)),
        Loss("root_mean_squared", _checked("root_mean_squared", optax.losses.squared_error), _root),
        Loss("huber", _checked("huber", optax.losses.huber_loss)),
        Loss("log_cosh", _checked("log_cosh", optax.losses.log_cosh)),
        Loss("binary_cross_entropy", binary_cross_entropy),
        Loss("hinge", hinge),
        Loss("cross_entropy", cross_entropy),
        Loss("kl_divergence", kl_divergence),
    )
}


def get_loss(name: str) -> Loss:
    """The loss of this name. CTC, which takes lengths beside its arrays `[T, B, V]`, is the function `ctc`.

    Args:
      name: "mean_bias", "mean_absolute", "mean_squared", "root_mean_squared", "huber", "log_cosh",
        "binary_cross_entropy", "hinge", "cross_entropy" or "kl_divergence"; predictions and targets are
        `[...]`, for the last two `[..., V]`.

    Returns:
      A `Loss`.

    Raises:
      ValueError: an unknown name.

    Example:
      >>> import jax.numpy as jnp
      >>> loss = get_loss("root_mean_squared")
      >>> parts = loss(jnp.array([1.0, 4.0, 9.0]), jnp.array([1.0, 0.0, 0.0]), where=jnp.array([True, True, False]))
      >>> bool(jnp.isclose(loss.finish(parts.mean), jnp.sqrt(8.0)))
      True
    """
    if name == "ctc":
        return Loss("ctc", ctc)
    if name not in LOSSES:
        raise ValueError(f"get_loss: expected one of {', '.join([*LOSSES, 'ctc'])}, got {name!r}.")
    return LOSSES[name]
