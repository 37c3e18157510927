"""Runs device_cases.py in a process that has eight devices."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from rnnjax.training import gather, shard

HERE = Path(__file__).parent


@pytest.mark.slow
def test_training_on_eight_devices():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags, "PYTEST_XDIST_WORKER": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += [str(HERE / "device_cases.py")]
    done = subprocess.run(command, cwd=HERE.parents[1], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_a_mesh_of_one_device_is_a_mesh():
    mesh = Mesh(jax.devices()[:1], ("data",))
    tree = {"xs": jnp.arange(6.0).reshape(2, 3), "key": jax.random.key(3), "none": None}
    put = shard(tree, mesh, {"xs": P(None, "data"), "key": P(), "none": P()})
    assert put["xs"].sharding.spec == P(None, "data") and put["none"] is None
    back = gather(put)
    assert (back["xs"] == tree["xs"]).all() and back["key"] == tree["key"]


@pytest.mark.parametrize("specs", [P(None, None, "data"), P("data")])
def test_a_leaf_without_that_axis(specs):
    mesh = Mesh(jax.devices()[:1], ("data",))
    with pytest.raises(ValueError, match=r"axis . of (leaf|1) to be a multiple of 1 devices, got shape \((3,)?\)"):
        shard((jnp.zeros((2, 3, 5)), jnp.zeros(3) if specs[0] is None else jnp.zeros(())), mesh, specs)
