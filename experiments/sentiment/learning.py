"""How a reader learns sentiment: word vectors of its own, members side by side, the dev part says when to stop."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import readers, sweep, training
from experiments.lib.readout import drop

CHUNK = 800  # sentences that are asked at once


class Params(NamedTuple):
    """Parameters of a reader with its word vectors."""

    embedding: jax.Array  # [V, E]
    reader: readers.Params


class Batch(NamedTuple):
    """Sentences of an update."""

    ids: Any  # [T, B]
    lengths: Any  # [B]
    labels: Any  # [B]


class Asked(NamedTuple):
    """What is asked at every evaluation."""

    words: readers.Words  # of the dev part, of the test, and of the first words of a sentence, one more each time
    labels: np.ndarray  # of the dev part
    test: int  # sentences of the test


class Learned(NamedTuple):
    """What M members of a model came to, where the loss on the dev part was lowest; P(positive)."""

    updates: int
    dev: float  # accuracy of the members' mean on the dev part
    test: np.ndarray  # [M, N]
    words: np.ndarray  # after each word of the sentence [M, T]
    weights: np.ndarray | None  # of the attention on the whole sentence, mean over the members [T]


def learn(name: str, config: Any, known: tuple, asked: Asked, table: tuple, folder: Path) -> Learned:
    """Trains on known `(Words, labels)` with a table of `(V, first vectors or None)`."""
    (words, labels), (size, first) = known, table
    reader = readers.make_reader(name, config.embedding, config.hidden, 2, layers=config.layers, dropout=config.dropout)
    loss = rnnjax.losses.get_loss("cross_entropy")

    def init(key):
        key_table, key_reader = jax.random.split(key)
        vectors = 0.3 * jax.random.normal(key_table, (size, config.embedding)) if first is None else jnp.asarray(first)
        return Params(vectors, reader.init(key_reader))

    def loss_fn(params, batch, *, key):
        key_words, key_inputs, key_layers = jax.random.split(key, 3)
        kept = jax.random.bernoulli(key_words, 1 - config.word_dropout, batch.ids.shape)
        xs = params.embedding[jnp.where(kept, batch.ids, 1)]
        xs = drop(xs, config.input_dropout, key_inputs)
        return loss(reader.apply(params.reader, xs, batch.lengths, key_layers).logits, batch.labels)

    @jax.jit
    def forward(runs, ids, lengths):
        """P(positive) and weights, `[B, M]` and `[B, M, T]`."""

        def one(params):
            read = reader.apply(params.reader, params.embedding[ids], lengths)
            return jax.nn.softmax(read.logits)[:, 1], read.weights

        return jax.vmap(one, out_axes=1)(runs)

    saved, dev, lengths = folder / "answers", len(asked.labels), asked.words.lengths
    saved.mkdir(parents=True, exist_ok=True)
    whole = len(lengths) - 1  # the place of the whole sentence
    order = np.argsort(lengths, kind="stable")  # short ones together, so that little padding is read
    chunks = np.split(np.pad(order, (0, -len(order) % CHUNK), mode="edge"), -(-len(order) // CHUNK))

    def evaluate(state):
        probs, weights = np.empty((len(lengths), config.members)), None
        for rows in chunks:
            steps = -(-int(lengths[rows].max()) // 16) * 16  # few shapes to compile
            ids = np.zeros((steps, CHUNK), np.int32)
            ids[: len(asked.words.ids)] = asked.words.ids[:steps, rows]
            probs[rows], found = jax.device_get(forward(state.params, ids, lengths[rows]))
            if found is not None and whole in rows:
                weights = found[rows == whole][0].mean(axis=0)[: lengths[whole]]
        truth = np.where(asked.labels[:, None] == 1, probs[:dev], 1 - probs[:dev])
        together = float(((probs[:dev].mean(axis=1) > 0.5) == asked.labels).mean())
        held_out = float(-np.log(np.maximum(truth, 1e-9)).mean())
        kept = {"probs": probs.T, "loss": held_out, "dev": together} | ({} if weights is None else {"weights": weights})
        np.savez(saved / str(state.step[0]), **kept)  # a file per evaluation, for --resume
        return {"held_out_loss": held_out, "held_out_accuracy": together}

    start = sweep.make_start(config, init, np.arange(config.members))
    step = rnnjax.training.make_train_step(
        loss_fn, sweep.scaled_optimizer(config, config.mean_rate if name == "mean" else 1.0)
    )
    rows = training.shuffled(np.arange(len(labels)), config.batch, config.seed)

    def batches(step):
        return Batch(words.ids[:, rows(step)], words.lengths[rows(step)], labels[rows(step)])

    update = jax.vmap(step, in_axes=(0, None))
    settings = {"batch_axes": Batch(1, 0, 0), "patience": 3, "unit": "sentence"}
    training.fit(config, update, start(), batches, folder, evaluate=evaluate, **settings)
    files = {int(path.stem): dict(np.load(path)) for path in saved.iterdir()}
    best = min(sorted(files), key=lambda at: float(files[at]["loss"]))
    probs = files[best]["probs"]
    test, read = probs[:, dev : dev + asked.test], probs[:, dev + asked.test :]
    return Learned(best, float(files[best]["dev"]), test, read, files[best].get("weights"))
