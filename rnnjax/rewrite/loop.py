"""The loop put together again, with its derivative.

    values:    before(invariants); for_all(x_t) for all t; a scan over the body
    tangents:  taps for all t; a scan over the linear body, whose transpose is the backward pass
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from rnnjax.rewrite import hoisting, jaxprs, residuals, taps
from rnnjax.rewrite.jaxprs import CARRY, INPUT, INVARIANT, is_float


class Program(NamedTuple):
    """A rewritten body, and how to run it."""

    parts: hoisting.Parts
    addends: core.Jaxpr  # (invariants, x) -> routed values
    tap_of_addend: list[int]  # which tap each enters
    addend_varies: list[bool]  # whether it differs from step to step
    counts: tuple[int, int, int]  # of invariants, carry, xs
    length: int
    reverse: bool
    unroll: int


def make_program(
    jaxpr: core.Jaxpr, counts: tuple[int, int, int], length: int, reverse: bool, unroll: int
) -> Program | None:
    """The rewritten form of a body with inputs (invariants, carry, x), or None where there is nothing to gain."""
    of_inputs = [INVARIANT] * counts[0] + [CARRY] * counts[1] + [INPUT] * counts[2]
    level = jaxprs.levels(jaxpr, of_inputs)
    hoisted = hoisting.hoisted_products(jaxpr, level, length)
    found = taps.groups(jaxpr, level, hoisted)
    if not hoisted and not found:
        return None
    marked = taps.mark(jaxpr, found, level)
    level = jaxprs.levels(marked, of_inputs)
    routed = [eqn for eqn in marked.eqns if eqn.primitive is taps.routed_p]
    routed_values = [eqn.invars[0] for eqn in routed]
    addends = marked.replace(
        invars=[var for var in marked.invars if level[var] != CARRY],
        outvars=routed_values,
        eqns=jaxprs.needed(marked.eqns, routed_values),
    )
    sliced = hoisting.slice_addends(marked, level, hoisting.hoisted_products(marked, level, length))
    return Program(
        hoisting.take_apart(sliced, of_inputs, length),
        addends,
        [eqn.params["tap"] for eqn in routed],
        [jaxprs.level_of(level, atom) == INPUT for atom in routed_values],
        counts,
        length,
        reverse,
        unroll,
    )


def make_loop(program: Program):
    """`(invariants, init, xs) -> (carry, ys)` over lists of arrays, differentiable in every way."""

    @jax.custom_jvp
    def loop(invariants, init, xs):
        before = jaxprs.evaluate(program.parts.before, invariants, taps.without_markers)
        for_all = _over_time(program.parts.for_all, [*invariants, *before], xs)

        def step(carry, inputs):
            values = [*invariants, *before, *carry, *inputs]
            outs = jaxprs.evaluate(program.parts.body, values, taps.without_markers)
            return outs[: len(carry)], outs[len(carry) :]

        return _scan(program, step, init, [*xs, *for_all])

    def rule(primals, tangents):
        return _derivative(program, *primals, *tangents)

    loop.defjvp(rule, symbolic_zeros=True)
    return loop


def _scan(program: Program, step, init, xs):
    return lax.scan(step, init, xs, length=program.length, reverse=program.reverse, unroll=program.unroll)


def _over_time(jaxpr: core.Jaxpr, invariants: Sequence[Any], xs: Sequence[Any]) -> list[Any]:
    """The outputs of a jaxpr with inputs (invariants, x) for all steps at once; those that vary are `[T, ...]`."""
    env = dict(zip(jaxpr.invars, [*invariants, *xs], strict=True))
    varying = set(jaxpr.invars[len(invariants) :])
    for eqn in jaxpr.eqns:
        varies = [jaxprs.is_var(atom) and atom in varying for atom in eqn.invars]
        if not any(varies):
            jaxprs.run(jaxpr, [eqn], env, taps.without_markers)
            continue
        values = [jaxprs.read(env, atom) for atom in eqn.invars]
        if eqn.primitive.name in taps.PRODUCTS and sum(varies) == 1:
            lhs = varies.index(True)
            outs = [taps.product_of_all_steps(eqn, 1 - lhs, values[lhs], values[1 - lhs])]
        else:
            def one(*values, eqn=eqn):
                inner = {v: x for v, x in zip(eqn.invars, values, strict=True) if jaxprs.is_var(v)}
                jaxprs.run(jaxpr, [eqn], inner, taps.without_markers)
                return [inner[var] for var in eqn.outvars]

            outs = jax.vmap(one, in_axes=[0 if v else None for v in varies])(*values)
        env.update(zip(eqn.outvars, outs, strict=True))
        varying.update(eqn.outvars)
    return [jaxprs.read(env, atom) for atom in jaxpr.outvars]


def _is_zero(tangent: Any) -> bool:
    return tangent is None or type(tangent) is jax.custom_derivatives.SymbolicZero or tangent.dtype == jax.dtypes.float0


def _push_forward(function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Outputs and tangents of a function of a list, where None stands for a zero tangent that is not computed."""
    live = [i for i, tangent in enumerate(tangents) if tangent is not None]

    def of_live(*values):
        filled = list(primals)
        for i, value in zip(live, values, strict=True):
            filled[i] = value
        return function(filled)

    if not live:
        outs = function(list(primals))
        return outs, [None] * len(outs)
    outs, outs_dot = jax.jvp(of_live, [primals[i] for i in live], [tangents[i] for i in live])
    return outs, outs_dot


