"""The two models, how they learn a task, and what they cost."""

import functools
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import sweep
from experiments.lib.cells import make_cell
from experiments.lib.training import in_chunks
from experiments.rnn_or_mlp.questions import Examples, Task, last_steps, take


def dense(key: jax.Array, inputs: int, outputs: int) -> tuple[jax.Array, jax.Array]:
    """Draws weights for ReLUs (He et al. 2015), with biases of zero."""
    return jax.nn.initializers.he_normal()(key, (inputs, outputs)), jnp.zeros(outputs)


def affine(layer: tuple[jax.Array, jax.Array], xs: jax.Array) -> jax.Array:
    """Multiplies by the weights and adds the biases, `[B, K]` for `[B, D]`."""
    return jnp.matmul(xs, layer[0]) + layer[1][None]


def make_model(config: Any, model: str, features: int, window: int, ragged: bool):
    """Makes "rnn", or "mlp" as large: `key -> params`, and `(params, xs [T, B, F], lengths [B]) -> logits [B, 2]`."""
    cell, inputs = make_cell(config.cell, features, config.hidden), window * features

    def init_rnn(key):
        key_cell, key_y = jax.random.split(key)
        return cell.init(key_cell), dense(key_y, config.hidden, 2)

    def rnn(params, xs, lengths):
        carry, _ = rnnjax.unroll(cell, params[0], xs, lengths=lengths if ragged else None)
        return affine(params[1], carry.h)

    width = width_for(size_of(init_rnn), inputs)

    def init_mlp(key):
        sizes = (inputs, width, width, 2)
        return [dense(*each) for each in zip(jax.random.split(key, 3), sizes[:-1], sizes[1:], strict=True)]

    def mlp(params, xs, lengths):
        del lengths
        hidden = xs[0]
        for layer in params[:2]:
            hidden = jax.nn.relu(affine(layer, hidden))
        return affine(params[2], hidden)

    return (init_rnn, rnn) if model == "rnn" else (init_mlp, mlp)


def size_of(init: Callable) -> int:
    """Counts the parameters of a model."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


def width_for(parameters: int, inputs: int) -> int:
    """Finds the width of the MLP whose number of parameters is nearest to this one."""
    return min(range(1, 2000), key=lambda w: abs((inputs + 1) * w + (w + 1) * w + (w + 1) * 2 - parameters))


class Cost(NamedTuple):
    """What a batch costs."""

    parameters: int
    memory: int  # temporary memory of the compiled update, in bytes
    update: float  # median time of an update, in ms
    predict: float  # median time of a prediction, in ms


class Learned(NamedTuple):
    """What a model made of a task, with the learning rate that validation chose."""

    rate: float
    right: np.ndarray  # for each test example [S, N], a row per seed
    measure: Callable[[], Cost]  # compiles and times one run


@functools.lru_cache(maxsize=32)  # tasks of one shape share what is compiled
def make_learn(config: Any, model: str, features: int, window: int, ragged: bool) -> Callable[[Task, Path], Learned]:
    """Makes `(task, folder) -> Learned` for sequences of so many features."""
    init, apply = make_model(config, model, features, window, ragged)

    def loss_fn(params, batch, *, key):
        del key
        return rnnjax.losses.get_loss("cross_entropy")(apply(params, batch.xs, batch.lengths), batch.labels)

    start, update = sweep.over_rates(config, init, loss_fn, config.rates, config.seeds)
    forward = jax.jit(jax.vmap(apply, in_axes=(0, None, None)))

    def logits(runs, examples):  # [R, N, 2]
        rows = np.arange(len(examples.labels))
        return in_chunks(lambda some: forward(runs, *take(examples, some)[:2]), rows, size=config.held_out, out_axis=1)

    def measure(params, batch):
        optimizer = sweep.scaled_optimizer(config, config.rates[0])
        state = rnnjax.training.init_state(params, optimizer, key=jax.random.key(0))
        step = jax.jit(rnnjax.training.make_train_step(loss_fn, optimizer)).lower(state, batch).compile()
        predict = jax.jit(apply).lower(params, batch.xs, batch.lengths).compile()
        times = median_ms(config.repeats, step, state, batch), median_ms(config.repeats, predict, params, *batch[:2])
        return Cost(size_of(init), step.memory_analysis().temp_size_in_bytes, *times)

    def learn(task: Task, folder: Path) -> Learned:
        """Trains every run, chooses the rate on validation data, and only then reads the test."""
        known, unseen, test = (last_steps(part, window) if model == "mlp" else part for part in task[:3])
        batches = sweep.batches(config, len(known.labels), lambda rows: take(known, rows))
        runs, _ = sweep.train(config, update, start(), batches, folder, batch_axes=Examples(1, 0, 0))
        found = logits(runs, unseen).astype(np.float64)
        margin = (found[..., 1] - found[..., 0]) * (1 - 2 * unseen.labels)  # of the wrong answer, [R, N]
        best, _ = sweep.choose_rate(np.logaddexp(0, margin).mean(axis=1), config.rates, model)
        chosen = jax.tree.map(lambda leaf: leaf[best * config.seeds : (best + 1) * config.seeds], runs)
        right = logits(chosen, test).argmax(axis=-1) == test.labels
        one = jax.device_put((jax.tree.map(lambda leaf: leaf[0], chosen), take(known, np.arange(config.batch))))
        return Learned(config.rates[best], right, lambda: measure(*one))

    return learn


def median_ms(repeats: int, compiled: Callable[..., Any], *args: Any) -> float:
    """Times calls of a compiled function."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*args))
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)
