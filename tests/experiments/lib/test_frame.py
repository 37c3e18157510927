"""The frame: command lines, folders of runs, reports, and how a run ends, is interrupted and goes on."""

import dataclasses
import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Literal

import jax
import pytest

from experiments import __main__ as listing
from experiments.lib import cli, frame, report

pytestmark = pytest.mark.usefixtures("standard_promotion")
ROOT = Path(__file__).parents[3]

# ---- command lines -------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of a run."""

    preset: str = ""  # other defaults
    hidden: int = 13  # units
    rate: float = 0.5  # of learning
    cell: Literal["rnn", "lstm"] = "rnn"  # which
    smoke: bool = False  # be quick
    sizes: tuple[int, ...] = (3, 5)  # of layers


PRESETS = {"big": {"preset": "big", "hidden": 97, "cell": "lstm"}, "fast": {"preset": "fast", "rate": 2.0}}


def parse(*args, **options):
    return cli.parse(Config, prog="prog", description="What it does.", args=args, presets=PRESETS, **options)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], Config()),
        (["--hidden", "17", "--cell", "lstm", "--rate=0.25"], Config(hidden=17, cell="lstm", rate=0.25)),
        (["--preset", "big"], Config(**PRESETS["big"])),
        (["--preset=big"], Config(**PRESETS["big"])),
        (["--preset", "big", "--hidden", "7"], Config(preset="big", hidden=7, cell="lstm")),
        (["--hidden", "7", "--preset=big"], Config(preset="big", hidden=7, cell="lstm")),
    ],
)
def test_an_option_wins_over_a_preset_and_that_over_the_default(args, expected):
    assert parse(*args) == expected


@pytest.mark.usefixtures("all_optimizations")
def test_a_smoke_run_compiles_quickly_and_wins_over_a_preset_but_not_over_an_option():
    got = parse("--smoke", "--preset", "big", "--rate", "3", smoke={"hidden": 2, "rate": 1.0})
    assert got == Config(preset="big", cell="lstm", smoke=True, hidden=2, rate=3.0)
    assert jax.config.read("jax_disable_most_optimizations")


def test_a_default_can_be_given():
    assert parse("--hidden", "7", default=Config(rate=4.0)) == Config(rate=4.0, hidden=7)


def test_an_unknown_preset_is_one_sentence():
    with pytest.raises(ValueError, match=r"expected --preset to be one of big, fast, got 'huge'"):
        parse("--preset", "huge")


