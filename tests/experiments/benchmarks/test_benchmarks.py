"""Smoke runs of the benchmarks that have no file of tests of their own."""

import json

import jax
import pytest

from experiments.benchmarks import levers, memory


@pytest.fixture(autouse=True)
def permissive():
    """optax's Adam promotes and broadcasts what the strict flags forbid."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def last_line(printed):
    return json.loads(printed.strip().splitlines()[-1].removeprefix("result: "))


@pytest.mark.slow
def test_memory(tmp_path, capsys):
    numbers = memory.main(memory.Config(smoke=True, out=str(tmp_path)))
    assert numbers["exponent_none"] > numbers["exponent_sqrt"]
    assert numbers["long"]["none"]["last"] == pytest.approx(numbers["long"]["sqrt"]["last"], rel=1e-4)
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
    assert last_line(capsys.readouterr().out)["exponent_sqrt"] == numbers["exponent_sqrt"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", memory.MODES)
def test_any_cell_can_be_measured_in_any_mode(mode):
    for cell in ("rnn", "gru"):
        assert memory.megabytes(memory.Config(cell=cell, hidden=4), 70, memory.MODES[mode]) > 0


@pytest.mark.slow
def test_levers_change_no_result(tmp_path, capsys):
    numbers = levers.main(levers.Config(smoke=True, rounds=3, out=str(tmp_path)))
    found = json.loads((tmp_path / "result.json").read_text())["ratios"]
    assert {*levers.ONE_LAYER, *levers.PAIRS} <= set(found)
    assert all(value > 0 for by_mode in found.values() for values in by_mode.values() for value in values)
    assert last_line(capsys.readouterr().out)["geomean_layer_after_layer"] == numbers["geomean_layer_after_layer"]


def test_a_lever_that_changes_results_is_refused():
    def wrong(params, xs):
        return 1.1 * levers.plain(params, xs)

    with pytest.raises(ValueError, match="expected the lever to change no result, got a forward that differs"):
        levers.ratios((levers.plain, wrong, {}, False), (2, 3, 5), levers.Config(smoke=True))
