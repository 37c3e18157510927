"""Word vectors in the text format of GloVe: 50 numbers for each of the 9,163 most frequent words, or another file.

Reference: Pennington, Socher & Manning 2014, "GloVe: global vectors for word representation".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find, find_local, read_unzipped

COMMIT = "543b907163394d690ca376bb8bbf00c9f3453d02"
GLOVE = DataFile(
    folder="glove6b_50d_top9163",
    name="glove.6B.50d.top9163.txt",
    url="https://nlp.stanford.edu/data/glove.6B.zip",
    sha256="ca8fa2ae26d38a1c069860184b5fb2d9c6c031fe801a234d95b8b43c6563ab68",
    licence="PDDL 1.0, public domain (the head of glove.6B.50d.txt, which has 400,000 words)",
    copy=f"https://raw.githubusercontent.com/dheerajkotwani/Emojify/{COMMIT}/data/glove.txt",
)
GLOVE_GZIPPED = GLOVE._replace(
    name="glove.6B.50d.top9163.txt.gz", sha256="80588b1e8509b54bd28ae6e4cb0b65b2a1888f82bda335b6aed9f7a8c02f64f1"
)


class WordVectors(NamedTuple):
    """Words, the most frequent first, with a vector each."""

    words: tuple[str, ...]
    vectors: np.ndarray  # [N, D]


def load(data: str = "glove") -> WordVectors:
    """Reads word vectors: "glove", 50 numbers for each of 9,163 words in lower case; or the path of such a file."""
    path = (find_local(GLOVE_GZIPPED) or find(GLOVE)) if data == "glove" else Path(data)
    if not path.is_file():
        raise FileNotFoundError(f"expected vectors of glove or the path of a file in its format, found none at {path}.")
    return parse(read_unzipped(path), str(path))


def parse(text: str, source: str) -> WordVectors:
    """Parses lines of a word and its numbers, as many in every line. Errors name the source."""
    words, rows = [], []
    # Not splitlines: a word may be one of Unicode's other line ends.
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        word, *numbers = line.rstrip().split(" ")
        try:
            rows.append(np.array(numbers, np.float32))
            if not numbers or len(rows[-1]) != len(rows[0]) or not np.isfinite(rows[-1]).all():
                raise ValueError
        except ValueError:
            raise ValueError(
                f"expected a word and {len(rows[0]) if rows else 'its'} numbers in line {number} of {source}, got "
                f"{line[:60]!r}."
            ) from None
        words.append(word)
    return WordVectors(tuple(words), np.stack(rows))


def rows_for(words: Sequence[str], known: WordVectors, *, rng: np.random.Generator) -> np.ndarray:
    """Vectors `[V, D]` for a vocabulary: those that are known, and random ones as spread for all others.

    >>> known = WordVectors(("a", "b"), np.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> rows_for(["b", "c"], known, rng=np.random.default_rng(0))[0].tolist()
    [3.0, 4.0]
    """
    place = {word: i for i, word in enumerate(known.words)}
    spread = known.vectors.std(axis=0)
    found = [known.vectors[place[word]] if word in place else rng.normal(0, spread) for word in words]
    return np.stack(found).astype(np.float32)
