"""Where genes are spliced, from sixty letters: a bidirectional network with attention, and the letters it attends to.

python -m experiments.dna --data splice         splice junctions, 10-fold: 95.5 % of 3,190 right, logistic
                                                regression 95.1 % (seed 0)
python -m experiments.dna --preset promoters    promoters of E. coli, each left out once
python -m experiments.dna                       a planted motif at any position, nothing to download
"""

import dataclasses

import numpy as np

from experiments.data import dna
from experiments.dna import figures, linear
from experiments.dna.model import cross_validate, make_splits
from experiments.lib import frame, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import bootstrap, wilson


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    preset: str = ""  # promoters: other defaults for the options below
    data: str = "generated"  # generated, splice, promoters, or the path of a file of lines "class, name, sequence"
    rows: int = 2000  # generated sequences
    folds: int = 10  # of the cross-validation; as many as there are sequences to leave out each once
    parts: int = 8  # that the rest of a fold is cut into; one is for validation
    members: int = 1  # networks of a fold, each with another part for validation
    cell: str = "gru"  # of both directions: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units of each direction
    waves: int = 4  # sines and cosines of the position beside each letter, 0 for none
    masked: float = 0.1  # probability that a letter is hidden while training
    batch: int = 64  # sequences of an update
    steps: int = 400  # updates at most; fewer where validation says so
    learning_rate: float = 0.01  # at its peak
    evaluate_every: int = 50  # updates between evaluations

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if min(self.folds, self.parts) < 2 or not 1 <= self.members <= self.parts:
            raise ValueError(
                "expected --folds and --parts from 2 and --members from 1 to --parts, got "
                f"{self.folds}, {self.parts} and {self.members}."
            )
        if not 0 <= self.masked < 1:
            raise ValueError(f"expected --masked to be a probability below 1, got {self.masked}.")


SMOKE = {"rows": 60, "folds": 2, "parts": 2, "cell": "rnn", "hidden": 5, "batch": 8, "steps": 20, "evaluate_every": 10}
SMOKE |= {"optimizer": "sgd", "schedule": "constant", "clip_norm": 0.0}
PRESETS = {"promoters": {"preset": "promoters", "data": "promoters", "folds": 106, "parts": 3, "members": 3}}
PRESETS["promoters"] |= {"hidden": 16, "batch": 32, "steps": 300, "evaluate_every": 25}


def main(config: Config) -> dict:
    """Cross-validates the networks and the models of positions, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    data = dna.load(config.data, rows=config.rows, seed=config.seed)
    labels, xs = data.labels, dna.one_hot(data.letters)
    splits = make_splits(data.letters, labels, config)
    found, losses, steps = cross_validate(xs, labels, splits, config, run.folder)
    answers = {"network": found.probabilities.argmax(axis=1)} | linear.predict(xs, labels, splits, config.members)
    right = {name: answer == labels for name, answer in answers.items()}
    accuracies = {name: wilson(each) for name, each in right.items()}
    most_frequent = float(np.bincount(labels).max() / len(labels))

    figures.draw_accuracies(run.folder, accuracies, most_frequent)
    figures.draw_logos(run.folder, data, xs, found.attention)
    figures.draw_attended(run.folder, data, xs, found.attention)
    figures.draw_validation(run.folder, steps, losses)
    names = {"accuracy": "network", "baseline_accuracy": "logistic regression"}
    names["baseline_naive_bayes_accuracy"] = "naive Bayes"
    headline = {key: accuracies[name].mean for key, name in names.items()}
    classes = range(len(data.classes))
    confusion = np.zeros((len(classes), len(classes)), int)
    np.add.at(confusion, (labels, answers["network"]), 1)
    repeated = len(labels) - len(np.unique(data.letters))
    values = {
        "accuracies": accuracies,
        "by_class": {name: [wilson(each[labels == i]) for i in classes] for name, each in right.items()},
        "gains": {name: bootstrap(right["network"] - 1.0 * right[name]) for name in list(right)[1:]},
        "confusion": confusion.tolist(),
        "counts": {"rows": len(labels), "length": xs.shape[1], "repeated": repeated},
        "folds": len(splits) // config.members,
        "chosen": np.percentile(steps[losses.argmin(axis=0)], [0, 50, 100]).astype(int),
        "strengths": linear.STRENGTHS,
    }
    return frame.finish(run, headline, classes=data.classes, most_frequent=most_frequent, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE, presets=PRESETS)
