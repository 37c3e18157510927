"""Says in words what `rnnjax.scan` does to a loop."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core.primitives import scan_p

from rnnjax import _jaxprs as jaxprs
from rnnjax.recurrence._rewrite import kinds
from rnnjax.recurrence._rewrite.loops import levels, loop_p, read_loop
from rnnjax.recurrence._rewrite.plan import Plan, make_plan
from rnnjax.recurrence._rewrite.targets import Target, pays
from rnnjax.recurrence._scan import scan


def explain(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    *,
    platform: str | None = None,
    devices: int = 1,
) -> str:
    """Says what `rnnjax.scan` makes of a body: what leaves the loop, what stays and why, and what its gradient keeps.

    Args:
      f: `(carry, x) -> (carry, y)`, as for `rnnjax.scan`.
      init: the first carry, a pytree of arrays or of shapes (`jax.ShapeDtypeStruct`).
      xs: pytree of arrays or shapes `[T, ...]`, or None with `length`.
      length: T, if there are no xs.
      platform: "cpu", "cuda", "rocm" or "tpu", which need not be at hand; that of this process if None.
      devices: number of devices that share arrays whose sharding the compiler chooses.

    Returns:
      Text of a few lines, to be printed. Sizes are bytes of one step.

    Raises:
      ValueError, TypeError: those of `jax.lax.scan`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> w, u = 0.5 * jnp.eye(5), jnp.ones((3, 5))
      >>> step = lambda h, x: (jax.nn.sigmoid(h @ w + x @ u), None)
      >>> print(rnnjax.recurrence.explain(step, jnp.zeros((2, 5)), jnp.ones((7, 2, 3))))
      forward, 7 steps on cpu
        before the loop, for all steps: dot_general [2, 5]
        in the loop: dot_general [2, 5] reads the carry; and add, logistic
        after the loop: nothing
      gradient
        kept of each step: 2 arrays, 80 bytes (80 under lax.scan)
        in the loop: dot_general [2, 5] reads the carry; and mul
        after the loop: dot_general [2, 3]; gradients of [5, 5], [3, 5] in one product each over all steps
    """
    target = Target(platform or jax.default_backend(), devices)
    closed = jax.make_jaxpr(lambda init, xs: scan(f, init, xs, length))(init, xs)
    found = [eqn for eqn in closed.jaxpr.eqns if eqn.primitive is loop_p]
    if not found:
        return "left to lax.scan: no product with a weight or look-up in a table, or a body with effects"
    (eqn,) = found
    loop = read_loop(eqn.params)
    lines = [f"forward, {loop.length} steps on {target.platform}", *_happens(make_plan(loop, target), target, False)]
    return "\n".join([*lines, *_gradient(eqn, target)])


def _gradient(eqn: Any, target: Target) -> list[str]:
    """Writes the lines on the gradient in everything that a loop reads."""
    operands = [jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype) for atom in eqn.invars]
    floats = tuple(i for i, atom in enumerate(eqn.invars) if jaxprs.is_float(atom))
    if not floats:
        return []

    def gradient(bind):
        def loss(*values):
            outs = bind(*values, **eqn.params)
            return sum(jnp.sum(jnp.sin(out)) for out in outs if jnp.issubdtype(out.dtype, jnp.floating))

        return jax.make_jaxpr(jax.grad(loss, floats))(*operands)

    def loops(jaxpr, name):
        return [read_loop(e.params) for e in jaxpr.jaxpr.eqns if e.primitive.name == name]

    n_ys = len(read_loop(eqn.params).ys)
    forward, backward = loops(gradient(loop_p.bind), "rnnjax_scan")
    (plain, _) = loops(gradient(scan_p.bind), "scan")
    kept = jaxprs.variables(forward.ys[n_ys:])
    plan = make_plan(backward, target)
    sizes = f"{jaxprs.bytes_of(kept)} bytes ({jaxprs.bytes_of(plain.ys[n_ys:])} under lax.scan)"
    return ["gradient", f"  kept of each step: {len(kept)} arrays, {sizes}", *_happens(plan, target, True)]


def _happens(plan: Plan, target: Target, is_gradient: bool) -> list[str]:
    """Writes the lines on one loop."""
    level = levels(plan.loop)
    products = [eqn for eqn in plan.body if eqn.primitive.name in kinds.PRODUCTS]
    others = Counter(eqn.primitive.name for eqn in plan.body if eqn not in products)
    stays = [f"{_name(eqn)} {_why(eqn, level, target)}" for eqn in products]
    stays += [f"and {', '.join(sorted(others))}"] if others else []
    after = [_name(eqn) for eqn in plan.late if eqn.primitive.name in kinds.PRODUCTS]
    sums = [i for i, total in plan.sums.items() if total.after]
    if sums:
        shapes = ", ".join(_shape(plan.loop.carry[i]) for i in sums)
        after.append(f"{'gradients' if is_gradient else 'sums'} of {shapes} in one product each over all steps")
    early = [_name(eqn) for eqn in plan.early if eqn.primitive.name in kinds.PRODUCTS]
    lines = [] if is_gradient and not early else [f"  before the loop, for all steps: {', '.join(early) or 'nothing'}"]
    lines += [f"  in the loop: {'; '.join(stays) or 'nothing'}", f"  after the loop: {'; '.join(after) or 'nothing'}"]
    if plan.block is not plan.loop.length and plan.block != plan.loop.length:
        lines.append(f"  in blocks of {plan.block} steps")
    return lines


def _why(eqn: Any, level: dict, target: Target) -> str:
    """Says why a product stays in the loop."""
    if level[eqn.outvars[0]] == kinds.CARRY:
        return "reads the carry"
    if kinds.weight_position(eqn, level) is None:
        return "has no operand that is the same at every step"
    if not pays(eqn, target):
        return f"is as fast in the loop on {target.platform}"
    return "is made of what may not leave the loop, or too large for all steps at once"


def _name(eqn: Any) -> str:
    return f"{eqn.primitive.name} {_shape(eqn.outvars[0])}"


def _shape(atom: Any) -> str:
    return str(list(atom.aval.shape))
