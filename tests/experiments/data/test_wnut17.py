"""Sentences with entities: files of words and tags, what stands in two parts, and generated sentences."""

import os
from pathlib import Path

import pytest

from experiments.data import wnut17
from experiments.data.wnut17 import Sentence

FLY = "Fly\tO\nto\tO\nNew\tB-location\nYork\tI-location\n"


def test_sentences_end_at_empty_lines_and_at_lone_tabs():
    text = "\n" + FLY + "\t\nHi\tO\n\n\na\u2028b\tO\n.\tO"
    first, second, third = wnut17.parse(text, "a file")
    assert first == Sentence(("Fly", "to", "New", "York"), ("O", "O", "B-location", "I-location"))
    assert second.words == ("Hi",) and third.words == ("a\u2028b", ".")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected sentences in a file"),
        ("\t\n\n", "expected sentences in a file"),
        ("Hi O\n", "in line 1 of a file, got 'Hi O'"),
        ("Hi\tO\n\tO\n", "in line 2 of a file"),
        ("Hi\tX\n", "in line 1 of a file"),
        ("Hi\tB-\n", "in line 1 of a file"),
        ("Hi\tO\nYork\tI-location\n", "in line 2 of a file"),
        ("Al\tB-person\nYork\tI-location\n", "in line 2 of a file"),
        ("Al\tB-person\n\nGore\tI-person\n", "in line 3 of a file"),  # of another sentence
    ],
)
def test_other_files_are_refused(text, expected):
    with pytest.raises(ValueError, match=expected):
        wnut17.parse(text, "a file")


def test_what_stands_in_two_parts_is_left_out_of_the_earlier_one(tmp_path):
    for part, text in {"train": FLY + "\nA\tO\n\nB\tO\n", "dev": "B\tO\n\nC\tO\n", "test": FLY + "\nC\tO\n"}.items():
        (tmp_path / f"{part}.conll").write_text(text)
    parts = wnut17.load(str(tmp_path))
    assert [[s.words for s in part] for part in parts[:2]] == [[("A",)], [("B",)]]
    assert len(parts.test) == 2 and parts.repeated == 3
    (tmp_path / "dev.conll").unlink()
    with pytest.raises(FileNotFoundError, match=r"generated, wnut17 or a folder .* found no .*dev\.conll"):
        wnut17.load(str(tmp_path))


def test_names_of_generated_sentences_are_new_in_every_part():
    parts = wnut17.load("generated", seed=1)
    assert [len(part) for part in parts[:3]] == [600, 150, 300] and parts == wnut17.generate(1)
    names = [{word.lower() for s in part for word, tag in zip(*s, strict=True) if tag != "O"} for part in parts[:3]]
    assert not names[0] & names[1] and not names[0] & names[2] and not names[1] & names[2]
    text = "\n\n".join("\n".join(map("\t".join, zip(*s, strict=True))) for s in parts.train)
    assert wnut17.parse(text, "a file") == parts.train  # the tags are in order
    lower = sum("".join(s.words).islower() for s in parts.train)
    assert 150 < lower < 300
    assert {tag for s in parts.train for tag in s.tags} == {"O", *(f"{b}-{k}" for b in "BI" for k in wnut17.ENDINGS)}


@pytest.mark.skipif(not Path(os.environ.get("RNNJAX_DATA", "-"), "wnut17").is_dir(), reason="the files are not here")
def test_the_real_files():
    parts = wnut17.load("wnut17")
    assert len(parts.test) == 1_287 and len(parts.train) + len(parts.dev) + parts.repeated == 3_394 + 1_009
    assert sum(tag[:2] == "B-" for s in parts.test for tag in s.tags) == 1_079
    assert len({tag for s in parts.train for tag in s.tags}) == 13
