"""The cat which already ate ... was full: which network knows the number of the subject when its verb comes?

    python -m experiments.agreement                 every cell: five minutes on two CPU cores; 50 words after the
                                                    subject LSTM and GRU at 100 %, the simple RNN at chance
    python -m experiments.agreement --cell lstm     one cell, under a minute

Sentences of a small grammar, with a chosen number of words between the subject and its verb and nouns of the other
number among them, are read in three lessons: far ones only, near and far ones, and with every verb counting.
"""

import dataclasses
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiments.agreement import figures
from experiments.agreement.grammar import NUMBER, OPENING, Encoded, Sentence, encode, parse, write
from experiments.agreement.learning import Learned, make_learn
from experiments.lib import frame, training
from experiments.lib.cells import CELLS, GATES, check_cell_name
from experiments.lib.intervals import Interval, wilson

LESSONS = ("far", "near_and_far", "every_verb", "far_no_chrono")
COMPARED = ("rnn", "gru", "lstm")  # in all lessons; the other cells in the first
AT = 50  # words between, of the headline
ATE = "which already ate"
MICE = "which already ate the mice near the houses and which the dogs which the old man feeds chase"
LONG = MICE + " and which the birds behind the trees hear and which the children which the girls know like"
EXAMPLES = [parse(f"the {cat} {rest}") for rest in (ATE, MICE, LONG) for cat in ("cat", "cats")]


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    cell: str = "all"  # or one of rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units
    embedding: int = 16  # features of a word
    nearest: int = 20  # words between subject and verb in the far lesson, at least
    longest: int = 60  # words between subject and verb in all lessons, at most
    tested: tuple[int, ...] = (5, 10, 20, 30, 40, 50, 60, 80, 100)  # words between in the test
    sentences: int = 20000  # of a lesson
    validation: int = 500  # sentences of each lesson that choose the learning rate
    held_out: int = 1000  # sentences of each distance in the test
    rates: tuple[float, ...] = (0.001, 0.003, 0.01)  # learning rates tried
    learning_rate: float = 1.0  # factor of all of them
    seeds: int = 2  # first weights of every cell
    steps: int = 1000  # updates
    batch: int = 32  # sentences of an update
    steps_per_call: int = 20  # updates in one compiled call

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        if self.cell != "all":
            check_cell_name(self.cell)
        if AT not in self.tested or min(self.tested) < 5:  # shorter sentences are too few
            raise ValueError(f"expected --tested from 5 on and with {AT}, that of the headline, got {self.tested}.")
        if not 0 <= self.nearest <= self.longest:
            raise ValueError(f"expected --nearest from 0 to --longest {self.longest}, got {self.nearest}.")
        if not self.rates or self.seeds < 1:
            raise ValueError(f"expected at least one of --rates and of --seeds, got {self.rates} and {self.seeds}.")


SMOKE = {"cell": "rnn", "hidden": 8, "embedding": 5, "sentences": 200, "validation": 20, "held_out": 40}
SMOKE |= {"optimizer": "sgd", "tested": (10, 50), "rates": (0.003, 0.01), "steps": 20, "steps_per_call": 10}


class Corpus(NamedTuple):
    """Everything that is read: test sentences, and sentences to train on and to choose the rate on, by lesson."""

    test: list[Sentence]
    training: dict[str, Encoded]
    validation: dict[str, Encoded]


def generate(config: Config) -> Corpus:
    """Writes test sentences first, then validation sentences, and training sentences that are none of them."""
    rng = random.Random(config.seed)
    test = [s for distance in config.tested for s in write(config.held_out, [distance], rng, set())]
    corpus, known = Corpus(test, {}, {}), {sentence.words for sentence in test}
    for nearest, lessons in ((config.nearest, ("far", "far_no_chrono")), (0, ("near_and_far", "every_verb"))):
        distances = range(nearest, config.longest + 1)
        some = write(config.validation, distances, rng, known)
        many = write(config.sentences, distances, rng, known | {sentence.words for sentence in some})
        for lesson in lessons:
            for part, sentences in ((corpus.training, many), (corpus.validation, some)):
                part[lesson] = encode(sentences, config.longest + OPENING, every_verb=lesson == "every_verb")
    return corpus


