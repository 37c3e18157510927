"""Analogies: answers against brute force, tags, the one-hot product, a smoke run."""

import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.analogy import __main__ as analogy
from experiments.analogy import entities
from experiments.analogy.tagging import LONGEST, encode
from experiments.analogy.vectors import answer, one_hot_difference
from experiments.data.glove import WordVectors
from experiments.data.wnut17 import Sentence

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(analogy)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert {"accuracy", "baseline_nearest", "f1_random", "f1_frozen", "f1_fine_tuned"} < set(result)
    assert all(0 <= result[name] <= 1 for name in result if name != "out")
    assert figures_of(folder) == {"words", "transfer"}
    text = (folder / "report.md").read_text()
    assert "| man is to woman as king is to |" in text and "| 40 |" in text


def test_answers_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    words = tuple("abcdefghijk")
    vectors = WordVectors(words, rng.normal(size=(11, 3)))
    questions = [tuple(rng.choice(list(words), 4, replace=False)) for _ in range(40)]
    unit = {word: v / np.linalg.norm(v) for word, v in zip(*vectors, strict=True)}
    found = answer(questions, vectors)
    for i, (a, b, c, d) in enumerate(questions):
        others = [word for word in words if word not in (a, b, c)]
        best = max(others, key=lambda word: unit[word] @ (unit[b] - unit[a] + unit[c]))
        nearest = max(others, key=lambda word: unit[word] @ unit[c])
        assert (found.words[i], found.right[i], found.nearest[i]) == (best, best == d, nearest == d)
    assert len(answer([], vectors).right) == 0


def test_vectors_that_are_sums_answer():
    features = np.random.default_rng(0).normal(size=(6, 50))
    man, woman, king = features[:3]
    vectors = WordVectors(
        ("man", "woman", "king", "queen", "dog", "cat"), np.array([man, woman, king, king - man + woman, *features[4:]])
    )
    assert answer([("man", "woman", "king", "queen")], vectors).right.tolist() == [True]


def test_a_look_up_is_a_product_with_one_hot_rows():
    table = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    assert max(one_hot_difference(table, np.array([3, 1, 3, 6]))) < 1e-5  # row 3 has the gradients of two places


def test_posts_are_encoded():
    found = [Sentence(("@Paul", "Empire", "State"), ("O", "B-location", "I-location")), Sentence(("Hi",), ("O",))]
    words, tags = encode(found, {"empire": 5, "hi": 6})
    assert words.ids.shape == tags.shape == (LONGEST, 2)
    assert words.ids[:4].T.tolist() == [[1, 5, 1, 0], [6, 0, 0, 0]] and tags[:4].T.tolist() == [[0, 1, 1, 0], [0] * 4]


def test_generated_entities_are_places():
    data = entities.load("generated", seed=3)
    assert [len(part) for part in data[:3]] == [600, 200, 400]
    tagged = {
        word for part in data[:3] for words, tags in part for word, tag in zip(words, tags, strict=True) if tag != "O"
    }
    assert {"paris", "peru"} <= tagged and not {"king", "the"} & tagged and len(tagged) == 12


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sentences": (100, 30)}, "expected --sentences to be numbers of sentences, rising"),
        ({"seeds": 0}, "from 1, got 5, 5, 0"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        analogy.main(smoke_config(analogy, tmp_path, **options))
