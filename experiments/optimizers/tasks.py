"""What is learned: the next character, the next value of a series, with outliers or without, and wave forms."""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.data import texts
from experiments.lib import series
from experiments.lib.cells import make_cell
from experiments.lib.readout import make_readout

REGRESSION = ("mean_bias", "mean_absolute", "mean_squared", "root_mean_squared", "huber", "log_cosh")
CLASSIFICATION = ("binary_cross_entropy", "hinge", "cross_entropy", "kl_divergence")
PERIODS, AMPLITUDES = (17.0, 7.3, 31.0), (1.0, 0.5, 0.5)  # of the series, in steps
WAVES = ("sine", "square", "triangle", "sawtooth")
get_loss = rnnjax.losses.get_loss


class Rows(NamedTuple):
    """Examples along axis 1: inputs `[T, N]`, ids or values, and targets `[T', N]` for the last T' steps."""

    inputs: np.ndarray
    targets: np.ndarray


class Task(NamedTuple):
    """What is learned, and how it is judged."""

    init: Callable[..., Any]  # key -> params
    apply: Callable[..., jax.Array]  # (params, inputs) -> outputs
    losses: dict[str, tuple[Callable, Callable]]  # (outputs, targets) -> SumCount, and what is done to its mean
    score: Callable[..., Any]  # (outputs, targets) -> values [T', N]
    baselines: dict[str, float]  # what others reach on the test
    training: Rows
    validation: Rows  # made like those of the training
    test: Rows
    judge: Callable[[np.ndarray], Any] = np.mean  # of scores on validation data, the lower the better
    measure: Callable[[np.ndarray], np.ndarray] = np.asarray  # scores on the test -> what is reported of them


def cut(inputs: np.ndarray, targets: np.ndarray, window: int, stride: int, warmup: int = 0) -> list[Rows]:
    """Cuts windows of training, validation and test: 80 %, 10 % and 10 % in order of time, none across a border.

    Training windows begin a stride apart, those of the other parts follow each other. The targets `[N]` are what comes
    after each of the inputs `[N]`; the first steps of a window, the warm-up, have none.
    """
    tenth = len(inputs) // 10
    held_out = tenth // window * window  # as much for each of the two: compiled once
    parts = []
    for begin, count, step in ((0, 8 * tenth, stride), (8 * tenth, held_out, window), (9 * tenth, held_out, window)):
        # The first input of a part is the last target of the part before: without it.
        ends = np.arange(begin + window, begin + count, step)
        parts.append(Rows(series.windows(inputs, ends, window).T, series.windows(targets, ends, window).T[warmup:]))
    return parts


@functools.cache
def network(cell: str, inputs: int, hidden: int, outputs: int) -> tuple[Callable, Callable]:
    """Makes `init` and `apply` of a cell with a linear output, the same ones for all tasks with these sizes."""
    return make_readout(make_cell(cell, inputs, hidden), outputs)


