"""Sentences with one of five emojis: the 188 of an online course, or generated ones whose emoji depends on word order.

The set is that of the programming assignment "Emojify" of the course Sequence Models (deeplearning.ai).
"""

import csv
from typing import NamedTuple

import numpy as np

from experiments.data import glove
from experiments.data._find import DataFile, find
from experiments.data._labelled import Labelled, without
from rnnjax.data import read_text

EMOJIS = ("❤️", "⚾", "😄", "😞", "🍴")
NAMES = ("heart", "ball", "smile", "sad", "food")

COMMIT = "3a96ec2f589e01fc4246a83cf541bc716f9523f4"
TRAINING = DataFile(
    folder="emojify",
    name="train_emoji.csv",
    url="https://www.coursera.org/learn/nlp-sequence-models",
    sha256="1be35642b39ed7eff03226801818570abed4b970e6d96f7b0442d015d83b0727",
    licence="none stated (course material)",
    copy=f"https://raw.githubusercontent.com/adik993/emojify/{COMMIT}/data/train_emoji.csv",
)
TEST = TRAINING._replace(
    name="tesss.csv",
    sha256="87bfb5795a4dfbe9ec628076939b2cc12561c85c8ca13f5bc004dc3d66750759",
    copy=f"https://raw.githubusercontent.com/adik993/emojify/{COMMIT}/data/test_emoji.csv",
)


class Emojis(NamedTuple):
    """A data set; no sentence is in both parts, and none twice in the training part."""

    training: Labelled
    test: Labelled
    vectors: glove.WordVectors  # of words, some of the sentences' words among them
    removed: int = 0  # training sentences left out, as they are in the test or came before


def load(data: str, seed: int = 0, vectors: str = "glove") -> Emojis:
    """Loads "emojify", 132 and 56 sentences with vectors that `glove` reads, or "generated" ones with their own."""
    if data == "generated":
        return generate(seed)
    if data != "emojify":
        raise ValueError(f"expected --data to be generated or emojify, got {data!r}.")
    training, test = (parse(read_text(path), str(path)) for path in (find(TRAINING), find(TEST)))
    kept = without(training, test)
    return Emojis(kept, test, glove.load(vectors), len(training.labels) - len(kept.labels))


def parse(text: str, source: str) -> Labelled:
    """Parses lines of a sentence, a label from 0 to 4, and perhaps more columns. Errors name the source."""
    sentences, labels = [], []
    for number, row in enumerate(csv.reader(text.splitlines()), 1):
        words, label = tuple(row[0].lower().split()) if row else (), row[1].strip() if len(row) > 1 else ""
        if not words or label not in ("0", "1", "2", "3", "4"):
            raise ValueError(
                f"expected a sentence and a label from 0 to 4 in line {number} of {source}, got {','.join(row)[:60]!r}."
            )
        sentences.append(words)
        labels.append(int(label))
    return Labelled(tuple(sentences), np.array(labels))


# ---- generated -----------------------------------------------------------------------------------------------

TOPICS = (  # of each emoji; only the test has the last three words
    ["love", "adore", "darling", "hug", "kiss", "dear", "sweetheart", "beloved"],
    ["ball", "baseball", "game", "player", "stadium", "pitch", "team", "score"],
    ["happy", "funny", "great", "fun", "joyful", "proud", "excited", "cheerful"],
    ["sad", "bad", "awful", "upset", "angry", "lonely", "terrible", "boring"],
    ["food", "pizza", "rice", "dinner", "cake", "sushi", "bread", "lunch"],
)
UNSEEN = 3
OPENINGS = ("i say", "she says", "they write", "we mean", "you read", "he hears")
ENDINGS = ("", "today", "again", "this time", "as ever")
FORMS = ("{b}", "not {a} but {b}", "{b} not {a}", "not {mood}")
SMILE, SAD = 2, 3


def generate(seed: int = 0, *, training: int = 300, test: int = 300, features: int = 16) -> Emojis:
    """Makes up sentences about one thing and not another; which is which, only the order of the words tells.

        OPENING b   |   OPENING not a but b   |   OPENING b not a   |   OPENING not happy  (which is sad; and the other
                                                                                           way round)

    Each sentence of the test has a word that no training sentence has. Words of one emoji have vectors near each other.
    """
    rng = np.random.default_rng(seed)
    parts = {}
    for part, count in (("training", training), ("test", test)):
        made: dict[tuple[str, ...], int] = {}
        while len(made) < count:
            topics = [words[:-UNSEEN] if part == "training" else words for words in TOPICS]
            sentence, label = _sentence(topics, rng)
            if part == "training" or any(word in words[-UNSEEN:] for word in sentence for words in TOPICS):
                made[sentence] = label
        parts[part] = Labelled(tuple(made), np.array(list(made.values())))
    centres = rng.normal(size=(len(TOPICS), features))
    vectors = {w: centre + 0.5 * rng.normal(size=features) for c, centre in enumerate(centres) for w in TOPICS[c]}
    others = " ".join((*OPENINGS, *ENDINGS, "not but")).split()
    vectors |= {word: rng.normal(size=features) for word in dict.fromkeys(others)}
    known = glove.WordVectors(tuple(vectors), np.stack(list(vectors.values())).astype(np.float32))
    return Emojis(parts["training"], parts["test"], known)


def _sentence(topics: list[list[str]], rng: np.random.Generator) -> tuple[tuple[str, ...], int]:
    """Draws a sentence and its label."""
    form = FORMS[rng.integers(len(FORMS))]
    other, label = rng.permutation(len(topics))[:2]
    if form == "not {mood}":
        other, label = rng.permutation([SMILE, SAD])
    a, b = (topics[topic][rng.integers(len(topics[topic]))] for topic in (other, label))
    opening, ending = OPENINGS[rng.integers(len(OPENINGS))], ENDINGS[rng.integers(len(ENDINGS))]
    return tuple(f"{opening} {form.format(a=a, b=b, mood=a)} {ending}".split()), int(label)
