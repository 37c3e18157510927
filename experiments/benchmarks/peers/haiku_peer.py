"""Haiku: hk.LSTM and hk.GRU in hk.dynamic_unroll.

The LSTM has the gates i, g, f, o, one product of [x, h], and adds 1 to the forget gate. The GRU has z, r, a with
h = (1 - z) * h + z * a, so that z is u, and reset before the product. Its vanilla core has ReLU only: no rnn rows.
"""

import haiku as hk
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.peers.base import Problem, Program, reorder


def make(problem: Problem) -> Program:
    """Makes hk.dynamic_unroll."""
    row = problem.row

    @hk.without_apply_rng
    @hk.transform
    def model(xs):
        core = (hk.LSTM if row.cell == "lstm" else hk.GRU)(row.hidden)
        return hk.dynamic_unroll(core, xs, core.initial_state(row.batch))[0]

    def convert(params):
        if row.cell == "lstm":
            forget = np.repeat(np.array([0, 1, 0, 0], np.float32), row.hidden)
            w = jnp.concatenate([params.w_x, params.w_h])
            return {"lstm/linear": {"w": reorder(w, (0, 2, 1, 3)), "b": reorder(params.b - forget, (0, 2, 1, 3))}}
        w_x, w_h, b = (reorder(gates, (1, 0, 2)) for gates in params[:3])
        return {"gru": {"w_i": w_x, "w_h": w_h, "b": b}}

    def apply(params, inputs, lengths):
        return model.apply(params, inputs.xs)

    return Program(convert, apply, variant="reset_before" if row.cell == "gru" else "")
