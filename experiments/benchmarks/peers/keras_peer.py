"""Keras on JAX: keras.layers.LSTM, GRU and SimpleRNN, called without state under jit; batch-major.

The LSTM has the gates i, f, c, o; the GRU z, r, h with h = z * h + (1 - z) * n, so that z is 1 - u, reset after the
product and two rows of biases.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax.numpy as jnp
import keras

from experiments.benchmarks.peers.base import Problem, Program, negate_update, reorder

LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}


def make(problem: Problem) -> Program:
    """Makes the layer with return_sequences."""
    row = problem.row
    if keras.backend.backend() != "jax":
        raise ValueError(f"expected Keras to run on jax, got {keras.backend.backend()}; set KERAS_BACKEND=jax.")
    layer = LAYERS[row.cell](row.hidden, return_sequences=True)
    layer.build((row.batch, row.steps, row.hidden))
    constants = [variable.value for variable in layer.non_trainable_variables]

    def convert(params):
        if row.cell != "gru":
            return list(params)
        w_x, w_h, b = (reorder(negate_update(gates, 1), (1, 0, 2)) for gates in params[:3])
        recurrent = jnp.concatenate([jnp.zeros(2 * row.hidden), params.b_h])
        return [w_x, w_h, jnp.stack([b, recurrent])]

    def apply(params, inputs, lengths):
        return layer.stateless_call(params, constants, inputs.xs)[0]

    return Program(convert, apply, batch_major=True)
