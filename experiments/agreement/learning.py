"""What a cell makes of a lesson: words, an embedding, the cell, and a readout of the number of the next verb."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.agreement.grammar import WORDS, Encoded
from experiments.lib import readout, sweep, training
from experiments.lib.cells import GATES, make_cell


class Params(NamedTuple):
    """Parameters: the embedding of the words `[V, E]`, and those of the cell and of its output, was and were."""

    embedding: jax.Array
    reader: readout.Params


def make_model(config: Any, cell: str, *, chrono: bool):
    """Makes `key -> params`, and `(params, words [T, B]) -> logits [T, B, 2]` of the number of the next verb."""
    lag = config.longest if chrono and cell in GATES else None
    reader = make_cell(cell, config.embedding, config.hidden, max_lag=lag)
    init_reader, read = readout.make_readout(reader, 2)

    def init(key):
        key_embedding, key_reader = jax.random.split(key)
        embedding = jax.random.normal(key_embedding, (len(WORDS), config.embedding)) / config.embedding**0.5
        return Params(embedding, init_reader(key_reader))

    def apply(params, words):
        # A product with one-hot rows: the gradient of a look-up is slower on a CPU.
        return read(params.reader, jnp.matmul(jax.nn.one_hot(words, len(WORDS)), params.embedding))

    return init, apply


class Learned(NamedTuple):
    """What a cell made of a lesson; losses are in nats per verb, the mean over the seeds."""

    rate: float  # of learning, chosen on validation data
    validation: np.ndarray  # loss for each rate
    losses: np.ndarray  # of training, for each update
    plural: np.ndarray  # P(were) for each test sentence and each example [S, N], a row per seed


def make_learn(config: Any, cell: str, test: Encoded, folder: Path, *, chrono: bool = True):
    """Makes `(lesson, training, validation) -> Learned`, compiled once for all lessons of a cell."""
    init, apply = make_model(config, cell, chrono=chrono)

    def loss_fn(params, batch, *, key=None):
        loss = rnnjax.losses.get_loss("cross_entropy")
        return loss(apply(params, batch.words), jnp.maximum(batch.numbers, 0), where=batch.numbers >= 0)

    @jax.jit
    def plural(runs, batch):  # [R, B]
        were = jax.vmap(lambda params: jax.nn.softmax(apply(params, batch.words))[..., 1])(runs)
        return jnp.where(batch.numbers >= 0, were, 0.0).sum(axis=1)

    nats = jax.jit(jax.vmap(lambda params, batch: loss_fn(params, batch).mean, in_axes=(0, None)))
    start, update = sweep.over_rates(config, init, loss_fn, config.rates, config.seeds)

    def learn(lesson: str, known: Encoded, validation: Encoded) -> Learned:
        """Trains every run, chooses the rate on validation data, and only then reads the test."""
        batches = sweep.batches(config, known.words.shape[1], lambda rows: Encoded(*(x[:, rows] for x in known)))
        runs, losses = sweep.train(config, update, start(), batches, folder / f"{cell}-{lesson}", batch_axes=1)
        best, by_rate = sweep.choose_rate(nats(runs, validation), config.rates, cell)
        rows = slice(best * config.seeds, (best + 1) * config.seeds)
        chosen = jax.tree.map(lambda leaf: leaf[rows], runs)
        were = training.in_chunks(lambda some: plural(chosen, some), test, size=500, axis=1, out_axis=1)
        return Learned(config.rates[best], by_rate, losses[:, rows].mean(axis=1), were)

    return learn
