"""Daily prices: files, days, and the generator."""

import numpy as np
import pytest

from experiments.cryptocurrency.trading import days_of
from experiments.data import crypto_prices

CSV = """Date,Open,High,Low,Close,Adj Close,Volume
2020-02-28,1.5,4.0,1.0,2.0,2.0,100
2020-02-29,2.0,2.0,2.0,1.0,1.0,100
2020-03-01,1.0,3.0,1.5,8.0,8.0,400
"""


def test_csv():
    prices = crypto_prices.parse(CSV, "a file")
    assert [str(day) for day in prices.days] == ["2020-02-28", "2020-02-29", "2020-03-01"]
    days = days_of(prices)
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
    days = days_of(prices)
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
