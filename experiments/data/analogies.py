"""Questions such as "man is to woman as king is to ?": those of word2vec, or generated ones; texts to learn from.

Reference: Mikolov et al. 2013, "Efficient estimation of word representations in vector space".
"""

import itertools
from typing import NamedTuple

import numpy as np

from experiments.data import multi30k
from experiments.data._find import DataFile, find, find_local, read_unzipped

QUESTIONS = DataFile(
    folder="word2vec_questions",
    name="questions-words.txt",
    url="https://raw.githubusercontent.com/tmikolov/word2vec/master/questions-words.txt",
    sha256="8c29b3332afc46f3fb8be04cb5297bf96f39aa7131272dff57869b4485b22a36",
    licence="Apache-2.0",
    copy="https://raw.githubusercontent.com/tmikolov/word2vec/20c129af10659f7c50e86e3be406df663beff438/questions-words.txt",
)
QUESTIONS_GZIPPED = QUESTIONS._replace(
    name="questions-words.txt.gz", sha256="24876e771faf8b97ca33cc0e3157285fe471bd2d72dd944b21a82dc50b95065f"
)
Questions = dict[str, list[tuple[str, str, str, str]]]  # by section: a is to b as c is to d


class Text(NamedTuple):
    """What word vectors learn from, and what they are asked."""

    sentences: list[list[str]]  # words in lower case
    questions: Questions


def load(data: str, seed: int = 0) -> Text:
    """Loads "glove", the questions of word2vec and 29,000 captions of Multi30k to learn from; or "generated" ones."""
    if data == "generated":
        return generate(seed)
    if data != "glove":
        raise ValueError(f"expected --data to be generated or glove, got {data!r}.")
    path = find_local(QUESTIONS_GZIPPED) or find(QUESTIONS)
    return Text(multi30k.load().train, parse(read_unzipped(path), str(path)))


def parse(text: str, source: str) -> Questions:
    """Parses lines of four words, in lower case, below ": section". Errors name the source."""
    questions: Questions = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.lower().split()
        if words[:1] == [":"] and len(words) == 2:
            section = questions.setdefault(words[1], [])
        elif len(words) == 4 and questions:
            section.append(tuple(words))
        else:
            raise ValueError(
                f"expected four words below a line such as ': family' in line {number} of {source}, got {line[:60]!r}."
            )
    return questions


# ---- generated -----------------------------------------------------------------------------------------------

ROLES = {"king": "queen", "prince": "princess", "man": "woman", "boy": "girl", "uncle": "aunt", "actor": "actress"}
CAPITALS = {"paris": "france", "rome": "italy", "madrid": "spain", "athens": "greece", "oslo": "norway", "lima": "peru"}
PAST = {"walks": "walked", "sings": "sang", "eats": "ate", "writes": "wrote", "sleeps": "slept", "swims": "swam"}
KINDS = {"family": ROLES, "capitals": CAPITALS, "past": PAST}
ATTRIBUTES = 4  # words that only one pair stands beside


def generate(seed: int = 0, count: int = 4000) -> Text:
    """Makes up sentences in which a word stands beside words of its pair and beside words of its side.

    A king has what kings and queens have and what all men have; today he walks, yesterday he walked.
    """
    rng = np.random.default_rng(seed)
    own = {(kind, i): [f"{kind}{i}{'abcd'[k]}" for k in range(ATTRIBUTES)] for kind in KINDS for i in range(6)}
    sides = {kind: [[f"{kind}{side}{k}" for k in "xyz"] for side in ("one", "two")] for kind in KINDS}
    sentences = []
    for _ in range(count):
        kind = list(KINDS)[rng.integers(len(KINDS))]
        i, side = rng.integers(6), rng.integers(2)
        word = list(KINDS[kind].items())[i][side]
        near = [*rng.choice(own[kind, i], 2, replace=False), *rng.choice(sides[kind][side], 2, replace=False), word]
        sentences.append([*(str(w) for w in rng.permutation(near)), "the"])
    questions = {
        kind: [(*one, *other) for one, other in itertools.permutations(pairs.items(), 2)]
        for kind, pairs in KINDS.items()
    }
    return Text(sentences, questions)
