"""What predicts the next chord, as 88 independent notes: a recurrent network, and models without recurrence."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression

import rnnjax
from experiments.data.jsb import NOTES
from experiments.lib.cells import make_cell
from experiments.lib.readout import Params, drop
from experiments.lib.training import train

PENALTIES = (0.1, 0.3, 1.0)  # C of scikit-learn, the smaller the stronger
CONTEXTS = (1, 4)  # chords that a logistic regression sees


class Batch(NamedTuple):
    """Chorales side by side."""

    rolls: np.ndarray  # booleans [T, B, 88], silent after the end
    lengths: np.ndarray  # chords of each [B]


def collate(rolls: Sequence[np.ndarray], length: int) -> Batch:
    """Pads rolls `[T, 88]` to one length."""
    padded = np.zeros((length, len(rolls), NOTES), bool)
    for column, roll in enumerate(rolls):
        padded[: len(roll), column] = roll
    return Batch(padded, np.array([len(roll) for roll in rolls], np.int32))


def transposed(roll: np.ndarray, semitones: int) -> np.ndarray:
    """A roll `[T, 88]` so many semitones higher, as far as the piano goes.

    >>> roll = np.eye(NOTES, dtype=bool)[[5, 80]]
    >>> [np.argmax(transposed(roll, semitones), axis=1).tolist() for semitones in (3, -3, 12, -12)]
    [[8, 83], [2, 77], [12, 87], [0, 75]]
    """
    notes = np.flatnonzero(roll.any(axis=0))
    return np.roll(roll, int(np.clip(semitones, -notes[0], NOTES - 1 - notes[-1])), axis=1) if len(notes) else roll


def nats(logits: jax.Array, rolls: jax.Array) -> jax.Array:
    """-log P `[...]` of chords `[..., 88]`, each note an independent Bernoulli; logits `[..., 88]`."""
    values = rnnjax.losses.get_loss("binary_cross_entropy").values
    return values(logits, rolls.astype(logits.dtype)).sum(axis=-1)


class Network(NamedTuple):
    """A stack of cells with an output for each note."""

    config: Any
    cells: list[rnnjax.Cell]

    def init(self, key: jax.Array) -> Params:
        """Draws parameters."""
        key_cell, key_y = jax.random.split(key)
        w_y = jax.nn.initializers.glorot_uniform()(key_y, (self.config.hidden, NOTES))
        return Params(rnnjax.stack(self.cells).init(key_cell), w_y, jnp.full(NOTES, -2.0))  # most notes are silent

    def logits(self, params: Params, rolls: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Logits `[T, B, 88]` of the chords after those of rolls `[T, B, 88]`; the key is of dropout."""
        config, keys = self.config, [None] * 3 if key is None else jax.random.split(key, 3)
        xs = drop(rolls.astype(jnp.float32), config.drop_inputs, keys[0])
        _, hs = rnnjax.unroll_layers(self.cells, params.cell, xs, key=keys[1], dropout=config.dropout)
        return jnp.matmul(drop(hs, config.dropout, keys[2]), params.w_y) + params.b_y[None, None]

    def compose(self, params: Params, first: jax.Array, key: jax.Array) -> jax.Array:
        """Draws `config.length` chords `[T, 88]`, the first given `[88]`, note after note by its odds, none twice."""
        cell = rnnjax.stack(self.cells)

        def step(carry, key):
            state, chord = carry
            state, h = cell.apply(params.cell, state, chord.astype(jnp.float32))
            logits = (jnp.matmul(h, params.w_y) + params.b_y) / self.config.temperature
            _, notes = jax.lax.top_k(logits + jax.random.gumbel(key, (NOTES,)), self.config.voices)
            return (state, jnp.zeros(NOTES, bool).at[notes].set(True)), chord

        return rnnjax.scan(step, (cell.initial_carry(()), first), jax.random.split(key, self.config.length))[1]


def make_network(config: Any) -> Network:
    """Makes the network of these options."""
    sizes = [NOTES] + [config.hidden] * (config.layers - 1)
    return Network(config, [make_cell(config.cell, size, config.hidden) for size in sizes])


