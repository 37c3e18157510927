"""The loop over time, through which everything in this library goes."""

from collections.abc import Callable
from typing import Any

import jax


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """`jax.lax.scan`: carry_t, y_t = f(carry_{t-1}, x_t) for t = 0 ... T - 1, with all y stacked.

    Args:
      f: `(carry, x) -> (carry, y)`; carries keep their structure, shapes and dtypes.
      init: the first carry, a pytree of arrays.
      xs: pytree of arrays `[T, ...]`, or None with `length`.
      length: T, where there are no xs.
      reverse: from t = T - 1 down to 0; ys keep the order of xs.
      unroll: how many steps one iteration of the compiled loop holds.

    Returns:
      `(carry, ys)`: the last carry, and every y stacked `[T, ...]`.

    Example:
      >>> import jax.numpy as jnp
      >>> total, totals = scan(lambda total, x: (total + x, total + x), 0.0, jnp.arange(4.0))
      >>> totals.tolist()
      [0.0, 1.0, 3.0, 6.0]
    """
    return jax.lax.scan(f, init, xs, length=length, reverse=reverse, unroll=unroll)
