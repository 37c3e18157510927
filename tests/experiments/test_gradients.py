"""The gradients experiment: its smoke run; powers of a matrix, the wall and gates by known answers."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_fixture

import rnnjax
from experiments.gradients import __main__ as gradients
from experiments.gradients import descent, flow, latch
from experiments.lib.cells import make_cell

SMOKE = dataclasses.replace(gradients.Config(), **gradients.SMOKE)
pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(gradients)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    text = (folder / "report.md").read_text()
    drawn = {"lags", "surface", "clipping", "learned", "spectra", "saturation"}
    assert figures_of(folder) == drawn
    assert 0.5 < result["half_life_rnn"] < result["half_life_lstm"] < 10
    for name in ("clip_none", "clip_by_value", "clip_by_norm"):
        assert result[f"accuracy_{name}"] > 0.6  # of four symbols, over six steps
    assert str(result["half_life_rnn"]) in text and json.loads((folder / "config.json").read_text())["lag"] == 20


@pytest.mark.slow
def test_norms_of_a_linear_network_are_powers():
    linear = rnnjax.rnn(8, SMOKE.hidden, activation=jax.nn.identity)
    norms = flow.norms_by_seed(SMOKE, linear, (0.5, 1.25))  # [S, T, W]
    lags = np.arange(SMOKE.lag, 0, -1.0)
    np.testing.assert_allclose(norms, np.tile(np.stack([0.5**lags, 1.25**lags], 1), (SMOKE.seeds, 1, 1)), rtol=1e-4)
    np.testing.assert_allclose(flow.half_lives(norms[..., 0].T), 1.0, rtol=1e-4)


def test_half_lives_leave_out_what_is_rounding():
    lags = np.arange(60, 0, -1.0)
    exact = 0.5 ** (lags / 2)
    assert flow.half_lives(np.where(lags < 50, exact, 1e-36))[()] == pytest.approx(2.0, rel=1e-4)


def test_the_loss_of_one_unit():
    h = 1 / (1 + np.exp(-0.5))
    for _ in range(50):
        h = 1 / (1 + np.exp(-(3.0 * h - 1.5)))
    assert float(descent.unit_loss((jnp.array(3.0), jnp.array(-1.5))).mean) == pytest.approx((h - 0.7) ** 2, rel=1e-4)
    # On the line along which the wall runs the start is a fixed point: nothing moves, whatever w is.
    start = 1 / (1 + np.exp(-0.5))
    for w in (2.0, 3.0):
        on = jnp.array(w), jnp.array(0.5 - start * w)
        assert float(descent.unit_loss(on).mean) == pytest.approx((start - 0.7) ** 2, rel=1e-2)
    assert pytest.approx(start, abs=1e-3) == descent.WALL


def test_clipping_bounds_every_step_of_the_descent():
    starts = jnp.array([descent.START, (4.9, -2.7)])
    points, losses, norms, _ = descent.walk(starts, descent.BOUND)  # [N, S, 2]
    steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
    np.testing.assert_allclose(points[:, 0], starts, rtol=1e-6)
    assert losses.shape == (2, descent.STEPS)
    assert norms.max() > 10 * descent.BOUND  # it is needed
    assert steps.max() < 1.01 * descent.RATE * descent.BOUND


def test_latch_tells_the_symbol_once():
    batch = latch.draw(np.random.default_rng(3), 5, 7)
    assert batch.inputs.shape == (7, 5, 8) and np.all(batch.inputs.sum(axis=-1) == 1)
    assert np.array_equal(batch.inputs[0].argmax(axis=-1), batch.targets) and batch.targets.max() < 4
    assert not batch.inputs[1:, :, :4].any()


def test_held_out_sequences_are_not_those_of_training():
    held_out = latch.held_out_of(SMOKE)
    first = latch.batches_of(SMOKE)(0)
    assert not np.array_equal(held_out.inputs[:, :32], first.inputs[:, :32])
    assert np.array_equal(first.inputs, latch.batches_of(SMOKE)(0).inputs)


def test_a_descent_that_diverges_keeps_its_last_good_params():
    optimizer = rnnjax.training.get_optimizer("sgd", 1.0)

    def loss_fn(params, batch, *, key):
        return rnnjax.losses.masked_mean(params * batch)

    batches = jnp.array([[1.0], [2.0], [np.nan], [4.0], [5.0]])
    record = jax.device_get(descent.descend(loss_fn, optimizer, jnp.array(10.0), batches))
    assert record.points.tolist() == [10.0, 9.0, 7.0, 7.0, 7.0] and record.params == 7.0
    assert descent.summary(record) == (4, 5.0)


@pytest.mark.slow
def test_every_way_of_clipping_has_its_networks():
    config = dataclasses.replace(SMOKE, clip_steps=4, clip_seeds=2, smoke=False)
    held_out = latch.held_out_of(config)
    found = descent.compare_clipping(config, held_out)
    assert [len(some) for some in found.values()] == [2, 2, 2, 1] and list(found)[-1] == "none, ReLU"
    first = {name: some[0][0] for name, some in found.items()}
    assert first["none"].losses[0] == first["by value"].losses[0] == first["by norm"].losses[0]
    assert first["none"].losses[3] != first["by value"].losses[3]
    assert all(right.shape == (SMOKE.held_out,) for some in found.values() for _, right in some)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gru", "mgu", "irnn"])
def test_gates_of_any_cell(name):
    cell = make_cell(name, 8, SMOKE.trained_hidden)
    look = flow.make_look(SMOKE, name, cell, jnp.asarray(latch.held_out_of(SMOKE).inputs))
    seen = look(cell.init(jax.random.key(0)))
    expected = {"gru": ["reset gate r", "update gate u"], "mgu": ["gate 1"], "irnn": []}[name]
    assert list(seen.gates) == expected and seen.norms.shape == (SMOKE.length, SMOKE.held_out)
    for gate in expected:
        low, high = seen.gates[gate]
        assert low.shape == (SMOKE.trained_hidden,) and float((low + high).max()) <= 1


def test_an_unknown_cell_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match=r"expected --cell to be one of rnn, .*got 'eslm'"):
        gradients.main(gradients.Config(cell="eslm", out=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
