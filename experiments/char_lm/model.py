"""Recurrent layers over one-hot characters, and a linear output."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from experiments.lib.cells import CELLS
from experiments.lib.language import LanguageModel
from experiments.lib.readout import drop


class Params(NamedTuple):
    """Parameters of the model."""

    layers: rnnjax.Layers
    w_y: jax.Array  # [H, V]
    b_y: jax.Array  # [V]


def make_model(config: Any, vocabulary_size: int) -> LanguageModel:
    """Makes the model of the options cell, layers, hidden, init and dropout: the next character's logits from one."""
    normal = jax.nn.initializers.normal
    if config.init == "normal":
        first = rest = {"w_x_init": normal(0.01), "w_h_init": normal(0.01)}
        w_y_init = normal(0.01)
    else:  # a row of the bottom w_x is the embedding of a character
        first, rest, w_y_init = {"w_x_init": normal(1.0)}, {}, jax.nn.initializers.glorot_uniform()
    inits, sizes = [first] + [rest] * (config.layers - 1), [vocabulary_size] + [config.hidden] * (config.layers - 1)
    cells = [CELLS[config.cell](size, config.hidden, **init) for size, init in zip(sizes, inits, strict=True)]
    stacked = rnnjax.stack(cells)

    def init(key):
        key_layers, key_y = jax.random.split(key)
        w_y = w_y_init(key_y, (config.hidden, vocabulary_size))
        return Params(stacked.init(key_layers), w_y, jnp.zeros(vocabulary_size))

    def output(params, h):
        y = jnp.matmul(h, params.w_y)
        return y + jnp.broadcast_to(params.b_y, y.shape)

    def logits(params, carry, ids, *, key=None):
        xs = jax.nn.one_hot(ids, vocabulary_size, dtype=params.w_y.dtype)
        carry, ys = rnnjax.unroll_layers(cells, params.layers, xs, carry, key=key, dropout=config.dropout)
        return carry, output(params, drop(ys, config.dropout, None if key is None else jax.random.fold_in(key, 1)))

    def step(params, carry, ids):
        carry, h = stacked.apply(params.layers, carry, jax.nn.one_hot(ids, vocabulary_size, dtype=params.w_y.dtype))
        return carry, output(params, h)

    return LanguageModel(init, stacked.initial_carry, logits, step)
