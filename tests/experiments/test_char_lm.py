"""The character language model: its smoke run, its command line, killed and resumed for real, split over devices."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

import rnnjax
from experiments.char_lm import __main__ as char_lm
from experiments.char_lm.model import make_model
from experiments.lib import language
from experiments.lib.cells import CELLS
from experiments.lib.report import read_metrics

ROOT = Path(__file__).parents[2]
SHORT = ["--hidden", "13", "--batch", "3", "--window", "7", "--steps-per-call", "5", "--sample-every", "50"]
SHORT += ["--sample-length", "11", "--evaluate-every", "40", "--warmup", "3"]

pytestmark = pytest.mark.usefixtures("standard_promotion")
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


@pytest.mark.slow
def test_smoke_learns_and_leaves_its_files(smoke):
    folder, result = smoke
    assert result["updates"] == 40 and 2.0 < result["held_out_nats_per_char"] < 3.6  # from 4.63, a uniform guess
    assert 1.2 < result["ngram_nats_per_char"] < 1.3 < 3.2 < result["unigram_nats_per_char"] < 3.3
    metrics = read_metrics(folder / "metrics.jsonl")
    assert [line["step"] for line in metrics if "loss" in line] == list(range(1, 41))
    assert [line["step"] for line in read_metrics(folder / "samples.jsonl")] == [0, 20, 40]
    text = (folder / "report.md").read_text()
    assert figures_of(folder) == {"loss"} and str(result["held_out_nats_per_char"]) in text
    assert "After 20 updates" in text and "| 5-gram | 1.2" in text
    assert json.loads((folder / "config.json").read_text())["hidden"] == 32


@pytest.mark.slow
def test_sample_from_checkpoint(smoke, capsys):
    config = char_lm.SampleConfig(out=str(smoke[0]), prompt="The ", length=17, top_k=5, seed=3)
    first = char_lm.sample(config)
    assert first.startswith("The ") and len(first) == 4 + 17 and first in capsys.readouterr().out
    assert char_lm.sample(config) == first != char_lm.sample(dataclasses.replace(config, seed=4))
    bold = char_lm.sample(dataclasses.replace(config, temperature=50.0, top_k=0, length=300))
    cautious = char_lm.sample(dataclasses.replace(config, temperature=0.0, length=300))
    assert len(set(cautious)) < len(set(bold)) / 2


@pytest.mark.slow
def test_the_exported_step_writes_what_the_checkpoint_writes(smoke, tmp_path):
    folder, _ = smoke
    file = char_lm.export(char_lm.serving.ExportConfig(out=str(folder), file=str(tmp_path / "step.npz")))
    assert char_lm.export(char_lm.serving.ExportConfig(out=str(folder))) == folder / "step.npz"
    for seed, options in enumerate(({}, {"top_k": 5, "prompt": "The "}, {"temperature": 3.0, "top_p": 0.9})):
        config = char_lm.SampleConfig(out=str(folder), length=97, seed=seed, **options)
        exported = dataclasses.replace(config, out="", exported=str(file))
        assert char_lm.sample(exported) == char_lm.sample(config)
    cell = rnnjax.gru(3, 5)
    rnnjax.export.save(file, rnnjax.export.export_step(cell, cell.init(jax.random.key(0))))
    with pytest.raises(ValueError, match=r"expected --exported to be a file that `export` wrote, got .*step\.npz"):
        char_lm.sample(exported)


@pytest.mark.slow
def test_cells_of_a_checkpoint(smoke, capsys):
    found = char_lm.cells(char_lm.following.CellsConfig(out=str(smoke[0]), characters=3000, shown=200))
    assert {"place in the line", "place in the word"} <= {*found} and all(one.cell < 32 for one in found.values())
    page = smoke[0] / "cells.html"
    assert str(page) in capsys.readouterr().out and "<h2>Place in the word: cell" in page.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_states_that_are_read_are_those_of_the_cells(cell):
    model = make_model(char_lm.Config(cell=cell, hidden=5, layers=2), 11)
    params, ids = model.init(jax.random.key(0)), np.arange(7) % 11
    states = char_lm.following.read(model, params, ids)
    carry, _ = model.logits(params, model.initial_carry((1,)), ids[:, None])
    assert states.shape == (7, 10)
    np.testing.assert_allclose(states[-1], np.concatenate([layer[-1][0] for layer in carry.layers]), atol=1e-5)
    assert type(carry.layers[0])._fields[-1] == {"lstm": "c", "gru": "h"}[cell]


@pytest.mark.slow
def test_nats_are_those_of_each_character_in_order(text):
    config = dataclasses.replace(char_lm.Config(), hidden=7)
    vocabulary, _, ids = char_lm.load(dataclasses.replace(config, data=text))
    model = make_model(config, len(vocabulary.symbols))
    params = model.init(jax.random.key(0))
    together = language.make_nats(model, ids[:101], batch=1, steps=100)(params)
    _, logits = model.logits(params, model.initial_carry((1,)), ids[:100, None])
    logits = np.asarray(logits[:, 0], np.float64)
    expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(100), ids[1:101]]
    np.testing.assert_allclose(together, expected, atol=1e-5)
    apart = language.make_nats(model, ids[:101], batch=5, steps=7)(params)  # five pieces of 20, padded to 21
    assert apart.shape == (100,) and np.abs(apart - expected)[1:20].max() < 1e-5
    assert np.mean(np.abs(apart - expected) < 1e-5) < 0.9  # other pieces begin afresh


@pytest.mark.slow
def test_presets_run(text, tmp_path):
    for preset in char_lm.PRESETS.values():
        config = dataclasses.replace(char_lm.Config(), **preset)
        config.check()
    config = dataclasses.replace(config, **char_lm.SMOKE | {"data": text}, out=str(tmp_path))
    assert config.preset == "min-char-rnn" and char_lm.main(config)["updates"] == 40
    assert read_metrics(tmp_path / "samples.jsonl")[0]["smooth_loss"] > 50  # of the sum over 25 characters


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_writes_as_it_reads(cell):
    model = make_model(char_lm.Config(cell=cell, hidden=7, layers=2, dropout=0.3), 11)
    key = jax.random.key(0)
    params, ids = model.init(key), jax.random.randint(key, (5, 3), 0, 11)
    _, together = model.logits(params, model.initial_carry((3,)), ids)
    carry, step = model.initial_carry((3,)), jax.jit(model.step)
    for t in range(5):
        carry, logits = step(params, carry, ids[t])
        np.testing.assert_allclose(logits, together[t], rtol=1e-4, atol=1e-5)
    _, dropped = model.logits(params, model.initial_carry((3,)), ids, key=key)
    assert not np.allclose(dropped, together, atol=1e-3)


@pytest.mark.slow
def test_the_batch_is_split_over_devices(smoke, tmp_path):
    done = run("--smoke", "--devices", "2", "--out", str(tmp_path / "two"))
    last = done.stdout.strip().splitlines()[-1]
    result = json.loads(last.removeprefix("result: "))
    assert last.startswith("result: ") and result["name"] == "char_lm" and result["seconds"] > 0
    for name in ("held_out_nats_per_char", "ngram_nats_per_char"):
        assert result[name] == pytest.approx(smoke[1][name], abs=2e-3)
    losses = [[line["smooth_loss"] for line in read_metrics(f / "samples.jsonl")] for f in (smoke[0], tmp_path / "two")]
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert "bits/char" in done.stderr and "char/s" in done.stderr


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < end, "the run did not get there in time"
        time.sleep(0.01)


@pytest.mark.slow
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
    for name, line in (("metrics", '{"step": 700, "lo'), ("samples", '{"step": 700, "te')):
        with (killed / f"{name}.jsonl").open("a") as file:
            file.write(line)  # torn by the kill
    # The newest checkpoint damaged as well: named, and skipped for the one before it.
    newest = max((killed / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name.split(".")[0]))
    for file in (newest / "tree" / "d").iterdir():
        file.write_bytes(file.read_bytes()[:-7])
    resumed = run("--resume", "--out", str(killed))
    assert str(newest) in resumed.stderr and "damaged" in resumed.stderr
    losses, samples = (
        [
            {line["step"]: line.get(key) for line in read_metrics(folder / file) if key in line}
            for folder in (whole, killed)
        ]
        for file, key in (("metrics.jsonl", "loss"), ("samples.jsonl", "text"))
    )
    assert losses[0] == losses[1] and len(losses[0]) >= 750
    assert samples[0] == samples[1] and len(samples[0]) == 31
    assert json.loads(resumed.stdout.splitlines()[-1].removeprefix("result: "))["updates"] == 1500
    assert (whole / "report.md").read_bytes() == (killed / "report.md").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cell": "lsmt"}, "expected --cell to be one of rnn, irnn, gru"),
        ({"layers": 0}, "expected --layers to be at least 1, got 0"),
        ({"data": "no.txt"}, "expected --data to be pydoc, shakespeare or the path"),
        ({"window": 10**6}, "expected at least"),
        ({"optimizer": "sgd", "learning_rate": 1e38, "clip_norm": 0.0, "cell": "rnn"}, "got NaN or infinity in update"),
    ],
)
def test_what_cannot_be_is_one_sentence(changes, message, tmp_path):
    with pytest.raises((ValueError, OSError), match=message) as caught:
        char_lm.main(smoke_config(char_lm, tmp_path, **changes))
    assert "\n" not in str(caught.value)