def text_task(config: Any) -> Task:
    """Makes the task of the next character; the baseline guesses by how often each one is."""
    text = texts.load("pydoc")[: config.characters]
    vocabulary = rnnjax.data.Vocabulary.of(text)
    ids, size = vocabulary.encode(text), len(vocabulary.symbols)
    parts = cut(ids[:-1], ids[1:], config.window, stride=16)
    init, apply = network(config.cell, size, config.hidden, size)
    return Task(
        init,
        lambda params, ids: apply(params, jax.nn.one_hot(ids, size)),
        plain(["cross_entropy"]),
        jax.jit(get_loss("cross_entropy").values),
        {"unigram": unigram(ids[: len(ids) // 10 * 8], parts[2].targets, size)},
        *parts,
    )


def plain(names: Iterable[str]) -> dict[str, tuple[Callable, Callable]]:
    """Finds losses by name; `lax.switch` takes functions, but no tuples that can be called."""
    return {name: (functools.partial(get_loss(name)), get_loss(name).finish) for name in names}


def unigram(training: np.ndarray, test: np.ndarray, size: int) -> float:
    """Cross-entropy of test ids with the frequencies of the training ids, one added to each count, in nats."""
    counts = np.bincount(training, minlength=size) + 1
    return float(-np.mean(np.log(counts / counts.sum())[test]))


def generate(config: Any) -> tuple[np.ndarray, np.ndarray]:
    """Makes a sum of sines with noise `[N + 1]`, and how much too high each value is recorded, mostly 0 `[N + 1]`."""
    rng = np.random.default_rng(config.seed)
    t = np.arange(config.values + 1)
    waves = sum(a * np.sin(2 * np.pi * t / p) for a, p in zip(AMPLITUDES, PERIODS, strict=True))
    values = waves + config.noise * rng.standard_normal(len(t))
    spikes = np.where(rng.random(len(t)) < config.outliers, rng.uniform(3, 9, len(t)), 0)
    return values.astype(np.float32), spikes.astype(np.float32)


def series_task(config: Any, losses: Iterable[str], *, outliers: bool) -> Task:
    """Makes the task of the next value: errors squared, or absolute with outliers, which the test has none of."""
    half, (values, spikes) = config.window // 2, generate(config)  # the second half of a window is predicted
    clean, recorded = (cut(values[:-1], x[1:], config.window, 4, warmup=half) for x in (values, values + spikes))
    training, validation, test = *(recorded if outliers else clean)[:2], clean[2]
    init, apply = network(config.cell, 1, config.hidden_series, 1)
    measure, average = (np.abs, np.median) if outliers else (np.square, np.mean)
    # The test's last step of each window has a whole window before it, for the linear model.
    linear = series.fit_linear(training.inputs.T, training.targets[-1:].T).predict(test.inputs.T)[:, 0]
    errors = {"last value": test.inputs[half:] - test.targets, "linear model": linear - test.targets[-1]}
    baselines = {name: float(np.mean(measure(error))) for name, error in errors.items()}
    # The error of one who knows all but the noise.
    baselines["noise"] = config.noise * (2 / np.pi) ** 0.5 if outliers else config.noise**2
    return Task(
        init,
        lambda params, inputs: apply(params, inputs[:, :, None])[half:, :, 0],
        plain(name for name in losses if name in REGRESSION),
        np.subtract,
        baselines,
        *(training, validation, test),
        judge=lambda error: average(measure(error)),
        measure=measure,
    )


def wave_rows(config: Any, count: int, rng: np.random.Generator, wrong: float) -> Rows:
    """Makes wave forms `[T, N]` of random period and phase in noise, and labels `[1, N]`, a share of them at random."""
    label = rng.integers(len(WAVES), size=count)
    phase = (np.arange(config.window)[:, None] / rng.uniform(8, 16, count) + rng.random(count)) % 1
    sine, triangle = np.sin(2 * np.pi * phase), 4 * np.abs(phase - 0.5) - 1
    forms = np.stack([2**0.5 * sine, np.sign(sine), 3**0.5 * triangle, 3**0.5 * (2 * phase - 1)])  # of power 1
    inputs = forms[label, :, np.arange(count)].T + 0.5 * rng.standard_normal(phase.shape)
    label = np.where(rng.random(count) < wrong, rng.integers(len(WAVES), size=count), label)
    return Rows(inputs.astype(np.float32), label[None].astype(np.int32))


def of_waves(name: str) -> tuple[Callable, Callable]:
    """Makes the loss of this name, of logits and labels."""
    loss = get_loss(name)

    def values(logits, labels):
        ones = jax.nn.one_hot(labels, len(WAVES))
        if name == "kl_divergence":  # to smoothed labels: to others it is the cross-entropy
            return loss(jax.nn.log_softmax(logits), 0.9 * ones + 0.1 / len(WAVES))
        return loss(logits, {"hinge": 2 * ones - 1, "binary_cross_entropy": ones}.get(name, labels))

    return values, loss.finish


def wave_task(config: Any, losses: Iterable[str]) -> Task:
    """Makes the task of telling wave forms apart: wrong labels in training and validation, none in the test."""
    rng, size = np.random.default_rng(config.seed + 10**6), config.values // 10
    sizes = ((4 * size, config.outliers), (size, config.outliers), (size, 0.0))
    training, validation, test = (wave_rows(config, count, rng, wrong) for count, wrong in sizes)
    init, apply = network(config.cell, 1, config.hidden_series, len(WAVES))
    linear = series.fit_linear(training.inputs.T, np.eye(len(WAVES))[training.targets[0]]).predict(test.inputs.T)
    return Task(
        init,
        lambda params, inputs: apply(params, inputs[:, :, None])[-1:],
        {name: of_waves(name) for name in losses if name in CLASSIFICATION},
        lambda logits, labels: logits.argmax(axis=-1) != labels,
        {"guess": 1 / len(WAVES), "linear model": float(np.mean(linear.argmax(1) == test.targets[0]))},
        *(training, validation, test),
        measure=np.logical_not,
    )
