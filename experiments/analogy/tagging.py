"""What word vectors are worth to a tagger: random, frozen or fine-tuned ones under an LSTM in both directions.

Every mode and seed is a run; all runs train side by side, for each number of training sentences.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.metrics import f1_score

import rnnjax
from experiments.data.glove import WordVectors
from experiments.data.wnut17 import Sentence, Sentences
from experiments.lib import readers, sweep, training
from experiments.lib.readout import drop

MODES = ("random", "frozen", "fine-tuned")
LONGEST = 40  # words of a sentence; what follows is cut off in training


class Params(NamedTuple):
    """Parameters of a tagger."""

    table: jax.Array  # word vectors [V, D]
    layers: Any  # of the LSTMs
    w_y: jax.Array  # [2 H, 2]
    b_y: jax.Array  # [2]


class Batch(NamedTuple):
    """Sentences of an update, and for each of R runs whether its vectors stay as they are."""

    ids: Any  # [T, B]
    lengths: Any  # [B]
    tags: Any  # 1 for an entity [T, B]
    frozen: Any  # [R]


def encode(part: Sequence[Sentence], ids: dict[str, int]) -> tuple[readers.Words, np.ndarray]:
    """Ids of the words, in lower case, and whether each is part of an entity `[T, N]`."""
    words = readers.encode(
        [[w.lower() for w in sentence[:LONGEST]] for sentence, _ in part], ids, unknown=1, steps=LONGEST
    )
    tags = np.zeros(words.ids.shape, np.int32)
    for column, (_, own) in enumerate(part):
        tags[: words.lengths[column], column] = [tag != "O" for tag in own[:LONGEST]]
    return words, tags


def transfer(data: Sentences, vectors: WordVectors, config: Any, folder: Path) -> dict[int, np.ndarray]:
    """F1 of entities on the test, `[modes, seeds]`, for each number of training sentences."""
    seen = {word.lower() for part in data[:3] for sentence, _ in part for word in sentence}
    known = [i for i, word in enumerate(vectors.words) if word in seen]
    ids = {vectors.words[i]: row for row, i in enumerate(known, 2)}
    scale = vectors.vectors.std()  # so that they are as large as random ones
    learned = np.concatenate([np.zeros((2, vectors.vectors.shape[1])), vectors.vectors[known] / scale]).astype(
        np.float32
    )
    size = len(learned), learned.shape[1]
    cell = rnnjax.lstm(size[1], config.hidden)
    encoder, loss = rnnjax.encoder([(cell, cell)]), rnnjax.losses.get_loss("cross_entropy")
    runs = len(MODES) * config.seeds
    frozen = np.repeat([mode == "frozen" for mode in MODES], config.seeds)
    random = np.repeat([mode == "random" for mode in MODES], config.seeds)

    def init(key):
        keys = jax.random.split(key, 3)
        w_y = jax.nn.initializers.glorot_uniform()(keys[2], (2 * config.hidden, 2))
        return Params(jax.random.normal(keys[0], size), encoder.init(keys[1]), w_y, jnp.zeros(2))

    def apply(params, words, lengths, key=None):
        xs = drop(params.table[words], config.dropout, key)
        _, ys = encoder.apply(params.layers, xs, lengths=lengths)
        return jnp.matmul(ys, params.w_y) + params.b_y[None, None]

    def loss_fn(params, batch, *, key):
        table = jnp.where(batch.frozen, jax.lax.stop_gradient(params.table), params.table)
        logits = apply(params._replace(table=table), batch.ids, batch.lengths, key)
        return loss(logits, batch.tags, where=rnnjax.losses.length_mask(batch.lengths, len(batch.ids)))

    options = dataclasses.replace(config, batch=32, steps=config.tagger_steps, learning_rate=config.tagger_rate)
    start = sweep.make_start(options, init, np.tile(np.arange(config.seeds), len(MODES)))
    step = rnnjax.training.make_train_step(loss_fn, sweep.scaled_optimizer(options, 1.0))
    update = jax.vmap(step, in_axes=(0, Batch(None, None, None, 0)))
    forward = jax.jit(jax.vmap(lambda p, w, n: apply(p, w, n).argmax(axis=-1), in_axes=(0, None, None), out_axes=2))
    (words, tags), (asked, truth) = encode(data.train, ids), encode(data.test, ids)
    real = (np.arange(LONGEST)[:, None] < asked.lengths).T  # [N, T]
    found = {}
    for count in config.sentences:
        chosen = np.random.default_rng(config.seed).permutation(len(data.train))[:count]
        rows = training.shuffled(np.resize(chosen, max(32, len(chosen))), 32, config.seed)

        def batches(step, rows=rows):
            some = rows(step)
            return Batch(words.ids[:, some], words.lengths[some], tags[:, some], frozen)

        state = start()
        table = jnp.where(jnp.asarray(random)[:, None, None], state.params.table, jnp.asarray(learned)[None])
        state = state._replace(params=state.params._replace(table=table))
        settings = {"batch_axes": Batch(1, 0, 1, None), "log_every": 50}
        params = training.fit(options, update, state, batches, folder / str(count), **settings).state.params
        said = training.in_chunks(
            lambda some, lengths, params=params: jnp.moveaxis(forward(params, some.T, lengths), 2, 0).swapaxes(1, 2),
            asked.ids.T,
            asked.lengths,
            out_axis=1,
        )  # [R, N, T]
        scores = [f1_score(truth.T[real], said[run][real], zero_division=0.0) for run in range(runs)]
        found[count] = np.reshape(scores, (len(MODES), config.seeds))
    return found
