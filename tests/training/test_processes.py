"""Two processes over loopback train what one trains; when one is killed the other says so, and either goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import process_cases
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("standard_promotion")]
ROOT = Path(__file__).parents[2]
STEPS = 23


def start(folder, count, steps=STEPS, seconds=0.0):
    """Starts so many processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, process_cases.__file__, str(folder), address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    return [
        subprocess.Popen([*command, str(rank), str(count), str(steps), str(seconds)], **pipes) for rank in range(count)
    ]


def finish(processes, timeout=120):
    """Waits for all; what each printed and its errors."""
    told = [process.communicate(timeout=timeout) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), told
    return told


def losses_in(folder):
    return {line["step"]: line["loss"] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses and the parameters of a run on one device."""
    folder = tmp_path_factory.mktemp("alone")
    state = process_cases.train(folder, STEPS, process_cases.batch_of, process_cases.first_state(), progress=False).state
    return losses_in(folder), jax.tree.leaves(state.params)


def check(folder, ranks, alone):
    losses, params = alone
    found = losses_in(folder)
    assert found.keys() == losses.keys()
    np.testing.assert_allclose([*found.values()], [*losses.values()], rtol=1e-5)
    for rank in ranks:
        with np.load(folder / f"{rank}.npz") as saved:
            for got, expected in zip(saved.values(), params, strict=True):
                np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_two_processes_are_one_device(tmp_path, alone):
    (_, first), (_, second) = finish(start(tmp_path, 2))
    check(tmp_path, (0, 1), alone)
    assert "23/23" in first and "/23" not in second  # one of them shows progress


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_one_is_killed_and_the_run_goes_on(tmp_path, alone, killed, count):
    processes = start(tmp_path, 2, seconds=0.1)
    deadline = time.monotonic() + 120
    while not (tmp_path / "checkpoints" / "10").exists():
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[killed].send_signal(signal.SIGKILL)
    began = time.monotonic()
    _, error = processes[1 - killed].communicate(timeout=60)
    assert processes[1 - killed].returncode not in (0, None) and time.monotonic() - began < 45
    assert "expected all 2 processes to do every update" in error, error
    assert "resume from step 1" in error and str(tmp_path / "checkpoints") in error
    processes[killed].communicate()
    finish(start(tmp_path, count))
    check(tmp_path, range(count), alone)
