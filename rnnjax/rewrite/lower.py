"""How a loop is lowered: along its plan, and as the plain scan where that fails."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
from jax import lax
from jax.extend.core.primitives import scan_p
from jax.interpreters import ad, mlir

from rnnjax.rewrite import at_once, fallback, jaxprs
from rnnjax.rewrite.loops import read_loop
from rnnjax.rewrite.plan import Plan, Sum, make_plan
from rnnjax.rewrite.rules import loop_p
from rnnjax.rewrite.targets import Target

OPTION = 'x'
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def run(plan: Plan, args: Sequence[Any], flat: bool) -> list[Any]:
    """The outputs of a loop, computed along its plan."""
    loop = plan.loop
    consts, carry, xs = (list(args[part]) for part in loop.parts)
    fixed = dict(zip(loop.consts, consts, strict=True))
    jaxprs.run(loop.jaxpr, plan.before, fixed)
    block = functools.partial(_run_block, plan, fixed, flat)
    if plan.block is loop.length or plan.block == loop.length:
        carry, ys = block(carry, xs)
    else:
        n_blocks = loop.length // plan.block
        split = [x.reshape(n_blocks, plan.block, *x.shape[1:]) for x in xs]
        carry, ys = lax.scan(block, carry, split, length=n_blocks, reverse=loop.reverse)
        ys = [y.reshape(loop.length, *y.shape[2:]) for y in ys]
    return [*carry, *ys]


def _run_block(plan: Plan, fixed: dict, flat: bool, carry: Sequence[Any], xs: Sequence[Any]) -> tuple[list, list]:
    """A block of steps: `(carry, xs) -> (carry, ys)`."""
    loop, jaxpr = plan.loop, plan.loop.jaxpr
    env = {**fixed, **dict(zip(loop.xs, xs, strict=True))}
    varying = set(loop.xs)
    at_once.evaluate(jaxpr, plan.early, env, varying, flat)

    summed = {total.carry: total for total in plan.sums}
    looped = [i for i in range(loop.n_carry) if i not in summed or summed[i].inside]
    outside = [*plan.before, *plan.early, *plan.late]
    made_outside = jaxprs.makers(outside)
    from_loop = [y for y in jaxprs.variables(loop.ys) if y not in made_outside and y not in varying and y not in fixed]
    stacks = list(dict.fromkeys([*from_loop, *plan.stacked]))
    carry_out = [atom for i in looped for atom in (summed[i].inside if i in summed else [loop.carry_out[i]])]
    ids = {id(eqn) for eqn in outside}
    body = jaxprs.needed([eqn for eqn in jaxpr.eqns if id(eqn) not in ids], [*carry_out, *stacks])
    read = jaxprs.reads(body, [*carry_out, *stacks])
    scanned = [var for var in varying if var in read]
    scanned.sort(key=list(env).index)

    def step(now, x):
        if OPTION == "barrier":
            x = [lax.optimization_barrier(v) if var not in loop.xs else v for var, v in zip(scanned, x, strict=True)]
        if OPTION == "barrier_all":
            x = lax.optimization_barrier(x)
        inner = {**fixed, **dict(zip(scanned, x, strict=True))}
        inner |= {loop.carry[i]: value for i, value in zip(looped, now, strict=True)}
        jaxprs.run(jaxpr, body, inner)
        after = []
        for i, value in zip(looped, now, strict=True):
            if i in summed:
                for atom in summed[i].inside:
                    value = ad.add_jaxvals(value, jaxprs.read(inner, atom))
            else:
                value = jaxprs.read(inner, loop.carry_out[i])
            after.append(value)
        return after, [inner[var] for var in stacks]

    size = plan.block
    before = [carry[i] for i in looped]
    if looped or stacks:
        after, stacked = lax.scan(
            step, before, [env[var] for var in scanned], length=size, reverse=loop.reverse, unroll=loop.unroll
        )
    else:
        after, stacked = [], []
    env |= dict(zip(stacks, stacked, strict=True))
    varying.update(stacks)
    at_once.evaluate(jaxpr, plan.late, env, varying, flat)

    carry = list(carry)
    for i, value in zip(looped, after, strict=True):
        carry[i] = value
    for total in plan.sums:
        carry[total.carry] = _add_up(plan, total, carry[total.carry], env, flat)
    return carry, [_stack_of(atom, env, varying, size) for atom in loop.ys]


def _stack_of(atom: Any, env: dict, varying: set, size: Any) -> Any:
    value = jaxprs.read(env, atom)
    if jaxprs.is_var(atom) and atom in varying:
        return value
    return lax.broadcast(value, (size,))


def _add_up(plan: Plan, total: Sum, value: Any, env: dict, flat: bool) -> Any:
    """An accumulator after a block, given what the loop has made of it."""
    for addend in total.after:
        if addend.product is not None:
            operands = [jaxprs.read(env, atom) for atom in addend.product.invars]
            base = at_once.sum_over_steps(addend.product, operands, value.dtype, flat)
        else:
            base = env[addend.base].sum(0, dtype=value.dtype)
        inner = {addend.base: base}
        jaxprs.run(plan.loop.jaxpr, addend.chain, inner)
        value = ad.add_jaxvals(value, inner[addend.value])
    return value


# ---- the lowering rule ---------------------------------------------------------------------------------------


def _devices(ctx: Any) -> int:
    """How many devices share the arrays of a program; those of axes that a shard_map took over do not count."""
    axes = ctx.module_context.axis_context
    if hasattr(axes, "manual_axes"):
        mesh = axes.mesh
        sizes = [size for name, size in mesh.shape.items() if name not in axes.manual_axes]
        count = 1
        for size in sizes:
            count *= size
        return count
    return getattr(axes, "num_devices", None) or 1


def _lower(platform: str, ctx: Any, *args: Any, **params: Any) -> Any:
    def plain(*values):
        return scan_p.bind(*values, **params)

    target = Target(platform, _devices(ctx))
    jaxpr = fallback.attempt("lowering", lambda: _rewritten(ctx, params, target))
    if jaxpr is None:
        return mlir.lower_fun(plain)(ctx, *args)
    consts, jaxpr = jaxpr
    return mlir.lower_fun(lambda *values: jax.core.eval_jaxpr(jaxpr, (), *consts, *values))(ctx, *args)


def _rewritten(ctx: Any, params: dict[str, Any], target: Target) -> tuple[list[Any], Any] | None:
    plan = make_plan(read_loop(params), target)
    if not plan.changes():
        return None
    jaxpr, consts = jaxprs.trace(lambda *values: run(plan, values, target.flat), ctx.avals_in)
    got, expected = ([(a.shape, a.dtype) for a in avals] for avals in ((v.aval for v in jaxpr.outvars), ctx.avals_out))
    if got != expected:
        raise AssertionError(f"rewritten loop returns {got}, expected {expected}")
    return consts, jaxpr


def _lower_plain(ctx: Any, *args: Any, **params: Any) -> Any:
    return mlir.lower_fun(lambda *values: scan_p.bind(*values, **params))(ctx, *args)


mlir.register_lowering(loop_p, _lower_plain)
for _platform in PLATFORMS:
    mlir.register_lowering(loop_p, functools.partial(_lower, _platform), platform=_platform)
