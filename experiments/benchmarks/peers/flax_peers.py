"""Flax: linen cells in nn.RNN and nn.Bidirectional, and nnx cells in nnx.RNN.

Both LSTMs have the gates i, f, g, o. Both GRUs have r, z, n with h = (1 - z) * n + z * h, so that z is 1 - u, and reset
after the product; linen's has the recurrent bias of the candidate, nnx's has not.
"""

import jax.numpy as jnp
from flax import linen, nnx

from experiments.benchmarks.peers.base import Problem, Program, negate_update

LINEN = {"lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell, "rnn": linen.SimpleCell}
NNX = {"lstm": nnx.OptimizedLSTMCell, "gru": nnx.GRUCell, "rnn": nnx.SimpleCell}


def linen_cell_params(cell: str, params):
    """Makes the parameters of a linen cell: one dense layer per gate."""
    if cell == "rnn":
        return {"i": {"kernel": params.w_x, "bias": params.b}, "h": {"kernel": params.w_h}}
    gates = "ifgo" if cell == "lstm" else "rzn"
    if cell == "gru":
        w_x, w_h, b = (negate_update(gate, 1) for gate in params[:3])
    else:
        w_x, w_h, b = params
    w_x, w_h, b = (dict(zip(gates, jnp.split(array, len(gates), axis=-1), strict=True)) for array in (w_x, w_h, b))
    if cell == "lstm":
        layers = {f"i{gate}": {"kernel": w_x[gate]} for gate in gates}
        return layers | {f"h{gate}": {"kernel": w_h[gate], "bias": b[gate]} for gate in gates}
    layers = {f"i{gate}": {"kernel": w_x[gate], "bias": b[gate]} for gate in gates}
    layers |= {f"h{gate}": {"kernel": w_h[gate]} for gate in gates}
    return layers | {"hn": {"kernel": w_h["n"], "bias": params.b_h}}


def make_linen(problem: Problem) -> Program:
    """Makes nn.RNN, with seq_lengths in masked rows, or nn.Bidirectional of two."""
    row = problem.row

    def layer():
        return linen.RNN(LINEN[row.cell](row.hidden), time_major=True)

    both = row.kind == "bidirectional"
    model = linen.Bidirectional(layer(), layer(), time_major=True) if both else layer()

    def convert(params):
        if not both:
            return {"params": {"cell": linen_cell_params(row.cell, params)}}
        names = {"forward_rnn": params.forward, "backward_rnn": params.backward}
        return {"params": {name: {"cell": linen_cell_params(row.cell, one)} for name, one in names.items()}}

    def apply(variables, inputs, lengths):
        return model.apply(variables, inputs.xs, seq_lengths=lengths)

    return Program(convert, apply)


def make_nnx(problem: Problem) -> Program:
    """Makes nnx.RNN, with seq_lengths in masked rows."""
    row = problem.row
    cell = NNX[row.cell](row.hidden, row.hidden, rngs=nnx.Rngs(0))
    graph, state, rest = nnx.split(nnx.RNN(cell, time_major=True, rngs=False), nnx.Param, ...)

    def convert(params):
        w_x, w_h, b = params[:3]
        if row.cell == "gru":
            w_x, w_h, b = (negate_update(gate, 1) for gate in (w_x, w_h, b))
        dense_i, dense_h = {"kernel": w_x}, {"kernel": w_h}
        (dense_h if row.cell == "lstm" else dense_i)["bias"] = b
        converted = nnx.clone(state)
        nnx.replace_by_pure_dict(converted, {"cell": {"dense_i": dense_i, "dense_h": dense_h}})
        return converted

    def apply(state, inputs, lengths):
        zeros = jnp.zeros((row.batch, row.hidden))  # given, since what nnx would draw it with may not change in a jit
        carry = (zeros, zeros) if row.cell == "lstm" else zeros
        return nnx.merge(graph, state, rest)(inputs.xs, initial_carry=carry, seq_lengths=lengths)

    return Program(convert, apply, variant="no_b_h" if row.cell == "gru" else "")
