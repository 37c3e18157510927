"""The gradients experiment: its smoke run, reproduced; powers of a matrix, the wall and gates by known answers."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import assert_reproduces, figures_of, smoke_fixture

import rnnjax
from experiments import gradients
from experiments.lib import experiment

SMOKE = dataclasses.replace(gradients.Config(), **gradients.SMOKE)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compilation", "standard_promotion")]
smoke = smoke_fixture(gradients)


def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    text = (folder / "report.md").read_text()
    drawn = {"lags", "surface", "clipping", "learned", "eigenvalues", "singular_values", "saturation"}
    assert figures_of(folder) == drawn
    assert 0.5 < result["half_life_rnn"] < result["half_life_lstm"] < 10
    for name in ("clip_none", "clip_by_value", "clip_by_norm"):
        assert result[f"accuracy_{name}"] > 0.6  # of four symbols, over six steps
    assert str(result["half_life_rnn"]) in text and json.loads((folder / "config.json").read_text())["lag"] == 20


def test_smoke_reproduces(smoke, tmp_path):
    assert_reproduces(gradients, smoke, tmp_path)


def test_norms_of_a_linear_network_are_powers():
    linear = rnnjax.rnn(8, SMOKE.hidden, activation=jax.nn.identity)
    norms = gradients.norms_by_seed(SMOKE, linear, (0.5, 1.25))  # [S, T, W]
    lags = np.arange(SMOKE.lag, 0, -1.0)
    np.testing.assert_allclose(norms, np.tile(np.stack([0.5**lags, 1.25**lags], 1), (SMOKE.seeds, 1, 1)), rtol=1e-4)
    np.testing.assert_allclose(gradients.half_lives(norms[..., 0].T), 1.0, rtol=1e-4)


def test_half_lives_leave_out_what_is_rounding():
    lags = np.arange(60, 0, -1.0)
    exact = 0.5 ** (lags / 2)
    assert gradients.half_lives(np.where(lags < 50, exact, 1e-36))[()] == pytest.approx(2.0, rel=1e-4)


def test_the_loss_of_one_unit():
    h = 1 / (1 + np.exp(-0.5))
    for _ in range(50):
        h = 1 / (1 + np.exp(-(3.0 * h - 1.5)))
    assert float(gradients.unit_loss(gradients.Unit(jnp.array(3.0), jnp.array(-1.5))).mean) == pytest.approx(
        (h - 0.7) ** 2, rel=1e-4
    )
    # On the line along which the wall runs the start is a fixed point: nothing moves, whatever w is.
    start = 1 / (1 + np.exp(-0.5))
    for w in (2.0, 3.0):
        on = gradients.Unit(jnp.array(w), jnp.array(0.5 - start * w))
        assert float(gradients.unit_loss(on).mean) == pytest.approx((start - 0.7) ** 2, rel=1e-2)
    assert pytest.approx(start, abs=1e-3) == gradients.WALL


def test_clipping_bounds_every_step_of_the_descent():
    starts = np.array([gradients.START, (4.9, -2.7)])
    points, losses, norms = gradients.descend(starts, 100, gradients.DESCENT_BOUND)  # [N, S, 2]
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    np.testing.assert_allclose(points[:, 0], starts, atol=gradients.DESCENT_RATE * gradients.DESCENT_BOUND * 1.01)
    assert losses.shape == (2, 100)
    assert norms.max() > 10 * gradients.DESCENT_BOUND  # it is needed
    assert steps.max() < 1.01 * gradients.DESCENT_RATE * gradients.DESCENT_BOUND


def test_latch_tells_the_symbol_once():
    batch = gradients.latch(np.random.default_rng(3), 5, 7)
    assert batch.inputs.shape == (7, 5, 8) and np.all(batch.inputs.sum(axis=-1) == 1)
    assert np.array_equal(batch.inputs[0].argmax(axis=-1), batch.targets) and batch.targets.max() < 4
    assert not batch.inputs[1:, :, :4].any()


def test_held_out_sequences_are_not_those_of_training():
    held_out = gradients.held_out_of(SMOKE)
    first = gradients.batches_of(SMOKE)(0)
    assert not np.array_equal(held_out.inputs[:, :32], first.inputs[:, :32])
    assert np.array_equal(first.inputs, gradients.batches_of(SMOKE)(0).inputs)


def test_a_run_that_diverges_is_a_result(tmp_path, monkeypatch):
    monkeypatch.setattr(gradients, "RELU_SCALE", 1e7)
    config = dataclasses.replace(SMOKE, out=str(tmp_path), clip_steps=4, steps_per_call=2)
    headline, sections = gradients.compare_clipping(config, experiment.begin("gradients", config, {}))
    assert "clipping none, ReLU, the loss or its gradient is not finite in update 1." in sections["Clipping"]
    assert "| none, ReLU | 0 of 1 |" in sections["Clipping"] and len(headline) == 3
    assert (tmp_path / "clipping.png").is_file()


@pytest.mark.parametrize("name", ["gru", "mgu", "irnn"])
def test_gates_of_any_cell(name):
    cell = gradients.make_cell(name, 8, SMOKE.trained_hidden)
    look = gradients.make_look(SMOKE, name, cell, jnp.asarray(gradients.held_out_of(SMOKE).inputs))
    seen = look(cell.init(jax.random.key(0)))
    expected = {"gru": ["reset gate r", "update gate u"], "mgu": ["gate 1"], "irnn": []}[name]
    assert list(seen.gates) == expected and seen.norms.shape == (SMOKE.length, SMOKE.held_out)
    for gate in expected:
        low, high = gradients.saturation_of(seen, gate)
        assert low.shape == (SMOKE.trained_hidden,) and float((low + high).max()) <= 1


def test_an_unknown_cell_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"expected --cell to be one of rnn, .*got 'eslm'"):
        gradients.main(gradients.Config(cell="eslm", out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
