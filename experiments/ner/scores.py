"""Scores of entities: a span counts if its kind and both its ends are right. Spans are read off by seqeval."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
from seqeval.scheme import IOB2, Entities

from experiments.data.wnut17 import Sentence, Sentences
from experiments.lib.intervals import Interval, bootstrap

Answers = Sequence[Sequence[Sequence[str]]]  # tags of each seed, of each sentence


def spans(tags: Sequence[Sequence[str]]) -> list[set[tuple[str, int, int]]]:
    """The entities `(kind, start, end)` of each sentence; in seqeval's strict reading an I- without its B- is none.

    >>> spans([["B-person", "I-person", "O", "I-person"]])
    [{('person', 0, 2)}]
    """
    return [{entity.to_tuple()[1:] for entity in some} for some in Entities([[*t] for t in tags], IOB2).entities]


def count(sentences: Sequence[Sentence], answers: Answers, kind: str = "") -> np.ndarray:
    """Spans that are right, found and there `[N, 3]` in each sentence, summed over the seeds; of one kind if given."""

    def of_kind(some: set) -> set:
        return {span for span in some if kind in ("", span[0])}

    truth, table = spans([s.tags for s in sentences]), np.zeros((len(sentences), 3))
    for tags in answers:
        for row, found, there in zip(table, spans(tags), truth, strict=True):
            found, there = of_kind(found), of_kind(there)
            row += len(found & there), len(found), len(there)
    return table


def span_f1(sentences: Sequence[Sentence], answers: Answers, kind: str = "") -> Interval:
    """Micro-averaged F1 over all seeds: twice what is right over what was found and what is there; over sentences."""
    right, found, there = count(sentences, answers, kind).T
    return bootstrap(2 * right, over=found + there + 1e-9)


def precision_recall(sentences: Sequence[Sentence], answers: Answers) -> tuple[float, float]:
    """The share of what was found that is right, and of what is there that was found."""
    right, found, there = count(sentences, answers).sum(axis=0)
    return right / max(found, 1), right / max(there, 1)


def broken(answers: Answers) -> float:
    """How many I- tags follow no tag of their kind, for each seed."""
    pairs = chain.from_iterable(zip(["O", *tags], tags, strict=False) for seed in answers for tags in seed)
    return sum(b[:2] == "I-" and a[2:] != b[2:] for a, b in pairs) / len(answers)


def unseen(parts: Sentences) -> float:
    """The share of the test's entities whose words are no entity in training."""
    train, test = ([
        " ".join(s.words[start:end]).lower()
        for s, some in zip(part, spans([s.tags for s in part]), strict=True)
        for _, start, end in some
    ] for part in (parts.train, parts.test))  # fmt: skip
    return float(np.mean([name not in set(train) for name in test]))
