"""The loop over time, through which everything in this library goes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.rewrite import jaxprs
from rnnjax.rewrite.loop import make_loop
from rnnjax.rewrite.program import make_program


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    length: int | None = None,
    reverse: bool = False,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """`jax.lax.scan` with faster gradients: carry_t, y_t = f(carry_{t-1}, x_t) for t = 0 ... T - 1, all y stacked.

    The signature and the meaning of `jax.lax.scan`, for any body, also one of other libraries, and under every
    transformation. The body is traced and rewritten before it is looped over:

    - what depends on nothing but closed-over values (transposes, slices, joins of parameters) is computed once;
    - products of the inputs and look-ups are computed for all steps at once, where that pays on the device;
    - each product of the carry with a closed-over weight gets its gradient from one product over all steps after the
      backward loop, instead of a sum of matrices that is read and written at every step;
    - of the values of a step, only the smallest set is kept from which the backward pass can go on with elementwise
      work; transposed weights are laid out once;
    - on CPUs, a loop whose gradient needs a buffer that the system would hand out anew at every call goes through
      blocks of steps.

    All else is differentiated as JAX would. Values agree with those of `jax.lax.scan` to rounding. A body with
    effects (prints, callbacks), one without such products, and a call that `jax.lax.scan` refuses, are handed to it.

    Args:
      f: `(carry, x) -> (carry, y)`; carries keep their structure, shapes and dtypes.
      init: the first carry, a pytree of arrays.
      xs: pytree of arrays `[T, ...]`, or None with `length`.
      length: T, where there are no xs.
      reverse: from t = T - 1 down to 0; ys keep the order of xs.
      unroll: how many steps one iteration of the compiled loop holds.

    Returns:
      `(carry, ys)`: the last carry, and every y stacked `[T, ...]`.

    Raises:
      ValueError, TypeError: those of `jax.lax.scan`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> w, xs = 0.5 * jnp.eye(3), jnp.ones((7, 2, 3))
      >>> def loss(scan, w):  # the same body under either
      ...     h, _ = scan(lambda h, x: (jnp.tanh(h @ w + x), None), jnp.zeros((2, 3)), xs)
      ...     return h.sum()
      >>> before, after = (jax.grad(loss, 1)(scan, w) for scan in (jax.lax.scan, rnnjax.scan))
      >>> bool(jnp.allclose(before, after, rtol=1e-5))
      True
    """
    if not jax.config.jax_disable_jit:  # type: ignore[attr-defined]
        run = _rewritten(f, init, xs, length, reverse, unroll)
        if run is not None:
            return run()
    return jax.lax.scan(f, init, xs, length=length, reverse=reverse, unroll=unroll)


def _rewritten(f, init: Any, xs: Any, length: int | None, reverse: bool, unroll: int) -> Callable[[], Any] | None:
    """The rewritten loop, to be called, or None for what is better left to lax.scan, its errors among it."""
    leaves, x_leaves = jax.tree.leaves(init), jax.tree.leaves(xs)
    steps = _length(x_leaves, length)
    # A weakly typed carry, a Python number, takes its dtype from the body.
    if not steps or any(jax.typeof(leaf).weak_type for leaf in leaves if hasattr(jax.typeof(leaf), "weak_type")):
        return None
    leaves, x_leaves = list(map(_as_array, leaves)), list(map(_as_array, x_leaves))
    returned: list[Any] = []

    def flat(carry, x):
        out = f(jax.tree.unflatten(jax.tree.structure(init), carry), jax.tree.unflatten(jax.tree.structure(xs), x))
        returned.append(jax.tree.map(lambda _: 0, out))
        return jax.tree.leaves(out)

    now = [jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for leaf in x_leaves]
    jaxpr, consts = jaxprs.trace(flat, list(map(jax.typeof, leaves)), now)
    out = returned[0]
    if jaxpr.effects or not isinstance(out, tuple) or len(out) != 2:
        return None
    trees: list[Any] = [jax.tree.structure(tree) for tree in (out[0], init)]
    if trees[0] != trees[1] or not _alike(jaxpr.outvars, leaves):
        return None
    counts = len(consts), len(leaves), len(x_leaves)
    program = make_program(jaxpr, counts, steps, reverse, unroll)
    if program is None:
        return None

    def run() -> tuple[Any, Any]:
        carry, ys = make_loop(program)(list(map(_as_array, consts)), leaves, x_leaves)
        return tuple(jax.tree.unflatten(jax.tree.structure(o), v) for o, v in zip(out, (carry, ys), strict=True))

    return run


def _as_array(leaf: Any) -> Any:
    """An array of JAX's own, also where vmap or jvp has been given one of NumPy's, which a custom_jvp cannot take."""
    return jnp.array(leaf) if isinstance(leaf, jax.core.Tracer) else jnp.asarray(leaf)


def _length(x_leaves: list[Any], length: int | None) -> int | None:
    """T, None if the leaves do not agree on it."""
    lengths = {jnp.shape(leaf)[:1] for leaf in x_leaves} | ({(length,)} if length is not None else set())
    return lengths.pop()[0] if len(lengths) == 1 and () not in lengths else None


def _alike(carry_out: list[Any], carry: list[Any]) -> bool:
    """Whether the carries that a body returns have the shapes and dtypes of those it got."""
    outs = carry_out[: len(carry)]
    return all((out.aval.shape, out.aval.dtype) == (c.shape, c.dtype) for out, c in zip(outs, carry, strict=True))
