"""Recognisers: of single digits by the mean over time, of strings by CTC; bidirectional, or an MLP on a window."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jiwer
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import rnnjax
from experiments.lib import training
from experiments.lib.cells import make_cell
from experiments.lib.intervals import Interval, bootstrap
from experiments.lib.optimization import make_optimizer
from experiments.lib.readout import Params, drop
from experiments.speech.features import MELS, Frames, warped

STACK = 3  # frames that are read in one step
WINDOW = 9  # steps that the MLP sees, a third of a second
DIGITS = 10


class Recogniser(NamedTuple):
    """Frames to logits."""

    config: Any
    cell: str  # of each direction; "" for an MLP on a window
    outputs: int

    @property
    def direction(self) -> rnnjax.Cell | None:
        """The cell of one direction."""
        return make_cell(self.cell, STACK * MELS, self.config.hidden) if self.cell else None

    def init(self, key: jax.Array) -> Params:
        """Draws parameters."""
        key_body, key_y = jax.random.split(key)
        glorot, hidden = jax.nn.initializers.glorot_uniform(), 2 * self.config.hidden
        body = glorot(key_body, (WINDOW * STACK * MELS, hidden)), jnp.zeros(hidden)
        if self.cell:
            body = rnnjax.encoder([(self.direction, self.direction)]).init(key_body)
        return Params(body, glorot(key_y, (hidden, self.outputs)), jnp.zeros(self.outputs))

    def steps(self, params: Params, frames: Frames, key: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
        """Logits `[T / STACK, B, V]` of frames `[B, T, MELS]`, and how many steps of them are real `[B]`."""
        batch, length, _ = frames.values.shape
        xs = jnp.swapaxes(frames.values.reshape(batch, length // STACK, STACK * MELS), 0, 1)
        lengths, keys = -(-frames.lengths // STACK), [None, None] if key is None else jax.random.split(key)
        xs = drop(xs, 0.5 * self.config.dropout, keys[0])
        if self.cell:
            _, hs = rnnjax.unroll_layers([(self.direction, self.direction)], params.cell, xs, lengths=lengths)
        else:
            padded = jnp.pad(xs, ((WINDOW // 2, WINDOW // 2), (0, 0), (0, 0)))
            seen = jnp.concatenate([padded[k : k + len(xs)] for k in range(WINDOW)], axis=-1)
            hs = jax.nn.relu(jnp.matmul(seen, params.cell[0]) + params.cell[1][None, None])
        logits = jnp.matmul(drop(hs, self.config.dropout, keys[1]), params.w_y) + params.b_y[None, None]
        return logits, lengths

    def whole(self, params: Params, frames: Frames, key: jax.Array | None = None) -> jax.Array:
        """Logits `[B, V]` of frames `[B, T, MELS]`: the mean over the steps."""
        logits, lengths = self.steps(params, frames, key)
        real = rnnjax.losses.length_mask(lengths, len(logits))[..., None]
        return jnp.where(real, logits, 0.0).sum(axis=0) / jnp.maximum(lengths, 1)[:, None]


# ---- single digits -------------------------------------------------------------------------------------------


class Split(NamedTuple):
    """Row numbers of one way to split the recordings."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray


def learn_digits(config: Any, model: Recogniser, frames: Frames, digits: np.ndarray, splits: Sequence[Split], folder):
    """Trains a recogniser for each split, all side by side; log P `[M, V]` of each test."""
    optimizer, keys = make_optimizer(config), jax.random.split(jax.random.key(config.seed), len(splits))
    cross_entropy = rnnjax.losses.get_loss("cross_entropy")

    def loss_fn(params, batch, *, key):
        return cross_entropy(model.whole(params, batch[0], key), batch[1])

    def batches(step):
        rng = np.random.default_rng((config.seed, step))
        rows = np.stack([rng.choice(split.train, size=config.batch) for split in splits])
        some = warped(Frames(frames.values[rows.ravel()], frames.lengths[rows.ravel()]), config.warp, rng)
        return jax.tree.map(lambda leaf: leaf.reshape(*rows.shape, *leaf.shape[1:]), (some, digits[rows.ravel()]))

    forward = jax.jit(lambda params, some: jax.nn.log_softmax(model.whole(params, some)))

    def scores(params: Any, parts: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = []
        for run, rows in enumerate(parts):
            own = jax.tree.map(lambda leaf: leaf[run], jax.device_get(params))  # noqa: B023
            some = Frames(*(leaf[rows] for leaf in frames))
            found.append(training.in_chunks(lambda part: forward(own, part), some))  # noqa: B023
        return found

    def evaluate(state):
        parts = [split.valid for split in splits]
        found, truth = np.concatenate(scores(state.params, parts)), digits[np.concatenate(parts)]
        loss = -found[np.arange(len(truth)), truth].mean()
        return {"held_out_loss": float(loss), "held_out_accuracy": float(np.mean(found.argmax(axis=1) == truth))}

    start = jax.jit(jax.vmap(lambda key: rnnjax.training.init_state(model.init(key), optimizer, key=key)))
    update = jax.vmap(rnnjax.training.make_train_step(loss_fn, optimizer))
    print(f"{len(splits)} recognisers of digits side by side, in {folder}", flush=True)
    result = training.fit(config, update, start(keys), batches, folder, evaluate=evaluate, batch_axes=1)
    return scores(result.state.params, [split.test for split in splits])


def logistic_digits(frames: Frames, digits: np.ndarray, splits: Sequence[Split]) -> list[np.ndarray]:
    """What a logistic regression on the mean over time answers `[M]`, its penalty chosen on validation."""
    means, answers = frames.values.sum(axis=1) / frames.lengths[:, None], []
    for split in splits:
        models = [make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300)) for c in (0.1, 1.0)]
        fitted = [model.fit(means[split.train], digits[split.train]) for model in models]
        best = max(fitted, key=lambda each: each.score(means[split.valid], digits[split.valid]))
        answers.append(best.predict(means[split.test]))
    return answers


