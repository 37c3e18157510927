"""A recurrent network or an MLP of the same size: what each is good for, and what it takes in time and memory.

    python -m experiments.rnn_or_mlp                 four minutes on two CPU cores: on sequences as long as trained ones
                                                     the LSTM has 99 % right, the MLP 73 %; on tables 91 % and 93 %
    python -m experiments.rnn_or_mlp --cell gru      another cell against the MLP

The recurrent network reads one step after the other and answers from its last state; the MLP reads a window of fixed
size in one go, of as many steps as the longest training sequence, filled with zeros in front of a shorter one; of a
longer one it sees the last steps:

    RNN    h_t = cell(h_{t-1}, x_t)                                        logits = h_T W_y + b_y
    MLP    a_1 = relu([x_{T-n+1} ... x_T] W_1 + b_1), a_2 = relu(a_1 W_2 + b_2)    logits = a_2 W_3 + b_3

The width of the MLP is what brings its parameters nearest to those of the recurrent network. All questions have two
answers that are equally frequent:

    order          letters a to d at random; "ab" and "ba" stand once each in them: which one comes first?
    parity         random bits, some flagged: is the number of flagged ones odd?
    clusters       20 features, points of 16 Gaussian clusters, 8 of each class; the best possible answer is known
    interactions   20 features: is x1 x2 + x3 x4 + x5 x6 + x7 x8 positive? The other 12 say nothing

The first two are sequences, tested also on longer ones than any trained on. The last two are tables, which the
recurrent network reads feature by feature; they come a second time with their columns shuffled, which changes nothing
that the data say. Both models read the same batches with every learning rate, from each seed's weights, in one
compiled program (vmap); the rate is chosen on validation data, for each model and task.
"""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import experiment, intervals, plots, report, sweep
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.questions import Examples, Task, clusters, interactions, last_steps, order, parity, take, unknown
from experiments.lib.training import Options

