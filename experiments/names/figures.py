"""Figures of names: who is taken for whom, and how well a language is known against how many names it has."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.lib import plots
from experiments.names.baselines import f1_by_language


def draw_confusion(folder: Path, answers: np.ndarray, truth: np.ndarray, classes: Sequence[str]) -> None:
    """Draws confusion.png: shares of the answers `[S, N]` for each true language, a row of them."""
    size = len(classes)
    table = sum(np.bincount(truth * size + row, minlength=size**2) for row in answers).reshape(size, size)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    title, inches = "Held-out names, all seeds", (3.4 + 0.36 * size, 2.2 + 0.36 * size)
    with plots.figure(folder / "confusion.png", title=title, x="answer", y="language", size=inches) as axes:
        image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.set_xticks(range(size), classes, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), classes)
        axes.spines[:].set_visible(False)
        axes.figure.colorbar(image, ax=axes, label="share of the language's names", shrink=0.8)


def draw_by_language(
    folder: Path, found: Mapping[str, np.ndarray], truth: np.ndarray, counts: np.ndarray, classes: Sequence[str]
) -> None:
    """Draws languages.png: F1 of each language, by how many names there are to learn from."""
    order = np.argsort(-counts)
    labels = [f"{classes[i]} ({counts[i]:,})" for i in order]
    title, inches = "Each language, and how many names to train on", (8.4, 1.6 + 0.32 * len(classes))
    with plots.figure(folder / "languages.png", title=title, x="F1 on held-out names", y="", size=inches) as axes:
        for name, marker, colour in (("network", "o", plots.COLOURS[0]), ("n-grams", "D", plots.COLOURS[1])):
            values = f1_by_language(found[name], truth, len(classes))[order]
            axes.plot(values, range(len(order)), marker, color=colour, label=name, markersize=6)
        axes.set_yticks(range(len(order)), labels)
        axes.set_xlim(-0.02, 1.02)
        axes.invert_yaxis()
        plots.legend_beside(axes)
