"""Stacked LSTMs over words, with dropout everywhere but on the recurrent path, and one matrix for input and output."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from experiments.lib.cells import make_cell
from experiments.lib.language import LanguageModel
from experiments.lib.readout import drop


class Params(NamedTuple):
    """Parameters of the model."""

    words: jax.Array  # embeddings, and output weights [V, E]
    layers: rnnjax.Layers
    projection: jax.Array | None  # from states to embeddings [H, E]; None where H = E
    b_y: jax.Array  # [V]


def make_model(config: Any, size: int) -> LanguageModel:
    """Makes the model: logits of the next word, from a vocabulary of this size."""
    wide = config.embedding or config.hidden
    cells = [make_cell(config.cell, config.hidden if i else wide, config.hidden) for i in range(config.layers)]
    stacked = rnnjax.stack(cells)

    def init(key):
        key_words, key_layers, key_projection = jax.random.split(key, 3)
        words = 0.1 * jax.random.normal(key_words, (size, wide))
        glorot = jax.nn.initializers.glorot_uniform()
        projection = None if wide == config.hidden else glorot(key_projection, (config.hidden, wide))
        return Params(words, stacked.init(key_layers), projection, jnp.zeros(size))

    def output(params, hs):
        hs = hs if params.projection is None else jnp.matmul(hs, params.projection)
        logits = jnp.matmul(hs, params.words.T)
        return logits + jnp.broadcast_to(params.b_y, logits.shape)

    def logits(params, carry, ids, *, key=None):
        keys = [None] * 3 if key is None else jax.random.split(key, 3)
        xs, rate = drop(params.words[ids], config.dropout, keys[0]), config.dropout
        carry, hs = rnnjax.unroll_layers(cells, params.layers, xs, carry, key=keys[1], dropout=rate)
        return carry, output(params, drop(hs, rate, keys[2]))

    def step(params, carry, ids):
        carry, h = stacked.apply(params.layers, carry, params.words[ids])
        return carry, output(params, h)

    return LanguageModel(init, stacked.initial_carry, logits, step)