NAME = "rnn_or_mlp"
SEQUENTIAL, STATIC = ("order", "parity"), ("clusters", "interactions")
ASKED = {"order": "order: which pattern comes first", "parity": "parity of the flagged bits"}
SHUFFLED = ", shuffled"  # appended to the name of a static task
MODELS = ("rnn", "mlp")
FEATURES, CLUSTERS, PAIRS = 20, 16, 4  # of the static tasks
SPREAD = 0.7  # standard deviation of the clusters' centres; that of the points is 1


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a run."""

    cell: str = "lstm"  # of the recurrent network: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units of it
    tasks: tuple[str, ...] = (*SEQUENTIAL, *STATIC)  # or some of them, at least one of each kind
    shortest: int = 6  # steps of a training sequence, at least
    longest: int = 30  # steps of a training sequence, at most, and of the MLP's window
    tested: tuple[int, ...] = (6, 10, 16, 22, 30, 45, 60, 90, 120)  # steps of the held-out sequences
    flagged: float = 0.2  # share of the bits that count for the parity
    examples: int = 20000  # to train on, of each task
    validation: int = 1000  # examples that choose the learning rate
    held_out: int = 1000  # test sequences of each length; the static tasks have four times as many rows
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)  # learning rates tried
    learning_rate: float = 1.0  # factor of all of them
    seeds: int = 3  # first weights of every model
    steps: int = 2000
    steps_per_call: int = 50
    repeats: int = 200  # calls that a time is the median of


SMOKE = {"hidden": 7, "examples": 300, "validation": 50, "held_out": 40, "tested": (6, 30, 45), "rates": (0.003, 0.01)}
SMOKE |= {"tasks": ("order", "interactions"), "seeds": 2, "steps": 20, "steps_per_call": 10, "repeats": 3}


def generate(config: Config) -> dict[str, Task]:
    """The tasks by name; test and validation first, and training examples that are in neither."""
    tasks, sizes = {}, (config.held_out * 4, config.validation, config.examples)
    for name in config.tasks:
        rng = np.random.default_rng((config.seed, (*SEQUENTIAL, *STATIC).index(name)))
        if name in SEQUENTIAL:
            make = order if name == "order" else functools.partial(parity, flagged=config.flagged)
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


# ---- models --------------------------------------------------------------------------------------------------


class Dense(NamedTuple):
    """y = x w + b.

    Attributes:
      w: `[D, K]`.
      b: `[K]`.
    """

    w: jax.Array
    b: jax.Array

    def __call__(self, xs: jax.Array) -> jax.Array:
        """`[B, K]` for `[B, D]`."""
        return jnp.matmul(xs, self.w) + self.b[None]


def dense(key: jax.Array, inputs: int, outputs: int) -> Dense:
    """Weights for ReLUs (He et al. 2015)."""
    return Dense(jax.nn.initializers.he_normal()(key, (inputs, outputs)), jnp.zeros(outputs))


class RNNModel(NamedTuple):
    """Parameters of the recurrent network: of the cell, and of the output."""

    cell: NamedTuple
    output: Dense


def make_rnn(config: Config, features: int, ragged: bool):
    """`key -> params`, and `(params, xs [T, B, F], lengths [B]) -> logits [B, 2]`."""
    cell = make_cell(config.cell, features, config.hidden)

    def init(key):
        key_cell, key_y = jax.random.split(key)
        return RNNModel(cell.init(key_cell), dense(key_y, config.hidden, 2))

    def apply(params, xs, lengths):
        carry, _ = rnnjax.unroll(cell, params.cell, xs, lengths=lengths if ragged else None)
        return params.output(carry.h)

    return init, apply


def make_mlp(inputs: int, width: int):
    """`key -> params`, and `(params, xs [1, B, D], lengths) -> logits [B, 2]`: two hidden layers."""

    def init(key):
        keys = jax.random.split(key, 3)
        return [dense(keys[0], inputs, width), dense(keys[1], width, width), dense(keys[2], width, 2)]

    def apply(params, xs, lengths):
        del lengths
        return params[2](jax.nn.relu(params[1](jax.nn.relu(params[0](xs[0])))))

    return init, apply


def size_of(init: Callable) -> int:
    """Parameters of a model."""
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0))))


def width_for(parameters: int, inputs: int) -> int:
    """Width of the MLP that has nearest to so many parameters."""
    return min(range(1, 2000), key=lambda w: abs((inputs + 1) * w + (w + 1) * w + (w + 1) * 2 - parameters))


# ---- learning ------------------------------------------------------------------------------------------------


class Learner(NamedTuple):
    """The compiled functions of one model; a run is a learning rate with a seed, R of them side by side.

    Attributes:
      start: `() -> states` of R runs.
      update: `(states, batch) -> (states, metrics [R])`, an update of each run.
      forward: `(params of R runs, xs, lengths) -> logits [R, B, 2]`.
      one: `(state, batch) -> (state, metrics)`, one update of one run, and
      predict: `(params, xs, lengths) -> logits [B, 2]` of one run, both to be timed.
      parameters: of one run.
    """

    start: Callable
    update: Callable
    forward: Callable
    one: Callable
    predict: Callable
    parameters: int


@functools.lru_cache(maxsize=32)  # tasks of one shape share what is compiled
def make_learner(config: Config, model: str, features: int, window: int, ragged: bool) -> Learner:
    """The `Learner` of a model, for sequences of so many features; `ragged` if their lengths differ."""
    init, apply = make_rnn(config, features, ragged)
    if model == "mlp":
        inputs = window * features
        init, apply = make_mlp(inputs, width_for(size_of(init), inputs))

    def loss_fn(params, batch, *, key):
        del key
        return rnnjax.losses.get_loss("cross_entropy")(apply(params, batch.xs, batch.lengths), batch.labels)

    return Learner(
        *sweep.over_rates(config, init, loss_fn, config.rates, config.seeds),
        jax.jit(jax.vmap(apply, in_axes=(0, None, None))),
        jax.jit(rnnjax.training.make_train_step(loss_fn, sweep.scaled_optimizer(config, config.rates[0]))),
        jax.jit(apply),
        size_of(init),
    )


class Learned(NamedTuple):
    """What a model made of a task, with the learning rate that validation chose.

    Attributes:
      rate: that.
      right: for each test example `[S, N]`, a row for each seed.
      learner: the compiled functions.
      batch: of an update.
      params: of the first seed.
    """

    rate: float
    right: np.ndarray
    learner: Learner
    batch: Examples
    params: Any


def learn(config: Config, run: experiment.Run, name: str, task: Task, model: str) -> Learned:
    """Trains every run, chooses the rate on validation data, and only then reads the test."""
    ragged = name in SEQUENTIAL
    window = config.longest if ragged else FEATURES
    learner = make_learner(config, model, task.training.xs.shape[-1], window, ragged)
    training, validation, test = (last_steps(p, window) if model == "mlp" else p for p in task[:3])

    drawn = sweep.batches(config, len(training.labels), lambda rows: take(training, rows))
    folder = run.folder / f"{name}-{model}".replace(", ", "-")
    trained, _ = sweep.train(config, learner.update, learner.start(), drawn, folder)

    logits = np.asarray(learner.forward(trained, validation.xs, validation.lengths), np.float64)
    margin = (logits[..., 1] - logits[..., 0]) * (1 - 2 * validation.labels)  # of the wrong answer, [R, N]
    best, _ = sweep.choose_rate(np.logaddexp(0, margin).mean(axis=1), config.rates, model)
    rows = slice(best * config.seeds, (best + 1) * config.seeds)

    chosen, right = jax.tree.map(lambda leaf: leaf[rows], trained), []
    for part in np.array_split(np.arange(len(test.labels)), len(config.tested) if ragged else 1):
        some = take(test, part)
        logits = np.asarray(learner.forward(chosen, some.xs, some.lengths))
        right.append(logits.argmax(axis=-1) == some.labels)
    batch = take(training, np.arange(config.batch))
    first = jax.tree.map(lambda leaf: leaf[0], chosen)
    return Learned(config.rates[best], np.concatenate(right, axis=1), learner, batch, first)


class Cost(NamedTuple):
    """What a batch costs.

    Attributes:
      memory: temporary memory of the compiled update, in bytes.
      update: median time of an update, in ms.
      predict: median time of a prediction, in ms.
    """

    memory: int
    update: float
    predict: float


def cost(config: Config, found: Learned) -> Cost:
    """Compiles and times one update and one prediction of one run."""
    state = jax.tree.map(lambda leaf: leaf[0], found.learner.start())
    update = found.learner.one.lower(state, found.batch).compile()
    predict = found.learner.predict.lower(found.params, found.batch.xs, found.batch.lengths).compile()

    def median_ms(call):
        seconds = []
        for _ in range(config.repeats):
            began = time.perf_counter()
            jax.block_until_ready(call())
            seconds.append(time.perf_counter() - began)
        return 1000 * statistics.median(seconds)

    batch = jax.device_put(found.batch)
    return Cost(
        update.memory_analysis().temp_size_in_bytes,
        median_ms(lambda: update(state, batch)),
        median_ms(lambda: predict(found.params, batch.xs, batch.lengths)),
    )


# ---- what came of it -----------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One cell of the table.

    Attributes:
      interval: accuracy, mean over the seeds, with its 95 % interval.
      seeds: accuracy of each seed.
    """

    interval: intervals.Interval
    seeds: np.ndarray


