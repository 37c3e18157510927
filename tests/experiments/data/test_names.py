"""Surnames: files of languages, the split by name, and generated names."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments.data import names


def write(folder, **texts):
    for language, text in texts.items():
        (folder / f"{language}.txt").write_text(text, encoding="utf-8")
    return str(folder)


def test_a_folder_is_read_in_order_and_cleaned(tmp_path):
    data = names.load(write(tmp_path, Two="Abel\nO'Brien\n", One="Abel\n\nDe La  Cruz\nÉmile\nAbel \nMaxa/B\nR2\n"))
    assert data.classes == ("One", "Two") and data.languages.tolist() == [0, 0, 0, 1, 1]
    assert data.names.tolist() == ["abel", "de la cruz", "émile", "abel", "o'brien"]
    assert (data.repeated, data.unreadable) == (1, 2)


@pytest.mark.parametrize(("texts", "expected"), [({"One": "Abel\n"}, "a folder with two languages"), ({}, "two lang")])
def test_other_folders_are_refused(tmp_path, texts, expected):
    with pytest.raises(FileNotFoundError, match=expected):
        names.load(write(tmp_path, **texts))


def test_a_file_without_names_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"names in Two\.txt, one in a line"):
        names.load(write(tmp_path, One="Abel\n", Two="12\n"))


def test_no_name_lies_in_two_parts_and_every_language_lies_in_all():
    rng = np.random.default_rng(0)
    spelled = np.array([f"name{i}" for i in rng.integers(150, size=400)])  # many in several languages
    languages = rng.integers(3, size=400)
    _, once = np.unique(np.stack([spelled, languages.astype(str)]), axis=1, return_index=True)
    data = names.Names(("a", "b", "c"), spelled[once], languages[once])
    parts = names.split(data)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(once)))
    sets = [set(data.names[part]) for part in parts]
    assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert all(set(data.languages[part]) == {0, 1, 2} for part in parts)
    assert abs(len(sets[0]) / 0.7 - len(sets[2]) / 0.2) < 12
    assert not np.array_equal(names.split(data, seed=1).test, parts.test)


def test_generated_languages_keep_their_grammars():
    data = names.load("generated", seed=3)
    assert len(data.classes) == 7 and data.repeated == data.unreadable == 0
    by_language = {name: data.names[data.languages == i] for i, name in enumerate(data.classes)}
    assert {name: len(some) for name, some in by_language.items()} == {n: g[-1] for n, g in names.GRAMMARS.items()}

    def in_harmony(name):
        vowels = set(name.removesuffix("mar").removesuffix("mer")) & set("aouei")
        return vowels <= set("aou") or vowels <= set("ei")

    kelmar, kolmir = (np.mean([in_harmony(name) for name in by_language[n]]) for n in ("Kelmar", "Kolmir"))
    assert kelmar == 1.0 and kolmir < 0.6
    assert names.load("generated", seed=3).names.tolist() == data.names.tolist()


@pytest.mark.skipif(not Path(os.environ.get("RNNJAX_DATA", "-"), "names").is_dir(), reason="the files are not here")
def test_the_real_files():
    data = names.load("names")
    assert len(data.classes) == 18 and len(data.names) == 18_010
    assert (data.repeated, data.unreadable) == (2_039, 1)  # Arabic names in ten copies, and "Maxa/B"
