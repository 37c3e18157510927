"""Figures of cryptocurrency: accuracies, a plot that looks perfect beside the one that counts, and money."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator

from experiments.cryptocurrency.trading import Days, Money
from experiments.lib import plots


def draw_accuracy(folder: Path, label: str, scores: Any, control: Any) -> None:
    """Draws accuracy.png: intervals on the data, and on the control."""
    with plots.panels(folder / "accuracy.png", columns=2, size=(11.0, 3.8), share_x=True) as axes:
        for axis, title, each in zip(axes[0], (label, "planted momentum"), (scores, control), strict=True):
            plots.intervals(axis, each.accuracy, reference=0.5)
            axis.set(title=title, xlabel="days with the right direction, 95 % interval")
            axis.xaxis.set_major_formatter("{x:.0%}")
            axis.text(0.5, -0.62, " a coin", va="center")
            axis.set_ylim(len(each.accuracy) - 0.5, -0.85)
        right = axes[0, 1]
        right.axvline(control.possible, color=plots.COLOURS[6], linestyle=":", linewidth=1.5)
        right.text(control.possible, -0.62, "possible ", va="center", ha="right")


def draw_prices(folder: Path, days: Days, walk: Any, scores: Any) -> None:
    """Draws prices.png: prices of the last year, all prices against their forecasts, and returns against theirs."""
    rows, returns, true = walk.rows, walk.returns["network"], days.returns[walk.rows]
    close, forecast = days.close[rows], days.close[rows - 1] * np.exp(returns)
    shown, dots = slice(-365, None), {"color": plots.COLOURS[0], "markersize": 4, "alpha": 0.5}
    with plots.panels(folder / "prices.png", columns=3, size=(15.0, 4.6)) as axes:
        year, scatter, counts = axes[0]
        year.plot(days.days[rows[shown]], close[shown], color=plots.COLOURS[6], label="true")
        year.plot(days.days[rows[shown]], forecast[shown], "--", color=plots.COLOURS[1], label="forecast a day ahead")
        year.set(title=f"Looks perfect: {len(rows[shown])} days", xlabel="date", ylabel="price ($)")
        year.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=5))
        year.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        scatter.plot(close, forecast, ".", **dots)
        scatter.set(title=f"So do prices: correlation {np.corrcoef(close, forecast)[0, 1]:.3f}")
        scatter.set(xlabel="true price ($)", ylabel="forecast price ($)", xscale="log", yscale="log")
        plots.plain_log(scatter.xaxis, scatter.yaxis)
        limit = float(np.percentile(np.abs(true), 99))
        counts.plot(true, returns, ".", **dots)
        counts.plot([-limit, limit], [-limit, limit], color=plots.COLOURS[6], linewidth=1.2, linestyle="--")
        counts.set(title=f"What counts, returns: R2 {scores.skill['network'].mean:+.1%}", xlim=(-limit, limit))
        counts.set(xlabel="true return", ylabel="forecast return", ylim=(-limit, limit), aspect="equal")
        for axis in (counts.xaxis, counts.yaxis):
            axis.set_major_formatter("{x:.0%}")


def draw_money(folder: Path, days: np.ndarray, trades: Mapping[str, Money], cost: float) -> None:
    """Draws money.png: the value of one dollar over time."""
    title = "What one dollar becomes"
    with plots.figure(folder / "money.png", title=title, x="date", y="value ($)", size=(10.0, 4.8)) as axes:
        lines = {"network, no costs": trades["network"].growth} | {name: money.net for name, money in trades.items()}
        for i, (name, growth) in enumerate(lines.items()):
            colour = plots.COLOURS[6 if name == "buy and hold" else i]
            axes.plot(days, np.exp(growth), ("-", "--", "-.", ":")[i % 4], color=colour, linewidth=1.6, label=name)
        axes.set_yscale("log")
        plots.plain_log(axes.yaxis)
        plots.legend_beside(axes, f"with costs of {cost:.1%}")
