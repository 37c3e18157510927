"""Intervals for what was measured: of shares, and of means over errors that depend on each other."""

from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """A mean with the ends of its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def bootstrap(values: np.ndarray, *, over: np.ndarray | None = None, block: int = 1, seed: int = 0) -> Interval:
    """Takes the mean of values `[N]` in order of time, over that of others if given, by a moving-block bootstrap.

    A block is how many neighbours depend on each other, such as overlapping forecasts. Reference: Künsch 1989, "The
    jackknife and the bootstrap for general stationary observations".
    """
    rng = np.random.default_rng(seed)
    count, block = len(values), min(block, len(values))
    blocks = rng.integers(count - block + 1, size=(2000, -(-count // block)))

    def drawn(values):
        sums = np.convolve(values, np.ones(block), mode="valid")  # of every block
        return sums[blocks].mean(axis=1) / block

    means, mean = drawn(values), np.mean(values)
    if over is not None:
        means, mean = means / drawn(over), mean / np.mean(over)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(mean), float(low), float(high))


def wilson(right: np.ndarray) -> Interval:
    """Takes the share of right answers `[N]`, or `[S, N]` of S seeds, which make Wilson's interval no narrower.

    >>> [round(end, 4) for end in wilson(np.array([True] * 8 + [False] * 2))]
    [0.8, 0.4902, 0.9433]
    """
    mean, count, z = float(right.mean()), right.shape[-1], 1.96
    middle = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2))
    return Interval(mean, max(0.0, float(middle - half)), min(1.0, float(middle + half)))
