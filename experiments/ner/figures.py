"""Figures of ner: F1 as it grows, and by kind of entity."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.lib import plots
from experiments.lib.intervals import Interval


def draw_curves(folder: Path, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Draws curves.png: F1 on development data against updates."""
    with plots.figure(folder / "curves.png", title="Development data", x="update", y="span F1") as axes:
        for name, points in curves.items():
            axes.plot(*zip(*points, strict=True), "o-", label=name, markersize=5)
        axes.set_ylim(bottom=0)
        plots.legend_beside(axes)


def draw_kinds(folder: Path, by_kind: Mapping[str, Mapping[str, Interval]]) -> None:
    """Draws kinds.png: F1 on the test with intervals, by kind of entity."""
    size, title = (8.4, 1.8 + 0.62 * len(by_kind)), "By kind of entity, 95 % intervals"
    with plots.figure(folder / "kinds.png", title=title, x="span F1 on the test", y="", size=size) as axes:
        for number, name in enumerate(next(iter(by_kind.values()))):
            found = [by_name[name] for by_name in by_kind.values()]
            mean = [f.mean for f in found]
            errors = [[f.mean - f.low for f in found], [f.high - f.mean for f in found]]
            rows = [row + 0.2 * (number - 1) for row in range(len(found))]
            axes.errorbar(mean, rows, xerr=errors, fmt="o", capsize=3, color=plots.COLOURS[number], label=name)
        axes.set_yticks(range(len(by_kind)), list(by_kind))
        axes.set_xlim(left=0)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        plots.legend_beside(axes)
