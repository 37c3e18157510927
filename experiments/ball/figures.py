"""Figures of ball: what the networks expect next, and how they do with each frame that they have seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.ball.film import DIRECTIONS, SIZE, Clips
from experiments.lib import plots
from experiments.lib.intervals import bootstrap, wilson

SHOWN, VIEW = 6, 12  # clips, and pixels of them along a side


def draw_clips(folder: Path, clips: Clips, expected: Mapping[str, np.ndarray]) -> None:
    """Draws clips.png: last frames of clips, and places `[N, 2]` where the ball is next, as expected by name."""
    title = "The last frame around the ball, its way there, and where it is next"
    steps = {"truth": clips.places[-1]} | dict(expected)
    with plots.panels(folder / "clips.png", rows=2, columns=SHOWN // 2, size=(10.5, 6.4), title=title) as axes:
        for clip, axis in enumerate(axes.flat):
            here = clips.places[-2, clip]
            axis.imshow(clips.frames[-1, clip], cmap="Greys", vmin=-0.6, vmax=2.5)
            axis.plot(*clips.places[:-1, clip].T, "o", color="0.25", markersize=4, label="way so far")
            for (name, places), colour, mark in zip(steps.items(), plots.COLOURS[2::-1], "os^", strict=False):
                style = {"color": colour, "markersize": 8, "markevery": [1], "alpha": 0.8, "label": name}
                axis.plot(*np.stack([here, places[clip]]).T, f"{mark}-", **style)
            left, top = np.clip(here - VIEW / 2, -0.5, SIZE - 0.5 - VIEW)
            axis.set(xlim=(left, left + VIEW), ylim=(top + VIEW, top), xticks=[], yticks=[])
            axis.grid(visible=False)
        plots.legend_beside(axes[0, -1])


def draw_by_frame(folder: Path, found: Mapping[str, Any], standing: float) -> None:
    """Draws frames.png: accuracies and errors against the frames seen; `standing` is the error of no motion."""
    title = "What another frame is worth, held-out clips, 95 % intervals"
    last = max(len(answers.right) for answers in found.values())
    with plots.panels(folder / "frames.png", columns=2, size=(12.0, 4.4), title=title) as axes:
        for (name, answers), colour, mark in zip(found.items(), plots.COLOURS, "os^", strict=False):
            frames = np.arange(last - len(answers.right), last) + 1
            measured = [wilson(row) for row in answers.right], [bootstrap(row) for row in answers.errors]
            for axis, rows in zip(axes[0], measured, strict=True):
                mean, low, high = np.transpose(rows)
                style = {"fmt": f"{mark}-", "color": colour, "capsize": 3, "markersize": 5, "label": name}
                axis.errorbar(frames, mean, yerr=[mean - low, high - mean], **style)
        lines = (1 / DIRECTIONS, "chance", "top"), (standing, "stays where it is", "bottom")
        for axis, (value, name, side) in zip(axes[0], lines, strict=True):
            axis.axhline(value, color="0.4", linestyle=":", linewidth=1.5)
            axis.text(last, value, name, ha="right", va=side, color="0.35")
            axis.set(xlabel="frames seen", ylim=(0, 1.02 if side == "top" else 1.12 * standing))
        axes[0, 0].set_ylabel("share of directions that are right")
        axes[0, 1].set_ylabel("distance from the next place (pixels)")
        plots.legend_beside(axes[0, 1])
