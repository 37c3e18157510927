"""Sentences of reviews: the files of the treebank, and generated ones."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments.data import sst2


def test_lines_are_read():
    found = sst2.parse("A fine  film .\t1\n\u0085 dull\t0\n", "a file")
    assert found.sentences == (("a", "fine", "film", "."), ("dull",)) and found.labels.tolist() == [1, 0]


@pytest.mark.parametrize("line", ["fine film", "fine film 1", "fine film\t2", "\t1", "fine\tfilm", ""])
def test_damaged_lines_are_named(line):
    with pytest.raises(ValueError, match="0 or 1 in line 2 of a file, got"):
        sst2.parse(f"fine\t1\n{line}\nfine\t1\n", "a file")


def test_a_folder_is_read_without_what_would_leak(tmp_path):
    for name, text in (("train", "a\t1\nb\t0\na\t1\nc\t1\n"), ("dev", "b\t0\nd\t0\n"), ("test", "d\t0\ne\t1\ne\t1\n")):
        (tmp_path / f"{name}.tsv").write_text(text)
    found = sst2.load(str(tmp_path))
    assert [part.sentences for part in found[:3]] == [(("a",), ("c",)), (("b",),), (("d",), ("e",), ("e",))]
    assert found.removed == 3 and found.training.labels.tolist() == [1, 1]
    with pytest.raises(FileNotFoundError, match=r"generated, sst2 or a folder with train\.tsv"):
        sst2.load(str(tmp_path / "none"))


def test_the_real_files():
    if not (Path(os.environ.get("RNNJAX_DATA", "")) / "sst2" / "dev.tsv").is_file():
        pytest.skip("needs the data set")
    found = sst2.load("sst2")
    assert len(found.test.labels) == 1821 and len(found.training.labels) + len(found.dev.labels) + found.removed == 7792
    assert not {*found.test.sentences} & {*found.training.sentences, *found.dev.sentences}


# ---- generated -----------------------------------------------------------------------------------------------


def opinion(words):
    """Whether a generated review is positive, read from its words."""
    if "but" in words:
        return opinion(words[words.index("but") + 1 :])
    if "and" in words:
        return opinion(words[: words.index("and")])
    if "lacking" in words:
        return words[0] == "never"
    good = any(word in sst2.GOOD for word in words)
    return good != ("not" in words)


def test_generated_reviews_mean_what_their_order_says():
    found = sst2.generate(seed=3, sizes=(300, 50, 70))
    assert [len(part.labels) for part in found[:3]] == [300, 50, 70]
    sentences = [words for part in found[:3] for words in part.sentences]
    assert len({*sentences}) == 420
    labels = np.concatenate([part.labels for part in found[:3]])
    assert labels.tolist() == [opinion(list(words)) for words in sentences] and 0.4 < labels.mean() < 0.6
    again, other = sst2.generate(3, (300, 50, 70)), sst2.generate(4, (300, 50, 70))
    assert found.training.sentences == again.training.sentences != other.training.sentences
