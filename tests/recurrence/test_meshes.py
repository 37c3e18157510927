"""Runs mesh_cases.py in a process that has eight devices, and tests what counts in a program's text."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments.benchmarks.hlo import Program

HERE = Path(__file__).parent


@pytest.mark.slow
def test_loops_on_eight_devices():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTEST_XDIST_WORKER": ""}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        str(HERE / "mesh_cases.py"),
    ]
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_counts_of_a_program():
    """Products in a loop count once a turn."""

    def run(h, w):
        return jax.lax.scan(lambda h, _: (jnp.tanh(h @ w), None), h @ w, length=7)[0]

    program = Program(jax.jit(run).lower(jnp.ones((3, 5)), jnp.ones((5, 5))).compile().as_text())
    assert program.multiply_adds() == 8 * 3 * 5 * 5
    assert [turns for _, turns in program.loops()] == [7] and program.collectives() == {}
