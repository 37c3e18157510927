"""The gallery: one page of the newest whole run of every experiment, its headline number and its main figure."""

import html
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from experiments.lib import report
from experiments.lib.html import as_data, make_page, title_of
from rnnjax.data import read_text, write_text

RESULT = "result.json"
FIGURE = re.compile(r"!\[[^\]]*\]\(([^)]+\.(?:png|svg|gif))\)")


def write_gallery(experiments: Iterable[tuple[str, str]], path: Path) -> list[str]:
    """Writes the page of experiments, `(name, what it shows)`; returns the names of those that have a run."""
    cards = {name: card for name, line in experiments if (card := _card(name, line, path.parent))}
    if not cards:
        raise FileNotFoundError("expected whole runs of experiments in runs/, got none; run one first.")
    body = f'<h1>Experiments</h1>\n<div class="cards">\n{"".join(cards.values())}</div>'
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, make_page("Experiments with recurrent networks", body, wide=True))
    return list(cards)


def _card(name: str, line: str, folder: Path) -> str:
    """The newest whole run of an experiment as a card, or nothing without one."""
    run = next((run for run in report.find_runs("", name) if (run / RESULT).is_file()), None)  # that came to its end
    if run is None:
        return ""
    text = read_text(run / "report.md")
    figure = next((run / found for found in FIGURE.findall(text) if (run / found).is_file()), None)
    image = f'<p><img src="{as_data(figure)}" alt="{html.escape(figure.stem)}"></p>\n' if figure else ""
    link = os.path.relpath(run / "report.html", folder)
    return (
        f'<article>\n<h2><a href="{html.escape(link)}">{html.escape(title_of(text) or name)}</a></h2>\n'
        f"<p>{html.escape(line)}</p>\n{image}<p>{html.escape(_headline(run))}</p>\n"
        f"<p><code>python -m experiments.{name}</code></p>\n</article>\n"
    )


def _headline(run: Path) -> str:
    """The first number of a run, and its baselines; without any, the second."""
    found = json.loads(read_text(run / RESULT))["headline"]
    first, *others = found
    baselines = [name for name in others if name.startswith("baseline")] or others[:1]
    against = ", ".join(f"{name} {found[name]}" for name in baselines)
    return f"{first} {found[first]}" + (f" against {against}" if against else "")
