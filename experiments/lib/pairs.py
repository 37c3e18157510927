"""Pairs of sequences on the host: symbols and their ids, and pairs padded to arrays. NumPy only.

A target ends with EOS and is padded after it; a decoder reads the target shifted by one, BOS in front.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

import rnnjax

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")  # what these four are shown as


class Symbols(rnnjax.data.Vocabulary):
    """Characters and their ids; padding, begin, end and unknown come first.

    Example:
      >>> symbols = Symbols.of(["to be", "not"])
      >>> symbols.symbols[4:], symbols.size
      (('o', 't', ' ', 'b', 'e', 'n'), 10)
      >>> symbols.encode("tea").tolist()
      [5, 8, 3]
      >>> symbols.decode([1, 5, 4, 2, 9])
      'to'
    """

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Symbols":
        """Takes the characters of training texts, by falling count, those of equal count sorted."""
        counts = Counter(itertools.chain.from_iterable(texts))
        return cls((*SPECIAL, *sorted(counts, key=lambda symbol: (-counts[symbol], symbol))))

    @property
    def size(self) -> int:
        """How many there are, V."""
        return len(self.symbols)

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """The id of each symbol."""
        return {symbol: i for i, symbol in enumerate(self.symbols)}

    def encode(self, text: Iterable[str]) -> np.ndarray:
        """Gives the ids `[N]`, int32, of N symbols; UNK for one that is unknown."""
        return np.fromiter((self.ids.get(symbol, UNK) for symbol in text), np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Gives the text of ids `[N]` up to the first EOS, without PAD and BOS; ValueError if one is out of range."""
        return super().decode(i for i in itertools.takewhile(lambda i: i != EOS, ids) if i not in (PAD, BOS))


class Pairs(NamedTuple):
    """N pairs of sequences as ids, int32, padded on the right."""

    sources: np.ndarray  # [N, S]
    source_lengths: np.ndarray  # [N]
    targets: np.ndarray  # [N, T]; each ends with EOS, then padding
    target_lengths: np.ndarray  # [N], EOS counted


Rows = Sequence[Sequence[int]]  # ids of N sequences


def pad_pairs(sources: Rows, targets: Rows, *, max_source: int | None = None, max_target: int | None = None) -> Pairs:
    """Pads sources and targets without EOS to widths S and T, by default of the longest; what does not fit is an error.

    Example:
      >>> pairs = pad_pairs([[4, 5], [4]], [[5, 4], []])
      >>> pairs.sources.tolist(), pairs.targets.tolist(), pairs.target_lengths.tolist()
      ([[4, 5], [4, 0]], [[5, 4, 2], [2, 0, 0]], [3, 1])
    """
    if len(sources) != len(targets):
        raise ValueError(f"pad_pairs: expected as many sources as targets, got {len(sources)} and {len(targets)}.")
    ended = [[*target, EOS] for target in targets]
    return Pairs(*_padded(sources, max_source, "max_source"), *_padded(ended, max_target, "max_target"))


def _padded(rows: Rows, width: int | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """N rows of ids as `(ids [N, width], lengths [N])`."""
    lengths = np.array([len(row) for row in rows], np.int32)
    longest = int(lengths.max(initial=0))
    width = longest if width is None else width
    if longest > width:
        raise ValueError(
            f"pad_pairs: expected at most {name}={width} ids, got {longest} in pair {int(lengths.argmax())}; leave "
            f"such pairs out, or pass a larger {name}."
        )
    ids = np.full((len(rows), width), PAD, np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return ids, lengths
