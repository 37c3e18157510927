"""Figures of agreement: accuracies of every cell and in every lesson, and how they were learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib import plots
from experiments.lib.cells import CELLS

STYLES = {
    cell: {"color": plots.COLOURS[i % 7], "marker": "os^Dv<>PX*"[i], "linestyle": "-" if i < 7 else "--"}
    for i, cell in enumerate(CELLS)
}


def _draw(axes: Sequence[Any], scores: Mapping[str, Any], at: int) -> None:
    """Accuracy against distance and against attractors, on two axes, a line for each cell."""
    for cell, (distances, attractors, _) in scores.items():
        for axis, found in zip(axes, (distances, attractors), strict=True):
            mean, low, high = np.array([*found.values()]).T
            axis.errorbar(
                [*found],
                mean,
                [mean - low, high - mean],
                label=cell,
                capsize=3,
                elinewidth=1.2,
                markersize=6,
                **STYLES[cell],
            )
    for axis in axes:
        axis.axhline(0.5, color="0.4", linestyle=":", label="chance")
        axis.set_ylim(top=1.03)
        axis.yaxis.set_major_formatter("{x:.0%}")
    axes[0].set(xlabel="words between subject and verb")
    axes[1].set(xlabel=f"attractors, {at - 10} to {at + 10} words between")


def draw_cells(folder: Path, scores: Mapping[tuple[str, str], Any], config: Any, at: int) -> None:
    """Draws cells.png: every cell after the far lesson."""
    title = f"Trained on far sentences only, {config.nearest} to {config.longest} words between"
    with plots.panels(folder / "cells.png", columns=2, size=(13.0, 4.8), title=title, share_y=True) as axes:
        _draw(axes[0], {cell: found for (lesson, cell), found in scores.items() if lesson == "far"}, at)
        left, right = axes[0]
        left.axvspan(config.nearest, config.longest, color="0.94", zorder=0)
        middle = (config.nearest + config.longest) / 2
        left.text(middle, 0.03, "trained on", transform=left.get_xaxis_transform(), ha="center", color="0.35")
        left.set(ylabel="right verbs")
        plots.legend_beside(right)


def draw_lessons(folder: Path, scores: Mapping[tuple[str, str], Any], config: Any, at: int) -> None:
    """Draws lessons.png: the cells that had all lessons, a column for each."""
    nearest = {"far": config.nearest, "near_and_far": 0, "every_verb": 0}
    compared = [cell for lesson, cell in scores if lesson == "near_and_far"]
    with plots.panels(folder / "lessons.png", rows=2, columns=3, size=(13.0, 7.4), share_y=True) as axes:
        for column, lesson in enumerate(nearest):
            _draw(axes[:, column], {cell: scores[lesson, cell] for cell in compared}, at)
            axes[0, column].set_title(f"{lesson.replace('_', ' ')}: {nearest[lesson]} to {config.longest} words")
        for axis in axes[:, 0]:
            axis.set_ylabel("right verbs")
        plots.legend_beside(axes[0, 2])


def draw_losses(folder: Path, losses: Mapping[str, np.ndarray]) -> None:
    """Draws loss.png: the training loss of the far lesson, a line for each cell."""
    title = "Learning from far sentences only"
    with plots.figure(folder / "loss.png", title=title, x="update", y="loss (nats per verb)", size=(8.6, 4.6)) as axes:
        axes.axhline(np.log(2), color="0.4", linestyle=":", label="chance")
        for cell, values in losses.items():
            width = max(1, len(values) // 50)  # updates that a point is the mean of
            curve = values[: len(values) // width * width].reshape(-1, width).mean(axis=1)
            every = max(1, len(curve) // 8)
            axes.plot(width * (np.arange(len(curve)) + 1), curve, label=cell, markevery=every, **STYLES[cell])
        axes.set_ylim(0, 1)
        plots.legend_beside(axes)
