"""Labelled sentences."""

from typing import NamedTuple

import numpy as np


class Labelled(NamedTuple):
    """N sentences with a label each."""

    sentences: tuple[tuple[str, ...], ...]  # words
    labels: np.ndarray  # [N]


def without(known: Labelled, *others: Labelled) -> Labelled:
    """Takes the sentences that are in none of the other parts, each once.

    >>> part = Labelled((("so", "sad"), ("fine",), ("so", "sad")), np.array([0, 1, 0]))
    >>> without(part, Labelled((("fine",),), np.array([1]))).sentences
    (('so', 'sad'),)
    """
    seen, rows = {sentence for part in others for sentence in part.sentences}, []
    for row, sentence in enumerate(known.sentences):
        if sentence not in seen:
            rows.append(row)
        seen.add(sentence)
    return Labelled(tuple(known.sentences[row] for row in rows), known.labels[rows])
