"""Walking forward through daily prices: the smoke run, the generator, and nothing of the future in any forecast."""

import dataclasses

import jax
import numpy as np
import pytest
from experiment_runs import assert_reproduces, figures_of, smoke_fixture

from experiments import cryptocurrency as cc
from experiments.data import crypto_prices
from experiments.lib import series, trading

CONFIG = cc.Config(window=5, folds=3, tested=0.5, validation=20)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compilation", "standard_promotion")]
smoke = smoke_fixture(cc)


def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    text = (folder / "report.md").read_text()
    assert figures_of(folder) == {"accuracy", "prices", "money"}
    assert 0.3 < result["accuracy"] < 0.7 and 0.55 < result["best_possible_planted"] < 0.7
    assert result["gain_low"] <= result["gain"] <= result["gain_high"]
    assert np.isclose(result["gain"], result["accuracy"] - result["baseline_accuracy"], atol=2e-4)
    assert "Nothing to gain was found" in text


def test_smoke_reproduces(smoke, tmp_path):
    assert_reproduces(cc, smoke, tmp_path)


# ---- data ----------------------------------------------------------------------------------------------------

CSV = """Date,Open,High,Low,Close,Adj Close,Volume
2020-02-28,1.5,4.0,1.0,2.0,2.0,100
2020-02-29,2.0,2.0,2.0,1.0,1.0,100
2020-03-01,1.0,3.0,1.5,8.0,8.0,400
"""


def test_csv():
    prices = crypto_prices.parse(CSV, "a file")
    assert [str(day) for day in prices.days] == ["2020-02-28", "2020-02-29", "2020-03-01"]
    days = trading.days_of(prices)
    assert np.allclose(days.returns, np.log([0.5, 8.0])) and days.close.tolist() == [1.0, 8.0]
    assert np.allclose(days.inputs, np.log([[0.5, 1.0, 1.0], [8.0, 2.0, 4.0]]))  # return, high / low, volume
    assert days.chance_up is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Volume", "Turnover", "expected the columns Date, Open"),
        ("8.0,8.0,400", "null,null,400", "six numbers above 0 in line 4 of a file"),
        ("8.0,8.0,400", "8.0,8.0,0", "six numbers above 0 in line 4"),
        ("8.0,8.0,400", "8.0,8.0", "six numbers above 0 in line 4"),
        ("2020-03-01", "2020-03-02", "the day after 2020-02-29 in line 4 of a file, got 2020-03-02"),
        (CSV.split("\n", 1)[1], "", "expected rows below the header"),
    ],
)
def test_broken_csv_is_one_sentence(old, new, message):
    with pytest.raises(ValueError, match=message):
        crypto_prices.parse(CSV.replace(old, new), "a file")


def test_other_csv_file_is_taken(tmp_path):
    (tmp_path / "mine.csv").write_text(CSV)
    assert len(crypto_prices.load(str(tmp_path / "mine.csv"), rows=0, seed=0).close) == 3
    with pytest.raises(FileNotFoundError, match="--data to be generated, btc, eth, ltc or the path"):
        crypto_prices.load("doge", rows=0, seed=0)


def test_random_walk_cannot_be_forecast():
    prices = crypto_prices.generate(20_000, seed=3)
    returns = np.diff(np.log(prices.close))
    size = np.abs(returns)
    assert (prices.chance_up == 0.5).all() and abs(np.mean(returns > 0) - 0.5) < 0.012
    assert abs(np.corrcoef(np.sign(returns[1:]), np.sign(returns[:-1]))[0, 1]) < 0.03
    assert np.corrcoef(size[1:], size[:-1])[0, 1] > 0.1  # but volatility clusters
    assert np.mean(returns**4) / np.mean(returns**2) ** 2 > 5  # and tails are heavy: 3 for a normal distribution


def test_planted_momentum_is_as_strong_as_said():
    """The chances of the generator are right on average, and its best forecast is the sign of the last five returns."""
    prices = crypto_prices.generate(20_000, momentum=0.6, seed=3)
    days = trading.days_of(prices)
    up, chance = days.returns > 0, days.chance_up
    for low, high in [(0.1, 0.3), (0.3, 0.45), (0.55, 0.7), (0.7, 0.9)]:
        at = (chance > low) & (chance < high)
        assert abs(up[at].mean() - chance[at].mean()) < 4 * 0.5 / np.sqrt(at.sum())
    momentum = np.convolve(days.returns, np.ones(5), mode="valid")[:-1]
    assert np.array_equal(momentum > 0, chance[5:] > 0.5)
    possible = np.maximum(chance, 1 - chance).mean()
    assert 0.62 < possible < 0.67 and abs(np.mean((chance > 0.5) == up) - possible) < 0.015
    again, other = crypto_prices.generate(50, momentum=0.6, seed=3), crypto_prices.generate(50, momentum=0.6, seed=4)
    assert np.array_equal(again.close, crypto_prices.generate(50, momentum=0.6, seed=3).close)
    assert not np.array_equal(again.close, other.close)


