"""The two networks: one reads a name and tells its language, the other is told a language and writes a name."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from experiments.lib.cells import make_cell
from experiments.lib.pairs import BOS, EOS, PAD, UNK
from experiments.lib.readout import drop
from experiments.lib.translator import shifted

NORMAL = jax.nn.initializers.normal(1.0)  # of the embeddings: rows of w_x, as letters are one-hot


class Model(NamedTuple):
    """A model as pure functions."""

    init: Callable[..., Any]  # key -> params
    apply: Callable[..., Any]  # see `make_reader` and `make_writer`; with a key, with dropout
    sample: Callable[..., Any] | None = None  # (params, languages [N], key, temperature) -> ids [N, T]


class Params(NamedTuple):
    """Parameters of a model."""

    first: Any  # the writer's first carry in each language, leaves [C, H]; None of the reader
    body: Any  # of the cells
    w_y: jax.Array  # output weights
    b_y: jax.Array  # output bias


def make_reader(config: Any, symbols: int, languages: int) -> Model:
    """Makes the reader, whose `apply` is `(params, Pairs, key=None) -> log-odds [N, C]`."""
    cell = make_cell(config.cell, symbols, config.hidden, w_x_init=NORMAL)
    encoder = rnnjax.encoder([(cell, cell)])  # one reads to the end, the other to the beginning

    def init(key):
        key_body, key_y = jax.random.split(key)
        w_y = jax.nn.initializers.glorot_uniform()(key_y, (2 * config.hidden, languages))
        return Params(None, encoder.init(key_body), w_y, jnp.zeros(languages))

    def apply(params, pairs, key=None):
        carry, _ = encoder.apply(params.body, jax.nn.one_hot(pairs.sources.T, symbols), lengths=pairs.source_lengths)
        last = jnp.concatenate([carry.layers[0].forward.h, carry.layers[0].backward.h], axis=-1)
        return jnp.matmul(drop(last, config.dropout, key), params.w_y) + params.b_y[None]

    return Model(init, apply)


def make_writer(config: Any, symbols: int, languages: int, longest: int) -> Model:
    """Makes the writer, whose `apply` is `(params, Pairs, languages [N], key=None) -> -log P(name | language) [N]`."""
    cell = make_cell(config.cell, symbols, config.hidden, w_x_init=NORMAL)

    def init(key):
        key_first, key_body, key_y = jax.random.split(key, 3)
        first = jax.tree.map(lambda leaf: 0.1 * NORMAL(key_first, leaf.shape), cell.initial_carry((languages,)))
        w_y = jax.nn.initializers.glorot_uniform()(key_y, (config.hidden, symbols))
        return Params(first, cell.init(key_body), w_y, jnp.zeros(symbols))

    def first_carry(params, languages):
        return jax.tree.map(lambda leaf: leaf[languages], params.first)

    def apply(params, pairs, languages, key=None):
        read = jax.nn.one_hot(shifted(pairs.targets.T), symbols)
        _, hs = rnnjax.unroll(cell, params.body, read, first_carry(params, languages))
        logits = jnp.matmul(drop(hs, config.dropout, key), params.w_y) + params.b_y[None, None]
        nats = rnnjax.losses.get_loss("cross_entropy").values(logits, pairs.targets.T)
        return jnp.where(rnnjax.losses.length_mask(pairs.target_lengths, len(nats)), nats, 0.0).sum(axis=0)

    def sample(params, languages, key, temperature):
        def step(carry, ids):
            carry, h = cell.apply(params.body, carry, jax.nn.one_hot(ids, symbols))
            return carry, jnp.matmul(h, params.w_y) + params.b_y[None]

        constraints = [rnnjax.decoding.ban_tokens([PAD, BOS, UNK]), rnnjax.decoding.min_length(2, EOS)]
        constraints += [rnnjax.decoding.at_temperature(temperature)]
        options = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "max_steps": longest}
        return rnnjax.sample(step, first_carry(params, languages), key=key, constraints=constraints, **options).tokens

    return Model(init, apply, sample)
