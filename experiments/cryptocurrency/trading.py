"""What a day of a market brings, and what following a forecast would have earned."""

from typing import NamedTuple

import numpy as np

from experiments.data.crypto_prices import Prices


class Days(NamedTuple):
    """What a day brings, and what is known of it."""

    inputs: np.ndarray  # known at the end of the day, not scaled [N, F]; the first is the return
    returns: np.ndarray  # log(price / price of the day before) [N]
    close: np.ndarray  # price at its end [N]
    chance_up: np.ndarray | None  # probability of a return above 0 given the days before [N]
    days: np.ndarray  # datetime64 [N]


def days_of(prices: Prices) -> Days:
    """Makes days of prices, all but the first, which has no return."""
    returns = np.diff(np.log(prices.close))
    inputs = returns[:, None]
    if prices.features.shape[1]:
        inputs = np.column_stack([returns, prices.features[1:, 0], np.diff(prices.features[:, 1])])
    chance_up = None if prices.chance_up is None else prices.chance_up[1:]
    return Days(inputs, returns, prices.close[1:], chance_up, prices.days[1:])


class Money(NamedTuple):
    """What becomes of one dollar, held on the days with a rise forecast and out of the market on others."""

    growth: np.ndarray  # logarithm of the value after each day, without costs [N]
    net: np.ndarray  # the same with costs [N]
    held: float  # share of the days in the market
    trades: int  # how often it was bought or sold

    @property
    def sharpe(self) -> float:
        """Sharpe ratio of a year, of the logarithmic returns with costs."""
        daily = np.diff(self.net, prepend=0)
        return float(np.sqrt(365) * daily.mean() / daily.std()) if daily.std() else 0.0

    @property
    def worst_fall(self) -> float:
        """Share lost between the highest value with costs and a later one."""
        peak = np.maximum.accumulate(np.maximum(self.net, 0))
        return float(1 - np.exp(np.min(self.net - peak)))


def trade(up: np.ndarray, returns: np.ndarray, cost: float) -> Money:
    """Holds on the days that are `up`, decided at the end of the day before; the cost is a share of what is traded.

    >>> money = trade(np.array([True, True, False]), np.log([2.0, 0.5, 3.0]), cost=0.5)
    >>> np.exp(money.growth).round(3).tolist(), np.exp(money.net).round(3).tolist(), money.trades
    ([2.0, 1.0, 1.0], [1.0, 0.5, 0.25], 2)
    """
    changes, daily = np.diff(up.astype(int), prepend=0) != 0, up * returns
    net = np.cumsum(daily + np.log1p(-cost) * changes)
    return Money(np.cumsum(daily), net, float(up.mean()), int(changes.sum()))