# ---- the walk ------------------------------------------------------------------------------------------------


def test_folds_walk_forward():
    parts = cc.folds(100, CONFIG)  # 50 tested days make three folds of 16
    assert [(fold.test[0], fold.test[-1]) for fold in parts] == [(52, 67), (68, 83), (84, 99)]
    for fold in parts:
        days = np.concatenate(fold)
        assert np.array_equal(days, np.arange(5, fold.test[-1] + 1)) and len(fold.validation) == 20


def test_nothing_of_the_future_in_a_fold():
    """With every day from one test day on made other, all before it stays as it is, and so do all windows up to it."""
    days = trading.days_of(crypto_prices.generate(101, seed=0))
    fold = cc.folds(100, CONFIG)[1]
    cut = int(fold.test[7])
    noise = np.random.default_rng(1).normal(size=100 - cut)
    inputs, returns = days.inputs.copy(), days.returns.copy()
    inputs[cut:, 0], returns[cut:] = noise, noise
    other = cc.prepare(days._replace(inputs=inputs, returns=returns), fold, CONFIG)
    task = cc.prepare(days, fold, CONFIG)
    for part in ("training", "validation"):
        for field in ("windows", "up", "returns"):
            assert np.array_equal(getattr(getattr(task, field), part), getattr(getattr(other, field), part))
    assert np.array_equal(
        task.windows.test[:, :8], other.windows.test[:, :8]
    )  # the window of the day cut ends before it
    assert not np.array_equal(task.windows.test[:, 8], other.windows.test[:, 8])
    assert task.scale == other.scale
    for model, same in zip(cc.fit_linear_models(task), cc.fit_linear_models(other), strict=True):
        assert np.array_equal(model.weights, same.weights)


def test_windows_and_targets_of_a_fold():
    days = trading.days_of(crypto_prices.generate(101, seed=0))
    fold = cc.folds(100, CONFIG)[0]
    task = cc.prepare(days, fold, CONFIG)
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
    model = series.fit_logistic(xs, ys.astype(np.float32), ridge=1e-6)
    assert np.abs(model.weights[:, 0] - [1.0, -2.0, 0.5]).max() < 0.1
    assert np.abs(series.fit_logistic(xs, ys.astype(np.float32), ridge=10.0).weights[:2]).max() < 0.1


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
    assert "There is something to gain" in cc.verdict(scores, scores, 60)
    worse = {"network": ~truth, **dict.fromkeys(cc.BASELINES, truth)}
    scores = cc.score(days, walk._replace(up=worse), CONFIG)
    text = cc.verdict(scores, scores, 60)
    assert "is behind its best baseline" in text and "does not find what is there" in text


def test_trading_pays_for_every_change():
    returns = np.log([2.0, 0.5, 3.0, 2.0])
    money = trading.trade(np.array([False, True, False, True]), returns, cost=0.1)
    assert np.allclose(np.exp(money.growth), [1, 0.5, 0.5, 1.0]) and money.trades == 3 and money.held == 0.5
    assert np.allclose(np.exp(money.net), [1, 0.5 * 0.9, 0.5 * 0.81, 0.729])
    held = trading.trade(np.full(4, True), returns, cost=0.0)
    assert np.isclose(np.exp(held.net[-1]), 6.0) and held.trades == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lsmt"}, "--cell to be one of rnn"),
        ({"layers": 0}, "--layers to be between 1 and 10"),
        ({"dropout": 1.0}, "--dropout to be at least 0 and below 1"),
        ({"rows": 50}, "to leave at least 5 days to learn from"),
        ({"data": "doge"}, "--data to be generated, btc, eth, ltc or the path"),
    ],
)
def test_wrong_options_are_one_sentence(options, message, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=f"expected .*{message}"):
        cc.main(dataclasses.replace(CONFIG, out=str(tmp_path / "run"), **options))
    assert not (tmp_path / "run").exists()
