"""The benchmark of recurrence: peers compute what rnnjax computes, its arithmetic, and a smoke run."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import rnnjax
from experiments.benchmarks import peers, recurrence, recurrence_report
from experiments.benchmarks.peers import base, gate
from experiments.benchmarks.peers.base import Inputs, Row, Runs

pytestmark = [
    # Some peers use what newer releases of JAX and Python deprecate.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

B, H, T = 3, 5, 7
CELLS = ("lstm", "gru", "rnn")
KINDS = ("masked", "bidirectional", "two_layers", "attention")
ROWS = [Row("unroll", cell, B, H, T) for cell in CELLS] + [Row(kind, "lstm", B, H, T) for kind in KINDS]
ROWS += [Row(kind, "gru", B, H, T) for kind in KINDS[:3]]
EXTERNAL = [peer for peer in peers.PEERS if peer.packages and peer.packages != ("flax",)]
OURS = [peer for peer in peers.PEERS if peer not in EXTERNAL]


@pytest.fixture(autouse=True)
def permissive():
    """The peers, and optax's Adam, promote and broadcast what the strict flags forbid."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def runs_of(peer, problem):
    if peers.missing(peer):  # not importorskip: Keras must not be imported before its backend is chosen
        pytest.skip(f"not installed: {', '.join(peers.missing(peer))}")
    made = peers.load(peer)(problem)
    return base.jax_runs(made, problem) if isinstance(made, base.Program) else made


def pairs(of):
    """The rows that each peer has."""
    return [pytest.param(peer, row, id=f"{peer.name}-{row.name}") for peer in of for row in ROWS if peer.has(row)]


