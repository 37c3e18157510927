"""A simple RNN follows a noisy sine and six other functions, one step ahead and on its own output.

    python -m experiments.function_approximation                  about a minute on two CPU cores: one step ahead of
                                                                  the noisy sine an error within a tenth of its noise
    python -m experiments.function_approximation --cell gru       another cell
    python -m experiments.function_approximation --noise 0.3 --functions sine square

Against it stand an MLP with as many parameters on the same window, and a linear autoregression (AR).
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.function_approximation import figures
from experiments.function_approximation.functions import FUNCTIONS, Series, examples, free_targets, generate, targets
from experiments.function_approximation.models import Model, fit_autoregression, fit_network, make_models
from experiments.lib import frame, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import Interval, bootstrap


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    functions: tuple[str, ...] = tuple(FUNCTIONS)  # to follow; the headline is about the first one
    noise: float = 0.1  # standard deviation of what is added to each value; the two chaotic functions have none
    cell: str = "rnn"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units of it; the MLP gets as many as make about the same number of parameters
    window: int = 50  # values that are read before one is forecast
    training: int = 2000  # values of the part that is learned from
    validation: int = 500  # values after it, on which ridge and the best update are chosen
    held_out: int = 1000  # values after that, for the numbers reported
    horizon: int = 200  # steps of a free run
    runs: int = 100  # free runs, begun at even distances in the held-out part
    steps: int = 2000  # updates
    learning_rate: float = 0.005  # at its peak
    steps_per_call: int = 50  # updates in one compiled call
    evaluate_every: int = 100  # updates between evaluations on the validation part

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if not self.functions or not FUNCTIONS.keys() >= {*self.functions}:
            known, got = ", ".join(FUNCTIONS), ", ".join(self.functions) or "none"
            raise ValueError(f"expected --functions to be some of {known}, got {got}.")
        if not 2 <= self.window < self.training:
            raise ValueError(f"expected --window from 2 and below --training {self.training}, got {self.window}.")
        if not 1 <= self.horizon <= self.held_out:
            raise ValueError(f"expected --horizon from 1 to --held-out {self.held_out}, got {self.horizon}.")
        for name in ("hidden", "validation", "runs"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected --{name} from 1, got {getattr(self, name)}.")


SMOKE = {"functions": ("sine", "logistic"), "training": 300, "validation": 150, "held_out": 150, "window": 20}
SMOKE |= {"horizon": 30, "runs": 5, "hidden": 8, "steps": 100}


class Forecast(NamedTuple):
    """What a model makes of the held-out part of a function, in its units."""

    one_step: np.ndarray  # [N]
    free: np.ndarray  # free runs [horizon, runs]


class Score(NamedTuple):
    """Errors of a forecast against what was observed, in units of the function."""

    squared: np.ndarray  # one step ahead [N]
    one_step: float  # RMSE
    free: float  # RMSE over the horizon
    growth: np.ndarray  # RMSE after each step of the free runs [horizon]
    lasts: int  # steps until that is above half the standard deviation; the horizon if it never is


class Followed(NamedTuple):
    """A function, and what all models make of it; "truth" is the function itself, "mean" that of the training part."""

    series: Series
    forecasts: dict[str, Forecast]
    scores: dict[str, Score]
    ratios: dict[str, Interval]  # mean squared error of the recurrent network over that of another model
    ridge: float  # of the AR


def score(data: Series, forecast: Forecast, config: Config) -> Score:
    """Measures errors, which nothing but chance makes smaller than the noise."""
    observed, after = data.observed[targets(config)[2]], data.observed[free_targets(config)]
    squared, growth = (forecast.one_step - observed) ** 2, np.sqrt(np.mean((forecast.free - after) ** 2, axis=1))
    lost = np.append(growth > 0.5 * observed.std(), True)  # at its end at the latest
    free = float(np.sqrt(np.mean((forecast.free - after) ** 2)))
    return Score(squared, float(np.sqrt(squared.mean())), free, growth, int(np.argmax(lost)))


def follow(name: str, models: dict[str, Model], config: Config, folder: Path) -> Followed:
    """Fits the models to a function, and forecasts its held-out part."""
    data, held_out, after = generate(name, config), targets(config)[2], free_targets(config)
    each, some = (examples(data.scaled, rows, config)[:, :-1].T for rows in (held_out, after[0]))
    linear, ridge = fit_autoregression(data.scaled, config)
    forecasts = {"truth": Forecast(data.truth[held_out], data.truth[after])}
    for kind, model in models.items():
        params = linear if kind == "ar" else fit_network(model, data.scaled, config, folder, f"{name}_{kind}")
        one_step, free = model.forecast(params, each)[-1], model.run(params, some)
        forecasts[kind] = Forecast(data.unscale(one_step), data.unscale(free))
    forecasts["mean"] = Forecast(*(np.full(rows.shape, data.scale.mean) for rows in (held_out, after)))
    scores = {kind: score(data, forecast, config) for kind, forecast in forecasts.items()}
    squared = scores["rnn"].squared
    ratios = {kind: bootstrap(squared, over=scores[kind].squared, block=config.window) for kind in ("mlp", "ar")}
    return Followed(data, forecasts, scores, ratios, ridge)


def main(config: Config) -> dict:
    """Trains on every function, writes the report, and returns the headline numbers of the first."""
    run = frame.begin(config)
    models, size = make_models(config)
    found = {name: follow(name, models, config, run.folder) for name in config.functions}
    figures.draw_all(run.folder, config, found)
    first = config.functions[0]
    scores = found[first].scores
    headline = {"one_step_rmse": scores["rnn"].one_step, "free_running_rmse": scores["rnn"].free}
    headline |= {f"{kind}_one_step_rmse": scores[kind].one_step for kind in ("mlp", "ar")}
    headline |= {f"{kind}_free_running_rmse": scores[kind].free for kind in ("mlp", "ar")}
    headline["noise_floor"] = scores["truth"].one_step
    return frame.finish(run, headline, title=FUNCTIONS[first].title, size=size, found=found)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
