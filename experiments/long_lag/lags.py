"""Tasks with long time lags: sequences that ask, at their end, for what came at their beginning."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import rnnjax

TOLERANCE = 0.04  # of a sum in [0, 2)
SOLVED = 0.01  # mean squared error of a solved lag
TRAIN, VALIDATION, TEST, OTHER = range(4)  # sequences that are never the same


class Batch(NamedTuple):
    """Sequences of T steps, padded with zeros behind their end."""

    inputs: np.ndarray  # [T, B, F]
    targets: np.ndarray  # sums [T, B], or ids of symbols [T, B]
    where: np.ndarray  # the steps at which the network is asked [T, B]
    allowed: np.ndarray | None = None  # the symbols that are right there [T, B, V]; None for sums


class Task(NamedTuple):
    """What is read and answered, and how sequences are drawn."""

    inputs: int  # F
    outputs: int  # V, or 1 for a sum
    lag: int | None  # the longest, for the chrono initialisation; None for the usual one, where lags are short
    steps: int  # updates that it takes
    make: Callable[[np.random.Generator, int], Batch]  # so many sequences


def make_tasks(config: Any) -> dict[str, Task]:
    """Makes the tasks by name."""
    return {
        "adding": Task(2, 1, config.lag, config.steps, functools.partial(adding, length=config.lag)),
        "copy": Task(10, 8, config.delay + 10, 4000, functools.partial(copying, delay=config.delay)),
        "reber": Task(7, 7, None, 1000, reber),
        "order": Task(8, 4, 100, 1000, ordering),
    }


def rng_of(config: Any, *number: int) -> np.random.Generator:
    """Makes the generator of some sequences, such as `TRAIN, 17`."""
    return np.random.default_rng((config.seed, *number))


def adding(rng: np.random.Generator, count: int, length: int) -> Batch:
    """The adding problem, T = length."""
    u, rows = rng.random((length, count), np.float32), np.arange(count)
    first, second = rng.integers(min(10, length // 2), size=count), rng.integers(length // 2 - 1, size=count)
    marks = np.zeros_like(u)
    marks[first, rows] = marks[second + (second >= first), rows] = 1.0
    targets = np.broadcast_to((u * marks).sum(axis=0), u.shape)
    return Batch(np.stack([u, marks], axis=-1), targets, np.arange(length)[:, None] == np.full(count, length - 1))


def copying(rng: np.random.Generator, count: int, delay: int) -> Batch:
    """Ten of eight symbols, `delay` blanks of which the last says go, and ten steps to write the symbols."""
    symbols = rng.integers(8, size=(10, count))
    ids = np.full((20 + delay, count), 8)
    ids[:10], ids[9 + delay] = symbols, 9
    targets, where = np.zeros_like(ids), np.zeros(ids.shape, bool)
    targets[-10:], where[-10:] = symbols, True
    return Batch(np.eye(10, dtype=np.float32)[ids], targets, where, np.eye(8, dtype=bool)[targets])


def ordering(rng: np.random.Generator, count: int) -> Batch:
    """Task 6a of the paper: which of X and Y came at a step in 10..20, and which in 50..60, of 100 to 110 steps."""
    ids, rows = rng.integers(4, size=(110, count)), np.arange(count)  # a, b, c, d
    last = rng.integers(100, 111, size=count) - 1
    symbols = rng.integers(2, size=(2, count))
    ids[0], ids[last, rows] = 6, 7  # E at the beginning, B at the end
    ids[rng.integers(10, 21, size=count), rows] = 4 + symbols[0]
    ids[rng.integers(50, 61, size=count), rows] = 4 + symbols[1]
    steps = np.arange(110)[:, None]
    targets = np.broadcast_to(2 * symbols[0] + symbols[1], ids.shape)
    inputs = np.eye(8, dtype=np.float32)[ids] * (steps <= last)[..., None]
    return Batch(inputs, targets, steps == last, np.eye(4, dtype=bool)[targets])


REBER = "BTPSXVE"
GRAPH = {0: "B1", 1: "T2P3", 2: "S2X4", 3: "T3V5", 4: "X3S6", 5: "P4V6", 6: "E7"}  # node: symbol and node after it


def reber_string(rng: np.random.Generator) -> tuple[str, list[str]]:
    """A string of the embedded Reber grammar, and the symbols that are possible after each of its symbols but the last.

    B, T or P, a string of the Reber grammar, the same T or P again, E.
    """
    choice, inner, possible, node = "TP"[rng.integers(2)], "", ["TP", "B"], 0
    while node != 7:
        arrow = 2 * rng.integers(len(GRAPH[node]) // 2)
        inner, node = inner + GRAPH[node][arrow], int(GRAPH[node][arrow + 1])
        possible.append(GRAPH[node][::2] if node != 7 else choice)
    return "B" + choice + inner + choice + "E", [*possible, "E"]


def reber(rng: np.random.Generator, count: int, steps: int = 40) -> Batch:
    """Strings of the embedded Reber grammar of at most so many steps: what may come next, at every step."""
    inputs, allowed = np.zeros((2, steps, count, len(REBER)), bool)
    targets = np.zeros((steps, count), int)
    for row in range(count):
        string, possible = reber_string(rng)
        while len(possible) > steps:
            string, possible = reber_string(rng)
        for step, symbols in enumerate(possible):
            inputs[step, row, REBER.index(string[step])] = True
            allowed[step, row, [REBER.index(symbol) for symbol in symbols]] = True
            targets[step, row] = REBER.index(string[step + 1])
    return Batch(inputs.astype(np.float32), targets, allowed.any(axis=-1), allowed)


def make_loss(apply: Callable[[Any, Any], Any]):
    """Makes `(params, batch, *, key) -> SumCount`: squared errors of sums, nats of symbols."""

    def loss_fn(params, batch, *, key=None):
        outputs, name = apply(params, batch.inputs), "cross_entropy"
        if batch.allowed is None:
            outputs, name = outputs[..., 0], "mean_squared"
        return rnnjax.losses.get_loss(name)(outputs, batch.targets, where=batch.where)

    return loss_fn


def errors_of(outputs: np.ndarray, batch: Batch) -> np.ndarray:
    """What the sums that are asked for are missed by, `[B]`."""
    return (outputs[..., 0] - batch.targets)[batch.where]


def right(outputs: np.ndarray, batch: Batch) -> np.ndarray:
    """Where every allowed symbol is ranked before every other, or the network is not asked, `[T, B]`."""
    lowest = np.where(batch.allowed, outputs, np.inf).min(axis=-1)
    return (lowest > np.where(batch.allowed, -np.inf, outputs).max(axis=-1)) | ~batch.where