def _reached(jaxpr: core.Jaxpr, live: set[core.Var], live_taps: Iterable[int] = ()) -> set[core.Var]:
    """The float vars whose tangents depend on those of live ones and of taps."""
    live = set(live)
    for eqn in jaxpr.eqns:
        if eqn.primitive in (taps.product_p, taps.routed_p):
            through = eqn.primitive is taps.product_p and eqn.invars[1 - eqn.params["weight"]] in live
            if through or (eqn.params["takes_tap"] and eqn.params["tap"] in live_taps):
                live.update(eqn.outvars)
        elif any(var in live for var in jaxprs.variables(eqn.invars)):
            live.update(var for var in eqn.outvars if is_float(var))
    return live


def _masked(jaxpr: core.Jaxpr, tangents_in: Sequence[Any], tangents_out: Sequence[Any]) -> list[Any]:
    """Tangents of the outputs of a jaxpr, None for those that no live input reaches."""
    live = _reached(jaxpr, {v for v, t in zip(jaxpr.invars, tangents_in, strict=True) if t is not None})
    return [
        t if jaxprs.is_var(atom) and atom in live else None
        for atom, t in zip(jaxpr.outvars, tangents_out, strict=True)
    ]


def _derivative(program: Program, invariants, init, xs, d_invariants, d_init, d_xs):
    """The rule of custom_jvp: values with what the linear loop needs, then the linear loop."""
    parts = program.parts
    d_invariants, d_init, d_xs = (
        [None if _is_zero(tangent) else tangent for tangent in tangents]
        for tangents in (d_invariants, d_init, d_xs)
    )

    # Outside the loop.
    before, d_before = _push_forward(
        lambda values: jaxprs.evaluate(parts.before, values, taps.without_markers), invariants, d_invariants
    )
    d_before = _masked(parts.before, d_invariants, d_before)
    fixed, d_fixed = [*invariants, *before], [*d_invariants, *d_before]
    for_all, d_for_all = _push_forward(
        lambda values: _over_time(parts.for_all, values[: len(fixed)], values[len(fixed) :]),
        [*fixed, *xs],
        [*d_fixed, *d_xs],
    )
    d_for_all = _masked(parts.for_all, [*d_fixed, *d_xs], d_for_all)
    scanned, d_scanned = [*xs, *for_all], [*d_xs, *d_for_all]
    tap = _taps_of_addends(program, invariants, xs, d_invariants, d_xs)

    # Which products have a weight with a tangent, and which carries have one.
    body = parts.body
    carry_vars = body.invars[len(fixed) : len(fixed) + len(init)]
    products = [eqn for eqn in body.eqns if eqn.primitive is taps.product_p]
    d_of = dict(zip(body.invars, [*d_fixed, *d_init, *d_scanned], strict=True))
    weighed = [eqn for eqn in products if d_of.get(eqn.invars[eqn.params["weight"]]) is not None]
    live_taps = {*tap, *(eqn.params["tap"] for eqn in weighed)}
    live_carry = {var for var in carry_vars if d_of[var] is not None}
    while True:
        start = {var for var, tangent in d_of.items() if tangent is not None and var not in carry_vars}
        reached = _reached(body, start | live_carry, live_taps)
        outs_live = [atom in reached if jaxprs.is_var(atom) else False for atom in body.outvars]
        grown = live_carry | {var for var, out in zip(carry_vars, outs_live, strict=False) if out}
        if grown == live_carry:
            break
        live_carry = grown

    # The body with its linearisation.
    live_vars = [var for var in body.invars if (var in live_carry) or (var not in carry_vars and d_of[var] is not None)]
    out_of_tap = {
        eqn.params["tap"]: eqn.outvars[0].aval
        for eqn in body.eqns
        if eqn.primitive in (taps.product_p, taps.routed_p) and eqn.params["takes_tap"]
    }
    tap_numbers = sorted(number for number in live_taps if number in out_of_tap)
    turned = [
        jnp.swapaxes(fixed[body.invars.index(eqn.invars[eqn.params["weight"]])], 0, 1)
        if eqn.invars[eqn.params["weight"]] in body.invars
        and taps.is_matrix_product(eqn.params["eqn"], eqn.params["weight"])
        else None
        for eqn in products
    ]
    linear: dict[str, Any] = {}

    def known(values, turned):
        env = dict(zip(body.invars, values, strict=True))
        lhs_of = {}

        def of_live(live_values, tap_values):
            inner = {**env, **dict(zip(live_vars, live_values, strict=True))}
            tap_of = dict(zip(tap_numbers, tap_values, strict=True))
            turned_of = {id(eqn): w for eqn, w in zip(products, turned, strict=True)}

            def hook(eqn, operands):
                if eqn.primitive is taps.product_p:
                    value = taps.linear_product(eqn, operands, turned_of[id(eqn)])
                elif eqn.primitive is taps.routed_p:
                    value = lax.stop_gradient(operands[0])
                else:
                    return None
                if eqn.params["takes_tap"] and eqn.params["tap"] in tap_of:
                    value = taps.take_tap(value, tap_of[eqn.params["tap"]])
                return [value]

            jaxprs.run(body, body.eqns, inner, hook)
            outs = [jaxprs.read(inner, atom) for atom in body.outvars]
            for eqn in weighed:
                lhs_of[id(eqn)] = inner[eqn.invars[1 - eqn.params["weight"]]]
            live_outs = [out for out, is_live in zip(outs, outs_live, strict=True) if is_live]
            return live_outs, (outs, [lhs_of[id(eqn)] for eqn in weighed])

        zeros = [jnp.zeros(out_of_tap[number].shape, out_of_tap[number].dtype) for number in tap_numbers]
        points = [env[var] for var in live_vars], zeros
        _, push, (outs, lhs) = jax.linearize(of_live, *points, has_aux=True)
        linear["jaxpr"], consts = jaxprs.trace(push, *points)
        linear["consts"] = len(consts)
        return outs, lhs, consts

    step_values = [*fixed, *init, *(jax.eval_shape(lambda x: x[0], x) for x in scanned)]
    jaxpr, consts = jaxprs.trace(known, jax.tree.map(jax.typeof, step_values), turned)
    return _run_linearised(
        program, jaxpr, consts, linear["jaxpr"], linear["consts"], fixed, turned, init, scanned,
        len(body.outvars), weighed, outs_live, live_vars, tap_numbers, tap, d_of, carry_vars, body,
    )


