"""Forecasts of g: recurrent networks and an MLP, some for each block left out, and a linear model on means."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.climate.task import Part, Task, look, naive, truth
from experiments.data.jena import MINUTES
from experiments.lib.cells import CELLS, make_cell
from experiments.lib.readout import drop
from experiments.lib.training import in_chunks, train

NETWORKS = ("rnn", "gru", "lstm", "stacked", "bidirectional", "dropout")  # the last three of --cell
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


class Params(NamedTuple):
    """Parameters of a network with H features in its last layer."""

    body: Any  # of the cells, or weights `[T F, H]` and bias `[H]` of the MLP
    w_y: jax.Array  # [H, K]
    b_y: jax.Array  # [K]


def make_rnn(name: str, config: Any, features: int):
    """Makes `key -> params`, and `(params, xs [T, B, F], key) -> g [B, K]`; many inputs to one output."""
    hidden, outputs, dropout, both = config.hidden, len(config.horizons), config.dropout, name == "bidirectional"
    sizes = {"stacked": [features, hidden], "bidirectional": [features, features]}.get(name, [features])
    cells = [make_cell(name if name in CELLS else config.cell, size, hidden) for size in sizes]

    def init(key):
        parts = tuple(cell.init(k) for cell, k in zip(cells, jax.random.split(key, len(cells)), strict=True))
        body = rnnjax.Layers((rnnjax.Bidirectional(*parts),) if both else parts)
        return Params(body, jnp.zeros((hidden * (1 + both) + features, outputs)), jnp.zeros(outputs))

    def apply(params, xs, key=None):
        between, last, *keys = [None] * (2 + len(cells)) if key is None else jax.random.split(key, 2 + len(cells))
        layers = [tuple(cells)] if both else cells
        if name == "dropout":
            layers = [rnnjax.dropout(cells[0], key=keys[0], shape=xs.shape, recurrent=dropout)]
        carry, outs = rnnjax.unroll_layers(layers, params.body, xs, key=between, dropout=dropout)
        state = jnp.concatenate([c.h for c in carry.layers[0]], axis=-1) if both else outs[-1]
        seen = jnp.concatenate([drop(state, dropout, last), xs[-1]], axis=-1)
        return jnp.matmul(seen, params.w_y) + params.b_y[None]

    return init, apply


def make_mlp(config: Any, features: int):
    """Makes the same for a network that sees all of the window at once."""
    hidden, outputs, size = config.hidden, len(config.horizons), config.window // config.stride * features

    def init(key):
        body = jax.nn.initializers.glorot_uniform()(key, (size, hidden)), jnp.zeros(hidden)
        return Params(body, jnp.zeros((hidden, outputs)), jnp.zeros(outputs))

    def apply(params, xs, key=None):
        flat = jnp.swapaxes(xs, 0, 1).reshape(xs.shape[1], size)
        state = jax.nn.relu(jnp.matmul(flat, params.body[0]) + params.body[1][None])
        return jnp.matmul(drop(state, config.dropout, key), params.w_y) + params.b_y[None]

    return init, apply


class Fitted(NamedTuple):
    """A model after training."""

    validation: np.ndarray  # absolute errors on the blocks left out [M, K]
    test: np.ndarray  # forecasts of the test part [M, K]
    note: str = ""  # what was chosen on validation for the last horizon


def choose(errors: Sequence[np.ndarray], tests: Sequence[np.ndarray], notes: Sequence[str]) -> Fitted:
    """Takes for each horizon the candidate with the smallest mean of its errors on validation `[M, K]`."""
    best = np.argmin([error.mean(axis=0) for error in errors], axis=0)
    error, test = (np.stack([c[i][:, k] for k, i in enumerate(best)], axis=1) for c in (errors, tests))
    return Fitted(error, test, notes[best[-1]])


def fit_naive(task: Task, config: Any) -> dict[str, Fitted]:
    """The naive forecasts, which have nothing to learn."""
    left_out, ends = np.concatenate(task.ends["validation"]), task.ends["test"][0]
    known, tests = truth(task, left_out, config), naive(task, ends, config)
    return {name: Fitted(np.abs(x - known), tests[name]) for name, x in naive(task, left_out, config).items()}


def fit_networks(name: str, model: tuple[Callable, Callable], task: Task, config: Any, folder: Path) -> Fitted:
    """Trains the members for each block left out, all side by side."""
    init, apply = model
    training, test = task.ends["training"], look(task, task.ends["test"][0], config)
    left_out = [look(task, ends, config) for ends in task.ends["validation"]]
    zero = np.concatenate([np.abs(part.base - part.truth) for part in left_out])  # of g = 0, before the first update
    each, saved = (config.blocks, config.members), folder / name / "forecasts"  # a file per evaluation, for --resume
    saved.mkdir(parents=True, exist_ok=True)

    def init_all(key):
        return jax.vmap(jax.vmap(init))(jax.random.split(key, each))

    def loss_fn(params, batch, *, key):
        inputs, targets = batch  # [blocks, T, B, F] and [blocks, B, K]: the members of a block read the same
        members = jax.vmap(apply, in_axes=(0, None, 0))
        g = jax.vmap(members)(params, inputs, jax.random.split(key, each))
        return rnnjax.losses.masked_mean(jnp.abs(g - targets[:, None]))

    def batches(step):
        rng = np.random.default_rng((config.seed, step))
        ends = [some[rng.integers(len(some), size=config.batch)] for some in training]
        part = look(task, np.concatenate(ends), config)
        inputs, targets = (x.reshape(config.blocks, config.batch, *x.shape[1:]) for x in (part.inputs, part.targets))
        return inputs.swapaxes(1, 2), targets

    @jax.jit
    def forward(params, xs):  # mean of the members for a block
        return jax.vmap(apply, in_axes=(0, None))(params, xs.swapaxes(0, 1)).mean(axis=0)

    def forecast(params, block: int, part: Part) -> np.ndarray:
        own = jax.tree.map(lambda leaf: leaf[block], params)
        return part.celsius(in_chunks(lambda xs: forward(own, xs), part.inputs, size=500))

    def evaluate(state):
        errors = [np.abs(forecast(state.params, i, part) - part.truth) for i, part in enumerate(left_out)]
        tests = [forecast(state.params, i, test) for i in range(config.blocks)]
        np.savez(saved / str(state.step), errors=np.concatenate(errors), test=np.mean(tests, axis=0))
        return {"held_out_loss": float((np.concatenate(errors) / zero.mean(axis=0)).mean())}

    train(config, init_all, loss_fn, batches, folder, name=name, evaluate=evaluate, batch_axes=(2, 1))
    steps = sorted(int(path.stem) for path in saved.iterdir())
    files = [np.load(saved / f"{step}.npz") for step in steps]
    errors, tests = ([file[what] for file in files] for what in ("errors", "test"))
    return choose([zero, *errors], [test.base, *tests], [f"{step} updates" for step in (0, *steps)])


def fit_ridge(task: Task, config: Any) -> Fitted:
    """Least squares on means over pieces of the window: long and few for little data, short and many for much."""

    def looked(name: str) -> list[Part]:
        most = 8000 if name in ("training", "all") else np.inf
        return [look(task, ends[:: max(1, int(len(ends) // most))], config) for ends in task.ends[name]]

    def features(part: Part, piece: int) -> np.ndarray:
        means = part.inputs.reshape(len(part.inputs), -1, piece, part.inputs.shape[-1]).mean(axis=2)
        return np.concatenate([means.reshape(len(means), -1), part.inputs[:, -1]], axis=1).astype(np.float64)

    def solve(part: Part, other: Part, piece: int) -> list[np.ndarray]:
        """Forecasts of another part for every penalty."""
        xs, ys = features(part, piece), part.targets.astype(np.float64)
        mean_x, mean_y = xs.mean(axis=0), ys.mean(axis=0)
        gram, cross = (xs - mean_x).T @ (xs - mean_x) / len(xs), (xs - mean_x).T @ (ys - mean_y) / len(xs)
        seen, unit = features(other, piece) - mean_x, np.eye(len(gram))
        weights = [np.linalg.solve(gram + penalty * unit, cross) for penalty in PENALTIES]
        return [other.celsius(seen @ w + mean_y) for w in weights]

    pairs = list(zip(looked("training"), looked("validation"), strict=True))
    [everything], [test] = looked("all"), looked("test")
    errors, tests, notes = [], [], []
    for piece in (piece for piece in (2, 6, 24) if (config.window // config.stride) % piece == 0):
        folds = [[np.abs(f - out.truth) for f in solve(part, out, piece)] for part, out in pairs]
        errors += [np.concatenate(each) for each in zip(*folds, strict=True)]
        tests += solve(everything, test, piece)
        notes += [f"means over {piece * config.stride * MINUTES / 60:g} h, ridge {each:g}" for each in PENALTIES]
    return choose(errors, tests, notes)
