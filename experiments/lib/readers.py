"""Readers: models that sort sentences, given as vectors of words, into classes.

    mean        softmax(W mean_t x_t + b), which knows nothing of the order
    a cell      softmax(W h_T + b), with h_T the last state of the uppermost of its layers
    attention   softmax(W sum_t a_t h_t + b), a_t = softmax_t(v . tanh(U h_t + c)), with h_t of both directions

Reference of attention: Yang et al. 2016, "Hierarchical attention networks for document classification".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib.cells import CELLS, make_cell
from experiments.lib.readout import drop


class Params(NamedTuple):
    """Parameters of a reader."""

    layers: Any  # of the cells; () for the mean
    attention: Any  # of the attention, or ()
    w_y: jax.Array  # [M, V]
    b_y: jax.Array  # [V]


class Read(NamedTuple):
    """What a reader makes of B sentences."""

    logits: jax.Array  # [B, V]
    weights: jax.Array | None  # of the attention [B, T], where there is one


class Reader(NamedTuple):
    """A reader as pure functions."""

    init: Callable[[jax.Array], Params]
    apply: Callable[..., Read]  # (params, xs [T, B, F], lengths [B], key=None); the key is of dropout


def make_reader(name: str, features: int, hidden: int, classes: int, *, layers: int = 1, dropout: float = 0.0):
    """Makes the reader "mean", "attention" (over LSTMs), or one of cells of this name, with dropout above each layer.

    Vectors behind the end of a sentence are not looked at.
    """
    both = name == "attention"
    sizes = [] if name == "mean" else [features] + [hidden * (1 + both)] * (layers - 1)
    cells = [make_cell("lstm" if both else name, size, hidden) for size in sizes]
    width = hidden * (1 + both) if cells else features
    encoder = rnnjax.encoder([(cell, cell) if both else cell for cell in cells], dropout=dropout) if cells else None
    attention = rnnjax.attention.additive_attention(1, width, hidden) if both else None

    def init(key):
        keys, glorot = jax.random.split(key, 3), jax.nn.initializers.glorot_uniform()
        parts = (encoder.init(keys[0]) if encoder else (), attention.init(keys[1]) if attention else ())
        return Params(*parts, glorot(keys[2], (width, classes)), jnp.zeros(classes))

    def apply(params, xs, lengths, key=None):
        between, last = (None, None) if key is None else jax.random.split(key)
        weights = None
        if encoder is None:
            real = rnnjax.losses.length_mask(lengths, len(xs))
            total = jnp.where(real[..., None], xs, jnp.zeros_like(xs)).sum(axis=0)
            state = total / jnp.maximum(lengths, 1)[:, None].astype(xs.dtype)
        elif attention is None:
            carries, _ = encoder.apply(params.layers, xs, lengths=lengths, key=between)
            state = carries.layers[-1].h
        else:
            _, ys = encoder.apply(params.layers, xs, lengths=lengths, key=between)
            memory = attention.remember(params.attention, ys, lengths=lengths)
            state, weights = attention.attend(params.attention, jnp.zeros((xs.shape[1], 1), xs.dtype), memory)
        logits = jnp.matmul(drop(state, dropout if cells else 0.0, last), params.w_y) + params.b_y[None]
        return Read(logits, weights)

    return Reader(init, apply)


def check_reader_name(name: str) -> None:
    """Raises a ValueError for a name that `make_reader` does not know."""
    if name not in ("mean", "attention", *CELLS):
        raise ValueError(f"expected models to be of mean, attention, {', '.join(CELLS)}, got {name!r}.")


class Words(NamedTuple):
    """N sentences as ids of words."""

    ids: np.ndarray  # 0 behind the end [T, N]
    lengths: np.ndarray  # [N]


def encode(sentences: Sequence[Sequence[str]], ids: Mapping[str, int], *, unknown: int, steps: int = 0) -> Words:
    """Looks up the words of sentences, padded to at least so many steps.

    >>> encode([("to", "be"), ("not",)], {"to": 1, "not": 2}, unknown=3).ids.tolist()
    [[1, 2], [3, 0]]
    """
    lengths = np.array([len(words) for words in sentences], np.int32)
    found = np.zeros((max(steps, lengths.max(initial=0)), len(sentences)), np.int32)
    for column, words in enumerate(sentences):
        found[: len(words), column] = [ids.get(word, unknown) for word in words]
    return Words(found, lengths)
