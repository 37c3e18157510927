"""Tomorrow's temperature from five days of weather: recurrent networks against naive forecasts, a linear model, an MLP.

python -m experiments.climate --data jena-2024    5 minutes on two CPU cores: the station at Jena, June to October
                                                  2024; a mean absolute error of 2.49 °C, the naive forecast 2.66,
                                                  a linear model 2.54 (seed 0)
python -m experiments.climate                     generated weather, nothing to download: 1.0, 2.5, 1.3 °C
python -m experiments.climate --data jena         2009 to 2016, 420,551 rows
"""

import dataclasses
from typing import Literal

import numpy as np

from experiments.climate import figures
from experiments.climate.models import NETWORKS, fit_naive, fit_networks, fit_ridge, make_mlp, make_rnn
from experiments.climate.task import look, prepare, truth
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
    networks: tuple[str, ...] = NETWORKS  # which to train
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
        if not self.networks or not set(NETWORKS) >= {*self.networks}:
            raise ValueError(f"expected --networks to be some of {', '.join(NETWORKS)}, got {self.networks}.")


SMOKE = {"networks": ("rnn",), "days": 40, "window": 288, "stride": 24, "hidden": 5, "blocks": 2, "members": 2}
SMOKE |= {"steps": 20, "evaluate_every": 10}
DEPENDENT = 48  # forecasts, one an hour, that share their weather: a block of the bootstrap


def main(config: Config) -> dict:
    """Fits every model, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    weather = jena.load(config.data, days=config.days, seed=config.seed)
    task = prepare(weather, config)
    ends = task.ends["test"][0]
    features = look(task, ends[:1], config).inputs.shape[-1]
    simple = fit_naive(task, config)
    fitted = simple | {"linear": fit_ridge(task, config)}
    models = {"mlp": make_mlp(config, features)}
    models |= {name: make_rnn(name, config, features) for name in config.networks}
    fitted |= {name: fit_networks(name, model, task, config, run.folder) for name, model in models.items()}

    errors = {name: np.abs(model.test - truth(task, ends, config)) for name, model in fitted.items()}  # [M, K] each
    mae = {name: error.mean(axis=0) for name, error in errors.items()}
    validation = {name: float(model.validation[:, -1].mean()) for name, model in fitted.items()}
    chosen = min(config.networks, key=lambda name: validation[name])
    best_naive = min(simple, key=lambda name: mae[name][-1])
    last = {name: error[:, -1] for name, error in errors.items()}
    found = {name: bootstrap(error, block=DEPENDENT) for name, error in last.items()}
    gains = {name: bootstrap(last[chosen] - last[name], block=DEPENDENT) for name in (best_naive, "linear", "mlp")}

    hours = [ahead * jena.MINUTES / 60 for ahead in config.horizons]
    figures.draw_horizons(run.folder, hours, mae)
    figures.draw_errors(run.folder, hours[-1], found, best_naive)
    figures.draw_forecasts(run.folder, task, config, {name: fitted[name].test for name in (chosen, best_naive)})
    reported = {"": chosen, "baseline_": best_naive, "linear_": "linear", "mlp_": "mlp"}
    headline = {f"{prefix}mae_celsius": float(mae[name][-1]) for prefix, name in reported.items()}
    values = {
        "days": task.times[[0, ends[0], ends[-1]]].astype("datetime64[D]"),
        "counts": {"rows": len(weather.times), "filled": weather.filled, "dropped": weather.dropped, "test": len(ends)},
        "dependent": DEPENDENT,
    }
    values |= {"fitted": fitted, "found": found, "gains": gains, "validation": validation, "mae": mae}
    return frame.finish(run, headline | {"network": chosen}, hours=hours, chosen=chosen, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