def make_score(network: Network, longest: int):
    """`(params, rolls) -> nats`, a list of `[T - 1]`: -log P of each chord but the first of each chorale."""
    compiled = jax.jit(lambda params, rolls: nats(network.logits(params, rolls[:-1]), rolls[1:]))

    def score(params: Params, rolls: Sequence[np.ndarray]) -> list[np.ndarray]:
        found = np.asarray(compiled(params, collate(rolls, longest).rolls))
        return [found[: len(roll) - 1, column] for column, roll in enumerate(rolls)]

    return score


def fit_network(network: Network, known: Sequence[np.ndarray], valid: Sequence[np.ndarray], score, folder: Path):
    """Trains on pieces of chorales in random keys, until validation says so."""
    config, size = network.config, network.config.window + 1

    def loss_fn(params, batch, *, key):
        mask = rnnjax.losses.length_mask(batch.lengths - 1, size - 1)
        losses = nats(network.logits(params, batch.rolls[:-1], key), batch.rolls[1:])
        return rnnjax.losses.masked_mean(losses, mask)

    def batches(step):
        rng, pieces = np.random.default_rng((config.seed, step)), []
        for row in rng.integers(len(known), size=config.batch):
            begin = rng.integers(max(1, len(known[row]) - size + 1))
            semitones = rng.integers(2) * rng.integers(-config.transpose, config.transpose + 1)  # half as it is
            pieces.append(transposed(known[row][begin : begin + size], semitones))
        return collate(pieces, size)

    def evaluate(state):
        return {"held_out_loss": float(np.concatenate(score(state.params, valid)).mean())}

    settings = {"evaluate": evaluate, "patience": config.patience, "batch_axes": Batch(1, 0), "unit": "chord"}
    return train(config, network.init, loss_fn, batches, folder, **settings)


# ---- without recurrence --------------------------------------------------------------------------------------


def frequencies(known: Sequence[np.ndarray]) -> np.ndarray:
    """The probability `[88]` of each note in any chord but the first, smoothed."""
    chords = np.concatenate([roll[1:] for roll in known])
    return (chords.sum(axis=0) + 1) / (len(chords) + 2)


def contexts(roll: np.ndarray, chords: int) -> np.ndarray:
    """The chords `[T - 1, chords * 88]` before each chord but the first, newest first, silence before the beginning."""
    padded = np.concatenate([np.zeros((chords - 1, NOTES), bool), roll[:-1]])
    return np.concatenate([padded[k : k + len(roll) - 1] for k in range(chords)][::-1], axis=1)


class Logistic(NamedTuple):
    """A logistic regression for each note, on the chords before."""

    chords: int  # that it sees
    penalty: float  # C
    weights: np.ndarray  # [chords * 88, 88]
    bias: np.ndarray  # [88]

    def score(self, rolls: Sequence[np.ndarray]) -> list[np.ndarray]:
        """-log P `[T - 1]` of each chord but the first of each chorale."""
        found = []
        for roll in rolls:
            logits, chords = contexts(roll, self.chords) @ self.weights + self.bias, roll[1:]
            found.append(np.logaddexp(0, np.where(chords, -logits, logits)).sum(axis=1))
        return found


def fit_logistic(known: Sequence[np.ndarray], chords: int, penalty: float) -> Logistic:
    """Fits one regression for each note, with scikit-learn; a note that is never sung keeps its frequency."""
    xs = csr_array(np.concatenate([contexts(roll, chords) for roll in known]).astype(float))
    ys, share = np.concatenate([roll[1:] for roll in known]), frequencies(known)
    weights, bias = np.zeros((chords * NOTES, NOTES)), np.log(share / (1 - share))
    for note in np.flatnonzero(ys.any(axis=0)):
        fitted = LogisticRegression(C=penalty, solver="liblinear").fit(xs, ys[:, note])
        weights[:, note], bias[note] = fitted.coef_[0], fitted.intercept_[0]
    return Logistic(chords, penalty, weights, bias)
