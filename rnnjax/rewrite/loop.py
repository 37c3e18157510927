"""The rewritten loop, and how its values are computed; gradients.py has its derivative."""

import jax

from rnnjax.rewrite import gradients, hoisting, jaxprs, taps
from rnnjax.rewrite.program import Program


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

        return program.scan(step, init, [*xs, *for_all], program.length)

    def rule(primals, tangents):
        return gradients.push_forward(program, primals, tangents)

    loop.defjvp(rule, symbolic_zeros=True)
    return loop
