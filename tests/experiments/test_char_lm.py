"""The character language model: its smoke run, its command line, and killed and resumed for real."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from experiment_runs import smoke_fixture

from experiments import char_lm
from experiments.lib.report import read_metrics

ROOT = Path(__file__).parents[2]
SHORT = ["--hidden", "13", "--batch", "3", "--window", "7", "--steps-per-call", "5", "--sample-every", "50"]
SHORT += ["--sample-length", "11", "--evaluate-every", "40", "--warmup", "3"]

pytestmark = pytest.mark.usefixtures("quick_compilation", "standard_promotion")
smoke = smoke_fixture(char_lm)


def run(*args, check=True, **options):
    """`python -m experiments.char_lm ARGS` as a person would run it."""
    command = [sys.executable, "-m", "experiments.char_lm", *args]
    return subprocess.run(command, cwd=ROOT, check=check, capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("".join(f"line {i} of a text that counts {i * i % 97}; " for i in range(400)))
    return str(path)


def test_smoke_learns_and_leaves_its_files(smoke):
    folder, result = smoke
    assert result["updates"] == 40 and 2.0 < result["held_out_nats_per_char"] < 3.6  # from 4.63, a uniform guess
    metrics = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in metrics if "loss" in line] == list(range(1, 41))
    assert (folder / "loss.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "report.md").read_text()
    assert str(result["held_out_nats_per_char"]) in text and "After 20 updates" in text
    assert [line["step"] for line in read_metrics(folder / "samples.jsonl")] == [0, 20, 40]
    assert json.loads((folder / "config.json").read_text())["hidden"] == 32


def test_smoke_is_reproducible(smoke, tmp_path):
    again = char_lm.main(char_lm.Config(smoke=True, out=str(tmp_path)))
    assert {**again, "out": ""} == {**smoke[1], "out": ""}
    losses = [[line.get("loss") for line in read_metrics(f / "metrics.jsonl")] for f in (smoke[0], tmp_path)]
    assert losses[0] == losses[1]


def test_sample_from_checkpoint(smoke, capsys):
    config = char_lm.SampleConfig(out=str(smoke[0]), prompt="The ", length=17, top_k=5, seed=3)
    first = char_lm.sample(config)
    assert first.startswith("The ") and len(first) == 4 + 17 and first in capsys.readouterr().out
    assert char_lm.sample(config) == first != char_lm.sample(dataclasses.replace(config, seed=4))


@pytest.mark.parametrize("preset", char_lm.PRESETS)
def test_presets_run(preset, text, tmp_path):
    config = dataclasses.replace(char_lm.PRESETS[preset], data=text, smoke=True, out=str(tmp_path))
    assert char_lm.main(config)["updates"] == 40


@pytest.mark.parametrize("cell", char_lm.CELLS)
def test_every_cell_trains(cell, text, tmp_path):
    layers = 2 if cell == "lstm" else 1
    sizes = {"hidden": 7, "batch": 3, "window": 5, "steps": 11, "steps_per_call": 4, "layers": layers, "dropout": 0.3}
    config = char_lm.Config(cell=cell, data=text, out=str(tmp_path), **sizes)
    assert char_lm.main(config)["held_out_nats_per_char"] < 4.0


def test_last_line_is_the_result(text, tmp_path):
    done = run("--smoke", "--data", text, "--seed", "5", "--out", str(tmp_path))
    last = done.stdout.strip().splitlines()[-1]
    result = json.loads(last.removeprefix("result: "))
    assert last.startswith("result: ") and result["name"] == "char_lm" and result["seed"] == 5
    assert result["seconds"] > 0 and result["held_out_nats_per_char"] > 0
    assert "bits/char" in done.stderr and "char/s" in done.stderr


def test_help_can_be_read():
    text = run("--help").stdout
    assert "--preset" in text and "updates" in text and "python -m experiments.char_lm sample" in text


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < end, "the run did not get there in time"
        time.sleep(0.01)


def test_killed_and_resumed_is_bit_equal(text, tmp_path):
    args = [*SHORT, "--data", text, "--steps", "1500", "--checkpoint-every", "150"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(*args, "--out", str(whole))
    command = [sys.executable, "-m", "experiments.char_lm", *args, "--out", str(killed)]
    for wanted in (150, 600):  # killed twice, each time soon after a checkpoint: mid-epoch
        with open(tmp_path / "log", "w") as log:
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
            wait_for(lambda wanted=wanted: (killed / "checkpoints" / str(wanted)).is_dir(), process)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        command = [sys.executable, "-m", "experiments.char_lm", "--resume", "--out", str(killed)]
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 700, "lo')  # a line torn by the kill
    # The newest checkpoint damaged as well: named, and skipped for the one before it.
    newest = max((killed / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name.split(".")[0]))
    for file in (newest / "tree" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:-7])
    resumed = run("--resume", "--out", str(killed))
    assert str(newest) in resumed.stderr and "damaged" in resumed.stderr
    expected, got = (
        {line["step"]: line["loss"] for line in read_metrics(folder / "metrics.jsonl") if "loss" in line}
        for folder in (whole, killed)
    )
    assert got == expected and len(expected) >= 750
    results = [json.loads(out.splitlines()[-1].removeprefix("result: ")) for out in (resumed.stdout,)]
    assert results[0]["updates"] == 1500
    assert (whole / "samples.jsonl").read_text() == (killed / "samples.jsonl").read_text()


def error_of(*args):
    done = run(*args, check=False)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1 and len(lines) == 1, done.stderr
    return lines[0]


def test_bad_input_is_one_sentence(text, tmp_path):
    out = ["--out", str(tmp_path / "run")]
    for args, part in [
        (["--cell", "lsmt"], "expected --cell to be one of rnn, irnn, gru"),
        (["--data", str(tmp_path / "no.txt")], "expected --data to be pydoc, shakespeare or the path"),
        (["--optimizer", "adm"], "expected one of sgd, adam"),
        (["--data", text, "--window", "100000"], "expected at least"),
    ]:
        assert part in error_of(*args, *out)
        assert not (tmp_path / "run").exists()  # nothing half-made is left behind
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert "expected a folder that can be written" in error_of("--data", text, "--out", str(blocked / "run"))
    assert blocked.read_text() == "in the way"
    assert "expected a run to resume" in error_of("--resume", "--out", str(tmp_path / "none"))


def test_a_run_is_not_written_over(smoke):
    before = {path: path.read_bytes() for path in smoke[0].rglob("*") if path.is_file()}
    assert "expected --out to be a folder without a run" in error_of("--smoke", "--out", str(smoke[0]))
    assert {path: path.read_bytes() for path in smoke[0].rglob("*") if path.is_file()} == before


def test_checkpoint_of_another_configuration(smoke):
    before = sorted(path.name for path in (smoke[0] / "checkpoints").iterdir())
    message = error_of("--resume", "--out", str(smoke[0]), "--hidden", "31")
    assert "hidden=31 but 32 there" in message
    assert sorted(path.name for path in (smoke[0] / "checkpoints").iterdir()) == before


def test_loss_that_is_not_finite_stops(text, tmp_path):
    args = [
        *SHORT,
        "--data",
        text,
        "--steps",
        "200",
        "--optimizer",
        "sgd",
        "--learning-rate",
        "1e38",
        "--clip-norm",
        "0",
    ]
    done = run(*args, "--cell", "rnn", "--out", str(tmp_path), check=False)
    assert done.returncode == 1 and "got NaN or infinity in update" in done.stderr
