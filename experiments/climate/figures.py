"""Figures of climate: errors against the horizon, errors with intervals, and two weeks of forecasts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import ConciseDateFormatter

from experiments.climate.task import Task
from experiments.lib import plots


def draw_horizons(folder: Path, hours: Sequence[float], mae: Mapping[str, np.ndarray]) -> None:
    """Draws horizons.png: mean absolute errors `[K]` by name, and those of the models less that of the linear one."""
    title = "Error against the horizon, held-out data"
    with plots.panels(folder / "horizons.png", columns=2, size=(13.0, 4.8), title=title) as axes:
        left, right = axes[0]
        for row, (name, values) in enumerate(mae.items()):
            is_naive = " " in name
            line = "x:" if is_naive else ("o-", "s--")[row // 7]
            style = {"color": plots.COLOURS[row % 7], "label": name, "markersize": 5}
            left.plot(hours, values, line, **style)
            shown = slice(0) if is_naive else slice(None)  # off the scale, but in the legend
            right.plot(hours[shown], (values - mae["linear"])[shown], line, **style)
        for axis in (left, right):
            axis.set(xscale="log", xlabel="hours ahead")
            axis.set_xticks(hours, [f"{h:g}" for h in hours])
            axis.minorticks_off()
        left.set_ylim(bottom=0)
        left.set_ylabel("mean absolute error (°C)")
        right.set_ylabel("the same, less that of the linear model (°C)")
        plots.legend_beside(right)


def draw_errors(folder: Path, hours: float, found: Mapping[str, Any], reference: str) -> None:
    """Draws errors.png: intervals of the errors at the last horizon."""
    title = f"{hours:g} hours ahead, held-out data, 95 % intervals"
    x = f"mean absolute error (°C); dashed: {reference}"
    with plots.figure(folder / "errors.png", title=title, x=x, y="", size=(8.0, 4.8)) as axes:
        plots.intervals(axes, found, reference=found[reference].mean)


def draw_forecasts(folder: Path, task: Task, config: Any, forecasts: Mapping[str, np.ndarray]) -> None:
    """Draws forecasts.png: the first two weeks of the test, and forecasts `[M, K]` of them at the last horizon."""
    rows = task.ends["test"][0][: 14 * 24] + config.horizons[-1]
    title = f"Held-out temperatures, and forecasts made {config.horizons[-1] / 6:g} hours before"
    path = folder / "forecasts.png"
    with plots.figure(path, title=title, x="day", y="temperature (°C)", size=(11.0, 4.4)) as axes:
        axes.plot(task.times[rows], task.celsius[rows], color=plots.COLOURS[6], label="truth")
        for (name, values), line, colour in zip(forecasts.items(), ("-", ":"), plots.COLOURS[1::-1], strict=True):
            axes.plot(task.times[rows], values[: len(rows), -1], line, color=colour, label=name)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
        plots.legend_beside(axes)