def cells_of(config: Config, tasks: dict[str, Task], learned: dict) -> dict[str, dict[str, Cell]]:
    """By row of the table and model; sequences are as long as trained ones, or longer."""
    table = {}
    for name, task in tasks.items():
        masks = {name: np.full(len(task.test.labels), True)}
        if name in SEQUENTIAL:
            trained = task.test.lengths <= config.longest
            masks = {name: trained, f"{name}, longer": ~trained}
        for row, mask in masks.items():
            right = {model: learned[name, model].right[:, mask] for model in MODELS}
            table[row] = {model: Cell(intervals.wilson(r), r.mean(axis=1)) for model, r in right.items()}
    return table


def verdict(config: Config, cells: dict[str, Cell]) -> str:
    """Who is ahead: intervals apart, and every seed of one better than every seed of the other."""
    low, high = sorted(cells, key=lambda model: cells[model].interval.mean)
    apart = cells[low].interval.high < cells[high].interval.low
    if not (apart and cells[low].seeds.max() < cells[high].seeds.min()):
        return "no difference beyond intervals and seeds"
    points = 100 * (cells[high].interval.mean - cells[low].interval.mean)
    chance = f"; the {title(config, low)} is not above chance" if cells[low].interval.low <= 0.5 else ""
    return f"the {title(config, high)} is ahead by {points:.1f} points{chance}"


