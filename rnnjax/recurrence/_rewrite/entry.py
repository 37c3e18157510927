"""The way in: `lax.scan` traces a call once, and the result is bound as our primitive if that is worthwhile."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Eqn
from rnnjax.recurrence._rewrite import fallback, kinds
from rnnjax.recurrence._rewrite.loops import Loop, as_loops, invariant_equations, is_scan, levels, plain_scan, read_loop
from rnnjax.recurrence._rewrite.lower import loop_p  # and its rules


def scan(f: Callable, init: Any, xs: Any, length: Any, reverse: Any, unroll: Any) -> tuple[Any, Any]:
    """Runs `lax.scan(f, init, xs)`, with its checks and messages, through the rewrite."""

    trees: list[Any] = []

    def plain(init, xs):
        out = jax.lax.scan(f, init, xs, length=length, reverse=reverse, unroll=unroll)
        leaves, tree = jax.tree.flatten(out)
        trees.append(tree)
        return leaves

    closed = jax.make_jaxpr(plain)(init, xs)
    jaxpr = jaxprs.with_consts_as_inputs(closed)

    def hook(eqn, operands):
        return fallback.attempt("entry", lambda: _bind(eqn, operands)) if is_scan(eqn) else None

    outs = jaxprs.evaluate(jaxpr, [*closed.consts, *jax.tree.leaves((init, xs))], hook)
    return jax.tree.unflatten(trees[0], outs)


def _bind(eqn: Eqn, operands: Sequence[Any]) -> list[Any] | None:
    """Binds a scan as our primitive; None if it is better left alone."""
    loop = read_loop(eqn.params)
    if eqn.effects or (isinstance(loop.length, int) and loop.length == 0):
        return None
    loop = loop._replace(jaxpr=jaxprs.inline(loop.jaxpr, jaxprs.CALLS))
    level = levels(loop)
    if not any(kinds.weight_position(e, level) is not None or kinds.is_look_up(e, level) for e in loop.jaxpr.eqns):
        return None
    once = kinds.worth_once(invariant_equations(loop), loop.consts, ())
    if not once and loop.jaxpr is jaxprs.open_jaxpr(eqn.params["jaxpr"]):
        return loop_p.bind(*operands, **eqn.params)
    return _with_invariants_outside(loop, once, operands)


def _with_invariants_outside(loop: Loop, once: list[Eqn], operands: Sequence[Any]) -> list[Any]:
    """Evaluates invariant equations before the loop."""
    consts, carry, xs = (operands[part] for part in loop.parts)
    env = dict(zip(loop.consts, consts, strict=True))
    jaxprs.run(loop.jaxpr, once, env)
    ids = {id(eqn) for eqn in once}
    body = jaxprs.needed([eqn for eqn in loop.jaxpr.eqns if id(eqn) not in ids], loop.jaxpr.outvars)
    read = jaxprs.reads(body, loop.jaxpr.outvars)
    fixed = {var: value for var, value in env.items() if var in read}

    def step(fixed, carry, x):
        inner = {**fixed, **dict(zip([*loop.carry, *loop.xs], [*carry, *x], strict=True))}
        jaxprs.run(loop.jaxpr, body, inner)
        outs = [jaxprs.read(inner, atom) for atom in loop.jaxpr.outvars]
        return outs[: loop.n_carry], outs[loop.n_carry :]

    def function(values, carry, xs):
        of_step = functools.partial(step, dict(zip(fixed, values, strict=True)))
        carry, ys = plain_scan(of_step, carry, xs, loop)
        return [*carry, *ys]

    return as_loops(function, list(fixed.values()), list(carry), list(xs))
