"""What XLA's compilers for TPUs and GPUs make of loops: no device is needed, but the compilers are (see `.ci/run`)."""

import jax
import pytest

pytestmark = [pytest.mark.compilers, pytest.mark.usefixtures("all_optimizations")]
pytest.importorskip("libtpu")
pytest.importorskip("jax_plugins.xla_cuda13")

import rnnjax
from experiments.benchmarks import platforms
from experiments.benchmarks.hlo import Program

MORE_CYCLES = {("layer_norm_lstm", "v5e"): 1.01}  # the one program that has more than under lax.scan
TASKS = {task.name: task for task in platforms.make_tasks(platforms.Config())}


@pytest.fixture(autouse=True)
def permissive():
    """As in the benchmark."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def compiled(name, scan, target, count=1):
    """The text of a gradient, as a program."""
    return Program(platforms.compile_task(TASKS[name], scan, platforms.devices_of(target, count))[0].as_text())


@pytest.mark.parametrize("target", ["v5e", "v6e"])
@pytest.mark.parametrize("name", TASKS)
def test_a_tpu_has_no_more_cycles_a_step(name, target):
    ours, plain = (compiled(name, scan, target) for scan in (rnnjax.scan, jax.lax.scan))
    more = MORE_CYCLES.get((name, target), 1.0)
    assert 0 < sum(ours.cycles(per_run=False)) <= more * sum(plain.cycles(per_run=False))


@pytest.mark.parametrize("name", TASKS)
def test_a_gpu_has_few_kernels_a_step(name):
    launches = compiled(name, rnnjax.scan, "h100").launches()
    assert max(launches) <= (6 if name in ("lstm", "lstm bfloat16", "gru") else 30)


@pytest.mark.parametrize("target", platforms.TARGETS)
@pytest.mark.parametrize("name", ["lstm", "two layers", "attention decoder", "char_lm"])
def test_compiles_on_a_mesh_of_four_and_moves_gradients_alone(name, target):
    """Nothing is gathered, and nothing moves in a loop that does not under lax.scan."""
    ours, plain = (compiled(name, scan, target, 4) for scan in (rnnjax.scan, jax.lax.scan))
    assert sum(ours.collectives(in_loops=True).values()) <= 1.1 * sum(plain.collectives(in_loops=True).values())
    assert ours.collectives().get("all-gather", 0) <= plain.collectives().get("all-gather", 0)
