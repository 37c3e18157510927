"""Vectors for words that have none, from the words that they stand among.

    v_w = A u_w,    u_w the mean of the vectors of words at most five places from w in some text

with A from least squares over words that have a vector, each with the root of the logarithm of its count. Reference:
Khodak et al. 2018, "A la carte embedding: cheap but effective induction of semantic feature vectors".
"""

import re
from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from experiments.data import fra_eng
from experiments.data.glove import WordVectors
from experiments.lib.neighbours import neighbours

WINDOW = 5
ENOUGH = 20  # occurrences of a word that A is fitted to


def everyday_english() -> list[list[str]]:
    """The English sentences of Tatoeba, each once, as words in lower case."""
    found = {pair.english.lower().replace("’", "'") for pair in fra_eng.load("tatoeba")}
    return [re.findall(r"[a-z]+|'[a-z]+", sentence) for sentence in sorted(found)]


def induce(text: Sequence[Sequence[str]], known: WordVectors) -> WordVectors:
    """Adds a vector for every word of a text that has none, and that stands near words with vectors."""
    place = {word: i for i, word in enumerate(known.words)}
    for sentence in text:
        for word in sentence:
            place.setdefault(word, len(place))
    sentences = [np.array([place[word] for word in sentence], np.int32) for sentence in text]
    word, beside = neighbours(sentences, WINDOW).T
    has_vector = beside < len(known.words)
    word, beside = word[has_vector], beside[has_vector]
    counts = csr_array((np.ones(len(word)), (word, beside)), shape=(len(place), len(known.words)))
    near = counts.sum(axis=1)
    means = counts @ known.vectors / np.maximum(near, 1)[:, None]
    means = np.concatenate([means, np.ones((len(place), 1))], axis=1)

    often = np.bincount(np.concatenate(sentences), minlength=len(place))[: len(known.words)]
    rows = np.flatnonzero((often >= ENOUGH) & (near[: len(known.words)] > 0))
    weight = np.sqrt(np.log(often[rows]))[:, None]
    matrix = np.linalg.lstsq(means[rows] * weight, known.vectors[rows] * weight, rcond=None)[0]
    new = [i for i in range(len(known.words), len(place)) if near[i]]
    vectors = np.concatenate([known.vectors, (means[new] @ matrix).astype(np.float32)])
    words = tuple(place)
    return WordVectors(known.words + tuple(words[i] for i in new), vectors)
