"""Sequences of nucleotides: the files, and generated ones."""

import collections

import numpy as np
import pytest

from experiments.data import _find, dna

TEXT = "Class, Donor, Sequence\nEI,  A-1,   ACGTN\n\nIE, B-2, acgtt\n"


def test_both_formats_are_read():
    found = dna.parse(TEXT, "a file", first=-2)
    assert found.letters.tolist() == ["ACGTN", "ACGTT"] and found.labels.tolist() == [0, 1]
    assert found.classes == ("EI", "IE") and found.positions.tolist() == [-2, -1, 1, 2, 3]
    promoters = dna.parse("+,S10,\t\ttactag\n-,799,\tgtcgta\n", "a file")
    assert promoters.letters.tolist() == ["TACTAG", "GTCGTA"] and promoters.classes == ("+", "-")
    assert promoters.positions.tolist() == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "two or more classes in a file, got 0"),
        ("EI,A,ACGT\nEI,B,ACGT\n", "two or more classes in a file, got 1"),
        (TEXT + "N,C,ACGTAA\n", "5 letters for nucleotides in line 5 of a file, got 'N,C,ACGTAA'"),
        (TEXT + "N,C,ACGTX\n", "line 5"),
        (TEXT + "N,ACGTA\n", "line 5"),
        (TEXT + ",C,ACGTA\n", "line 5"),
        ("EI,A,\n", "some letters for nucleotides in line 1"),
    ],
)
def test_other_files_are_refused(text, expected):
    with pytest.raises(ValueError, match=expected):
        dna.parse(text, "a file")


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected --data to be generated, splice, promoters or the path"):
        dna.load(str(tmp_path / "none"))


def test_letters_that_stand_for_several_are_shares():
    found = dna.one_hot(np.array(["AD", "SN"]))
    np.testing.assert_allclose(found[0], [[1, 0, 0, 0], [1 / 3, 0, 1 / 3, 1 / 3]], rtol=1e-6)
    np.testing.assert_allclose(found[1], [[0, 0.5, 0.5, 0], [0.25] * 4])


def test_generated_classes_differ_in_the_order_of_the_motif_alone():
    data = dna.generate(400, seed=1, damage=0.0)
    assert data.letters.tolist() == dna.generate(400, seed=1, damage=0.0).letters.tolist()
    has = np.array([dna.MOTIF in letters for letters in data.letters])
    assert has[data.labels == 1].all() and has[data.labels == 0].mean() < 0.02
    places = collections.Counter(letters.index(dna.MOTIF) for letters in data.letters[has])
    assert len(places) > 40  # anywhere
    shares = dna.one_hot(data.letters).mean(axis=1)
    assert np.abs(shares[data.labels == 1].mean(axis=0) - shares[data.labels == 0].mean(axis=0)).max() < 0.02


@pytest.mark.parametrize(
    ("file", "name", "rows", "length", "counts"),
    [(dna.SPLICE, "splice", 3190, 60, [767, 768, 1655]), (dna.PROMOTERS, "promoters", 106, 57, [53, 53])],
)
def test_the_real_files(file, name, rows, length, counts):
    if not _find.find_local(file):
        pytest.skip("not on this machine")
    data = dna.load(name)
    assert dna.one_hot(data.letters).shape == (rows, length, 4) and np.bincount(data.labels).tolist() == counts
    assert data.positions[[0, -1]].tolist() == ([-30, 30] if name == "splice" else [-50, 7])