def title(config: Config, model: str) -> str:
    """A model as readers call it."""
    return config.cell if model == "rnn" else "MLP"


def percent(interval: intervals.Interval) -> str:
    """A mean with its interval."""
    return f"{100 * interval.mean:.1f} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"


def kinds_of(config: Config) -> tuple[list[str], list[str]]:
    """Names of the sequential tasks and of the static ones."""
    return [n for n in config.tasks if n in SEQUENTIAL], [n for n in config.tasks if n in STATIC]


def headline_of(config: Config, table: dict[str, dict[str, Cell]], tasks: dict[str, Task]) -> dict[str, float]:
    """Means over the tasks of each kind."""
    sequential, static = kinds_of(config)
    kinds = {"sequential": sequential, "longer": [f"{name}, longer" for name in sequential], "static": static}
    kinds["shuffled"] = [name + SHUFFLED for name in static]
    headline = {
        f"accuracy_{model}_{kind}": float(np.mean([table[row][model].interval.mean for row in rows]))
        for kind, rows in kinds.items()
        for model in MODELS
    }
    for kind, rows in (("sequential", sequential), ("static", static)):
        ones = [float(np.mean(tasks[row].test.labels)) for row in rows]
        headline[f"chance_{kind}"] = float(np.mean([max(p, 1 - p) for p in ones]))
    headline["best_static"] = float(np.mean([tasks[row].best for row in static]))
    return headline


def check(config: Config) -> None:
    """Raises for options that do not fit together."""
    check_cell_name(config.cell)
    if not config.rates or config.seeds < 1:
        raise ValueError(f"expected at least one of --rates and --seeds, got {config.rates} and {config.seeds}.")
    if not {*config.tasks} <= {*SEQUENTIAL, *STATIC} or not all(kinds_of(config)):
        raise ValueError(
            f"expected --tasks to be some of {', '.join(SEQUENTIAL)}, and some of {', '.join(STATIC)}, got "
            f"{', '.join(config.tasks)}."
        )
    if not config.tested or not min(config.tested) <= config.longest < max(config.tested):
        raise ValueError(f"expected --tested on both sides of --longest {config.longest}, got {config.tested}.")
    if min(*config.tested, config.shortest) < 5 or config.shortest > config.longest:
        raise ValueError(
            f"expected 5 <= --shortest <= --longest, and --tested from 5 on, as two patterns take five steps, got "
            f"{config.shortest}, {config.longest}, {config.tested}."
        )


