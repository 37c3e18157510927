"""Figures of sentiment: accuracies, a sentence word by word, and where attention looks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from experiments.lib import plots
from experiments.lib.intervals import Interval


def draw_accuracy(folder: Path, single: Mapping[str, Interval], together: Mapping[str, Interval]) -> None:
    """Draws accuracy.png: single models and the mean of their members, with intervals."""
    title = "Right on the test (95 % intervals)"
    with plots.figure(folder / "accuracy.png", title=title, x="right (%)", y="", size=(8.0, 4.2)) as axes:
        for i, (label, found) in enumerate({"one model": single, "members together": together}.items()):
            mean, low, high = 100 * np.array(list(found.values())).T
            rows = np.arange(len(mean)) + 0.24 * i - 0.12
            axes.errorbar(mean, rows, xerr=[mean - low, high - mean], fmt="os"[i], capsize=4, label=label)
        axes.set_yticks(range(len(single)), list(single))
        axes.invert_yaxis()
        plots.legend_beside(axes)


def draw_words(folder: Path, words: Sequence[str], read: Mapping[str, np.ndarray]) -> None:
    """Draws words.png: P(positive) `[T]` after each word, a line for each model."""
    title = "Positive? What each model thinks, word by word"
    with plots.figure(folder / "words.png", title=title, x="read so far", y="P(positive)", size=(10.0, 4.6)) as axes:
        for row, (name, probs) in enumerate(read.items()):
            axes.plot(probs, "o-", color=plots.COLOURS[row % 7], markersize=4, label=name)
        axes.axhline(0.5, color="0.4", linestyle=":", linewidth=1.5)
        axes.set_xticks(range(len(words)), words, rotation=45, ha="right")
        axes.set_ylim(0, 1)
        plots.legend_beside(axes)


def draw_attention(folder: Path, words: Sequence[str], weights: np.ndarray) -> None:
    """Draws attention.png: a bar for the weight of each word."""
    title = "Where attention looks in the whole sentence"
    with plots.figure(folder / "attention.png", title=title, x="", y="weight", size=(9.0, 3.8)) as axes:
        axes.bar(range(len(words)), weights, color=plots.COLOURS[0])
        axes.axhline(1 / len(words), color="0.4", linestyle=":", linewidth=1.5, label="the same for all")
        axes.set_xticks(range(len(words)), words, rotation=45, ha="right")
        axes.legend(frameon=False)
