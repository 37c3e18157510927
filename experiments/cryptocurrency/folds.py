"""The walk forward: folds of days, a fold in numbers that know nothing of its test days, and linear baselines."""

from typing import Any, NamedTuple

import numpy as np

from experiments.cryptocurrency.trading import Days
from experiments.lib import series

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class Fold(NamedTuple):
    """Days that are forecast, in order of time, each from the window before it; or what belongs to them."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def folds(count: int, config: Any) -> list[Fold]:
    """Walks through the last of so many days; every fold learns from all days before it."""
    length = int(count * config.tested) // config.folds
    starts = [count - length * (config.folds - i) for i in range(config.folds)]
    learned = starts[0] - config.validation - config.window
    if length < 2 or learned < config.window:
        raise ValueError(
            f"expected --folds, --tested, --validation and --window to leave at least {config.window} days to learn "
            f"from and 2 in a fold, got {learned} and {length} of {count} days."
        )
    edges = [(config.window, start - config.validation, start, start + length) for start in starts]
    return [Fold(np.arange(a, b), np.arange(b, c), np.arange(c, d)) for a, b, c, d in edges]


class Task(NamedTuple):
    """A fold in numbers, scaled by its training days."""

    windows: Fold  # [T, days, F]
    up: Fold  # 1.0 where the return is above 0 [days]
    returns: Fold  # scaled [days]
    scale: series.Scale  # of the returns


def prepare(days: Days, fold: Fold, config: Any) -> Task:
    """Makes the `Task` of a fold; nothing of its test days enters but their own windows and outcomes."""
    known = slice(0, fold.training[-1] + 1)
    inputs = series.fit_scale(days.inputs[known]).apply(days.inputs)
    scale = series.fit_scale(days.returns[known, None])
    targets = scale.apply(days.returns[:, None])[:, 0]
    return Task(
        Fold(*(series.windows(inputs, part - 1, config.window).swapaxes(0, 1) for part in fold)),
        Fold(*((days.returns[part] > 0).astype(np.float32) for part in fold)),
        Fold(*(targets[part] for part in fold)),
        scale,
    )


def flatten(windows: np.ndarray) -> np.ndarray:
    """`[T, B, F]` -> `[B, T F]`."""
    return windows.swapaxes(0, 1).reshape(windows.shape[1], -1)


def fit_linear_models(task: Task) -> tuple[series.LinearModel, series.LinearModel]:
    """Fits a logistic model of the direction and a linear one of the return; the validation days choose the ridges."""
    seen, unseen = (flatten(windows) for windows in task.windows[:2])

    def best(fits, loss):
        return min(fits, key=lambda fit: np.mean(loss(fit.predict(unseen)[:, 0])))

    logistic = (fit_logistic(seen, task.up.training, ridge) for ridge in RIDGES)
    linear = (series.fit_linear(seen, task.returns.training[:, None], ridge) for ridge in RIDGES)
    return (
        best(logistic, lambda z: np.logaddexp(0, z) - task.up.validation * z),
        best(linear, lambda y: (y - task.returns.validation) ** 2),
    )


def fit_logistic(xs: np.ndarray, ys: np.ndarray, ridge: float) -> series.LinearModel:
    """Fits P(y = 1) = sigmoid([x; 1] w) by Newton's method: least mean cross-entropy + ridge |w|^2 / 2."""
    rows = np.column_stack([xs, np.ones(len(xs))]).astype(np.float64)
    penalty, w = np.append(np.full(xs.shape[1], ridge), 0.0), np.zeros(rows.shape[1])
    for _ in range(25):
        p = 1 / (1 + np.exp(-rows @ w))
        gradient = rows.T @ (p - ys) / len(ys) + penalty * w
        hessian = (rows * (p * (1 - p))[:, None]).T @ rows / len(ys) + np.diag(penalty)
        w -= np.linalg.solve(hessian, gradient)
        if np.abs(gradient).max() < 1e-9:
            break
    return series.LinearModel(w[:, None])
