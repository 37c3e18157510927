"""Delays products that a loop carries to the step that reads them.

Going back through a layer ends a step with a product, dh = dz W^T, perhaps added to something, and begins the next with
elementwise work on it. A GPU splits such a product and adds up the parts in a separate kernel, unless the kernel that
reads them can do so in passing. So dz is carried instead, and each step begins with the product:

    h_t = product(v_t, W)      ->      h_{t-1} = init if t is the first step, else product(v_{t-1}, W); v is carried
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Eqn, Var
from rnnjax.recurrence._rewrite import kinds
from rnnjax.recurrence._rewrite.kinds import CARRY, INVARIANT
from rnnjax.recurrence._rewrite.loops import Loop, invariant_equations, levels


class Delayed(NamedTuple):
    """A loop that carries the operands of products, and the loop it was made from."""

    loop: Loop  # with the first values of these carries as consts, and as an x whether a step is the first
    original: Loop
    ends: dict[int, list[Eqn]]  # what makes a carry from a product, by the carry
    held: list[list[Var]]  # what the loop carries for each carry

    def arguments(self, args: Sequence[Any]) -> list[Any]:
        """Makes the arguments of the loop from those of the original."""
        consts, carry, xs = (list(args[part]) for part in self.original.parts)
        first = [carry[i] for i in self.ends]
        start = [
            [jnp.zeros(var.aval.shape, var.aval.dtype) for var in held] if i in self.ends else [carry[i]]
            for i, held in enumerate(self.held)
        ]
        steps, begins = lax.iota("int32", self.loop.length), self.loop.length - 1 if self.loop.reverse else 0
        return [*consts, *first, *itertools.chain(*start), *xs, steps == begins]

    def outcome(self, args: Sequence[Any], outs: Sequence[Any]) -> list[Any]:
        """Makes the outputs of the original from its arguments and the outputs of the loop."""
        jaxpr, given = self.original.jaxpr, iter(outs)
        env = dict(zip(self.original.consts, args[: self.original.n_consts], strict=True))
        jaxprs.run(jaxpr, invariant_equations(self.original), env)
        carry = []
        for i, held in enumerate(self.held):
            values = [next(given) for _ in held]
            carry.append(_end(jaxpr, self.ends[i], env, held, values) if i in self.ends else values[0])
        return [*carry, *given]


def delay_products(loop: Loop) -> Delayed | None:
    """Delays the products that a loop carries; None if it carries none."""
    ends = _ends(loop)
    if not ends or not isinstance(loop.length, int):
        return None
    level, invariant = levels(loop), invariant_equations(loop)
    held = []
    for i, var in enumerate(loop.carry):
        made = jaxprs.makers(ends.get(i, ()))
        read = jaxprs.variables(atom for eqn in ends.get(i, ()) for atom in eqn.invars)
        held.append([v for v in read if v not in made and level[v] != INVARIANT] if i in ends else [var])
    ids = {id(eqn) for eqn in itertools.chain(invariant, *ends.values())}
    rest = [eqn for eqn in loop.jaxpr.eqns if id(eqn) not in ids]
    outs = [held[i] if i in ends else [atom] for i, atom in enumerate(loop.carry_out)]

    def step(*values):
        given = iter(values)
        env = {var: next(given) for var in loop.consts}
        first = {i: next(given) for i in ends}
        carry = [[next(given) for _ in variables] for variables in held]
        env |= {var: next(given) for var in loop.xs}
        is_first = next(given)
        jaxprs.run(loop.jaxpr, invariant, env)
        for i, var in enumerate(loop.carry):
            if i in ends:
                env[var] = jnp.where(is_first, first[i], _end(loop.jaxpr, ends[i], env, held[i], carry[i]))
            else:
                (env[var],) = carry[i]
        jaxprs.run(loop.jaxpr, rest, env)
        return [jaxprs.read(env, atom) for atom in (*itertools.chain(*outs), *loop.ys)]

    inputs = [*loop.consts, *(loop.carry[i] for i in ends), *itertools.chain(*held), *loop.xs]
    jaxpr, consts = jaxprs.trace(step, [*jaxprs.avals(inputs), jax.core.ShapedArray((), jnp.bool_)])
    if consts:
        return None
    jaxpr = jaxprs.inline(jaxpr, jaxprs.CALLS)
    delayed = loop._replace(jaxpr=jaxpr, n_consts=loop.n_consts + len(ends), n_carry=sum(map(len, held)))
    return Delayed(delayed, loop, ends, held)


def _ends(loop: Loop) -> dict[int, list[Eqn]]:
    """Finds the equations that make a carry from a product that nothing else reads, the product first."""
    level, made_by, readers = levels(loop), jaxprs.makers(loop.jaxpr.eqns), jaxprs.readers(loop.jaxpr)

    def end(atom):
        eqn = made_by.get(atom) if jaxprs.is_var(atom) and len(readers[atom]) == 1 else None
        if eqn is None or level[atom] != CARRY:
            return None
        if kinds.weight_position(eqn, level) is not None:
            return [eqn]
        if eqn.primitive.name in kinds.SUMS | kinds.VIEWS and len(eqn.outvars) == 1:
            before = next(filter(None, map(end, eqn.invars)), None)
            return None if before is None else [*before, eqn]
        return None

    found = {i: end(out) for i, out in enumerate(loop.carry_out) if loop.carry[i] in readers}
    return {i: eqns for i, eqns in found.items() if eqns is not None}


def _end(jaxpr: Any, eqns: list[Eqn], env: dict, held: Sequence[Var], values: Sequence[Any]) -> Any:
    """Computes a carry from the operands held for it."""
    now = {**env, **dict(zip(held, values, strict=True))}
    jaxprs.run(jaxpr, eqns, now)
    return now[eqns[-1].outvars[0]]
