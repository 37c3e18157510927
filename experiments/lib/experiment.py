"""What every experiment does before and after its own work: the folder, the report, the last line, the command line."""

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.lib import cli, report


class Run(NamedTuple):
    """An experiment under way.

    Attributes:
      name: of the experiment.
      config: its options, those of a smoke run filled in.
      folder: where everything is written.
      began: when, on the clock of `time.perf_counter`.
    """

    name: str
    config: Any
    folder: Path
    began: float


def begin(name: str, config: Any, smoke: Mapping[str, Any]) -> Run:
    """Makes the folder and writes config.json.

    Args:
      name: of the experiment.
      config: a frozen dataclass with seed, smoke and out.
      smoke: what `--smoke` changes.
    """
    began = time.perf_counter()
    if config.smoke:
        config = dataclasses.replace(config, **smoke)
    folder = report.new_run_folder(config.out, name)
    report.write_config(folder, config)
    return Run(name, config, folder, began)


def finish(run: Run, *, title: str, headline: Mapping[str, Any], sections: Mapping[str, str]) -> dict[str, Any]:
    """Writes report.md, prints the result line, and returns the headline numbers.

    The report holds nothing that differs from run to run with the same seed, such as seconds or paths; what was timed
    belongs into a file of its own.

    Args:
      run: of `begin`.
      title: of the report.
      headline: numbers by name, floats to four digits after the point, small ones to two that count.
      sections: Markdown by heading, between the result and the options.
    """
    headline = {name: _rounded(value) if isinstance(value, float) else value for name, value in headline.items()}
    options = {name: value for name, value in cli.as_json(run.config).items() if name != "out"}
    sections = {"Result": report.table(headline), **sections, "Options": report.table(options)}
    report.write_report(run.folder, title, sections)
    headline["out"] = str(run.folder)
    print(f"\nreport: {run.folder / 'report.md'}", flush=True)
    cli.result_line(run.name, run.config.seed, time.perf_counter() - run.began, **headline)
    return headline


def _rounded(value: float) -> float:
    return round(value, 4) if abs(value) >= 0.01 else float(f"{value:.2g}")


def command_line(name: str, description: str, config_type: type, main: Callable[[Any], Any]) -> None:
    """Runs `main` on the config that the command line describes."""
    cli.main_guard(
        lambda: main(
            cli.parse(config_type, prog=f"python -m experiments.{name}", description=description, args=sys.argv[1:])
        ),
        prog=f"experiments.{name}",
    )
