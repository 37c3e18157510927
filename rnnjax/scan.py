"""The loop over time, through which everything in this library goes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax.rewrite import jaxprs, loop


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
    rewritten = _rewrite(f, init, xs, length, reverse, unroll)
    if rewritten is None:
        return jax.lax.scan(f, init, xs, length=length, reverse=reverse, unroll=unroll)
    return rewritten()


def _rewrite(f, init, xs, length, reverse, unroll):
    """The rewritten loop as a function without arguments, None where it is lax.scan."""
    init_leaves, carry_tree = jax.tree.flatten(init)
    xs_leaves, xs_tree = jax.tree.flatten(xs)
    lengths = {jnp.shape(leaf)[:1] for leaf in xs_leaves}
    if length is not None:
        lengths.add((length,))
    if len(lengths) != 1 or not isinstance(reverse, bool):
        return None
    ((steps,),) = (lengths.pop() or (0,),)
    if not steps or any(getattr(jax.typeof(leaf), "weak_type", False) for leaf in init_leaves):
        return None
    init_leaves, xs_leaves = (list(map(jnp.asarray, leaves)) for leaves in (init_leaves, xs_leaves))
    out_tree = None

    def flat(carry, x):
        nonlocal out_tree
        out = f(carry_tree.unflatten(carry), xs_tree.unflatten(x))
        leaves, out_tree = jax.tree.flatten(out)
        return leaves

    x_leaves = [jax.eval_shape(lambda x: x[0], leaf) for leaf in xs_leaves]
    jaxpr, consts = jaxprs.trace(flat, list(map(jax.typeof, init_leaves)), x_leaves)
    parts = out_tree.children()
    if jaxpr.effects or out_tree.node_data() is None or len(parts) != 2 or parts[0] != carry_tree:
        return None
    outs = jaxpr.outvars[: len(init_leaves)]
    if any((a.aval.shape, a.aval.dtype) != (b.shape, b.dtype) for a, b in zip(outs, init_leaves, strict=True)):
        return None
    counts = len(consts), len(init_leaves), len(xs_leaves)
    program = loop.make_program(jaxpr, counts, steps, reverse, unroll)
    if program is None:
        return None

    def run():
        carry, ys = loop.make_loop(program)(consts, init_leaves, xs_leaves)
        return carry_tree.unflatten(carry), parts[1].unflatten(ys)

    return run
