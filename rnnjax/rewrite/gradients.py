"""The derivative of a rewritten loop: values with what has to be kept, then a loop over the linearised body.

    tap_t      = sum of lhs_t dW, and of the tangents of routed addends           for all t at once
    dcarry_t   = A_t dcarry_{t-1} + B_t dx_t + tap_t                              a scan, A and B from what is kept

That loop is linear in the tangents, and JAX transposes it: the transposed scan is the backward pass, and the
transposed taps are the gradients of the weights, one product each after it. Nothing here is particular to reverse
mode, so forward mode and higher derivatives are those of the scans below.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero, zero_from_primal

from rnnjax.rewrite import hoisting, jaxprs, residuals, taps
from rnnjax.rewrite.jaxprs import Eqn, Jaxpr, Var, is_float
from rnnjax.rewrite.program import Program

Tangents = Sequence[Any]  # None stands for zero, which is not computed


class _Outside(NamedTuple):
    """Values and tangents of what is computed before the loop."""

    fixed: list[Any]  # invariants, and what `before` makes of them
    d_fixed: Tangents
    scanned: list[Any]  # xs, and what is computed for all steps, [T, ...]
    d_scanned: Tangents
    taps: dict[int, Any]  # number -> [T, ...] or [1, ...]


class _Live(NamedTuple):
    """What has a tangent in the loop."""

    inputs: list[Var]  # of the body
    outputs: list[bool]
    taps: list[int]
    weighed: list[Eqn]  # products whose weight has one


class _Linearised(NamedTuple):
    """A step, and its linearisation at the point where it was."""

    step: Jaxpr  # (consts, fixed, turned, carry, scanned) -> (outputs, left operands, point)
    consts: list[Any]
    push: Jaxpr  # (point, tangents of live inputs, taps) -> tangents of live outputs
    point: int  # how many


def push_forward(program: Program, primals: tuple, tangents: tuple) -> tuple:
    """The rule of custom_jvp, with symbolic zeros: (carry, ys) and their tangents."""
    invariants, init, xs = primals
    d_invariants, d_init, d_xs = ([_none_if_zero(t) for t in group] for group in tangents)
    outside = _outside_the_loop(program, invariants, xs, d_invariants, d_xs)
    body = _Body(program.parts.body, len(outside.fixed), len(init))
    d_of = dict(zip(body.jaxpr.invars, [*outside.d_fixed, *d_init, *outside.d_scanned], strict=True))
    live = _find_live(body, d_of, outside.taps)
    turned = [_turned_weight(eqn, body, outside.fixed) for eqn in body.products]
    linearised = _linearise(body, live, outside, init, turned)

    step, n_outs, n_lhs = linearised.step, len(body.jaxpr.outvars), len(live.weighed)
    n_fixed = len(step.invars) - len(init) - len(outside.scanned)
    fixed_vars, carry_vars = step.invars[:n_fixed], step.invars[n_fixed : n_fixed + len(init)]
    scanned_vars = step.invars[n_fixed + len(init) :]
    fixed = dict(zip(fixed_vars, [*linearised.consts, *outside.fixed, *_not_none(turned)], strict=True))
    outs, lhs, point = step.outvars[:n_outs], step.outvars[n_outs : n_outs + n_lhs], step.outvars[n_outs + n_lhs :]

    # What the linear body reads of the point where it was linearised, and what is kept for that.
    push_reads = jaxprs.reads(linearised.push.eqns, linearised.push.outvars)
    point_of = {
        var: atom
        for var, atom in zip(linearised.push.invars[: linearised.point], point, strict=True)
        if var in push_reads
    }
    there = {*fixed_vars, *scanned_vars}
    kept = [var for var in jaxprs.variables(lhs) if var not in there]
    kept += residuals.cheapest_to_keep(step, there, kept, jaxprs.variables(point_of.values()))

    def values_step(carry, inputs):
        env = {**fixed, **dict(zip(carry_vars, carry, strict=True)), **dict(zip(scanned_vars, inputs, strict=True))}
        jaxprs.run(step, jaxprs.needed(step.eqns, [*outs, *kept]), env)
        values = [jaxprs.read(env, atom) for atom in outs]
        return values[: len(carry)], (values[len(carry) :], [env[var] for var in kept])

    carry, (ys, stacks) = program.scan(values_step, init, outside.scanned)
    stacked = {**dict(zip(kept, stacks, strict=True)), **dict(zip(scanned_vars, outside.scanned, strict=True))}

    # The taps of all steps.
    tap = dict(outside.taps)
    for eqn, atom in zip(live.weighed, lhs, strict=True):
        position = eqn.params["weight"]
        extra = taps.product_of_all_steps(eqn.params["eqn"], position, stacked[atom], d_of[eqn.invars[position]])
        tap[eqn.params["tap"]] = extra + tap[eqn.params["tap"]] if eqn.params["tap"] in tap else extra

    # The loop over the linear body.
    inputs = linearised.push.invars[linearised.point :]
    input_of = dict(zip(live.inputs, inputs, strict=False))
    tap_of = dict(zip(live.taps, inputs[len(live.inputs) :], strict=True))
    live_carry = [var for var in body.carry if var in input_of]
    used = [var for var in live.inputs if var not in body.carry and input_of[var] in push_reads]
    d_step = {input_of[var]: d_of[var] for var in used if var in body.scanned}
    d_step |= {
        var: jnp.broadcast_to(tap[number], (program.length, *var.aval.shape))
        for number, var in tap_of.items()
        if var in push_reads
    }
    d_fixed = {input_of[var]: d_of[var] for var in used if var not in body.scanned}
    again = jaxprs.needed(step.eqns, point_of.values(), given={*there, *kept})
    read_again = jaxprs.reads(again, point_of.values())
    replayed = {var: stack for var, stack in stacked.items() if var in read_again}

    def linear_step(d_carry, now):
        replayed_t, d_step_t = now
        env = {**fixed, **dict(zip(replayed, replayed_t, strict=True))}
        jaxprs.run(step, again, env)
        env = {var: jaxprs.read(env, atom) for var, atom in point_of.items()} | d_fixed
        env |= dict(zip(d_step, d_step_t, strict=True))
        env |= {input_of[var]: tangent for var, tangent in zip(live_carry, d_carry, strict=True)}
        jaxprs.run(linearised.push, linearised.push.eqns, env)
        d_outs = [jaxprs.read(env, atom) for atom in linearised.push.outvars]
        return d_outs[: len(live_carry)], d_outs[len(live_carry) :]

    start = [jnp.zeros(v.aval.shape, v.aval.dtype) if d_of[v] is None else d_of[v] for v in live_carry]
    # Checkpointed, or transposing would move what is computed again into the forward loop, and keep it all.
    linear_loop = jax.checkpoint(linear_step, prevent_cse=False)
    d_carry, d_ys = program.scan(linear_loop, start, (list(replayed.values()), list(d_step.values())))
    d_live = iter([*d_carry, *d_ys])
    d_outs = [
        next(d_live) if is_live else zero_from_primal(out, symbolic_zeros=True)
        for out, is_live in zip([*carry, *ys], live.outputs, strict=True)
    ]
    return (carry, ys), (d_outs[: len(init)], d_outs[len(init) :])


class _Body:
    """A body with its inputs by kind."""

    def __init__(self, jaxpr: Jaxpr, n_fixed: int, n_carry: int):
        self.jaxpr = jaxpr
        self.fixed = jaxpr.invars[:n_fixed]
        self.carry = jaxpr.invars[n_fixed : n_fixed + n_carry]
        self.scanned = set(jaxpr.invars[n_fixed + n_carry :])
        self.products = [eqn for eqn in jaxpr.eqns if eqn.primitive is taps.product_p]


# ---- before the loop -----------------------------------------------------------------------------------------


def _none_if_zero(tangent: Any) -> Any:
    zero = isinstance(tangent, SymbolicZero) or tangent.dtype == jax.dtypes.float0
    return None if zero else tangent


def _not_none(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


def _outside_the_loop(program: Program, invariants, xs, d_invariants: Tangents, d_xs: Tangents) -> _Outside:
    parts = program.parts
    before, d_before = _jvp(
        parts.before, lambda j, v: jaxprs.evaluate(j, v, taps.without_markers), invariants, d_invariants
    )
    fixed, d_fixed = [*invariants, *before], [*d_invariants, *d_before]
    for_all, d_for_all = _jvp(
        parts.for_all,
        lambda jaxpr, values: hoisting.for_all_steps(jaxpr, values[: len(fixed)], values[len(fixed) :]),
        [*fixed, *xs],
        [*d_fixed, *d_xs],
    )
    addends = program.addends
    _, d_addends = _jvp(
        addends.jaxpr,
        lambda jaxpr, values: hoisting.for_all_steps(jaxpr, values[: len(invariants)], values[len(invariants) :]),
        [*invariants, *xs],
        [*d_invariants, *d_xs],
        values_too=False,
    )
    tap: dict[int, Any] = {}
    for number, varies, tangent in zip(addends.tap, addends.varies, d_addends, strict=True):
        if tangent is not None:
            tangent = tangent if varies else tangent[None]
            tap[number] = tap[number] + tangent if number in tap else tangent
    return _Outside(fixed, d_fixed, [*xs, *for_all], [*d_xs, *d_for_all], tap)


def _jvp(
    jaxpr: Jaxpr, run: Callable, primals: Sequence[Any], tangents: Tangents, values_too: bool = True
) -> tuple[list[Any], list[Any]]:
    """Outputs of `run(jaxpr, primals)` and their tangents, where nothing is computed for tangents that are zero."""
    varying = [i for i, tangent in enumerate(tangents) if tangent is not None]
    reached = _reached(jaxpr, {jaxpr.invars[i] for i in varying})
    live = [jaxprs.is_var(atom) and atom in reached for atom in jaxpr.outvars]
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
    if values_too:
        return outs, [d_out if is_live else None for d_out, is_live in zip(d_outs, live, strict=True)]
    d_live = iter(d_outs)
    return outs, [next(d_live) if is_live else None for is_live in live]


def _reached(jaxpr: Jaxpr, live: set[Var], live_taps: Collection[int] | None = None) -> set[Var]:
    """The float vars whose tangents depend on those of live vars, and of live taps in the loop; None outside it."""
    live = set(live)
    for eqn in jaxpr.eqns:
        through = any(var in live for var in jaxprs.variables(eqn.invars))
        if eqn.primitive is taps.product_p:
            through = eqn.invars[1 - eqn.params["weight"]] in live
        if eqn.primitive is taps.routed_p:
            through = through and eqn.params["takes_tap"] and live_taps is None
        if live_taps is not None and eqn.params.get("takes_tap", False):
            through = through or eqn.params["tap"] in live_taps
        if through:
            live.update(var for var in eqn.outvars if is_float(var))
    return live


# ---- the body, linearised ------------------------------------------------------------------------------------


def _find_live(body: _Body, d_of: dict[Var, Any], outside_taps: Iterable[int]) -> _Live:
    """What has a tangent, given those of the inputs: a carry that is reached has one from the next step on."""
    weighed = [eqn for eqn in body.products if d_of.get(eqn.invars[eqn.params["weight"]]) is not None]
    numbers = {*outside_taps, *(eqn.params["tap"] for eqn in weighed)}
    live = {var for var, tangent in d_of.items() if tangent is not None}
    while True:
        reached = _reached(body.jaxpr, live, numbers)
        outputs = [jaxprs.is_var(atom) and atom in reached for atom in body.jaxpr.outvars]
        grown = live | {var for var, is_live in zip(body.carry, outputs, strict=False) if is_live}
        if grown == live:
            break
        live = grown
    # A carry whose tangent is lost in the step, as behind stop_gradient, still has one of zeros afterwards.
    outputs = [is_live or (i < len(body.carry) and body.carry[i] in live) for i, is_live in enumerate(outputs)]
    taken = {eqn.params["tap"] for eqn in body.jaxpr.eqns if eqn.params.get("takes_tap", False)}
    inputs = [var for var in body.jaxpr.invars if var in live]
    return _Live(inputs, outputs, sorted(numbers & taken), weighed)


def _turned_weight(eqn: Eqn, body: _Body, fixed: Sequence[Any]) -> Any:
    """The transposed weight of a product, copied once before the loop, or None."""
    position = eqn.params["weight"]
    weight = eqn.invars[position]
    if weight not in body.fixed or not taps.is_matrix_product(eqn.params["eqn"], position):
        return None
    return jnp.swapaxes(fixed[body.fixed.index(weight)], 0, 1)


def _linearise(body: _Body, live: _Live, outside: _Outside, init, turned: Sequence[Any]) -> _Linearised:
    tap_avals = {
        eqn.params["tap"]: eqn.outvars[0].aval for eqn in body.jaxpr.eqns if eqn.params.get("takes_tap", False)
    }
    linear: dict[str, Any] = {}

    def step(fixed, turned, carry, scanned):
        env = dict(zip(body.jaxpr.invars, [*fixed, *carry, *scanned], strict=True))
        turned_of = {id(eqn): weight for eqn, weight in zip(body.products, turned, strict=True)}

        def of_live(values, tap_values):
            inner = {**env, **dict(zip(live.inputs, values, strict=True))}
            tap_of = dict(zip(live.taps, tap_values, strict=True))

            def hook(eqn, operands):
                if eqn.primitive is taps.product_p:
                    value = taps.linear_product(eqn, operands, turned_of[id(eqn)])
                elif eqn.primitive is taps.routed_p:
                    value = taps.cut(operands[0])
                else:
                    return None
                takes_tap = eqn.params["takes_tap"] and eqn.params["tap"] in tap_of
                return [taps.take_tap(value, tap_of[eqn.params["tap"]]) if takes_tap else value]

            jaxprs.run(body.jaxpr, body.jaxpr.eqns, inner, hook)
            outs = [jaxprs.read(inner, atom) for atom in body.jaxpr.outvars]
            lhs = [inner[eqn.invars[1 - eqn.params["weight"]]] for eqn in live.weighed]
            return [out for out, is_live in zip(outs, live.outputs, strict=True) if is_live], (outs, lhs)

        zeros = [jnp.zeros(tap_avals[number].shape, tap_avals[number].dtype) for number in live.taps]
        values = [env[var] for var in live.inputs]
        _, push, (outs, lhs) = jax.linearize(of_live, values, zeros, has_aux=True)
        linear["push"], point = jaxprs.trace(push, values, zeros)
        linear["point"] = len(point)
        return outs, lhs, point

    examples = [jax.tree.map(jax.typeof, leaves) for leaves in (outside.fixed, list(turned), list(init))]
    now = jaxprs.avals(var for var in body.jaxpr.invars if var in body.scanned)
    jaxpr, consts = jaxprs.trace(step, *examples, now)
    return _Linearised(taps.unmarked(jaxpr), consts, linear["push"], linear["point"])