def main(config: Config) -> dict:
    """Trains both models on every task, writes the report, and returns the headline numbers."""
    check(config)
    run = experiment.begin(NAME, config, SMOKE)
    config = run.config
    tasks = generate(config)
    learned = {(name, model): learn(config, run, name, tasks[name], model) for name in tasks for model in MODELS}
    sequential, static = kinds_of(config)  # static tasks are of one shape
    costs = {(name, m): cost(config, learned[name, m]) for name in (*sequential, static[0]) for m in MODELS}
    table = cells_of(config, tasks, learned)
    draw_table(run, table, tasks)
    draw_lengths(run, tasks, learned)
    write_times(run, costs)
    sections = {
        "Accuracy": accuracies(config, table, tasks, learned),
        "Length": "Both have seen sequences of the shaded lengths only. The MLP has a window of "
        f"{config.longest} steps and sees the last of a longer sequence.\n\n![accuracy against length](lengths.png)",
        "Parameters and memory": sizes(config, learned, costs),
    }
    headline = headline_of(config, table, tasks)
    return experiment.finish(run, title="A recurrent network or an MLP?", headline=headline, sections=sections)


def accuracies(config: Config, table: dict, tasks: dict[str, Task], learned: dict) -> str:
    """The table with what it says in words."""
    rows = []
    for row, cells in table.items():
        name = row.removesuffix(", longer")
        seeds = [f"{100 * c.seeds.min():.1f} to {100 * c.seeds.max():.1f}" for c in cells.values()]
        rates = [learned[name, model].rate for model in MODELS]
        numbers = zip((percent(c.interval) for c in cells.values()), seeds, rates, strict=True)
        rows.append([row, *(x for three in numbers for x in three), f"{100 * tasks[name].best:.1f}"])
    header = ["task", *(f"{title(config, m)} {x}" for m in MODELS for x in ("(%)", "seeds (%)", "rate")), "best (%)"]
    words = [f"- {row}: {verdict(config, cells)}." for row, cells in table.items()]
    for name in kinds_of(config)[1]:
        for model in MODELS:
            pair = {"as it is": table[name][model], "shuffled": table[name + SHUFFLED][model]}
            more = round(100 * (pair["shuffled"].interval.mean - pair["as it is"].interval.mean), 1) + 0.0  # no -0.0
            clear = "no difference" not in verdict(config, {"rnn": pair["as it is"], "mlp": pair["shuffled"]})
            says = "beyond intervals and seeds" if clear else "within intervals and seeds"
            words.append(
                f"- Shuffled columns of {name} change the {title(config, model)} by {more:+.1f} points, {says}."
            )
    return (
        f"Held-out accuracy, mean over {config.seeds} seeds, with the 95 % interval of Wilson for the test examples; "
        "chance is 50 %; best is what an answer that knows how the data are made has right. The interval says nothing "
        "of seeds: how far they lie apart stands beside it.\n\n"
        f"{report.grid(header, rows)}\n\n" + "\n".join(words) + "\n\n![accuracies](accuracy.png)"
    )


def sizes(config: Config, learned: dict, costs: dict[tuple[str, str], Cost]) -> str:
    """Parameters, and memory of an update."""
    rows = []
    for name in dict.fromkeys(name for name, _ in costs):
        count = [learned[name, model].learner.parameters for model in MODELS]
        kib = [costs[name, model].memory / 1024 for model in MODELS]
        label = name if name in SEQUENTIAL else "static"
        rows.append([label, *(f"{n:,}" for n in count), f"{100 * (count[1] / count[0] - 1):+.1f} %"])
        rows[-1] += [*(f"{x:,.0f}" for x in kib), f"{kib[0] / kib[1]:.1f}"]
    names = [title(config, model) for model in MODELS]
    header = ["task", *(f"{n} parameters" for n in names), "difference", *(f"{n} KiB" for n in names), "ratio"]
    return (
        f"KiB are the temporary memory of the compiled update of {config.batch} examples, beside parameters and batch: "
        f"the recurrent network keeps the states of all steps for its gradient.\n\n{report.grid(header, rows)}\n\n"
        "Times are in times.md."
    )


