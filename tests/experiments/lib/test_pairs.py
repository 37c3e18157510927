"""Pairs of sequences on the host: symbols, padding."""

import numpy as np
import pytest

from experiments.lib import pairs
from experiments.lib.pairs import BOS, EOS, PAD, UNK, Symbols, pad_pairs

TRAINING = ["bac", "cb", "cd", "a"]


def test_symbols_come_by_falling_count_and_ties_sorted():
    symbols = Symbols.of(TRAINING)
    assert symbols.symbols == (*pairs.SPECIAL, "c", "a", "b", "d")
    assert symbols.size == 8 == len(symbols.symbols)
    assert Symbols.of(reversed([text[::-1] for text in TRAINING])) == symbols
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3) and len(pairs.SPECIAL) == 4


def test_encode_and_decode():
    symbols = Symbols.of(["20 Juillet", "۲۰"])
    ids = symbols.encode("Jul 20۲x")
    assert ids.dtype == np.int32 and ids[-1] == UNK and symbols.decode(ids) == "Jul 20۲<unk>"
    assert symbols.encode("").tolist() == [] and symbols.encode("").dtype == np.int32
    two, zero = symbols.encode("20")
    assert symbols.decode(np.array([BOS, two, PAD, zero, EOS, two, PAD])) == "20"
    assert symbols.decode([EOS]) == symbols.decode([]) == ""


@pytest.mark.parametrize("ids", [[4, 8], [-1]])
def test_ids_out_of_range_are_named(ids):
    with pytest.raises(ValueError, match=rf"expected ids from 0 to 7, got .*{ids[-1]}"):
        Symbols.of(TRAINING).decode(ids)


def test_symbols_are_saved_and_loaded(tmp_path):
    symbols = Symbols.of([*TRAINING, 'éژ"'])
    symbols.save(tmp_path / "symbols.json")
    loaded = Symbols.load(tmp_path / "symbols.json")
    assert loaded == symbols and loaded.encode("éx").tolist() == symbols.encode("éx").tolist()
    assert "é" in (tmp_path / "symbols.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["no JSON", '{"a": 1}', "[1, 2]"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "symbols.json").write_text(text)
    with pytest.raises(ValueError, match=r"expected a JSON list of symbols in .*symbols\.json"):
        Symbols.load(tmp_path / "symbols.json")


def code(*texts):
    return [np.array([ord(c) for c in text], np.int32) for text in texts]


def test_pairs_are_padded_on_the_right():
    got = pad_pairs(code("abc", "", "ab"), code("x", "wxyz", ""))
    assert got.sources.tolist() == [[97, 98, 99], [PAD, PAD, PAD], [97, 98, PAD]]
    assert got.source_lengths.tolist() == [3, 0, 2]
    assert got.targets.tolist() == [[120, EOS, 0, 0, 0], [119, 120, 121, 122, EOS], [EOS, 0, 0, 0, 0]]
    assert got.target_lengths.tolist() == [2, 5, 1]
    assert {array.dtype for array in got} == {np.dtype(np.int32)}


def test_widths_can_be_given():
    got = pad_pairs(code("ab"), code("xy"), max_source=5, max_target=3)
    assert got.sources.tolist() == [[97, 98, PAD, PAD, PAD]] and got.targets.tolist() == [[120, 121, EOS]]


@pytest.mark.parametrize("name", ["max_source", "max_target"])
def test_what_does_not_fit_is_not_cut(name):
    longest = {"max_source": 3, "max_target": 4}[name]  # EOS counts
    with pytest.raises(ValueError, match=rf"at most {name}={longest - 1} ids, got {longest} in pair 1; leave"):
        pad_pairs(code("a", "abc"), code("a", "xyz"), **{name: longest - 1})


def test_sources_and_targets_come_in_pairs():
    with pytest.raises(ValueError, match="expected as many sources as targets, got 2 and 1"):
        pad_pairs(code("a", "b"), code("a"))
