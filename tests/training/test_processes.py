"""Two processes over loopback train what one trains; when one is killed the other says so, and either goes on."""

import contextlib
import json
import os
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


@contextlib.contextmanager
def start(folder, count, devices, seconds=0.0):
    """Starts so many processes, each with so many devices."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, process_cases.__file__, str(folder), address]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    more = [[str(rank), str(count), str(STEPS), str(devices), str(seconds)] for rank in range(count)]
    processes = [subprocess.Popen([*command, *each], **pipes) for each in more]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def finish(folder, count, devices):
    """Runs so many processes to their end; the errors of each."""
    with start(folder, count, devices) as processes:
        told = [process.communicate(timeout=240)[1] for process in processes]
        assert [process.returncode for process in processes] == [0] * count, told
    return told


def losses_in(folder):
    return {line["step"]: line["loss"] for line in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())}


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The losses and the parameters of a run on one device."""
    folder = tmp_path_factory.mktemp("alone")
    state = process_cases.train(
        folder, STEPS, process_cases.batch_of, process_cases.first_state(), progress=False
    ).state
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
    first, second = finish(tmp_path, 2, devices=2)
    check(tmp_path, (0, 1), alone)
    assert "23/23" in first and "/23" not in second  # one of them shows progress


@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_one_is_killed_and_the_run_goes_on(tmp_path, alone, killed, count):
    with start(tmp_path, 2, devices=1, seconds=0.1) as processes:
        deadline = time.monotonic() + 240
        while not (tmp_path / "checkpoints" / "10").exists():
            assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
            time.sleep(0.05)
        time.sleep(0.25)  # so that it happens in an update rather than in a save
        processes[killed].kill()
        _, error = processes[1 - killed].communicate(timeout=60)
        assert processes[1 - killed].returncode
    if killed == 0:  # without the coordinator, JAX ends a process before Python can say anything
        assert "This most likely indicates that another task died" in error, error
    else:
        assert "expected all 2 processes to do every update" in error, error
        assert "resume from step 1" in error and str(tmp_path / "checkpoints") in error
    finish(tmp_path, count, devices=2)
    check(tmp_path, range(count), alone)
