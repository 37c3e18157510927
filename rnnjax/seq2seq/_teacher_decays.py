"""Schedules of scheduled sampling: the probability of reading the truth, by update."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from rnnjax._types import Array

Decay = Callable[[Array | int], Array]


def linear_teacher_decay(steps: int, *, end: float = 0.0) -> Decay:
    """Lets the probability of the truth fall linearly: epsilon_i = max(end, 1 - (1 - end) i / steps) after i updates.

    Reference: Bengio et al. 2015, "Scheduled sampling for sequence prediction with recurrent neural networks".

    Args:
      steps: updates until `end`, at least 1.
      end: the probability that remains, in [0, 1].

    Returns:
      `update -> epsilon`.

    Raises:
      ValueError: values outside their range.

    Examples:
      >>> [float(linear_teacher_decay(10, end=0.5)(i)) for i in (0, 5, 20)]
      [1.0, 0.75, 0.5]
    """
    if steps < 1 or not 0 <= end <= 1:
        raise ValueError(
            f"linear_teacher_decay: expected steps of at least 1 and end in [0, 1], got {steps} and {end}."
        )
    schedule = optax.linear_schedule(1.0, end, steps)
    return lambda update: jnp.clip(schedule(update), end, 1.0)  # compiled, it may end below by a rounding


def exponential_teacher_decay(k: float) -> Decay:
    """Lets the probability of the truth fall exponentially: epsilon_i = k^i after i updates.

    Reference: Bengio et al. 2015.

    Args:
      k: in (0, 1), such as 0.999.

    Returns:
      `update -> epsilon`.

    Raises:
      ValueError: k outside (0, 1).

    Examples:
      >>> [float(exponential_teacher_decay(0.5)(i)) for i in (0, 1, 3)]
      [1.0, 0.5, 0.125]
    """
    if not 0 < k < 1:
        raise ValueError(f"exponential_teacher_decay: expected k in (0, 1), got {k}.")
    return optax.exponential_decay(1.0, 1, k)


def inverse_sigmoid_teacher_decay(k: float) -> Decay:
    """Lets the probability of the truth fall like an inverse sigmoid: epsilon_i = k / (k + exp(i / k)) after i updates.

    It is near 1 at first, 1/2 at i = k log k, then goes quickly to 0.

    Reference: Bengio et al. 2015.

    Args:
      k: at least 1: the larger, the later it falls.

    Returns:
      `update -> epsilon`.

    Raises:
      ValueError: k below 1.

    Examples:
      >>> [round(float(inverse_sigmoid_teacher_decay(100)(i)), 2) for i in (0, 460.517, 10**6)]
      [0.99, 0.5, 0.0]
    """
    if not k >= 1:
        raise ValueError(f"inverse_sigmoid_teacher_decay: expected k of at least 1, got {k}.")
    # k / (k + exp(i / k)) = sigmoid(log k - i / k), which does not overflow.
    return lambda update: jax.nn.sigmoid(jnp.log(jnp.float32(k)) - jnp.asarray(update, jnp.float32) / k)
