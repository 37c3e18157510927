"""Reading text, vocabularies, held-out splits, and no pickle anywhere."""

import json
import re
import string
from pathlib import Path

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import rnnjax

SETTINGS = hypothesis.settings(max_examples=60, deadline=None, derandomize=True, database=None)
ROOT = Path(__file__).resolve().parents[2]


def written(tmp_path, data):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    return path


def test_reads_utf8(tmp_path):
    text = "naïve œuvre – 漢字\t\n\nend"
    assert rnnjax.data.read_text(written(tmp_path, text.encode())) == text
    assert rnnjax.data.read_text(str(tmp_path / "text.txt")) == text


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected a text file, found none at .*nothing\.txt"):
        rnnjax.data.read_text(tmp_path / "nothing.txt")


def test_a_folder_is_not_a_text(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a text file"):
        rnnjax.data.read_text(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got an empty file .*text\.txt"):
        rnnjax.data.read_text(written(tmp_path, b""))


def test_latin1_is_refused_with_the_byte_and_its_offset(tmp_path):
    data = "ça va, déjà".encode("latin-1")
    with pytest.raises(ValueError, match=r"expected UTF-8, got byte 0xe7 at offset 0 of .*text\.txt"):
        rnnjax.data.read_text(written(tmp_path, data))
    with pytest.raises(ValueError, match=r"got byte 0xe9 at offset 7 "):
        rnnjax.data.read_text(written(tmp_path, b"ca va, " + "é".encode("latin-1") + b" fin"))


def test_line_ends_become_newlines(tmp_path):
    assert rnnjax.data.read_text(written(tmp_path, b"a\r\nb\rc\n\r\nd")) == "a\nb\nc\n\nd"


def test_a_byte_order_mark_is_dropped(tmp_path):
    assert rnnjax.data.read_text(written(tmp_path, b"\xef\xbb\xbfabc\xef\xbb\xbf")) == "abc\ufeff"


def test_vocabulary_is_sorted_and_unique():
    vocabulary = rnnjax.data.Vocabulary.of("to be, or not to be")
    assert vocabulary.symbols == tuple(sorted(set("to be, or not to be")))


@pytest.mark.slow
@SETTINGS
@hypothesis.given(st.text(min_size=1), st.data())
def test_decode_after_encode_is_the_identity(text, data):
    vocabulary = rnnjax.data.Vocabulary.of(text)
    other = data.draw(st.text(st.sampled_from(vocabulary.symbols)))
    for each in (text, other):
        ids = vocabulary.encode(each)
        assert ids.dtype == np.int32 and ids.shape == (len(each),)
        assert vocabulary.decode(ids) == each
    np.testing.assert_array_equal(np.unique(vocabulary.encode(text)), np.arange(len(vocabulary.symbols)))


def test_symbols_may_be_words():
    vocabulary = rnnjax.data.Vocabulary.of(["the", "cat", "the"])
    assert vocabulary.encode(["the", "cat"]).tolist() == [1, 0]


def test_encoding_nothing_gives_no_ids():
    ids = rnnjax.data.Vocabulary.of("abc").encode("")
    assert ids.shape == (0,) and ids.dtype == np.int32


def test_an_unknown_symbol_is_named():
    with pytest.raises(ValueError, match=r"expected symbols among the 3 of the vocabulary, got 'é'"):
        rnnjax.data.Vocabulary.of("abc").encode("abéc")


@SETTINGS
@hypothesis.given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_load_after_save_is_the_identity(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("vocabulary") / "vocabulary.json"
    vocabulary = rnnjax.data.Vocabulary.of(text)
    vocabulary.save(path)
    assert rnnjax.data.Vocabulary.load(path) == vocabulary
    assert tuple(json.loads(path.read_text(encoding="utf-8"))) == vocabulary.symbols
    assert [p.name for p in path.parent.iterdir()] == ["vocabulary.json"]


def test_awkward_symbols_survive_the_file(tmp_path):
    vocabulary = rnnjax.data.Vocabulary(("\ufeff", "\r", "\n", "\x00", '"', "\\", "\u2028", "\x1f", "😀"))
    vocabulary.save(tmp_path / "v.json")
    assert rnnjax.data.Vocabulary.load(tmp_path / "v.json") == vocabulary


@pytest.mark.parametrize("content", ['{"a": 1}', '["a", 1]', '"abc"', "7", '["a", "b"', "not json"])
def test_loading_something_else_is_refused(tmp_path, content):
    with pytest.raises(ValueError, match=r"Vocabulary\.load: expected a JSON list of symbols in .*text\.txt"):
        rnnjax.data.Vocabulary.load(written(tmp_path, content.encode()))


def test_nothing_is_pickled():
    pattern = re.compile(r"\b(c?pickle|dill|cloudpickle|joblib|marshal|shelve)\b|allow_pickle\s*=\s*True")
    files = [path for folder in ("rnnjax", "experiments") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 10
    assert not [path for path in files if pattern.search(path.read_text().replace("allow_pickle=False", ""))]


@SETTINGS
@hypothesis.given(st.integers(0, 97), st.floats(0.01, 0.99))
def test_held_out_split_is_first_and_last_part(size, fraction):
    ids = np.random.default_rng(size).integers(0, 11, size)
    training, held_out = rnnjax.data.held_out_split(ids, fraction)
    np.testing.assert_array_equal(np.concatenate([training, held_out]), ids)
    assert abs(len(held_out) - size * fraction) <= 0.5 + 1e-9


def test_held_out_split_gives_views():
    ids = np.arange(31)
    training, held_out = rnnjax.data.held_out_split(ids)
    assert len(held_out) == 3 and training.base is ids and held_out.base is ids


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.5, 7.0, float("nan")])
def test_held_out_fraction_must_be_between_0_and_1(fraction):
    with pytest.raises(ValueError, match=rf"expected fraction in \(0, 1\), got {fraction}"):
        rnnjax.data.held_out_split(np.arange(11), fraction)


def test_symbols_are_not_only_ascii_letters():
    vocabulary = rnnjax.data.Vocabulary.of(string.printable + "äöü")
    assert len(vocabulary.symbols) == len(string.printable) + 3
