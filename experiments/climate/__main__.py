"""Tomorrow's temperature from five days of weather: recurrent networks against naive forecasts, a linear model, an MLP.

    python -m experiments.climate --data jena-2024    about 5 minutes on two CPU cores: the station at Jena, June to
                                                      October 2024; 24 hours ahead a mean absolute error of 2.49 or 2.52
                                                      degrees (seed 0, 1), the naive forecast 2.66, a linear model 2.54
    python -m experiments.climate                     generated weather, nothing to download: 1.0 degrees, the naive
                                                      forecast 2.5, a linear model 1.3
    python -m experiments.climate --data jena         2009 to 2016, 420,551 rows

A window of 720 rows of ten minutes at a stride of 3 is 240 inputs over 120 hours. Summer's weather is not autumn's, so
a window is read against itself: its mean day (the mean at each time of the day) is taken away, and what is left divided
by the standard deviation s in the window, feature by feature. Temperature T is forecast as

    T(t) + d_n + s g_n(h_t),    h_t the last state of a cell that ran over the window up to row t

with d_n the mean change over n rows from this time of the day on, on the window's earlier days, less its trend; it is
zero for 24 hours, where both naive forecasts, last value and same time yesterday, are g = 0. Wind is two components.
Every model, the linear one too, gets the same inputs and forecasts the same g. The last fifth of the rows is the test.
The rest is cut into blocks, and of the networks trained side by side three leave out each: on the blocks left out the
number of updates is chosen, none included, and the forecast of the test is the mean of all of theirs.

References: Gal & Ghahramani 2016, recurrent dropout; Kim et al. 2022, "Reversible instance normalization", for windows
normalised by themselves; Krogh & Vedelsby 1995, "Neural network ensembles, cross validation", for the mean of networks
that leave out a part each.
"""

import dataclasses
from typing import Literal

import numpy as np

from experiments.climate import figures
from experiments.climate.models import VARIANTS, fit_networks, fit_ridge, make_mlp, make_rnn
from experiments.climate.task import look, naive, prepare
from experiments.data import jena
from experiments.lib import frame, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import bootstrap


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # generated, jena-2024, jena (2009 to 2016), or the path of a CSV file of the station
    days: int = 133  # of generated weather, as many as there are of 2024
    inputs: Literal["few", "all"] = "few"  # pressure, temperature, wind, or 14 features; and the time of the day
    cell: str = "gru"  # of the stacked, the bidirectional and the dropped-out network
    networks: tuple[str, ...] = tuple(VARIANTS)  # which to train
    hidden: int = 16  # units of a layer
    blocks: int = 4  # that the rows before the test are cut into; each network of as many leaves one out
    members: int = 3  # networks for each block left out, from first weights of their own
    batch: int = 32  # windows of an update of each
    dropout: float = 0.2  # of the last state and between layers; of the recurrence where it is dropped out
    window: int = 720  # rows looked back on, whole days of 144
    stride: int = 3  # rows from one input to the next
    horizons: tuple[int, ...] = (6, 18, 36, 72, 144)  # rows ahead, rising; the last is the one that counts
    steps: int = 320  # updates at most; fewer where validation says so
    schedule: str = "constant"  # decay of the learning rate: constant, linear, cosine or exponential
    evaluate_every: int = 40  # updates between evaluations on the blocks left out

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        day = jena.ROWS_A_DAY
        if self.window % day or self.window < 2 * day or day % self.stride:
            raise ValueError(
                f"expected --window to be two or more days of {day} rows and --stride to divide a day, got "
                f"{self.window} and {self.stride}."
            )
        if not self.horizons or list(self.horizons) != sorted({*self.horizons}) or self.horizons[0] < 1:
            raise ValueError(f"expected --horizons to be rows ahead, rising, got {self.horizons}.")
        if not self.networks or not VARIANTS.keys() >= {*self.networks}:
            raise ValueError(f"expected --networks to be some of {', '.join(VARIANTS)}, got {self.networks}.")


SMOKE = {"networks": ("rnn",), "days": 40, "window": 288, "stride": 24, "hidden": 5, "blocks": 2, "members": 2}
SMOKE |= {"steps": 20, "evaluate_every": 10}
DEPENDENT = 48  # forecasts, one an hour, that share their weather: a block of the bootstrap


def main(config: Config) -> dict:
    """Fits every model, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    weather = jena.load(config.data, days=config.days, seed=config.seed)
    task = prepare(weather, config)
    ends, left_out = task.ends["test"][0], np.concatenate(task.ends["validation"])
    features = look(task, ends[:1], config).inputs.shape[-1]

    fitted = {"linear": fit_ridge(task, config)}
    models = {"mlp": make_mlp(config, features)}
    models |= {name: make_rnn(VARIANTS[name], config, features) for name in config.networks}
    for name, model in models.items():
        fitted[name] = fit_networks(name, model, task, config, run.folder)

    truth, known = (look(task, rows, config).truth for rows in (ends, left_out))
    forecasts = naive(task, ends, config) | {name: model.test for name, model in fitted.items()}
    errors = {name: np.abs(forecast - truth) for name, forecast in forecasts.items()}  # [M, K] each
    validation = {name: np.abs(forecast - known) for name, forecast in naive(task, left_out, config).items()}
    validation |= {name: model.validation for name, model in fitted.items()}
    mae = {name: error.mean(axis=0) for name, error in errors.items()}
    chosen = min(config.networks, key=lambda name: validation[name][:, -1].mean())
    best_naive = min(naive(task, ends, config), key=lambda name: mae[name][-1])
    last = {name: error[:, -1] for name, error in errors.items()}
    found = {name: bootstrap(error, block=DEPENDENT) for name, error in last.items()}
    rivals = [best_naive, "linear", "mlp"]

    hours = [ahead * jena.MINUTES / 60 for ahead in config.horizons]
    figures.draw_horizons(run.folder, hours, mae)
    figures.draw_errors(run.folder, hours[-1], found, best_naive)
    figures.draw_forecasts(
        run.folder, hours[-1], task, config, {name: forecasts[name] for name in (chosen, best_naive)}
    )
    headline = {
        "mae_celsius": float(mae[chosen][-1]),
        "baseline_mae_celsius": float(mae[best_naive][-1]),
        "linear_mae_celsius": float(mae["linear"][-1]),
        "mlp_mae_celsius": float(mae["mlp"][-1]),
        "network": chosen,
    }
    values = {
        "found": found,
        "gains": {name: bootstrap(last[chosen] - last[name], block=DEPENDENT) for name in rivals},
        "validation": {name: float(error[:, -1].mean()) for name, error in validation.items()},
        "notes": {name: model.note for name, model in fitted.items()},
        "days": [str(task.times[row].astype("datetime64[D]")) for row in (0, ends[0], ends[-1])],
        "counts": {"rows": len(weather.times), "filled": weather.filled, "dropped": weather.dropped, "test": len(ends)},
    }
    return frame.finish(run, headline, hours=hours, mae=mae, chosen=chosen, dependent=DEPENDENT, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
