"""Reports the benchmark of recurrence: ratios, geometric means, the rows that rnnjax loses, a table and a figure.

A measurement is a row in one mode: {"row", "kind", "cell", "batch", "hidden", "steps", "mode", "flops", "medians",
...}, medians in seconds by peer. A ratio is a peer's median over rnnjax's. The peer "jax" is, row by row, the fastest
of the other JAX libraries; the plain scan is not one of them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch
from PIL import Image

from experiments.benchmarks.peers import JAX_PEERS, PEERS
from experiments.benchmarks.peers.base import VARIANTS
from experiments.lib import report
from experiments.lib.plots import COLOURS, STYLE

OTHERS = tuple(peer.name for peer in PEERS if peer.name != "rnnjax")
KINDS = ("masked", "bidirectional", "two_layers", "attention")
MODES = {"grad": "forward + gradient", "forward": "forward", "train": "train step"}
TICKS = (0.5, 1, 2, 5, 10, 20, 50, 100)  # percent
LOOKS = {  # colour, hatch
    "rnnjax": ("black", ""),
    "rnnjax_layers": ("#888888", ""),
    "scan": ("#cccccc", ""),
    "linen": (COLOURS[2], ""),
    "nnx": (COLOURS[2], "//"),
    "haiku": (COLOURS[4], ""),
    "equinox": (COLOURS[3], ""),
    "keras": (COLOURS[3], "//"),
    "torch": (COLOURS[1], ""),
    "onnx": (COLOURS[0], ""),
}
MACHINE = ("device", "cpu_count", "cpus_used", "threads", "load_before", "xla_flags", "malloc_keep", "ceiling_gflops")


def ratio(measurement: dict, peer: str) -> float | None:
    """Returns how many times as long as rnnjax a peer takes, or None if it was not timed."""
    medians = measurement["medians"]
    times = [medians[name] for name in (JAX_PEERS if peer == "jax" else (peer,)) if name in medians]
    return min(times) / medians["rnnjax"] if times else None


def geomean(values: Iterable[float]) -> float:
    """Returns the geometric mean."""
    return float(np.exp(np.mean(np.log(list(values)))))


def headline(measurements: Sequence[dict]) -> dict[str, float]:
    """Returns geomean_<what> and worst_<what>; what is a peer over all rows, or peer_mode_cell, or peer_kind_mode.

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
    """Makes a table of the headline."""
    names = [key.removeprefix("geomean_") for key in numbers if key.startswith("geomean_")]
    rows = [[name, f"{numbers[f'geomean_{name}']:.2f}", f"{numbers[f'worst_{name}']:.2f}"] for name in names]
    return markdown(["against", "geometric mean", "worst row"], rows)


def losses(measurements: Sequence[dict]) -> list[str]:
    """Lists rows in which a peer is faster than rnnjax, the worst first."""
    lost = []
    for m in measurements:
        for peer in OTHERS:
            value = ratio(m, peer)
            if value is not None and value < 1 and peer != "rnnjax_layers":
                lost.append((value, f"{value:.2f}  {m['row']} {m['mode']}: {peer}"))
    return [line for _, line in sorted(lost)]


