"""Equinox: eqx.nn.LSTMCell and GRUCell, lifted over the batch by vmap, in jax.lax.scan.

Weights are `[G * H, F]`. The LSTM has the gates i, f, g, o; the GRU r, z, n with h = (1 - z) * n + z * h, so that z is
1 - u, and reset after the product. It has no simple cell: no rnn rows.
"""

import equinox as eqx
import jax
import jax.numpy as jnp

from experiments.benchmarks.peers.base import Problem, Program, negate_update


def make(problem: Problem) -> Program:
    """Scans over the cell."""
    row = problem.row
    constructor = eqx.nn.LSTMCell if row.cell == "lstm" else eqx.nn.GRUCell

    def convert(params):
        cell = constructor(row.hidden, row.hidden, key=jax.random.key(0))
        w_x, w_h, b = params[:3]
        if row.cell == "gru":
            w_x, w_h, b = (negate_update(gate, 1) for gate in (w_x, w_h, b))
            cell = eqx.tree_at(lambda cell: cell.bias_n, cell, params.b_h)
        return eqx.tree_at(lambda cell: (cell.weight_ih, cell.weight_hh, cell.bias), cell, (w_x.T, w_h.T, b))

    def apply(cell, inputs, lengths):
        def step(state, x):
            state = jax.vmap(cell)(x, state)
            return state, state[0] if row.cell == "lstm" else state

        zeros = jnp.zeros((row.batch, row.hidden))
        return jax.lax.scan(step, (zeros, zeros) if row.cell == "lstm" else zeros, inputs.xs)[1]

    return Program(convert, apply)
