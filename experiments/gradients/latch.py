"""The latch: a network reads symbols, and names the first of them at the end. After Bengio et al. 1994."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.lib.readout import make_readout

SYMBOLS = 4  # to remember, and as many that distract


class Batch(NamedTuple):
    """Sequences: one of four symbols first, then four others at random."""

    inputs: np.ndarray  # one-hot [T, B, 8]
    targets: np.ndarray  # the first symbols [B]


def draw(rng: np.random.Generator, count: int, length: int) -> Batch:
    """Draws sequences of T = length steps."""
    ids = rng.integers(SYMBOLS, 2 * SYMBOLS, size=(length, count))
    ids[0] = rng.integers(SYMBOLS, size=count)
    return Batch(np.eye(2 * SYMBOLS, dtype=np.float32)[ids], ids[0])


def batches_of(config: Any, number: int = 0) -> Callable[[int], Batch]:
    """`step -> Batch`, fresh sequences for every step, and others for every number."""
    return lambda step: draw(np.random.default_rng((config.seed, 0, number, step)), config.batch, config.length)


def held_out_of(config: Any) -> Batch:
    """Draws sequences that are not trained on."""
    return draw(np.random.default_rng((config.seed, 1)), config.held_out, config.length)


def make_model(cell: rnnjax.Cell):
    """Makes `key -> params`, a loss in nats per sequence, and `(params, batch) -> [B]`, which symbols are named."""
    init, apply = make_readout(cell, SYMBOLS)

    def loss_fn(params, batch, *, key):
        return rnnjax.losses.get_loss("cross_entropy")(apply(params, batch.inputs)[-1], batch.targets)

    @jax.jit
    def right(params, batch):
        return apply(params, batch.inputs)[-1].argmax(axis=-1) == batch.targets

    return init, loss_fn, right
