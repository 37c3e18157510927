"""How a reader learns from few sentences: all first weights side by side, first with a fold left out, then with all."""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.data.emojify import EMOJIS
from experiments.lib import readers, report, sweep, training
from experiments.lib.readout import drop


class Sentences(NamedTuple):
    """N sentences."""

    xs: np.ndarray  # vectors of the words [T, N, F]
    lengths: np.ndarray  # [N]


class Batch(NamedTuple):
    """Sentences of an update, and what each of R runs leaves out."""

    xs: Any  # [T, B, F]
    lengths: Any  # [B]
    labels: Any  # [B]
    folds: Any  # of the sentences [B]
    left_out: Any  # a fold for each run, -1 for none [R]


class Learned(NamedTuple):
    """What the runs of a model came to."""

    updates: np.ndarray  # at which folds left out were asked [E]
    validation: np.ndarray  # accuracy on them [E]
    chosen: int  # updates
    probs: np.ndarray  # after so many of them, of every sentence [S, N, 5]


def learn(name: str, config: Any, sentences: Sentences, labels: np.ndarray, folder: Path) -> Learned:
    """Trains on the first sentences, which have labels `[M]`, and reads all of them.

    Each run leaves out a fold; the number of updates with the best accuracy on the folds is chosen, and as many are
    made anew with all sentences.
    """
    sizes = sentences.xs.shape[-1], config.hidden, len(EMOJIS)
    init, apply = readers.make_reader(name, *sizes, layers=config.layers, dropout=config.dropout)
    loss, seeds = rnnjax.losses.get_loss("cross_entropy"), config.seeds
    rows = training.shuffled(np.arange(len(labels)), config.batch, config.seed)
    folds = np.random.default_rng(config.seed).permutation(len(labels)) % config.folds
    one_per_run, none = np.arange(seeds) % config.folds, np.full(seeds, -1)

    def loss_fn(params, batch, *, key):
        key_inputs, key_layers = jax.random.split(key)
        xs = drop(batch.xs, config.input_dropout, key_inputs)
        logits = apply(params, xs, batch.lengths, key_layers).logits
        return loss(logits, batch.labels, where=batch.folds != batch.left_out)

    def batches(left_out, step):
        some = rows(step)
        return Batch(sentences.xs[:, some], sentences.lengths[some], labels[some], folds[some], left_out)

    forward = jax.jit(
        lambda runs: jax.vmap(lambda p: jax.nn.softmax(apply(p, sentences.xs, sentences.lengths).logits))(runs)
    )
    asked = one_per_run[:, None] == folds  # [R, M]

    def evaluate(state):
        probs = np.asarray(forward(state.params))[:, : len(labels)]
        truth = probs[:, np.arange(len(labels)), labels]
        accuracy = (probs.argmax(axis=-1) == labels)[asked].mean()
        return {"held_out_loss": float(-np.log(truth[asked]).mean()), "held_out_accuracy": float(accuracy)}

    start, axes = sweep.make_start(config, init, np.arange(seeds)), Batch(1, 0, 0, 0, None)
    update = jax.vmap(
        rnnjax.training.make_train_step(
            loss_fn, sweep.scaled_optimizer(config, config.mean_rate if name == "mean" else 1.0)
        ),
        in_axes=(0, Batch(None, None, None, None, 0)),
    )
    training.fit(
        config,
        update,
        start(),
        functools.partial(batches, one_per_run),
        folder / "folds",
        batch_axes=axes,
        evaluate=evaluate,
        log_every=10,
    )
    lines = [line for line in report.read_metrics(folder / "folds" / "metrics.jsonl") if "held_out_accuracy" in line]
    updates, validation = (np.array([line[name] for line in lines]) for name in ("step", "held_out_accuracy"))
    chosen = int(updates[validation.argmax()])
    again = dataclasses.replace(config, steps=chosen)
    result = training.fit(again, update, start(), functools.partial(batches, none), folder / "all", batch_axes=axes)
    return Learned(updates, validation, chosen, np.asarray(forward(result.state.params)))
