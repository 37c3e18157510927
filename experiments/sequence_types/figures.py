"""Figures of the types: diagrams of boxes and arrows, accuracies, and losses while learning."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.patches import FancyBboxPatch

from experiments.lib import plots
from experiments.lib.intervals import Interval

# Steps of each diagram, what the step has: i an input, r a reader, w a writer, o an output.
DIAGRAMS = {
    "one_to_one": ("iro",),
    "one_to_many": ("ir", "wo", "wo", "wo"),
    "many_to_one": ("ir", "ir", "iro"),
    "aligned": ("iro", "iro", "iro"),
    "encoder_decoder": ("ir", "ir", "ir", "wo", "wo", "wo"),
}
MANY = {"aligned": "many to many,\naligned", "encoder_decoder": "many to many,\nencoder-decoder"}
ROWS = {"i": (0, plots.COLOURS[4], "input"), "r": (1, plots.COLOURS[0], "reader")}
ROWS |= {"w": (1, plots.COLOURS[2], "writer"), "o": (2, plots.COLOURS[1], "output")}
WIDTH, HEIGHT = 0.56, 0.46  # of a box
ARROW = {"arrowstyle": "-|>", "mutation_scale": 13, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}


def title_of(name: str) -> str:
    """What a type is called."""
    return MANY.get(name, name.replace("_", " "))


def draw_diagram(axes, steps: Sequence[str]) -> None:
    """Draws a type: boxes for inputs, states and outputs of each step, arrows for what goes where."""
    for x, parts in enumerate(steps):
        for part in parts:
            row, colour, _ = ROWS[part]
            corner = (x - WIDTH / 2, row - HEIGHT / 2)
            shape = {"boxstyle": "round,pad=0,rounding_size=0.08", "facecolor": colour, "edgecolor": "none"}
            axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, **shape))
        for row in (0, 1) if "i" in parts and "o" in parts else (0,) if "i" in parts else (1,):
            _arrow(axes, (x, row + HEIGHT / 2), (x, row + 1 - HEIGHT / 2))
        if x:
            _arrow(axes, (x - 1 + WIDTH / 2, 1), (x - WIDTH / 2, 1))
        if x and "w" in parts and "o" in steps[x - 1]:  # what was written is read next
            start, end = (x - 1 + WIDTH / 2, 2), (x - WIDTH / 4, 1 + HEIGHT / 2)
            _arrow(axes, start, end, linestyle="--", connectionstyle="arc3,rad=-0.3")
    axes.set(xlim=(-0.6, len(steps) - 0.4), ylim=(-0.4, 2.4), aspect="equal")
    axes.axis("off")


def _arrow(axes, start: tuple[float, float], end: tuple[float, float], **more) -> None:
    axes.annotate("", end, start, arrowprops=ARROW | {"color": "0.25"} | more)


def draw_types(folder: Path) -> None:
    """Draws types.png, all diagrams in a row, and one of each."""
    widths = [len(steps) + 0.2 for steps in DIAGRAMS.values()]
    with plots.panels(folder / "types.png", columns=len(DIAGRAMS), size=(14.0, 3.4)) as axes:
        grid = axes[0, 0].get_gridspec()
        grid.set_width_ratios(widths)
        for axis, steps, title in zip(axes[0], DIAGRAMS.values(), map(title_of, DIAGRAMS), strict=True):
            draw_diagram(axis, steps)
            axis.set_title(title, fontsize=12)
        handles = [axes[0, 0].scatter([], [], marker="s", s=90, color=colour) for _, colour, _ in ROWS.values()]
        names = [name for _, _, name in ROWS.values()]
        axes[0, 0].figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    for (name, steps), width in zip(DIAGRAMS.items(), widths, strict=True):
        with plots.panels(folder / f"{name}.png", size=(0.8 * width, 2.3)) as axes:
            draw_diagram(axes[0, 0], steps)


def draw_accuracies(folder: Path, found: Mapping[str, Sequence[Interval]]) -> None:
    """Draws accuracy.png: intervals with and without recurrence by type."""
    title, x = "Held-out answers without an error, 95 % intervals", "share of the answers"
    with plots.figure(folder / "accuracy.png", title=title, x=x, y="", size=(10.0, 4.0)) as axes:
        for which, (label, marker) in enumerate((("with recurrence", "o"), ("without", "s"))):
            means, low, high = np.array([both[which] for both in found.values()]).T
            rows = np.arange(len(means)) + 0.12 * (2 * which - 1)
            style = {"fmt": marker, "color": plots.COLOURS[which], "capsize": 4, "label": label}
            axes.errorbar(means, rows, xerr=[means - low, high - means], **style)
        axes.set_yticks(range(len(found)), list(map(title_of, found)))
        axes.invert_yaxis()
        axes.set_xlim(-0.03, 1.03)
        plots.legend_beside(axes)


def draw_losses(folder: Path, losses: Mapping[str, np.ndarray]) -> None:
    """Draws loss.png: losses `[2, steps]` by type, solid with and dashed without recurrence, running means."""
    title = "Learning, solid with recurrence, dashed without"
    path, y = folder / "loss.png", "loss (nats per symbol)"
    with plots.figure(path, title=title, x="update", y=y, size=(10.0, 4.4)) as axes:
        for colour, (name, both) in zip(plots.COLOURS, losses.items(), strict=False):
            width = max(1, both.shape[1] // 50)
            for values, line, label in zip(both, ("-", "--"), (title_of(name), None), strict=True):
                smooth = np.convolve(values, np.ones(width) / width, mode="valid")
                axes.plot(np.arange(len(smooth)) + width, smooth, line, color=colour, label=label, linewidth=1.6)
        axes.set_ylim(bottom=0)
        plots.legend_beside(axes)
