"""Which optimizer, which learning rate, which loss? Seven optimizers and ten losses on the same networks and data.

    python -m experiments.optimizers                about three minutes on two CPU cores: 1.7 nats a character for the
                                                    best optimizer of the text, 2.2 for SGD; with outliers among the
                                                    targets, an absolute error of 0.6 for mean squared, 0.2 for Huber
    python -m experiments.optimizers --cell lstm    with another cell

Every optimizer turns a gradient g into a step, p <- p - rate * step(g):

    SGD        g                            Adagrad    g / sqrt(sum of g^2)
    RMSProp    g / sqrt(mean of g^2)        Adam       mean of g / sqrt(mean of g^2)
    Adadelta   g sqrt(mean of step^2) / sqrt(mean of g^2)
    Nadam      Adam with Nesterov's look ahead          AdamW      Adam's step + decay * p

with running means. How large a good rate is, differs by orders of magnitude, so a comparison at one rate compares
nothing. Here each has a grid of its own, two rates a decade, and all rates and first weights are trained side by side
in one compiled program (vmap over rate and seed). The rate is chosen on validation data; the test is read once.

Two tasks: the next character of the Python language reference, and the next value of a sum of sines with noise. Then
the ten losses of `rnnjax.losses.get_loss`, with Adam: six on the series with outliers among the targets, four on
telling wave forms apart with wrong labels among them. A loss is an axis of vmap, too.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.data import texts
from experiments.lib import experiment, plots, report, series, sweep
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.readout import make_readout
from experiments.lib.training import Options

NAME = "optimizers"
# The lowest rate of the grid of each: steps of Adam have the size of the rate, those of SGD that of the gradient.
LOWEST = {"sgd": 0.1, "adam": 0.001, "rmsprop": 0.001, "adagrad": 0.01, "adadelta": 1.0, "nadam": 0.001, "adamw": 0.001}
REGRESSION = ("mean_bias", "mean_absolute", "mean_squared", "root_mean_squared", "huber", "log_cosh")
CLASSIFICATION = ("binary_cross_entropy", "hinge", "cross_entropy", "kl_divergence")
PERIODS, AMPLITUDES = (17.0, 7.3, 31.0), (1.0, 0.5, 0.5)  # of the series, in steps
WAVES = ("sine", "square", "triangle", "sawtooth")


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a run."""

    cell: str = "gru"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 64  # units of the language model
    hidden_series: int = 32  # units of the other networks
    optimizers: tuple[str, ...] = tuple(LOWEST)  # compared
    losses: tuple[str, ...] = REGRESSION + CLASSIFICATION  # compared
    rates: int = 7  # learning rates of each optimizer, two a decade
    loss_rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)  # learning rates of Adam for the losses
    seeds: int = 2  # first weights of everything
    characters: int = 500_000  # of the text at most; 80 % to train, 10 % to validate, 10 % to test
    values: int = 20_000  # of the series, split likewise
    window: int = 32  # steps of a sequence
    noise: float = 0.2  # standard deviation of the noise of the series
    outliers: float = 0.1  # share of targets that are far too high, and of wave forms with a random label
    steps: int = 300
    batch: int = 16
    learning_rate: float = 1.0  # factor of all rates
    weight_decay: float = 0.05  # of adamw, times the rate
    steps_per_call: int = 20
    evaluate_every: int = 20  # updates that a point of the loss curves is the mean of


SMOKE = {"hidden": 7, "hidden_series": 5, "optimizers": ("adam",), "rates": 2, "loss_rates": (0.01,)}
SMOKE |= {"losses": ("mean_squared", "huber", "hinge"), "characters": 4000, "values": 2000, "window": 12}
SMOKE |= {"steps": 20, "steps_per_call": 10, "evaluate_every": 5}


