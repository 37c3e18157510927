"""Keras on JAX: keras.layers.LSTM, GRU and SimpleRNN, called without state under jit; batch-major."""

import os

os.environ.setdefault("KERAS_BACKEND", "jax")

import keras

from experiments.benchmarks.peers.base import Problem, Program, make_cell
from rnnjax.convert import to_keras

LAYERS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU, "rnn": keras.layers.SimpleRNN}


def make(problem: Problem) -> Program:
    """Makes the layer with return_sequences."""
    row = problem.row
    if keras.backend.backend() != "jax":
        raise ValueError(f"expected Keras to run on jax, got {keras.backend.backend()}; set KERAS_BACKEND=jax.")
    layer = LAYERS[row.cell](row.hidden, return_sequences=True)
    layer.build((row.batch, row.steps, row.hidden))
    cell, constants = make_cell(row), [variable.value for variable in layer.non_trainable_variables]

    def convert(params):
        return to_keras(cell, params)[0]

    def apply(params, inputs, lengths):
        return layer.stateless_call(params, constants, inputs.xs)[0]

    return Program(convert, apply, batch_major=True)
