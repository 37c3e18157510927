"""Can tomorrow's price of a cryptocurrency be told from its past? A stacked LSTM walks forward, against doing nothing.

python -m experiments.cryptocurrency                 about a minute and a half on two CPU cores, generated prices:
                                                     half of the days right where nothing can be forecast, 63 % of
                                                     them, where 64 % are possible, with a momentum planted
python -m experiments.cryptocurrency --data btc      Bitcoin 2014 to 2023; eth and ltc likewise
"""

import dataclasses
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.cryptocurrency import figures
from experiments.cryptocurrency.folds import fit_linear_models, flatten, folds, prepare
from experiments.cryptocurrency.network import fit_network, make_model
from experiments.cryptocurrency.trading import Days, days_of, trade
from experiments.data import crypto_prices
from experiments.lib import frame, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import Interval, bootstrap

BASELINES = ("persistence", "majority", "logistic")
METHODS = ("network", *BASELINES)
BLOCK = 20  # days of a block of the bootstrap


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # generated (a random walk), btc, eth, ltc, or the path of a CSV file from Yahoo Finance
    rows: int = 3000  # days of generated prices
    momentum: float = 0.6  # of the control, generated prices that can be forecast
    cell: str = "lstm"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    layers: int = 2  # of cells
    hidden: int = 16  # units of a layer
    dropout: float = 0.2  # between layers
    window: int = 20  # days that are read
    folds: int = 8  # of the walk
    tested: float = 0.6  # share of the days that are tested, in folds of equal length
    validation: int = 250  # days before each fold on which to stop early and to choose the baselines' ridge
    cost: float = 0.001  # share of what is bought or sold that trading costs
    steps: int = 400  # updates
    batch: int = 128  # windows of an update
    steps_per_call: int = 20  # updates in one compiled call
    evaluate_every: int = 20  # updates between evaluations on the validation days
    patience: int = 6  # evaluations without a better one

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        for name in ("layers", "window", "folds", "validation", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected --{name} from 1, got {getattr(self, name)}.")
        for name in ("tested", "dropout", "cost", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"expected --{name} from 0 and below 1, got {getattr(self, name)}.")


SMOKE = {"rows": 400, "folds": 1, "validation": 60, "tested": 0.4, "hidden": 4, "layers": 1, "steps": 40}


class Walk(NamedTuple):
    """Forecasts of every day that is tested, in order of time."""

    rows: np.ndarray  # places in `Days` [N]
    fold: np.ndarray  # which fold a day is of [N]
    up: dict[str, np.ndarray]  # whether a rise is forecast [N], by method
    returns: dict[str, np.ndarray]  # forecast [N], by method


def walk_forward(days: Days, config: Config, folder: Path, name: str) -> Walk:
    """Fits everything afresh before each fold, and forecasts it."""
    init, apply = make_model(config, days.inputs.shape[1])
    model, parts = (init, jax.jit(apply)), []
    for number, fold in enumerate(folds(len(days.returns), config)):
        task, everywhere = prepare(days, fold, config), functools.partial(np.full, len(fold.test))
        params = fit_network(task, model, config, folder, f"{name}_{number}")
        logit, value = (np.asarray(y, np.float64) for y in model[1](params, task.windows.test))
        logistic, linear = (fit.predict(flatten(task.windows.test))[:, 0] for fit in fit_linear_models(task))
        seen, (mean, std) = days.returns[np.concatenate(fold[:2])], task.scale
        up = {
            "network": logit > 0,
            "persistence": days.returns[fold.test - 1] > 0,
            "majority": everywhere(np.mean(seen > 0) > 0.5),
            "logistic": logistic > 0,
        }
        returns = {"network": value * std + mean, "zero": everywhere(0.0), "mean": everywhere(seen.mean())}
        returns["linear"] = linear * std + mean
        parts.append(Walk(fold.test, everywhere(number), up, returns))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


class Scores(NamedTuple):
    """What a walk was worth; the possible and the generator's own accuracy are None where nobody knows them."""

    accuracy: dict[str, Interval]  # share of the days whose direction is right, by method
    best: str  # the baseline with the highest
    gain: dict[str, Interval]  # accuracy of the network less that of each baseline
    skill: dict[str, Interval]  # 1 - squared errors / squared errors of the zero forecast, by forecast but zero
    possible: float | None  # accuracy that the generator expects of its own forecasts
    generator: Interval | None  # accuracy that these had


def score(days: Days, walk: Walk, config: Config) -> Scores:
    """Measures accuracies and errors with their intervals."""
    interval = functools.partial(bootstrap, block=BLOCK, seed=config.seed)
    returns = days.returns[walk.rows]
    right = {name: (walk.up[name] == (returns > 0)).astype(np.float64) for name in METHODS}
    accuracy = {name: interval(values) for name, values in right.items()}
    errors = {name: (values - returns) ** 2 for name, values in walk.returns.items()}
    zero = errors.pop("zero")
    chance = None if days.chance_up is None else days.chance_up[walk.rows]
    return Scores(
        accuracy,
        max(BASELINES, key=lambda name: accuracy[name].mean),
        {name: interval(right["network"] - right[name]) for name in BASELINES},
        {name: interval(zero - values, over=zero) for name, values in errors.items()},
        None if chance is None else float(np.maximum(chance, 1 - chance).mean()),
        None if chance is None else interval(((chance > 0.5) == (returns > 0)).astype(np.float64)),
    )


def main(config: Config) -> dict:
    """Walks through the data and through the control, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    prices = crypto_prices.load(config.data, rows=config.rows, seed=config.seed)
    planted = crypto_prices.generate(len(prices.close), momentum=config.momentum, seed=config.seed)
    days, control = days_of(prices), days_of(planted)
    walk = walk_forward(days, config, run.folder, "data")
    scores = score(days, walk, config)
    control_scores = score(control, walk_forward(control, config, run.folder, "planted"), config)

    true, returns = days.close[walk.rows], days.returns[walk.rows]
    held = {name: walk.up[name] for name in METHODS} | {"buy and hold": np.full(len(returns), True)}
    trades = {name: trade(up, returns, config.cost) for name, up in held.items()}
    ahead = np.diff(trades["network"].net - trades["buy and hold"].net, prepend=0)
    forecasts = {name: days.close[walk.rows - 1] * np.exp(values) for name, values in walk.returns.items()}
    right = {name: up == (returns > 0) for name, up in held.items()}
    in_fold = [walk.fold == fold for fold in range(config.folds)]
    by_fold = {days.days[walk.rows[at][0]]: [one[at].mean() for one in right.values()] for at in in_fold}
    label = "a random walk" if config.data == "generated" else Path(config.data).name
    figures.draw_accuracy(run.folder, label, scores, control_scores)
    figures.draw_prices(run.folder, days, walk, scores)
    figures.draw_money(run.folder, days.days[walk.rows], trades, config.cost)
    gain = scores.gain[scores.best]
    headline = {
        "accuracy": scores.accuracy["network"].mean,
        "baseline_accuracy": scores.accuracy[scores.best].mean,
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "accuracy_planted": control_scores.accuracy["network"].mean,
        "best_possible_planted": control_scores.possible,
        "return_r2": scores.skill["network"].mean,
    }
    values = {
        "prices": {name: (np.abs(p - true).mean(), np.corrcoef(p, true)[0, 1]) for name, p in forecasts.items()},
        "ahead": Interval(*(365 * end for end in bootstrap(ahead, block=BLOCK, seed=config.seed))),
        "walked": folds(len(days.returns), config),
        "control": control_scores,
        "by_fold": by_fold,
        "trades": trades,
    }
    return frame.finish(run, headline, label=label, block=BLOCK, days=days, walk=walk, scores=scores, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
