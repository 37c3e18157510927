"""Splits a loop that is differentiated: a forward loop that keeps residuals, and a loop that is linear in tangents.

JAX splits it as it splits a scan. Then what is kept of each step is chosen anew: the fewest bytes from which everything
the second loop reads follows by cheap, elementwise work (residuals.py).
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from jax.extend.core.primitives import scan_p
from jax.interpreters import partial_eval as pe

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Atom, Eqn, Jaxpr, Var
from rnnjax.recurrence._rewrite import fallback, residuals
from rnnjax.recurrence._rewrite.kinds import PRODUCTS, VIEWS
from rnnjax.recurrence._rewrite.loops import Loop, bind_loops, is_scan, loop_p, plain_scan, read_loop


class Split(NamedTuple):
    """Two jaxprs for one."""

    known: Jaxpr  # (consts, known values) -> (known outputs, residuals)
    consts: list[Any]
    unknown: Jaxpr  # (residuals, unknown values) -> unknown outputs
    out_known: list[bool]  # of the outputs of the loop


def partial_eval(trace: Any, *tracers: Any, **params: Any) -> list[Any]:
    """Runs what follows from known values and records the rest, as `pe.JaxprTrace` asks."""
    known = [tracer.is_known() for tracer in tracers]
    if all(known):
        return loop_p.bind(*(tracer.pval.get_known() for tracer in tracers), **params)
    parts = split_loop([tracer.aval for tracer in tracers], known, params)
    outs = bind_loops(
        parts.known,
        [*parts.consts, *(t.pval.get_known() for t, is_known in zip(tracers, known, strict=True) if is_known)],
    )
    n_known = sum(parts.out_known)
    of_unknown = [tracer for tracer, is_known in zip(tracers, known, strict=True) if not is_known]
    env = dict(zip(parts.unknown.invars, [*outs[n_known:], *of_unknown], strict=True))
    for eqn in jaxprs.without_dead_equations(parts.unknown).eqns:
        primitive = loop_p if is_scan(eqn) else eqn.primitive
        values = trace.default_process_primitive(primitive, [jaxprs.read(env, a) for a in eqn.invars], eqn.params)
        env.update(zip(eqn.outvars, values if primitive.multiple_results else [values], strict=True))
    given, rest = iter(outs[:n_known]), iter(jaxprs.read(env, atom) for atom in parts.unknown.outvars)
    return [next(given) if is_known else next(rest) for is_known in parts.out_known]


def split_loop(avals: Sequence[Any], known: Sequence[bool], params: dict[str, Any]) -> Split:
    """Splits a loop where values become unknown."""
    parts = _as_scan(avals, known, params)
    return fallback.attempt("residuals", lambda: _keep_less(parts)) or parts


def _as_scan(avals: Sequence[Any], known: Sequence[bool], params: dict[str, Any]) -> Split:
    """Splits a loop the way JAX does."""
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
    """Chooses the residuals of a split anew; None if there is nothing to choose or to gain."""
    pair = _find_pair(parts)
    if pair is None:
        return None
    choice = _choose(pair)
    dropped = [var for var in jaxprs.variables(pair.read_as.values()) if var not in jaxprs.variables(pair.outputs())]
    if sum(map(jaxprs.assumed_size, choice.kept)) >= sum(map(jaxprs.assumed_size, dropped)):
        return None
    n_known, n_residuals = sum(parts.out_known), len(parts.known.outvars) - sum(parts.out_known)
    known_avals = jaxprs.avals(parts.known.invars[len(parts.consts) :])
    known, consts = jaxprs.trace(lambda *values: _run_known(parts, pair, choice, values), known_avals)
    avals = jaxprs.avals([*known.outvars[n_known:], *parts.unknown.invars[n_residuals:]])
    unknown, more_consts = jaxprs.trace(lambda *values: _run_unknown(parts, pair, choice, values), avals)
    return None if more_consts else Split(known, consts, unknown, parts.out_known)


class Pair(NamedTuple):
    """The forward loop of a split and the loop that is linear in tangents, and how the second reads the first."""

    forward: Eqn
    linear: Eqn
    first: Loop
    second: Loop
    residual_of: dict[Var, Atom]  # the inputs of the unknown part that are residuals -> the outputs of the known part
    read_as: dict[Var, Var]  # xs of the second loop -> the ys of the first that they are the stacks of
    dropped: set[Var]  # residuals that are read as such, and nowhere else
    used: list[bool]  # the ys of the first loop that something else reads

    def outputs(self) -> list[Atom]:
        """Returns the ys that the first loop outputs in any case."""
        return [y for y, is_used in zip(self.first.ys, self.used, strict=True) if is_used]

    def rest(self) -> list[Var]:
        """Returns the residuals that stay."""
        return [var for var in self.residual_of if var not in self.dropped]


def _find_pair(parts: Split) -> Pair | None:
    """Finds the two loops of a split; None if there are others, or nothing is stacked for the second."""
    forwards, linears = ([eqn for eqn in jaxpr.eqns if is_scan(eqn)] for jaxpr in (parts.known, parts.unknown))
    if len(forwards) != 1 or len(linears) != 1:
        return None
    (forward,), (linear,) = forwards, linears
    first, second = (
        loop._replace(jaxpr=jaxprs.inline(loop.jaxpr, jaxprs.CALLS))
        for loop in (read_loop(forward.params), read_loop(linear.params))
    )
    known_outs = parts.known.outvars[: sum(parts.out_known)]
    residuals_out = parts.known.outvars[len(known_outs) :]
    residual_of = dict(zip(parts.unknown.invars[: len(residuals_out)], residuals_out, strict=True))

    stacks = forward.outvars[first.n_carry :]
    step_of = {stack: y for stack, y in zip(stacks, first.ys, strict=True) if jaxprs.is_var(y)}
    operands = linear.invars[second.parts[2]]
    others = [atom for eqn in parts.unknown.eqns for atom in eqn.invars if eqn is not linear]
    others += [*parts.unknown.outvars, *linear.invars[second.parts[0]], *linear.invars[second.parts[1]]]
    read_as, dropped = {}, set()
    for operand, var in zip(operands, second.xs, strict=True):
        stack = residual_of.get(operand) if jaxprs.is_var(operand) and operand not in others else None
        if stack is not None and jaxprs.is_var(stack) and stack in step_of:
            read_as[var] = step_of[stack]
            dropped.add(operand)
    if not read_as:
        return None
    read = set(jaxprs.variables([*known_outs, *(residual_of[var] for var in residual_of if var not in dropped)]))
    read |= jaxprs.reads(parts.known.eqns)
    return Pair(forward, linear, first, second, residual_of, read_as, dropped, [stack in read for stack in stacks])


class Choice(NamedTuple):
    """What is kept of each step, in vars of the body of the first loop."""

    kept: list[Var]  # what the first loop stacks up
    again: list[Eqn]  # what the second computes again of it
    point: list[Var]  # all that it is given for that: what is kept, and what is there anyway


def _choose(pair: Pair) -> Choice:
    """Chooses the fewest bytes. Operands of products are kept unchanged, to be available for all steps at once."""
    first, wanted = pair.first, jaxprs.variables(pair.read_as.values())
    there = {*first.consts, *first.xs, *jaxprs.variables(pair.outputs())}
    in_products = jaxprs.reads(eqn for eqn in pair.second.jaxpr.eqns if eqn.primitive.name in PRODUCTS)
    whole = dict.fromkeys(_carry_behind(first, step) for var, step in pair.read_as.items() if var in in_products)
    kept = [var for var in whole if var not in there]
    kept += residuals.cheapest_to_keep(first.jaxpr, there, kept, wanted)
    again = jaxprs.needed(first.jaxpr.eqns, wanted, given={*there, *kept})
    read = jaxprs.reads(again, wanted)
    anyway = dict.fromkeys([*first.consts, *first.xs, *jaxprs.variables(first.ys)])
    return Choice(kept, again, [*kept, *(var for var in anyway if var in read and var in there and var not in kept)])


def _carry_behind(first: Loop, var: Var) -> Var:
    """Returns the carry that a var is a view of, often an output of the step before as well; otherwise the var."""
    made_by, source = jaxprs.makers(first.jaxpr.eqns), var
    while source in made_by and made_by[source].primitive.name in VIEWS and jaxprs.is_var(made_by[source].invars[0]):
        source = made_by[source].invars[0]
    return source if source in first.carry else var


def _run_known(parts: Split, pair: Pair, choice: Choice, values: Sequence[Any]) -> list[Any]:
    """Runs the known part: known outputs, the residuals that stay, and the point."""
    first, outputs = pair.first, pair.outputs()
    stacked = [*outputs, *choice.kept]
    eqns = jaxprs.needed(first.jaxpr.eqns, [*first.carry_out, *stacked])
    at: dict[Var, Any] = {}

    def step(consts, carry, x):
        env = dict(zip(first.jaxpr.invars, [*consts, *carry, *x], strict=True))
        jaxprs.run(first.jaxpr, eqns, env)
        return [jaxprs.read(env, atom) for atom in first.carry_out], [jaxprs.read(env, atom) for atom in stacked]

    def hook(eqn, operands):
        if eqn is not pair.forward:
            return None
        consts, carry, xs = (operands[part] for part in first.parts)
        last, stacks = plain_scan(functools.partial(step, consts), carry, xs, first)
        at.update((atom, stack) for atom, stack in zip(stacked, stacks, strict=True) if jaxprs.is_var(atom))
        # An output that is a const or an x is read as such.
        at.update(zip([*first.consts, *first.xs], [*consts, *xs], strict=True))
        given = iter(stacks)
        return [*last, *(next(given) if is_used else None for is_used in pair.used)]

    env = dict(zip(parts.known.invars, [*parts.consts, *values], strict=True))
    jaxprs.run(parts.known, parts.known.eqns, env, hook)
    outs = [jaxprs.read(env, atom) for atom in parts.known.outvars[: sum(parts.out_known)]]
    rest = [jaxprs.read(env, pair.residual_of[var]) for var in pair.rest()]
    return [*outs, *rest, *(at[var] for var in choice.point)]


def _run_unknown(parts: Split, pair: Pair, choice: Choice, values: Sequence[Any]) -> list[Any]:
    """Runs the unknown part, given the residuals that stay, the point, and the unknown values."""
    first, second, given = pair.first, pair.second, iter(values)
    env: dict[Any, Any] = {var: next(given) for var in pair.rest()}
    at = {var: next(given) for var in choice.point}
    env |= dict.fromkeys(pair.dropped)
    env |= dict(zip(parts.unknown.invars[len(pair.residual_of) :], given, strict=True))
    fixed = {var: value for var, value in at.items() if var in first.consts}
    moving = [var for var in choice.point if var not in fixed]
    own = [var not in pair.read_as for var in second.xs]

    def step(consts, carry, now):
        x, moving_now = now
        inner = {**fixed, **dict(zip(moving, moving_now, strict=True))}
        jaxprs.run(first.jaxpr, choice.again, inner)
        of_x = iter(x)
        xs = [next(of_x) if is_own else inner[pair.read_as[v]] for v, is_own in zip(second.xs, own, strict=True)]
        outs = jaxprs.evaluate(second.jaxpr, [*consts, *carry, *xs])
        return outs[: second.n_carry], outs[second.n_carry :]

    def hook(eqn, operands):
        if eqn is not pair.linear:
            return None
        consts, carry, xs = (operands[part] for part in second.parts)
        scanned = [x for x, is_own in zip(xs, own, strict=True) if is_own], [at[var] for var in moving]
        last, ys = plain_scan(functools.partial(step, consts), carry, scanned, second)
        return [*last, *ys]

    jaxprs.run(parts.unknown, parts.unknown.eqns, env, hook)
    return [jaxprs.read(env, atom) for atom in parts.unknown.outvars]
