"""The network: stacked cells that forecast the direction and the return of the day after a window."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from experiments.cryptocurrency.folds import Task
from experiments.lib import training
from experiments.lib.cells import make_cell


class Params(NamedTuple):
    """Parameters of the network."""

    layers: rnnjax.Layers
    w_y: jax.Array  # [H, 2], direction and return
    b_y: jax.Array  # [2]


def make_model(config: Any, features: int):
    """Makes `key -> params`, and `(params, windows [T, B, F], key=None) -> (logit of up [B], scaled return [B])`."""
    cells = [make_cell(config.cell, config.hidden if i else features, config.hidden) for i in range(config.layers)]

    def init(key):
        # It begins with what a random walk deserves, even chances and no return, and has to learn anything else.
        return Params(rnnjax.stack(cells).init(key), jnp.zeros((config.hidden, 2)), jnp.zeros(2))

    def apply(params, windows, key=None):
        _, hs = rnnjax.unroll_layers(cells, params.layers, windows, key=key, dropout=config.dropout)
        y = jnp.matmul(hs[-1], params.w_y) + params.b_y[None]
        return y[:, 0], y[:, 1]

    return init, apply


def losses(outputs: tuple[jax.Array, jax.Array], up: jax.Array, returns: jax.Array) -> rnnjax.losses.SumCount:
    """Cross-entropy of the direction, and a Huber loss of the return, which heavy tails would rule otherwise."""
    direction = rnnjax.losses.get_loss("binary_cross_entropy")(outputs[0], up)
    size = rnnjax.losses.get_loss("huber")(outputs[1], returns)
    return rnnjax.losses.SumCount(direction.sum + size.sum, direction.count)


def fit_network(task: Task, model, config: Any, folder: Path, name: str):
    """Finds the parameters of the update that forecasts the validation days best."""
    init, apply = model

    def loss_fn(params, batch, *, key):
        windows, up, returns = batch
        return losses(apply(params, windows.swapaxes(0, 1), key), up, returns)

    def evaluate(state):
        outputs = apply(state.params, task.windows.validation)
        return {"held_out_loss": float(losses(outputs, task.up.validation, task.returns.validation).mean)}

    arrays = task.windows.training.swapaxes(0, 1), task.up.training, task.returns.training
    batches = training.shuffled(arrays, config.batch, config.seed)
    settings = {"batch_axes": 0, "evaluate": evaluate, "patience": config.patience}
    return training.train(config, init, loss_fn, batches, folder, name=name, **settings).best_params
