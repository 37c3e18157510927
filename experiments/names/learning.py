"""How readers and a writer learn, and how they are asked."""

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.data.names import Names
from experiments.lib import sweep, training
from experiments.lib.pairs import Pairs, Symbols, pad_pairs
from experiments.names.model import Model

Examples = tuple[Pairs, np.ndarray]  # names as sources and as targets, and their languages [N]


def encode(data: Names, symbols: Symbols, rows: np.ndarray, longest: int) -> Examples:
    """Encodes names of at most so many letters."""
    ids = [symbols.encode(name) for name in data.names[rows]]
    return pad_pairs(ids, ids, max_source=longest, max_target=longest + 1), data.languages[rows]


def make_read(model: Model):
    """`(params [S, ...], Pairs) -> log-odds [S, N, C]`, for readers side by side."""
    forward = jax.jit(jax.vmap(model.apply, in_axes=(0, None)))
    return lambda params, pairs: training.in_chunks(lambda some: forward(params, some), pairs, size=500, out_axis=1)


def train_readers(config: Any, model: Model, parts: dict[str, Examples], folder: Path):
    """Trains a reader for each seed, all side by side: `Pairs -> log-odds [S, N, C]`."""
    cross_entropy, read = rnnjax.losses.get_loss("cross_entropy"), make_read(model)

    def loss_fn(params, batch, *, key):
        return cross_entropy(model.apply(params, batch[0], key), batch[1])

    def evaluate(state):
        pairs, truth = parts["validation"]
        found = read(state.params, pairs)
        losses = [float(cross_entropy(jnp.asarray(logits), jnp.asarray(truth)).mean) for logits in found]
        return {"held_out_loss": np.mean(losses), "accuracy": (found.argmax(axis=-1) == truth).mean()}

    start, update = sweep.over_rates(config, model.init, loss_fn, (1.0,), config.seeds)
    batches = training.shuffled(parts["training"], config.batch, config.seed)
    print(f"{config.seeds} readers side by side, in {folder / 'reader'}", flush=True)
    result = training.fit(config, update, start(), batches, folder / "reader", evaluate=evaluate, batch_axes=0)
    return functools.partial(read, result.state.params)


def train_writer(config: Any, model: Model, parts: dict[str, Examples], folder: Path):
    """Trains the writer: its parameters."""

    def loss_fn(params, batch, *, key):
        nats = model.apply(params, *batch, key)
        return rnnjax.losses.SumCount(nats.sum(), batch[0].target_lengths.sum().astype(nats.dtype))

    loss = jax.jit(lambda params, batch: loss_fn(params, batch, key=None).mean)
    batches = training.shuffled(parts["training"], config.batch, config.seed)
    settings = {"name": "writer", "unit": "char", "batch_axes": 0}
    settings["evaluate"] = lambda state: {"held_out_loss": float(loss(state.params, parts["validation"]))}
    return training.train(config, model.init, loss_fn, batches, folder, **settings).state.params


def write(model: Model, params: Any, symbols: Symbols, languages: np.ndarray, temperature: float, seed: int):
    """Writes a name in each of these languages `[N]`."""
    sample = jax.jit(lambda params, languages, key: model.sample(params, languages, key, temperature))
    return [symbols.decode(ids) for ids in np.asarray(sample(params, languages, jax.random.key(seed)))]
