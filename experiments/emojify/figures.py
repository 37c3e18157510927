"""Figures of emojify: confusion matrices, and the accuracy on folds left out against the number of updates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.data.emojify import NAMES
from experiments.lib import plots


def draw_confusion(folder: Path, shares: Mapping[str, np.ndarray]) -> None:
    """Draws confusion.png: shares `[5, 5]` of the answers for each label, by model."""
    with plots.panels(folder / "confusion.png", columns=len(shares), size=(10.0, 4.6)) as axes:
        for axis, (name, matrix) in zip(axes[0], shares.items(), strict=True):
            image = axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
            for row, column in np.ndindex(matrix.shape):
                colour = "white" if matrix[row, column] > 0.5 else "black"
                axis.text(column, row, f"{100 * matrix[row, column]:.0f}", ha="center", va="center", color=colour)
            axis.grid(visible=False)
            axis.spines[:].set_visible(False)
            axis.set(title=name, xlabel="answer", ylabel="truth")
            axis.set_xticks(range(len(NAMES)), NAMES)
            axis.set_yticks(range(len(NAMES)), NAMES)
        bar = axes[0, -1].figure.colorbar(image, ax=list(axes[0]), shrink=0.8, format=lambda x, _: f"{100 * x:.0f}")
        bar.set_label("answers for a truth (%)")


def draw_folds(folder: Path, learned: Mapping[str, Any]) -> None:
    """Draws folds.png: the accuracy on the folds left out of each model, and the number of updates that was chosen."""
    title = "What cross-validation chooses"
    with plots.figure(folder / "folds.png", title=title, x="update", y="right on folds left out (%)") as axes:
        for colour, (name, each) in zip(plots.COLOURS, learned.items(), strict=False):
            axes.plot(each.updates, 100 * each.validation, color=colour, label=name)
            axes.plot(each.chosen, 100 * each.validation.max(), "o", color=colour, label=f"chosen: {each.chosen}")
        plots.legend_beside(axes)