def baselines(sentences: Sequence[Sentence]) -> dict[str, float]:
    """Accuracy of simple rules: the number of the last noun, and that of most nouns of the sentence but the subject."""
    right = []
    for words, verbs in sentences:
        subject = verbs[-1].position - verbs[-1].distance - 1
        nouns = {i: NUMBER[word] for i, word in enumerate(words) if word in NUMBER}
        others = [number for i, number in nouns.items() if i != subject] or [0]
        right.append([rule == verbs[-1].plural for rule in ([*nouns.values()][-1], np.mean(others) > 0.5)])
    return dict(zip(("the last noun", "most other nouns"), np.mean(right, axis=0).tolist(), strict=True))


class Scores(NamedTuple):
    """Accuracies: by words between, by attractors about `AT` words after the subject, and there for each seed."""

    distances: dict[int, Interval]
    attractors: dict[str, Interval]
    seeds: list[float]


def score(config: Config, sentences: Sequence[Sentence], learned: Learned) -> Scores:
    """Scores what was learned on the test."""
    _, plural, distance, attractors = np.array([sentence.verbs[-1] for sentence in sentences]).T
    right = (learned.plural[:, : len(sentences)] > 0.5) == plural.astype(bool)
    about = np.abs(distance - AT) <= 10
    bins = {f"{low}-{low + 1}": about & (attractors // 2 == low // 2) for low in range(0, 14, 2)}
    return Scores(
        {d: wilson(right[:, distance == d]) for d in config.tested},
        {name: wilson(right[:, rows]) for name, rows in bins.items() if rows.any()},
        right[:, distance == AT].mean(axis=1).tolist(),
    )


def main(config: Config) -> dict:
    """Trains the cells in their lessons, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    corpus = generate(config)
    test = encode(corpus.test + EXAMPLES, max(config.tested) + OPENING, every_verb=False)
    learned: dict[tuple[str, str], Learned] = {}
    for cell in CELLS if config.cell == "all" else (config.cell,):
        learn = make_learn(config, cell, test, run.folder)
        whole = config.cell == cell or cell in COMPARED
        for lesson in LESSONS if whole and cell in GATES else LESSONS[: 3 if whole else 1]:
            if lesson == "far_no_chrono":
                learn = make_learn(config, cell, test, run.folder, chrono=False)
            learned[lesson, cell] = learn(lesson, corpus.training[lesson], corpus.validation[lesson])
    scores = {key: score(config, corpus.test, value) for key, value in learned.items()}
    figures.draw_cells(run.folder, scores, config, AT)
    figures.draw_lessons(run.folder, scores, config, AT)
    figures.draw_losses(run.folder, {cell: x.losses for (lesson, cell), x in learned.items() if lesson == "far"})

    headline = {
        f"accuracy_{cell}" + ("" if lesson == "far" else f"_{lesson}"): found.distances[AT].mean
        for (lesson, cell), found in scores.items()
    }
    rules = baselines([sentence for sentence in corpus.test if sentence.verbs[-1].distance == AT])
    headline["baseline_accuracy"] = max(0.5, *rules.values())
    plural = np.array([sentence.verbs[-1].plural for sentence in EXAMPLES], bool)
    were = {key: found.plural[:, -len(EXAMPLES) :].mean(axis=0) for key, found in learned.items()}
    shown = [key for key in learned if key[1] in COMPARED or config.cell != "all"]
    right = {key: np.where(plural, were[key], 1 - were[key]) for key in shown}
    values = {"lessons": LESSONS, "at": AT, "examples": EXAMPLES, "right": right, "rules": rules}
    return frame.finish(run, headline, learned=learned, scores=scores, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
