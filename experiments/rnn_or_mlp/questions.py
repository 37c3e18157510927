"""Questions with two answers, equally frequent, about sequences and about rows of a table; all generated."""

import itertools
from typing import NamedTuple

import numpy as np


class Examples(NamedTuple):
    """N examples."""

    xs: np.ndarray  # inputs, right-padded with zeros [T, N, F]
    lengths: np.ndarray  # steps of each [N]
    labels: np.ndarray  # 0 or 1 [N]


class Task(NamedTuple):
    """What is to be learned; no example of validation is trained on, and none of the test is in the other two."""

    training: Examples
    validation: Examples
    test: Examples
    best: float  # accuracy on the test of the best possible answer


def order(lengths: np.ndarray, rng: np.random.Generator) -> Examples:
    """Letters, one-hot `[T, N, 4]`; 1 where "ab" comes before "ba"."""
    count, rows = len(lengths), np.arange(len(lengths))
    letters = rng.integers(4, size=(lengths.max(), count))
    for before, now in itertools.pairwise(letters):
        pattern = (before + now == 1) & (before != now)
        now[pattern] = 2 + rng.integers(2, size=pattern.sum())
    one, other = rng.integers(lengths - 3), rng.integers(lengths - 4)
    other += other >= one  # two of the places 0 ... length - 4, and the second pattern two steps on
    first, second = np.minimum(one, other), np.maximum(one, other) + 2
    labels = rng.integers(2, size=count)
    for place, begin in ((first, 1 - labels), (second, labels)):
        for at in (place - 1, place + 2):  # neighbours that make no other pattern
            inside = (at >= 0) & (at < lengths)
            letters[at[inside], rows[inside]] = 2 + rng.integers(2, size=inside.sum())
        letters[place, rows], letters[place + 1, rows] = begin, 1 - begin
    real = np.arange(len(letters))[:, None] < lengths
    return Examples((np.eye(4)[letters] * real[..., None]).astype(np.float32), lengths, labels)


def parity(lengths: np.ndarray, rng: np.random.Generator, flagged: float = 0.2) -> Examples:
    """Bits as -1 and 1, and flags, a share of them set `[T, N, 2]`; 1 where an odd number of flagged bits is 1."""
    shape = (lengths.max(), len(lengths))
    real = np.arange(shape[0])[:, None] < lengths
    bits, flags = rng.integers(2, size=shape), (rng.random(shape) < flagged) & real
    flags[rng.integers(lengths), np.arange(shape[1])] = True  # at least one, so that the answers are equally frequent
    xs = np.stack([(2 * bits - 1) * real, flags], axis=-1).astype(np.float32)
    return Examples(xs, lengths, (bits * flags).sum(axis=0) % 2)


def clusters(count: int, rng: np.random.Generator, centres: np.ndarray) -> tuple[Examples, float]:
    """Points around centres `[C, F]`, even ones of class 0; with the accuracy of the most probable class."""
    which = rng.integers(len(centres), size=count)
    points = centres[which] + rng.standard_normal((count, centres.shape[1]))
    near = np.exp(-0.5 * ((points[:, None] - centres) ** 2).sum(axis=-1))  # [N, C]
    best = near[:, 1::2].sum(axis=1) > near[:, ::2].sum(axis=1)
    return rows_of(points, which % 2), float(np.mean(best == which % 2))


def interactions(count: int, rng: np.random.Generator, features: int, pairs: int) -> Examples:
    """Features without a mean; 1 where the sum of the products of the first pairs of neighbours is positive."""
    points = rng.standard_normal((count, features))
    return rows_of(points, (points[:, 0 : 2 * pairs : 2] * points[:, 1 : 2 * pairs : 2]).sum(axis=1) > 0)


def rows_of(points: np.ndarray, labels: np.ndarray) -> Examples:
    """A table `[N, F]` as F steps of one feature."""
    lengths = np.full(len(points), points.shape[1])
    return Examples(points.T[..., None].astype(np.float32), lengths, labels.astype(np.int64))


def take(examples: Examples, rows: np.ndarray) -> Examples:
    """Examples of some rows `[...]`, such as a mask."""
    return Examples(examples.xs[:, rows], examples.lengths[rows], examples.labels[rows])


def unknown(examples: Examples, known: list[Examples]) -> Examples:
    """Those examples that are none of the known ones; short sequences come up again."""

    def names(part):
        return [x[:n].tobytes() for x, n in zip(np.moveaxis(part.xs, 1, 0), part.lengths, strict=True)]

    seen = {name for part in known for name in names(part)}
    return take(examples, np.array([name not in seen for name in names(examples)]))


def last_steps(examples: Examples, window: int) -> Examples:
    """What an MLP reads: the last steps of each as a single one `[1, N, window * F]`, zeros in front of short ones."""
    steps = examples.lengths - window + np.arange(window)[:, None]  # [window, N]
    xs = np.take_along_axis(examples.xs, np.maximum(steps, 0)[..., None], axis=0) * (steps >= 0)[..., None]
    flat = np.moveaxis(xs, 0, 1).reshape(1, len(examples.labels), -1).astype(np.float32)
    return Examples(flat, np.ones_like(examples.lengths), examples.labels)
