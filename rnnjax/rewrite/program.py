"""A body, rewritten: markers set, sums sliced, taken apart."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from jax import lax

from rnnjax.rewrite import hoisting, jaxprs, taps
from rnnjax.rewrite.jaxprs import CARRY, INPUT, INVARIANT, Jaxpr, Var


class Addends(NamedTuple):
    """The values whose tangents enter the loop through a tap."""

    jaxpr: Jaxpr  # (invariants, x) -> the values
    tap: list[int]  # the tap of each
    varies: list[bool]  # whether it differs from step to step


class Program(NamedTuple):
    """A rewritten body with inputs (invariants, carry, x), and how to loop over it."""

    parts: hoisting.Parts
    addends: Addends
    length: int
    reverse: bool
    unroll: int

    def scan(self, step, init: Sequence[Any], xs: Any, length: int) -> Any:
        """lax.scan with the options of this loop."""
        return lax.scan(step, init, xs, length=length, reverse=self.reverse, unroll=self.unroll)


def make_program(jaxpr: Jaxpr, counts: tuple[int, int, int], length: int, reverse: bool, unroll: int) -> Program | None:
    """The rewritten form of a body with so many invariants, carries and xs; None where there is nothing to gain."""
    of_inputs = [INVARIANT] * counts[0] + [CARRY] * counts[1] + [INPUT] * counts[2]
    level = jaxprs.levels(jaxpr, of_inputs)
    hoisted = hoisting.hoisted_products(jaxpr, level, length)
    groups = taps.groups(jaxpr, level, hoisted)
    if not hoisted and not groups:
        return None
    marked = taps.mark(jaxpr, groups, level)
    level = jaxprs.levels(marked, of_inputs)
    sliced = hoisting.slice_early(marked, of_inputs, length)
    return Program(hoisting.take_apart(sliced, of_inputs, length), _addends(marked, level), length, reverse, unroll)


def _addends(marked: Jaxpr, level: dict[Var, int]) -> Addends:
    """The routed values of a marked body."""
    routed = [eqn for eqn in marked.eqns if eqn.primitive is taps.routed_p]
    values = [eqn.invars[0] for eqn in routed]
    return Addends(
        marked.replace(
            invars=[var for var in marked.invars if level[var] != CARRY],
            outvars=values,
            eqns=jaxprs.needed(marked.eqns, values),
        ),
        [eqn.params["tap"] for eqn in routed],
        [jaxprs.level_of(level, atom) == INPUT for atom in values],
    )
