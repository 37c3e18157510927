"""Figures of gradients: norms by lag, the wall, clipping, and networks before and after training."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.gradients.descent import START, Record
from experiments.gradients.flow import Look, half_lives
from experiments.lib import plots

Looks = Mapping[str, tuple[Look, Look]]  # before and after training, by cell
WHEN = (("before", plots.COLOURS[0], "--", "o"), ("after", plots.COLOURS[1], "-", "x"))


def draw_band(axis: Any, norms: np.ndarray, colour: str, style: Any, alpha: float, label: str) -> None:
    """Draws the median of norms `[T, N]` against the lag, and a band around 80 % of them."""
    lags = np.arange(len(norms), 0, -1)
    low, middle, high = np.maximum(np.percentile(norms, [10, 50, 90], axis=1), 1e-300)
    axis.plot(lags, middle, color=colour, linestyle=style, label=label)
    axis.fill_between(lags, low, high, color=colour, alpha=alpha)


def draw_lags(folder: Path, config: Any, powers: np.ndarray, norms: Mapping[str, np.ndarray]) -> None:
    """Draws lags.png: powers of a matrix with what must be, and untrained cells, with a band over networks."""
    lags = np.arange(config.lag, 0, -1)
    with plots.panels(folder / "lags.png", columns=2, size=(15.0, 4.8)) as axes:
        linear, cells = axes[0]
        for i, scale in enumerate(config.scales):
            linear.plot(lags, powers[:, i], color=plots.COLOURS[i % 6], linewidth=3, label=f"w = {scale}")
            linear.plot(lags, scale ** lags.astype(float), ":", color="white", linewidth=1.5)
        linear.plot([], [], ":", color="grey", linewidth=1.5, label="inside: $w^{lag}$")
        linear.set(title="a linear RNN, W = w Q, Q orthogonal", ylabel="norm of dL/dh")
        styles = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))
        order = sorted(norms, key=lambda name: -np.median(half_lives(norms[name])))
        for name, colour, style in zip(order, plots.COLOURS, styles, strict=False):
            draw_band(cells, norms[name], colour, style, 0.2, name)
        cells.set(title=f"cells, untrained: median and 80 % of {config.seeds} networks", ylim=(1e-12, 3))
        cells.set(ylabel="norm of dL/d(carry)")
        for axis in axes[0]:
            axis.set(yscale="log", xlabel="lag to the loss (steps)", xlim=(0, config.lag))
            plots.legend_beside(axis)


def draw_surface(folder: Path, grid: tuple[np.ndarray, ...], walks: Mapping[str, Record]) -> None:
    """Draws surface.png: the loss from above with the first walks, a cut through the wall, and losses of the walks."""
    w, b, losses = grid
    cut = np.abs(w[0] - START[0]).argmin()
    with plots.panels(folder / "surface.png", columns=3, size=(16.5, 5.0)) as axes:
        above, across, along = axes[0]
        image = above.pcolormesh(w, b, losses, cmap="cividis", shading="gouraud", rasterized=True)
        above.figure.colorbar(image, ax=above, label="loss", shrink=0.8)
        above.axvline(START[0], color="white", linestyle=":", linewidth=1.2)
        ways = ((plots.COLOURS[1], "--"), (plots.COLOURS[5], "-"))
        for (name, found), (colour, style) in zip(walks.items(), ways, strict=True):
            points = found.points[0]
            above.plot(*points.T, style, color=colour, marker=".", markersize=4, linewidth=1.2, label=name)
            above.plot(*points[-1], "*", color=colour, markersize=16, markeredgecolor="white", clip_on=False)
            along.plot(found.losses[0], style, color=colour, marker=".", linewidth=0.8, label=name)
        above.plot(*START, "o", color="white", markersize=8)
        above.set(title="gradient descent, from the circle to the stars", xlabel="w", ylabel="b")
        above.set(xlim=(2.5, 7.5), ylim=(-4.2, 1.8))
        above.grid(visible=False)
        across.plot(b[:, cut], losses[:, cut], color=plots.COLOURS[0])
        across.set(title=f"the wall at w = {START[0]} (dotted)", xlabel="b", ylabel="loss", xlim=(-4.2, 1.8))
        along.set(title="loss along the way", xlabel="update", ylabel="loss", yscale="log")
        along.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)


def draw_clipping(folder: Path, runs: Mapping[str, list[tuple[Record, Any]]], chance: float) -> None:
    """Draws clipping.png: losses and gradient norms, a running median of each network up to where it diverged."""
    updates = len(runs["none"][0][0].losses)
    width = max(1, updates // 50)
    with plots.panels(folder / "clipping.png", columns=2, size=(14.5, 4.6)) as axes:
        for key, axis in zip(("losses", "norms"), axes[0], strict=True):
            styles = zip(plots.COLOURS[1:], ("-", "--", ":", "-."), strict=False)
            for (name, some), (colour, style) in zip(runs.items(), styles, strict=False):
                for record, _ in some:
                    values = np.pad(getattr(record, key), (width - 1, 0), mode="edge")
                    smooth = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
                    axis.plot(np.arange(1, updates + 1), smooth, style, color=colour, linewidth=1.5)
                axis.plot([], [], style, color=colour, label=f"clipping {name}")
            axis.set(xlabel="update", yscale="log")
        axes[0, 0].axhline(chance, color=plots.COLOURS[6], linewidth=1)
        axes[0, 0].text(updates, 1.1 * chance, "chance", ha="right", va="bottom")
        axes[0, 0].set(title=f"loss, median over {width} updates", ylabel="loss (nats per sequence)")
        axes[0, 1].set(title="gradient before it is clipped, likewise", ylabel="norm of the gradient")
        plots.legend_beside(axes[0, 1])


def draw_learned(folder: Path, looks: Looks) -> None:
    """Draws learned.png: norms against the lag before and after training."""
    labels = {"title": "What training does to the gradient", "x": "lag to the loss (steps)", "y": "norm of dL/d(carry)"}
    with plots.figure(folder / "learned.png", **labels, size=(8.6, 4.6)) as axes:
        for (name, pair), colour in zip(looks.items(), plots.COLOURS, strict=False):
            for (when, _, style, _), look in zip(WHEN, pair, strict=True):
                draw_band(axes, look.norms, colour, style, 0.15, f"{name}, {when}")
        axes.set(yscale="log", xlim=(0, None))
        plots.legend_beside(axes)


def draw_spectra(folder: Path, looks: Looks) -> None:
    """Draws spectra.png: eigenvalues in the complex plane with the unit circle, and singular values."""
    circle, bins = np.exp(2j * np.pi * np.linspace(0, 1, 200)), np.geomspace(1e-3, 10, 60)
    sizes = [np.abs(look.spectrum.eigenvalues) for pair in looks.values() for look in pair]
    reach = max(1.2, *(1.05 * np.percentile(size, 99.5) for size in sizes))
    with plots.panels(folder / "spectra.png", rows=3, columns=len(looks), size=(2.0 + 3.9 * len(looks), 11.0)) as axes:
        for column, (name, pair) in zip(axes.T, looks.items(), strict=True):
            for axis, (when, colour, style, _), look in zip(column, WHEN, pair, strict=False):
                values = look.spectrum.eigenvalues[:2].ravel()
                axis.scatter(values.real, values.imag, s=5, alpha=0.35, color=colour, linewidths=0)
                axis.plot(circle.real, circle.imag, color=plots.COLOURS[6], linewidth=1.2)
                axis.set(title=f"{name}, {when} training", aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
                axis.set(xlabel="real part of an eigenvalue")
                values = np.clip(look.spectrum.singular_values.ravel(), bins[0], bins[-1])  # ends take all beyond
                weights = np.full(values.size, 1 / values.size)
                column[2].hist(values, bins, weights=weights, histtype="step", color=colour, ls=style, lw=2, label=when)
            column[2].axvline(1, color=plots.COLOURS[6], linewidth=1.2)
            column[2].set(title=name, xscale="log", xlabel="singular value of a step's Jacobian")
        for axis, label in zip(axes[:, 0], ("imaginary part", "imaginary part", "share of the values"), strict=True):
            axis.set_ylabel(label)
        plots.legend_beside(axes[2, -1], "training")


def draw_saturation(folder: Path, looks: Looks) -> None:
    """Draws saturation.png, a point for each unit: the shares of the steps at which it is high, and low."""
    gates = [(name, pair, gate) for name, pair in looks.items() for gate in pair[0].gates]
    if not gates:  # such as a ReLU RNN alone
        return
    columns = min(3, len(gates))
    rows = -(-len(gates) // columns)
    size = (2.0 + 3.6 * columns, 3.9 * rows)
    with plots.panels(folder / "saturation.png", rows=rows, columns=columns, size=size) as axes:
        for axis, (name, pair, gate) in zip(axes.flat, gates, strict=False):
            for (when, colour, _, marker), look in zip(WHEN, pair, strict=True):
                low, high = look.gates[gate]
                axis.scatter(high, low, s=60, marker=marker, color=colour, alpha=0.7, label=when, clip_on=False)
            axis.plot([0, 1], [1, 0], color=plots.COLOURS[6], linewidth=1)
            axis.set(title=f"{name}: {gate}", aspect="equal", xlim=(0, 1), ylim=(0, 1))
            axis.set(xlabel="share of steps high", ylabel="share of steps low")
        for axis in axes.flat[len(gates) :]:
            axis.remove()
        plots.legend_beside(axes[0, -1], "training")
