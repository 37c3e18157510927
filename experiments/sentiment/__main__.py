"""Is a review positive? The mean of word vectors, RNN, GRU, LSTM, and a BiLSTM with attention, word by word.

python -m experiments.sentiment --data sst2 --vectors glove   the Stanford Sentiment Treebank, 6,920 sentences: 82.4 %
                                                              by six GRUs, 82.0 % by means of vectors (seed 0)
python -m experiments.sentiment                               generated reviews, nothing to download
"""

import dataclasses
from typing import Literal

import numpy as np

from experiments.data import glove, sst2
from experiments.lib import frame, readers, training
from experiments.lib.intervals import bootstrap, wilson
from experiments.sentiment import figures
from experiments.sentiment.learning import Asked, learn


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # generated, sst2, or a folder with train.tsv, dev.tsv and test.tsv
    vectors: Literal["learned", "glove"] = "learned"  # where word vectors begin: at random, or with GloVe
    models: tuple[str, ...] = ("mean", "rnn", "gru", "lstm", "attention")  # the last over LSTMs in both directions
    embedding: int = 50  # numbers of a word vector, 50 with GloVe
    hidden: int = 64  # units of a layer and direction
    layers: int = 1  # of a network
    members: int = 6  # first weights of each model
    longest: int = 40  # words of a training sentence; what follows is cut off
    dropout: float = 0.3  # above each layer
    input_dropout: float = 0.3  # of the numbers of word vectors
    word_dropout: float = 0.1  # of words, which are then unknown
    batch: int = 50  # sentences of an update
    steps: int = 552  # updates at most; fewer where the dev part says so
    learning_rate: float = 0.01  # at its peak
    mean_rate: float = 1.0  # learning rate of the mean, over that of the networks
    evaluate_every: int = 69  # updates between evaluations on the dev part
    steps_per_call: int = 23  # updates in one compiled call

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        for name in self.models:
            readers.check_reader_name(name)
        if "mean" not in self.models or len(self.models) < 2:
            raise ValueError(f"expected --models to be mean and at least one more, got {', '.join(self.models)}.")
        if self.vectors == "glove" and self.embedding != 50:
            raise ValueError(f"expected --embedding 50 with --vectors glove, got {self.embedding}.")


SMOKE = {"models": ("mean", "attention"), "embedding": 7, "hidden": 7, "members": 2, "optimizer": "sgd", "steps": 20}
SMOKE |= {
    "learning_rate": 0.1,
    "mean_rate": 1.0,
    "clip_norm": 0.0,
    "schedule": "constant",
    "evaluate_every": 10,
    "steps_per_call": 10,
}

SENTENCE = ["completely", "lacking", "in", "good", "taste", ",", "good", "service", ",", "and", "good", "ambience", "."]
PAD, UNKNOWN = 0, 1


def vocabulary(reviews: sst2.Reviews, config: Config) -> tuple[dict[str, int], np.ndarray | None]:
    """Ids of the training words and of those that GloVe knows, and with GloVe the first vectors `[V, E]`."""
    seen = dict.fromkeys(word for sentence in reviews.training.sentences for word in sentence)
    if config.vectors == "learned":
        return {word: i for i, word in enumerate(seen, 2)}, None
    known = glove.load()
    of_others = {
        word for part in (*reviews[1:3], sst2.Labelled((tuple(SENTENCE),), None)) for s in part[0] for word in s
    }
    seen |= dict.fromkeys(word for word in known.words if word in of_others)
    first = glove.rows_for(["<pad>", "<unknown>", *seen], known, rng=np.random.default_rng(config.seed))
    return {word: i for i, word in enumerate(seen, 2)}, first


def main(config: Config) -> dict:
    """Trains every model, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    reviews = sst2.load(config.data, config.seed)
    ids, first = vocabulary(reviews, config)
    cut = [words[: config.longest] for words in reviews.training.sentences]
    known = readers.encode(cut, ids, unknown=UNKNOWN)
    sentence = SENTENCE if config.data != "generated" else [w for w in SENTENCE if w in ids or w == "ambience"]
    prefixes = [sentence[: end + 1] for end in range(len(sentence))]
    asked = Asked(
        readers.encode((*reviews.dev.sentences, *reviews.test.sentences, *prefixes), ids, unknown=UNKNOWN),
        reviews.dev.labels,
        len(reviews.test.labels),
    )
    learned = {
        name: learn(name, config, (known, reviews.training.labels), asked, (len(ids) + 2, first), run.folder / name)
        for name in config.models
    }

    truth = reviews.test.labels
    right = {name: (each.test > 0.5) == truth for name, each in learned.items()}  # [M, N]
    together = {name: (each.test.mean(axis=0) > 0.5) == truth for name, each in learned.items()}  # [N]
    chosen = max((name for name in config.models if name != "mean"), key=lambda name: learned[name].dev)
    read = {name: each.words.mean(axis=0) for name, each in learned.items()}
    figures.draw_words(run.folder, sentence, read)
    if "attention" in config.models:
        figures.draw_attention(run.folder, sentence, learned["attention"].weights)
    found = {name: wilson(answers) for name, answers in right.items()}
    figures.draw_accuracy(run.folder, found, {name: wilson(answers) for name, answers in together.items()})

    commonest = np.bincount(reviews.training.labels).argmax()
    headline = {
        "accuracy": float(together[chosen].mean()),
        "accuracy_single": found[chosen].mean,
        "baseline_accuracy": float(together["mean"].mean()),
        "baseline_commonest": float(np.mean(truth == commonest)),
        "network": chosen,
    }
    errors = [row for row in range(len(truth)) if together[chosen][row] and not together["mean"][row]]
    values = {
        "counts": {"training": len(reviews.training.labels), "dev": len(reviews.dev.labels), "test": len(truth)},
        "removed": reviews.removed,
        "words": len(ids),
        "learned": learned,
        "found": found,
        "together": {name: wilson(answers) for name, answers in together.items()},
        "gains": {name: bootstrap(together[name] * 1.0 - together["mean"]) for name in config.models},
        "commonest": wilson(truth == commonest),
        "chosen": chosen,
        "sentence": " ".join(sentence),
        "read": {name: float(p[-1]) for name, p in read.items()},
        "better": [(" ".join(reviews.test.sentences[row]), int(truth[row])) for row in errors[:8]],
    }
    return frame.finish(run, headline, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
