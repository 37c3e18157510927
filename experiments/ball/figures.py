"""Figures of ball: what the networks expect next, and how they do with each frame that they have seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.ball.film import DIRECTIONS, SIZE, Clips
from experiments.lib import plots
from experiments.lib.intervals import bootstrap, wilson

SHOWN = 6  # clips


def draw_clips(folder: Path, clips: Clips, expected: Mapping[str, np.ndarray]) -> None:
    """Draws clips.png: last frames of clips, and places `[N, 2]` where the ball is next, as expected by name."""
    arrows = {"truth": clips.places[-1]} | dict(expected)
    title = "The last frame, the ball's way to it, and where it is next"
    with plots.panels(folder / "clips.png", rows=2, columns=SHOWN // 2, size=(10.5, 6.6), title=title) as axes:
        for clip, axis in enumerate(axes.flat):
            axis.imshow(clips.frames[-1, clip], cmap="Greys", vmin=-0.6, vmax=2.0)
            axis.plot(*clips.places[:-1, clip].T, "o", color="0.3", markersize=3.5, label="way so far")
            for (name, places), colour in zip(arrows.items(), plots.COLOURS[2::-1], strict=False):
                start, step = clips.places[-2, clip], places[clip] - clips.places[-2, clip]
                style = {"color": colour, "width": 0.016, "zorder": 3, "label": name}
                axis.quiver(*start, *step, angles="xy", scale_units="xy", scale=1, **style)
            axis.set(xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5), xticks=[], yticks=[])
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
        for axis, value, name in zip(axes[0], (1 / DIRECTIONS, standing), ("chance", "stays where it is"), strict=True):
            axis.axhline(value, color="0.4", linestyle=":", linewidth=1.5)
            axis.text(last, value, name, ha="right", va="bottom", color="0.35")
            axis.set(xlabel="frames seen", ylim=(0, None))
        axes[0, 0].set(ylabel="share of directions that are right", ylim=(0, 1.02))
        axes[0, 1].set_ylabel("distance from the next place (pixels)")
        plots.legend_beside(axes[0, 1])
