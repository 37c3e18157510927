"""Pairs of sequences on the host: symbols and their ids, and pairs padded to arrays. NumPy only.

A target ends with EOS and is padded after it; a decoder reads the target shifted by one, BOS in front.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

import rnnjax

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")  # what these four are shown as


class Symbols(NamedTuple):
    """Symbols and their ids; padding, begin, end and unknown come first.

    Attributes:
      symbols: V of them, the four of SPECIAL first; symbol i has the id i.
      ids: of the symbols after these four.

    Example:
      >>> symbols = Symbols.of(["to be", "not"])
      >>> symbols.symbols[4:], symbols.size
      (('o', 't', ' ', 'b', 'e', 'n'), 10)
      >>> symbols.encode("tea").tolist()
      [5, 8, 3]
      >>> symbols.decode([1, 5, 4, 2, 9])
      'to'
    """

    symbols: tuple[str, ...]
    ids: dict[str, int]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "Symbols":
        """Takes the characters of training texts, by falling count, those of equal count sorted."""
        counts = Counter(symbol for text in texts for symbol in text)
        return cls._after_special(sorted(counts, key=lambda symbol: (-counts[symbol], symbol)))

    @classmethod
    def _after_special(cls, symbols: Iterable[str]) -> "Symbols":
        symbols = tuple(symbols)
        return cls(SPECIAL + symbols, {symbol: i for i, symbol in enumerate(symbols, len(SPECIAL))})

    @property
    def size(self) -> int:
        """V."""
        return len(self.symbols)

    def encode(self, text: Iterable[str]) -> np.ndarray:
        """Gives the ids `[N]`, int32, of N symbols; UNK for one that is unknown."""
        return np.fromiter((self.ids.get(symbol, UNK) for symbol in text), np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Gives the text of ids `[N]` up to the first EOS, without PAD and BOS; ValueError names an id out of range."""
        symbols = []
        for i in map(int, ids):
            if not 0 <= i < self.size:
                raise ValueError(f"Symbols.decode: expected ids from 0 to {self.size - 1}, got {i}.")
            if i == EOS:
                break
            if i not in (PAD, BOS):
                symbols.append(self.symbols[i])
        return "".join(symbols)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the symbols after the first four as a JSON list, atomically."""
        rnnjax.data.write_text(path, json.dumps(self.symbols[len(SPECIAL) :], ensure_ascii=False))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Symbols":
        """Reads what `save` wrote; ValueError if it is something else."""
        return cls._after_special(rnnjax.data.Vocabulary.load(path).symbols)


class Pairs(NamedTuple):
    """N pairs of sequences as ids, padded on the right.

    Attributes:
      sources: `[N, S]`, int32.
      source_lengths: `[N]`, int32.
      targets: `[N, T]`, int32; each ends with EOS, then padding.
      target_lengths: `[N]`, int32, EOS counted.
    """

    sources: np.ndarray
    source_lengths: np.ndarray
    targets: np.ndarray
    target_lengths: np.ndarray


def pad_pairs(
    sources: Sequence[np.ndarray],
    targets: Sequence[np.ndarray],
    *,
    max_source: int | None = None,
    max_target: int | None = None,
) -> Pairs:
    """Pads ids to arrays, with EOS after each target.

    Args:
      sources: N of ids `[any length]`.
      targets: N of ids `[any length]`, without EOS.
      max_source: S; the longest source by default. Training and held-out pairs may need the same.
      max_target: T, EOS counted; the longest target by default.

    Returns:
      `Pairs(sources [N, S], source_lengths [N], targets [N, T], target_lengths [N])`.

    Raises:
      ValueError: another number of targets than of sources; or a pair that does not fit: nothing is cut silently.

    Example:
      >>> pairs = pad_pairs([np.array([4, 5]), np.array([4])], [np.array([5, 4]), np.array([])])
      >>> pairs.sources.tolist(), pairs.targets.tolist(), pairs.target_lengths.tolist()
      ([[4, 5], [4, 0]], [[5, 4, 2], [2, 0, 0]], [3, 1])
    """
    if len(sources) != len(targets):
        raise ValueError(f"pad_pairs: expected as many sources as targets, got {len(sources)} and {len(targets)}.")
    ended = [np.append(target, EOS) for target in targets]
    return Pairs(*_padded(sources, max_source, "max_source"), *_padded(ended, max_target, "max_target"))


def _padded(rows: Sequence[np.ndarray], width: int | None, name: str) -> tuple[np.ndarray, np.ndarray]:
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
