"""Sentences of tweets and forums with their emerging entities (WNUT 2017), or generated ones, as words with BIO tags.

Reference: Derczynski et al. 2017, "Results of the WNUT2017 shared task on novel and emerging entity recognition".
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find
from rnnjax.data import read_text

RAW = "https://raw.githubusercontent.com/leondz/emerging_entities_17"
COMMIT = "e52a2d2a71ac1a051ca2d532eef28653c5c02603"
SUMS = {
    "wnut17train.conll": "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
    "emerging.dev.conll": "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
    "emerging.test.annotated": "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
}
WNUT17 = [
    DataFile(
        folder="wnut17",
        name=name,
        url=f"{RAW}/master/{name}",
        sha256=sha256,
        licence="CC BY 4.0 (Derczynski, Nichols, van Erp & Limsopatham)",
        copy=f"{RAW}/{COMMIT}/{name}",
    )
    for name, sha256 in SUMS.items()
]


class Sentence(NamedTuple):
    """Words and their tags: O, or B-kind at the beginning of an entity and I-kind in it."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class Sentences(NamedTuple):
    """The official split; what stands in two parts word for word is left out of the earlier one."""

    train: list[Sentence]
    dev: list[Sentence]
    test: list[Sentence]
    repeated: int = 0  # sentences left out


def load(data: str, *, seed: int = 0) -> Sentences:
    """Loads "generated" sentences, "wnut17", or those of a folder with train.conll, dev.conll and test.conll."""
    if data == "generated":
        return generate(seed)
    folder = Path(data)
    paths = (
        [find(file) for file in WNUT17] if data == "wnut17" else [folder / f"{p}.conll" for p in Sentences._fields[:3]]
    )
    if missing := [path for path in paths if not path.is_file()]:
        raise FileNotFoundError(
            f"expected --data to be generated, wnut17 or a folder with train.conll, dev.conll and test.conll, found no "
            f"{missing[0]}."
        )
    train, dev, test = (parse(read_text(path), str(path)) for path in paths)
    unseen, later = {s.words for s in test}, {s.words for s in [*dev, *test]}
    kept = [s for s in train if s.words not in later], [s for s in dev if s.words not in unseen]
    return Sentences(*kept, test, len(train) + len(dev) - sum(map(len, kept)))


def parse(text: str, source: str) -> list[Sentence]:
    """Parses lines of a word, a tab and its tag; between sentences a line is empty, or a tab alone as in training.

    >>> parse("Fly\\tO\\nto\\tO\\nNew\\tB-location\\nYork\\tI-location\\n\\t\\nHi\\tO\\n", "a file")[0].tags
    ('O', 'O', 'B-location', 'I-location')
    """
    sentences, rows, before = [], [], "O"
    # Not splitlines: a word may be one of Unicode's other line ends.
    for number, line in enumerate([*text.split("\n"), ""], 1):
        if line.strip():
            word, tab, tag = line.partition("\t")
            inside = tag[:2] == "I-" and before in (f"B-{tag[2:]}", tag)
            if not word.strip() or not tab or not (tag == "O" or (tag[:2] == "B-" and tag[2:]) or inside):
                raise ValueError(
                    f"expected a word, a tab and a tag (O, B-kind, or I-kind after one of its kind) in line {number} "
                    f"of {source}, got {line[:60]!r}."
                )
            rows.append((word, tag))
        elif rows:
            sentences.append(Sentence(*zip(*rows, strict=True)))
            rows = []
        before = rows[-1][1] if rows else "O"
    if not sentences:
        raise ValueError(f"expected sentences in {source}, got none.")
    return sentences


# ---- generated -----------------------------------------------------------------------------------------------

SYLLABLES = ("ba", "do", "fe", "gri", "hal", "jun", "ka", "lo", "mer", "nu", "pol", "qui", "ras", "sto", "tav", "ul")
# P is a person, L a location and N a noun nobody knows, which is spelled like a name.
PATTERNS = (
    "I met P in L yesterday .",
    "P and P live near L .",
    "have you seen P or the N ?",
    "the train to L was late again",
    "yesterday , P met P .",
    "my friend P moved to L last May",
    "P , as all of my friends from school say , sings well .",
    "L , as all of my friends from school say , lies well .",
    "P , says the man with the N in the Park , was born on a Monday .",
    "L , says the man with the N in the Park , was built on a Monday .",
    "in the long run P knows the N best",
    "in the long run L has the N still",
    "the N of the week is here !",
    "I will read my N on Monday in the Park .",
)
ENDINGS = {"person": ("o", "y", "er", "ine"), "location": ("ton", "ville", "ia", "burg")}


def generate(seed: int = 0, sizes: tuple[int, int, int] = (600, 150, 300)) -> Sentences:
    """Writes sentences of a few patterns; no name occurs in two parts, and a third is in lower case.

    What a name is of tells the sentence, in some of them by a word far behind it. How a name ends is a hint, which
    misleads for one in four.
    """
    rng, used = np.random.default_rng(seed), set()

    def spell(kind: str) -> str:
        while True:
            if rng.random() < 0.25:
                kind = str(rng.choice(list(ENDINGS)))
            found = "".join(rng.choice(SYLLABLES, 2)) + str(rng.choice(ENDINGS[kind]))
            if found not in used:
                return found

    def sentence(names: set[str]) -> Sentence:
        words, tags, lower = [], [], rng.random() < 1 / 3
        for word in str(rng.choice(PATTERNS)).split():
            kind, new = {"P": "person", "L": "location"}.get(word), [word]
            if kind:
                new = [spell(kind).capitalize() for _ in range(rng.integers(1, 3))]
                names.update(map(str.lower, new))
            elif word == "N":
                new = [spell(str(rng.choice(list(ENDINGS))))]
            tags += [f"B-{kind}", *[f"I-{kind}"] * (len(new) - 1)] if kind else ["O"]
            words += [word.lower() for word in new] if lower else new
        return Sentence(tuple(words), tuple(tags))

    parts = []
    for size in sizes:
        names: set[str] = set()
        parts.append([sentence(names) for _ in range(size)])
        used |= names
    return Sentences(*parts)
