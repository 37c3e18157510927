"""Figures of function approximation: forecasts one step ahead, free runs, and how the errors of these grow."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.function_approximation.functions import FUNCTIONS, free_targets, targets
from experiments.lib import plots

STYLES = {
    "truth": {"label": "function itself", "color": plots.COLOURS[6], "linewidth": 1.2},
    "rnn": {"label": "recurrent", "color": plots.COLOURS[0]},
    "mlp": {"label": "MLP", "color": plots.COLOURS[1], "linestyle": "--"},
    "ar": {"label": "linear AR", "color": plots.COLOURS[2], "linestyle": ":"},
    "mean": {"label": "mean of the training part", "color": "0.5", "linestyle": "-.", "linewidth": 1.2},
}
MODELS = ("truth", "rnn", "mlp", "ar")  # whose forecasts are shown
DOTS = {"label": "observed", "color": "0.55", "marker": "o", "markersize": 3.5, "linestyle": ""}


def draw_series(axes: Any, values: np.ndarray, first: int = 1, **style: Any) -> None:
    """Draws values from a step on."""
    axes.plot(np.arange(first, first + len(values)), values, **style)


def draw_grid(path: Path, found: Mapping[str, Any], draw: Callable, *, title: str, x: str, y: str) -> None:
    """Draws a panel for each function with `draw(axes, followed, steps)`, and the legend after the last."""
    rows = -(-(len(found) + 1) // 2)
    with plots.panels(path, rows=rows, columns=2, size=(12.0, 0.6 + 2.5 * rows), title=title) as axes:
        flat = axes.reshape(-1)
        for place, (name, each) in enumerate(found.items()):
            draw(flat[place], each, FUNCTIONS[name].shown)
            lowest = place >= len(found) - 2
            flat[place].set(title=FUNCTIONS[name].title, xlabel=x if lowest else "", ylabel="" if place % 2 else y)
        for axis in flat[len(found) :]:
            axis.axis("off")
        names = flat[0].get_legend_handles_labels()
        flat[len(found)].legend(*names, frameon=False, loc="center", fontsize=14)


def draw_all(folder: Path, config: Any, found: Mapping[str, Any]) -> None:
    """Draws one_step.png, free.png and growth.png."""
    held_out, first = targets(config)[2], free_targets(config)[0, 0]

    def one_step(axes, each, shown):
        draw_series(axes, each.series.observed[held_out[:shown]], **DOTS)
        for kind in MODELS:
            draw_series(axes, each.forecasts[kind].one_step[:shown], **STYLES[kind])

    def free(axes, each, shown):
        before = min(shown // 4, config.window)
        draw_series(axes, each.series.observed[first - before : first], 1 - before, **DOTS)
        for kind in MODELS:
            draw_series(axes, each.forecasts[kind].free[:shown, 0], **STYLES[kind])
        axes.axvline(0.5, color="0.5", linewidth=1)
        low, high = each.series.truth.min(), each.series.truth.max()
        axes.set_ylim(1.25 * low - 0.25 * high, 1.25 * high - 0.25 * low)  # whatever a forecast runs off to

    def growth(axes, each, _):
        for kind, style in STYLES.items():
            draw_series(axes, each.scores[kind].growth, **style)
        axes.set_yscale("log")
        plots.plain_log(axes.yaxis)

    title, x = "One step ahead, on held-out values", "held-out time (steps)"
    draw_grid(folder / "one_step.png", found, one_step, title=title, x=x, y="value")
    title, x = "Running free: every forecast is made of forecasts", "steps since the last true value was read"
    draw_grid(folder / "free.png", found, free, title=title, x=x, y="value")
    title = "What a forecast loses with each step ahead"
    draw_grid(folder / "growth.png", found, growth, title=title, x="steps ahead", y="RMSE")
