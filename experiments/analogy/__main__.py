"""Man is to woman as king is to ? Word vectors answer; what they are worth to a tagger with few sentences.

python -m experiments.analogy --data glove    GloVe, and skip-gram learned here from captions of pictures: 59 % of
                                              6,003 questions with GloVe
python -m experiments.analogy                 generated text, nothing to download
"""

import dataclasses
from typing import Literal

import numpy as np

from experiments.analogy import entities, figures
from experiments.analogy.tagging import MODES, transfer
from experiments.analogy.vectors import answer, one_hot_difference, skip_gram
from experiments.data import analogies, glove
from experiments.lib import frame, training
from experiments.lib.intervals import wilson


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: Literal["generated", "glove"] = "generated"  # made up, or GloVe, captions, questions of word2vec, and WNUT-17
    features: int = 50  # numbers of a vector that is learned here
    window: int = 5  # places between a word and its neighbours, at most
    negative: float = 5.0  # weight of the negative words, k
    min_count: int = 5  # occurrences of a word that gets a vector
    batch: int = 2048  # pairs of an update
    steps: int = 1500  # updates of skip-gram
    steps_per_call: int = 25  # updates in one compiled call
    learning_rate: float = 0.01  # of skip-gram, at its peak
    hidden: int = 24  # units of the tagger, in each direction
    dropout: float = 0.3  # of the numbers of word vectors in the tagger
    sentences: tuple[int, ...] = (30, 100, 300, 1000)  # that the tagger learns from, rising
    seeds: int = 3  # first weights of a tagger
    tagger_steps: int = 150  # updates of the tagger
    tagger_rate: float = 0.01  # learning rate of the tagger, at its peak

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        if not self.sentences or list(self.sentences) != sorted({*self.sentences}) or self.sentences[0] < 1:
            raise ValueError(f"expected --sentences to be numbers of sentences, rising, got {self.sentences}.")
        if self.window < 1 or self.min_count < 1 or self.seeds < 1:
            raise ValueError(
                f"expected --window, --min-count and --seeds from 1, got {self.window}, {self.min_count}, {self.seeds}."
            )


SMOKE = {"features": 8, "batch": 128, "steps": 50, "optimizer": "sgd", "learning_rate": 0.5, "clip_norm": 0.0}
SMOKE |= {"hidden": 5, "sentences": (10, 40), "seeds": 1, "tagger_steps": 25}

GROUPS = {
    "generated": {
        "men": list(analogies.ROLES),
        "women": list(analogies.ROLES.values()),
        "capitals": list(analogies.CAPITALS),
        "countries": list(analogies.CAPITALS.values()),
        "today": list(analogies.PAST),
        "yesterday": list(analogies.PAST.values()),
    },
    "glove": {
        "family": [
            "mother",
            "father",
            "son",
            "daughter",
            "brother",
            "sister",
            "wife",
            "husband",
            "uncle",
            "grandmother",
        ],
        "countries": [
            "france",
            "germany",
            "italy",
            "spain",
            "japan",
            "china",
            "india",
            "brazil",
            "egypt",
            "russia",
            "canada",
            "greece",
        ],
        "capitals": [
            "paris",
            "berlin",
            "rome",
            "madrid",
            "tokyo",
            "beijing",
            "delhi",
            "cairo",
            "moscow",
            "ottawa",
            "athens",
        ],
        "animals": ["dog", "cat", "horse", "cow", "sheep", "bird", "fish", "lion", "mouse", "elephant"],
        "numbers": ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"],
        "months": [
            "january",
            "february",
            "march",
            "april",
            "june",
            "july",
            "august",
            "october",
            "november",
            "december",
        ],
    },
}
SHOWN = {
    "generated": [("man", "woman", "king", "queen"), ("paris", "france", "rome", "italy")],
    "glove": [
        ("man", "woman", "king", "queen"),
        ("paris", "france", "rome", "italy"),
        ("walking", "walked", "swimming", "swam"),
        ("big", "bigger", "cold", "colder"),
        ("doctor", "hospital", "teacher", "school"),
    ],
}


def known(questions: list, vectors: glove.WordVectors) -> list:
    """The questions all of whose words have a vector."""
    words = {*vectors.words}
    return [question for question in questions if words.issuperset(question)]


def main(config: Config) -> dict:
    """Asks the questions, trains the taggers, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    text = analogies.load(config.data, config.seed)
    learned = skip_gram(text.sentences, config, run.folder / "skip_gram")
    vectors = {"glove": glove.load()} if config.data == "glove" else {}
    vectors |= {"skip-gram": learned}
    main_name, own = next(iter(vectors.items()))
    answers = {
        name: {section: answer(known(asked, each), each) for section, asked in text.questions.items()}
        for name, each in vectors.items()
    }
    shared = {
        name: np.concatenate(
            [answer(known(known(asked, own), learned), own).right for asked in text.questions.values()]
        )
        for name, own in vectors.items()
    }
    right = {name: np.concatenate([each.right for each in sections.values()]) for name, sections in answers.items()}
    nearest = np.concatenate([each.nearest for each in answers[main_name].values()])
    found = transfer(entities.load(config.data, config.seed), own, config, run.folder / "tagger")

    figures.draw_groups(run.folder / "words.png", GROUPS[config.data], own, config.seed)
    figures.draw_transfer(run.folder, found)
    values_differ, slopes_differ = one_hot_difference(learned.vectors, np.array([3, 1, 4, 1, 5]))
    headline = {"accuracy": float(right[main_name].mean())}
    if config.data == "glove":
        headline["baseline_accuracy"] = float(right["skip-gram"].mean())
    headline["baseline_nearest"] = float(nearest.mean())
    most = max(found)
    headline |= {f"f1_{mode.replace('-', '_')}": float(found[most][row].mean()) for row, mode in enumerate(MODES)}
    values = {
        "sections": {
            name: {s: (len(each.right), wilson(each.right)) for s, each in sections.items() if len(each.right)}
            for name, sections in answers.items()
        },
        "totals": {name: (len(each), wilson(each)) for name, each in right.items()},
        "shared": {name: (len(each), wilson(each)) for name, each in shared.items() if len(each)},
        "nearest": wilson(nearest),
        "shown": [
            (*q, answer([q], vectors[main_name]).words[0]) for q in known(SHOWN[config.data], vectors[main_name])
        ],
        "sizes": {name: len(each.words) for name, each in vectors.items()},
        "text": len(text.sentences),
        "asked": sum(map(len, text.questions.values())),
        "found": found,
        "modes": MODES,
        "main": main_name,
        "differ": (values_differ, slopes_differ),
    }
    return frame.finish(run, headline, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