def write_times(run: experiment.Run, costs: dict[tuple[str, str], Cost]) -> None:
    """times.md, which differs from run to run."""
    config, rows = run.config, []
    for name in dict.fromkeys(name for name, _ in costs):
        pair = [costs[name, model] for model in MODELS]
        label = name if name in SEQUENTIAL else "static"
        rows.append([label, *(f"{c.update:.2f}" for c in pair), f"{pair[0].update / pair[1].update:.1f}"])
        rows[-1] += [*(f"{c.predict:.2f}" for c in pair), f"{pair[0].predict / pair[1].predict:.1f}"]
    names = [title(config, model) for model in MODELS]
    header = ["task", *(f"update, {n} (ms)" for n in names), "ratio", *(f"predict, {n} (ms)" for n in names), "ratio"]
    text = f"Median of {config.repeats} calls, {config.batch} examples a call, {jax.devices()[0].platform}."
    rnnjax.data.write_text(run.folder / "times.md", f"# Times\n\n{text}\n\n{report.grid(header, rows)}\n")
    print(f"\n{text}\n{report.grid(header, rows)}", flush=True)


def draw_table(run: experiment.Run, table: dict[str, dict[str, Cell]], tasks: dict[str, Task]) -> None:
    """Bars of accuracy, a pair for each row of the table."""
    heading = "Held-out accuracy, as many parameters each (95 % intervals)"
    with plots.figure(run.folder / "accuracy.png", title=heading, x="right (%)", y="", size=(9.5, 5.2)) as axes:
        for i, model in enumerate(MODELS):
            cells = [100 * np.array(row[model].interval) for row in table.values()]
            means, low, high = np.array(cells).T
            at = np.arange(len(cells)) + 0.4 * i - 0.2
            reach = np.maximum([means - low, high - means], 0)  # rounding, where all are right
            style = {"color": plots.COLOURS[i], "hatch": ("", "//")[i], "edgecolor": "white"}
            axes.barh(at, means, 0.38, xerr=reach, capsize=3, label=title(run.config, model), **style)
        for row, name in enumerate(table):
            best = 100 * tasks[name.removesuffix(", longer")].best
            label = "best possible" if row == 0 else None
            axes.plot([best, best], [row - 0.42, row + 0.42], color=plots.COLOURS[6], label=label)
        axes.axvline(50, color="0.3", linestyle="--", linewidth=1.5, label="chance")
        axes.set_yticks(range(len(table)), list(table))
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlim(0, 102)
        plots.legend_beside(axes)


def draw_lengths(run: experiment.Run, tasks: dict[str, Task], learned: dict) -> None:
    """Accuracy against the length of a sequence, a panel for each sequential task."""
    config, names = run.config, kinds_of(run.config)[0]
    path, heading = run.folder / "lengths.png", "Longer sequences than any trained on"
    with plots.panels(
        path, columns=len(names), size=(3.0 + 4.5 * len(names), 4.4), title=heading, share_y=True
    ) as axes:
        for axis, name in zip(axes[0], names, strict=True):
            for i, model in enumerate(MODELS):
                masks = [tasks[name].test.lengths == length for length in config.tested]
                found = np.array([intervals.wilson(learned[name, model].right[:, mask]) for mask in masks]).T * 100
                reach = np.maximum([found[0] - found[1], found[2] - found[0]], 0)
                style = {"color": plots.COLOURS[i], "marker": "os"[i], "linestyle": ("-", "--")[i], "capsize": 3}
                axis.errorbar(config.tested, found[0], reach, label=title(config, model), **style)
            axis.axhline(50, color="0.3", linestyle=":", label="chance")
            axis.axvspan(config.shortest, config.longest, color="0.9", zorder=0, label="trained on")
            axis.set(title=ASKED[name], xlabel="length (steps)", ylim=(None, 103))
        axes[0, 0].set(ylabel="right (%)")
        plots.legend_beside(axes[0, -1])


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
