"""The scan a user would write: the same cells and bodies under `jax.lax.scan`."""

import jax
import jax.numpy as jnp

from experiments.benchmarks.peers.base import Problem, Program, attention_decoder, make_cell


def make(problem: Problem, **options) -> Program:
    """Makes a plain `jax.lax.scan` of any row; options are those of the cell."""
    cell = make_cell(problem.row, **options)

    def loop(params, xs, reverse=False):
        carry = cell.initial_carry(xs.shape[1:2], xs.dtype)
        return jax.lax.scan(lambda carry, x: cell.apply(params, carry, x), carry, xs, reverse=reverse)[1]

    def masked(params, xs, lengths):
        def body(carry, step):
            x, keep = step
            after, y = cell.apply(params, carry, x)
            after = jax.tree.map(lambda new, old: jnp.where(keep[:, None], new, old), after, carry)
            return after, jnp.where(keep[:, None], y, jnp.zeros_like(y))

        keep = jnp.arange(xs.shape[0])[:, None] < lengths[None]  # [T, B]
        return jax.lax.scan(body, cell.initial_carry(xs.shape[1:2], xs.dtype), (xs, keep))[1]

    def apply(params, inputs, lengths):
        if problem.row.kind == "attention":
            return attention_decoder(jax.lax.scan, cell, params, inputs)
        if problem.row.kind == "masked":
            return masked(params, inputs.xs, lengths)
        if problem.row.kind == "bidirectional":
            both = loop(params.forward, inputs.xs), loop(params.backward, inputs.xs, reverse=True)
            return jnp.concatenate(both, axis=-1)
        return loop(params, inputs.xs)

    return Program(lambda params: params, apply)
