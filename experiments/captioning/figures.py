"""Figures of captioning: where the decoder looks for each word, and which words are right."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.lib import plots
from experiments.lib.intervals import wilson

WORDS = ("size", "colour", "shape", "relation", "second size", "second colour", "second shape")


def draw_attention(path: Path, image: np.ndarray, words: Sequence[str], weights: np.ndarray) -> None:
    """Draws an image, and for each word of its caption the weights `[T, P]` of P positions over it."""
    side = int(weights.shape[1] ** 0.5)
    columns = -(-(len(words) + 1) // 2)
    with plots.panels(path, rows=2, columns=columns, size=(1.7 * columns, 4.0)) as axes:
        for axis in axes.flat:
            axis.axis("off")
        axes[0, 0].imshow(image)
        for word, row, axis in zip(words, weights, axes.flat[1:], strict=False):
            axis.imshow(image)
            veil = np.kron(row.reshape(side, side) / row.max(), np.ones((len(image) // side,) * 2))
            axis.imshow(np.zeros_like(image), alpha=0.85 * (1 - veil))
            axis.set_title(word, fontsize=12)


def draw_words(path: Path, right: Mapping[str, np.ndarray], what: str) -> None:
    """Draws which of the seven words are right, `[N, 7]` by name, of scenes of what."""
    title = f"Words that are right, {what}, 95 % intervals"
    with plots.figure(path, title=title, x="share of the scenes", y="", size=(9.0, 4.6)) as axes:
        for number, (colour, mark, (name, each)) in enumerate(zip(plots.COLOURS, "os^", right.items(), strict=False)):
            mean, low, high = np.transpose([wilson(column) for column in each.T])
            rows = np.arange(len(WORDS)) + 0.2 * number
            style = {"fmt": mark, "color": colour, "capsize": 3, "label": name}
            axes.errorbar(mean, rows, xerr=[mean - low, high - mean], **style)
        axes.set_yticks(range(len(WORDS)), WORDS)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        plots.legend_beside(axes)
