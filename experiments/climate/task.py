"""What is forecast from what: parts that share no row, windows read against their own mean day, naive forecasts."""

import itertools
from typing import Any, NamedTuple

import numpy as np

from experiments.data.jena import MINUTES, ROWS_A_DAY, TEMPERATURE, Weather
from experiments.lib import series


class Part(NamedTuple):
    """M windows, and what follows them at K horizons."""

    inputs: np.ndarray  # [M, T, F]
    base: np.ndarray  # the forecast of g = 0, degrees [M, K]
    unit: np.ndarray  # what g counts in, degrees [M, K]
    truth: np.ndarray  # degrees [M, K]

    @property
    def targets(self) -> np.ndarray:
        """g as it should have been `[M, K]`."""
        return ((self.truth - self.base) / self.unit).astype(np.float32)

    def celsius(self, g: np.ndarray) -> np.ndarray:
        """The forecast `[M, K]` that g makes."""
        return self.base + self.unit * g


class Task(NamedTuple):
    """A series of N rows and its split."""

    times: np.ndarray  # [N]
    celsius: np.ndarray  # temperature [N]
    scalars: np.ndarray  # features read against the window's mean day, temperature first, scaled [N, D]
    plain: np.ndarray  # wind, scaled, and sine and cosine of the time of the day [N, E]
    steps: np.ndarray  # standard deviation of the scalars' change between inputs, before the test [D]
    degrees: float  # of one unit of the scaled temperature
    ends: dict[str, list[np.ndarray]]  # last rows of the windows, see `split`
    spread: np.ndarray  # standard deviation of g before the test [K]


def split(times: np.ndarray, config: Any) -> tuple[dict[str, list[np.ndarray]], int]:
    """Finds the last rows of each part's windows, and how many rows lie before the test, the last fifth.

    Training and validation have an entry for each block: the windows without a row of it, and those within it.
    """
    count, reach, before = len(times), config.horizons[-1], config.window - 1
    rows = np.arange(before, count - reach)
    took = times[rows + reach] - times[rows - before]
    rows = rows[took == np.timedelta64((before + reach) * MINUTES, "m")]  # no clock stood still
    first, last, cut = rows - before, rows + reach, int(0.8 * count)
    pairs = list(itertools.pairwise(cut * block // config.blocks for block in range(config.blocks + 1)))
    ends = {
        "training": [rows[(last < cut) & ((last < begin) | (first >= end))] for begin, end in pairs],
        "validation": [rows[(first >= begin) & (last < end)][::6] for begin, end in pairs],  # judged every hour
        "test": [rows[first >= cut][::6]],
        "all": [rows[last < cut]],  # before the test
    }
    if not all(len(some) for part in ends.values() for some in part):
        raise ValueError(
            f"expected more rows for windows of {config.window} rows in {config.blocks} blocks and the test, got "
            f"{count:,}; use more data or fewer --blocks."
        )
    return ends, cut


def prepare(weather: Weather, config: Any) -> Task:
    """Splits, and scales the features by the rows before the test."""
    (ends, known), values = split(weather.times, config), weather.values
    columns, speeds = ([1, 0], [11]) if config.inputs == "few" else ([1, 0, *range(2, 11)], [11, 12])  # also of gusts
    scale, angle = series.fit_scale(values[:known, columns]), np.radians(values[:, 13])
    wind = np.stack([f(angle) * values[:, c] for c in speeds for f in (np.cos, np.sin)], axis=1)
    day = 2 * np.pi * ((weather.times - weather.times.astype("datetime64[D]")) / np.timedelta64(1, "D"))
    clock = np.stack([np.sin(day), np.cos(day)], axis=1)
    scalars = scale.apply(values[:, columns])
    task = Task(
        times=weather.times,
        celsius=values[:, TEMPERATURE],
        scalars=scalars,
        plain=np.concatenate([series.fit_scale(wind[:known]).apply(wind), clock], axis=1).astype(np.float32),
        steps=(scalars[config.stride : known] - scalars[: known - config.stride]).std(axis=0),
        degrees=float(scale.std[0]),
        ends=ends,
        spread=np.ones(len(config.horizons)),
    )
    [rows] = ends["all"]
    return task._replace(spread=look(task, rows[:: max(1, len(rows) // 5000)], config).targets.std(axis=0))


def look(task: Task, ends: np.ndarray, config: Any) -> Part:
    """Makes the windows that end at these rows; nothing after a window's end enters its inputs, base or unit."""
    length, per_day = config.window // config.stride, ROWS_A_DAY // config.stride
    values = series.windows(task.scalars, ends, length, config.stride)  # [M, T, D]
    days = values.reshape(len(ends), -1, per_day, values.shape[-1])
    mean_day = days.mean(axis=1, keepdims=True)
    spread = values.std(axis=1, keepdims=True) + 0.1  # a quiet window is not blown up
    cycle = np.broadcast_to(mean_day - mean_day.mean(axis=2, keepdims=True), days.shape).reshape(values.shape)
    inputs = [
        (days - mean_day).reshape(values.shape) / spread,
        cycle[..., :1] / spread[..., :1],  # of temperature
        np.diff(values, axis=1, prepend=values[:, :1]) / task.steps,
        series.windows(task.plain, ends, length, config.stride),
    ]
    # What changed after this time on the window's earlier days, less its trend, so that a day changes nothing.
    rows = series.windows(task.celsius, ends, config.window)
    later = np.append((np.array(config.horizons) - 1) % ROWS_A_DAY + 1, ROWS_A_DAY)
    starts = np.arange(-1 - ROWS_A_DAY, -config.window, -ROWS_A_DAY)
    change = (rows[:, starts[:, None] + later] - rows[:, starts, None]).mean(axis=1)
    base = rows[:, -1:] + change[:, :-1] - later[:-1] / ROWS_A_DAY * change[:, -1:]
    unit = spread[:, 0, :1] * task.degrees * task.spread[None]
    return Part(np.concatenate(inputs, axis=-1), base, unit, truth(task, ends, config))


def truth(task: Task, ends: np.ndarray, config: Any) -> np.ndarray:
    """Temperatures `[M, K]` at the horizons after these rows."""
    return task.celsius[ends[:, None] + np.array(config.horizons)]


def naive(task: Task, ends: np.ndarray, config: Any) -> dict[str, np.ndarray]:
    """Forecasts `[M, K]` without a model; 24 hours ahead, the last value is that of the same time yesterday."""
    ahead = np.array(config.horizons)
    days = -(-ahead // ROWS_A_DAY)  # the newest row that is whole days before
    last = np.repeat(task.celsius[ends][:, None], len(ahead), axis=1)
    return {"last value": last, "same time yesterday": task.celsius[ends[:, None] + ahead - ROWS_A_DAY * days]}
