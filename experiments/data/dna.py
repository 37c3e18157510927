"""Sequences of nucleotides in classes: splice junctions of primates, promoters of E. coli, or generated ones.

References: Noordewier, Towell & Shavlik 1991, "Training knowledge-based neural networks to recognize genes in DNA
sequences" (splice junctions); Towell, Shavlik & Noordewier 1990, "Refinement of approximate domain theories by
knowledge-based artificial neural networks" (promoters).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find
from rnnjax.data import read_text

UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/molecular-biology"
LICENCE = "CC BY 4.0, UCI Machine Learning Repository, Molecular Biology"
SPLICE = DataFile(
    folder="dna_splice",
    name="splice.csv",
    url=f"{UCI}/splice-junction-gene-sequences/splice.data",
    sha256="a8e1f2f76ef4c2393bb5d072c6e94c2db919d9c319a377012b59a5567fe6f5e8",
    licence=f"{LICENCE} (Splice-junction Gene Sequences, 3,190 rows below a header that was added)",
    copy="https://raw.githubusercontent.com/seacevedo/SpliceJunctionPrediction/"
    "99f4988f2c02ef83a3417215bcd634efe018d8f1/splice.csv",
)
PROMOTERS = DataFile(
    folder="dna_promoters",
    name="promoters.data",
    url=f"{UCI}/promoter-gene-sequences/promoters.data",
    sha256="9cba9e8661ab04760d69b857f62259233446f2dce5ec9b515efe0b23c315bb29",
    licence=f"{LICENCE} (Promoter Gene Sequences, 106 rows)",
    copy="https://raw.githubusercontent.com/farhan-137/dna-promoter-classifier/"
    "585478d4bcbeb8a6293f777d9d1abfae91c6db59/data/promoters.data",
)
LETTERS = "ACGT"
# What a letter stands for: itself, or one of several (IUPAC).
CODES = {letter: letter for letter in LETTERS} | {"R": "AG", "Y": "CT", "S": "CG", "W": "AT", "K": "GT", "M": "AC"}
CODES |= {"B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT"}
MOTIF = "TGTATAATGC"  # of generated sequences


class Sequences(NamedTuple):
    """N sequences of T letters."""

    letters: np.ndarray  # strings [N]
    labels: np.ndarray  # numbers of classes [N]
    classes: tuple[str, ...]
    first: int  # number of the first position, from the site that is asked about; there is no position 0

    @property
    def positions(self) -> np.ndarray:
        """The numbers of the positions `[T]`."""
        numbers = self.first + np.arange(len(self.letters[0]))
        return numbers + ((self.first < 0) & (numbers >= 0))


def load(data: str, *, rows: int = 2000, seed: int = 0) -> Sequences:
    """Loads sequences: "generated", "splice", "promoters", or the path of a file of lines "class, name, sequence"."""
    if data == "generated":
        return generate(rows, seed)
    path = find({"splice": SPLICE, "promoters": PROMOTERS}[data]) if data in ("splice", "promoters") else Path(data)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected --data to be generated, splice, promoters or the path of a file of sequences, got {data!r}, "
            "which is no file."
        )
    return parse(read_text(path), str(path), first={"splice": -30, "promoters": -50}.get(data, 1))


def parse(text: str, source: str, first: int = 1) -> Sequences:
    """Parses lines of class, name and sequence, with or without a header. Errors name the source."""
    found, length = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        fields = [field.strip() for field in line.split(",")]
        if fields == [""] or (number == 1 and fields[-1].lower() == "sequence"):
            continue
        letters = fields[-1].upper()
        length = length or len(letters)
        if len(fields) != 3 or not fields[0] or not letters or len(letters) != length or not {*letters} <= {*CODES}:
            raise ValueError(
                f"expected a class, a name and {length or 'some'} letters for nucleotides in line {number} of "
                f"{source}, got {line[:60]!r}."
            )
        found.append((fields[0], letters))
    classes = tuple(sorted({name for name, _ in found}))
    if len(classes) < 2:
        raise ValueError(f"expected sequences of two or more classes in {source}, got {len(classes)}.")
    labels = np.array([classes.index(name) for name, _ in found])
    return Sequences(np.array([letters for _, letters in found]), labels, classes, first)


def one_hot(letters: np.ndarray) -> np.ndarray:
    """Strings `[N]` as `[N, T, 4]`: the letters one-hot, and for one that stands for several, equal shares.

    >>> one_hot(np.array(["GN"])).tolist()
    [[[0.0, 0.0, 1.0, 0.0], [0.25, 0.25, 0.25, 0.25]]]
    """
    shares = {code: [(letter in means) / len(means) for letter in LETTERS] for code, means in CODES.items()}
    return np.array([[shares[letter] for letter in row] for row in letters], np.float32)


def generate(rows: int, seed: int = 0, length: int = 60, damage: float = 0.05) -> Sequences:
    """Makes sequences with a motif somewhere: as it is, or with its letters in another order.

    Each letter of the motif is another with some probability. Neither where it is nor how often a letter occurs tells
    the classes apart.
    """
    rng = np.random.default_rng(seed)
    ids = rng.integers(4, size=(rows, length))
    labels = np.arange(rows) % 2
    motif = np.array([LETTERS.index(letter) for letter in MOTIF])
    for row, label in enumerate(labels):
        planted = motif if label else rng.permutation(motif)
        damaged = rng.random(len(motif)) < damage
        start = rng.integers(length - len(motif) + 1)
        ids[row, start : start + len(motif)] = np.where(damaged, rng.integers(4, size=len(motif)), planted)
    letters = np.array(["".join(LETTERS[i] for i in row) for row in ids])
    return Sequences(letters, labels, ("shuffled", "motif"), 1)
