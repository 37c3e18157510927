"""Time lags over 1,000 steps: what the LSTM was made for, and what it takes: the cell, the first biases, the gradient.

    python -m experiments.long_lag                about 12 minutes on two CPU cores: an LSTM adds two numbers of a
                                                  sequence of 1,000, each of 2,560 held-out sums within 0.04
    python -m experiments.long_lag --task adding  that alone, 3 minutes; or lags, copy, reber, order
    python -m experiments.long_lag --cell gru     by another cell

Adding asks for the sum of two marked numbers at the end of a sequence; lags tells which cells, first biases and
gradients reach how far within so many updates; copy, reber and order compare cells on tasks of symbols.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import rnnjax
from experiments.lib import frame, training
from experiments.lib.cells import GATES, check_cell_name, make_cell
from experiments.lib.intervals import wilson
from experiments.lib.readout import make_readout
from experiments.long_lag import figures, lags
from experiments.long_lag.lags import OTHER, SOLVED, TEST, TOLERANCE, TRAIN, VALIDATION, Task, rng_of
from experiments.long_lag.ways import WAYS, study

SYMBOLS = ("copy", "reber", "order")
TASKS = ("adding", "lags", *SYMBOLS)
OF_HEADLINE = {"RNN (tanh)": "rnn", "GRU": "gru", "LSTM, forget bias 1": "lstm", "LSTM, chrono": "lstm_chrono"}


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    task: str = "all"  # adding, lags (how far each way reaches), copy, reber or order
    cell: str = "lstm"  # of adding, and of copy, reber and order beside gru and rnn: irnn, peephole_lstm, ...
    lag: int = 1000  # T of the adding problem
    hidden: int = 32  # units
    test: int = 2560  # held-out sequences
    lags: tuple[int, ...] = (10, 20, 50, 100, 200, 500, 1000, 2000)  # each way, in turn, until one is not solved
    ways: tuple[str, ...] = tuple(WAYS)  # cell, first biases, gradient
    lag_hidden: int = 16  # units of those
    lag_steps: int = 1000  # updates within which a lag has to be solved
    lag_rates: tuple[float, ...] = (0.001, 0.005, 0.02)  # learning rates tried side by side, the best one counts
    delay: int = 50  # steps between reading and writing of the copy task
    task_hidden: int = 64  # units of copy, reber and order
    steps: int = 4000  # updates of adding
    batch: int = 32  # sequences of an update
    learning_rate: float = 0.01  # at its peak
    schedule: str = "cosine"  # decay of the learning rate: constant, linear, cosine or exponential
    b2: float = 0.99  # memory of the second moment of adam, nadam and adamw
    clip_norm: float = 0.1  # bound of the gradient's norm, 0 for none

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if self.task not in ("all", *TASKS):
            raise ValueError(f"expected --task to be all or one of {', '.join(TASKS)}, got {self.task!r}.")
        if unknown := [name for name in self.ways if name not in WAYS]:
            raise ValueError(f"expected --ways of {'; '.join(WAYS)}; got {unknown[0]!r}.")
        if min(self.lag, *self.lags) < 6:
            raise ValueError(f"expected --lag and --lags of at least 6 steps, got {min(self.lag, *self.lags)}.")


SMOKE = {"lag": 20, "hidden": 8, "test": 64, "lags": (6,), "lag_hidden": 8, "lag_steps": 50, "lag_rates": (0.02,)}
SMOKE |= {"ways": ("LSTM, forget bias 1", "LSTM, chrono"), "delay": 2, "task_hidden": 8, "steps": 40}
SMOKE |= {"evaluate_every": 20}


def learn(config: Config, folder: Path, cell: rnnjax.Cell, task: Task, *number: int, score: Any = None):
    """Trains on fresh sequences, others for each number: the `FitResult`, and `batch -> outputs [T, N, V]`."""
    init, apply = make_readout(cell, task.outputs)
    forward = jax.jit(apply)

    def batches(step):
        return task.make(rng_of(config, TRAIN, *number, step), config.batch)

    def answer(params, batch):
        return training.in_chunks(functools.partial(forward, params), batch.inputs, axis=1, out_axis=1)

    evaluate = score and (lambda state: score(functools.partial(answer, state.params)))
    settings = {"name": folder.name, "batch_axes": 1, "unit": "answer", "evaluate": evaluate}
    result = training.train(config, init, lags.make_loss(apply), batches, folder.parent, **settings)
    return result, functools.partial(answer, result.state.params)


def solve_adding(config: Config, folder: Path) -> tuple[int, dict[str, np.ndarray]]:
    """Trains on the adding problem of `--lag`, and draws: updates, and errors of held-out sums `[N]` by length."""
    task = lags.make_tasks(config)["adding"]
    cell = make_cell(config.cell, task.inputs, config.hidden, max_lag=task.lag if config.cell in GATES else None)
    validation, test = task.make(rng_of(config, VALIDATION), 256), task.make(rng_of(config, TEST), config.test)

    def score(answer):
        errors = lags.errors_of(answer(validation), validation)
        return {"held_out_loss": np.mean(errors**2), "within": np.mean(np.abs(errors) < TOLERANCE)}

    result, answer = learn(config, folder / "adding", cell, task, score=score)
    errors = {f"T = {config.lag:,}": lags.errors_of(answer(test), test)}
    figures.draw_adding(folder, config, test.targets[-1], *errors.values())
    errors["always 1"] = lags.errors_of(np.ones((config.lag, config.test, 1), np.float32), test)
    for length in (9 * config.lag // 10, 11 * config.lag // 10, 2 * config.lag):
        other = lags.adding(rng_of(config, OTHER, length), config.test, length)
        errors[f"T = {length:,}, not trained on"] = lags.errors_of(answer(other), other)

    watch = cell._replace(apply=lambda *args: (cell.apply(*args)[0],) * 2)
    _, carries = rnnjax.unroll(watch, result.state.params.cell, test.inputs[:, :1])
    figures.draw_memory(folder, config, carries, test.inputs[:, 0])
    return result.step, errors


def solve_symbols(config: Config, folder: Path, names: Sequence[str]) -> dict[tuple[str, str], tuple]:
    """Trains cells on each task: updates, and shares of right sequences and answers."""
    tasks, found, cells = lags.make_tasks(config), {}, dict.fromkeys((config.cell, "gru", "rnn"))
    if config.smoke:  # each one compiles for seconds
        names, cells = names[-1:], [config.cell]
    for number, name in enumerate(names):
        task = tasks[name]
        options = dataclasses.replace(config, steps=10 if config.smoke else task.steps)
        test = task.make(rng_of(config, TEST, number), config.test)
        for kind in cells:
            cell = make_cell(kind, task.inputs, config.task_hidden, max_lag=task.lag if kind in GATES else None)
            result, answer = learn(options, folder / f"{name}_{kind}", cell, task, number)
            right = lags.right(answer(test), test)
            found[name, kind] = result.step, wilson(right.all(axis=0)), right[test.where].mean()
    return found


def main(config: Config) -> dict:
    """Runs the tasks, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    chosen = TASKS if config.task == "all" else (config.task,)
    headline, sums, reached = {}, {}, {}
    if "adding" in chosen:
        updates, errors = solve_adding(config, run.folder)
        for name, each in errors.items():
            sums[name] = float(np.mean(each**2)), wilson(np.abs(each) < TOLERANCE), float(np.abs(each).max())
        mse, within, largest = sums[f"T = {config.lag:,}"]
        headline |= {"mse": mse, "within_tolerance": within.mean, "largest_error": largest}
        headline |= {"baseline_mse": sums["always 1"][0], "updates": updates}
    if "lags" in chosen:
        reached = study(config, run.folder)
        figures.draw_ways(run.folder, config, reached)
    longest = {name: max((one.lag for one in tried if one.updates), default=0) for name, tried in reached.items()}
    headline |= {f"solved_lag_{key}": longest[name] for name, key in OF_HEADLINE.items() if name in longest}
    symbols = solve_symbols(config, run.folder, [name for name in SYMBOLS if name in chosen])
    headline |= {f"{name}_sequences": found[1].mean for (name, cell), found in symbols.items() if cell == config.cell}
    values = {"sums": sums, "reached": reached, "longest": longest, "symbols": symbols, "chrono": config.cell in GATES}
    return frame.finish(run, headline, solved=SOLVED, tolerance=TOLERANCE, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
