"""Intervals for what was measured: of shares, and of means over errors that depend on each other."""

from collections.abc import Callable
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
    drawn = _means_of_blocks(np.stack([values] if over is None else [values, over], axis=1), block, seed)
    means, mean = drawn[:, 0], np.mean(values)
    if over is not None:
        means, mean = means / drawn[:, 1], mean / np.mean(over)
    return _interval(mean, means)


def correlation(xs: np.ndarray, ys: np.ndarray, *, block: int = 1, seed: int = 0) -> Interval:
    """Takes the correlation of xs with ys `[N]`, both in order of time, by the same bootstrap."""
    x, y = ((values - np.mean(values)) / np.std(values) for values in (xs, ys))
    x_mean, y_mean, xx, yy, xy = _means_of_blocks(np.stack([x, y, x * x, y * y, x * y], axis=1), block, seed).T
    spread = np.sqrt(np.maximum((xx - x_mean**2) * (yy - y_mean**2), 1e-12))
    return _interval(np.mean(x * y), (xy - x_mean * y_mean) / spread)


def _means_of_blocks(values: np.ndarray, block: int, seed: int) -> np.ndarray:
    """Means `[2000, K]` of values `[N, K]`, each over blocks drawn with replacement."""
    count, block = len(values), min(block, len(values))
    blocks = np.random.default_rng(seed).integers(count - block + 1, size=(2000, -(-count // block)))
    sums = np.stack(
        [np.convolve(column, np.ones(block), mode="valid") for column in values.T], axis=1
    )  # of every block
    return np.stack([column[blocks].mean(axis=1) for column in sums.T], axis=1) / block


def around(mean: float, low: float, high: float) -> Interval:
    """Makes an interval that has its mean inside, whatever rounding did to its ends.

    >>> around(1.0, 0.9, 1 - 1e-16)
    Interval(mean=1.0, low=0.9, high=1.0)
    """
    return Interval(float(mean), min(float(low), float(mean)), max(float(high), float(mean)))


def _interval(mean: float, drawn: np.ndarray) -> Interval:
    return around(mean, *np.percentile(drawn, [2.5, 97.5]))


def resampled(statistic: Callable[[np.ndarray], float], count: int, *, seed: int = 0) -> Interval:
    """Takes any statistic of the rows of so many examples, by a percentile bootstrap over them.

    >>> [round(end, 1) for end in resampled(lambda rows: float(rows.mean()), 101)]
    [50.0, 44.5, 55.6]
    """
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.integers(count, size=count)) for _ in range(1000)]
    return _interval(statistic(np.arange(count)), np.array(drawn))


def wilson(right: np.ndarray) -> Interval:
    """Takes the share of right answers `[N]`, or `[S, N]` of S seeds, which make Wilson's interval no narrower.

    >>> [round(end, 4) for end in wilson(np.array([True] * 8 + [False] * 2))]
    [0.8, 0.4902, 0.9433]
    """
    mean, count, z = float(right.mean()), right.shape[-1], 1.96
    middle = (mean + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2))
    return around(mean, max(0.0, middle - half), min(1.0, middle + half))
