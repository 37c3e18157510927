"""Haiku: hk.LSTM and hk.GRU in hk.dynamic_unroll.

The LSTM takes one product of [x, h]. The GRU resets before the product. Its vanilla core has ReLU only: no rnn rows.
"""

import haiku as hk

from experiments.benchmarks.peers.base import Problem, Program, layers_of
from rnnjax.convert import to_haiku


def make(problem: Problem) -> Program:
    """Makes hk.dynamic_unroll."""
    row = problem.row

    @hk.without_apply_rng
    @hk.transform
    def model(xs):
        core = (hk.LSTM if row.cell == "lstm" else hk.GRU)(row.hidden)
        return hk.dynamic_unroll(core, xs, core.initial_state(row.batch))[0]

    def convert(params):
        if row.cell == "gru":
            return to_haiku(*layers_of(row, params._replace(b_h=None), reset_after=False))
        return to_haiku(*layers_of(row, params))

    def apply(params, inputs, lengths):
        return model.apply(params, inputs.xs)

    return Program(convert, apply, variant="reset_before" if row.cell == "gru" else "")
