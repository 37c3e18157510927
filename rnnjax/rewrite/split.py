"""A loop that is differentiated, split: a forward loop that keeps residuals, and a loop that is linear in tangents.

JAX splits it, as it splits a scan. What is kept of each step is then chosen anew: the fewest bytes from which what the
second loop reads follows by cheap, elementwise work (residuals.py).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.extend.core.primitives import scan_p
from jax.interpreters import partial_eval as pe

from rnnjax.rewrite import fallback, jaxprs, residuals
from rnnjax.rewrite.jaxprs import Eqn, Jaxpr, Var
from rnnjax.rewrite.loops import Loop, bind_loops, is_scan, loop_p, plain_scan, read_loop
from rnnjax.rewrite.kinds import PRODUCTS


class Split(NamedTuple):
    """Two jaxprs for one."""

    known: Jaxpr  # (consts, known values) -> (known outputs, residuals)
    consts: list[Any]
    unknown: Jaxpr  # (residuals, unknown values) -> unknown outputs
    out_known: list[bool]  # of the outputs of the loop


def partial_eval(trace: Any, *tracers: Any, **params: Any) -> list[Any]:
    """The rule of `pe.JaxprTrace`: runs what follows from known values, and records the rest."""
    known = [tracer.is_known() for tracer in tracers]
    if all(known):
        return loop_p.bind(*(tracer.pval.get_known() for tracer in tracers), **params)
    parts = split_loop([tracer.aval for tracer in tracers], known, params)
    outs = bind_loops(parts.known, [*parts.consts, *(t.pval.get_known() for t, is_known in zip(tracers, known, strict=True) if is_known)])
    n_known = sum(parts.out_known)
    of_unknown = [tracer for tracer, is_known in zip(tracers, known, strict=True) if not is_known]
    env = dict(zip(parts.unknown.invars, [*outs[n_known:], *of_unknown], strict=True))
    for eqn in jaxprs.without_dead_equations(parts.unknown).eqns:
        primitive = loop_p if is_scan(eqn) else eqn.primitive
        values = trace.default_process_primitive(primitive, [jaxprs.read(env, a) for a in eqn.invars], eqn.params)
        env.update(zip(eqn.outvars, values if primitive.multiple_results else [values], strict=True))
    of_known, rest = iter(outs[:n_known]), iter(jaxprs.read(env, atom) for atom in parts.unknown.outvars)
    return [next(of_known) if is_known else next(rest) for is_known in parts.out_known]


def split_loop(avals: Sequence[Any], known: Sequence[bool], params: dict[str, Any]) -> Split:
    """A loop, split where values become unknown."""
    parts = _as_scan(avals, known, params)
    return fallback.attempt("residuals", lambda: _keep_less(parts)) or parts


def _as_scan(avals: Sequence[Any], known: Sequence[bool], params: dict[str, Any]) -> Split:
    """The split of JAX."""
    unknown: list[Any] = []
    out_known: list[bool] = []

    def function(*values):
        given = iter(values)
        pvals = [
            pe.PartialVal.known(next(given)) if is_known else pe.PartialVal.unknown(aval)
            for aval, is_known in zip(avals, known, strict=True)
        ]
        fun = jaxprs.wrapped(lambda *args: scan_p.bind(*args, **params))
        jaxpr, outs, residuals = pe.trace_to_jaxpr_nounits(fun, pvals, False)
        unknown[:] = [jaxprs.with_consts_as_inputs(jaxpr)]
        out_known[:] = [out.is_known() for out in outs]
        return [*(out.get_known() for out in outs if out.is_known()), *residuals]

    jaxpr, consts = jaxprs.trace(function, [aval for aval, is_known in zip(avals, known, strict=True) if is_known])
    return Split(jaxpr, consts, unknown[0], list(out_known))


def _keep_less(parts: Split) -> Split | None:
    """The split with residuals chosen anew, None where there is nothing to choose."""
    forwards, linears = ([eqn for eqn in jaxpr.eqns if is_scan(eqn)] for jaxpr in (parts.known, parts.unknown))
    if len(forwards) != 1 or len(linears) != 1:
        return None
    pair = _Pair(parts, forwards[0], linears[0])
    if not pair.is_less():
        return None
    n_known = sum(parts.out_known)
    known, consts = jaxprs.trace(pair.known, [var.aval for var in parts.known.invars[len(parts.consts) :]])
    avals = [atom.aval for atom in known.outvars[n_known:]]
    n_residuals = len(parts.known.outvars) - n_known
    avals += [var.aval for var in parts.unknown.invars[n_residuals:]]
    unknown, more_consts = jaxprs.trace(pair.unknown, avals)
    if more_consts:
        return None
    return Split(known, consts, unknown, parts.out_known)


class _Pair:
    """The two scans of a split, and what the first keeps for the second.

    Vars of the body of the forward loop stand for what they are worth at each step.
    """

    def __init__(self, parts: Split, forward: Eqn, linear: Eqn):
        self.parts, self.forward, self.linear = parts, forward, linear
        self.first, self.second = (
            loop._replace(jaxpr=jaxprs.inline(loop.jaxpr, jaxprs.CALLS))
            for loop in (read_loop(forward.params), read_loop(linear.params))
        )
        first, second = self.first, self.second
        n_known = sum(parts.out_known)
        self.n_known = n_known
        # The residuals that the forward loop stacks, by the var under which the linear body reads them.
        binders = parts.unknown.invars[: len(parts.known.outvars) - n_known]
        residual_of = dict(zip(binders, parts.known.outvars[n_known:], strict=True))
        stack_of = dict(zip(forward.outvars[first.n_carry :], first.ys, strict=True))
        xs_operands = linear.invars[second.parts[2]]
        self.read_as = {
            var: stack_of[residual_of[operand]]
            for operand, var in zip(xs_operands, second.xs, strict=True)
            if jaxprs.is_var(operand) and residual_of.get(operand) in stack_of and jaxprs.is_var(stack_of[residual_of[operand]])
        }
        self.dropped = {o for o, var in zip(xs_operands, second.xs, strict=True) if var in self.read_as}
        self.rest = [binder for binder in binders if binder not in self.dropped]
        kept_outputs = {*parts.known.outvars[:n_known], *(residual_of[binder] for binder in self.rest)}
        # What is stacked up in any case, by the var of the forward loop that is its outcome.
        self.used = [var in kept_outputs for var in forward.outvars[first.n_carry :]]
        self.outputs = {
            y
            for y, is_used in zip(first.ys, self.used, strict=True)
            if is_used and jaxprs.is_var(y)
        }
        self.residual_of = residual_of
        self._choose()

    def _choose(self) -> None:
        first, wanted = self.first, jaxprs.variables(self.read_as.values())
        there = {*first.consts, *first.xs, *jaxprs.variables(self.outputs)}
        in_products = {atom for eqn in self.second.jaxpr.eqns if eqn.primitive.name in PRODUCTS for atom in eqn.invars if jaxprs.is_var(atom)}
        whole = [self.read_as[var] for var in self.read_as if var in in_products]
        kept = [var for var in dict.fromkeys(whole) if var not in there]
        kept += residuals.cheapest_to_keep(first.jaxpr, there, kept, wanted)
        self.kept = kept
        self.again = jaxprs.needed(first.jaxpr.eqns, wanted, given={*there, *kept})
        read = jaxprs.reads(self.again, wanted)
        # What else the linear loop has to be given, to compute these.
        others = dict.fromkeys([*first.consts, *first.xs, *jaxprs.variables(first.ys)])
        self.point = [*kept, *(var for var in others if var in read and var in there)]

    def is_less(self) -> bool:
        """Whether anything is gained."""
        before = [var for var in jaxprs.variables(self.read_as.values()) if var not in self.outputs]
        return sum(map(jaxprs.assumed_size, self.kept)) < sum(map(jaxprs.assumed_size, before))

    def known(self, *values: Any) -> list[Any]:
        """The known part: known outputs, the residuals that are not of the forward loop, and `point`."""
        parts, first = self.parts, self.first
        env = dict(zip(parts.known.invars, [*parts.consts, *values], strict=True))
        point: dict[Var, Any] = {}

        def hook(eqn, operands):
            if eqn is not self.forward:
                return None
            consts, carry, xs = (operands[part] for part in first.parts)
            outs = [y for y, is_used in zip(first.ys, self.used, strict=True) if is_used]

            def step(carry, x):
                inner = dict(zip(first.jaxpr.invars, [*consts, *carry, *x], strict=True))
                jaxprs.run(first.jaxpr, jaxprs.needed(first.jaxpr.eqns, [*first.carry_out, *outs, *self.kept]), inner)
                return [jaxprs.read(inner, a) for a in first.carry_out], [jaxprs.read(inner, a) for a in [*outs, *self.kept]]

            last, stacks = plain_scan(step, carry, xs, first)
            point.update((a, s) for a, s in zip([*outs, *self.kept], stacks, strict=True) if jaxprs.is_var(a))  # an output that is a const or an x is read as such
            point.update(zip([*first.consts, *first.xs], [*consts, *xs], strict=True))
            given = iter(stacks)
            return [*last, *(next(given) if is_used else None for is_used in self.used)]

        jaxprs.run(parts.known, parts.known.eqns, env, hook)
        outs = [jaxprs.read(env, atom) for atom in parts.known.outvars[: self.n_known]]
        rest = [jaxprs.read(env, self.residual_of[binder]) for binder in self.rest]
        return [*outs, *rest, *(point[var] for var in self.point)]

    def unknown(self, *values: Any) -> list[Any]:
        """The unknown part, given the residuals as `known` returns them, and the unknown values."""
        parts, first, second = self.parts, self.first, self.second
        given = iter(values)
        env: dict[Any, Any] = {binder: next(given) for binder in self.rest}
        point = {var: next(given) for var in self.point}
        env |= {binder: None for binder in self.dropped}
        env |= dict(zip(parts.unknown.invars[len(self.residual_of) :], given, strict=True))
        fixed = {var: point[var] for var in self.point if var in first.consts}
        moving = [var for var in self.point if var not in first.consts]

        def hook(eqn, operands):
            if eqn is not self.linear:
                return None
            consts, carry, xs = (operands[part] for part in second.parts)
            own = [var for var in second.xs if var not in self.read_as]
            own_xs = [x for x, var in zip(xs, second.xs, strict=True) if var not in self.read_as]

            def step(carry, now):
                x, moving_now = now
                at = {**fixed, **dict(zip(moving, moving_now, strict=True))}
                jaxprs.run(first.jaxpr, self.again, at)
                inner = dict(zip([*second.consts, *second.carry, *own], [*consts, *carry, *x], strict=True))
                inner |= {var: at[atom] for var, atom in self.read_as.items()}
                jaxprs.run(second.jaxpr, second.jaxpr.eqns, inner)
                outs = [jaxprs.read(inner, atom) for atom in second.jaxpr.outvars]
                return outs[: second.n_carry], outs[second.n_carry :]

            last, ys = plain_scan(step, carry, (own_xs, [point[var] for var in moving]), second)
            return [*last, *ys]

        jaxprs.run(parts.unknown, parts.unknown.eqns, env, hook)
        return [jaxprs.read(env, atom) for atom in parts.unknown.outvars]
