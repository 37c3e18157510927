"""An emoji for a sentence: the mean of its word vectors against an LSTM that reads them in order.

python -m experiments.emojify --data emojify    132 sentences of a course and vectors of GloVe for 9,163 words: the
                                                LSTM has 74 % of 56 right, the mean 79 % (10 seeds from seed 0)
python -m experiments.emojify                   generated sentences, nothing to download; only the order of their words
                                                tells what is meant
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from experiments.data import emojify
from experiments.emojify import figures
from experiments.emojify.learning import Sentences, learn
from experiments.emojify.unknown import everyday_english, induce
from experiments.lib import frame, readers, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import bootstrap, wilson


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: Literal["generated", "emojify"] = "generated"  # made up, or those of the course
    vectors: str = "glove"  # of the course's words: glove (9,163 words), or the path of a file in its format
    induced: bool = True  # whether words of the course without a vector get one from sentences of Tatoeba
    cell: str = "lstm"  # of the network: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    layers: int = 2  # of it
    hidden: int = 24  # units of a layer
    dropout: float = 0.5  # above each layer
    input_dropout: float = 0.2  # of the elements of word vectors
    seeds: int = 10  # first weights of each model
    folds: int = 5  # of the cross-validation that chooses the number of updates
    batch: int = 32  # sentences of an update
    learning_rate: float = 0.01  # at its peak
    mean_rate: float = 3.0  # learning rate of the mean, over that of the network
    steps: int = 300  # updates at most
    schedule: str = "constant"  # decay of the learning rate: constant, linear, cosine or exponential
    steps_per_call: int = 20  # updates in one compiled call
    evaluate_every: int = 20  # updates between evaluations on the folds left out

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if not 2 <= self.folds <= self.seeds:
            raise ValueError(f"expected --folds from 2 to --seeds, got {self.folds} and {self.seeds}.")
        if self.evaluate_every % self.steps_per_call:
            raise ValueError(
                f"expected --evaluate-every to be a multiple of --steps-per-call, got {self.evaluate_every} and "
                f"{self.steps_per_call}."
            )


SMOKE = {"cell": "irnn", "layers": 1, "hidden": 7, "seeds": 2, "folds": 2, "steps": 40, "optimizer": "sgd"}
SMOKE |= {"learning_rate": 0.1, "mean_rate": 1.0, "clip_norm": 0.0}

PROBES = {  # sentences of nobody's data, without labels
    "emojify": (
        ("not", "feeling", "happy"),
        ("i", "am", "not", "sad", "but", "happy"),
        ("i", "am", "not", "happy", "but", "sad"),
        ("i", "do", "not", "love", "food"),
        ("you", "are", "not", "bad"),
    ),
    "generated": (
        ("she", "says", "not", "sad", "but", "happy"),
        ("she", "says", "not", "happy", "but", "sad"),
        ("she", "says", "happy", "not", "sad"),
        ("she", "says", "not", "happy"),
        ("they", "write", "not", "bread", "but", "score"),
    ),
}


def look_up(sentences: Sequence[Sequence[str]], vectors: emojify.glove.WordVectors) -> Sentences:
    """The vectors of sentences `[T, N, F]`; a word without one is a vector of zeros, as is what follows the end."""
    table = np.concatenate([np.zeros_like(vectors.vectors[:1]), vectors.vectors])
    words = readers.encode(sentences, {word: i for i, word in enumerate(vectors.words, 1)}, unknown=0)
    return Sentences(table[words.ids], words.lengths)


def confusion(answers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Shares `[5, 5]` of answers `[S, N]` by label, which is the row."""
    counts = np.zeros((5, 5))
    np.add.at(counts, (np.broadcast_to(labels, answers.shape), answers), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def main(config: Config) -> dict:
    """Trains both models, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    data, probes = emojify.load(config.data, config.seed, config.vectors), PROBES[config.data]
    known, test = data.training.labels, data.test.labels
    induced = config.induced and config.data == "emojify"
    vectors = induce(everyday_english(), data.vectors) if induced else data.vectors
    # All in one array, so that one shape is compiled: training, test, probes.
    sentences = look_up((*data.training.sentences, *data.test.sentences, *probes), vectors)
    models = {"mean": "mean", "network": config.cell}
    learned = {name: learn(model, config, sentences, known, run.folder / name) for name, model in models.items()}

    probs = {name: each.probs[:, len(known) :] for name, each in learned.items()}  # of test and probes [S, N, 5]
    answers = {name: p[:, : len(test)].argmax(axis=-1) for name, p in probs.items()}
    right = {name: answer == test for name, answer in answers.items()}
    found = {name: wilson(each) for name, each in right.items()}
    commonest = np.bincount(known).argmax()
    figures.draw_confusion(run.folder, {name: confusion(answer, test) for name, answer in answers.items()})
    figures.draw_folds(run.folder, learned)

    mean = {name: p.mean(axis=0) for name, p in probs.items()}  # over the seeds [N, 5]
    said = {name: p.argmax(axis=-1) for name, p in mean.items()}
    rows = [
        {
            "text": " ".join(words),
            "label": emojify.EMOJIS[test[row]] if row < len(test) else "",
            **{name: (emojify.EMOJIS[said[name][row]], float(mean[name][row].max())) for name in models},
        }
        for row, words in enumerate((*data.test.sentences, *probes))
    ]
    differ = [row for row in np.flatnonzero(said["mean"] != said["network"]) if row < len(test)]
    headline = {"accuracy": found["network"].mean, "baseline_accuracy": found["mean"].mean}
    headline["baseline_commonest"] = float(np.mean(test == commonest))
    values = {
        "gain": bootstrap(right["network"].mean(axis=0) - right["mean"].mean(axis=0)),
        "by_seed": {name: each.mean(axis=1) for name, each in right.items()},
        "found": found | {"commonest": wilson(test == commonest)},
        "learned": learned,
        "counts": {
            "training": len(known),
            "test": len(test),
            "removed": data.removed,
            "words": len(data.vectors.words),
        },
        "without": [len({w for s in part[0] for w in s} - {*data.vectors.words}) for part in data[:2]],
        "induced": induced,
        "differ": [rows[row] for row in differ],
        "right": sum(said["network"][row] == test[row] for row in differ),
        "examples": rows[: len(test) : max(1, len(test) // 12)],
        "probes": rows[len(test) :],
        "features": data.vectors.vectors.shape[1],
    }
    return frame.finish(run, headline, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
