"""Runs side by side: learning rates, first weights and more as one axis of vmap, in one compiled program."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

import rnnjax
from experiments.lib import report, training
from experiments.lib.optimization import make_optimizer
from experiments.lib.training import Options


def scaled_optimizer(options: Options, rate: Any) -> optax.GradientTransformation:
    """Makes the optimizer of the options with its steps times a rate, which may be traced."""
    return optax.chain(make_optimizer(options), optax.scale(rate))


@functools.lru_cache(maxsize=8)  # it takes long to compile, and the optimizers of a sweep begin with the same weights
def first_weights(init: Callable, seed: int, count: int) -> tuple[jax.Array, Any]:
    """Draws the keys `[S]` and the params `[S, ...]` of so many runs."""

    @jax.jit
    def draw() -> tuple[jax.Array, Any]:
        keys = jax.random.split(jax.random.key(seed), count)
        return keys, jax.vmap(init)(keys)

    return draw()


def make_start(options: Options, init: Callable, seeds: np.ndarray) -> Callable[[], Any]:
    """`() -> states` of R runs, compiled; seeds `[R]` say which first weights each begins with."""
    optimizer = scaled_optimizer(options, 1.0)

    @jax.jit
    def start(keys: jax.Array, params: Any) -> Any:
        states = jax.vmap(lambda key, own: rnnjax.training.init_state(own, optimizer, key=key))(keys, params)
        return jax.tree.map(lambda leaf: leaf[seeds], states)

    return lambda: start(*first_weights(init, options.seed, int(max(seeds)) + 1))


def make_update(one_run: Callable, settings: Any) -> Callable[[Any, Any], Any]:
    """`(states, batch) -> (states, metrics [R])` from `(setting, state, batch) -> (state, metrics)` of one run."""
    return lambda states, batch: jax.vmap(one_run, in_axes=(0, 0, None))(settings, states, batch)


def over_rates(options: Options, init: Callable, loss_fn: Callable, rates: Sequence[float], seeds: int):
    """`make_start` and `make_update` of every rate with each of so many first weights, those of a rate side by side."""

    def one_run(rate: Any, state: Any, batch: Any) -> Any:
        return rnnjax.training.make_train_step(loss_fn, scaled_optimizer(options, rate))(state, batch)

    start = make_start(options, init, np.tile(np.arange(seeds), len(rates)))
    return start, make_update(one_run, np.repeat(np.asarray(rates, np.float32), seeds))


def batches(options: Options, count: int, take: Callable[[np.ndarray], Any]) -> Callable[[int], Any]:
    """`step -> batch`, drawn with replacement from so many examples, the same for every sweep with this seed."""
    rows = np.random.default_rng(options.seed).integers(count, size=(options.steps, options.batch))
    return lambda step: take(rows[step])


def train(
    options: Options, update: Callable, states: Any, batches: Callable, folder: Path, *, batch_axes: Any
) -> tuple[Any, np.ndarray]:
    """Trains R runs on the same batches; their params `[R, ...]` as NumPy arrays, and the losses `[steps, R]`."""
    print(f"{states.step.size} runs side by side, in {folder}", flush=True)
    result = training.fit(options, update, states, batches, folder, log_every=1, batch_axes=batch_axes)
    lines = report.read_metrics(folder / "metrics.jsonl")
    return jax.device_get(result.state.params), np.array([line["loss"] for line in lines if "loss" in line])


def choose_rate(losses: Sequence[float] | np.ndarray, rates: Sequence[float], what: str) -> tuple[int, np.ndarray]:
    """Finds the place of the best learning rate, and the loss of each: the mean over first weights, beside each other.

    What is not finite never wins; `what` was trained, for the error if nothing is.
    """
    by_rate = np.where(np.isfinite(losses), losses, np.inf).reshape(len(rates), -1).mean(axis=1)
    best = int(np.argmin(by_rate))
    if not np.isfinite(by_rate[best]):
        raise ValueError(
            f"expected a finite loss of {what} at one of the rates, got none; pass a smaller --learning-rate."
        )
    return best, by_rate
