"""Flax: linen cells in nn.RNN and nn.Bidirectional, and nnx cells in nnx.RNN.

Both GRUs reset after the product; linen's has the recurrent bias of the candidate, nnx's has not.
"""

import jax.numpy as jnp
from flax import linen, nnx

from experiments.benchmarks.peers.base import Problem, Program, layers_of, without_b_h
from rnnjax.convert import to_linen, to_nnx

LINEN = {"lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell, "rnn": linen.SimpleCell}
NNX = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "rnn": nnx.SimpleCell}


def make_linen(problem: Problem) -> Program:
    """Makes nn.RNN, with seq_lengths in masked rows, or nn.Bidirectional of two."""
    row = problem.row

    def layer():
        return linen.RNN(LINEN[row.cell](row.hidden), time_major=True)

    both = row.kind == "bidirectional"
    model = linen.Bidirectional(layer(), layer(), time_major=True) if both else layer()

    def convert(params):
        return {"params": to_linen(*layers_of(row, params))[0]}

    def apply(variables, inputs, lengths):
        return model.apply(variables, inputs.xs, seq_lengths=lengths)

    return Program(convert, apply)


def make_nnx(problem: Problem) -> Program:
    """Makes nnx.RNN, with seq_lengths in masked rows."""
    row = problem.row
    cell = NNX[row.cell](row.hidden, row.hidden, rngs=nnx.Rngs(0))
    graph, state, rest = nnx.split(nnx.RNN(cell, time_major=True, rngs=False), nnx.Param, ...)

    def convert(params):
        if row.cell == "gru":
            params = without_b_h(params)
        converted = nnx.clone(state)
        nnx.replace_by_pure_dict(converted, to_nnx(*layers_of(row, params))[0])
        return converted

    def apply(state, inputs, lengths):
        zeros = jnp.zeros((row.batch, row.hidden))  # given, since what nnx would draw it with may not change in a jit
        carry = (zeros, zeros) if row.cell == "lstm" else zeros
        return nnx.merge(graph, state, rest)(inputs.xs, initial_carry=carry, seq_lengths=lengths)

    return Program(convert, apply, variant="no_b_h" if row.cell == "gru" else "")
