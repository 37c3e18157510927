"""The frame of an experiment: its command line, its folder, its report and its last line.

How to write an experiment
1. A small one is `experiments/<name>.py`, at most 200 lines, with `<name>.md` beside it. A larger one is a folder:
   `__main__.py` (the story: Config, data, model, main), the parts it imports, `figures.py` and `report.md`.
2. The docstring of the story says in its first line what is shown (`python -m experiments` lists it); then follow the
   commands, the minutes they take and the numbers to expect. Equations and references open the report.
3. `Config(frame.Config)`, or `Config(training.Options)` where something is trained: frozen, its defaults are the run
   that the README reports, and each field has a comment, its help (a field whose default changes repeats it). `check`
   raises one sentence for options that cannot be.
4. SMOKE changes the defaults for `--smoke`: no download, no RNNJAX_DATA, under 15 seconds. PRESETS likewise.
5. Data come from `experiments/data`. What at least two experiments share is in `experiments/lib`; experiments never
   import each other, and of rnnjax only public names.
6. `main(config)` begins with `run = frame.begin(config)`, trains with `training.train` (many runs side by side:
   `sweep`), predicts with `training.in_chunks`, draws with `figures`, and ends with `return frame.finish(run, headline,
   **values)`: numbers, not words. Rates and accuracies lie between 0 and 1, on held-out data.
7. `report.md` is a Jinja template. It shows `{{ result }}`, tables with intervals, and each figure with what to look
   for; it draws no conclusion that depends on the numbers. `{{ options }}` comes last.
8. The last lines are `if __name__ == "__main__": frame.command_line(main, smoke=SMOKE)`.
9. `tests/experiments/test_<name>.py` has one smoke run (`experiment_runs.smoke_fixture`) and the laws of the parts; the
   README has a row: what is shown, command, minutes, number to see, number measured.
"""

