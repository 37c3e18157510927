"""The scaling report: a smoke run, what an estimate is made of, and programs for meshes of TPUs."""

import json

import jax
import pytest

from experiments.benchmarks import scaling
from experiments.benchmarks.hlo import Program


@pytest.fixture(autouse=True)
def permissive():
    """optax's Adam promotes and broadcasts what the strict flags forbid."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


COMPILED = {"name": "batch of all", "topology": [2, 4], "devices": 8, "hidden": 5, "batch": 16, "axis": "data"}
COMPILED |= {"cycles": 1_500_000, "collective_bytes": {"all-reduce": 10}, "in_loops": {}, "moves": 1, "gib": 0.5}
COMPILED |= {"computing_ms": 1.0, "moving_ms": 3.0, "share_computing": 0.25}


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    (tmp_path / "before.json").write_text(json.dumps({"compiled": [COMPILED]}))
    config = scaling.Config(smoke=True, out=str(tmp_path / "run"), compiled_from=str(tmp_path / "before.json"))
    numbers = scaling.main(config)
    printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("result: "))
    assert numbers.items() <= printed.items() and numbers["share_computing_8_batch_of_all"] == 0.25
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["compiled"] == [COMPILED] and all(row["ms"] > 0 for row in found["timed"])
    assert "| 8 | 16 | 5 | data | 1.50 | 0.50 |" in (tmp_path / "run" / "report.md").read_text()


PROGRAM = """ENTRY main {
  p = f32[1000]{0} parameter(0)
  a = f32[1000]{0} all-reduce(p), to_apply=add
  ROOT f = f32[1000]{0} fusion(a), kind=kLoop, calls=c, backend_config={"estimated_cycles":"3000"}
}
"""


def test_an_estimate_is_cycles_bytes_and_hops():
    plan = scaling.Plan("", (2, 4), 8, 5, 16, "data")
    found = scaling.estimate(plan, Program(PROGRAM))
    assert found["computing_ms"] == pytest.approx(1e3 * 3000 / scaling.CLOCK)
    moving = 2 * 7 / 8 * 4000 / scaling.LINK + 2 * (1 + 3) * scaling.HOP
    assert found["moving_ms"] == pytest.approx(1e3 * moving) and found["moves"] == 1


@pytest.mark.compilers
@pytest.mark.usefixtures("all_optimizations")
@pytest.mark.parametrize(("axis", "batch"), [("data", 64), ("model", 8)])
def test_programs_for_eight_tpus(axis, batch):
    """Gradients are summed once an update; units meet in the loops, and send nothing from one to another."""
    pytest.importorskip("libtpu")
    steps = 8
    program = Program(scaling.compile_plan(scaling.Plan("", (2, 4), 8, 256, batch, axis), steps).as_text())
    if axis == "data":
        assert set(program.moves()) == {"all-reduce"} and not program.moves(in_loops=True)
    else:
        assert set(program.moves(in_loops=True)) == {"all-reduce", "all-gather"}
