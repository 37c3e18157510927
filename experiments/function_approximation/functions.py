"""Functions of time to be followed, waves and two that are chaotic, and what is observed of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from experiments.lib import series


class Function(NamedTuple):
    """What is followed."""

    title: str  # of its panel
    make: Callable  # `(count, rng) -> values [count]`
    chaotic: bool = False  # then no noise is added, as its own errors grow anyway
    shown: int = 125  # steps of a figure


def wave(shape: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Makes a function of t that begins anywhere."""
    return lambda count, rng: shape(np.arange(count) + 1000 * rng.uniform())


def two_sines(t: np.ndarray) -> np.ndarray:
    """Adds two periods, 25 and 25 / sqrt(5), that never meet again."""
    return 0.5 * np.sin(2 * np.pi * t / 25) + 0.5 * np.sin(2 * np.pi * 5**0.5 * t / 25)


def modulated(t: np.ndarray) -> np.ndarray:
    """Lets a period of 25 swell and fade within 160 steps, more than the window shows."""
    return (0.6 + 0.4 * np.sin(2 * np.pi * t / 160)) * np.sin(2 * np.pi * t / 25)


def logistic_map(count: int, rng: np.random.Generator) -> np.ndarray:
    """Iterates x' = 3.9 x (1 - x), chaotic: an error grows by the factor e^0.5 per step."""
    x, values = rng.uniform(0.2, 0.8), np.empty(count)
    for t in range(-100, count):  # the first hundred until it is on its attractor
        x = 3.9 * x * (1 - x)
        values[max(t, 0)] = x
    return values


def mackey_glass(count: int, rng: np.random.Generator) -> np.ndarray:
    """Solves x' = 0.2 x(t - 17) / (1 + x(t - 17)^10) - 0.1 x, a value every 6 units of time; Mackey & Glass 1977."""
    per_unit, every = 10, 60  # Euler steps
    x = np.full((count + 100) * every + 17 * per_unit, 1.2)
    x[: 17 * per_unit] += 0.1 * rng.normal()
    for t in range(17 * per_unit, len(x)):
        late = x[t - 17 * per_unit]
        x[t] = x[t - 1] + (0.2 * late / (1 + late**10) - 0.1 * x[t - 1]) / per_unit
    return x[-count * every :: every]


FUNCTIONS = {
    "sine": Function("sine, period 25", wave(lambda t: np.sin(2 * np.pi * t / 25))),
    "two_sines": Function("two sines, periods 25 and 11.2", wave(two_sines)),
    "modulated": Function("sine that swells and fades", wave(modulated)),
    "sawtooth": Function("sawtooth, period 25", wave(lambda t: 2 * (t / 25 % 1) - 1)),
    "square": Function("square wave, period 25", wave(lambda t: np.where(t / 25 % 1 < 0.5, 1.0, -1.0))),
    "logistic": Function("logistic map", logistic_map, chaotic=True, shown=25),
    "mackey_glass": Function("Mackey-Glass", mackey_glass, chaotic=True, shown=100),
}


class Series(NamedTuple):
    """A function and what is observed of it: N values of the training, the validation and the held-out part."""

    truth: np.ndarray  # [N]
    observed: np.ndarray  # with noise [N]
    scaled: np.ndarray  # observed, with mean 0 and standard deviation 1 on the training part [N]
    scale: series.Scale  # of the training part

    def unscale(self, values: Any) -> np.ndarray:
        """Forecasts in units of the series."""
        return np.asarray(values, np.float64) * self.scale.std + self.scale.mean


def generate(name: str, config: Any) -> Series:
    """Draws a function, and adds noise."""
    rng = np.random.default_rng((config.seed, list(FUNCTIONS).index(name)))
    count = config.training + config.validation + config.held_out
    truth = FUNCTIONS[name].make(count, rng)
    observed = truth if FUNCTIONS[name].chaotic else truth + config.noise * rng.normal(size=count)
    scale = series.fit_scale(observed[: config.training])
    return Series(truth, observed, scale.apply(observed), scale)


def targets(config: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows that are forecast from the window before them: training, validation and held-out ones."""
    edges = np.cumsum([config.training, config.validation, config.held_out])
    return np.arange(config.window, edges[0]), np.arange(*edges[:2]), np.arange(*edges[1:])


def free_targets(config: Any) -> np.ndarray:
    """The rows that free runs forecast `[horizon, runs]`."""
    held_out = targets(config)[2]
    first = held_out[np.linspace(0, len(held_out) - config.horizon, config.runs).astype(int)]
    return first + np.arange(config.horizon)[:, None]


def examples(values: np.ndarray, rows: np.ndarray, config: Any) -> np.ndarray:
    """The windows before rows `[M]`, each with the value of the row at its end `[M, T + 1]`."""
    return series.windows(values, rows, config.window + 1)
