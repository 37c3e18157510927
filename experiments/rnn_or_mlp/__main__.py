"""A recurrent network or an MLP of the same size: what each is good for, and what it takes in time and memory.

    python -m experiments.rnn_or_mlp                 four minutes on two CPU cores: on sequences as long as trained ones
                                                     the LSTM has 99 % right, the MLP 73 %; on tables 91 % and 93 %
    python -m experiments.rnn_or_mlp --cell gru      another cell against the MLP

Compared are accuracy, time and memory: on sequences, also longer ones than any trained on, and on tables, also with
shuffled columns. The tasks and both models are explained in the report.
"""

import dataclasses

import jax
import numpy as np

from experiments.lib import frame, report, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import bootstrap, wilson
from experiments.rnn_or_mlp import figures
from experiments.rnn_or_mlp.learning import make_learn
from experiments.rnn_or_mlp.questions import Task, clusters, interactions, order, parity, unknown
from rnnjax.data import write_text

SEQUENTIAL, STATIC = ("order", "parity"), ("clusters", "interactions")
SHUFFLED = ", shuffled"  # appended to the name of a static task
MODELS = ("rnn", "mlp")
FEATURES, CLUSTERS, PAIRS = 20, 16, 4  # of the static tasks
SPREAD = 0.7  # standard deviation of the clusters' centres; that of the points is 1


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    cell: str = "lstm"  # of the recurrent network: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units of it
    tasks: tuple[str, ...] = (*SEQUENTIAL, *STATIC)  # or some of them, at least one of each kind
    shortest: int = 6  # steps of a training sequence, at least
    longest: int = 30  # steps of a training sequence, at most, and of the MLP's window
    tested: tuple[int, ...] = (6, 10, 16, 22, 30, 45, 60, 90, 120)  # steps of the held-out sequences
    examples: int = 20000  # to train on, of each task
    validation: int = 1000  # examples that choose the learning rate
    held_out: int = 1000  # test sequences of each length; the static tasks have four times as many rows
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)  # learning rates tried
    learning_rate: float = 1.0  # factor of all of them
    seeds: int = 3  # first weights of every model
    steps: int = 2000  # updates
    steps_per_call: int = 50  # updates in one compiled call
    repeats: int = 200  # calls that a time is the median of

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if not self.rates or self.seeds < 1:
            raise ValueError(f"expected at least one of --rates and of --seeds, got {self.rates} and {self.seeds}.")
        chosen, known = {*self.tasks}, {*SEQUENTIAL, *STATIC}
        if not (chosen <= known and chosen & {*SEQUENTIAL} and chosen & {*STATIC}):
            raise ValueError(
                f"expected --tasks to be some of {', '.join(SEQUENTIAL)}, and some of {', '.join(STATIC)}, got "
                f"{', '.join(self.tasks)}."
            )
        if not min(self.tested) <= self.longest < max(self.tested):
            raise ValueError(f"expected --tested on both sides of --longest {self.longest}, got {self.tested}.")
        if min(*self.tested, self.shortest) < 5 or self.shortest > self.longest:
            raise ValueError(
                f"expected 5 <= --shortest <= --longest, and --tested from 5 on, as two patterns take five steps, got "
                f"{self.shortest}, {self.longest}, {self.tested}."
            )


SMOKE = {"cell": "irnn", "hidden": 7, "tasks": ("order", "interactions"), "tested": (6, 30, 45), "optimizer": "sgd"}
SMOKE |= {"examples": 300, "validation": 50, "held_out": 40, "rates": (0.01,), "seeds": 2}
SMOKE |= {"schedule": "constant", "clip_norm": 0.0, "steps": 20, "steps_per_call": 10, "repeats": 3}


