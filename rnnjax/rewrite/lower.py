"""How a loop is lowered: along its plan, and as the plain scan where that fails."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jax.extend.core.primitives import scan_p
from jax.interpreters import ad, mlir

from rnnjax.rewrite import at_once, fallback, jaxprs, packing
from rnnjax.rewrite.delay import delay_products
from rnnjax.rewrite.jaxprs import Jaxpr
from rnnjax.rewrite.loops import Loop, plain_scan, read_loop
from rnnjax.rewrite.plan import Plan, Sum, make_plan
from rnnjax.rewrite.rules import loop_p
from rnnjax.rewrite.targets import Target

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def run(plan: Plan, args: Sequence[Any], flat: bool) -> list[Any]:
    """The outputs of a loop, computed along its plan."""
    loop = plan.loop
    consts, carry, xs = (list(args[part]) for part in loop.parts)
    fixed = dict(zip(loop.consts, consts, strict=True))
    jaxprs.run(loop.jaxpr, plan.before, fixed)
    block = functools.partial(_run_block, plan, fixed, flat)
    if plan.block is loop.length or plan.block == loop.length:
        carry, (ys, rows) = block(carry, xs)
    else:
        n_blocks = loop.length // plan.block
        split = [x.reshape(n_blocks, plan.block, *x.shape[1:]) for x in xs]
        carry, (ys, rows) = lax.scan(block, carry, split, length=n_blocks, reverse=loop.reverse)
        ys, rows = ([y.reshape(loop.length, *y.shape[2:]) for y in stacks] for stacks in (ys, rows))
    of_rows = _unpacked(plan, rows)
    given = iter(ys)
    return [*carry, *(of_rows[y] if jaxprs.is_var(y) and y in of_rows else next(given) for y in loop.ys)]


def _run_block(plan: Plan, fixed: dict, flat: bool, carry: Sequence[Any], xs: Sequence[Any]) -> tuple[list, tuple]:
    """A block of steps: `(carry, xs) -> (carry, (ys but for those in rows, rows))`."""
    loop, jaxpr = plan.loop, plan.loop.jaxpr
    env, varying = {**fixed, **dict(zip(loop.xs, xs, strict=True))}, set(loop.xs)
    at_once.evaluate(jaxpr, plan.early, env, varying, flat)
    packed = {var for group in plan.packs for var in group}
    alone = [var for var in plan.stacked if var not in packed]

    def step(carry, x):
        inner = {**fixed, **dict(zip(plan.scanned, x, strict=True))}
        inner |= {loop.carry[i]: value for i, value in zip(plan.looped, carry, strict=True)}
        jaxprs.run(jaxpr, plan.body, inner)
        rows = [packing.pack([inner[var] for var in group]) for group in plan.packs]
        return [_next(plan, i, inner) for i in plan.looped], ([inner[var] for var in alone], rows)

    after = list(carry)
    stacks: list[Any] = []
    rows: list[Any] = []
    if plan.looped or plan.stacked:
        scanned, start = [env[var] for var in plan.scanned], [carry[i] for i in plan.looped]
        ended, (stacks, rows) = plain_scan(step, start, scanned, loop, plan.block)
        for i, value in zip(plan.looped, ended, strict=True):
            after[i] = value
    env |= dict(zip(alone, stacks, strict=True)) | _unpacked(plan, rows)
    for var, i in plan.shifted.items():
        env[var] = _step_before(env[loop.carry_out[i]], carry[i], loop.reverse)
    varying.update([*plan.stacked, *plan.shifted])
    at_once.evaluate(jaxpr, [*plan.views, *plan.late], env, varying, flat)
    for i, total in plan.sums.items():
        after[i] = _add_up(plan, total, after[i], env, flat)
    ys = [_stack_of(y, env, varying, plan.block) for y in loop.ys if not jaxprs.is_var(y) or y not in packed]
    return after, (ys, rows)


def _unpacked(plan: Plan, rows: Sequence[Any]) -> dict[Any, Any]:
    """The stacks of what shares an array."""
    stacks: dict[Any, Any] = {}
    for group, stack in zip(plan.packs, rows, strict=True):
        stacks |= dict(zip(group, packing.unpack(stack, group), strict=True))
    return stacks


def _step_before(stack: Any, start: Any, reverse: bool) -> Any:
    """What the step before each has put out, `[steps, ...]`, given what came before the first."""
    parts = [stack[1:], start[None]] if reverse else [start[None], stack[:-1]]
    return jnp.concatenate(parts)


def _next(plan: Plan, i: int, env: dict) -> Any:
    """A carry after a step."""
    if i not in plan.sums:
        return jaxprs.read(env, plan.loop.carry_out[i])
    inside = (jaxprs.read(env, atom) for atom in plan.sums[i].inside)
    return functools.reduce(ad.add_jaxvals, inside, env[plan.loop.carry[i]])


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


def rewritten(loop: Loop, args: Sequence[Any], target: Target) -> list[Any] | None:
    """The outputs of a loop as it is lowered for a target, None if it is lowered as it is."""
    plan = make_plan(loop, target)
    if not plan.changes():
        return None
    delayed = delay_products(plan.loop) if target.is_gpu else None
    if delayed is None:
        return run(plan, args, target.flat)
    plan = make_plan(delayed.loop, target)
    return delayed.outcome(args, run(plan, delayed.arguments(args), target.flat))


def as_lowered(jaxpr: Jaxpr, values: Sequence[Any], target: Target) -> list[Any]:
    """The outputs of a jaxpr, its loops as they are lowered for a target."""

    def hook(eqn, operands):
        if eqn.primitive is not loop_p:
            return None
        outs = rewritten(read_loop(eqn.params), operands, target)
        return scan_p.bind(*operands, **eqn.params) if outs is None else outs

    return jaxprs.evaluate(jaxprs.inline(jaxpr, jaxprs.CALLS), values, hook)


# ---- the lowering rule ---------------------------------------------------------------------------------------


def _devices(ctx: Any) -> int:
    """How many devices share the arrays of a program; those of axes that a shard_map took over do not count."""
    axes = ctx.module_context.axis_context
    if hasattr(axes, "manual_axes"):
        mesh = axes.mesh
        return math.prod(size for name, size in mesh.shape.items() if name not in axes.manual_axes)
    return getattr(axes, "num_devices", None) or 1


def _lower(platform: str, ctx: Any, *args: Any, **params: Any) -> Any:
    target = Target(platform, _devices(ctx))

    def trace():
        loop, operands, avals = read_loop(params), list(args), list(ctx.avals_in)
        if target.is_gpu:
            loop, operands, avals = packing.read_packed(loop, operands, avals)
        jaxpr, consts = jaxprs.trace(lambda *values: rewritten(loop, values, target) or [], avals)
        if not jaxpr.outvars:
            return None
        got, expected = ([(a.shape, a.dtype) for a in avals] for avals in (jaxprs.avals(jaxpr.outvars), ctx.avals_out))
        if got != expected:
            raise AssertionError(f"the rewritten loop returns {got}, expected {expected}")
        return mlir.lower_fun(lambda *values: jaxprs.evaluate(jaxpr, [*consts, *values])), operands, avals

    found = fallback.attempt("lowering", trace)
    if found is None:
        return _lower_plain(ctx, *args, **params)
    rule, operands, avals = found
    return rule(ctx.replace(avals_in=avals), *operands)


def _lower_plain(ctx: Any, *args: Any, **params: Any) -> Any:
    return mlir.lower_fun(lambda *values: scan_p.bind(*values, **params))(ctx, *args)


mlir.register_lowering(loop_p, _lower_plain)
for _platform in PLATFORMS:
    mlir.register_lowering(loop_p, functools.partial(_lower, _platform), platform=_platform)
