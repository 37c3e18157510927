"""rnnjax, called as a user would call it."""

import rnnjax
from experiments.benchmarks.peers.base import Problem, Program, attention_decoder, make_cell


def make(problem: Problem) -> Program:
    """Makes `unroll`, `unroll_layers` of a pair, or the attention decoder under `rnnjax.scan`."""
    cell = make_cell(problem.row)

    def apply(params, inputs, lengths):
        if problem.row.kind == "attention":
            return attention_decoder(rnnjax.scan, cell, params, inputs)
        if problem.row.kind == "bidirectional":
            return rnnjax.unroll_layers([(cell, cell)], rnnjax.Layers((params,)), inputs.xs)[1]
        return rnnjax.unroll(cell, params, inputs.xs, lengths=lengths)[1]

    return Program(lambda params: params, apply)


def make_layers(problem: Problem) -> Program:
    """Makes `unroll_layers`: the two layers of a two-layer row in two loops, one after the other."""
    cell = make_cell(problem.row._replace(kind="unroll"))

    def apply(params, inputs, lengths):
        return rnnjax.unroll_layers([cell, cell], params, inputs.xs)[1]

    return Program(lambda params: params, apply)
