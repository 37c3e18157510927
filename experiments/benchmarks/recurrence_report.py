"""What the benchmark of recurrence shows: ratios, geometric means, the rows that rnnjax loses, a table and a figure.

A measurement is a row in one mode: {"row", "kind", "cell", "batch", "hidden", "steps", "mode", "flops", "medians",
...}, medians in seconds by peer. A ratio is a peer's median over rnnjax's. The peer "jax" is, row by row, the fastest
of the other JAX libraries; the plain scan is not one of them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from experiments.benchmarks.peers import JAX_PEERS, PEERS
from experiments.benchmarks.peers.base import VARIANTS
from experiments.lib import report
from experiments.lib.plots import COLOURS, STYLE

OTHERS = tuple(peer.name for peer in PEERS if peer.name != "rnnjax")
KINDS = ("masked", "bidirectional", "two_layers", "attention")
MODES = {"grad": "forward + gradient", "forward": "forward", "train": "train step"}
TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 30, 50, 100)
LOOKS = {  # colour, marker
    "rnnjax_layers": ("#888888", "s"),
    "scan": (COLOURS[6], "D"),
    "linen": (COLOURS[2], "v"),
    "nnx": (COLOURS[5], "^"),
    "haiku": (COLOURS[4], "P"),
    "equinox": (COLOURS[3], "<"),
    "keras": ("white", "o"),
    "torch": (COLOURS[1], "*"),
    "onnx": (COLOURS[0], "X"),
}
MACHINE = ("device", "cpu_count", "cpus_used", "threads", "load_before", "xla_flags", "malloc_keep", "ceiling_gflops")


def ratio(measurement: dict, peer: str) -> float | None:
    """How many times as long as rnnjax a peer takes, or None where it was not timed."""
    medians = measurement["medians"]
    times = [medians[name] for name in (JAX_PEERS if peer == "jax" else (peer,)) if name in medians]
    return min(times) / medians["rnnjax"] if times else None


def geomean(values: Iterable[float]) -> float:
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(list(values)))))


def headline(measurements: Sequence[dict]) -> dict[str, float]:
    """geomean_<what> and worst_<what>; what is a peer over all rows, or peer_mode_cell, or peer_kind_mode.

    Those of a cell are over the plain rows, those without a kind and with a mode too.
    """
    groups = {peer: (peer, {}) for peer in ("jax", *OTHERS)}
    for peer in ("jax", "torch", "scan"):
        for mode in ("grad", "forward"):
            groups[f"{peer}_{mode}"] = peer, {"mode": mode, "kind": "unroll"}
            for cell in ("lstm", "gru"):
                groups[f"{peer}_{mode}_{cell}"] = peer, {"mode": mode, "kind": "unroll", "cell": cell}
        groups[f"{peer}_train"] = peer, {"mode": "train"}
        for kind in KINDS:
            groups[f"{peer}_{kind}_grad"] = peer, {"mode": "grad", "kind": kind}
    found = {}
    for name, (peer, wanted) in groups.items():
        rows = [m for m in measurements if all(m[field] == value for field, value in wanted.items())]
        values = [value for m in rows if (value := ratio(m, peer)) is not None]
        if values:
            found[f"geomean_{name}"] = round(geomean(values), 3)
            found[f"worst_{name}"] = round(min(values), 3)
    return found


def means_table(numbers: dict[str, float]) -> str:
    """The headline as a table."""
    names = [key.removeprefix("geomean_") for key in numbers if key.startswith("geomean_")]
    rows = [[name, f"{numbers[f'geomean_{name}']:.2f}", f"{numbers[f'worst_{name}']:.2f}"] for name in names]
    return markdown(["against", "geometric mean", "worst row"], rows)


def losses(measurements: Sequence[dict]) -> list[str]:
    """A line for each row and peer that is faster than rnnjax, the worst first."""
    lost = []
    for m in measurements:
        for peer in OTHERS:
            value = ratio(m, peer)
            if value is not None and value < 1 and peer != "rnnjax_layers":
                lost.append((value, f"{value:.2f}  {m['row']} {m['mode']}: {peer}"))
    return [line for _, line in sorted(lost)]


def table(measurements: Sequence[dict], ceiling: float) -> str:
    """Milliseconds, GFLOP/s and percentage of the ceiling of rnnjax, and the ratio to each peer; ! where it loses."""
    shown = [peer for peer in OTHERS if any(peer in m["medians"] for m in measurements)]
    rows = []
    for m in measurements:
        seconds = m["medians"]["rnnjax"]
        speed = 1e-9 * m["flops"] / seconds
        cells = [m["row"], m["mode"], f"{1e3 * seconds:.3g}", f"{speed:.0f}", f"{100 * speed / ceiling:.0f}"]
        for peer in shown:
            value = ratio(m, peer)
            cells.append("" if value is None else f"{value:.2f}" + ("!" if value < 1 else ""))
        rows.append(cells)
    return markdown(["row", "mode", "ms", "GFLOP/s", "%", *shown], rows)


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that reads well in a terminal too; all but the first two columns to the right if there are five."""
    widths = [max(len(str(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
    left = 2 if len(columns) >= 5 else 1

    def line(cells):
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|".join("-" * (w + 2) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return "\n".join([line(columns), f"|{rule}|", *map(line, rows)])


def notes(measurements: Sequence[dict]) -> list[str]:
    """Where a peer computes something slightly different."""
    found = {(peer, m["cell"], variant) for m in measurements for peer, variant in m["variants"].items()}
    lines = [
        f"{peer}'s {cell}: {VARIANTS[variant]}; held to the reference of that cell" for peer, cell, variant in found
    ]
    lines.append("jax: row by row the fastest of " + ", ".join(JAX_PEERS) + "; scan: the same cell under jax.lax.scan")
    lines.append("rnnjax_layers: unroll_layers, a loop a layer, over rnnjax's unroll of the stack")
    lines.append("FLOPs count the products, padding included; forward + gradient as three times forward")
    return sorted(lines)


def figure(path: Path, measurements: Sequence[dict]) -> None:
    """Time relative to rnnjax by shape, on a log scale: a panel for each cell and mode, and for the other kinds."""
    panels = [
        (cell, lambda m, cell=cell: m["kind"] == "unroll" and m["cell"] == cell) for cell in ("lstm", "gru", "rnn")
    ]
    panels.append(("other", lambda m: m["kind"] != "unroll"))
    panels = [(name, [m for m in measurements if has(m)]) for name, has in panels]
    panels = [(name, found) for name, found in panels if found]
    heights = [len({m["row"] for m in found}) + 2 for _, found in panels]
    values = [value for m in measurements for peer in OTHERS if (value := ratio(m, peer)) is not None]
    limits = min([*values, 1.0]) / 1.15, max([*values, 1.0]) * 1.15
    style = {**STYLE, "font.size": 18, "figure.dpi": 100, "lines.markersize": 13, "lines.markeredgecolor": "black"}
    with plt.rc_context(style):
        size = (15, 0.42 * sum(heights) + 2.5)
        canvas, grid = plt.subplots(
            len(panels), 2, figsize=size, height_ratios=heights, squeeze=False, sharex=True, layout="constrained"
        )
        for line, (name, found) in zip(grid, panels, strict=True):
            names = list(dict.fromkeys(m["row"] for m in sorted(found, key=lambda m: m["flops"] / m["steps"])))
            for axes, mode in zip(line, ("grad", "forward"), strict=True):
                for peer, (colour, marker) in LOOKS.items():
                    points = [(ratio(m, peer), names.index(m["row"])) for m in found if m["mode"] == mode]
                    points = [point for point in points if point[0] is not None]
                    if points:
                        axes.plot(*zip(*points, strict=True), marker, color=colour, label=peer)
                axes.axvline(1, color="black", linewidth=2)
                axes.axvspan(limits[0], 1, color="black", alpha=0.06, linewidth=0)
                axes.set(title=f"{name}, {MODES[mode]}", xscale="log", xlim=limits, ylim=(-0.7, len(names) - 0.3))
                axes.set_yticks(range(len(names)), [shape_of(n, name) for n in names] if mode == "grad" else [])
                axes.xaxis.set_major_locator(plt.FixedLocator(TICKS))
                axes.xaxis.set_major_formatter(plt.FuncFormatter(lambda x, _: f"{x:g}"))
                axes.xaxis.set_minor_locator(plt.NullLocator())
                axes.tick_params(labelbottom=True)
        for axes in grid[-1]:
            axes.set_xlabel("time over that of rnnjax (grey: faster than rnnjax)")
        by_label = {
            label: handle for axes in grid.flat for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        shown = [peer for peer in OTHERS if peer in by_label]
        canvas.legend([by_label[p] for p in shown], shown, loc="outside upper center", ncols=len(shown), frameon=False)
        canvas.savefig(path)
        plt.close(canvas)


def shape_of(row: str, panel: str) -> str:
    """A label of the figure: the shape, and for the other kinds what it is."""
    *kind, batch, hidden, steps = row.split("_")
    shape = f"B{batch[1:]} H{hidden[1:]} T{steps[1:]}"
    return shape if panel != "other" else f"{' '.join(kind)} {shape}"


def write(folder: Path, result: dict) -> None:
    """table.md, recurrence.png and report.md, and the same in the terminal."""
    measurements, ceiling = result["measurements"], max(result["ceiling_gflops"].values())
    lost, untimed = losses(measurements) or ["none"], result["not_timed"] or ["none"]
    facts = {key: result[key] for key in MACHINE} | result["versions"]
    facts["ceiling_gflops"] = ", ".join(f"{value:.0f} in {name}" for name, value in facts["ceiling_gflops"].items())
    rows = table(measurements, ceiling)
    compiling = {
        peer: f"{np.median(seconds):.2f} s"
        for peer in ("rnnjax", *OTHERS)
        if (seconds := [m["compile_seconds"][peer] for m in measurements if peer in m["compile_seconds"]])
    }
    bullets = {
        name: "\n".join(f"- {line}" for line in lines)
        for name, lines in (("Rows we lose", lost), ("Not timed", untimed), ("Notes", notes(measurements)))
    }
    sections = {
        "Geometric means": means_table(result["headline"]),
        "Rows we lose": bullets["Rows we lose"],
        "Not timed": bullets["Not timed"],
        "Notes": bullets["Notes"],
        "First call less a later one, median": report.table(compiling),
        "Machine": report.table(facts),
    }
    (folder / "table.md").write_text(rows + "\n")
    if measurements:
        figure(folder / "recurrence.png", measurements)
    pictures = "![times by shape](recurrence.png)\n\nTimes of rnnjax, and times of the peers over those of rnnjax:\n\n"
    report.write_report(folder, "Recurrent layers side by side", {"Table": pictures + rows, **sections})
    print(rows)
    for title, text in sections.items():
        print(f"\n{title}\n\n{text}")
