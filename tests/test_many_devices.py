"""Runs docs/many_devices.md: its blocks of Python as one program on eight devices, its commands as they stand."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "many_devices.md").read_text()
PYTHON, SHELL = (re.findall(rf"```{kind}\n(.*?)```", TEXT, re.S) for kind in ("python", "bash"))
SCRIPTS = {re.match(r"# (\w+\.py)\n", block)[1]: block for block in PYTHON if re.match(r"# \w+\.py\n", block)}


def run(command, folder, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **variables}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def test_the_blocks_are_a_program(tmp_path):
    (tmp_path / "guide.py").write_text("\n\n".join(block for block in PYTHON if block not in SCRIPTS.values()))
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    run([sys.executable, "guide.py"], tmp_path, XLA_FLAGS=flags, JAX_DISABLE_MOST_OPTIMIZATIONS="0")


def commands(number):
    """The commands of a block, on a port that is free."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return SHELL[number], str(free.getsockname()[1])


def test_two_processes_and_then_one(tmp_path):
    block, port = commands(0)
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text.replace("12345", port))
    said = run(["bash", "-euc", block], tmp_path).splitlines()
    first, last = [line for line in said if not line.startswith("[Gloo]")]
    assert first.startswith("20 ") and last.startswith("30 ")
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} == {"10", "20", "30"}


def test_an_experiment_in_two_processes(tmp_path):
    block, port = commands(1)
    run(["bash", "-euc", block.replace("12345", port)], tmp_path)
    for name in ("one_process", "two_processes"):
        assert (tmp_path / name / "report.md").is_file()
