"""Lowers a loop along its plan, and as the plain scan where that fails."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from jax.extend.core.primitives import scan_p
from jax.interpreters import mlir

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Jaxpr
from rnnjax.recurrence._rewrite import fallback, packing
from rnnjax.recurrence._rewrite.delay import delay_products
from rnnjax.recurrence._rewrite.execute import run
from rnnjax.recurrence._rewrite.loops import Loop, read_loop
from rnnjax.recurrence._rewrite.plan import make_plan
from rnnjax.recurrence._rewrite.rules import loop_p
from rnnjax.recurrence._rewrite.targets import Target

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def rewritten(loop: Loop, args: Sequence[Any], target: Target) -> list[Any] | None:
    """Evaluates a loop as it is lowered for a target; None if it is lowered as a plain scan."""
    plan = make_plan(loop, target)
    if not plan.changes():
        return None
    delayed = delay_products(plan.loop) if target.is_gpu else None
    if delayed is None:
        return run(plan, args, target.flat)
    plan = make_plan(delayed.loop, target)
    return delayed.outcome(args, run(plan, delayed.arguments(args), target.flat))


def as_lowered(jaxpr: Jaxpr, values: Sequence[Any], target: Target) -> list[Any]:
    """Evaluates a jaxpr, its loops as they are lowered for a target."""

    def hook(eqn, operands):
        if eqn.primitive is not loop_p:
            return None
        outs = rewritten(read_loop(eqn.params), operands, target)
        return scan_p.bind(*operands, **eqn.params) if outs is None else outs

    return jaxprs.evaluate(jaxprs.inline(jaxpr, jaxprs.CALLS), values, hook)


# ---- the lowering rule ---------------------------------------------------------------------------------------


def _devices(ctx: Any) -> int:
    """Counts the devices that share the arrays of a program, without the axes that a shard_map took over."""
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
