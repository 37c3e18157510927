"""The rewritten loop, and how its values are computed; gradients.py has its derivative."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax import lax

from rnnjax.rewrite import gradients, hoisting, jaxprs, taps
from rnnjax.rewrite.jaxprs import CARRY, INPUT, INVARIANT, Jaxpr


class Program(NamedTuple):
    """A rewritten body with inputs (invariants, carry, x), and how to loop over it."""

    parts: hoisting.Parts
    addends: gradients.Addends
    length: int
    reverse: bool
    unroll: int

    def scan(self, step, init: Sequence[Any], xs: Any) -> Any:
        """lax.scan with the options of this loop."""
        return lax.scan(step, init, xs, length=self.length, reverse=self.reverse, unroll=self.unroll)


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
    sliced = hoisting.slice_addends(marked, level, hoisting.hoisted_products(marked, level, length))
    return Program(
        hoisting.take_apart(sliced, of_inputs, length), gradients.find_addends(marked, level), length, reverse, unroll
    )


def make_loop(program: Program):
    """`(invariants, init, xs) -> (carry, ys)` over lists of arrays, differentiable in every way."""

    @jax.custom_jvp
    def loop(invariants, init, xs):
        parts = program.parts
        before = jaxprs.evaluate(parts.before, invariants, taps.without_markers)
        for_all = hoisting.for_all_steps(parts.for_all, [*invariants, *before], xs)

        def step(carry, inputs):
            outs = jaxprs.evaluate(parts.body, [*invariants, *before, *carry, *inputs], taps.without_markers)
            return outs[: len(carry)], outs[len(carry) :]

        return program.scan(step, init, [*xs, *for_all])

    def rule(primals, tangents):
        return gradients.push_forward(program, primals, tangents)

    loop.defjvp(rule, symbolic_zeros=True)
    return loop
