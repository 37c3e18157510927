"""Word vectors: skip-gram with negative sampling, and questions answered with them.

    loss = -log s(v_w . u_c) - k E_n log s(-v_w . u_n),   c a word near w, n one drawn in proportion to count^(3/4)

References: Mikolov et al. 2013, "Distributed representations of words and phrases and their compositionality" (the
loss); Levy & Goldberg 2014, "Linguistic regularities in sparse and explicit word representations" (the answers, called
3CosAdd there).
"""

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.data.glove import WordVectors
from experiments.lib import training
from experiments.lib.neighbours import neighbours

SHARED = 64  # negative words of a batch, the same for all its pairs
FREQUENT = 1e-3  # share of a text above which occurrences of a word are dropped at random


class Params(NamedTuple):
    """Vectors of words as themselves and as neighbours, `[V, D]` each."""

    words: jax.Array
    beside: jax.Array


class Batch(NamedTuple):
    """Pairs of neighbours `[B, 2]`, and negative words `[SHARED]`."""

    pairs: Any
    negative: Any


def skip_gram(text: list[list[str]], config: Any, folder: Path) -> WordVectors:
    """Learns vectors of the words that a text has often enough."""
    counts = Counter(word for sentence in text for word in sentence)
    words = [word for word, count in counts.most_common() if count >= config.min_count]
    ids, often = {word: i for i, word in enumerate(words)}, np.array([counts[word] for word in words])
    rng, share = np.random.default_rng(config.seed), often / often.sum()
    kept = np.minimum(1.0, np.sqrt(FREQUENT / share))
    sentences = [np.array([ids[word] for word in sentence if word in ids], np.int32) for sentence in text]
    sentences = [sentence[rng.random(len(sentence)) < kept[sentence]] for sentence in sentences]
    drawn = np.cumsum(often**0.75) / (often**0.75).sum()
    of_step = training.shuffled(neighbours(sentences, config.window), config.batch, config.seed)

    def init(key):
        bound = 0.5 / config.features
        first = jax.random.uniform(key, (len(words), config.features), minval=-bound, maxval=bound)
        return Params(first, jnp.zeros_like(first))

    def loss_fn(params, batch, *, key):
        del key
        word, beside = params.words[batch.pairs[:, 0]], params.beside[batch.pairs[:, 1]]
        near = jax.nn.log_sigmoid((word * beside).sum(axis=1))
        far = jax.nn.log_sigmoid(-jnp.matmul(word, params.beside[batch.negative].T)).mean(axis=1)
        return rnnjax.losses.masked_mean(-near - config.negative * far)

    def batches(step):
        draws = np.random.default_rng((config.seed, step)).random(SHARED)
        return Batch(of_step(step), np.minimum(np.searchsorted(drawn, draws), len(words) - 1).astype(np.int32))

    result = training.train(config, init, loss_fn, batches, folder, batch_axes=Batch(0, None), unit="pair")
    return WordVectors(tuple(words), np.asarray(result.state.params.words))


class Answers(NamedTuple):
    """Answers to N questions whose words are all known."""

    right: np.ndarray  # [N]
    nearest: np.ndarray  # whether the word nearest to c, but for a and b, would have been right [N]
    words: list[str]  # that were said


def answer(questions: list[tuple[str, str, str, str]], vectors: WordVectors) -> Answers:
    """Says the word whose vector has the largest cosine with b - a + c, of unit vectors; a, b and c are no answers."""
    place = {word: i for i, word in enumerate(vectors.words)}
    rows = np.array([[place[word] for word in question] for question in questions], int).reshape(-1, 4)
    unit = vectors.vectors / np.linalg.norm(vectors.vectors, axis=1, keepdims=True)
    said = np.zeros((2, len(rows)), int)
    for some in np.array_split(np.arange(len(rows)), 1 + len(rows) // 1000):
        a, b, c, _ = rows[some].T
        for which, target in enumerate((unit[b] - unit[a] + unit[c], unit[c])):
            cosines = target @ unit.T
            np.put_along_axis(cosines, rows[some, :3], -np.inf, axis=1)
            said[which, some] = cosines.argmax(axis=1)
    return Answers(said[0] == rows[:, 3], said[1] == rows[:, 3], [vectors.words[i] for i in said[0]])


def one_hot_difference(table: np.ndarray, ids: np.ndarray) -> tuple[float, float]:
    """The largest difference between a look-up and a product with one-hot rows: in values, and in gradients."""
    target = np.random.default_rng(0).normal(size=(len(ids), table.shape[1])).astype(np.float32)
    ways = (lambda w: w[ids], lambda w: jnp.matmul(jax.nn.one_hot(ids, len(table)), w))
    values = [way(jnp.asarray(table)) for way in ways]
    slopes = [jax.grad(lambda w, way=way: ((way(w) - target) ** 2).sum())(jnp.asarray(table)) for way in ways]
    return float(jnp.abs(values[0] - values[1]).max()), float(jnp.abs(slopes[0] - slopes[1]).max())
