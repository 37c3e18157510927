"""Losses by name: values per element, masked, and a mean that is a (sum, count)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax._masking import SumCount, check_array, check_mask, masked_mean, select
from rnnjax._types import Array
from rnnjax.losses._ctc import ctc


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
        """Sums and counts the values where the mask is true; NaN elsewhere changes nothing, in gradients too.

        Args:
          predictions: `[*prefix, ...]`.
          targets: `[*prefix, ...]`, see `get_loss`.
          where: booleans `[*prefix]`, or None for all.

        Returns:
          `SumCount(sum [], count [])`.
        """
        if where is not None:
            for name, array in (("predictions", predictions), ("targets", targets)):
                check_array(self.name, name, array)
                check_mask(self.name, "where", where, array.shape)
            predictions, targets = (select(where, array, 0) for array in (predictions, targets))
        return masked_mean(self.values(predictions, targets), where)


def check_same_shape(where: str, predictions: Array, targets: Array) -> None:
    """Raises unless both are arrays of one shape."""
    check_array(where, "predictions", predictions)
    check_array(where, "targets", targets)
    if predictions.shape != targets.shape:
        raise ValueError(
            f"{where}: expected targets of the shape of the predictions {predictions.shape}, got {targets.shape}."
        )


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Computes -log softmax(logits)[label] for integer labels, -sum_v p_v log softmax(logits)_v for probabilities p.

    Args:
      logits: `[..., V]`.
      labels: integers `[...]`, or probabilities `[..., V]`.

    Returns:
      Losses `[...]`, in nats.

    Raises:
      ValueError: labels of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> bool(jnp.isclose(cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))[0], jnp.log(4.0)))
      True
    """
    check_array("cross_entropy", "logits", logits)
    check_array("cross_entropy", "labels", labels)
    if jnp.issubdtype(labels.dtype, jnp.integer):
        if labels.shape != logits.shape[:-1]:
            raise ValueError(
                f"cross_entropy: expected labels of shape {logits.shape[:-1]} beside logits {logits.shape}, got "
                f"{labels.shape}."
            )
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, labels)
    check_same_shape("cross_entropy", logits, labels)
    return optax.losses.softmax_cross_entropy(logits, labels)


def _of_one_shape(
    name: str, values: Callable[[Array, Array], Array], finish: Callable[[Array], Array] = jax.nn.identity
) -> Loss:
    """Makes a loss whose predictions and targets have one shape."""

    def checked(predictions: Array, targets: Array) -> Array:
        check_same_shape(name, predictions, targets)
        return values(predictions, targets)

    return Loss(name, checked, finish)


def _root(mean: Array) -> Array:
    """Takes the square root, with the gradient 0, not NaN, at 0."""
    positive = mean > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, mean, jnp.ones_like(mean))), jnp.zeros_like(mean))


LOSSES: dict[str, Loss] = {
    loss.name: loss
    for loss in (
        _of_one_shape("mean_bias", lambda predictions, targets: predictions - targets),
        _of_one_shape("mean_absolute", lambda predictions, targets: jnp.abs(predictions - targets)),
        _of_one_shape("mean_squared", optax.losses.squared_error),
        _of_one_shape("root_mean_squared", optax.losses.squared_error, _root),
        _of_one_shape("huber", optax.losses.huber_loss),
        _of_one_shape("log_cosh", optax.losses.log_cosh),
        _of_one_shape("binary_cross_entropy", optax.losses.sigmoid_binary_cross_entropy),
        _of_one_shape("hinge", optax.losses.hinge_loss),
        Loss("cross_entropy", cross_entropy),
        _of_one_shape("kl_divergence", optax.losses.kl_divergence),
    )
}


def get_loss(name: str) -> Loss:
    """Returns the loss of this name, with predictions p and targets t, per element unless said otherwise:

        mean_bias              p - t, positive where the predictions are too high
        mean_absolute          |p - t|
        mean_squared           (p - t)^2
        root_mean_squared      (p - t)^2, and `finish` takes the root of the mean
        huber                  (p - t)^2 / 2 where |p - t| <= 1, |p - t| - 1/2 elsewhere
        log_cosh               log cosh(p - t)
        binary_cross_entropy   -t log sigmoid(p) - (1 - t) log(1 - sigmoid(p)), for t between 0 and 1
        hinge                  max(0, 1 - t p), for t of -1 or 1
        cross_entropy          -log softmax(p)_t for integers t, -sum_v t_v log softmax(p)_v for probabilities t
        kl_divergence          sum_v t_v (log t_v - p_v), for log-probabilities p and probabilities t

    Cross-entropies and divergences are in nats. The values themselves are `loss.values(p, t)`; the number that is
    minimised is `loss.finish(loss(p, t, where=mask).mean)`.

    Args:
      name: one of those above, with p and t of one shape `[...]`, for the last two `[..., V]`; the integers of
        cross_entropy are `[...]`. "ctc" gives the function `ctc`, which takes lengths beside its arrays.

    Returns:
      A `Loss`.

    Raises:
      ValueError: an unknown name.

    Examples:
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
