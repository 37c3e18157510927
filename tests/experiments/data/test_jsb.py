"""Chorales: the JSON file, and generated ones."""

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest

from experiments.data import jsb

PARTS = {"train": [[[60, 64], [], [62]]], "valid": [[[21], [108]]], "test": [[[60], [60, 60]], [[61], [62]]]}


def test_a_small_file_is_read(tmp_path):
    chorales = jsb.parse(json.dumps(PARTS), "a file")
    assert [len(part) for part in chorales] == [1, 1, 2]
    assert [np.flatnonzero(chord).tolist() for chord in chorales.train[0]] == [[39, 43], [], [41]]
    assert [np.flatnonzero(chord).tolist() for chord in chorales.valid[0]] == [[0], [87]]
    (tmp_path / "a.json.gz").write_bytes(gzip.compress(json.dumps(PARTS).encode()))
    assert len(jsb.load(str(tmp_path / "a.json.gz")).test) == 2


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ("[1, 2", "be JSON, got something else in line 1"),
        ([1], "chorales under train, valid, test"),
        (PARTS | {"test": []}, "chorales under train, valid, test"),
        (PARTS | {"test": [[[60], [60]], [[60]]]}, "two chords or more in chorale 1 of 'test' in a file"),
        (PARTS | {"train": [[[60], [20]]]}, "from 21 to 108 in step 1 of chorale 0 of 'train' in a file"),
        (PARTS | {"train": [[[60], [109]]]}, "step 1 of chorale 0"),
        (PARTS | {"train": [[[60.5], [60]]]}, "step 0 of chorale 0"),
        (PARTS | {"train": [[[60], 60]]}, "step 1 of chorale 0"),
    ],
)
def test_other_files_are_refused(parts, expected):
    with pytest.raises(ValueError, match=expected) as error:
        jsb.parse(parts if isinstance(parts, str) else json.dumps(parts), "a file")
    assert "\n" not in str(error.value)


def test_files_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.json.gz").write_bytes(b"no gzip")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe")
    for name in ("a.json.gz", "b.json"):
        with pytest.raises(ValueError, match="text in UTF-8, perhaps gzipped"):
            jsb.load(str(tmp_path / name))


def test_the_real_file_is_that_of_the_paper():
    folder = Path(os.environ.get("RNNJAX_DATA", "none")) / "jsb_chorales"
    if not (folder / jsb.JSB_GZIPPED.name).is_file():
        pytest.skip("the file is not here")
    chorales = jsb.load("jsb")
    assert [len(part) for part in chorales] == [229, 76, 77]
    notes = np.flatnonzero(np.concatenate(chorales.train).any(axis=0)) + jsb.LOWEST
    assert (notes.min(), notes.max()) == (43, 96)


# ---- generated -----------------------------------------------------------------------------------------------


def test_generated_chorales_obey_their_rules():
    chorales = jsb.load("generated", count=16, seed=1)
    assert [len(part) for part in chorales] == [8, 4, 4]
    for roll in chorales.train:
        assert len(roll) % 9 == 0 and 27 <= len(roll) <= 45 and (roll.sum(axis=1) == 4).all()
        chords = [np.flatnonzero(chord) for chord in roll]
        classes = [{*(note + jsb.LOWEST) % 12} for note in chords]
        assert all(len(each) == 3 for each in classes)
        assert chords[-1][0] % 12 == chords[0][0] % 12 and classes[-1] == classes[0]  # ends as it began, on the tonic
        for end in range(8, len(roll), 9):
            assert np.array_equal(roll[end], roll[end - 1])  # held
    assert np.array_equal(jsb.generate(np.random.default_rng((1, 3))), chorales.train[3])
    assert not np.array_equal(jsb.generate(np.random.default_rng((2, 3))), chorales.train[3])
    assert len({int(np.flatnonzero(roll[0])[0]) % 12 for roll in chorales.train}) > 3  # keys


def test_parallel_fifths_are_counted_by_hand():
    before = np.array([48, 55, 64, 72])  # c g e c: a fifth below, an octave outside
    after = np.array([[50, 57, 65, 74], [48, 55, 65, 72], [47, 55, 62, 74]])
    assert jsb.parallels(before, after).tolist() == [2, 0, 0]
