"""Questions about words: the file of word2vec, and generated ones."""

import os
from pathlib import Path

import pytest

from experiments.data import analogies


def test_sections_are_read():
    found = analogies.parse(": family\nMan Woman king queen\n: empty\n: big-small\na b c d\ne f g h\n", "a file")
    assert found == {
        "family": [("man", "woman", "king", "queen")],
        "empty": [],
        "big-small": [("a", "b", "c", "d"), ("e", "f", "g", "h")],
    }


@pytest.mark.parametrize("text", [": s\na b c", ": s\na b c d e", ": s\n\na b c d", ": s\n: a b"])
def test_damaged_lines_are_named(text):
    with pytest.raises(ValueError, match=r"four words below .* in line 2 of a file"):
        analogies.parse(text, "a file")
    with pytest.raises(ValueError, match="in line 1 of"):
        analogies.parse("a b c d", "a file")


def test_the_real_files():
    if not (Path(os.environ.get("RNNJAX_DATA", "")) / "word2vec_questions" / "questions-words.txt.gz").is_file():
        pytest.skip("needs the data set")
    found = analogies.load("glove")
    assert len(found.questions) == 14 and sum(map(len, found.questions.values())) == 19544
    assert ("boy", "girl", "king", "queen") in found.questions["family"]
    assert 28_990 < len(found.sentences) <= 29_000 and found.sentences[0][:3] == ["two", "young", ","]


def test_unknown_data_is_one_sentence():
    with pytest.raises(ValueError, match="expected --data to be generated or glove, got 'none'"):
        analogies.load("none")


def test_generated_words_stand_beside_their_pair_and_their_side():
    found = analogies.generate(seed=3, count=600)
    assert sum(map(len, found.questions.values())) == 3 * 30
    assert ("man", "woman", "king", "queen") in found.questions["family"]

    def beside(word):
        return {other for sentence in found.sentences if word in sentence for other in sentence} - {word, "the"}

    king, queen, boy = beside("king"), beside("queen"), beside("boy")
    assert len(king & queen) == analogies.ATTRIBUTES and len(king & boy) == 3 and not queen & boy
    assert found.sentences == analogies.generate(3, 600).sentences != analogies.generate(4, 600).sentences
