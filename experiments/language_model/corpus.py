"""A text as three streams of words, a vocabulary, and what counting makes of it."""

import re
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from experiments.data import multi30k, texts
from rnnjax.data import Vocabulary

EOS, UNK = "<eos>", "<unk>"
SENTENCE = re.compile(r"(?<=[.!?:;])\s+(?=[^a-z])|\n\s*\n")


class Corpus(NamedTuple):
    """Ids of the words, EOS after each sentence and before the first."""

    vocabulary: Vocabulary
    train: np.ndarray  # [N]
    valid: np.ndarray  # [M]
    test: np.ndarray  # [K]
    unknown: float  # share of the test's words that are UNK
    repeated: int  # sentences left out, as a later part has them


def split_words(text: str) -> list[str]:
    """Cuts a text into words and marks in lower case.

    >>> split_words("It's x_1, not Y!")
    ["it's", 'x_1', ',', 'not', 'y', '!']
    """
    return re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text.lower())


def load(config: Any) -> Corpus:
    """Reads "multi30k" with its own split, or a text: "pydoc" or a path, its last fifth for validation and test."""
    if config.data == "multi30k":
        parts, repeated = list(multi30k.load()[:3]), multi30k.load().repeated
    else:
        found = [words for part in SENTENCE.split(texts.load(config.data)) if (words := split_words(part))]
        if len(found) < 10:
            raise ValueError(f"expected --data to be a text of at least 10 sentences, got {len(found)}.")
        later = [found[len(found) * a // 10 : len(found) * b // 10] for a, b in ((8, 9), (9, 10))]
        seen = {tuple(words) for part in later for words in part}
        first = found[: len(found) * 8 // 10]
        parts = [[words for words in first if tuple(words) not in seen], *later]
        repeated = len(first) - len(parts[0])
    if config.sentences:
        parts[0] = parts[0][: config.sentences]
    counts = Counter(word for words in parts[0] for word in words)
    often = sorted(word for word, count in counts.items() if count >= config.least)
    vocabulary = Vocabulary((EOS, UNK, *often))
    known = {EOS, *often}
    streams = [
        vocabulary.encode([EOS, *(w if w in known else UNK for words in part for w in [*words, EOS])]) for part in parts
    ]
    return Corpus(vocabulary, *streams, float(np.mean(streams[2][streams[2] != 0] == 1)), repeated)


def by_sentence(nats: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums over each sentence of nats `[K - 1]`, those of the ids `[K]` but the first, and the words counted, EOS too.

    >>> by_sentence(np.array([1.0, 2.0, 3.0]), np.array([0, 5, 0, 0]))
    (array([3., 3.]), array([2, 1]))
    """
    begins = np.concatenate([[0], np.flatnonzero(ids[1:-1] == 0) + 1])
    return np.add.reduceat(nats, begins), np.diff([*begins, len(nats)])
