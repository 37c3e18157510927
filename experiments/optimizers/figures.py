"""Figures of optimizers: training, what a wrong rate costs, and the errors and accuracies of every loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib import plots

UNITS = {"text": ("nats per character", 1.35), "series": ("mean squared error", 20.0)}  # and how far the axis reaches
TITLES = {"regression": "A series with outliers", "classification": "Wave forms with wrong labels"}


def draw_optimizers(folder: Path, every: int, found: Mapping[str, Any], tasks: Mapping[str, Any]) -> None:
    """Draws curves.png and rates.png: training loss against updates, validation loss against the rate."""
    for file, title in {"curves": "Training, each at its best rate", "rates": "What a wrong rate costs"}.items():
        with plots.panels(folder / f"{file}.png", columns=2, size=(13.0, 4.8), title=title) as axes:
            for axis, (name, (unit, top)) in zip(axes[0], UNITS.items(), strict=True):
                for i, (optimizer, x) in enumerate(found[name].items()):
                    style = {"color": plots.COLOURS[i], "linestyle": ("-", "--")[i % 2], "label": optimizer}
                    at, loss = every * (np.arange(len(x.curve)) + 1), x.curve
                    if file == "rates":
                        at, loss = x.rates, x.validation
                        axis.plot(at[x.place], loss[x.place], "*", markersize=17, color=style["color"])
                    axis.plot(at, loss, marker="os^Dv<P"[i], markevery=max(1, len(at) // 8), markersize=6, **style)
                base, line = list(tasks[name].baselines.items())[-1]
                axis.axhline(line, color="0.4", linestyle=":")
                place = {"transform": axis.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": "0.35"}
                axis.text(0.99, line, base, **place)
                best = min(min(x.validation) for x in found[name].values())
                axis.set(title=f"The {name}", xlabel="update", ylabel=f"training loss ({unit})")
                axis.set(ylim=(0.85 * min(line, best), top * max(line, best)))
                if file == "rates":
                    axis.set(xscale="log", xlabel="learning rate, at its peak (a star at the best)")
                    axis.set(ylabel=f"validation loss ({unit})")
                    plots.plain_log(axis.xaxis)
                if name == "series":
                    axis.set(yscale="log")
                    plots.plain_log(axis.yaxis)
            plots.legend_beside(axes[0, 1])


def draw_losses(folder: Path, results: Mapping[str, Mapping[str, Any]], tasks: Mapping[str, Any]) -> None:
    """Draws losses.png: a dot for each of the first weights of each loss, and the baselines as lines."""
    with plots.panels(folder / "losses.png", columns=2, size=(13.0, 4.6)) as axes:
        for axis, (kind, title) in zip(axes[0], TITLES.items(), strict=True):
            for row, each in enumerate(results[kind].values()):
                axis.plot(each.seeds, [row] * len(each.seeds), "o", color=plots.COLOURS[0], markersize=9)
            for i, (name, value) in enumerate(tasks[kind].baselines.items()):
                style = {"color": plots.COLOURS[i + 1], "linestyle": (":", "--", "-")[i], "linewidth": 1.6}
                axis.axvline(value, label=name, **style)
            axis.set_yticks(range(len(results[kind])), [name.replace("_", " ") for name in results[kind]])
            axis.invert_yaxis()
            axis.grid(axis="y", visible=False)
            axis.set(title=title)
            axis.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=10)
        axes[0, 0].set(xscale="log", xlabel="mean absolute error in the test (log)")
        plots.plain_log(axes[0, 0].xaxis)
        axes[0, 1].set(xlabel="right in the test")
        axes[0, 1].xaxis.set_major_formatter("{x:.0%}")
