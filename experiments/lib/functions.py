"""Functions of time to be followed: waves, and two that are chaotic."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def logistic_map(count: int, rng: np.random.Generator) -> np.ndarray:
    """x' = 3.9 x (1 - x), chaotic: an error grows by the factor e^0.5 a step."""
    x, values = rng.uniform(0.2, 0.8), np.empty(count)
    for t in range(-100, count):  # the first hundred until it is on its attractor
        x = 3.9 * x * (1 - x)
        values[max(t, 0)] = x
    return values


def mackey_glass(count: int, rng: np.random.Generator) -> np.ndarray:
    """x' = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x, a value every 6 units of time; Mackey & Glass 1977."""
    per_unit, every = 10, 60  # Euler steps
    x = np.full((count + 100) * every + 17 * per_unit, 1.2)
    x[: 17 * per_unit] += 0.1 * rng.normal()
    for t in range(17 * per_unit, len(x)):
        late = x[t - 17 * per_unit]
        x[t] = x[t - 1] + (0.2 * late / (1 + late**10) - 0.1 * x[t - 1]) / per_unit
    return x[-count * every :: every]


def wave(shape: Callable[[np.ndarray], np.ndarray]) -> Callable[[int, np.random.Generator], np.ndarray]:
    """A function of t that begins anywhere."""
    return lambda count, rng: shape(np.arange(count) + 1000 * rng.uniform())


class Function(NamedTuple):
    """What is followed.

    Attributes:
      title: of its panel.
      make: `(count, rng) -> values [count]`.
      chaotic: then no noise is added, as its own errors grow anyway.
      shown: steps of a figure.
    """

    title: str
    make: Callable[[int, np.random.Generator], np.ndarray]
    chaotic: bool = False
    shown: int = 125


def two_sines(t: np.ndarray) -> np.ndarray:
    """Two periods, 25 and 25 / sqrt(5), that never meet again."""
    return 0.5 * np.sin(2 * np.pi * t / 25) + 0.5 * np.sin(2 * np.pi * 5**0.5 * t / 25)


def modulated(t: np.ndarray) -> np.ndarray:
    """A period of 25 that swells and fades within 160 steps, more than the window shows."""
    return (0.6 + 0.4 * np.sin(2 * np.pi * t / 160)) * np.sin(2 * np.pi * t / 25)


FUNCTIONS = {
    "sine": Function("sine, period 25", wave(lambda t: np.sin(2 * np.pi * t / 25))),
    "two_sines": Function("two sines, periods 25 and 11.2", wave(two_sines)),
    "modulated": Function("sine that swells and fades", wave(modulated)),
    "sawtooth": Function("sawtooth, period 25", wave(lambda t: 2 * (t / 25 % 1) - 1)),
    "square": Function("square wave, period 25", wave(lambda t: np.where(t / 25 % 1 < 0.5, 1.0, -1.0))),
    "logistic": Function("logistic map", logistic_map, chaotic=True, shown=25),
    "mackey_glass": Function("Mackey-Glass", mackey_glass, chaotic=True, shown=100),
}
