"""Walking forward through daily prices: a smoke run, and nothing of the future in any forecast."""

import dataclasses

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.cryptocurrency import __main__ as cc
from experiments.cryptocurrency import trading
from experiments.cryptocurrency.folds import fit_linear_models, fit_logistic, folds, prepare
from experiments.data import crypto_prices

CONFIG = cc.Config(window=5, folds=3, tested=0.5, validation=20)
pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(cc)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    text = (folder / "report.md").read_text()
    assert figures_of(folder) == {"accuracy", "prices", "money"}
    assert 0.3 < result["accuracy"] < 0.7 and 0.55 < result["best_possible_planted"] < 0.7
    assert result["gain_low"] <= result["gain"] <= result["gain_high"]
    assert np.isclose(result["gain"], result["accuracy"] - result["baseline_accuracy"], atol=2e-4)
    assert "direction in a random walk" in text and f"| gain | {result['gain']} |" in text


# ---- the walk ------------------------------------------------------------------------------------------------


def test_folds_walk_forward():
    parts = folds(100, CONFIG)  # 50 tested days make three folds of 16
    assert [(fold.test[0], fold.test[-1]) for fold in parts] == [(52, 67), (68, 83), (84, 99)]
    for fold in parts:
        days = np.concatenate(fold)
        assert np.array_equal(days, np.arange(5, fold.test[-1] + 1)) and len(fold.validation) == 20


def test_nothing_of_the_future_in_a_fold():
    """With every day from one test day on made other, all before it stays as it is, and so do all windows up to it."""
    days = trading.days_of(crypto_prices.generate(101, seed=0))
    fold = folds(100, CONFIG)[1]
    cut = int(fold.test[7])
    noise = np.random.default_rng(1).normal(size=100 - cut)
    inputs, returns = days.inputs.copy(), days.returns.copy()
    inputs[cut:, 0], returns[cut:] = noise, noise
    other = prepare(days._replace(inputs=inputs, returns=returns), fold, CONFIG)
    task = prepare(days, fold, CONFIG)
    for part in ("training", "validation"):
        for field in ("windows", "up", "returns"):
            assert np.array_equal(getattr(getattr(task, field), part), getattr(getattr(other, field), part))
    assert np.array_equal(
        task.windows.test[:, :8], other.windows.test[:, :8]
    )  # the window of the day cut ends before it
    assert not np.array_equal(task.windows.test[:, 8], other.windows.test[:, 8])
    assert task.scale == other.scale
    for model, same in zip(fit_linear_models(task), fit_linear_models(other), strict=True):
        assert np.array_equal(model.weights, same.weights)


def test_windows_and_targets_of_a_fold():
    days = trading.days_of(crypto_prices.generate(101, seed=0))
    fold = folds(100, CONFIG)[0]
    task = prepare(days, fold, CONFIG)
    known = days.returns[: fold.training[-1] + 1]
    scaled = (days.returns - known.mean()) / known.std()
    assert task.windows.test.shape == (5, 16, 1)
    assert np.allclose(task.windows.test[:, 3, 0], scaled[50:55], atol=1e-5)  # the days before day 55
    assert np.isclose(task.returns.test[3], scaled[55], atol=1e-5) and task.up.test[3] == (days.returns[55] > 0)


def test_walk_and_baselines(tmp_path, monkeypatch):
    """Persistence and majority by hand, and a network that is not trained forecasts nothing."""

    def untrained(task, model, config, folder, name):
        return model[0](jax.random.key(0))

    monkeypatch.setattr(cc, "fit_network", untrained)
    days = trading.days_of(crypto_prices.generate(101, seed=0))
    walk = cc.walk_forward(days, dataclasses.replace(CONFIG, hidden=3, layers=2), tmp_path, "data")
    assert walk.rows.tolist() == list(range(52, 100)) and walk.fold.tolist() == [0] * 16 + [1] * 16 + [2] * 16
    assert np.array_equal(walk.up["persistence"], days.returns[51:99] > 0)
    assert walk.up["majority"][16] == (np.mean(days.returns[5:68] > 0) > 0.5)
    assert not walk.up["network"].any() and not walk.returns["zero"].any()
    assert np.isclose(walk.returns["network"][0], days.returns[:32].mean())
    assert np.isclose(walk.returns["mean"][0], days.returns[5:52].mean())


def test_logistic_regression():
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(20_000, 2))
    ys = rng.uniform(size=20_000) < 1 / (1 + np.exp(-(xs @ [1.0, -2.0] + 0.5)))
    model = fit_logistic(xs, ys.astype(np.float32), ridge=1e-6)
    assert np.abs(model.weights[:, 0] - [1.0, -2.0, 0.5]).max() < 0.1
    assert np.abs(fit_logistic(xs, ys.astype(np.float32), ridge=10.0).weights[:2]).max() < 0.1


def test_scores_of_a_prophet_and_of_a_fool():
    days = trading.days_of(crypto_prices.generate(101, seed=0))
    rows = np.arange(40, 100)
    truth = days.returns[rows] > 0
    up = {"network": truth, "persistence": ~truth, "majority": ~truth, "logistic": np.arange(60) % 2 == 0}
    returns = {"network": days.returns[rows], "zero": np.zeros(60), "mean": -days.returns[rows]}
    walk = cc.Walk(rows, np.zeros(60, int), up, returns)
    scores = cc.score(days, walk, CONFIG)
    assert scores.accuracy["network"] == (1, 1, 1) and scores.best == "logistic"
    assert scores.gain["persistence"] == (1, 1, 1) and np.allclose(scores.skill["network"], 1)
    assert np.allclose(scores.skill["mean"], -3) and scores.possible == 0.5
    worse = {"network": ~truth, **dict.fromkeys(cc.BASELINES, truth)}
    assert cc.score(days, walk._replace(up=worse), CONFIG).gain["logistic"] == (-1, -1, -1)


def test_trading_pays_for_every_change():
    returns = np.log([2.0, 0.5, 3.0, 2.0])
    money = trading.trade(np.array([False, True, False, True]), returns, cost=0.1)
    assert np.allclose(np.exp(money.growth), [1, 0.5, 0.5, 1.0]) and money.trades == 3 and money.held == 0.5
    assert np.allclose(np.exp(money.net), [1, 0.5 * 0.9, 0.5 * 0.81, 0.729])
    held = trading.trade(np.full(4, True), returns, cost=0.0)
    assert np.isclose(np.exp(held.net[-1]), 6.0) and held.trades == 1 and np.isclose(held.worst_fall, 0.5)
    daily = np.log([2.0, 0.5, 3.0, 2.0])
    assert np.isclose(held.sharpe, np.sqrt(365) * daily.mean() / daily.std())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lsmt"}, "--cell to be one of rnn"),
        ({"layers": 0}, "--layers from 1, got 0"),
        ({"dropout": 1.0}, "--dropout from 0 and below 1"),
        ({"rows": 50}, "to leave at least 5 days to learn from"),
        ({"data": "doge"}, "--data to be generated, btc, eth, ltc or the path"),
    ],
)
def test_wrong_options_are_one_sentence(options, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=f"expected .*{message}"):
        cc.main(smoke_config(cc, tmp_path, window=5, **options))