# ---- strings of digits ---------------------------------------------------------------------------------------


class Labelled(NamedTuple):
    """Strings as frames, and their labels: digits + 1, as 0 is the blank."""

    frames: Frames
    labels: np.ndarray  # [N, L]
    counts: np.ndarray  # labels of each [N]


def label(frames: Frames, digits: Sequence[Sequence[int]], longest: int) -> Labelled:
    """Puts labels beside frames."""
    labels = np.zeros((len(digits), longest), np.int32)
    for row, string in enumerate(digits):
        labels[row, : len(string)] = np.array(string) + 1
    return Labelled(frames, labels, np.array([len(string) for string in digits], np.int32))


def learn_strings(config: Any, model: Recogniser, known: Labelled, valid: Labelled, folder: Path, name: str):
    """Trains by CTC, and stops on validation; the best parameters."""

    def nats(params, batch, key=None):
        logits, lengths = model.steps(params, batch.frames, key)
        return rnnjax.losses.ctc(logits, batch.labels, logit_lengths=lengths, label_lengths=batch.counts)

    def loss_fn(params, batch, *, key):
        return rnnjax.losses.SumCount(nats(params, batch, key).sum(), batch.counts.sum().astype(jnp.float32))

    of_step = training.shuffled(known, config.batch, config.seed)

    def batches(step):
        batch = of_step(step)
        return batch._replace(frames=warped(batch.frames, config.warp, np.random.default_rng((config.seed, step))))

    compiled = jax.jit(nats)

    def evaluate(state):
        found = training.in_chunks(lambda some: compiled(state.params, some), valid, size=64)
        return {"held_out_loss": float(found.sum() / valid.counts.sum())}

    settings = {"evaluate": evaluate, "patience": config.patience, "batch_axes": 0, "unit": "digit"}
    return training.train(config, model.init, loss_fn, batches, folder, name=name, **settings).best_params


def make_reader(model: Recogniser, beam: int, longest: int):
    """`(params, frames) -> strings of digits`: prefix beam search, or greedy if the beam is 1."""

    @jax.jit
    def read(params, frames):
        logits, lengths = model.steps(params, frames)

        def search(one, length):
            if beam == 1:
                return rnnjax.decoding.ctc_greedy(one, length=length)
            return rnnjax.decoding.ctc_beam_search(one, length=length, beam_size=beam, max_labels=longest)

        found = jax.vmap(search, in_axes=(1, 0))(logits, lengths)
        return found.labels[:, 0], found.lengths[:, 0]

    def strings(params: Params, frames: Frames) -> list[list[int]]:
        labels, counts = training.in_chunks(lambda some: read(params, some), frames, size=64)
        return [(row[:count] - 1).tolist() for row, count in zip(labels, counts, strict=True)]

    return strings


def word_errors(found: Sequence[Sequence[int]], said: Sequence[Sequence[int]]) -> Interval:
    """The word error rate, with a bootstrap over strings."""
    texts = [(" ".join(map(str, a)), " ".join(map(str, b))) for a, b in zip(said, found, strict=True)]
    outs = [jiwer.process_words(*pair) for pair in texts]
    errors = np.array([float(out.substitutions + out.deletions + out.insertions) for out in outs])
    return bootstrap(errors, over=np.array([float(len(string)) for string in said]))


def split_all(indices: np.ndarray, speakers: np.ndarray) -> Mapping[str, Split]:
    """The usual split, test 0 to 4, validation 5 to 9; and one for each speaker left out of training and validation."""
    test, valid, train = indices < 5, (indices >= 5) & (indices < 10), indices >= 10
    masks = {"": (train, valid, test)}
    for name in np.unique(speakers):
        own = speakers == name
        masks[str(name)] = ~valid & ~own, valid & ~own, own
    return {name: Split(*map(np.flatnonzero, each)) for name, each in masks.items()}
