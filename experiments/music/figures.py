"""Figures of music: new chorales, predictions of a chorale of the test, and nats by position."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from experiments.data.jsb import LOWEST, NOTES
from experiments.lib import plots

OCTAVES = [note - LOWEST for note in range(24, 109, 12)]  # every C


def name_notes(axes: plt.Axes, shown: np.ndarray) -> None:
    """Labels every C on the axis of notes, and limits it to those that sound in a roll `[T, 88]`."""
    notes = np.flatnonzero(shown.any(axis=0))
    axes.set_yticks(OCTAVES, [f"C{octave}" for octave in range(1, 1 + len(OCTAVES))])
    axes.set_ylim(notes.min(initial=NOTES) - 2, notes.max(initial=0) + 2)


def draw_chorales(folder: Path, rolls: np.ndarray) -> None:
    """Draws chorales.png: the piano rolls `[N, T, 88]` of new chorales with the same first chord."""
    title, size = "New chorales from one first chord", (9.0, 1.2 + 1.9 * len(rolls))
    with plots.panels(folder / "chorales.png", rows=len(rolls), size=size, title=title, share_x=True) as axes:
        for number, (axis, roll) in enumerate(zip(axes[:, 0], rolls, strict=True)):
            steps, notes = np.nonzero(roll)
            axis.barh(notes, np.ones(len(notes)), left=steps, height=0.9, color=plots.COLOURS[number % 7])
            axis.set(ylabel=f"draw {number}", xlim=(0, len(roll)))
            name_notes(axis, rolls.any(axis=0))
        axes[-1, 0].set_xlabel("step (a quarter note)")


def draw_predictions(folder: Path, roll: np.ndarray, probabilities: np.ndarray) -> None:
    """Draws predictions.png: P `[T, 88]` of each note after each chord of a roll `[T, 88]`, and what came."""
    title = "What is expected next in a chorale of the test"
    with plots.figure(folder / "predictions.png", title=title, x="step (a quarter note)", y="", size=(10, 5)) as axes:
        image = axes.imshow(probabilities[:-1].T, cmap="cividis", vmin=0, vmax=1, origin="lower", aspect="auto")
        axes.scatter(*np.nonzero(roll[1:]), s=6, color=plots.COLOURS[1], label="what came")
        axes.grid(visible=False)
        name_notes(axes, roll)
        axes.figure.colorbar(image, ax=axes, label="probability before it came")
        axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", frameon=False)


def draw_positions(folder: Path, nats: Mapping[str, Sequence[np.ndarray]], width: int = 8) -> None:
    """Draws positions.png: mean nats by position in the chorale, so many steps to a point, of each model."""
    title, y = "Loss by position in the chorale, test", "loss (nats a chord)"
    with plots.figure(folder / "positions.png", title=title, x="chords heard before", y=y, size=(9.5, 4.2)) as axes:
        for colour, (name, each) in zip(plots.COLOURS, nats.items(), strict=False):
            most = int(np.median([len(one) for one in each]))  # half of the chorales are as long
            starts = range(0, max(1, most - width + 1), width)
            means = [np.concatenate([one[begin : begin + width] for one in each]).mean() for begin in starts]
            axes.plot([begin + width / 2 for begin in starts], means, "o-", color=colour, label=name, markersize=5)
        plots.legend_beside(axes)