def _taps_of_addends(program: Program, invariants, xs, d_invariants, d_xs) -> dict[int, Any]:
    """The sum of the tangents of routed values, by tap; taps without any are left out."""
    jaxpr, count = program.addends, len(invariants)
    live = _masked(jaxpr, [*d_invariants, *d_xs], [True] * len(jaxpr.outvars))
    chosen = [i for i, is_live in enumerate(live) if is_live]
    outvars = [jaxpr.outvars[i] for i in chosen]
    jaxpr = jaxpr.replace(outvars=outvars, eqns=jaxprs.needed(jaxpr.eqns, outvars))
    _, tangents = _push_forward(
        lambda values: _over_time(jaxpr, values[:count], values[count:]), [*invariants, *xs], [*d_invariants, *d_xs]
    )
    tap: dict[int, Any] = {}
    for i, tangent in zip(chosen, tangents, strict=True):
        number = program.tap_of_addend[i]
        tangent = tangent if program.addend_varies[i] else tangent[None]
        tap[number] = tangent if number not in tap else tap[number] + tangent
    return tap


def _run_linearised(
    program, jaxpr, consts, linear, n_linear_consts, fixed, turned, init, scanned,
    n_outs, weighed, outs_live, live_vars, tap_numbers, tap, d_of, carry_vars, body,
):
    n_consts, n_fixed, n_carry = len(consts), len(fixed), len(init)
    start = n_consts + n_fixed
    k_carry = jaxpr.invars[start : start + n_carry]
    free_scanned = jaxpr.invars[start + n_carry : start + n_carry + len(scanned)]
    k_fixed = [v for v in jaxpr.invars if v not in set(k_carry) | set(free_scanned)]
    fixed_values = [*consts, *fixed, *(w for w in turned if w is not None)]
    outs, lhs, wanted = (
        jaxpr.outvars[:n_outs],
        jaxpr.outvars[n_outs : n_outs + len(weighed)],
        jaxpr.outvars[n_outs + len(weighed) :],
    )
    # Residuals that the linear body does not read, and inputs that it does not use, are left out.
    linear_reads = set(jaxprs.variables([*(a for e in linear.eqns for a in e.invars), *linear.outvars]))
    pairs = [
        (var, atom)
        for var, atom in zip(linear.invars[:n_linear_consts], wanted, strict=True)
        if var in linear_reads
    ]
    free = {*k_fixed, *free_scanned}
    # A left operand that depends on no carry is there for all steps anyway.
    kept = jaxprs.variables(lhs)
    stored = [*kept, *residuals.cheapest_to_keep(jaxpr, free, kept, jaxprs.variables(atom for _, atom in pairs))]
    stored = [var for var in dict.fromkeys(stored) if var not in free]

    forward_eqns = jaxprs.needed(jaxpr.eqns, [*outs, *stored])

    def step(carry, inputs):
        env = dict(zip(k_fixed, fixed_values, strict=True))
        env.update(zip(k_carry, carry, strict=True))
        env.update(zip(free_scanned, inputs, strict=True))
        jaxprs.run(jaxpr, forward_eqns, env)
        values = [jaxprs.read(env, atom) for atom in outs]
        return values[:n_carry], (values[n_carry:], [env[var] for var in stored])

    carry, (ys, stacks) = _scan(program, step, init, scanned)

    # The taps: what the weights of products in the loop add.
    env_all = {**dict(zip(stored, stacks, strict=True)), **dict(zip(free_scanned, scanned, strict=True))}
    for eqn, atom in zip(weighed, lhs, strict=True):
        number = eqn.params["tap"]
        weight = d_of[eqn.invars[eqn.params["weight"]]]
        extra = taps.product_of_all_steps(eqn.params["eqn"], eqn.params["weight"], env_all[atom], weight)
        tap[number] = extra if number not in tap else tap[number] + extra

    # The linear loop.
    linear_inputs = linear.invars[n_linear_consts:]
    of_live = dict(zip(live_vars, linear_inputs[: len(live_vars)], strict=True))
    of_tap = dict(zip(tap_numbers, linear_inputs[len(live_vars) :], strict=True))
    carry_in = [var for var in carry_vars if var in of_live]
    scanned_in = [var for var in body.invars[n_fixed + n_carry :] if var in of_live and of_live[var] in linear_reads]
    fixed_in = [var for var in body.invars[:n_fixed] if var in of_live and of_live[var] in linear_reads]
    taps_in = [number for number in tap_numbers if of_tap[number] in linear_reads]
    stops = {*stored, *free}
    again = _recomputed(jaxpr, [atom for _, atom in pairs], stops)

    read_stored = [var for var in stored if var in set(
        jaxprs.variables([*(a for e in again for a in e.invars), *(atom for _, atom in pairs)]))]
    read_scanned = [var for var in free_scanned if var in set(
        jaxprs.variables([*(a for e in again for a in e.invars), *(atom for _, atom in pairs)]))]
    env_fixed = dict(zip(k_fixed, fixed_values, strict=True))
    d_fixed = {of_live[var]: d_of[var] for var in fixed_in}

    def linear_step(d_carry, inputs):
        stored_t, scanned_t, d_scanned_t, taps_t = inputs
        env = {**env_fixed, **dict(zip(read_stored, stored_t, strict=True))}
        env.update(zip(read_scanned, scanned_t, strict=True))
        jaxprs.run(jaxpr, again, env)
        point = {var: jaxprs.read(env, atom) for var, atom in pairs}
        point.update(d_fixed)
        point.update({of_live[var]: value for var, value in zip(carry_in, d_carry, strict=True)})
        point.update({of_live[var]: value for var, value in zip(scanned_in, d_scanned_t, strict=True)})
        point.update({of_tap[number]: value for number, value in zip(taps_in, taps_t, strict=True)})
        jaxprs.run(linear, linear.eqns, point)
        d_outs = [jaxprs.read(point, atom) for atom in linear.outvars]
        return d_outs[: len(carry_in)], d_outs[len(carry_in) :]

    d_init = [
        jnp.zeros(var.aval.shape, var.aval.dtype) if d_of[var] is None else d_of[var] for var in carry_in
    ]
    linear_xs = (
        [env_all[var] for var in read_stored],
        [env_all[var] for var in read_scanned],
        [d_of[var] for var in scanned_in],
        [jnp.broadcast_to(tap[number], (program.length, *of_tap[number].aval.shape)) for number in taps_in],
    )
    d_carry, d_ys = _scan(program, jax.checkpoint(linear_step, prevent_cse=False), d_init, linear_xs)
    live_outs = iter([*d_carry, *d_ys])
    tangents = [
        next(live_outs) if is_live else jax.custom_derivatives.zero_from_primal(out, symbolic_zeros=True)
        for out, is_live in zip([*carry, *ys], outs_live, strict=True)
    ]
    return (carry, ys), (tangents[:n_carry], tangents[n_carry:])


def _recomputed(jaxpr: core.Jaxpr, wanted: Sequence[jaxprs.Atom], stops: set[core.Var]) -> list[core.JaxprEqn]:
    """The equations that compute `wanted` from `stops`."""
    open_vars = {var for var in jaxprs.variables(wanted) if var not in stops}
    chosen = []
    for eqn in reversed(jaxpr.eqns):
        if any(var in open_vars for var in eqn.outvars):
            chosen.append(eqn)
            open_vars.update(var for var in jaxprs.variables(eqn.invars) if var not in stops)
    return chosen[::-1]
