"""The derivative of a rewritten loop: values with what has to be kept, then a loop over the linearised body.

    tap_t      = sum of lhs_t dW, and of the tangents of routed addends           for all t of a block at once
    dcarry_t   = A_t dcarry_{t-1} + B_t dx_t + tap_t                              a scan, A and B from what is kept

That loop is linear in the tangents, and JAX transposes it: the transposed scan is the backward pass, and the
transposed taps are the gradients of the weights, one product each after it. Nothing here is particular to reverse
mode, so forward mode and higher derivatives are those of the scans below.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from rnnjax.rewrite import blocks, hoisting, jaxprs, keeping, taps
from rnnjax.rewrite.jaxprs import Jaxpr, Var
from rnnjax.rewrite.linearise import Body, Live, find_live, linearise, live_outputs
from rnnjax.rewrite.program import Program

Tangents = Sequence[Any]  # None stands for zero, which is not computed


def push_forward(program: Program, primals: tuple, tangents: tuple) -> tuple:
    """The rule of custom_jvp, with symbolic zeros: (carry, ys) and their tangents."""
    invariants, init, xs = primals
    d_invariants, d_init, d_xs = ([_none_if_zero(t) for t in group] for group in tangents)
    before, d_before = _jvp(program.parts.before, _at_once, invariants, d_invariants)
    at = _Inputs(invariants, [*invariants, *before], init, xs)
    d_at = _Inputs(d_invariants, [*d_invariants, *d_before], d_init, d_xs)

    loop = _Loop(program, at, d_at)
    size = loop.kept.size
    d_of_carry = dict(zip(loop.body.carry, d_init, strict=True))
    start = [jnp.zeros(v.aval.shape, v.aval.dtype) if d_of_carry[v] is None else d_of_carry[v] for v in loop.live_carry]
    split_xs, split_d_xs = blocks.split(program, (xs, _not_none(d_xs)), size)
    carry, (ys, stacks, first) = blocks.scan(program, loop.values, init, split_xs, size)
    block = _Block(split_xs, stacks, first, [ys[number] for number in loop.kept.earlier.values()], split_d_xs)
    # Checkpointed, so that nothing that a block computes of what is there is kept beside it.
    d_carry, d_ys = blocks.scan(program, jax.checkpoint(loop.tangents, prevent_cse=False), start, block, size)
    ys, d_ys = blocks.join(program, (ys, d_ys), size)
    d_live = iter([*d_carry, *d_ys])
    d_outs = [
        next(d_live) if is_live else zero_from_primal(out, symbolic_zeros=True)
        for out, is_live in zip([*carry, *ys], loop.live.outputs, strict=True)
    ]
    return (carry, ys), (d_outs[: len(init)], d_outs[len(init) :])


class _Inputs(NamedTuple):
    """What a loop starts from: values, or their tangents."""

    invariants: Sequence[Any]
    fixed: Sequence[Any]  # the invariants, and what is computed of them before the loop
    init: Sequence[Any]
    xs: Sequence[Any]


class _Block(NamedTuple):
    """What is there of a block of steps when its tangents are computed."""

    xs: list[Any]
    stacks: list[Any]  # of `Kept.stacks`
    first: list[Any]  # of `Kept.earlier`: the carries that the block started from
    ys: list[Any]  # of `Kept.earlier`: what its steps have put out
    d_xs: list[Any]  # those that are not zero


class _Loop:
    """A loop at a point, linearised: the values of a block of steps, and their tangents."""

    def __init__(self, program: Program, at: _Inputs, d_at: _Inputs):
        self.program, self.at, self.d_at = program, at, d_at
        self.body = Body(program.parts.body, len(at.fixed), len(at.init), len(at.xs))
        self.live = _find_live(program, self.body, d_at)
        self.live_carry = [var for var in self.body.carry if var in self.live.inputs]
        self.linearised = linearise(self.body, self.live, at.fixed, at.init)
        self.kept = keeping.choose(program, self.linearised)

    def values(self, carry: list[Any], xs: Sequence[Any]) -> tuple[list[Any], tuple[list[Any], ...]]:
        """A block of steps: the carry after it, its ys, and what is kept of it (`stacks` and `first` of `_Block`)."""
        step, kept = self.linearised.step, self.kept
        for_all = hoisting.for_all_steps(self.program.parts.for_all, self.at.fixed, xs)
        of_step = [var for var in kept.stacks if var not in step.for_all]
        eqns = jaxprs.needed(step.jaxpr.eqns, [*step.returned, *step.ys, *of_step])

        def values_step(carry, inputs):
            varying = zip([*step.carry, *step.xs, *step.for_all], [*carry, *inputs], strict=True)
            env = {**self.linearised.fixed, **dict(varying)}
            jaxprs.run(step.jaxpr, eqns, env)
            returned, ys = ([jaxprs.read(env, atom) for atom in atoms] for atoms in (step.returned, step.ys))
            return returned, (ys, [env[var] for var in of_step])

        first = [carry[step.carry.index(var)] for var in kept.earlier]
        after, (ys, stacks) = self.program.scan(values_step, carry, [*xs, *for_all], kept.size)
        stacked = dict(zip([*step.for_all, *of_step], [*for_all, *stacks], strict=True))
        return after, (ys, [stacked[var] for var in kept.stacks], first)

    def tangents(self, d_carry: Sequence[Any], block: _Block) -> tuple[list[Any], list[Any]]:
        """The tangents of a block: of the carry after it and of its ys, linear in d_carry and those of the inputs."""
        parts, at, d_at = self.program.parts, self.at, self.d_at
        d_xs = _with_none(block.d_xs, [tangent is not None for tangent in d_at.xs])
        stacked = self._stacked(block)
        _, d_for_all = _jvp(
            parts.for_all, _in_block(len(at.fixed)), [*at.fixed, *block.xs], [*d_at.fixed, *d_xs], values_too=False
        )
        d_of = dict(zip(self.body.jaxpr.invars, [*d_at.fixed, *d_at.init, *d_xs, *d_for_all], strict=True))
        return self._push(d_carry, stacked, d_of, self._taps(block.xs, d_xs, stacked, d_of))

    def _stacked(self, block: _Block) -> dict[Var, Any]:
        """What is there of all steps of a block."""
        step, kept = self.linearised.step, self.kept
        stacked = dict(zip([*kept.stacks, *step.xs], [*block.stacks, *block.xs], strict=True))
        for var, start, y in zip(kept.earlier, block.first, block.ys, strict=True):
            stacked[var] = _step_before(y, start, self.program.reverse)
        return stacked

    def _taps(self, xs: Sequence[Any], d_xs: Tangents, stacked: dict[Var, Any], d_of: dict[Var, Any]) -> dict[int, Any]:
        """The taps of all steps of a block: of the addends that are routed, and of the weights' tangents."""
        addends, invariants, d_invariants = self.program.addends, self.at.invariants, self.d_at.invariants
        _, d_routed = _jvp(
            addends.jaxpr, _in_block(len(invariants)), [*invariants, *xs], [*d_invariants, *d_xs], values_too=False
        )
        tap: dict[int, Any] = {}
        for number, varies, tangent in zip(addends.tap, addends.varies, d_routed, strict=True):
            if tangent is not None:
                _add(tap, number, tangent if varies else tangent[None])
        for eqn, atom in zip(self.live.weighed, self.linearised.step.lhs, strict=True):
            position = eqn.params["weight"]
            d_weight = d_of[eqn.invars[position]]
            product = taps.product_of_all_steps(eqn.params["eqn"], position, stacked[atom], d_weight)
            _add(tap, eqn.params["tap"], product)
        return tap

    def _push(
        self, d_carry: Sequence[Any], stacked: dict[Var, Any], d_of: dict[Var, Any], tap: dict[int, Any]
    ) -> tuple[list[Any], list[Any]]:
        """The loop over the linear body."""
        (step, fixed, push), kept, scanned = self.linearised, self.kept, self.body.scanned
        used = [var for var in self.live.inputs if var not in self.body.carry and push.input_of[var] in push.reads]
        d_step = {push.input_of[var]: d_of[var] for var in used if var in scanned}
        d_step |= {
            var: jnp.broadcast_to(tap[number], (kept.size, *var.aval.shape))
            for number, var in push.tap_of.items()
            if var in push.reads
        }
        d_fixed = {push.input_of[var]: d_of[var] for var in used if var not in scanned}
        d_carry_vars = [push.input_of[var] for var in self.live_carry]
        read_again = kept.read_again()
        replayed = {var: stack for var, stack in stacked.items() if var in read_again}

        def linear_step(d_carry, now):
            replayed_t, d_step_t = now
            env = {**fixed, **dict(zip(replayed, replayed_t, strict=True))}
            jaxprs.run(step.jaxpr, kept.again, env)
            env = {var: jaxprs.read(env, atom) for var, atom in kept.point.items()} | d_fixed
            env |= dict(zip([*d_step, *d_carry_vars], [*d_step_t, *d_carry], strict=True))
            jaxprs.run(push.jaxpr, push.jaxpr.eqns, env)
            d_outs = [jaxprs.read(env, atom) for atom in push.jaxpr.outvars]
            return d_outs[: len(d_carry)], d_outs[len(d_carry) :]

        # Checkpointed, or transposing would move what is computed again into the forward loop, and keep it all.
        linear_loop = jax.checkpoint(linear_step, prevent_cse=False)
        return self.program.scan(linear_loop, d_carry, (list(replayed.values()), list(d_step.values())), kept.size)


def _find_live(program: Program, body: Body, d_at: _Inputs) -> Live:
    """What has a tangent in the loop, known before anything is computed."""
    has_tangent = [tangent is not None for tangent in (*d_at.fixed, *d_at.init, *d_at.xs)]
    has_tangent += live_outputs(program.parts.for_all, [*d_at.fixed, *d_at.xs])
    live_inputs = [var for var, is_live in zip(body.jaxpr.invars, has_tangent, strict=True) if is_live]
    is_routed = live_outputs(program.addends.jaxpr, [*d_at.invariants, *d_at.xs])
    routed_taps = [tap for tap, is_live in zip(program.addends.tap, is_routed, strict=True) if is_live]
    return find_live(body, live_inputs, routed_taps)


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
