"""Figures of DNA: accuracies, letters and attention by position, letters where the network attends most."""

from collections.abc import Mapping
from pathlib import Path

import logomaker
import numpy as np
import pandas

from experiments.data.dna import LETTERS, Sequences
from experiments.lib import plots
from experiments.lib.intervals import Interval

AROUND = 8  # positions on each side of the one that is attended most


def draw_accuracies(folder: Path, accuracies: Mapping[str, Interval], most_frequent: float) -> None:
    """Draws accuracy.png: intervals by model."""
    title, x = "Held-out rows, 95 % intervals", "accuracy; dashed: the most frequent class"
    with plots.figure(folder / "accuracy.png", title=title, x=x, y="", size=(8.0, 3.2)) as axes:
        plots.intervals(axes, accuracies, reference=most_frequent)


def draw_logos(folder: Path, data: Sequences, xs: np.ndarray, attention: np.ndarray) -> None:
    """Draws logo.png: for each class the letters at each position, below them the mean attention `[N, T]` to it."""
    classes, length, top = len(data.classes), xs.shape[1], 0.1
    title = "Letters by position, and the attention to them (held-out rows)"
    size = (13.0, 2.6 * classes + 1.0)
    with plots.panels(folder / "logo.png", rows=2 * classes, share_x=True, size=size, title=title) as axes:
        axes[0, 0].get_gridspec().set_height_ratios([1.4, 1.0] * classes)
        for number, name in enumerate(data.classes):
            rows = data.labels == number
            above, below = axes[2 * number : 2 * number + 2, 0]
            top = max(top, _logo(above, xs[rows].sum(axis=0)))
            above.set_ylabel("bits")
            above.set_title(f"{name}: {rows.sum():,} rows", fontsize=12, loc="left")
            below.bar(range(length), attention[rows].mean(axis=0), color=plots.COLOURS[0])
            below.axhline(1 / length, color=plots.COLOURS[6], linestyle=":", linewidth=1.2)
            below.set_ylabel("attention")
        ticks = np.flatnonzero((data.positions % 10 == 0) | (np.abs(data.positions) == 1))
        axes[-1, 0].set_xticks(ticks, data.positions[ticks])
        axes[-1, 0].set_xlabel("position; dotted: attention spread evenly")
        for i in range(classes):
            axes[2 * i, 0].set_ylim(0, 1.05 * top)


def draw_attended(folder: Path, data: Sequences, xs: np.ndarray, attention: np.ndarray) -> None:
    """Draws attended.png: for each class the letters around the position that is attended most."""
    title, length = "Letters around the most attended position (held-out rows)", xs.shape[1]
    places = attention.argmax(axis=1)
    inside = (places >= AROUND) & (places < length - AROUND)
    columns, top = len(data.classes), 0.1
    with plots.panels(
        folder / "attended.png", columns=columns, share_y=True, size=(4.6 * columns, 3.4), title=title
    ) as axes:
        for number, (axis, name) in enumerate(zip(axes[0], data.classes, strict=True)):
            rows = np.flatnonzero(inside & (data.labels == number))
            around = xs[rows[:, None], places[rows, None] + np.arange(-AROUND, AROUND + 1)]
            if len(rows):
                top = max(top, _logo(axis, around.sum(axis=0)))
            axis.set_title(f"{name}: {len(rows):,} rows", fontsize=12)
            axis.set_xticks(range(0, 2 * AROUND + 1, 4), range(-AROUND, AROUND + 1, 4))
            axis.set_xlabel("position from there")
        axes[0, 0].set_ylabel("bits")
        axes[0, 0].set_ylim(0, 1.1 * top)


def _logo(axes, counts: np.ndarray) -> float:
    """Draws the letters of counts `[T, 4]`, as high as the information at their position; the highest, in bits."""
    table = pandas.DataFrame(counts.astype(float), columns=list(LETTERS))
    information = logomaker.transform_matrix(table, from_type="counts", to_type="information")
    logomaker.Logo(information, ax=axes, color_scheme="colorblind_safe")
    axes.grid(visible=False)
    return float(information.sum(axis=1).max())


def draw_validation(folder: Path, steps: np.ndarray, losses: np.ndarray) -> None:
    """Draws loss.png: losses `[E, R]` on the validation rows of each network."""
    title, y = "Validation while training", "loss (nats per row)"
    with plots.figure(folder / "loss.png", title=title, x="update", y=y, size=(8.0, 4.2)) as axes:
        axes.plot(steps, losses, color=plots.COLOURS[5], linewidth=0.7, alpha=0.5)
        axes.plot([], [], color=plots.COLOURS[5], label="each network")
        axes.plot(steps, losses.mean(axis=1), "o-", color=plots.COLOURS[0], label="mean")
        axes.set_ylim(0, 1.1 * np.percentile(losses, 99))
        plots.legend_beside(axes)