# ---- tasks ---------------------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """Examples along axis 1.

    Attributes:
      inputs: `[T, N]`, ids or values.
      targets: `[T', N]` for the last T' steps.
    """

    inputs: np.ndarray
    targets: np.ndarray


class Task(NamedTuple):
    """What is learned, and how it is judged.

    Attributes:
      init: `key -> params`.
      apply: `(params, inputs) -> outputs`.
      losses: those compared, each `(outputs, targets) -> SumCount`, with what is done to the mean.
      score: `(outputs, targets) -> [M]` numbers; the first, the lower the better, chooses the rate.
      training: `Rows`.
      validation: `Rows`, made like those of the training.
      test: `Rows`.
    """

    init: Callable[..., Any]
    apply: Callable[..., jax.Array]
    losses: Sequence[tuple[Callable[..., rnnjax.losses.SumCount], Callable[[jax.Array], jax.Array]]]
    score: Callable[..., list[float]]
    training: Rows
    validation: Rows
    test: Rows


def cut(inputs: np.ndarray, targets: np.ndarray, window: int, stride: int, warmup: int = 0) -> list[Rows]:
    """Windows of training, validation and test: 80 %, 10 % and 10 % in order of time, none across a border.

    Args:
      inputs: `[N]`.
      targets: `[N]`, the value after each input, or what was recorded in its place.
      window: T.
      stride: rows from one training window to the next; T for the others.
      warmup: first steps of a window without a target.
    """
    tenth = len(inputs) // 10
    held_out = tenth // window * window  # as much for each of the two: compiled once
    parts = []
    for begin, count, step in ((0, 8 * tenth, stride), (8 * tenth, held_out, window), (9 * tenth, held_out, window)):
        # The first input of a part is the last target of the part before: without it.
        ends = np.arange(begin + window, begin + count, step)
        parts.append(Rows(*(series.windows(values, ends, window).T for values in (inputs, targets))))
    return [Rows(rows.inputs, rows.targets[warmup:]) for rows in parts]


def text_task(config: Config) -> tuple[Task, dict[str, float]]:
    """The next character, and the nats of a guess by how often each one is."""
    text = texts.load("pydoc")[: config.characters]
    vocabulary = rnnjax.data.Vocabulary.of(text)
    ids, size = vocabulary.encode(text), len(vocabulary.symbols)
    parts = cut(ids[:-1], ids[1:], config.window, stride=16)
    init, apply = make_readout(make_cell(config.cell, size, config.hidden), config.hidden, size)
    cross_entropy = rnnjax.losses.get_loss("cross_entropy")
    task = Task(
        init,
        lambda params, inputs: apply(params, jax.nn.one_hot(inputs, size)),
        [(functools.partial(cross_entropy), cross_entropy.finish)],
        lambda logits, targets: [float(cross_entropy(logits, targets).mean)],
        *parts,
    )
    return task, {"unigram": unigram(ids[: 8 * (len(ids) // 10)], parts[2].targets, size)}


def unigram(training: np.ndarray, test: np.ndarray, size: int) -> float:
    """Cross-entropy of test ids with the frequencies of the training ids, one added to each count, in nats."""
    counts = np.bincount(training, minlength=size) + 1
    return float(-np.mean(np.log(counts / counts.sum())[test]))


def generate(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """A sum of sines with noise `[N + 1]`, and which of the values is recorded far too high, by how much `[N + 1]`."""
    rng = np.random.default_rng(config.seed)
    t = np.arange(config.values + 1)
    waves = sum(a * np.sin(2 * np.pi * t / p) for a, p in zip(AMPLITUDES, PERIODS, strict=True))
    values = waves + config.noise * rng.standard_normal(len(t))
    spikes = np.where(rng.random(len(t)) < config.outliers, rng.uniform(3, 9, len(t)), 0)
    return values.astype(np.float32), spikes.astype(np.float32)


def series_task(config: Config, losses: Sequence[str], *, outliers: bool) -> tuple[Task, dict[str, float]]:
    """The next value, in the second half of a window, and baselines; outliers among the targets but not in the test."""
    values, spikes = generate(config)
    clean = cut(values[:-1], values[1:], config.window, stride=4, warmup=config.window // 2)
    recorded = cut(values[:-1], (values + spikes)[1:], config.window, stride=4, warmup=config.window // 2)
    parts = [*(recorded if outliers else clean)[:2], clean[2]]
    init, apply = make_readout(make_cell(config.cell, 1, config.hidden_series), config.hidden_series, 1)

    chosen = [rnnjax.losses.get_loss(name) for name in losses]
    task = Task(
        init,
        lambda params, inputs: apply(params, inputs[:, :, None])[config.window // 2 :, :, 0],
        [(functools.partial(loss), loss.finish) for loss in chosen],  # lax.switch takes no tuples
        errors if outliers else lambda outputs, targets: [float(np.mean((outputs - targets) ** 2))],
        *parts,
    )
    # The test's last step of each window has a whole window before it, for the linear model.
    linear = series.fit_linear(parts[0].inputs.T, parts[0].targets[-1:].T).predict(parts[2].inputs.T)[:, 0]
    last = parts[2].inputs[config.window // 2 :] - parts[2].targets
    power = 1 if outliers else 2
    bases = {"last value": last, "linear model": linear - parts[2].targets[-1]}
    bases = {name: float(np.mean(np.abs(error) ** power)) for name, error in bases.items()}
    # Nobody forecasts better than one who knows the series without its noise.
    return task, bases | {"noise": config.noise * (2 / np.pi) ** 0.5 if outliers else config.noise**2}


def errors(outputs: np.ndarray, targets: np.ndarray) -> list[float]:
    """Median absolute error, which hardly sees outliers, mean absolute error, and mean error."""
    error = outputs - targets
    return [float(np.median(np.abs(error))), float(np.mean(np.abs(error))), float(np.mean(error))]


def wave_rows(config: Config, count: int, rng: np.random.Generator, wrong: float) -> Rows:
    """Wave forms `[T, N]` of random period and phase in noise, and their labels `[1, N]`, a share at random."""
    label = rng.integers(len(WAVES), size=count)
    phase = (np.arange(config.window)[:, None] / rng.uniform(8, 16, count) + rng.random(count)) % 1
    sine, triangle = np.sin(2 * np.pi * phase), 4 * np.abs(phase - 0.5) - 1
    forms = np.stack([2**0.5 * sine, np.sign(sine), 3**0.5 * triangle, 3**0.5 * (2 * phase - 1)])  # of power 1
    inputs = forms[label, :, np.arange(count)].T + 0.5 * rng.standard_normal(phase.shape)
    label = np.where(rng.random(count) < wrong, rng.integers(len(WAVES), size=count), label)
    return Rows(inputs.astype(np.float32), label[None].astype(np.int32))


def wave_task(config: Config, losses: Sequence[str]) -> tuple[Task, dict[str, float]]:
    """Telling wave forms apart, and baselines: wrong labels in training and validation, none in the test."""
    rng, size = np.random.default_rng(config.seed + 10**6), config.values // 10
    parts = [wave_rows(config, n, rng, wrong) for n, wrong in ((4 * size, config.outliers), (size, config.outliers))]
    parts.append(wave_rows(config, size, rng, 0.0))
    init, apply = make_readout(make_cell(config.cell, 1, config.hidden_series), config.hidden_series, len(WAVES))

    def make(name):
        loss = rnnjax.losses.get_loss(name)

        def values(logits, labels):
            ones = jax.nn.one_hot(labels, len(WAVES))
            if name == "kl_divergence":  # to smoothed labels: to others it is the cross-entropy
                return loss(jax.nn.log_softmax(logits), 0.9 * ones + 0.1 / len(WAVES))
            return loss(logits, {"hinge": 2 * ones - 1, "binary_cross_entropy": ones}.get(name, labels))

        return values, loss.finish

    task = Task(
        init,
        lambda params, inputs: apply(params, inputs[:, :, None])[-1:],
        [make(name) for name in losses],
        lambda logits, labels: [float(np.mean(logits.argmax(axis=-1) != labels))],
        *parts,
    )
    linear = series.fit_linear(parts[0].inputs.T, np.eye(len(WAVES))[parts[0].targets[0]]).predict(parts[2].inputs.T)
    return task, {"guess": 1 / len(WAVES), "linear model": float(np.mean(linear.argmax(1) == parts[2].targets[0]))}


# ---- training ------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """What came of an optimizer with a loss.

    Attributes:
      rates: tried, K.
      place: of the best, by validation.
      validation: the first of the scores for each rate, mean over the seeds `[K]`, infinite where it is not a number.
      test: scores at the best rate `[S, M]`.
      curve: training loss at the best rate, mean over the seeds and over `evaluate_every` updates.
    """

    rates: Sequence[float]
    place: int
    validation: np.ndarray
    test: np.ndarray
    curve: np.ndarray

    def good(self) -> tuple[float, float]:
        """Ends of the range of rates around the best one that come within 5 % of it."""
        close = self.validation <= 1.05 * self.validation[self.place]
        low = high = self.place
        while low > 0 and close[low - 1]:
            low -= 1
        while high + 1 < len(close) and close[high + 1]:
            high += 1
        return self.rates[low], self.rates[high]


def try_rates(
    config: Config, task: Task, optimizer: str, rates: Sequence[float], label: str, folder: Path
) -> list[Found]:
    """Trains every loss of a task with all rates and seeds in one compiled program; what came of each loss."""
    shape = (len(task.losses), len(rates), config.seeds)
    which, rate, seed = (
        axis.reshape(-1)
        for axis in np.meshgrid(np.arange(shape[0]), np.asarray(rates, np.float32), np.arange(shape[2]), indexing="ij")
    )
    values, finish = zip(*task.losses, strict=True)
    named = dataclasses.replace(config, optimizer=optimizer)

    def one_run(setting, state, batch):
        which, rate = setting

        def loss_fn(params, batch, *, key):
            del key
            outputs = task.apply(params, batch.inputs)
            return jax.lax.switch(which, values, outputs, batch.targets)

        def objective(parts):
            return jax.lax.switch(which, finish, parts.mean)

        return rnnjax.training.make_train_step(loss_fn, sweep.scaled_optimizer(named, rate), objective=objective)(
            state, batch
        )

    start = sweep.make_start(named, task.init, seed)
    update, training = sweep.make_update(one_run, (which, rate)), task.training

    def take(rows):
        return Rows(*(array[:, rows] for array in training))  # [T, B]

    drawn = sweep.batches(config, training.inputs.shape[1], take)
    params, losses = sweep.train(config, update, start(), drawn, folder / label.replace(", ", "-"))
    forward = jax.jit(task.apply)  # compiled once for a task

    def scores(loss, place, seed, rows):
        run = np.ravel_multi_index((loss, place, seed), shape)
        outputs = forward(jax.tree.map(lambda leaf: leaf[run], params), rows.inputs)
        return task.score(np.asarray(outputs), rows.targets)

    whole = config.steps // config.evaluate_every * config.evaluate_every
    curves = losses[:whole].reshape(-1, config.evaluate_every, *shape).mean(axis=(1, 4))  # [P, L, K]
    found = []
    for loss in range(shape[0]):
        tried = [[scores(loss, k, s, task.validation)[0] for s in range(shape[2])] for k in range(shape[1])]
        place, validation = sweep.choose_rate(np.ravel(tried), rates, label)
        test = np.array([scores(loss, place, s, task.test) for s in range(shape[2])])
        found.append(Found(rates, place, validation, test, curves[:, loss, place]))
    return found


def grid_of(config: Config, optimizer: str) -> list[float]:
    """Learning rates of an optimizer, two a decade."""
    return [float(f"{config.learning_rate * LOWEST[optimizer] * 10 ** (i / 2):.1g}") for i in range(config.rates)]


# ---- what came of it -----------------------------------------------------------------------------------------


def compare(config: Config, run: experiment.Run, name: str, task: Task) -> dict[str, Found]:
    """Every optimizer on a task."""
    return {
        optimizer: try_rates(config, task, optimizer, grid_of(config, optimizer), f"{name}, {optimizer}", run.folder)[0]
        for optimizer in config.optimizers
    }


def main(config: Config) -> dict:
    """Sweeps, draws, writes the report, and returns the headline numbers."""
    check(config)
    run = experiment.begin(NAME, config, SMOKE)
    config = run.config
    headline, sections, compared = {}, {"How": how(config)}, {}
    for what, (task, bases), key in (
        ("text", text_task(config), "nats_per_char"),
        ("series", series_task(config, ["mean_squared"], outliers=False), "mse"),
    ):
        found = compare(config, run, what, task)
        best, base, value = best_of(found), *list(bases.items())[-1]
        compared[what] = found, base, value
        headline |= {key: float(found[best].test.mean()), f"optimizer_{key}": best, f"{base}_{key}": value}
        sections[f"Optimizers on the {what}"] = f"{findings(what, found, bases)}\n\n{optimizer_table(found)}"
    draw_optimizers(run, compared)
    sections["Optimizers side by side"] = "![loss curves](curves.png)\n\n![loss against learning rate](rates.png)"

    judged = {}
    for what, known, make, words in (
        ("regression", REGRESSION, lambda names: series_task(config, names, outliers=True), regression_text),
        ("classification", CLASSIFICATION, lambda names: wave_task(config, names), classification_text),
    ):
        if names := [name for name in known if name in config.losses]:
            task, bases = make(names)
            found = dict(zip(names, try_rates(config, task, "adam", config.loss_rates, what, run.folder), strict=True))
            judged[what] = found, bases
            sections[f"Losses of a {what}"] = words(config, found, bases)
            kind = "mae" if what == "regression" else "accuracy"
            headline |= {f"{kind}_{name}": float(figures(what, x).mean()) for name, x in found.items()}
    if judged:
        draw_losses(run, judged)
        sections["Losses side by side"] = "![error and accuracy of every loss](losses.png)"
    title = "Which optimizer, which learning rate, which loss?"
    return experiment.finish(run, title=title, headline=headline, sections=sections)


def check(config: Config) -> None:
    """Raises for options that cannot be."""
    check_cell_name(config.cell)
    known = {"optimizers": tuple(LOWEST), "losses": REGRESSION + CLASSIFICATION}
    for option, names in known.items():
        if unknown := [name for name in getattr(config, option) if name not in names]:
            raise ValueError(f"expected --{option} to be among {', '.join(names)}, got {unknown[0]!r}.")
    if not config.optimizers or config.rates < 1 or config.seeds < 1 or not config.loss_rates:
        raise ValueError("expected at least one of --optimizers, --rates, --loss-rates and --seeds.")
    if not 0 <= config.outliers < 1:
        raise ValueError(f"expected --outliers from 0 to below 1, got {config.outliers}.")


def best_of(found: dict[str, Found]) -> str:
    """The optimizer with the lowest validation loss: the test chooses nothing."""
    return min(found, key=lambda name: found[name].validation[found[name].place])


def how(config: Config) -> str:
    """What all runs have in common."""
    return (
        f"Networks of one layer ({config.cell}), {config.hidden} units for the text and {config.hidden_series} for the "
        f"rest; {config.steps} updates with {config.batch} sequences of {config.window} steps, each from a zero state, "
        f"the same batches for all (seed {config.seed}); {config.schedule} schedule, gradients clipped to a norm of "
        f"{config.clip_norm:g}. Every rate has {config.seeds} first weights; a rate is chosen by their mean on "
        "validation data, and the test is read at that rate only. Constants are those of optax, SGD has no momentum. "
        f"AdamW multiplies its weight decay, {config.weight_decay:g}, by the rate, so a higher rate decays more."
    )


def findings(what: str, found: dict[str, Found], bases: dict[str, float]) -> str:
    """What the numbers say, in words."""
    test = {name: float(x.test.mean()) for name, x in found.items()}
    best, worst = best_of(found), max(test, key=test.get)
    close = [name for name in found if name != best and test[name] <= 1.05 * test[best]]
    text = f"Chosen by validation, {best} comes first on the {what}, with a test loss of {test[best]:.4f}; "
    text += f"{', '.join(close) or 'no other'} within 5 % of it."
    text += f" The highest is that of {worst}, {test[worst]:.4f}." if worst != best else ""
    text += " Baselines on the test: " + ", ".join(f"{name} {value:.4f}" for name, value in bases.items()) + "."
    wide = {name: round(x.good()[1] / x.good()[0]) for name, x in found.items()}
    widest = ", ".join(name for name in wide if wide[name] == max(wide.values()))
    text += f" The widest range of rates within 5 % of the best, a factor of {max(wide.values())}: {widest}."
    return text + at_an_end(found)


def at_an_end(found: dict[str, Found]) -> str:
    """Whose rate may not be the best there is, as a sentence or nothing."""
    names = [name for name, x in found.items() if x.place in (0, len(x.rates) - 1) and name != "mean_bias"]
    return f" The best rate is at an end of its grid, so others may be better: {', '.join(names)}." if names else ""


def optimizer_table(found: dict[str, Found]) -> str:
    """A row for each optimizer."""
    header = ["optimizer", "rates tried", "best", "within 5 % of it", "validation", "test", "each of the first weights"]
    rows = []
    for name, x in found.items():
        low, high = x.good()
        row = [name, f"{x.rates[0]:g} to {x.rates[-1]:g}", f"{x.rates[x.place]:g}", f"{low:g} to {high:g}"]
        row += [f"{x.validation[x.place]:.4f}", f"{x.test.mean():.4f}", ", ".join(f"{t:.4f}" for t in x.test[:, 0])]
        rows.append(row)
    return report.grid(header, rows)


def figures(what: str, found: Found) -> np.ndarray:
    """Mean absolute errors, or accuracies, of the first weights `[S]`."""
    return found.test[:, 1] if what == "regression" else 1 - found.test[:, 0]


def regression_text(config: Config, found: dict[str, Found], bases: dict[str, float]) -> str:
    """Regression losses, in words and a table."""
    mae = {name: float(figures("regression", x).mean()) for name, x in found.items()}
    text = (
        f"{config.outliers:.0%} of the targets of training and validation are recorded 3 to 9 too high; the test has "
        "no such ones. Adam's rate is chosen by the median absolute error, which hardly sees them. The lowest mean "
        f"absolute error is that of {min(mae, key=mae.get)}, {min(mae.values()):.4f}. Baselines: "
        + ", ".join(f"{name} {value:.4f}" for name, value in bases.items())
        + ", the linear model by least squares on the same targets."
    )
    if squared := found.get("mean_squared"):
        text += f" The squared error follows the mean, and outliers lift that by {6 * config.outliers:.2f}: its "
        text += f"forecasts are {squared.test[:, 2].mean():+.2f} off on average."
        robust = ("mean_absolute", "huber", "log_cosh")
        spared = [name for name in robust if mae.get(name, np.inf) < mae["mean_squared"]]
        text += f" Losses that grow linearly err less: {', '.join(spared)}." if spared else ""
    if "mean_bias" in mae:
        text += " The mean bias has no minimum, for a lower forecast is always better: the error after training, "
        text += f"{mae['mean_bias']:.3g}, only says for how long. It is a number to report, not one to minimise."
    rows = [
        [name, f"{x.rates[x.place]:g}", *(f"{v:.4f}" for v in x.test.mean(axis=0)[[1, 0, 2]])]
        for name, x in found.items()
    ]
    header = ["loss", "rate", "mean absolute error", "median absolute error", "mean error"]
    return f"{text}{at_an_end(found)}\n\n{report.grid(header, rows)}"


def classification_text(config: Config, found: dict[str, Found], bases: dict[str, float]) -> str:
    """Classification losses, in words and a table."""
    rates = {name: float(figures("classification", x).mean()) for name, x in found.items()}
    spread, within = np.ptp(list(rates.values())), max(np.ptp(x.test) for x in found.values())
    text = (
        f"Four wave forms ({', '.join(WAVES)}) of random period and phase; {config.outliers:.0%} of the labels "
        "of training and validation are drawn at random, those of the test are right. Hinge and binary cross-entropy "
        "ask for each class by itself; the KL divergence is to labels smoothed by 0.1, as to others it would be the "
        f"cross-entropy. The highest accuracy is that of {max(rates, key=rates.get)}, {max(rates.values()):.1%}; the "
        f"losses differ by {100 * spread:.1f} points, two first weights with one loss by up to {100 * within:.1f}. "
        "Baselines: " + ", ".join(f"{name} {value:.1%}" for name, value in bases.items()) + "."
    )
    rows = [
        [name, f"{x.rates[x.place]:g}", f"{rates[name]:.1%}", ", ".join(f"{1 - v:.1%}" for v in x.test[:, 0])]
        for name, x in found.items()
    ]
    return f"{text}{at_an_end(found)}\n\n{report.grid(['loss', 'rate', 'accuracy', 'each of the first weights'], rows)}"


STYLES = {
    name: {"color": plots.COLOURS[i], "marker": "os^Dv<P"[i], "linestyle": ("-", "--")[i % 2], "markersize": 6}
    for i, name in enumerate(LOWEST)
}


def draw_optimizers(run: experiment.Run, compared: dict[str, tuple[dict[str, Found], str, float]]) -> None:
    """Training loss against updates, and validation loss against the rate, a column for each task."""
    units = {"text": ("nats a character", 1.35), "series": ("mean squared error, units²", 20.0)}
    every, titles = run.config.evaluate_every, ("Training, each at its best rate", "What a wrong rate costs")
    for file, title in zip(("curves", "rates"), titles, strict=True):
        with plots.panels(run.folder / f"{file}.png", columns=2, size=(13.0, 4.8), title=title) as axes:
            for axis, (name, (found, label, line)) in zip(axes[0], compared.items(), strict=True):
                unit, top = units[name]
                lowest = min(line, *(min(x.validation) for x in found.values()))
                for optimizer, x in found.items():
                    at, loss = (every * (np.arange(len(x.curve)) + 1), x.curve)
                    if file == "rates":
                        at, loss = x.rates, x.validation
                        axis.plot(at[x.place], loss[x.place], "*", markersize=17, color=STYLES[optimizer]["color"])
                    axis.plot(at, loss, markevery=max(1, len(at) // 8), label=optimizer, **STYLES[optimizer])
                axis.axhline(line, color="0.4", linestyle=":")
                place = {"transform": axis.get_yaxis_transform(), "ha": "right", "va": "bottom", "color": "0.35"}
                axis.text(0.99, line, label, **place)
                what = "validation" if file == "rates" else "training"
                axis.set(title=f"The {name}", xlabel="update", ylabel=f"{what} loss ({unit})")
                axis.set(ylim=(0.85 * lowest, top * line))
                if name == "series":
                    axis.set(yscale="log")
                    plots.plain_log(axis.yaxis)
                if file == "rates":
                    axis.set(xscale="log", xlabel="learning rate, at its peak (a star at the best)")
            plots.legend_beside(axes[0, 1])


def draw_losses(run: experiment.Run, judged: dict[str, tuple[dict[str, Found], dict[str, float]]]) -> None:
    """Errors and accuracies, a dot for each of the first weights of each loss, and the baselines as lines."""
    titles = {"regression": "A series with outliers", "classification": "Wave forms with wrong labels"}
    with plots.panels(run.folder / "losses.png", columns=len(judged), size=(6.5 * len(judged), 4.6)) as axes:
        for axis, (kind, (found, bases)) in zip(axes[0], judged.items(), strict=True):
            percent = 100 if kind == "classification" else 1
            for row, x in enumerate(found.values()):
                axis.plot(percent * figures(kind, x), [row] * len(x.test), "o", color=plots.COLOURS[0], markersize=9)
            lines = zip(bases.items(), (":", "--", "-"), strict=False)
            for i, ((name, value), line) in enumerate(lines, 1):
                axis.axvline(percent * value, color=plots.COLOURS[i], linestyle=line, linewidth=1.6, label=name)
            axis.set_yticks(range(len(found)), [name.replace("_", " ") for name in found])
            axis.invert_yaxis()
            axis.grid(axis="y", visible=False)
            axis.set(title=titles[kind], xlabel="right in the test (%)")
            if kind == "regression":
                axis.set(xscale="log", xlabel="mean absolute error in the test (units, log)")
                plots.plain_log(axis.xaxis)
            axis.legend(frameon=False, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=10)


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
