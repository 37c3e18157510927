"""Figures of the experiments: one look, colour-blind safe, readable at half size."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from experiments.lib import report

# Okabe & Ito 2008: distinguishable with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLE = {
    "figure.figsize": (7.0, 4.2),
    "figure.dpi": 150,
    "font.size": 12,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "lines.linewidth": 2.0,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
}


@contextmanager
def figure(path: Path, *, title: str, x: str, y: str, size=STYLE["figure.figsize"]) -> Iterator[plt.Axes]:
    """Yields axes to draw on, with a title and units, and saves them as PNG."""
    with panels(path, size=size) as axes:
        axes[0, 0].set(title=title, xlabel=x, ylabel=y)
        yield axes[0, 0]


@contextmanager
def panels(path: Path, *, size, rows=1, columns=1, title="", share_x=False, share_y=False) -> Iterator[np.ndarray]:
    """Yields axes `[rows, columns]` to draw on, the whole of a size in inches, and saves them as PNG."""
    with plt.rc_context(STYLE):
        share = {"sharex": share_x, "sharey": share_y}
        canvas, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **share)
        if title:
            canvas.suptitle(title)
        try:
            yield axes
            canvas.savefig(path)
        finally:
            plt.close(canvas)


def legend_beside(axes: plt.Axes, title: str = "") -> None:
    """Puts a legend to the right of the axes, where it covers no curve."""
    axes.legend(title=title or None, frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)


def plain_log(*axes: matplotlib.axis.Axis) -> None:
    """Writes plain numbers at logarithmic axes (`axes.yaxis`) once all is drawn: 1, 2, 5, 10, or powers of ten."""
    for axis in axes:
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 60 * low else (1.0,)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())


def intervals(axes: plt.Axes, values: Mapping[str, tuple[float, float, float]], *, reference: float) -> None:
    """Draws points with horizontal intervals (mean, low, high), a row for each; a dashed line at the reference."""
    for row, (mean, low, high) in enumerate(values.values()):
        colour = COLOURS[row % len(COLOURS)]
        axes.errorbar(mean, row, xerr=[[mean - low], [high - mean]], fmt="o", color=colour, capsize=4)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.axvline(reference, color=COLOURS[6], linestyle="--", linewidth=1.2)


def run_losses(folder: Path, *, title: str, y: str, baselines: Mapping[str, float] | None = None) -> None:
    """Draws loss.png of a run from its metrics: batches, their running mean, held-out losses, baselines as lines.

    Of models side by side, the mean over them; none where nothing was trained.
    """
    lines, baselines = report.read_metrics(folder / "metrics.jsonl"), baselines or {}
    steps, losses = (np.array([np.mean(line[name]) for line in lines if "loss" in line]) for name in ("step", "loss"))
    at, held_out = ([line[name] for line in lines if "held_out_loss" in line] for name in ("step", "held_out_loss"))
    if not len(losses):
        return
    with figure(folder / "loss.png", title=title, x="update", y=y) as axes:
        axes.plot(steps, losses, color=COLOURS[5], linewidth=0.7, alpha=0.6, label="training, each batch")
        width = max(1, len(losses) // 50)
        if len(losses) >= 3 * width > 3:
            mean = np.convolve(losses, np.ones(width) / width, mode="valid")
            axes.plot(steps[width - 1 :], mean, color=COLOURS[0], label=f"training, mean over {width} points")
        axes.plot(at, held_out, "o-", color=COLOURS[1], markersize=5, label="held out")
        for name, value in baselines.items():
            axes.axhline(value, color="0.4", linestyle=":", linewidth=1.5)
            place = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": "0.35"}
            axes.text(0.99, value, name, **place)
        low = min([*losses, *held_out, *baselines.values()])
        axes.set_ylim(max(0.0, 0.9 * low), float(np.percentile(losses, 99.5)) * 1.05)
        axes.legend(frameon=False)


def exposure_figure(path: Path, biases: Mapping[str, Any], title: str) -> None:
    """Draws `rnnjax.seq2seq.ExposureBias` by name: the loss after own samples, solid, and after the truth, dashed."""
    with figure(path, title=title, x="position in the target", y="loss (nats per symbol)", size=(10.0, 4.2)) as axes:
        for colour, (name, bias) in zip(COLOURS, biases.items(), strict=False):
            there = np.asarray(bias.truth.count) >= max(1, 0.02 * float(bias.truth.count[0]))  # a few say little
            positions = np.arange(1, len(there) + 1)[there]
            for parts, style, what in ((bias.own, "o-", "own samples"), (bias.truth, "--", "the truth")):
                label = f"{name}, after {what}"
                axes.plot(positions, np.asarray(parts.mean)[there], style, color=colour, markersize=4, label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        legend_beside(axes)


def attention_map(path: Path, weights: np.ndarray, source: Sequence[str], target: Sequence[str]) -> None:
    """Draws weights `[T, S]`, what lies beyond both left out: a row for each symbol written, a column for each read."""
    tall, wide = len(target), len(source)
    turned = any(len(symbol) > 2 for symbol in source)
    size = (max(4.4, 1.6 + 0.34 * wide), 1.4 + 0.34 * tall)  # the title needs its width, too
    with figure(path, title="Where the decoder looks", x="read", y="written", size=size) as axes:
        image = axes.imshow(weights[:tall, :wide], cmap="cividis", vmin=0, vmax=1, aspect="equal")
        axes.grid(visible=False)
        axes.set_xticks(range(wide), source, rotation=60 if turned else 0, ha="right" if turned else "center")
        axes.set_yticks(range(tall), target)
        axes.spines[:].set_visible(False)
        axes.figure.colorbar(image, ax=axes, label="weight", shrink=0.8)