def table(measurements: Sequence[dict], ceiling: float) -> str:
    """Makes the table: milliseconds, GFLOP/s, percentage of the ceiling, the ratio to each peer, ! for a loss."""
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
    """Formats a table for Markdown and terminals; with five columns, all but the first two are right-aligned."""
    widths = [max(len(str(row[i])) for row in [columns, *rows]) for i in range(len(columns))]
    left = 2 if len(columns) >= 5 else 1

    def line(cells):
        padded = [c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "| " + " | ".join(padded) + " |"

    rule = "|".join("-" * (w + 2) if i < left else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return "\n".join([line(columns), f"|{rule}|", *map(line, rows)])


def notes(measurements: Sequence[dict]) -> list[str]:
    """Notes where a peer computes something slightly different."""
    found = {(peer, m["cell"], variant) for m in measurements for peer, variant in m["variants"].items()}
    lines = [
        f"{peer}'s {cell}: {VARIANTS[variant]}; held to the reference of that cell" for peer, cell, variant in found
    ]
    lines.append("jax: row by row the fastest of " + ", ".join(JAX_PEERS) + "; scan: the same cell under jax.lax.scan")
    lines.append("rnnjax_layers: unroll_layers, a loop a layer, over rnnjax's unroll of the stack")
    lines.append("FLOPs count the products, padding included; forward + gradient as three times forward")
    return sorted(lines)


def figure(path: Path, measurements: Sequence[dict], ceiling: float) -> None:
    """Draws percentages of the ceiling as bars by shape: a panel per cell and mode, and for other kinds."""
    panels = []
    for mode in ("grad", "forward"):
        for kind in ("lstm", "gru", "rnn", "other"):
            found = [
                m
                for m in measurements
                if m["mode"] == mode and (m["kind"] != "unroll" if kind == "other" else is_plain(m, kind))
            ]
            panels += [(f"{kind}, {MODES[mode]}", sorted(found, key=shape_of))] if found else []
    width = 0.85 / len(LOOKS)
    style = {**STYLE, "font.size": 16, "figure.dpi": 100, "axes.grid.axis": "y"}
    with plt.rc_context(style):
        canvas, grid = plt.subplots(
            len(panels), figsize=(18, 4.2 * len(panels) + 1), squeeze=False, layout="constrained"
        )
        for axes, (title, found) in zip(grid.flat, panels, strict=True):
            for place, (peer, (colour, hatch)) in enumerate(LOOKS.items()):
                bars = [(i, m) for i, m in enumerate(found) if peer in m["medians"]]
                heights = [100e-9 * m["flops"] / m["medians"][peer] / ceiling for _, m in bars]
                at = [i + (place - (len(LOOKS) - 1) / 2) * width for i, _ in bars]
                axes.bar(at, heights, width, color=colour, hatch=hatch, edgecolor="black", linewidth=0.5, label=peer)
            axes.axhline(100, color="black", linewidth=1.5)
            axes.set(title=title, yscale="log", ylabel="% of SGEMM", xlim=(-0.6, len(found) - 0.4))
            axes.set_xticks(range(len(found)), [label_of(m) for m in found])
            axes.yaxis.set_major_locator(plt.FixedLocator(TICKS))
            axes.yaxis.set_major_formatter(plt.FuncFormatter(lambda y, _: f"{y:g}"))
            axes.yaxis.set_minor_locator(plt.NullLocator())
        shown = [peer for peer in LOOKS if any(peer in m["medians"] for m in measurements)]
        patches = [Patch(facecolor=LOOKS[p][0], hatch=LOOKS[p][1], edgecolor="black", label=p) for p in shown]
        canvas.legend(handles=patches, loc="outside upper center", ncols=len(shown), frameon=False)
        canvas.savefig(path)
        plt.close(canvas)
    with Image.open(path) as picture:  # a palette: half the bytes
        picture.convert("RGB").quantize(64).save(path, optimize=True)


def is_plain(m: dict, cell: str) -> bool:
    """Tells whether a measurement belongs to a plain row of a cell."""
    return m["kind"] == "unroll" and m["cell"] == cell


def shape_of(m: dict) -> tuple:
    """Returns what the bars of a panel are sorted by."""
    return m["kind"], m["cell"], m["batch"], m["hidden"], m["steps"]


def label_of(m: dict) -> str:
    """Labels a bar with its shape, and for other kinds with the kind."""
    shape = f"B={m['batch']}\nH={m['hidden']}\nT={m['steps']}"
    return shape if m["kind"] == "unroll" else f"{m['kind'].replace('_', ' ')}\n{m['cell']}\n{shape}"


def write(folder: Path, result: dict) -> None:
    """Writes table.md, recurrence.png and report.md, and prints the table."""
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
        figure(folder / "recurrence.png", measurements, ceiling)
    pictures = "![rates by shape](recurrence.png)\n\nTimes of rnnjax, and times of the peers over those of rnnjax:\n\n"
    report.write_report(folder, "Recurrent layers side by side", {"Table": pictures + rows, **sections})
    print(rows)
    for title, text in sections.items():
        print(f"\n{title}\n\n{text}")
