"""The loop over time, through which everything in this library goes."""

from collections.abc import Callable
from typing import Any

import jax

from rnnjax._jaxprs import config
from rnnjax.recurrence import _eager as eager
from rnnjax.recurrence._rewrite import entry


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
    _split_transpose: bool = False,
) -> tuple[Any, Any]:
    """Loops like `jax.lax.scan`, with faster gradients: carry_t, y_t = f(carry_{t-1}, x_t) for t = 0 ... T - 1.

    Signature and meaning are those of `jax.lax.scan`, for any body, also one from another library, under every
    transformation, on every mesh, exported, eager or compiled. When the program is lowered for a platform and a
    number of devices, the loop is rewritten:

    - what depends on closed-over values only (transposes, slices, concatenations of parameters) is computed once;
    - products of the inputs with a closed-over weight are computed for all steps at once, where that pays;
    - each accumulator of a product, such as the gradient of a weight, becomes one product over all steps after the loop
      instead of a matrix that is read and written at every step, and so do products that nothing in the loop reads;
    - a differentiated loop keeps the smallest set of values per step from which the backward pass can recover
      the others by elementwise work;
    - what is computed for all steps at once is computed in blocks of steps if it would take more than a few MiB.

    Everything else stays in the loop and is computed once, as JAX would. Values agree with those of `jax.lax.scan` to
    rounding. A body with effects (prints, ordered callbacks), a body without such products, and a call that
    `jax.lax.scan` refuses are handed to `jax.lax.scan`. `rnnjax.recurrence.explain` says what happens to a body.

    An eager call is compiled once per function and shapes.

    Args:
      f: `(carry, x) -> (carry, y)`; carries keep their structure, shapes and dtypes.
      init: the first carry, a pytree of arrays.
      xs: pytree of arrays `[T, ...]`, or None with `length`.
      length: T, an integer; not needed if there are xs.
      reverse: from t = T - 1 down to 0; ys keep the order of xs.
      unroll: number of steps per iteration of the compiled loop.
      _split_transpose: as in `jax.lax.scan`, to which such a call is handed.

    Returns:
      `(carry, ys)`: the last carry, and the outputs stacked, `[T, ...]`.

    Raises:
      ValueError, TypeError: those of `jax.lax.scan`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> w, xs = 0.5 * jnp.eye(3), jnp.ones((7, 2, 3))
      >>> def loss(scan, w):  # the same body under either
      ...     h, _ = scan(lambda h, x: (jnp.tanh(h @ w + x), None), jnp.zeros((2, 3)), xs)
      ...     return h.sum()
      >>> before, after = (jax.grad(loss, 1)(scan, w) for scan in (jax.lax.scan, rnnjax.scan))
      >>> bool(jnp.allclose(before, after, rtol=1e-5))
      True
    """
    # Without an axis of time, lax.scan refuses xs.
    is_lax = config.jax_disable_jit or _split_transpose
    if is_lax or any(not hasattr(leaf, "shape") for leaf in jax.tree.leaves(xs)):
        return jax.lax.scan(f, init, xs, length, reverse, unroll, _split_transpose)
    if eager.is_eager(init, xs):
        program = eager.compiled(
            f, (length, reverse, unroll), lambda f, init, xs: entry.scan(f, init, xs, length, reverse, unroll)
        )
        if program is not None:
            return program(init, xs)
    return entry.scan(f, init, xs, length, reverse, unroll)
