"""Runs a loop along its plan: what leaves it before, the loop, what leaves it after; a long loop in blocks of steps."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.interpreters import ad

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Var
from rnnjax.recurrence._rewrite import at_once, packing
from rnnjax.recurrence._rewrite.loops import plain_scan
from rnnjax.recurrence._rewrite.plan import Plan
from rnnjax.recurrence._rewrite.sums import Sum

Group = list[Var]


class _Places(NamedTuple):
    """Where the steps of a block read and write: in place in the arrays of all steps, or in arrays of the block.

    Attributes:
      far_xs: inputs read in the arrays of all steps; the others are sliced out for the block.
      far: groups of outputs written into the arrays of all steps.
      near: groups of outputs stacked for the block.
    """

    far_xs: list[Var]
    far: list[Group]
    near: list[Group]


def run(plan: Plan, args: Sequence[Any], flat: bool) -> list[Any]:
    """Computes the outputs of a loop along its plan."""
    loop = plan.loop
    consts, carry, xs = (list(args[part]) for part in loop.parts)
    fixed = dict(zip(loop.consts, consts, strict=True))
    jaxprs.run(loop.jaxpr, plan.before, fixed)
    if plan.block is loop.length or plan.block == loop.length:
        carry, _, ys = _run_block(plan, _Places([], [], plan.groups), fixed, flat, None, carry, [], xs)
        return [*carry, *ys]

    places = _places(plan)

    def block(state, start):
        carry, whole = state
        carry, whole, ys = _run_block(plan, places, fixed, flat, start, carry, whole, xs)
        return (carry, whole), ys

    whole = [packing.empty(group, loop.length) for group in places.far]
    starts = plan.block * lax.iota("int32", loop.length // plan.block)
    (carry, whole), ys = lax.scan(block, (carry, whole), starts, reverse=loop.reverse)
    stacks = _unpacked(places.far, whole)
    given = iter(y.reshape(loop.length, *y.shape[2:]) for y in ys)
    return [*carry, *(stacks[y] if jaxprs.is_var(y) and y in stacks else next(given) for y in loop.ys)]


def _places(plan: Plan) -> _Places:
    """Chooses the places for a block of some of the steps: whatever is not read for the whole block at once is far."""
    outside, ys = plan.read_outside(), set(jaxprs.variables(plan.loop.ys))
    far = [group for group in plan.groups if ys.intersection(group) and not outside.intersection(group)]
    return _Places(
        far_xs=[var for var in plan.loop.xs if var not in outside],
        far=far,
        near=[group for group in plan.groups if group not in far],
    )


def _run_block(
    plan: Plan, places: _Places, fixed: dict, flat: bool, start: Any, carry: list[Any], whole: list[Any], xs: list[Any]
) -> tuple[list, list, list]:
    """Runs the steps from `start`, or all of them if it is None.

    Returns the carry after them, the arrays of all steps written in place, and the other outputs of the block.
    """
    loop, jaxpr = plan.loop, plan.loop.jaxpr
    all_xs = dict(zip(loop.xs, xs, strict=True))
    env = {**fixed, **{var: x if start is None else _of_block(plan, x, start) for var, x in all_xs.items()}}
    varying = set(loop.xs)
    at_once.evaluate(jaxpr, plan.early, env, varying, flat)
    after, stacks = list(carry), list[Any]()
    if plan.looped or plan.stacked:
        ended, whole, stacks = _run_steps(plan, places, env, fixed, start, carry, whole, all_xs)
        for i, value in zip(plan.looped, ended, strict=True):
            after[i] = value
    env |= _unpacked(places.near, stacks)
    for var, i in plan.shifted.items():
        env[var] = _step_before(env[loop.carry_out[i]], carry[i], loop.reverse)
    varying.update([*plan.stacked, *plan.shifted])
    at_once.evaluate(jaxpr, [*plan.views, *plan.late], env, varying, flat)
    for i, total in plan.sums.items():
        after[i] = _add_up(plan, total, after[i], env, flat)
    elsewhere = {var for group in places.far for var in group}
    ys = [_stack_of(y, env, varying, plan.block) for y in loop.ys if not jaxprs.is_var(y) or y not in elsewhere]
    return after, whole, ys


def _of_block(plan: Plan, stack: Any, start: Any) -> Any:
    return lax.dynamic_slice_in_dim(stack, start, plan.block)


def _run_steps(
    plan: Plan, places: _Places, env: dict, fixed: dict, start: Any, carry: list[Any], whole: list[Any], all_xs: dict
) -> tuple[list, list, list]:
    """Runs what stays in the loop: returns its carries, the arrays of all steps, and the stacks of the block."""
    loop, far = plan.loop, set(places.far_xs)
    scanned = sorted(plan.scanned, key=lambda var: var in far)

    def step(carry, x):
        inner = {**fixed, **dict(zip(scanned, x, strict=True))}
        inner |= {loop.carry[i]: value for i, value in zip(plan.looped, carry, strict=True)}
        jaxprs.run(loop.jaxpr, plan.body, inner)
        rows = ([packing.pack([inner[var] for var in group]) for group in groups] for groups in places[1:])
        return [_next(plan, i, inner) for i in plan.looped], *rows

    begin = [carry[i] for i in plan.looped]
    here = [env[var] for var in scanned if var not in far]
    of_all = [all_xs[var] for var in scanned if var in far]
    return _scan_part(step, begin, whole, here, of_all, start, plan)


def _scan_part(
    step: Callable, carry: Any, whole: list[Any], xs: list[Any], of_all: list[Any], start: Any, plan: Plan
) -> tuple[Any, list[Any], list[Any]]:
    """Scans a block: `step(carry, [*x, *x of all]) -> (carry, rows of whole, y)`; returns carry, whole and ys."""
    if start is None:
        carry, ys = plain_scan(lambda carry, x: step(carry, x)[::2], carry, xs, plan.loop, plan.block)
        return carry, whole, ys

    def one(state, scanned):
        (carry, whole, number), x = state, scanned
        index = functools.partial(lax.dynamic_index_in_dim, keepdims=False, allow_negative_indices=False)
        carry, rows, y = step(carry, [*x, *(index(stack, number) for stack in of_all)])
        write = functools.partial(lax.dynamic_update_index_in_dim, axis=0, allow_negative_indices=False)
        whole = [write(stack, row, number) for stack, row in zip(whole, rows, strict=True)]
        return (carry, whole, number - 1 if plan.loop.reverse else number + 1), y

    first = start + plan.block - 1 if plan.loop.reverse else start
    (carry, whole, _), ys = plain_scan(one, (carry, whole, first), xs, plan.loop, plan.block)
    return carry, whole, ys


def _unpacked(groups: Sequence[Group], stacks: Sequence[Any]) -> dict[Var, Any]:
    """Unpacks the stacks of vars that share an array."""
    found: dict[Var, Any] = {}
    for group, stack in zip(groups, stacks, strict=True):
        found |= dict(zip(group, packing.unpack(stack, group), strict=True))
    return found


def _step_before(stack: Any, start: Any, reverse: bool) -> Any:
    """Shifts outputs `[steps, ...]` by one step, starting with what came before the first."""
    parts = [stack[1:], start[None]] if reverse else [start[None], stack[:-1]]
    return jnp.concatenate(parts)


def _next(plan: Plan, i: int, env: dict) -> Any:
    """Returns a carry after a step."""
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
    """Completes an accumulator after a block, adding what the loop did not."""
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
