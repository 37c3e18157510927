"""`--devices` and `--distributed`: what is learned is what one device learns, and one process speaks for all."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lib import devices, processes

ROOT = Path(__file__).parents[3]
SMALL = ("--smoke", "--steps", "6", "--evaluate-every", "4", "--checkpoint-every", "4", "--steps-per-call", "2")


def start(name, out, *more):
    """Starts a smoke run of an experiment."""
    command = [sys.executable, "-m", f"experiments.{name}", *SMALL, "--out", str(out), *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, **pipes)


def finish(*processes):
    """What each process printed, and its errors."""
    told = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), told
    return told


def losses_in(folder):
    """The losses of every model of a run."""
    found = {}
    for path in sorted(folder.rglob("metrics.jsonl")):
        lines = map(json.loads, path.read_text().splitlines())
        found[path.relative_to(folder)] = [line["loss"] for line in lines if "loss" in line]
    return found


def check_same(one, other):
    expected, found = losses_in(one), losses_in(other)
    assert expected and expected.keys() == found.keys()
    for name, losses in expected.items():
        np.testing.assert_allclose(found[name], losses, rtol=1e-4, err_msg=str(name))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("addition", ("--devices", "2")),  # one model: its batch is split
        ("emojify", ("--devices", "2", "--seeds", "4")),  # four side by side: two on each
        ("emojify", ("--devices", "2", "--seeds", "3")),  # three: the batch is split
    ],
)
def test_two_devices_learn_what_one_learns(name, more, tmp_path):
    finish(start(name, tmp_path / "two", *more))
    finish(start(name, tmp_path / "one", *more[2:]))
    check_same(tmp_path / "one", tmp_path / "two")
    finish(start(name, tmp_path / "two", "--resume", "--devices", "1"))  # it is complete


@pytest.mark.slow
@pytest.mark.parametrize(("name", "more"), [("addition", ()), ("emojify", ("--seeds", "4"))])
def test_two_processes_learn_what_one_learns(name, more, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    both = [start(name, tmp_path / "two", *more, "--distributed", f"{address},{rank},2") for rank in (0, 1)]
    (said, _), (silent, shown) = finish(*both)
    finish(start(name, tmp_path / "one", *more))
    check_same(tmp_path / "one", tmp_path / "two")
    assert "result: " in said and "%|" not in shown
    assert all(line.startswith("[Gloo]") for line in silent.splitlines())
    names = [{path.relative_to(run) for path in run.glob("*")} for run in (tmp_path / "one", tmp_path / "two")]
    assert names[0] == names[1]


# ---- what cannot be ------------------------------------------------------------------------------------------


def options(**changes):
    return SimpleNamespace(**{"devices": 1, "batch": 12, **changes})


def state_of(runs):
    return SimpleNamespace(step=jnp.zeros((runs,) if runs else (), int))


@pytest.mark.parametrize(
    ("runs", "axes", "batch", "message"),
    [
        (0, None, 12, "expected one device, got 5: there is nothing to split in this experiment"),
        (0, 0, 13, "expected --batch to be a multiple of the 5 devices, got 13"),
        (7, 1, 13, "expected --batch to be a multiple of the 5 devices or the 7 runs side by side, got 13"),
    ],
)
def test_what_cannot_be_split_is_one_sentence(monkeypatch, runs, axes, batch, message):
    monkeypatch.setattr(devices, "make_mesh", lambda options: SimpleNamespace(size=5))
    with pytest.raises(ValueError, match=message):
        devices.place(options(batch=batch), state_of(runs), None, axes)


def test_one_device_changes_nothing():
    state, batches = state_of(0), object()
    assert devices.place(options(), state, batches, None) == (state, batches)
    with pytest.raises(ValueError, match="expected --devices of at most 1, got 2"):
        devices.place(options(devices=2), state, batches, 0)


@pytest.mark.parametrize("where", ["host:1", "host:1,0", "host:1,2,2", "host:1,-1,2", "host:1,a,2"])
def test_who_takes_part_is_told_in_one_form(where):
    with pytest.raises(ValueError, match=r"auto, or host:port,rank,count with rank below count, got 'host:1"):
        processes.join(where, 1)


def test_a_process_alone_agrees_with_itself(tmp_path):
    assert processes.agree("runs/é") == "runs/é" and processes.is_first()
    assert processes.own_folder(tmp_path) == processes.shared_folder(tmp_path) == tmp_path
