"""An emoji for a sentence: what is counted, what is left out, a smoke run."""

import dataclasses

import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.data.glove import WordVectors
from experiments.emojify import __main__ as emojify
from experiments.emojify.learning import Sentences, learn
from experiments.emojify.unknown import induce

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(emojify)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert 0.15 < result["accuracy"] < 0.9 and 0.15 < result["baseline_accuracy"] < 0.7
    assert figures_of(folder) == {"confusion", "folds"}
    text = (folder / "report.md").read_text()
    own = text.partition("Sentences from outside of the data")[2]
    [one, other] = [line.split("|")[2] for line in own.splitlines() if "says not" in line and "but" in line]
    assert one == other  # the mean sees the same words
    assert "| not feeling happy |" not in text and "| she says not happy |" in text


@pytest.mark.slow
def test_a_run_learns_nothing_of_the_fold_that_it_leaves_out(tmp_path):
    """Each sentence has a feature of its own; its label is known only to who has read it."""
    count = 12
    xs = np.eye(count, dtype=np.float32)[None]
    labels = np.arange(count) % 5
    config = dataclasses.replace(smoke_config(emojify, tmp_path), input_dropout=0.0, batch=count, learning_rate=1.0)
    found = learn("mean", config, Sentences(xs, np.ones(count, np.int32)), labels, tmp_path)
    assert found.updates.tolist() == [20, 40] and found.chosen in (20, 40)
    assert found.validation.max() < 0.5 and (found.probs.argmax(axis=-1) == labels).all()


def test_words_are_looked_up_and_unknown_ones_are_zeros():
    found = emojify.look_up([("b", "x", "a"), ("a",)], WordVectors(("a", "b"), np.array([[1.0, 2], [3, 4]])))
    assert found.xs.tolist() == [[[3, 4], [1, 2]], [[0, 0], [0, 0]], [[1, 2], [0, 0]]]
    assert found.lengths.tolist() == [3, 1]


def test_a_new_word_gets_the_vector_of_its_company():
    """Words of two topics, whose vectors are the topics' own, so that the company of a word tells its vector."""
    rng = np.random.default_rng(0)
    words = [[f"{topic}{i}" for i in range(6)] for topic in "ab"]
    known = WordVectors(
        (*words[0], *words[1], "rare"), np.array([[1.0, 0]] * 6 + [[0, 1.0]] * 6 + [[9, 9]], np.float32)
    )
    text = [list(rng.permutation(words[i % 2])[:4]) for i in range(200)]
    text += [["new", *words[1][:3]], ["alone"], ["lost", "alone"]]
    found = induce(text, known)
    assert found.words == (*known.words, "new")  # nothing known stands beside the others
    np.testing.assert_array_equal(found.vectors[:-1], known.vectors)
    np.testing.assert_allclose(found.vectors[-1], [0, 1], atol=1e-4)


def test_confusion_made_by_hand():
    found = emojify.confusion(np.array([[0, 1, 1], [0, 0, 1]]), np.array([0, 0, 1]))
    assert found[0].tolist() == [0.75, 0.25, 0, 0, 0] and found[1].tolist() == [0, 1, 0, 0, 0] and not found[2:].any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cell": "elman"}, "expected --cell to be one of"),
        ({"folds": 3}, "expected --folds from 2 to --seeds, got 3 and 2"),
        ({"evaluate_every": 30}, "multiple of --steps-per-call, got 30 and 20"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        emojify.main(smoke_config(emojify, tmp_path, **options))
