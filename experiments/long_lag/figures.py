"""Figures of long lags: sums and their learning, what a network carries along, how far each way to learn reaches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib import plots, report
from experiments.long_lag.lags import SOLVED, TOLERANCE


def draw_adding(folder: Path, config: Any, sums: np.ndarray, errors: np.ndarray) -> None:
    """Draws adding.png: errors of held-out sums `[N]`, and the validation error while training."""
    lines = [line for line in report.read_metrics(folder / "adding" / "metrics.jsonl") if "within" in line]
    with plots.panels(folder / "adding.png", columns=2, size=(11.0, 4.6)) as axes:
        left, right = axes[0]
        left.plot(sums, errors, ".", color=plots.COLOURS[0], markersize=3)
        for end in (-TOLERANCE, TOLERANCE):
            left.axhline(end, color=plots.COLOURS[1], linestyle="--", linewidth=1.2)
        left.set(title=f"Held-out sequences of {config.lag:,} steps", xlabel="sum of the marked numbers")
        left.set(ylabel="answer of the network - sum")
        right.plot([line["step"] for line in lines], [line["held_out_loss"] for line in lines], "o-", label=config.cell)
        right.axhline(1 / 6, color=plots.COLOURS[6], linestyle=":", label="always 1")
        right.axhline(SOLVED, color=plots.COLOURS[1], linestyle="--", label=f"solved: {SOLVED}")
        right.set(title="Validation while training", yscale="log", xlabel="update", ylabel="mean squared error")
        right.legend(frameon=False)


def draw_memory(folder: Path, config: Any, carries: Any, inputs: np.ndarray) -> None:
    """Draws memory.png: the six units of the carries `[T, 1, H]` of a sequence `[T, 2]` that move most."""
    state, kind = np.asarray(carries[-1])[:, 0], type(carries)._fields[-1]  # c of an LSTM, else h
    title = f"What the {config.cell} carries along a sequence of {config.lag:,} steps"
    with plots.figure(folder / "memory.png", title=title, x="step", y=f"{kind} of six units", size=(9.0, 4.2)) as axes:
        for unit in np.argsort(-np.ptp(state, axis=0))[:6]:
            axes.plot(state[:, unit], linewidth=1.4, label=f"unit {unit}")
        for step in np.flatnonzero(inputs[:, 1]):
            label = f"marked: {inputs[step, 0]:.2f}"
            axes.axvline(step, color=plots.COLOURS[6], linestyle="--", linewidth=1.0, label=label)
        plots.legend_beside(axes)


def draw_ways(folder: Path, config: Any, reached: Mapping[str, Sequence[Any]]) -> None:
    """Draws ways.png: updates until solved by way and lag, a cross where they were not enough."""
    updates = np.full((len(reached), len(config.lags)), np.nan)
    title = f"Adding problem: updates until each T is solved, of {config.lag_steps:,}"
    with plots.figure(folder / "ways.png", title=title, x="T (steps)", y="", size=(9.5, 5.2)) as axes:
        for row, tried in enumerate(reached.values()):
            for column, one in enumerate(tried):
                updates[row, column] = one.updates or np.nan
                if not one.updates:
                    axes.plot(column, row, "x", color=plots.COLOURS[1], markersize=10, markeredgewidth=3)
        image = axes.imshow(updates, cmap="cividis_r", vmin=0, vmax=config.lag_steps, aspect="auto")
        axes.figure.colorbar(image, ax=axes, label="updates until solved")
        axes.set_xticks(range(len(config.lags)), [f"{lag:,}" for lag in config.lags])
        axes.set_yticks(range(len(reached)), list(reached))
        axes.grid(visible=False)
