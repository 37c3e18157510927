"""Time series: scaling, windows, linear models."""

from typing import NamedTuple

import numpy as np


class Scale(NamedTuple):
    """Mean and standard deviation of each feature, of the training data."""

    mean: np.ndarray  # [F]
    std: np.ndarray  # [F], 1 for a feature that does not vary

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Values `[..., F]` with mean 0 and standard deviation 1 on the training data."""
        return ((values - self.mean) / self.std).astype(np.float32)


def fit_scale(values: np.ndarray) -> Scale:
    """Measures the `Scale` of training data `[N, F]`."""
    std = values.std(axis=0)
    return Scale(values.mean(axis=0), np.where(std > 0, std, 1.0))


def windows(values: np.ndarray, ends: np.ndarray, length: int, stride: int = 1) -> np.ndarray:
    """Cuts pieces `[M, T, ...]` out of a series `[N, ...]`, the last row of each at its end `[M]`.

    >>> windows(np.arange(10), np.array([4, 9]), length=3, stride=2).tolist()
    [[0, 2, 4], [5, 7, 9]]
    """
    return values[ends[:, None] + stride * np.arange(1 - length, 1)]


class LinearModel(NamedTuple):
    """y = [x; 1] W, by least squares."""

    weights: np.ndarray  # [D + 1, K], the last row the bias

    def predict(self, xs: np.ndarray) -> np.ndarray:
        """Predictions `[N, K]` for `[N, D]`."""
        return xs @ self.weights[:-1] + self.weights[-1]


def fit_linear(xs: np.ndarray, ys: np.ndarray, ridge: float = 0.0) -> LinearModel:
    """Minimises mean |y - [x; 1] W|^2 + ridge |W|^2, the bias left out of the penalty; xs `[N, D]`, ys `[N, K]`.

    >>> model = fit_linear(np.array([[0.0], [1.0], [2.0]]), np.array([[1.0], [3.0], [5.0]]))
    >>> model.predict(np.array([[10.0]])).round(6).tolist()
    [[21.0]]
    """
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    mean_x, mean_y = xs.mean(axis=0), ys.mean(axis=0)
    rows, targets = xs - mean_x, ys - mean_y
    if ridge:  # rows that pull the weights to zero: least squares, which stays stable where columns depend
        rows = np.concatenate([rows, np.sqrt(ridge * len(xs)) * np.eye(xs.shape[1])])
        targets = np.concatenate([targets, np.zeros((xs.shape[1], ys.shape[1]))])
    slope = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return LinearModel(np.concatenate([slope, (mean_y - mean_x @ slope)[None]]))
