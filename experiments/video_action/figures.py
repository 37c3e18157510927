"""Figures of video_action: clips with answers, confusions, and what becomes of the answers when the action changes."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.lib import plots
from experiments.lib.intervals import wilson
from experiments.video_action.film import ACTIONS, Clips

SHOWN = 5  # clips
AROUND = range(-3, 3)  # frames before and after a change; each action has three


def draw_clips(folder: Path, clips: Clips, answers: Mapping[str, np.ndarray]) -> None:
    """Draws clips.png: clips in which the action changes, and the answers `[T - 1, N]` of the first network."""
    name, found = next(iter(answers.items()))
    title = f"What the {name} says of each frame; red where it is wrong"
    frames = len(clips.frames)
    with plots.panels(folder / "clips.png", rows=SHOWN, columns=frames, size=(1.25 * frames, 8.0), title=title) as axes:
        for clip, row in enumerate(axes):
            for time, axis in enumerate(row):
                axis.imshow(clips.frames[time, clip], cmap="gray", vmin=0, vmax=1)
                axis.set(xticks=[], yticks=[])
                if time:
                    right = found[time - 1, clip] == clips.actions[time - 1, clip]
                    colour = "black" if right else "#B00000"
                    axis.set_title(ACTIONS[found[time - 1, clip]], fontsize=10, color=colour)


def draw_confusions(folder: Path, truth: np.ndarray, answers: Mapping[str, np.ndarray]) -> None:
    """Draws confusions.png: of clips `[N]` with one action, what each network says `[1, N]`."""
    title = "Answers to clips with one action, held-out digits"
    size = (1.2 + 4.4 * len(answers), 5.0)
    with plots.panels(folder / "confusions.png", columns=len(answers), size=size, share_y=True, title=title) as axes:
        for axis, (name, ids) in zip(axes[0], answers.items(), strict=True):
            counts = np.zeros((len(ACTIONS), len(ACTIONS)))
            np.add.at(counts, (truth, ids[-1]), 1)
            shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
            image = axis.imshow(shares, cmap="cividis", vmin=0, vmax=1)
            axis.set_xticks(range(len(ACTIONS)), ACTIONS, rotation=60, ha="right")
            axis.set_yticks(range(len(ACTIONS)), ACTIONS)
            axis.set(title=name, xlabel="answer")
            axis.grid(visible=False)
        axes[0, 0].set_ylabel("action")
        axes[0, -1].figure.colorbar(image, ax=list(axes[0]), label="share of the clips of an action", shrink=0.7)


def draw_frames(folder: Path, actions: np.ndarray, right: Mapping[str, np.ndarray]) -> None:
    """Draws frames.png: shares of right answers `[T - 1, N]` by frames since the action `[T - 1, N]` changed."""
    at = (actions[1:] != actions[:-1]).argmax(axis=0) + 1  # row of the first frame of the new action
    rows = at + np.array(AROUND)[:, None]  # [frames, N]
    title = "When the action changes, held-out digits, 95 % intervals"
    x, y = "frames since the first of the new action", "share of answers that are right"
    with plots.figure(folder / "frames.png", title=title, x=x, y=y, size=(9.0, 4.4)) as axes:
        for colour, mark, (name, each) in zip(plots.COLOURS, "os^", right.items(), strict=False):
            mean, low, high = np.transpose([wilson(row) for row in np.take_along_axis(each, rows, axis=0)])
            style = {"fmt": f"{mark}-", "color": colour, "capsize": 3, "markersize": 5, "label": name}
            axes.errorbar(list(AROUND), mean, yerr=[mean - low, high - mean], **style)
        axes.axhline(1 / len(ACTIONS), color="0.4", linestyle=":", linewidth=1.5)
        axes.text(AROUND[-1], 1 / len(ACTIONS), "chance", ha="right", va="bottom", color="0.35")
        axes.set_ylim(0, 1.02)
        plots.legend_beside(axes)
