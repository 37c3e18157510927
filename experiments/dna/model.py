"""A bidirectional network with attention pooling, for all folds of a cross-validation at once.

x_t = [letter; position],    h_t = [forward cell; backward cell]
a = softmax_t(v . tanh(W h_t + b)),    P(class) = softmax(W_y sum_t a_t h_t)
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

import rnnjax
from experiments.lib import training
from experiments.lib.cells import make_cell
from experiments.lib.optimization import make_optimizer

ENOUGH = 1e-9  # probability below which a logarithm is not taken


class Split(NamedTuple):
    """Rows of one network; no sequence is in two of the three."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Params(NamedTuple):
    """Parameters of the model."""

    layers: rnnjax.Layers
    attention: Any
    w_y: jax.Array  # [2 H, C]
    b_y: jax.Array  # [C]


class Predictions(NamedTuple):
    """What networks say of rows that they were not trained on."""

    probabilities: np.ndarray  # [N, C]
    attention: np.ndarray  # [N, T]


def make_splits(letters: np.ndarray, labels: np.ndarray, config: Any) -> list[Split]:
    """Makes `folds * members` splits, the members of a fold side by side; equal sequences stay together.

    With as many folds as there are different sequences, each is left out once.
    """
    groups = np.unique(letters, return_inverse=True)[1]

    def parts(rows: np.ndarray, count: int, seed: int) -> list[np.ndarray]:
        there = np.unique(groups[rows])
        if count >= len(there):
            return [rows[groups[rows] == group] for group in there]
        cut = StratifiedGroupKFold(count, shuffle=True, random_state=seed).split(rows, labels[rows], groups[rows])
        return [rows[part] for _, part in cut]

    everything, splits = np.arange(len(labels)), []
    for fold, test in enumerate(parts(everything, config.folds, config.seed)):
        rest = np.setdiff1d(everything, test)
        for validation in parts(rest, config.parts, config.seed + fold)[: config.members]:
            splits.append(Split(np.setdiff1d(rest, validation), validation, test))
    return splits


def waves(length: int, count: int) -> np.ndarray:
    """Sines and cosines of the position `[length, 2 count]`, the longest wave twice the length, each next one half."""
    angles = np.pi * np.arange(length)[:, None] / length * 2 ** np.arange(count)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


def make_model(config: Any, classes: int):
    """Makes `key -> params`, and `(params, xs [B, T, 4], key=None) -> (logits [B, C], attention [B, T])`."""
    hidden = config.hidden
    forward, backward = (make_cell(config.cell, 4 + 2 * config.waves, hidden) for _ in range(2))
    reader = rnnjax.encoder([(forward, backward)])
    attention = rnnjax.attention.additive_attention(1, 2 * hidden, hidden)

    def init(key: jax.Array) -> Params:
        keys = jax.random.split(key, 3)
        w_y = jax.nn.initializers.glorot_uniform()(keys[2], (2 * hidden, classes))
        return Params(reader.init(keys[0]), attention.init(keys[1]), w_y, jnp.zeros(classes))

    def apply(params: Params, xs: jax.Array, key: jax.Array | None = None):
        if key is not None:  # some letters are hidden while training
            hidden_letters = jax.random.bernoulli(key, config.masked, xs.shape[:2])
            xs = jnp.where(hidden_letters[..., None], 0.25, xs)
        where = jnp.broadcast_to(waves(xs.shape[1], config.waves), (*xs.shape[:2], 2 * config.waves))
        _, hs = reader.apply(params.layers, jnp.swapaxes(jnp.concatenate([xs, where], axis=-1), 0, 1))
        memory = attention.remember(params.attention, hs)
        context, weights = attention.attend(params.attention, jnp.ones((len(xs), 1)), memory)
        return jnp.matmul(context, params.w_y) + params.b_y[None], weights

    return init, apply


def cross_validate(xs: np.ndarray, labels: np.ndarray, splits: list[Split], config: Any, folder: Path):
    """Trains a network for each split, all side by side: `(Predictions, validation losses [E, R], updates [E])`.

    Each network predicts its test rows after as many updates as suit its own validation rows best; those of a fold are
    averaged.
    """
    count, classes = len(splits), labels.max() + 1
    init, apply = make_model(config, classes)
    own = [np.concatenate([split.validation, split.test]) for split in splits]
    places = np.stack([np.resize(rows, max(map(len, own))) for rows in own])  # [R, M], the shorter ones repeated
    optimizer, saved = make_optimizer(config), folder / "predictions"  # a file per evaluation, for --resume
    saved.mkdir(exist_ok=True)

    def loss_fn(params, rows, *, key):
        logits, _ = apply(params, jnp.asarray(xs)[rows], key)
        return rnnjax.losses.get_loss("cross_entropy")(logits, jnp.asarray(labels)[rows])

    def batches(step: int) -> np.ndarray:
        rng = np.random.default_rng((config.seed, step))
        return np.stack([rng.choice(split.training, config.batch) for split in splits])

    @jax.jit
    @jax.vmap
    def start(key):
        key_init, key_run = jax.random.split(key)
        return rnnjax.training.init_state(init(key_init), optimizer, key=key_run)

    @jax.jit
    @jax.vmap
    def forward(params, rows):
        logits, weights = apply(params, jnp.asarray(xs)[rows])
        return jax.nn.softmax(logits), weights

    def evaluate(state) -> dict:
        size = min(128, places.shape[1])
        found = training.in_chunks(lambda rows: forward(state.params, rows), places, size=size, axis=1, out_axis=1)
        np.savez(saved / str(int(state.step.max())), probabilities=found[0], attention=found[1])
        return {"held_out_loss": validation_losses(found[0], splits, labels)}

    step = jax.vmap(rnnjax.training.make_train_step(loss_fn, optimizer))
    states = start(jax.random.split(jax.random.key(config.seed), count))
    print(f"{count} networks side by side, in {folder}", flush=True)
    training.fit(config, step, states, batches, folder, evaluate=evaluate, batch_axes=1, unit="row")
    return choose(saved, splits, labels, xs.shape[1])


def validation_losses(probabilities: np.ndarray, splits: list[Split], labels: np.ndarray) -> np.ndarray:
    """Mean losses `[R]` on the validation rows, which come first of `[R, M, C]`."""
    losses = []
    for found, split in zip(probabilities, splits, strict=True):
        right = found[np.arange(len(split.validation)), labels[split.validation]]
        losses.append(-np.log(np.maximum(right, ENOUGH)).mean())
    return np.array(losses)


def choose(saved: Path, splits: list[Split], labels: np.ndarray, length: int):
    """Takes for each network the evaluation with the smallest loss on its validation rows; means over members."""
    steps = sorted(int(path.stem) for path in saved.iterdir())
    files = [dict(np.load(saved / f"{step}.npz")) for step in steps]
    losses = np.stack([validation_losses(file["probabilities"], splits, labels) for file in files])  # [E, R]
    probabilities, attention = np.zeros((len(labels), labels.max() + 1)), np.zeros((len(labels), length))
    members = np.zeros((len(labels), 1))
    for network, (best, split) in enumerate(zip(losses.argmin(axis=0), splits, strict=True)):
        tested = slice(len(split.validation), len(split.validation) + len(split.test))
        probabilities[split.test] += files[best]["probabilities"][network, tested]
        attention[split.test] += files[best]["attention"][network, tested]
        members[split.test] += 1
    return Predictions(probabilities / members, attention / members), losses, np.array(steps)
