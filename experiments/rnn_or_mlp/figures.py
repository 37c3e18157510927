"""Figures of rnn_or_mlp: accuracies on every task, and against the length of a sequence."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.lib import plots
from experiments.lib.intervals import Interval, wilson

ASKED = {"order": "order: which pattern comes first", "parity": "parity of the flagged bits"}


def draw_table(folder: Path, cell: str, found: Mapping[str, Mapping[str, Interval]], best: Mapping[str, float]) -> None:
    """Draws accuracy.png: a pair of bars for each row of the table."""
    title, path = "Held-out accuracy, as many parameters each (95 % intervals)", folder / "accuracy.png"
    with plots.figure(path, title=title, x="right", y="", size=(9.5, 5.2)) as axes:
        for i, (model, label) in enumerate({"rnn": cell, "mlp": "MLP"}.items()):
            mean, low, high = np.array([pair[model] for pair in found.values()]).T
            style = {"color": plots.COLOURS[i], "hatch": ("", "//")[i], "edgecolor": "white", "capsize": 3}
            axes.barh(
                np.arange(len(mean)) + 0.4 * i - 0.2, mean, 0.38, xerr=[mean - low, high - mean], label=label, **style
            )
        for row, name in enumerate(found):
            at, label = [best[name]] * 2, None if row else "best possible"
            axes.plot(at, [row - 0.42, row + 0.42], color=plots.COLOURS[6], label=label)
        axes.axvline(0.5, color="0.3", linestyle="--", linewidth=1.5, label="chance")
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 1.02)
        axes.xaxis.set_major_formatter("{x:.0%}")
        plots.legend_beside(axes)


def draw_lengths(folder: Path, config: Any, lengths: Mapping[str, np.ndarray], learned: Mapping[Any, Any]) -> None:
    """Draws lengths.png: accuracy against the length of a sequence, a panel for each sequential task."""
    columns, path, title = len(lengths), folder / "lengths.png", "Longer sequences than any trained on"
    with plots.panels(path, columns=columns, size=(3.0 + 4.5 * columns, 4.4), title=title, share_y=True) as axes:
        for axis, (name, steps) in zip(axes[0], lengths.items(), strict=True):
            for i, (model, label) in enumerate({"rnn": config.cell, "mlp": "MLP"}.items()):
                right = learned[name, model].right
                mean, low, high = np.array([wilson(right[:, steps == length]) for length in config.tested]).T
                style = {"color": plots.COLOURS[i], "marker": "os"[i], "linestyle": ("-", "--")[i], "capsize": 3}
                axis.errorbar(config.tested, mean, [mean - low, high - mean], label=label, **style)
            axis.axhline(0.5, color="0.3", linestyle=":", label="chance")
            axis.axvspan(config.shortest, config.longest, color="0.9", zorder=0, label="trained on")
            axis.set(title=ASKED[name], xlabel="length (steps)", ylim=(None, 1.03))
        axes[0, 0].set(ylabel="right")
        axes[0, 0].yaxis.set_major_formatter("{x:.0%}")
        plots.legend_beside(axes[0, -1])
