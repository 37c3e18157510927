"""Daily prices: of three cryptocurrencies, or generated ones in which it is known what can be forecast."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find

COLUMNS = ("Date", "Open", "High", "Low", "Close", "Adj Close", "Volume")
COMMIT = "https://raw.githubusercontent.com/ivang5/RNN-Crypto-Price-Prediction/528e26835b919ff985aa3c4de147da1cd729ad61"
SUMS = {
    "btc": "bbdab64cd6b3425a1dd502d8dcf7204683a5eb422db59720b77330d88fc191b7",
    "eth": "fe0bf88c55ff0b0648eff723d6870c730315d05d91966bcf97484c00a9c9f3f8",
    "ltc": "b3fcaac52cafdfef04e4916a952bc948c4457cfd8e6b26f16964d3c67cb65620",
}
COINS = {
    coin: DataFile(
        folder="crypto_daily",
        name=f"{coin.upper()}-USD.csv",
        url=f"https://finance.yahoo.com/quote/{coin.upper()}-USD/history",
        sha256=sha256,
        licence="prices from Yahoo Finance, under its terms; the repository with the copy is under the MIT licence",
        copy=f"{COMMIT}/data/{coin.upper()}-USD.csv",
    )
    for coin, sha256 in SUMS.items()
}


class Prices(NamedTuple):
    """Days in order of time."""

    days: np.ndarray  # datetime64 in days [N], one after the other
    close: np.ndarray  # the price at the end of each day, in dollars [N]
    features: np.ndarray  # known at the end of each day [N, F]: log(high / low) and log(volume), or none
    chance_up: np.ndarray | None = None  # probability of a rise, given all days before; None where nobody knows it


def load(data: str, *, rows: int, seed: int) -> Prices:
    """Loads prices: "generated", a random walk of so many rows; "btc", "eth", "ltc"; or the path of such a CSV file."""
    if data == "generated":
        return generate(rows, seed=seed)
    if data not in COINS and not Path(data).is_file():
        raise FileNotFoundError(
            f"expected --data to be generated, {', '.join(COINS)} or the path of a CSV file, got {data!r}, which is no "
            "file."
        )
    path = find(COINS[data]) if data in COINS else Path(data)
    return parse(path.read_text(encoding="utf-8-sig", errors="replace"), str(path))


def parse(text: str, source: str) -> Prices:
    """Parses a CSV file with COLUMNS: days without a gap, prices and volumes above 0. Errors name the source."""
    lines = csv.reader(text.splitlines())
    header = tuple(name.strip() for name in next(lines, []))
    if header != COLUMNS:
        raise ValueError(
            f"expected the columns {', '.join(COLUMNS)} in {source}, got {', '.join(header) or 'nothing'}."
        )
    days, values = [], []
    for number, line in enumerate(lines, 2):
        try:
            days.append(np.datetime64(line[0], "D"))
            values.append([float(value) for value in line[1:7]])
            if len(line) != 7 or not min(values[-1]) > 0 or not np.isfinite(values[-1]).all():
                raise ValueError
        except (ValueError, IndexError):
            raise ValueError(
                f"expected a day and six numbers above 0 in line {number} of {source}, got {','.join(line)[:60]!r}."
            ) from None
        if len(days) > 1 and days[-1] - days[-2] != np.timedelta64(1, "D"):
            raise ValueError(f"expected the day after {days[-2]} in line {number} of {source}, got {days[-1]}.")
    if not days:
        raise ValueError(f"expected rows below the header of {source}, got none.")
    _, high, low, close, _, volume = np.array(values).T
    return Prices(np.array(days), close, np.stack([np.log(high / low), np.log(volume)], axis=1))


def generate(rows: int, *, momentum: float = 0.0, seed: int = 0) -> Prices:
    """Makes up prices whose returns are a GARCH(1, 1) with heavy tails, with or without a momentum.

        r_t = m_t + s_t z_t     m_t = momentum mean(r_{t-1}, ..., r_{t-5})
        s_t^2 = 0.02 s^2 + 0.1 (s_{t-1} z_{t-1})^2 + 0.88 s_{t-1}^2               s = 4 %

    r_t are logarithmic returns; z_t has Student's t distribution with 4 degrees of freedom and variance 1. Without
    momentum the next return is as often above 0 as below, whatever was before: calm and wild days come in clusters, so
    that its size can be forecast, but not its sign. Reference: Bollerslev 1987, "A conditionally heteroskedastic time
    series model for speculative prices and rates of return".
    """
    rng = np.random.default_rng((seed, int(momentum != 0)))
    spin_up = 500
    z = rng.standard_t(4, size=rows + spin_up) / np.sqrt(2)
    returns, means, sizes = np.zeros(rows + spin_up), np.zeros(rows + spin_up), np.full(rows + spin_up, 0.04)
    for t in range(5, rows + spin_up):
        shock = returns[t - 1] - means[t - 1]
        sizes[t] = np.sqrt(0.02 * 0.04**2 + 0.1 * shock**2 + 0.88 * sizes[t - 1] ** 2)
        means[t] = momentum * returns[t - 5 : t].mean()
        returns[t] = means[t] + sizes[t] * z[t]
    days = np.datetime64("2015-01-01", "D") + np.arange(rows)
    chance_up = student_4(means / sizes * np.sqrt(2))[spin_up:]
    return Prices(days, 100 * np.exp(np.cumsum(returns[spin_up:])), np.zeros((rows, 0)), chance_up)


def student_4(t: np.ndarray) -> np.ndarray:
    """The distribution function of Student's t with 4 degrees of freedom.

    >>> student_4(np.array([0.0, 2.132, 2.776])).round(3).tolist()
    [0.5, 0.95, 0.975]
    """
    u = 1 + t**2 / 4
    return 0.5 + 0.375 * t / np.sqrt(u) * (1 - t**2 / (12 * u))
