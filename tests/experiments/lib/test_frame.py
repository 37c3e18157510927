"""What experiments share: command lines, reports, figures."""

import dataclasses
import json
from typing import Literal

import jax
import numpy as np
import pytest

from experiments.lib import cli, plots, report, sweep

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


PRESETS = {"big": Config(preset="big", hidden=97, cell="lstm"), "fast": Config(preset="fast", rate=2.0)}


def parse(*args, **options):
    return cli.parse(Config, prog="prog", description="What it does.", args=args, presets=PRESETS, **options)


def test_no_options_give_the_defaults():
    assert parse() == Config()


def test_options_change_the_defaults():
    got = parse("--hidden", "17", "--cell", "lstm", "--rate=0.25")
    assert got == Config(hidden=17, cell="lstm", rate=0.25)


def test_a_smoke_run_compiles_quickly():
    assert not jax.config.read("jax_disable_most_optimizations")
    try:
        assert parse("--smoke") == Config(smoke=True) and jax.config.read("jax_disable_most_optimizations")
    finally:
        jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("args", [("--preset", "big"), ("--preset=big",)])
def test_a_preset_changes_the_defaults(args):
    assert parse(*args) == PRESETS["big"]


@pytest.mark.parametrize("args", [("--preset", "big", "--hidden", "7"), ("--hidden", "7", "--preset=big")])
def test_an_option_wins_over_the_preset(args):
    assert parse(*args) == Config(preset="big", hidden=7, cell="lstm")


def test_a_default_can_be_given():
    assert parse("--hidden", "7", default=Config(rate=4.0)) == Config(rate=4.0, hidden=7)


def test_an_unknown_preset_is_one_sentence():
    with pytest.raises(SystemExit, match=r"prog: expected --preset to be one of big, fast, got 'huge'"):
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
    assert line.startswith("result: ")
    assert json.loads(line.removeprefix("result: ")) == {
        "name": "char_lm",
        "seed": 3,
        "seconds": 12.3,
        "held_out_nats_per_char": 1.5,
    }


def test_a_config_as_json_can_be_read_back():
    config = Config(sizes=(7, 11), cell="lstm")
    assert cli.as_json(config)["sizes"] == [7, 11]
    assert json.loads(json.dumps(cli.as_json(config))) == cli.as_json(config)


# ---- reports -------------------------------------------------------------------------------------------------


def test_a_run_folder_is_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert report.new_run_folder(str(tmp_path / "mine"), "name") == tmp_path / "mine"
    folder = report.new_run_folder("", "name")
    assert (tmp_path / "mine").is_dir() and folder.is_dir()
    assert folder.resolve().parent == (tmp_path / "runs" / "name").resolve()


def test_a_run_folder_that_cannot_be_written_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("a file")
    with pytest.raises(OSError, match="expected a folder that can be written"):
        report.new_run_folder(str(tmp_path / "file" / "below"), "name")


def test_the_last_run_is_the_newest_with_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("2026-01-02-000000", "2026-01-03-000000", "2026-02-01-000000"):
        (tmp_path / "runs" / "name" / name).mkdir(parents=True)
    for name in ("2026-01-02-000000", "2026-01-03-000000"):
        report.write_config(tmp_path / "runs" / "name" / name, Config())
    assert report.last_run_folder("", "name").name == "2026-01-03-000000"
    older = tmp_path / "runs" / "name" / "2026-01-02-000000"
    assert report.last_run_folder(str(older), "name") == older


@pytest.mark.parametrize("out", ["", "nowhere"])
def test_no_run_to_resume_is_one_clear_error(tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"expected a run to resume in {out or 'runs/name'}, found none"):
        report.last_run_folder(out, "name")


def test_config_and_metrics_are_read_back(tmp_path):
    report.write_config(tmp_path, Config(hidden=7))
    assert json.loads((tmp_path / "config.json").read_text()) == cli.as_json(Config(hidden=7))
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 0.25}\n')
    assert [line["loss"] for line in report.read_metrics(tmp_path / "metrics.jsonl")] == [0.5, 0.25]
    assert report.read_metrics(tmp_path / "nothing.jsonl") == []


def test_a_report_has_a_title_and_its_sections(tmp_path):
    report.write_report(tmp_path, "Title", {"One": "first\n\n", "Two": report.table({"a": 1, "b": "é"})})
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text == "# Title\n\n## One\n\nfirst\n\n## Two\n\n| | |\n|---|---|\n| a | 1 |\n| b | é |\n"


def test_quoted_text_stands_in_a_fence():
    assert report.quoted("# not a heading") == "~~~~\n# not a heading\n~~~~"


# ---- figures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 397])  # without and with a running mean
def test_loss_curves_writes_a_png(tmp_path, size):
    steps = np.arange(1, size + 1)
    losses = 2 / np.sqrt(steps) + np.random.default_rng(0).random(size)
    points = {"held out": ([1, size], [2.5, 1.5]), "uniform": ([size], [3.0])}
    plots.loss_curves(tmp_path / "loss.png", (steps, losses), points, title="Loss", y="nats per character")
    data = (tmp_path / "loss.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) > 5_000


def test_a_figure_is_closed(tmp_path):
    before = plots.plt.get_fignums()
    with plots.figure(tmp_path / "f.png", title="Title", x="update", y="nats") as axes:
        axes.plot([1, 2, 3], [3, 1, 2])
        assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Title", "update", "nats")
    assert plots.plt.get_fignums() == before and (tmp_path / "f.png").exists()


# ---- sweeps --------------------------------------------------------------------------------------------------


def test_the_rate_with_the_lowest_mean_wins_and_what_is_not_finite_never():
    losses = [0.1, np.nan, 2.0, 4.0, 5.0, 0.5]  # of three rates, two first weights each
    place, by_rate = sweep.choose_rate(losses, (0.1, 0.2, 0.3), "a model")
    assert place == 2 and by_rate.tolist() == [np.inf, 3.0, 2.75]
    with pytest.raises(ValueError, match="finite loss of a model at one of the rates, got none"):
        sweep.choose_rate([np.nan, np.inf], (0.1, 0.2), "a model")
