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
                    f"expected a word, a tab and a tag (O, B-kind, or I-kind after one of its kind) in line {number} of "
                    f"{source}, got {line[:60]!r}."
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

SYLLABLES = "ba do fe gri hal jun ka lo mer nu pol qui ras sto tav ul vin wor xa yel zor bren clo dri".split()
PATTERNS = (
    "I met P in L yesterday .",
    "P and P live near L .",
    "have you seen P ?",
    "the train to L was late again",
    "yesterday , P met P .",
    "L is cold in winter",
    "my friend P moved to L last May",
    "we flew from L to L with P",
    "P said that the Monday in L was long",
    "nobody in L knows P , said the man",
    "the Book of the week is here !",
    "I will read it on Monday in the Park .",
)
ENDINGS = {"person": ("o", "y", "er", "ine"), "location": ("ton", "ville", "ia", "burg")}


def generate(seed: int = 0, sizes: tuple[int, int, int] = (600, 150, 300)) -> Sentences:
    """Writes sentences of a few patterns; no name occurs in two parts, and a third is in lower case.

    Kinds differ in the words around them, and mostly in how they end: a tenth ends like the other kind.
    """
    rng, used = np.random.default_rng(seed), set()

    def name(kind: str) -> str:
        while True:
            ending = kind if rng.random() < 0.9 else {"person": "location", "location": "person"}[kind]
            found = "".join(rng.choice(SYLLABLES, 2)) + str(rng.choice(ENDINGS[ending]))
            if found not in used:
                return found

    def sentence() -> Sentence:
        words, tags, lower = [], [], rng.random() < 1 / 3
        for word in str(rng.choice(PATTERNS)).split():
            kind = {"P": "person", "L": "location"}.get(word)
            new = [word] if kind is None else [name(kind).capitalize() for _ in range(rng.integers(1, 3))]
            tags += ["O"] if kind is None else [f"B-{kind}", *[f"I-{kind}"] * (len(new) - 1)]
            names.update(map(str.lower, new if kind else ()))
            words += [word.lower() for word in new] if lower else new
        return Sentence(tuple(words), tuple(tags))

    parts = []
    for size in sizes:
        names: set[str] = set()
        parts.append([sentence() for _ in range(size)])
        used |= names
    return Sentences(*parts)
