"""What experiments on pairs of sequences share on the host: symbols, padding, batches, splits. NumPy only.

A target ends with EOS and is padded after it; what a decoder reads is the target shifted by one, BOS in front.
"""

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

import rnnjax

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIAL = ("<pad>", "<bos>", "<eos>", "<unk>")  # what these four are shown as

# ---- symbols -------------------------------------------------------------------------------------------------


class Symbols(NamedTuple):
    """Symbols and their ids, padding, begin, end and unknown in front; built by `of`, from training data only.

    Attributes:
      symbols: V of them, the four of SPECIAL first; symbol i has the id i.
      ids: of the symbols after the four.

    Example:
      >>> symbols = Symbols.of([["to", "be"], ["not", "to", "be"], ["to"]], min_count=2)
      >>> symbols.symbols[4:], symbols.size
      (('to', 'be'), 6)
      >>> symbols.encode(["to", "see"]).tolist()
      [4, 3]
      >>> symbols.decode([1, 4, 5, 2, 4])
      ['to', 'be']
    """

    symbols: tuple[str, ...]
    ids: dict[str, int]

    @classmethod
    def of(cls, sequences: Iterable[Iterable[str]], min_count: int = 1, max_size: int | None = None) -> "Symbols":
        """The symbols of training sequences, by falling count, those of equal count sorted.

        Args:
          sequences: strings (their characters are the symbols) or lists of words.
          min_count: symbols seen less often are left out.
          max_size: at most so many, the four in front included; the most frequent ones stay.
        """
        counts = Counter(symbol for sequence in sequences for symbol in sequence)
        kept = sorted((s for s, count in counts.items() if count >= min_count), key=lambda s: (-counts[s], s))
        if max_size is not None:
            if max_size < len(SPECIAL):
                raise ValueError(f"Symbols.of: expected max_size of at least {len(SPECIAL)}, got {max_size}.")
            kept = kept[: max_size - len(SPECIAL)]
        return cls._behind_special(kept)

    @classmethod
    def _behind_special(cls, symbols: Iterable[str]) -> "Symbols":
        # The names of the four are no entries of the table: in a text, "<pad>" is as unknown as any other word.
        symbols = tuple(symbols)
        return cls(SPECIAL + symbols, {symbol: i for i, symbol in enumerate(symbols, len(SPECIAL))})

    @property
    def size(self) -> int:
        """V."""
        return len(self.symbols)

    def encode(self, symbols: Iterable[str]) -> np.ndarray:
        """Ids `[N]`, int32, of N symbols; UNK for one that is not in the vocabulary."""
        return np.fromiter((self.ids.get(symbol, UNK) for symbol in symbols), np.int32)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """The symbols of ids `[N]` up to the first EOS, without PAD and BOS; ValueError names an id out of range."""
        symbols = []
        for i in (int(i) for i in ids):
            if not 0 <= i < self.size:
                raise ValueError(f"Symbols.decode: expected ids from 0 to {self.size - 1}, got {i}.")
            if i == EOS:
                break
            if i not in (PAD, BOS):
                symbols.append(self.symbols[i])
        return symbols

    def save(self, path: str | os.PathLike) -> None:
        """Writes the symbols after the four as a JSON list, atomically."""
        rnnjax.data.write_text(path, json.dumps(self.symbols[len(SPECIAL) :], ensure_ascii=False))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Symbols":
        """Reads what `save` wrote; ValueError if it is something else."""
        try:
            symbols = json.loads(rnnjax.data.read_text(path))
        except json.JSONDecodeError as error:
            raise ValueError(f"Symbols.load: expected a JSON list of symbols in {path}, got {error}.") from None
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise ValueError(f"Symbols.load: expected a JSON list of symbols in {path}, got something else.")
        return cls._behind_special(symbols)


# ---- arrays and batches --------------------------------------------------------------------------------------


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


class Batch(NamedTuple):
    """B pairs, time first.

    Attributes:
      sources: `[S, B]`, int32.
      source_lengths: `[B]`, int32.
      targets: `[T, B]`, int32; each ends with EOS, then padding.
      target_lengths: `[B]`, int32, EOS counted.
    """

    sources: np.ndarray
    source_lengths: np.ndarray
    targets: np.ndarray
    target_lengths: np.ndarray


def encode_pairs(
    sources: Sequence[Any],
    targets: Sequence[Any],
    encode_source: Callable[[Any], np.ndarray],
    encode_target: Callable[[Any], np.ndarray],
    *,
    pad_id: int = PAD,
    eos_id: int = EOS,
    max_source: int | None = None,
    max_target: int | None = None,
) -> Pairs:
    """Pairs as padded ids.

    Args:
      sources: N of them, whatever `encode_source` takes.
      targets: N of them, whatever `encode_target` takes.
      encode_source: a source to its ids `[any length]`.
      encode_target: a target to its ids `[any length]`, without EOS.
      pad_id: what fills a row up.
      eos_id: what ends a target.
      max_source: S; the longest source by default. Training and held-out pairs may need the same.
      max_target: T, EOS counted; the longest target by default.

    Returns:
      `Pairs(sources [N, S], source_lengths [N], targets [N, T], target_lengths [N])`.

    Raises:
      ValueError: as many sources as targets are expected; or a pair does not fit: nothing is cut silently.

    Example:
      >>> code = lambda text: np.array([ord(c) - 93 for c in text], np.int32)
      >>> pairs = encode_pairs(["ab", "a"], ["ba", ""], code, code)
      >>> pairs.sources.tolist(), pairs.targets.tolist(), pairs.target_lengths.tolist()
      ([[4, 5], [4, 0]], [[5, 4, 2], [2, 0, 0]], [3, 1])
    """
    if len(sources) != len(targets):
        raise ValueError(f"encode_pairs: expected as many sources as targets, got {len(sources)} and {len(targets)}.")
    source_rows = [encode_source(source) for source in sources]
    target_rows = [np.append(encode_target(target), eos_id) for target in targets]
    return Pairs(
        *_pad(source_rows, pad_id, max_source, "max_source"), *_pad(target_rows, pad_id, max_target, "max_target")
    )