def generate(config: Config) -> dict[str, Task]:
    """Makes the tasks by name; test and validation first, and training examples that are in neither."""
    tasks, sizes = {}, (config.held_out * 4, config.validation, config.examples)
    for name in config.tasks:
        rng = np.random.default_rng((config.seed, (*SEQUENTIAL, *STATIC).index(name)))
        if name in SEQUENTIAL:
            make = {"order": order, "parity": parity}[name]
            test = make(np.repeat(config.tested, config.held_out), rng)
            drawn = [make(rng.integers(config.shortest, config.longest + 1, size=n), rng) for n in sizes[1:]]
            validation = unknown(drawn[0], [test])
            tasks[name] = Task(unknown(drawn[1], [test, validation]), validation, test, 1.0)
            continue
        if name == "clusters":
            centres = SPREAD * rng.standard_normal((CLUSTERS, FEATURES))
            parts, best = zip(*(clusters(n, rng, centres) for n in sizes), strict=True)
        else:
            parts, best = [interactions(n, rng, FEATURES, PAIRS) for n in sizes], [1.0]
        tasks[name] = Task(*parts[::-1], best[0])
        columns = rng.permutation(FEATURES)
        tasks[name + SHUFFLED] = Task(*(part._replace(xs=part.xs[columns]) for part in parts[::-1]), best[0])
    return tasks


def main(config: Config) -> dict:
    """Trains both models on every task, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    tasks = generate(config)
    sequential, static = ([name for name in config.tasks if name in kind] for kind in (SEQUENTIAL, STATIC))
    learned = {}
    for name, task in tasks.items():
        ragged, features = name in SEQUENTIAL, task.training.xs.shape[-1]
        for model in MODELS:
            learn = make_learn(config, model, features, config.longest if ragged else FEATURES, ragged)
            learned[name, model] = learn(task, run.folder / f"{name}-{model}".replace(", ", "-"))
    costs = {name: {m: learned[name, m].measure() for m in MODELS} for name in (*sequential, static[0])}

    right = {}  # by row of the table and model; sequences are as long as trained ones, or longer
    for name, task in tasks.items():
        longer = (task.test.lengths > config.longest) & (name in SEQUENTIAL)
        for row, some in {name: ~longer, f"{name}, longer": longer}.items():
            if some.any():
                right[row] = {model: learned[name, model].right[:, some] for model in MODELS}
    found = {row: {model: wilson(answers) for model, answers in pair.items()} for row, pair in right.items()}
    best = {row: tasks[row.removesuffix(", longer")].best for row in right}
    figures.draw_table(run.folder, config.cell, found, best)
    figures.draw_lengths(run.folder, config, {name: tasks[name].test.lengths for name in sequential}, learned)

    def mean(numbers):
        return float(np.mean(list(numbers)))

    kinds = {"sequential": sequential, "longer": [f"{name}, longer" for name in sequential], "static": static}
    kinds["shuffled"] = [name + SHUFFLED for name in static]
    headline = {
        f"accuracy_{m}_{k}": mean(found[row][m].mean for row in rows) for k, rows in kinds.items() for m in MODELS
    }
    for kind in ("sequential", "static"):
        ones = [tasks[row].test.labels.mean() for row in kinds[kind]]
        headline[f"chance_{kind}"] = mean(max(p, 1 - p) for p in ones)
    headline["best_static"] = mean(best[row] for row in static)

    def difference(one, other):  # of what both answered, mean over the seeds
        return bootstrap(one.mean(axis=0) - other.mean(axis=0))

    values = {
        "seeds": {row: {m: answers.mean(axis=1) for m, answers in pair.items()} for row, pair in right.items()},
        "gains": {row: difference(pair["rnn"], pair["mlp"]) for row, pair in right.items()},
        "changes": {n: {m: difference(right[n + SHUFFLED][m], right[n][m]) for m in MODELS} for n in static},
        "rates": {key: each.rate for key, each in learned.items()},
    }
    shown = {"config": config, "costs": costs, "static": static}
    times = report.render(run.template.with_name("times.md"), platform=jax.devices()[0].platform, **shown)
    write_text(run.folder / "times.md", times)  # not in the report: they differ from run to run
    print(f"\n{times}", flush=True)
    return frame.finish(run, headline, found=found, best=best, costs=costs, static=static, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