def check(peer, row):
    """Outputs and all gradients are those of float64; a train step changes what the next one sees."""
    problem = base.draw(row, seed=0)
    runs = runs_of(peer, problem)
    errors = gate.relative_errors(runs, gate.Reference(problem))
    assert max(errors.values()) < 1e-5, errors
    if runs.gradients is not None:
        assert {"ys", "dxs"} < set(errors)
        losses = [float(runs.modes["train"]()) for _ in range(2)]
        assert losses[1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize(("peer", "row"), pairs(OURS))
def test_programs_agree(peer, row):
    check(peer, row)


@pytest.mark.oracle
@pytest.mark.parametrize(("peer", "row"), pairs(EXTERNAL))
def test_peers_agree(peer, row):
    check(peer, row)


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_reference_is_the_python_loop(cell):
    problem = base.draw(Row("unroll", cell, B, H, T), seed=0)
    ys, _ = gate.Reference(problem).of("")
    _, expected = rnnjax.recurrence.unroll_reference(base.make_cell(problem.row), problem.params, problem.inputs.xs)
    np.testing.assert_allclose(ys, expected, atol=1e-6)


def test_gate_sees_a_wrong_gradient():
    problem = base.draw(Row("unroll", "gru", B, H, T), seed=0)
    reference = gate.Reference(problem)
    ys, (by_params, by_inputs) = reference.of("")
    wrong = by_params._replace(w_h=by_params.w_h * 1.01)
    errors = gate.relative_errors(Runs({}, lambda: ys, lambda: (wrong, by_inputs)), reference)
    assert errors["dw_h"] == pytest.approx(0.01) and errors["ys"] == errors["dxs"] == 0
    nan = Runs({}, lambda: ys * np.nan, lambda: (by_params, Inputs(by_inputs.xs * np.nan)))
    errors = gate.relative_errors(nan, reference)
    assert not errors["ys"] <= recurrence.TOLERANCE and not errors["dxs"] <= recurrence.TOLERANCE


@pytest.mark.slow
def test_peers_that_break_or_are_wrong_are_not_timed():
    def broken(problem):
        raise RuntimeError("no such operator\nand more")

    def wrong(problem):
        program = peers.load(peers.PEERS[0])(problem)
        return program._replace(apply=lambda *args: 1.01 * program.apply(*args))

    makers = {"rnnjax": peers.load(peers.PEERS[0]), "broken": broken, "wrong": wrong}
    row = Row("unroll", "lstm", B, H, T, ("forward", "train"))
    measured, told = recurrence.measure(row, makers, recurrence.Config(smoke=True))
    assert [(m["mode"], set(m["medians"])) for m in measured] == [("forward", {"rnnjax"}), ("train", {"rnnjax"})]
    assert told["broken"] == "RuntimeError: no such operator"
    assert told["wrong"].startswith("wrong by 1.0e-02 in ys") and set(told) == {"broken", "wrong"}


@pytest.mark.slow
def test_the_gate_comes_before_a_step_that_changes_weights():
    def in_place(problem):
        runs = base.jax_runs(peers.load(peers.PEERS[0])(problem), problem)
        stepped = []

        def gradients():
            by_params, by_inputs = runs.gradients()
            return jax.tree.map(lambda leaf: leaf * (1.1 if stepped else 1.0), by_params), by_inputs

        return runs._replace(gradients=gradients, modes={**runs.modes, "train": lambda: stepped.append(1)})

    row = Row("unroll", "lstm", B, H, T, ("grad", "train"))
    makers = {"rnnjax": peers.load(peers.PEERS[0]), "in_place": in_place}
    measured, told = recurrence.measure(row, makers, recurrence.Config(smoke=True))
    assert not told and all("in_place" in m["medians"] for m in measured)


def test_half_of_a_masked_row_is_real():
    problem = base.draw(Row("masked", "lstm", 31, 2, 101), seed=3)
    assert problem.lengths.min() == 1 and problem.lengths.max() == 101
    real = base.real_steps(problem.lengths, 101)
    assert real.mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(problem.ct.any(-1), real)


def test_operations_of_a_row():
    assert Row("unroll", "gru", 2, 3, 5).flops("forward") == 2 * 5 * 2 * 3 * (3 + 3) * 3
    assert Row("two_layers", "lstm", 2, 3, 5).flops("grad") == 3 * 2 * (2 * 5 * 2 * 3 * (3 + 3) * 4)
    source = base.SOURCE_LENGTH
    steps = 2 * 5 * 2 * (3 * 9 * 4 + 3 * 3 + 2 * source * 3)
    assert Row("attention", "lstm", 2, 3, 5).flops("forward") == steps + 2 * source * 2 * 3 * 3


def measurement(kind="unroll", cell="lstm", mode="grad", **medians):
    names = {"row": f"{kind}_{cell}_b3_h5_t7", "kind": kind, "cell": cell, "mode": mode}
    sizes = {"batch": 3, "hidden": 5, "steps": 7, "flops": 3e9}
    others = {"variants": {}, "errors": {}, "compile_seconds": dict.fromkeys(medians, 0.1)}
    return {**names, **sizes, **others, "medians": medians}


MEASUREMENTS = [
    measurement(rnnjax=1.0, scan=2.0, linen=4.0, keras=3.0, torch=0.5),
    measurement(cell="gru", rnnjax=2.0, scan=1.0, haiku=24.0),
    measurement(mode="forward", rnnjax=1.0, torch=8.0, onnx=0.9),
    measurement(kind="attention", rnnjax=1.0, scan=4.0),
]


def test_headline():
    numbers = recurrence_report.headline(MEASUREMENTS)
    assert numbers["geomean_jax"] == 6.0 and numbers["worst_jax"] == 3.0  # 3, of keras, and 12
    assert numbers["geomean_jax_grad_lstm"] == 3.0 and numbers["worst_jax_grad_gru"] == 12.0
    assert numbers["geomean_torch"] == 2.0 and numbers["geomean_torch_grad"] == 0.5
    assert numbers["geomean_scan"] == pytest.approx(4 ** (1 / 3), abs=1e-3) and numbers["worst_scan"] == 0.5
    assert numbers["geomean_scan_attention_grad"] == 4.0 and numbers["geomean_scan_grad"] == 1.0
    assert "geomean_equinox" not in numbers and "geomean_jax_forward" not in numbers


def test_rows_that_are_lost():
    lines = recurrence_report.losses(MEASUREMENTS)
    assert [line.split()[0] for line in lines] == ["0.50", "0.50", "0.90"]
    assert lines[0].endswith("gru_b3_h5_t7 grad: scan") and lines[2].endswith("forward: onnx")
    rows = recurrence_report.table(MEASUREMENTS, ceiling=10.0).splitlines()
    assert len({len(row) for row in rows}) == 1 and "0.50!" in rows[2] and "| 30 |" in rows[2]


def test_rows_cover_the_grid():
    rows = recurrence.make_rows(recurrence.Config())
    assert len(set(rows)) == len(rows) == len({row.name for row in rows})
    for cell in ("lstm", "gru"):
        grid = [row for row in rows if row.kind == "unroll" and row.cell == cell]
        assert {row.batch for row in grid} == {1, 8, 32, 128} and {row.hidden for row in grid} == {64, 128, 256, 512}
        assert {row.steps for row in grid} == {32, 128, 512, 1000}
    assert {row.kind for row in rows} == {"unroll", *KINDS} and any("train" in row.modes for row in rows)
    assert {row.cell for row in recurrence.make_rows(recurrence.Config(cells=("gru",)))} == {"gru"}
    assert {row.kind for row in recurrence.make_rows(recurrence.Config(only="masked"))} == {"masked"}


def test_rows_out_of_time_are_named(monkeypatch):
    monkeypatch.setattr(recurrence, "measure", lambda row, makers, config: ([measurement(rnnjax=1.0)], {}))
    measurements, untimed = recurrence.run_rows(recurrence.Config(minutes=0), {})
    rows = recurrence.make_rows(recurrence.Config())
    assert len(measurements) == 1 and len(untimed) == 1
    assert f"{len(rows) - 1} of {len(rows)} rows dropped" in untimed[0] and rows[-1].name in untimed[0]
    with pytest.raises(ValueError, match="expected --only and --cells to leave some rows"):
        recurrence.run_rows(recurrence.Config(only="nothing"), {})


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    numbers = recurrence.main(recurrence.Config(smoke=True, threads=0, out=str(tmp_path)))
    assert numbers["geomean_scan"] > 0 and numbers["worst_linen"] > 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["headline"] == numbers and {m["mode"] for m in result["measurements"]} == {"grad", "forward"}
    assert all(
        error < 1e-5 for m in result["measurements"] for errors in m["errors"].values() for error in errors.values()
    )
    absent = {peer.name for peer in peers.PEERS if peers.missing(peer)}
    assert set(result["skipped"]) == absent and all(f"SKIPPED: {name}" in str(result["not_timed"]) for name in absent)
    assert (tmp_path / "recurrence.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((tmp_path / "config.json").read_text())["smoke"]
    table, printed = (tmp_path / "table.md").read_text(), capsys.readouterr().out
    assert table in printed and table in (tmp_path / "report.md").read_text() and "Rows we lose" in printed
    last = json.loads(printed.strip().splitlines()[-1].removeprefix("result: "))
    assert last["name"] == "recurrence" and last["geomean_scan"] == numbers["geomean_scan"]


def test_bad_options_are_one_sentence():
    config = recurrence.Config(smoke=True)
    with pytest.raises(ValueError, match="expected --peers to be some of rnnjax"):
        recurrence.load_peers(dataclasses.replace(config, peers=("tensorflow",)))
    with pytest.raises(ValueError, match="expected --cells to be some of lstm, gru, rnn, got mgu"):
        recurrence.main(dataclasses.replace(config, cells=("mgu",)))
    _, skipped = recurrence.load_peers(dataclasses.replace(config, peers=("scan",)))
    assert skipped["linen"] == "left out by --peers" and "rnnjax" not in skipped and "scan" not in skipped


@pytest.mark.slow
def test_process_options_from_the_command_line(tmp_path):
    root = Path(__file__).parents[3]
    options = [
        "--smoke",
        "--only",
        "attention",
        "--peers",
        "scan",
        "--malloc-keep",
        "--one-kernel-loops",
        "--out",
        str(tmp_path),
    ]
    command = [sys.executable, "-m", "experiments.benchmarks.recurrence", *options]
    environment = {**os.environ, "MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().splitlines()[-1].startswith("result: ")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["malloc_keep"] and "small_while_loop" in result["xla_flags"] and result["cpus_used"] <= 2
