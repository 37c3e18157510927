"""The derivative of a rewritten loop: values with what has to be kept, then a loop over the linearised body.

    tap_t      = sum of lhs_t dW, and of the tangents of routed addends           for all t of a block at once
    dcarry_t   = A_t dcarry_{t-1} + B_t dx_t + tap_t                              a scan, A and B from what is kept

That loop is linear in the tangents, and JAX transposes it: the transposed scan is the backward pass, and the
transposed taps are the gradients of the weights, one product each after it. Nothing here is particular to reverse
mode, so forward mode and higher derivatives are those of the scans below.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from rnnjax.rewrite import blocks, hoisting, jaxprs, residuals, taps
from rnnjax.rewrite.jaxprs import Atom, Jaxpr, Var
from rnnjax.rewrite.linearise import Body, find_live, linearise, live_outputs, turned_weight
from rnnjax.rewrite.program import Program

Tangents = Sequence[Any]  # None stands for zero, which is not computed


def push_forward(program: Program, primals: tuple, tangents: tuple) -> tuple:
    """The rule of custom_jvp, with symbolic zeros: (carry, ys) and their tangents."""
    invariants, init, xs = primals
    d_invariants, d_init, d_xs = ([_none_if_zero(t) for t in group] for group in tangents)
    parts, addends = program.parts, program.addends
    before, d_before = _jvp(parts.before, _at_once, invariants, d_invariants)
    fixed, d_fixed = [*invariants, *before], [*d_invariants, *d_before]

    # What has a tangent, known before anything is computed.
    body = Body(parts.body, len(fixed), len(init))
    has_tangent = [tangent is not None for tangent in (*d_fixed, *d_init, *d_xs)]
    has_tangent += live_outputs(parts.for_all, [*d_fixed, *d_xs])
    is_routed = live_outputs(addends.jaxpr, [*d_invariants, *d_xs])
    routed_taps = [tap for tap, is_live in zip(addends.tap, is_routed, strict=True) if is_live]
    live_inputs = [var for var, is_live in zip(body.jaxpr.invars, has_tangent, strict=True) if is_live]
    live = find_live(body, live_inputs, routed_taps)
    turned = [turned_weight(eqn, body, fixed) for eqn in body.products]
    linearised = linearise(body, live, fixed, init, turned)

    step, push = linearised.step, linearised.push
    n_outs, n_lhs = len(body.jaxpr.outvars), len(live.weighed)
    n_fixed = len(step.invars) - len(init) - len(body.scanned)
    fixed_vars, carry_vars = step.invars[:n_fixed], step.invars[n_fixed : n_fixed + len(init)]
    x_vars, for_all_vars = step.invars[n_fixed + len(init) :][: len(xs)], step.invars[n_fixed + len(init) + len(xs) :]
    fixed_of = dict(zip(fixed_vars, [*linearised.consts, *fixed, *_not_none(turned)], strict=True))
    outs, lhs, point = step.outvars[:n_outs], step.outvars[n_outs : n_outs + n_lhs], step.outvars[n_outs + n_lhs :]

    # What the linear body reads of the point where it was linearised, and what is kept for that. The xs are there
    # anyway; what was computed of them costs as much to keep as anything else.
    push_reads = jaxprs.reads(push.eqns, push.outvars)
    point_of = {
        var: atom for var, atom in zip(push.invars[: linearised.point], point, strict=True) if var in push_reads
    }
    there = {*fixed_vars, *x_vars}
    kept = [var for var in jaxprs.variables(lhs) if var not in there]
    kept += residuals.cheapest_to_keep(step, there, kept, jaxprs.variables(point_of.values()))
    again = jaxprs.needed(step.eqns, point_of.values(), given={*there, *kept})
    read_again = jaxprs.reads(again, point_of.values())

    inputs = push.invars[linearised.point :]
    input_of = dict(zip(live.inputs, inputs, strict=False))
    tap_of = dict(zip(live.taps, inputs[len(live.inputs) :], strict=True))
    live_carry = [var for var in body.carry if var in input_of]
    d_xs_live = [tangent is not None for tangent in d_xs]
    earlier = _outputs_of_the_step_before(kept, carry_vars, outs)
    stacks_up = [var for var in kept if var not in earlier]
    size = blocks.size(program, [*stacks_up, *outs[len(init) :]], [tap_of[tap] for tap in live.taps])
    if size == program.length:  # to shift outputs of all steps by one would take a copy of them
        earlier, stacks_up = {}, kept
    of_step = [var for var in stacks_up if var not in for_all_vars]

    def values(carry, xs):
        """A block of steps, and what is kept of them."""
        for_all = hoisting.for_all_steps(parts.for_all, fixed, xs)

        def values_step(carry, inputs):
            env = {**fixed_of, **dict(zip([*carry_vars, *x_vars, *for_all_vars], [*carry, *inputs], strict=True))}
            jaxprs.run(step, jaxprs.needed(step.eqns, [*outs, *of_step]), env)
            results = [jaxprs.read(env, atom) for atom in outs]
            return results[: len(carry)], (results[len(carry) :], [env[var] for var in of_step])

        first = [carry[carry_vars.index(var)] for var in earlier]
        carry, (ys, stacks) = program.scan(values_step, carry, [*xs, *for_all], size)
        stacked = dict(zip([*for_all_vars, *of_step], [*for_all, *stacks], strict=True))
        return carry, (ys, [stacked[var] for var in stacks_up], first)

    def tangents_of(d_carry, block):
        """Their tangents: linear in (d_carry, d_xs, d_fixed)."""
        xs, stacks, first, ys, d_xs = block
        d_xs = _with_none(d_xs, d_xs_live)
        stacked = dict(zip([*stacks_up, *x_vars], [*stacks, *xs], strict=True))
        stacked |= {
            var: _step_before(y, start, program.reverse) for var, start, y in zip(earlier, first, ys, strict=True)
        }
        _, d_for_all = _jvp(parts.for_all, _in_block(len(fixed)), [*fixed, *xs], [*d_fixed, *d_xs], values_too=False)
        d_of = dict(zip(body.jaxpr.invars, [*d_fixed, *d_init, *d_xs, *d_for_all], strict=True))

        # The taps of the block.
        _, d_routed = _jvp(
            addends.jaxpr, _in_block(len(invariants)), [*invariants, *xs], [*d_invariants, *d_xs], values_too=False
        )
        tap: dict[int, Any] = {}
        for number, varies, tangent in zip(addends.tap, addends.varies, d_routed, strict=True):
            if tangent is not None:
                _add(tap, number, tangent if varies else tangent[None])
        for eqn, atom in zip(live.weighed, lhs, strict=True):
            position = eqn.params["weight"]
            d_weight = d_of[eqn.invars[position]]
            product = taps.product_of_all_steps(eqn.params["eqn"], position, stacked[atom], d_weight)
            _add(tap, eqn.params["tap"], product)

        # The loop over the linear body.
        used = [var for var in live.inputs if var not in body.carry and input_of[var] in push_reads]
        d_step = {input_of[var]: d_of[var] for var in used if var in body.scanned}
        d_step |= {
            var: jnp.broadcast_to(tap[number], (size, *var.aval.shape))
            for number, var in tap_of.items()
            if var in push_reads
        }
        d_of_fixed = {input_of[var]: d_of[var] for var in used if var not in body.scanned}
        replayed = {var: stack for var, stack in stacked.items() if var in read_again}

        def linear_step(d_carry, now):
            replayed_t, d_step_t = now
            env = {**fixed_of, **dict(zip(replayed, replayed_t, strict=True))}
            jaxprs.run(step, again, env)
            env = {var: jaxprs.read(env, atom) for var, atom in point_of.items()} | d_of_fixed
            env |= dict(zip(d_step, d_step_t, strict=True))
            env |= {input_of[var]: tangent for var, tangent in zip(live_carry, d_carry, strict=True)}
            jaxprs.run(push, push.eqns, env)
            d_outs = [jaxprs.read(env, atom) for atom in push.outvars]
            return d_outs[: len(live_carry)], d_outs[len(live_carry) :]

        # Checkpointed, or transposing would move what is computed again into the forward loop, and keep it all.
        linear_loop = jax.checkpoint(linear_step, prevent_cse=False)
        return program.scan(linear_loop, d_carry, (list(replayed.values()), list(d_step.values())), size)

    d_of_carry = dict(zip(body.carry, d_init, strict=True))
    start = [jnp.zeros(v.aval.shape, v.aval.dtype) if d_of_carry[v] is None else d_of_carry[v] for v in live_carry]
    split_xs, split_d_xs = blocks.split(program, (xs, _not_none(d_xs)), size)
    carry, (ys, stacks, first) = blocks.scan(program, values, init, split_xs, size)
    block = split_xs, stacks, first, [ys[number] for number in earlier.values()], split_d_xs
    # Checkpointed, so that nothing that a block computes of what is there is kept beside it.
    d_carry, d_ys = blocks.scan(program, jax.checkpoint(tangents_of, prevent_cse=False), start, block, size)
    ys, d_ys = blocks.join(program, (ys, d_ys), size)
    d_live = iter([*d_carry, *d_ys])
    d_outs = [
        next(d_live) if is_live else zero_from_primal(out, symbolic_zeros=True)
        for out, is_live in zip([*carry, *ys], live.outputs, strict=True)
    ]
    return (carry, ys), (d_outs[: len(init)], d_outs[len(init) :])


def _outputs_of_the_step_before(kept: Sequence[Var], carry: Sequence[Var], outs: Sequence[Atom]) -> dict[Var, int]:
    """The kept carries that the step before has put out as its y: which of the ys each is."""
    returned, ys = outs[: len(carry)], outs[len(carry) :]
    pairs = [(var, after) for var, after in zip(carry, returned, strict=True) if var in kept and after in ys]
    return {var: ys.index(after) for var, after in pairs if jaxprs.is_var(after)}


def _step_before(y: Any, start: Any, reverse: bool) -> Any:
    """What the step before each has put out, `[steps, ...]`, given what came before the first."""
    return jnp.concatenate([y[1:], start[None]] if reverse else [start[None], y[:-1]])


def _none_if_zero(tangent: Any) -> Any:
    zero = isinstance(tangent, SymbolicZero) or tangent.dtype == jax.dtypes.float0
    return None if zero else tangent


def _not_none(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _with_none(values: Sequence[Any], is_there: Sequence[bool]) -> list[Any]:
    """The reverse of `_not_none`."""
    there = iter(values)
    return [next(there) if is_live else None for is_live in is_there]


def _add(total: dict[int, Any], number: int, term: Any) -> None:
    total[number] = total[number] + term if number in total else term


def _at_once(jaxpr: Jaxpr, values: Sequence[Any]) -> list[Any]:
    return jaxprs.evaluate(jaxpr, values, taps.without_markers)


def _in_block(n_invariants: int) -> Callable[[Jaxpr, Sequence[Any]], list[Any]]:
    return lambda jaxpr, values: hoisting.for_all_steps(jaxpr, values[:n_invariants], values[n_invariants:])


def _jvp(
    jaxpr: Jaxpr, run: Callable, primals: Sequence[Any], tangents: Tangents, values_too: bool = True
) -> tuple[list[Any], list[Any]]:
    """Outputs of `run(jaxpr, primals)` and their tangents, where nothing is computed for tangents that are zero."""
    varying = [i for i, tangent in enumerate(tangents) if tangent is not None]
    live = live_outputs(jaxpr, tangents)
    if not values_too:
        outvars = [atom for atom, is_live in zip(jaxpr.outvars, live, strict=True) if is_live]
        jaxpr = jaxpr.replace(outvars=outvars, eqns=jaxprs.needed(jaxpr.eqns, outvars))
    if not any(live):
        return run(jaxpr, list(primals)), [None] * len(live)

    def of_varying(*values):
        filled = list(primals)
        for i, value in zip(varying, values, strict=True):
            filled[i] = value
        return run(jaxpr, filled)

    outs, d_outs = jax.jvp(of_varying, [primals[i] for i in varying], [tangents[i] for i in varying])
    return outs, _with_none(
        [d for d, is_live in zip(d_outs, live, strict=True) if is_live] if values_too else d_outs, live
    )
