"""The folder of a run: config, metrics, figures, a report in Markdown."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.lib.cli import as_json
from rnnjax.data import write_text
from rnnjax.training import make_folder


def new_run_folder(out: str, name: str) -> Path:
    """The folder that `--out` names, or runs/<name>/<time>; made, writable, and without a run in it."""
    folder = Path(out) if out else Path("runs") / name / time.strftime("%Y-%m-%d-%H%M%S")
    if (folder / "config.json").exists():
        raise ValueError(
            f"expected --out to be a folder without a run, got {folder}, which holds one; pass another folder, or "
            "--resume to go on with it."
        )
    make_folder(folder)
    return folder


def last_run_folder(out: str, name: str) -> Path:
    """The folder that `--out` names, or the newest one of runs/<name>; it must hold a config."""
    folders = [Path(out)] if out else sorted((Path("runs") / name).glob("*/"), reverse=True)
    for folder in folders:
        if (folder / "config.json").is_file():
            return folder
    where = out or f"runs/{name}"
    raise FileNotFoundError(f"expected a run to resume in {where}, found none; start one without --resume.")


def write_config(folder: Path, config: Any) -> None:
    """Writes config.json."""
    write_text(folder / "config.json", json.dumps(as_json(config), indent=2) + "\n")


def read_config(folder: Path, config_type: type) -> Any:
    """The config that `write_config` wrote."""
    return config_type(**json.loads((folder / "config.json").read_text()))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def write_report(folder: Path, title: str, sections: Mapping[str, str]) -> None:
    """Writes report.md: a title, and a heading for each section."""
    body = "\n\n".join(f"## {heading}\n\n{text.rstrip()}" for heading, text in sections.items())
    write_text(folder / "report.md", f"# {title}\n\n{body}\n")


def table(rows: Mapping[str, Any]) -> str:
    """A two-column table in Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def grid(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown with a header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def quoted(text: str) -> str:
    """Text as a block that Markdown leaves alone."""
    fence = "~~~~"
    return f"{fence}\n{text}\n{fence}"
