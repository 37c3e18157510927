"""The folder of a run: its configuration, its metrics, and its report, filled into a template beside the experiment."""

import dataclasses
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jinja2

from experiments.lib import processes
from experiments.lib.cli import as_json
from experiments.lib.intervals import Interval
from rnnjax.data import read_text, write_text

ConfigT = TypeVar("ConfigT")
EXPERIMENT = "experiment"  # the entry of config.json that says whose run it is


def default_folder(name: str) -> Path:
    """The folder of a run that begins now, unless `--out` names one."""
    return Path("runs") / name / time.strftime("%Y-%m-%d-%H%M%S")


def new_run_folder(out: str, name: str) -> Path:
    """Makes the folder that `--out` names, or runs/<name>/<time>: writable, and without a run in it."""
    folder = Path(out) if out else default_folder(name)
    if (folder / "config.json").exists():
        raise ValueError(
            f"expected --out to be a folder without a run, got {folder}, which contains one; pass another folder, or "
            "--resume to go on with it."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise OSError(f"expected a folder that can be written, got {folder} ({reason}); pass another --out.") from None
    return folder


def find_run(out: str, name: str) -> Path:
    """Finds the run of an experiment that `--out` names, or its newest one in runs/<name> that is not a smoke run."""
    run = next(find_runs(out, name), None)
    if run is None:
        where = out or f"runs/{name}"
        raise FileNotFoundError(f"expected a run of {name} in {where}, found none; train first, or pass another --out.")
    return run


def find_runs(out: str, name: str) -> Iterator[Path]:
    """Yields the run of an experiment that `--out` names, or those in runs/<name> that are not smoke runs.

    The newest comes first.
    """
    for folder in [Path(out)] if out else sorted((Path("runs") / name).glob("*/"), reverse=True):
        if (folder / "config.json").is_file():
            saved = json.loads(read_text(folder / "config.json"))
            if saved.get(EXPERIMENT, name) != name:
                raise ValueError(
                    f"expected a run of {name} in {folder}, got one of {saved[EXPERIMENT]}; pass another --out."
                )
            if out or not saved.get("smoke"):
                yield folder


def write_config(folder: Path, config: Any, name: str = "") -> None:
    """Writes config.json: the options, and the name of the experiment."""
    write_text(folder / "config.json", json.dumps({EXPERIMENT: name, **as_json(config)}, indent=2) + "\n")


def read_config(folder: Path, config_type: type[ConfigT]) -> ConfigT:
    """Reads what `write_config` wrote; options that were added since have their defaults."""
    saved = json.loads(read_text(folder / "config.json"))
    saved.pop(EXPERIMENT, None)
    if unknown := saved.keys() - {field.name for field in dataclasses.fields(config_type)}:
        raise ValueError(
            f"expected {folder} to have the options of today, got --{min(unknown)}, which there is no more; start a "
            "new run."
        )
    return config_type(**{name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()})


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file, which the first of several processes writes for all."""
    path = processes.shared_folder(path)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def render(template: Path, **values: Any) -> str:
    """Fills a template; a value that it names and nobody gave is an error."""
    blocks = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    loader = jinja2.FileSystemLoader(template.parent)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, **blocks)
    environment.filters |= {"percent": percent, "interval": interval, "quoted": quoted}
    return environment.get_template(template.name).render(**values)


def percent(share: float, digits: int = 1) -> str:
    """A share in percent."""
    return f"{share:.{digits}%}"


def interval(found: Interval, spec: str = ".1%") -> str:
    """A mean with its interval.

    >>> interval(Interval(0.9, 0.85, 0.925)), interval(Interval(1.5, -1.0, 2.0), "+.2f")
    ('90.0% (85.0% to 92.5%)', '+1.50 (-1.00 to +2.00)')
    """
    return f"{found.mean:{spec}} ({found.low:{spec}} to {found.high:{spec}})"


def quoted(text: str) -> str:
    """Text as a block that Markdown leaves alone."""
    return f"~~~~\n{text}\n~~~~"


def table(rows: Mapping[str, Any]) -> str:
    """A two-column table in Markdown."""
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def grid(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table in Markdown with a header."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def write_report(folder: Path, title: str, sections: Mapping[str, str]) -> None:
    """Writes report.md without a template: a title, and a heading for each section."""
    body = "\n\n".join(f"## {heading}\n\n{text.rstrip()}" for heading, text in sections.items())
    write_text(folder / "report.md", f"# {title}\n\n{body}\n")
