"""A conditional random field over features that were thought up, by CRFsuite: no recurrence, no word vectors.

Reference: Okazaki 2007, "CRFsuite: a fast implementation of conditional random fields".
"""

import re
from collections.abc import Sequence
from typing import Any

import sklearn_crfsuite

from experiments.data.wnut17 import Sentences
from experiments.ner import scores

PENALTIES = ((0.03, 0.03), (0.1, 0.1), (0.3, 0.03))  # of |w| and of w^2


def shape(word: str) -> str:
    """Letters as X and x, digits as 0, each run once.

    >>> shape("O'Brien99")
    "X'Xx0"
    """
    kinds = re.sub(r"\d", "0", re.sub(r"[^\W\d_A-Z]", "x", re.sub(r"[A-Z]", "X", word)))
    return re.sub(r"(.)\1+", r"\1", kinds)


def features(words: Sequence[str]) -> list[dict[str, Any]]:
    """What is known about each word: itself, its ends, its shape, and the words beside it."""
    own = [{"word": word.lower(), "shape": shape(word)} for word in words]
    found = []
    for i, word in enumerate(words):
        lower, beside = word.lower(), {"before": i - 1, "after": i + 1}
        ends = {f"{name}{n}": part for n in (2, 3) for name, part in (("first", lower[:n]), ("last", lower[-n:]))}
        near = {f"{where} {k}": v for where, j in beside.items() if 0 <= j < len(words) for k, v in own[j].items()}
        found.append({"bias": 1.0, **own[i], **ends, **near, "begins": i == 0, "ends": i == len(words) - 1})
    return found


def fit_features(parts: Sentences) -> tuple[str, list[list[str]]]:
    """Fits the field with penalties that development data choose: which they are, and tags for the test."""
    train, dev, test = ([features(sentence.words) for sentence in part] for part in parts[:3])
    best, note, answers = -1.0, "", []
    for c1, c2 in PENALTIES:
        model = sklearn_crfsuite.CRF(c1=c1, c2=c2, max_iterations=80, all_possible_transitions=True)
        model.fit(train, [list(sentence.tags) for sentence in parts.train])
        found = scores.span_f1(parts.dev, [model.predict(dev)]).mean
        if found > best:
            best, note, answers = found, f"c1 = {c1:g}, c2 = {c2:g}", model.predict(test)
    return note, answers
