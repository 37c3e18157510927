"""Figures of analogy: groups of words in a plane, and what vectors are worth to a tagger."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from sklearn.manifold import TSNE

from experiments.analogy.tagging import MODES
from experiments.data.glove import WordVectors
from experiments.lib import plots


def draw_groups(path: Path, groups: Mapping[str, Sequence[str]], vectors: WordVectors, seed: int) -> None:
    """Draws the vectors of groups of words in a plane (t-SNE, van der Maaten & Hinton 2008), a colour per group."""
    place = {word: i for i, word in enumerate(vectors.words)}
    groups = {name: [word for word in words if word in place] for name, words in groups.items()}
    words = [word for group in groups.values() for word in group]
    rows = vectors.vectors[[place[word] for word in words]]
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    perplexity = min(8.0, len(words) / 4)
    points = TSNE(perplexity=perplexity, method="exact", init="pca", random_state=seed).fit_transform(rows)
    with plots.figure(path, title="Word vectors, by t-SNE", x="", y="", size=(10.0, 6.6)) as axes:
        begin = 0
        for colour, (name, group) in zip(plots.COLOURS, groups.items(), strict=False):
            some = points[begin : begin + len(group)]
            begin += len(group)
            axes.scatter(*some.T, s=18, color=colour, label=name)
            for word, point in zip(group, some, strict=True):
                shift = {"xytext": (3, 3), "textcoords": "offset points"}
                axes.annotate(word, point, fontsize=8, color=colour, **shift)
        axes.set_xticks([])
        axes.set_yticks([])
        plots.legend_beside(axes)


def draw_transfer(folder: Path, found: Mapping[int, np.ndarray]) -> None:
    """Draws transfer.png: F1 against the number of training sentences, from the worst seed to the best."""
    counts = list(found)
    title = "What word vectors are worth to a tagger"
    path = folder / "transfer.png"
    with plots.figure(path, title=title, x="training sentences", y="F1 of entities on the test (%)") as axes:
        for row, (mode, colour) in enumerate(zip(MODES, plots.COLOURS, strict=False)):
            scores = 100 * np.array([found[count][row] for count in counts])
            axes.plot(counts, scores.mean(axis=1), "o-", color=colour, label=mode)
            axes.fill_between(counts, scores.min(axis=1), scores.max(axis=1), color=colour, alpha=0.2, linewidth=0)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        plots.legend_beside(axes, "vectors")
