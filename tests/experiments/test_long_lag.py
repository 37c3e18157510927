"""Long time lags: the tasks, the ways to learn, and the smoke run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_fixture

import rnnjax
from experiments.long_lag import __main__ as long_lag
from experiments.long_lag import lags, ways
from experiments.long_lag.__main__ import Config
from experiments.long_lag.lags import Batch
from experiments.long_lag.ways import WAYS

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(long_lag)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert result["updates"] == 40 and 0.01 < result["mse"] < 0.4 and 0 <= result["within_tolerance"] < 0.5
    assert 0.1 < result["baseline_mse"] < 0.25 and 0 <= result["order_sequences"] <= 1
    text = (folder / "report.md").read_text()
    assert str(result["mse"]) in text and "LSTM, chrono" in text and "| order | lstm | 10 |" in text
    assert figures_of(folder) == {"adding", "memory", "ways"}


# ---- tasks ---------------------------------------------------------------------------------------------------


def test_adding_marks_two_early_numbers_and_asks_at_the_end():
    batch = lags.adding(np.random.default_rng(0), 501, 40)
    u, marks = batch.inputs[..., 0], batch.inputs[..., 1]
    assert batch.inputs.shape == (40, 501, 2) and ((u >= 0) & (u < 1)).all()
    assert (marks.sum(axis=0) == 2).all() and (marks[:10].sum(axis=0) >= 1).all() and not marks[20:].any()
    assert set(np.flatnonzero(marks.any(axis=1))) == set(range(20))  # every place in the first half
    assert (batch.where.sum(axis=0) == 1).all() and batch.where[-1].all()
    np.testing.assert_allclose(batch.targets[-1], (u * marks).sum(axis=0), rtol=1e-6)
    shortest = lags.adding(np.random.default_rng(0), 501, 6)
    assert (shortest.inputs[..., 1].sum(axis=0) == 2).all() and not shortest.inputs[3:, :, 1].any()


def test_always_one_misses_sums_by_a_sixth():
    batch = lags.adding(np.random.default_rng(1), 20_000, 12)
    errors = lags.errors_of(np.ones((12, 20_000, 1)), batch)
    assert abs(np.mean(errors**2) - 1 / 6) < 0.005
    assert abs(np.mean(np.abs(errors) < 0.04) - (1 - 0.96**2)) < 0.01  # the density of the sum is a triangle
    assert not lags.errors_of(batch.targets[..., None], batch).any()


def test_training_and_test_sequences_differ():
    config = Config()
    parts = [(lags.TRAIN, 0), (lags.TRAIN, 1), (lags.VALIDATION,), (lags.TEST,), (lags.OTHER, 10)]
    firsts = [lags.adding(lags.rng_of(config, *part), 3, 10).inputs[0, 0, 0] for part in parts]
    assert len(set(firsts)) == len(parts)
    assert firsts[0] != lags.adding(lags.rng_of(Config(seed=1), *parts[0]), 3, 10).inputs[0, 0, 0]


def test_copy_asks_for_what_was_read():
    batch = lags.copying(np.random.default_rng(0), 7, delay=3)
    ids = batch.inputs.argmax(axis=-1)
    assert ids.shape == (23, 7) and (ids[10:12] == 8).all() and (ids[12] == 9).all() and (ids[13:] == 8).all()
    assert (batch.targets[13:] == ids[:10]).all() and batch.where[13:].all() and not batch.where[:13].any()
    assert (batch.allowed.argmax(axis=-1) == batch.targets).all()


def test_order_asks_for_both_symbols_at_the_last_step():
    batch = lags.ordering(np.random.default_rng(0), 301)
    ids = np.where(batch.inputs.any(axis=-1), batch.inputs.argmax(axis=-1), -1)
    assert (ids[0] == 6).all() and set(batch.targets[0]) == {0, 1, 2, 3}
    lengths = set()
    for row in range(301):
        places = np.flatnonzero((ids[:, row] == 4) | (ids[:, row] == 5))
        assert len(places) == 2 and 10 <= places[0] <= 20 and 50 <= places[1] <= 60
        first, second = ids[places, row] - 4
        (last,) = np.flatnonzero(batch.where[:, row])
        assert (
            batch.targets[last, row] == 2 * first + second
            and ids[last, row] == 7
            and (ids[last + 1 :, row] == -1).all()
        )
        lengths.add(int(last) + 1)
    assert lengths == set(range(100, 111))


def test_reber_strings_are_of_the_grammar():
    rng = np.random.default_rng(0)
    strings = [lags.reber_string(rng) for _ in range(300)]
    assert min(len(string) for string, _ in strings) == 9
    for string, possible in strings:
        assert string[0] == "B" and string[1] == string[-2] and string[-1] == "E" and possible[-2] == string[1]
        assert all(symbol in after for symbol, after in zip(string[1:], possible, strict=True))
    assert dict(strings)["BTBTXSETE"] == ["TP", "B", "TP", "SX", "XS", "E", "T", "E"]


def test_reber_batch_allows_what_is_possible():
    batch = lags.reber(np.random.default_rng(3), 11)
    lengths = batch.where.sum(axis=0)
    assert (np.diff(batch.where.astype(int), axis=0) <= 0).all() and lengths.min() >= 8 and lengths.max() <= 40
    assert np.take_along_axis(batch.allowed, batch.targets[..., None], axis=-1)[..., 0][batch.where].all()
    assert not batch.inputs[~batch.where].any()


def test_right_is_every_allowed_symbol_before_every_other():
    allowed = np.array([[[True, True, False]], [[True, False, False]], [[False, False, False]]])
    batch = Batch(np.zeros((3, 1, 1)), np.zeros((3, 1), int), allowed.any(axis=-1), allowed)
    for outputs, expected in (
        ([[[2.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]], [[0.0, 5.0, 0.0]]], [True, True, True]),
        ([[[2.0, 0.0, 1.0]], [[1.0, 1.0, 0.0]], [[0.0, 5.0, 0.0]]], [False, False, True]),  # a tie is wrong
    ):
        assert lags.right(np.array(outputs), batch)[:, 0].tolist() == expected


# ---- ways ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_gradient_of_1997_flows_through_the_cell_state_only():
    cell = rnnjax.lstm(2, 3)
    params, xs = cell.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (7, 5, 2))
    truncated = ways.cell_state_only(cell)

    def last(cell, carry):
        return rnnjax.unroll(cell, params, xs, carry)[0].c.sum()

    zeros = cell.initial_carry((5,))
    assert jnp.allclose(last(cell, zeros), last(truncated, zeros))
    gradient = jax.grad(last, 1)(truncated, zeros)
    assert not gradient.h.any() and jax.grad(last, 1)(cell, zeros).h.any()
    forgets, carry = jnp.ones((5, 3)), zeros  # by hand: the product of the forget gates
    for x in xs:
        z = x @ params.w_x + carry.h @ params.w_h + params.b[None]
        forgets, (carry, _) = forgets * jax.nn.sigmoid(z[:, 3:6]), cell.apply(params, carry, x)
    assert jnp.allclose(gradient.c, forgets, rtol=1e-5)


@pytest.mark.parametrize("name", WAYS)
def test_ways_begin_as_they_say(name):
    way = WAYS[name]
    init, apply = ways.make_way(way, 16, 200)
    params = init(jax.random.key(0))
    assert apply(params, jnp.ones((7, 3, 2))).shape == (7, 3, 1)
    if way.cell == "lstm":
        b_i, b_f, _, _ = params.cell.b.reshape(4, 16)
        kept = {"usual": 1.0, "forget 0": 0.0, "no forget gate": 20.0}
        assert jnp.array_equal(b_f, -b_i) if way.biases == "chrono" else jnp.all(b_f == kept[way.biases])


@pytest.mark.slow
def test_gradient_of_50_steps_does_not_see_what_came_before():
    batch = lags.adding(np.random.default_rng(0), 3, 100)

    def reach(name):
        init, apply = ways.make_way(WAYS[name], 5, 100)
        params = init(jax.random.key(0))
        return jax.grad(lambda xs: apply(params, xs)[-1].sum())(jnp.asarray(batch.inputs))

    cut, full = reach("LSTM, chrono, gradient of 50 steps"), reach("LSTM, chrono")
    assert not cut[:50].any() and cut[50:].any() and full[:50].any()


@pytest.mark.slow
def test_a_lag_is_solved_and_the_best_rate_counts():
    config = Config(lag_steps=400, lag_rates=(0.02, 0.0), lag_hidden=8)
    _, updates, mse = ways.attempt(config, "LSTM, chrono", 6)
    assert updates is not None and updates <= 400 and mse < 0.01
    _, none, baseline = ways.attempt(Config(lag_steps=50, lag_rates=(0.0,)), "LSTM, chrono", 6)
    assert none is None and baseline > 0.1


def test_a_study_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(ways, "attempt", lambda config, name, lag: ways.Attempt(lag, 50 if lag < 20 else None, 0.5))
    config = Config(lags=(10, 20, 50), ways=("GRU", "RNN (tanh)"))
    found = ways.study(config, tmp_path)
    assert found == {name: [(10, 50, 0.5), (20, None, 0.5)] for name in config.ways}
    (tmp_path / "ways.json").write_text('{"GRU": [[10, 100, 0.25]]}')
    resumed = ways.study(dataclasses.replace(config, resume=True), tmp_path)
    assert resumed == {"GRU": [(10, 100, 0.25), (20, None, 0.5)], "RNN (tanh)": found["RNN (tanh)"]}


def test_bad_options_are_one_sentence(tmp_path):
    for options, part in (
        ({"cell": "lsmt"}, "expected --cell to be one of rnn"),
        ({"task": "sums"}, "expected --task to be all or one of adding"),
        ({"lag": 5}, "expected --lag and --lags of at least 6 steps, got 5"),
        ({"ways": ("LSTM",)}, "expected --ways of RNN"),
    ):
        with pytest.raises(ValueError, match=part):
            long_lag.main(Config(**options, out=str(tmp_path / "run")))
        assert not (tmp_path / "run").exists()
