"""Sentences with emojis: the files of the course, and generated ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments.data import emojify


def test_lines_of_the_course_are_read():
    text = '"I am  PROUD of you\t",2\n\n'.rstrip("\n") + '\nI am hungry,4,, [0]\n"no, thanks ",3'
    found = emojify.parse(text, "a file")
    assert found.sentences == (("i", "am", "proud", "of", "you"), ("i", "am", "hungry"), ("no,", "thanks"))
    assert found.labels.tolist() == [2, 4, 3]


@pytest.mark.parametrize("line", ["I am hungry", "I am hungry,5", "I am hungry,", " ,2", "", '"I am, hungry"'])
def test_damaged_lines_are_named(line):
    with pytest.raises(ValueError, match="label from 0 to 4 in line 2 of a file, got"):
        emojify.parse(f"fine,1\n{line}\nfine,1", "a file")


def test_no_sentence_of_the_test_is_trained_on():
    training = emojify.parse("good job,2\nso sad,3\ngood  Job,2\nSo sad,3\ni love you,0", "a file")
    kept = emojify.without(training, emojify.parse("Good job,2", "a file"))
    assert kept.sentences == (("so", "sad"), ("i", "love", "you")) and kept.labels.tolist() == [3, 0]


def test_unknown_data_is_one_sentence():
    with pytest.raises(ValueError, match="expected --data to be generated or emojify, got 'none'"):
        emojify.load("none")


def test_the_real_files(monkeypatch):
    if not (Path(os.environ.get("RNNJAX_DATA", "")) / "emojify" / "tesss.csv").is_file():
        pytest.skip("needs the data set")
    found = emojify.load("emojify")
    assert (len(found.test.labels), len(found.training.labels), found.removed) == (56, 126, 6)
    assert not {*found.test.sentences} & {*found.training.sentences}
    assert found.test.sentences[0] == ("i", "want", "to", "eat") and found.test.labels[0] == 4


# ---- generated -----------------------------------------------------------------------------------------------


def meaning(words):
    """Which emoji a generated sentence has, read from its words: what is not denied, or the other mood."""
    topic = {word: i for i, words in enumerate(emojify.TOPICS) for word in words}
    denied = {i + 1 for i, word in enumerate(words) if word == "not"}
    named = [(i in denied, topic[word]) for i, word in enumerate(words) if word in topic]
    meant = [which for no, which in named if not no]
    return meant[0] if meant else {2: 3, 3: 2}[named[0][1]]


def test_generated_sentences_mean_what_their_order_says():
    found = emojify.generate(seed=3)
    for part in (found.training, found.test):
        assert part.labels.tolist() == [meaning(words) for words in part.sentences]
        assert len({*part.sentences}) == len(part.sentences) == 300
    unseen = {word for sentence in found.test.sentences for word in sentence}
    unseen -= {word for sentence in found.training.sentences for word in sentence}
    assert all(unseen & {*sentence} for sentence in found.test.sentences)
    assert {word for part in found[:2] for words in part.sentences for word in words} <= {*found.vectors.words}


def test_generated_data_are_those_of_the_seed():
    one, again, other = emojify.generate(1), emojify.generate(1), emojify.generate(2)
    assert one.training.sentences == again.training.sentences != other.training.sentences
    np.testing.assert_array_equal(one.vectors.vectors, again.vectors.vectors)


def test_words_of_an_emoji_lie_near_each_other():
    vectors = dict(zip(*emojify.generate(0).vectors, strict=True))
    unit = {word: vector / np.linalg.norm(vector) for word, vector in vectors.items()}
    near = np.mean([unit["happy"] @ unit[word] for word in emojify.TOPICS[2][1:]])
    assert near > 0.5 > np.mean([unit["happy"] @ unit[word] for word in emojify.TOPICS[3]])