@pytest.mark.parametrize("args", [("--hiden", "7"), ("--hidden", "many"), ("--cell", "gru")])
def test_bad_options_end_with_status_2(args, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(*args)
    assert caught.value.code == 2 and args[0] in "".join(capsys.readouterr())


def test_help_shows_every_option_with_its_comment(capsys):
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    shown = capsys.readouterr().out
    assert not caught.value.code
    for text in ("What it does.", "--hidden", "units", "--smoke", "be quick"):
        assert text in shown


@pytest.mark.parametrize("error", [ValueError("too short"), FileNotFoundError("no such text")])
def test_what_the_user_can_mend_is_one_sentence(capsys, error):
    def run():
        raise error

    with pytest.raises(SystemExit) as caught:
        cli.main_guard(run, prog="prog")
    assert caught.value.code == 1
    assert capsys.readouterr().err == f"prog: {error}\n"


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.main_guard(lambda: 1 // 0, prog="prog")


def test_the_result_line_is_json(capsys):
    cli.result_line("char_lm", 3, 12.3456, held_out_nats_per_char=1.5)
    (line,) = capsys.readouterr().out.splitlines()
    expected = {"name": "char_lm", "seed": 3, "seconds": 12.3, "held_out_nats_per_char": 1.5}
    assert line.startswith("result: ") and json.loads(line.removeprefix("result: ")) == expected


# ---- a whole experiment --------------------------------------------------------------------------------------

TOY = '''"""A toy that learns a number.

    python -m experiments.toy
"""

import dataclasses

import jax.numpy as jnp

from experiments.lib import frame, report, training
from rnnjax.losses import masked_mean


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    truth: float = 2.0  # to be learned
    models: tuple[str, ...] = ("one", "two")  # which
    steps: int = 40  # updates
    checkpoint_every: int = 10  # updates between checkpoints


SMOKE = {"steps": 20}
trained = []


def main(config: Config) -> dict:
    """Trains."""
    run = frame.begin(config)
    if config.truth < 0:
        raise ValueError("expected --truth from 0.")

    def loss_fn(params, batch, *, key):
        return masked_mean((params - batch) ** 2)

    def batches(step):
        hook(name, step)
        trained.append((name, step))
        return jnp.full(4, config.truth)

    found = {}
    for name in config.models:
        result = training.train(config, lambda key: jnp.zeros(()), loss_fn, batches, run.folder, name=name)
        found[name] = float(result.state.params)
    return frame.finish(run, {"learned": found["two"], "small": 1.23456e-5, "updates": result.step}, found=found)


def predict(config: Config) -> None:
    """Answers."""
    print("answer from", report.find_run(config.out, "toy"))


def hook(name, step):
    """For tests."""
'''
TEMPLATE = """# A toy

{{ result }}

{% for name, value in found.items() %}
- {{ name }}: {{ "%.2f" | format(value) }} of {{ config.truth }}
{% endfor %}

{{ options }}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """An experiment by itself in a working folder, and a function that runs its command line: `(status, stderr)`."""
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "toy.md").write_text(TEMPLATE)
    spec = importlib.util.spec_from_file_location("experiments.toy", tmp_path / "toy.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "experiments.toy", module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    return module


def run(toy, capsys, monkeypatch, *args):
    """The status of a command line, and what it prints: `(status, stdout, stderr)`."""
    monkeypatch.setattr(sys, "argv", ["toy", *args])
    status = 0
    try:
        frame.command_line(toy.main, toy.predict, smoke=toy.SMOKE)
    except SystemExit as end:
        status = end.code
    return status, *capsys.readouterr()


@pytest.fixture
def line(toy, capsys, monkeypatch):
    """Runs a command line of the toy."""
    return lambda *args: run(toy, capsys, monkeypatch, *args)


@pytest.mark.slow
def test_a_run_leaves_its_files_and_ends_with_the_result(toy, line):
    status, out, _ = line("--seed", "3")
    last = out.splitlines()[-1]
    result = json.loads(last.removeprefix("result: "))
    folder = Path(result["out"])
    assert status == 0 and last.startswith("result: ") and folder.parent == Path("runs/toy")
    assert (result["name"], result["seed"], result["small"], result["updates"]) == ("toy", 3, 1.2e-5, 40)
    text = (folder / "report.md").read_text()
    assert text.startswith("# A toy") and "| updates | 40 |" in text and "of 2.0" in text and "| seed | 3 |" in text
    assert str(folder) not in text and "| out |" not in text  # the same in every run
    saved = json.loads((folder / "config.json").read_text())
    assert (saved["experiment"], saved["models"], saved["seed"]) == ("toy", ["one", "two"], 3)
    assert report.read_config(folder, toy.Config) == toy.Config(seed=3, out=str(folder))
    assert len(report.read_metrics(folder / "two" / "metrics.jsonl")) == 40


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_interrupted_says_how_to_go_on_and_trains_nothing_twice(toy, line, sign, status):
    def interrupt(name, step):
        if (name, step) == ("two", 25):
            os.kill(os.getpid(), sign)

    whole = line("--out", "whole")
    toy.trained.clear()
    toy.hook = interrupt
    got, _, error = line("--out", "cut")
    assert got == status and "go on with: python -m experiments.toy --resume --out cut" in error
    assert ("one", 39) in toy.trained and not (Path("cut") / "report.md").exists()
    toy.hook = lambda name, step: None
    toy.trained.clear()
    got, out, _ = line("--resume", "--out", "cut")
    assert got == 0 and "one" not in {name for name, _ in toy.trained}  # it was complete
    assert min(step for _, step in toy.trained) >= 10 and ("two", 39) in toy.trained
    assert out.splitlines()[-1].split('"learned"')[1].split(",")[0] == whole[1].split('"learned"')[1].split(",")[0]
    assert (Path("cut") / "report.md").read_bytes() == (Path("whole") / "report.md").read_bytes()


def test_resume_and_other_commands_take_the_newest_run_that_is_no_smoke_run(toy, line):
    for when, smoke in (("2026-01-01", False), ("2026-01-03", False), ("2026-01-05", True)):
        folder = Path("runs/toy") / when
        folder.mkdir(parents=True)
        report.write_config(folder, toy.Config(smoke=smoke), "toy")
    (Path("runs/toy") / "2026-02-01").mkdir()  # without a run
    assert "answer from runs/toy/2026-01-03" in line("predict")[1]
    assert "answer from runs/toy/2026-01-05" in line("predict", "--out", "runs/toy/2026-01-05")[1]
    assert '"out": "runs/toy/2026-01-03"' in line("--resume")[1].splitlines()[-1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--resume"], "expected a run of toy in runs/toy, found none"),
        (["--resume", "--out", "nowhere"], "expected a run of toy in nowhere, found none"),
        (["--resume", "--out", "others"], "expected a run of toy in others, got one of addition"),
        (["--resume", "--out", "mine", "--truth", "3"], "got truth=3.0 but 2.0 there"),
        (["--out", "mine"], "expected --out to be a folder without a run, got mine"),
        (["--out", "toy.py/below"], "expected a folder that can be written"),
        (["--learning-rate", "-0.1"], "expected --learning-rate above 0, got -0.1"),
        (["--steps", "0"], "expected --steps from 1, got 0"),
        (["--seed", "-1"], "expected --seed from 0"),
        (["--optimizer", "adm"], "expected one of sgd, adam"),
        (["--devices", "2"], "expected --devices of at most 1, got 2"),
        (["--distributed", "host:1,2,2"], "with rank below count, got 'host:1,2,2'"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_leaves_no_folder(toy, line, monkeypatch, args, message):
    for name, experiment in (("mine", "toy"), ("others", "addition")):
        Path(name).mkdir()
        report.write_config(Path(name), toy.Config(), experiment)
    monkeypatch.setattr(jax.config, "update", lambda *_: None)  # devices can be chosen before the first use only
    before = {path: path.read_bytes() for path in Path().rglob("*.json")}
    status, _, error = line(*args)
    assert status == 1 and message in error and len(error.strip().splitlines()) == 1
    assert {path: path.read_bytes() for path in Path().rglob("*.json")} == before and not [*Path().glob("runs/toy/*")]


def test_data_that_cannot_be_leave_no_folder(toy, line):
    status, _, error = line("--truth", "-1", "--out", "new")
    assert status == 1 and "expected --truth from 0" in error and not Path("new").exists()


def test_options_that_there_are_no_more_are_named(toy, line):
    Path("old").mkdir()
    report.write_config(Path("old"), toy.Config(), "toy")
    saved = json.loads((Path("old") / "config.json").read_text()) | {"width": 3}
    (Path("old") / "config.json").write_text(json.dumps(saved))
    assert "got --width, which there is no more" in line("--resume", "--out", "old")[2]


# ---- reports -------------------------------------------------------------------------------------------------


def test_a_template_must_be_given_all_it_names(tmp_path):
    (tmp_path / "report.md").write_text("{{ a | percent(2) }} {{ b }}")
    with pytest.raises(Exception, match="'b' is undefined"):
        report.render(tmp_path / "report.md", a=0.5)
    assert report.render(tmp_path / "report.md", a=0.5, b="<&>") == "50.00% <&>"


def test_tables_and_quoted_text():
    assert report.table({"a": 1, "b": "é"}) == "| | |\n|---|---|\n| a | 1 |\n| b | é |"
    assert report.grid(["x", "y"], [[1, 2]]) == "| x | y |\n| --- | --- |\n| 1 | 2 |"
    assert report.quoted("# not a heading") == "~~~~\n# not a heading\n~~~~"


# ---- all experiments -----------------------------------------------------------------------------------------

PROGRAMS = dict(listing.programs())
EXPERIMENTS = [name for name in PROGRAMS if "." not in name]


def test_every_program_is_listed_with_a_line():
    assert {"addition", "char_lm", "benchmarks.recurrence"} <= PROGRAMS.keys() and "lib.frame" not in PROGRAMS
    assert all(0 < len(line) <= 120 and line[-1] in ".?" for line in PROGRAMS.values())


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_a_story_is_short_and_has_its_report(name):
    story, template = ROOT / "experiments" / f"{name}.py", ROOT / "experiments" / f"{name}.md"
    if not story.exists():
        story, template = ROOT / "experiments" / name / "__main__.py", ROOT / "experiments" / name / "report.md"
    text, words = story.read_text(), template.read_text()
    assert len(text.splitlines()) <= 200 and "frame.command_line(main" in text
    assert "{{ result }}" in words and words.rstrip().endswith("{{ options }}")
    assert words.count("![") <= words.count("What to look for")  # of each figure


def test_experiments_do_not_import_each_other():
    for path in (ROOT / "experiments").rglob("*.py"):
        own = path.relative_to(ROOT / "experiments").parts[0].removesuffix(".py")
        for name in EXPERIMENTS:
            if own not in (name, "benchmarks"):
                text = path.read_text()
                assert f"from experiments.{name} " not in text and f"from experiments import {name}" not in text, path
