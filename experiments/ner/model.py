"""The tagger: letters of each word, words of the sentence, and a tag for each word, alone or all of them together."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib.readout import drop
from rnnjax.losses import CRFParams, SumCount

GLOROT = jax.nn.initializers.glorot_uniform()


class Batch(NamedTuple):
    """N sentences of at most T words of at most L letters, as ids, padded on the right."""

    words: np.ndarray  # [N, T]
    lengths: np.ndarray  # [N]
    letters: np.ndarray  # [N, T, L]
    letter_counts: np.ndarray  # [N, T], 0 after the end
    tags: np.ndarray  # [N, T]


class Params(NamedTuple):
    """Parameters of a tagger."""

    letters: jax.Array  # embeddings of letters [A, E]
    spelling: rnnjax.Layers  # of the network that reads words
    sentence: rnnjax.Layers  # of the network that reads sentences
    w_y: jax.Array  # [2 H, K]
    b_y: jax.Array  # [K]
    crf: CRFParams  # scores of tags beside each other


class Tagger(NamedTuple):
    """A tagger as pure functions."""

    init: Callable[..., Params]  # key -> params
    loss: Callable[..., SumCount]  # (params, Batch, *, key=None) -> nats per word; with a key, with dropout
    tags: Callable[..., jax.Array]  # (params, Batch) -> the most probable tags [N, T]
    marginals: Callable[..., jax.Array]  # (params, Batch) -> probability of each tag [N, T, K]


def may_follow(tags: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which tag (column) may follow which (row) `[K, K]`, and which may begin `[K]`: I-kind only follows its kind."""
    inside = np.array([tag[:2] == "I-" for tag in tags])
    same = np.array([[a[:1] != "O" and a[2:] == b[2:] for b in tags] for a in tags])
    return ~inside[None] | same, ~inside


def make_tagger(config: Any, output: str, vectors: np.ndarray, letters: int, tags: Sequence[str]) -> Tagger:
    """Makes a tagger with the output "crf" or "softmax", over word vectors `[V, D]` that stay as they are."""
    speller = rnnjax.lstm(config.letter_embedding, config.letter_hidden)
    reader = rnnjax.lstm(vectors.shape[1] + 2 * config.letter_hidden, config.hidden)
    spelling, sentence = rnnjax.encoder([(speller, speller)]), rnnjax.encoder([(reader, reader)])
    follows, first = may_follow(tags)

    def init(key):
        keys = jax.random.split(key, 4)
        embedding = jax.random.normal(keys[0], (letters, config.letter_embedding))
        w_y, zeros = GLOROT(keys[3], (2 * config.hidden, len(tags))), jnp.zeros(len(tags))
        crf = CRFParams(jnp.zeros((len(tags), len(tags))), zeros, zeros)
        return Params(embedding, spelling.init(keys[1]), sentence.init(keys[2]), w_y, zeros, crf)

    def logits(params, batch, key=None):  # [T, N, K]
        key_in, key_out = (None, None) if key is None else jax.random.split(key)
        rows, steps, width = batch.letters.shape
        xs = jax.nn.one_hot(batch.letters.reshape(-1, width).T, letters)  # [L, N T, A]
        xs = jnp.matmul(xs, params.letters)
        carry, _ = spelling.apply(params.spelling, xs, lengths=batch.letter_counts.reshape(-1))
        ends = carry.layers[0]
        spelled = jnp.concatenate([ends.forward.h, ends.backward.h], axis=-1).reshape(rows, steps, -1)
        known = jnp.concatenate([jnp.asarray(vectors)[batch.words], spelled], axis=-1)
        xs = drop(jnp.swapaxes(known, 0, 1), config.dropout, key_in)
        _, hs = sentence.apply(params.sentence, xs, lengths=batch.lengths)
        return jnp.matmul(drop(hs, config.dropout, key_out), params.w_y) + params.b_y[None, None]

    def bio(crf):
        return CRFParams(jnp.where(follows, crf.transitions, -jnp.inf), jnp.where(first, crf.start, -jnp.inf), crf.end)

    def loss(params, batch, *, key=None):
        ys, truth, lengths = logits(params, batch, key), batch.tags.T, batch.lengths
        if output == "softmax":
            where = rnnjax.losses.length_mask(lengths, len(ys))
            return rnnjax.losses.sequence_loss(ys, truth, where=where)
        nats = rnnjax.losses.crf(bio(params.crf), ys, truth, lengths=lengths)
        return SumCount(nats.sum(), lengths.sum().astype(nats.dtype))

    def best(params, batch):
        ys = logits(params, batch)
        if output == "softmax":
            return ys.argmax(axis=-1).T
        return rnnjax.losses.crf_decode(bio(params.crf), ys, lengths=batch.lengths).labels.T

    def marginals(params, batch):
        ys = logits(params, batch)
        if output == "softmax":
            return jnp.swapaxes(jax.nn.softmax(ys, axis=-1), 0, 1)
        return jnp.swapaxes(rnnjax.losses.crf_marginals(bio(params.crf), ys, lengths=batch.lengths), 0, 1)

    return Tagger(init, loss, best, marginals)
