"""The next chord of a chorale from all chords so far, and new chorales: one beginning, many ways to go on.

python -m experiments.music --data jsb    Bach's chorales: 8.32 nats a chord on the test,
                                          a logistic regression on four chords 8.88 (seed 0)
python -m experiments.music               generated chorales, nothing to download
python -m experiments.music --data jsb --first 57 64 72 81    chorales that begin with another chord
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from experiments.data import jsb
from experiments.lib import frame, plots, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import Interval, bootstrap
from experiments.lib.sound import write_wav
from experiments.music import figures, models, score


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # generated, jsb, or the path of such a JSON file
    count: int = 240  # generated chorales
    cell: str = "lstm"  # rnn, irnn, gru, simple_gru, mgu, lstm, layer_norm_lstm, ...
    layers: int = 1  # of cells
    hidden: int = 200  # units of a layer
    dropout: float = 0.5  # of the outputs of a layer
    drop_inputs: float = 0.1  # of the notes that are read
    window: int = 64  # chords of a training example at most
    transpose: int = 6  # semitones up or down at most that a training example is moved by
    steps: int = 2500  # updates at most; fewer where validation says so
    batch: int = 24  # pieces of an update
    learning_rate: float = 0.006  # at its peak
    steps_per_call: int = 20  # updates in one compiled call
    evaluate_every: int = 100  # updates between evaluations on held-out data
    patience: int = 10  # evaluations without a better one
    first: tuple[int, ...] = (60, 67, 76, 84)  # MIDI numbers of the chord that new chorales begin with
    draws: int = 3  # new chorales from it
    length: int = 32  # chords of each
    voices: int = 4  # notes of each of their chords but the first
    temperature: float = 0.7  # that these are drawn at
    pace: float = 0.6  # seconds of a chord that is played

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        for name in ("window", "patience", "draws", "length", "layers", "voices"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected --{name} from 1, got {getattr(self, name)}.")
        if self.count < 4 or not 0 <= self.transpose <= 12 or not self.temperature > 0 or not self.pace > 0:
            raise ValueError(
                "expected --count from 4, --transpose from 0 to 12, and --temperature and --pace above 0, got "
                f"{self.count}, {self.transpose}, {self.temperature} and {self.pace}."
            )
        if not self.first or not all(jsb.LOWEST <= note < jsb.LOWEST + jsb.NOTES for note in self.first):
            raise ValueError(f"expected --first to be MIDI numbers from 21 to 108, got {self.first}.")


SMOKE = {"count": 24, "cell": "irnn", "hidden": 13, "steps": 20, "evaluate_every": 10, "length": 12, "draws": 2}
PIECE = 8  # chords: pieces as long as that are looked for in other chorales


def pieces(roll: np.ndarray) -> list[bytes]:
    """All pieces of a chorale `[T, 88]`, moved to one key, so that equal ones can be found."""
    found = [roll[begin : begin + PIECE] for begin in range(max(1, len(roll) - PIECE + 1))]
    return [models.transposed(piece, -jsb.NOTES).tobytes() for piece in found]


def shared(rolls: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> np.ndarray:
    """The share of the pieces of each chorale that also occur in others, in any key."""
    there = {piece for roll in others for piece in pieces(roll)}
    return np.array([np.mean([piece in there for piece in pieces(roll)]) for roll in rolls])


def per_chord(nats: Sequence[np.ndarray], less: Sequence[np.ndarray] | None = None) -> Interval:
    """The mean over all chords of nats `[T - 1]` of each chorale, or of what they exceed others by."""
    sums, counts = np.array([each.sum() for each in nats]), np.array([float(len(each)) for each in nats])
    return bootstrap(sums if less is None else sums - [each.sum() for each in less], over=counts)


def fit_baselines(known: Sequence[np.ndarray], valid: Sequence[np.ndarray]):
    """Baselines as `name -> (rolls -> nats)`, the penalty of each regression chosen on validation."""
    share = models.frequencies(known)
    note = models.Logistic(1, 0.0, np.zeros((jsb.NOTES, jsb.NOTES)), np.log(share / (1 - share)))
    found, losses = {"frequencies of notes": note.score}, {}
    for chords in models.CONTEXTS:
        fitted = [models.fit_logistic(known, chords, penalty) for penalty in models.PENALTIES]
        name = f"logistic regression on {chords} chord{'s' * (chords > 1)}"
        errors = [per_chord(each.score(valid)).mean for each in fitted]
        found[name], losses[name] = fitted[int(np.argmin(errors))].score, min(errors)
    return found, min(losses, key=losses.__getitem__)


def main(config: Config) -> dict:
    """Trains, scores the test, composes, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    train, valid, test = jsb.load(config.data, count=config.count, seed=config.seed)
    known = [roll for roll, share in zip(train, shared(train, valid + test), strict=True) if share <= 0.5]
    network = models.make_network(config)
    scorer = models.make_score(network, max(map(len, valid + test)))
    result = models.fit_network(network, known, valid, scorer, run.folder)
    params = result.best_params
    baselines, best = fit_baselines(known, valid)

    nats = {config.cell: scorer(params, test)} | {name: scores(test) for name, scores in baselines.items()}
    found = {name: per_chord(each) for name, each in nats.items()}
    gains = {name: per_chord(nats[config.cell], nats[name]) for name in baselines}
    first = np.zeros(jsb.NOTES, bool)
    first[np.array(config.first) - jsb.LOWEST] = True
    keys = jax.random.split(jax.random.key(config.seed), config.draws)
    new = np.asarray(jax.jit(jax.vmap(network.compose, in_axes=(None, None, 0)))(params, first, keys))
    write_wav(run.folder / "chorale.wav", score.synthesize(new[0], config.pace), score.RATE)
    for number, roll in enumerate(new):
        score.write_midi(run.folder / f"chorale_{number}.mid", roll, config.pace)

    shown = test[0][: config.window]
    logits = network.logits(params, models.collate([shown], len(shown)).rolls)[:, 0]
    figures.draw_chorales(run.folder, new)
    figures.draw_predictions(run.folder, shown, np.asarray(jax.nn.sigmoid(logits)))
    figures.draw_positions(run.folder, nats)
    plots.run_losses(run.folder, title="Learning chorales", y="loss (nats a chord)")
    headline = {"nll_per_step": found[config.cell].mean, "baseline_nll_per_step": found[best].mean}
    values = {"found": found, "gains": gains, "by_chorale": np.mean([each.mean() for each in nats[config.cell]])}
    values |= {"counts": {"train": len(train), "known": len(known), "valid": len(valid), "test": len(test)}}
    values |= {"chords": sum(map(len, test)) - len(test), "twice": float(shared(test, known).max()), "best": best}
    return frame.finish(run, headline | {"updates": result.step}, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