def _pad(rows: list[np.ndarray], pad_id: int, width: int | None, name: str) -> tuple[np.ndarray, np.ndarray]:
    """N rows of ids as `(ids [N, width], lengths [N])`."""
    lengths = np.array([len(row) for row in rows], np.int32)
    longest = int(lengths.max(initial=0))
    width = longest if width is None else width
    if longest > width:
        at = int(lengths.argmax())
        raise ValueError(
            f"encode_pairs: expected at most {name}={width} ids, got {longest} in pair {at}; leave such pairs out, or "
            f"pass a larger {name}."
        )
    ids = np.full((len(rows), width), pad_id, np.int32)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = row
    return ids, lengths


def batches(pairs: Pairs, *, batch_size: int, seed: int) -> Callable[[int], Batch]:
    """Batches of one shape as a function of the step alone, so that a run can resume anywhere.

    Every epoch has an order of its own; the pairs that do not fill its last batch are left out of that epoch.

    Args:
      pairs: N of them.
      batch_size: B.
      seed: the same one gives the same batches.

    Returns:
      `step -> Batch(sources [S, B], source_lengths [B], targets [T, B], target_lengths [B])`.

    Raises:
      ValueError: a batch_size that is not in 1 ... N.
    """
    count = len(pairs.sources)
    if not 1 <= batch_size <= count:
        raise ValueError(f"batches: expected batch_size from 1 to the {count} pairs there are, got {batch_size}.")
    per_epoch = count // batch_size

    @functools.lru_cache(maxsize=2)  # a permutation of all pairs is made once an epoch, not once a step
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(count)

    def batch(step: int) -> Batch:
        epoch, n = divmod(int(step), per_epoch)
        rows = order(epoch)[n * batch_size : (n + 1) * batch_size]
        return Batch(
            np.ascontiguousarray(pairs.sources[rows].T),  # [S, B]
            pairs.source_lengths[rows],
            np.ascontiguousarray(pairs.targets[rows].T),  # [T, B]
            pairs.target_lengths[rows],
        )

    return batch


# ---- splits --------------------------------------------------------------------------------------------------


def split_by_source(
    sources: Sequence[Hashable], targets: Sequence[Hashable], fractions: Sequence[float], seed: int
) -> list[np.ndarray]:
    """A split in which no source, and no target, of one part is seen in another.

    Collections of translations hold many sources with several targets, and the other way round. Pairs that share
    either, directly or through other pairs, form a group; groups in random order fill the parts, each whole, so that a
    part is only about as large as asked for.

    Args:
      sources: N keys: equal ones are the same source. For texts that differ in case and spaces only, pass what
        remains of them, such as `" ".join(words(text))`.
      targets: N keys.
      fractions: of the pairs in each part, training first; they add up to 1.
      seed: the same one gives the same split.

    Returns:
      One array of indices `[part]` a fraction, sorted; each of N indices is in one of them.

    Raises:
      ValueError: numbers of sources and targets that differ, fractions that are not positive and of sum 1, or a part
        for which no group is left.

    Example:
      >>> parts = split_by_source(["a", "b", "b", "c"], ["A", "A", "B", "C"], (0.75, 0.25), seed=0)
      >>> [part.tolist() for part in parts]
      [[0, 1, 2], [3]]
    """
    if len(sources) != len(targets):
        raise ValueError(
            f"split_by_source: expected as many sources as targets, got {len(sources)} and {len(targets)}."
        )
    if min(fractions, default=0) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"split_by_source: expected positive fractions of sum 1, got {tuple(fractions)}.")
    groups = _groups(sources, targets)
    order = np.random.default_rng(seed).permutation(len(groups))
    # A group goes to the part that lacks most. Giant ones go first, so that the small ones even out what they leave.
    order = sorted(order, key=lambda i: len(groups[i]) > 0.01 * len(sources), reverse=True)
    parts: list[list[int]] = [[] for _ in fractions]
    missing = [fraction * len(sources) for fraction in fractions]
    for i in order:
        part = int(np.argmax(missing))
        parts[part] += groups[i]
        missing[part] -= len(groups[i])
    if not all(parts):
        raise ValueError(
            f"split_by_source: expected a group of pairs for each of {len(parts)} parts, got {len(groups)} groups, the "
            f"largest of {max(map(len, groups), default=0)} pairs; use more pairs or fewer parts."
        )
    return [np.array(sorted(part), np.int64) for part in parts]


def _groups(sources: Sequence[Hashable], targets: Sequence[Hashable]) -> list[list[int]]:
    """The indices of pairs that share a source or a target, directly or through others: union-find over pairs."""
    parent = list(range(len(sources)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halves the path, so that later walks are short
            i = parent[i]
        return i

    for keys in (sources, targets):
        first: dict[Hashable, int] = {}
        for i, key in enumerate(keys):
            parent[root(i)] = root(first.setdefault(key, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(parent)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())
