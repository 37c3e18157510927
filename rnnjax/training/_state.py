"""What training changes."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax

from rnnjax._types import Array, Carry, Key, Params, serializable


@serializable
class TrainState(NamedTuple):
    """What training changes; a leading axis of R before every leaf makes it the state of R models.

    Attributes:
      step: updates done, int32 `[]`.
      params: parameters.
      opt_state: state of the optimizer.
      key: random key of the run; each step folds its number into it.
      carry: what passes from one batch of a stream to the next, or None if batches stand alone.
    """

    step: Array
    params: Params
    opt_state: Any
    key: Key
    carry: Carry = None


def init_state(params: Params, optimizer: optax.GradientTransformation, *, key: Key, carry: Carry = None) -> TrainState:
    """Makes the state before the first step. `jax.vmap` over keys or parameters makes that of several models.

    Args:
      params: pytree of arrays `[...]`.
      optimizer: an optax gradient transformation.
      key: random key of the run, `[]`.
      carry: the first carry of a stream, a pytree of arrays `[B, ...]`, or None if batches stand alone.

    Returns:
      A `TrainState`.

    Raises:
      TypeError: an optimizer that is not one.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> int(init_state(jnp.zeros(3), optax.sgd(0.1), key=jax.random.key(0)).step)
      0
    """
    check_optimizer("init_state", optimizer)
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), key, carry)


def check_optimizer(where: str, optimizer: Any) -> None:
    """Raises TypeError unless this is a pair of the functions init and update."""
    if not callable(getattr(optimizer, "init", None)) or not callable(getattr(optimizer, "update", None)):
        raise TypeError(
            f"{where}: expected optimizer to be an optax gradient transformation, got {type(optimizer).__name__}."
        )
