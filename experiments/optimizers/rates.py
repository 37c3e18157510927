"""Learning rates and losses side by side: every one of them trained in one compiled program, and what came of each."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.lib import sweep
from experiments.lib.intervals import Interval, bootstrap
from experiments.optimizers.tasks import Rows, Task


class Found(NamedTuple):
    """What came of an optimizer with a loss."""

    rates: Sequence[float]  # tried, K
    place: int  # of the best, by validation
    validation: np.ndarray  # judged for each rate, mean over the seeds [K], infinite where it is not a number
    test: np.ndarray  # scores at the best rate [S, T', N]
    curve: np.ndarray  # training loss at the best rate, mean over the seeds and over `evaluate_every` updates

    def good(self) -> tuple[float, float]:
        """Finds the ends of the range of rates around the best one that come within 5 % of it."""
        far = np.flatnonzero(~(self.validation <= 1.05 * self.validation[self.place]))
        low, high = max([-1, *far[far < self.place]]), min([len(self.rates), *far[far > self.place]])
        return self.rates[low + 1], self.rates[high - 1]


def try_rates(config: Any, task: Task, optimizer: str, rates: Sequence[float], folder: Path) -> dict[str, Found]:
    """Trains every loss of a task with all rates and seeds in one compiled program; what came of each loss."""
    shape = (len(task.losses), len(rates), config.seeds)
    which, place, seed = np.indices(shape).reshape(3, -1)
    values, finish = zip(*task.losses.values(), strict=True)
    options = dataclasses.replace(config, optimizer=optimizer)

    def one_run(setting, state, batch):
        which, rate = setting

        def loss_fn(params, batch, *, key):
            del key
            return jax.lax.switch(which, values, task.apply(params, batch.inputs), batch.targets)

        def objective(parts):
            return jax.lax.switch(which, finish, parts.mean)

        step = rnnjax.training.make_train_step(loss_fn, sweep.scaled_optimizer(options, rate), objective=objective)
        return step(state, batch)

    update = sweep.make_update(one_run, (which, np.asarray(rates, np.float32)[place]))
    states, known = sweep.make_start(options, task.init, seed)(), task.training
    batches = sweep.batches(options, known.inputs.shape[1], lambda rows: Rows(*(array[:, rows] for array in known)))
    params, losses = sweep.train(options, update, states, batches, folder, batch_axes=1)
    forward = jax.jit(task.apply)  # compiled once for a task

    def score(run: int, rows: Rows) -> np.ndarray:
        outputs = forward(jax.tree.map(lambda leaf: leaf[run], params), rows.inputs)
        return np.asarray(task.score(np.asarray(outputs), rows.targets))

    points, found = config.steps // config.evaluate_every, {}
    curves = losses[: points * config.evaluate_every].reshape(points, config.evaluate_every, seed.size)
    for name, runs in zip(task.losses, np.arange(seed.size).reshape(shape), strict=True):
        tried = [task.judge(score(run, task.validation)) for run in runs.flat]
        best, validation = sweep.choose_rate(tried, rates, folder.name)
        test = np.stack([score(run, task.test) for run in runs[best]])
        found[name] = Found(rates, best, validation, test, curves[..., runs[best]].mean(axis=(1, 2)))
    return found


class Result(NamedTuple):
    """What an optimizer or a loss reaches on the test."""

    test: Interval
    gain: Interval  # over what validation prefers, on the same examples
    seeds: list[float]  # of each of the first weights
    error: tuple[float, float]  # median of the scores without their signs, and mean of the scores


def best_of(found: Mapping[str, Found]) -> str:
    """Finds what has the lowest validation loss: the test chooses nothing."""
    return min(found, key=lambda name: found[name].validation[found[name].place])


def compare(task: Task, found: Mapping[str, Found]) -> dict[str, Result]:
    """Measures on the test what was found; up to five of its windows in a row may depend on each other."""
    values = {name: np.asarray(task.measure(x.test), np.float64) for name, x in found.items()}  # [S, T', N] each
    best, results = values[best_of(found)].mean(axis=(0, 1)), {}
    for name, x in values.items():
        windows, scores = x.mean(axis=(0, 1)), found[name].test.astype(np.float64)
        test, gain = bootstrap(windows, block=5), bootstrap(windows - best, block=5)
        error = np.median(np.abs(scores), axis=(1, 2)).mean(), scores.mean()
        results[name] = Result(test, gain, x.mean(axis=(1, 2)).tolist(), error)
    return results
