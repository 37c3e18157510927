"""Which optimizer, which learning rate, which loss? Seven optimizers and ten losses on the same networks and data.

    python -m experiments.optimizers                about three minutes on two CPU cores: 1.7 nats per character for the
                                                    best optimizer of the text, 2.2 for SGD; with outliers among the
                                                    targets, an absolute error of 0.6 for mean squared, 0.2 for Huber
    python -m experiments.optimizers --cell lstm    with another cell

Compared are validation losses over a grid of rates for each optimizer, and what the best rate reaches in the test; the
optimizers, the tasks and the losses are explained in the report.
"""

import dataclasses

from experiments.lib import frame, training
from experiments.lib.cells import check_cell_name
from experiments.optimizers import figures
from experiments.optimizers.rates import Found, best_of, compare, try_rates
from experiments.optimizers.tasks import CLASSIFICATION, REGRESSION, WAVES, series_task, text_task, wave_task

# The lowest rate of the grid of each: steps of Adam have the size of the rate, those of SGD that of the gradient.
LOWEST = {"sgd": 0.1, "adam": 0.001, "rmsprop": 0.001, "adagrad": 0.01, "adadelta": 1.0, "nadam": 0.001, "adamw": 0.001}


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    cell: str = "gru"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 64  # units of the language model
    hidden_series: int = 32  # units of the other networks
    optimizers: tuple[str, ...] = tuple(LOWEST)  # compared
    losses: tuple[str, ...] = REGRESSION + CLASSIFICATION  # compared, at least one of each kind
    rates: int = 7  # learning rates of each optimizer, two per decade
    loss_rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)  # learning rates of Adam for the losses
    seeds: int = 2  # first weights of everything
    characters: int = 500_000  # of the text at most; 80 % to train, 10 % to validate, 10 % to test
    values: int = 20_000  # of the series, split likewise
    window: int = 32  # steps of a sequence
    noise: float = 0.2  # standard deviation of the noise of the series
    outliers: float = 0.1  # share of targets that are far too high, and of wave forms with a random label
    steps: int = 300  # updates
    batch: int = 16  # sequences of an update
    learning_rate: float = 1.0  # factor of all rates
    weight_decay: float = 0.05  # of adamw, times the rate
    steps_per_call: int = 20  # updates in one compiled call
    evaluate_every: int = 20  # updates that a point of the loss curves is the mean of

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        for option, names in {"optimizers": tuple(LOWEST), "losses": REGRESSION + CLASSIFICATION}.items():
            if unknown := [name for name in getattr(self, option) if name not in names]:
                raise ValueError(f"expected --{option} to be among {', '.join(names)}, got {unknown[0]!r}.")
        if not self.optimizers or self.rates < 1 or not self.loss_rates or self.seeds < 1:
            raise ValueError("expected at least one of --optimizers, --rates, --loss-rates and --seeds.")
        if not all({*self.losses} & {*kind} for kind in (REGRESSION, CLASSIFICATION)):
            raise ValueError(
                f"expected --losses to be some of {', '.join(REGRESSION)}, and some of {', '.join(CLASSIFICATION)}, "
                f"got {', '.join(self.losses)}."
            )
        if not 0 <= self.outliers < 1:
            raise ValueError(f"expected --outliers from 0 to below 1, got {self.outliers}.")


SMOKE = {"cell": "irnn", "hidden": 7, "hidden_series": 5, "optimizers": ("sgd",), "rates": 2, "loss_rates": (0.01,)}
SMOKE |= {"losses": ("mean_squared", "huber", "hinge"), "characters": 4000, "values": 2000, "window": 12}
SMOKE |= {"steps": 20, "steps_per_call": 10, "evaluate_every": 5}


def main(config: Config) -> dict:
    """Sweeps, draws, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    tasks = {
        "text": text_task(config),
        "series": series_task(config, ["mean_squared"], outliers=False),
        "regression": series_task(config, config.losses, outliers=True),
        "classification": wave_task(config, config.losses),
    }
    found: dict[str, dict[str, Found]] = {"text": {}, "series": {}}
    for name in ("text", "series"):
        for optimizer in config.optimizers:
            low, folder = config.learning_rate * LOWEST[optimizer], run.folder / f"{name}-{optimizer}"
            rates = [float(f"{low * 10 ** (i / 2):.1g}") for i in range(config.rates)]
            [found[name][optimizer]] = try_rates(config, tasks[name], optimizer, rates, folder).values()
    for name in ("regression", "classification"):
        found[name] = try_rates(config, tasks[name], "adam", config.loss_rates, run.folder / name)
    results = {name: compare(task, found[name]) for name, task in tasks.items()}
    best = {name: best_of(some) for name, some in found.items()}
    figures.draw_optimizers(run.folder, config.evaluate_every, found, tasks)
    figures.draw_losses(run.folder, results, tasks)

    headline = {}
    for name, key, base in (("text", "nats_per_char", "unigram"), ("series", "mse", "noise")):
        headline |= {key: results[name][best[name]].test.mean, f"optimizer_{key}": best[name]}
        headline |= {f"{base}_{key}": tasks[name].baselines[base]}
    for name, key in {"regression": "mae", "classification": "accuracy"}.items():
        headline |= {f"{key}_{loss}": each.test.mean for loss, each in results[name].items()}
    baselines = {name: task.baselines for name, task in tasks.items()}
    return frame.finish(run, headline, found=found, results=results, best=best, baselines=baselines, waves=WAVES)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
