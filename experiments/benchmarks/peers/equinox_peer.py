"""Equinox: eqx.nn.LSTMCell and GRUCell, lifted over the batch by vmap, in jax.lax.scan.

The GRU resets after the product. It has no simple cell: no rnn rows.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.benchmarks.peers.base import Problem, Program, layers_of
from rnnjax.convert import to_equinox


def make(problem: Problem) -> Program:
    """Scans over the cell."""
    row = problem.row
    constructor = eqx.nn.LSTMCell if row.cell == "lstm" else eqx.nn.GRUCell

    def convert(params):
        cell = constructor(row.hidden, row.hidden, key=jax.random.key(0))
        (weights,) = to_equinox(*layers_of(row, params))
        return eqx.tree_at(lambda cell: [getattr(cell, name) for name in weights], cell, list(weights.values()))

    def apply(cell, inputs, lengths):
        def step(state, x):
            state = jax.vmap(cell)(x, state)
            return state, state[0] if row.cell == "lstm" else state

        zeros = jnp.zeros((row.batch, row.hidden))
        return jax.lax.scan(step, (zeros, zeros) if row.cell == "lstm" else zeros, inputs.xs)[1]

    return Program(convert, apply)