import dataclasses
import inspect
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from experiments.lib import cli, processes, report
from experiments.lib.html import to_html
from rnnjax.data import write_text


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of every experiment."""

    seed: int = 0  # of everything random
    smoke: bool = False  # a short run of a small model, to see that everything works
    out: str = ""  # folder of the run; runs/<name>/<time> by default
    resume: bool = False  # go on with the run in --out, or with the newest one
    devices: int = 1  # of each process, that share each batch
    distributed: str = ""  # several processes: host:port,rank,count, or auto where the cluster tells

    free: ClassVar[frozenset[str]] = frozenset({"out", "resume", "devices", "distributed"})  # may change on --resume

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        if self.seed < 0 or self.devices < 1:
            raise ValueError(f"expected --seed from 0 and --devices from 1, got {self.seed} and {self.devices}.")


class Run(NamedTuple):
    """An experiment under way."""

    name: str  # of the experiment
    config: Any  # its options
    folder: Path  # where everything is written
    template: Path  # of the report
    began: float  # when, on the clock of `time.perf_counter`


def begin(config: Config) -> Run:
    """Opens the folder of a run of the experiment in whose file the Config is defined; checks its options."""
    config.check()
    began, file = time.perf_counter(), _file_of(type(config))
    name = _name_of(file)
    if config.resume:
        folder = report.find_run(config.out, name)
        _check_same(folder, config)
    else:
        folder = report.new_run_folder(config.out, name)
        processes.wait("new run")
        if processes.is_first():
            report.write_config(folder, config, name)
    template = file.with_name("report.md") if file.stem == "__main__" else file.with_suffix(".md")
    return Run(name, config, processes.own_folder(folder), template, began)


def finish(run: Run, headline: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """Writes report.md, report.html and result.json, prints the headline and the result line, returns the headline.

    The headline begins with the number that the experiment is about; names of what it is held against begin with
    "baseline". Its floats are rounded to four digits after the point, small ones to two that count. The values are for
    the template, beside `result` and `options` (tables) and `config`. A report contains nothing that differs from run
    to run with the same seed, such as seconds or paths.
    """
    headline = {name: _rounded(value) if isinstance(value, float) else value for name, value in headline.items()}
    options = {name: value for name, value in cli.as_json(run.config).items() if name not in Config.free}
    tables = {"result": report.table(headline), "options": report.table(options)}
    text = report.render(run.template, config=run.config, **tables, **values)
    write_text(run.folder / "report.md", text)
    write_text(run.folder / "report.html", to_html(text, run.folder))
    seconds = time.perf_counter() - run.began
    saved = {"name": run.name, "seed": run.config.seed, "seconds": round(seconds, 1), "headline": headline}
    write_text(run.folder / "result.json", json.dumps(saved, indent=2) + "\n")
    print("", *(f"{name}: {value}" for name, value in headline.items()), f"report: {run.folder}/report.html", sep="\n")
    headline["out"] = str(run.folder)
    cli.result_line(run.name, run.config.seed, seconds, **headline)
    return headline


def command_line(main: Callable, *commands: Callable, smoke: cli.Changes, presets: Any = None) -> None:
    """Runs an experiment as its command line says: status 0, 1 with one sentence, 2, 130 or 143.

    The annotation of the argument of `main` says which options there are; other commands than to train, such as
    `predict`, are called likewise if the first argument is their name.
    """
    name, args = _name_of(_file_of(main)), sys.argv[1:]
    prog = f"python -m experiments.{name}"

    def run() -> None:
        for command in commands:
            if args[:1] == [command.__name__]:
                what = inspect.getdoc(command) or ""
                command(cli.parse(_config_of(command), prog=f"{prog} {args[0]}", description=what, args=args[1:]))
                return
        options = {"prog": prog, "description": main.__globals__["__doc__"], "args": args, "presets": presets}
        if "--resume" in args:
            folder = report.find_run(cli.option(args, "--out") or "", name)
            config = cli.parse(_config_of(main), default=report.read_config(folder, _config_of(main)), **options)
        else:
            config = cli.parse(_config_of(main), smoke=smoke, **options)
            folder = config.out or report.default_folder(name)
        processes.join(config.distributed, config.devices)
        with processes.one_voice():
            _run(main, dataclasses.replace(config, out=processes.agree(str(folder))), prog)

    cli.main_guard(run, prog=prog)


def _run(main: Callable[[Any], Any], config: Any, prog: str) -> None:
    """Runs `main`; a run that failed before it began leaves no folder, one that was interrupted says how to go on."""
    described = Path(config.out) / "config.json"
    before = described.exists() or not processes.is_first()
    try:
        main(config)
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, and SIGTERM while a model is trained
        if described.exists():
            print(f"\n{prog}: interrupted; go on with: {prog} --resume --out {config.out}", file=sys.stderr)
        raise
    except (ValueError, OSError):
        if not before and described.exists() and len(list(described.parent.iterdir())) == 1:
            described.unlink()
            described.parent.rmdir()
        raise


def _check_same(folder: Path, config: Config) -> None:
    """Raises for options that differ from those of the run that is resumed."""
    saved, given = cli.as_json(report.read_config(folder, type(config))), cli.as_json(config)
    other = [name for name in given if name not in config.free and given[name] != saved[name]]
    if other:
        differences = ", ".join(f"{name}={given[name]!r} but {saved[name]!r} there" for name in other)
        raise ValueError(
            f"expected the options of the run in {folder}, got {differences}; resume without these options, or start a "
            "new run."
        )


def _file_of(thing: Any) -> Path:
    return Path(str(sys.modules[thing.__module__].__file__))


def _name_of(file: Path) -> str:
    return file.parent.name if file.stem == "__main__" else file.stem


def _config_of(function: Callable[[Any], Any]) -> type:
    [parameter] = inspect.signature(function).parameters.values()
    return parameter.annotation


def _rounded(value: float) -> float:
    return round(value, 4) if abs(value) >= 0.01 else float(f"{value:.2g}")
