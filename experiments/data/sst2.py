"""Sentences of film reviews, positive or negative: the Stanford Sentiment Treebank, or generated ones.

Reference: Socher et al. 2013, "Recursive deep models for semantic compositionality over a sentiment treebank".
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find
from experiments.data._labelled import Labelled, without
from rnnjax.data import read_text

COMMIT = "457ffd83de90a9d6d472d8ffc31bbffe40a8b236"
SUMS = {
    "train": "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
    "dev": "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
    "test": "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7",
}
FILES = [
    DataFile(
        folder="sst2",
        name=f"{part}.tsv",
        url="https://nlp.stanford.edu/sentiment/",
        sha256=sha256,
        licence="none stated (Stanford Sentiment Treebank, for research)",
        copy=f"https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/{COMMIT}/data/SST2/{part}.tsv",
    )
    for part, sha256 in SUMS.items()
]


class Reviews(NamedTuple):
    """A data set, 1 for positive; no sentence is in two parts, and none twice in the first two."""

    training: Labelled
    dev: Labelled
    test: Labelled
    removed: int = 0  # sentences left out of the first two parts


def load(data: str, seed: int = 0) -> Reviews:
    """Loads "sst2" (6,920, 872 and 1,821 sentences), "generated" ones, or a folder with train, dev and test.tsv."""
    if data == "generated":
        return generate(seed)
    paths = [find(file) for file in FILES] if data == "sst2" else [Path(data) / file.name for file in FILES]
    if missing := [path for path in paths if not path.is_file()]:
        raise FileNotFoundError(
            "expected --data to be generated, sst2 or a folder with train.tsv, dev.tsv and test.tsv, found no "
            f"{missing[0]}."
        )
    training, dev, test = (parse(read_text(path), str(path)) for path in paths)
    kept = Reviews(without(training, dev, test), without(dev, test), test)
    return kept._replace(
        removed=len(training.labels) + len(dev.labels) - len(kept.training.labels) - len(kept.dev.labels)
    )


def parse(text: str, source: str) -> Labelled:
    """Parses lines of a sentence, a tab, and 0 or 1. Errors name the source."""
    sentences, labels = [], []
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        words, _, label = line.rpartition("\t")
        if not words.split() or label not in ("0", "1"):
            raise ValueError(f"expected a sentence, a tab and 0 or 1 in line {number} of {source}, got {line[:60]!r}.")
        sentences.append(tuple(words.lower().split()))
        labels.append(int(label))
    return Labelled(tuple(sentences), np.array(labels))


# ---- generated -----------------------------------------------------------------------------------------------

GOOD = ("good", "great", "clever", "funny", "moving", "fresh", "charming", "superb")
BAD = ("bad", "dull", "stale", "awful", "clumsy", "boring", "tired", "weak")
THINGS = ("taste", "service", "ambience", "plot", "music", "humour", "acting", "story", "style", "rhythm")
ADVERBS = ("", "very", "rather", "really", "completely", "almost", "quite")


def generate(seed: int = 0, sizes: tuple[int, int, int] = (3000, 500, 1000)) -> Reviews:
    """Makes up reviews in which the order of the words decides; no sentence is there twice.

    review  = clause | clause and clause of the same mind | clause but clause of the other mind, which counts
    clause  = the THING is ADVERB good | the THING is not ADVERB bad | never lacking in good THING   (positive)
            | the THING is ADVERB bad | the THING is not ADVERB good | ADVERB lacking in good THING  (negative)
    """
    rng = np.random.default_rng(seed)
    made: dict[tuple[str, ...], int] = {}
    while len(made) < sum(sizes):
        label, kind = int(rng.integers(2)), rng.integers(3)
        text = _clause(label, rng)
        if kind:
            text = f"{_clause(label if kind == 1 else 1 - label, rng)} {('', 'and', 'but')[kind]} {text}"
        made[tuple(text.split())] = label
    ends = np.cumsum(sizes)
    sentences, labels = list(made), np.array(list(made.values()))
    return Reviews(
        *(Labelled(tuple(sentences[e - n : e]), labels[e - n : e]) for e, n in zip(ends, sizes, strict=True))
    )


def _clause(label: int, rng: np.random.Generator) -> str:
    def one(words):
        return words[rng.integers(len(words))]

    thing, adverb, kind = one(THINGS), one(ADVERBS), rng.integers(3)
    if kind == 2:
        return f"{'never' if label else adverb} lacking in {one(GOOD)} {thing}"
    word = one(GOOD if label != kind else BAD)  # kind 1 denies the opposite
    return f"the {thing} is {'not' if kind else ''} {adverb} {word}"
