"""Pairs of sequences on the host: symbols, padding, splits."""

import numpy as np
import pytest

from experiments.lib import pairs
from experiments.lib.pairs import BOS, EOS, PAD, UNK, Symbols

# ---- symbols -------------------------------------------------------------------------------------------------

TRAINING = [["b", "a", "c"], ["c", "b"], ["c", "d"], ["a", "<pad>"]]


def test_symbols_come_by_falling_count_and_ties_sorted():
    symbols = Symbols.of(TRAINING)
    assert symbols.symbols == (*pairs.SPECIAL, "c", "a", "b", "<pad>", "d")
    assert symbols.size == 9 == len(symbols.symbols)
    assert Symbols.of(reversed([s[::-1] for s in TRAINING])) == symbols
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3) and len(pairs.SPECIAL) == 4


def test_rare_symbols_and_those_beyond_the_size_are_left_out():
    assert Symbols.of(TRAINING, min_count=2).symbols[4:] == ("c", "a", "b")
    assert Symbols.of(TRAINING, min_count=3).symbols[4:] == ("c",)
    assert Symbols.of(TRAINING, max_size=6).symbols[4:] == ("c", "a")
    assert Symbols.of(TRAINING, max_size=4).size == 4
    with pytest.raises(ValueError, match="expected max_size of at least 4, got 3"):
        Symbols.of(TRAINING, max_size=3)


def test_encode_and_decode():
    symbols = Symbols.of(TRAINING, min_count=2)
    ids = symbols.encode(["a", "c", "d", "<eos>", "b"])
    assert ids.dtype == np.int32 and ids.tolist() == [5, 4, UNK, UNK, 6]
    assert symbols.encode([]).tolist() == [] and symbols.encode([]).dtype == np.int32
    assert symbols.decode(ids) == ["a", "c", "<unk>", "<unk>", "b"]
    assert symbols.decode(np.array([BOS, 5, PAD, 4, EOS, 6, PAD])) == ["a", "c"]
    assert symbols.decode([EOS]) == symbols.decode([]) == []


def test_characters_are_symbols_too():
    symbols = Symbols.of(["20 Juillet", "۲۰"])
    assert "".join(symbols.decode(symbols.encode("Jul 20۲"))) == "Jul 20۲"


def test_a_word_named_as_a_special_symbol_stands_for_no_padding():
    symbols = Symbols.of(TRAINING)
    assert symbols.encode(["<pad>"]).tolist() == [7]
    assert symbols.decode([7]) == ["<pad>"]


@pytest.mark.parametrize("ids", [[4, 9], [-1]])
def test_ids_out_of_range_are_named(ids):
    with pytest.raises(ValueError, match=rf"expected ids from 0 to 8, got {ids[-1]}"):
        Symbols.of(TRAINING).decode(ids)


def test_symbols_are_saved_and_loaded(tmp_path):
    symbols = Symbols.of([*TRAINING, ["é", "ژ", '"']])
    symbols.save(tmp_path / "symbols.json")
    assert Symbols.load(tmp_path / "symbols.json") == symbols
    assert "é" in (tmp_path / "symbols.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["no JSON", '{"a": 1}', "[1, 2]"])
def test_another_file_is_refused(tmp_path, text):
    (tmp_path / "symbols.json").write_text(text)
    with pytest.raises(ValueError, match=r"expected a JSON list of symbols in .*symbols\.json"):
        Symbols.load(tmp_path / "symbols.json")


# ---- arrays and batches --------------------------------------------------------------------------------------


def code(text):
    return np.array([ord(c) for c in text], np.int32)


def test_pairs_are_padded_on_the_right():
    got = pairs.encode_pairs(["abc", "", "ab"], ["x", "wxyz", ""], code, code, pad_id=7, eos_id=5)
    assert got.sources.tolist() == [[97, 98, 99], [7, 7, 7], [97, 98, 7]]
    assert got.source_lengths.tolist() == [3, 0, 2]
    assert got.targets.tolist() == [[120, 5, 7, 7, 7], [119, 120, 121, 122, 5], [5, 7, 7, 7, 7]]
    assert got.target_lengths.tolist() == [2, 5, 1]
    assert {array.dtype for array in got} == {np.dtype(np.int32)}


def test_widths_can_be_given():
    got = pairs.encode_pairs(["ab"], ["xy"], code, code, max_source=5, max_target=3)
    assert got.sources.tolist() == [[97, 98, PAD, PAD, PAD]] and got.targets.tolist() == [[120, 121, EOS]]


@pytest.mark.parametrize("name", ["max_source", "max_target"])
def test_what_does_not_fit_is_not_cut(name):
    longest = {"max_source": 3, "max_target": 4}[name]  # EOS counts
    with pytest.raises(ValueError, match=rf"at most {name}={longest - 1} ids, got {longest} in pair 1; leave"):
        pairs.encode_pairs(["a", "abc"], ["a", "xyz"], code, code, **{name: longest - 1})


def test_sources_and_targets_come_in_pairs():
    with pytest.raises(ValueError, match="expected as many sources as targets, got 2 and 1"):
        pairs.encode_pairs(["a", "b"], ["a"], code, code)


@pytest.fixture(scope="module")
def numbered():
    """23 pairs, of which each holds its own number."""
    texts = [chr(100 + i) * (i % 5 + 1) for i in range(23)]
    return pairs.encode_pairs(texts, texts[:], code, code)


def rows(batch):
    """The numbers of a batch's pairs."""
    return (batch.sources[0] - 100).tolist()


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_batches_are_time_major_and_of_one_shape(numbered):
    batch_at = pairs.batches(numbered, batch_size=7, seed=3)
    for step in range(10):
        batch = batch_at(step)
        assert batch.sources.shape == (5, 7) and batch.targets.shape == (6, 7)
        assert batch.source_lengths.shape == batch.target_lengths.shape == (7,)
        for i, row in enumerate(rows(batch)):
            assert np.array_equal(batch.sources[:, i], numbered.sources[row])
            assert np.array_equal(batch.targets[:, i], numbered.targets[row])
            assert batch.source_lengths[i] == numbered.source_lengths[row] == row % 5 + 1
            assert batch.target_lengths[i] == numbered.target_lengths[row] == row % 5 + 2


def test_an_epoch_shows_a_pair_at_most_once_and_each_has_its_order(numbered):
    batch_at = pairs.batches(numbered, batch_size=7, seed=3)
    epochs = [[row for n in range(3) for row in rows(batch_at(3 * epoch + n))] for epoch in range(40)]
    assert all(len(set(epoch)) == 21 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 40
    assert set().union(*epochs) == set(range(23))  # what an epoch leaves out, another one shows


def test_batches_are_a_function_of_the_step_alone(numbered):
    straight = [pairs.batches(numbered, batch_size=7, seed=3)(step) for step in range(31)]
    batch_at = pairs.batches(numbered, batch_size=7, seed=3)
    for step in np.random.default_rng(0).permutation(np.repeat(np.arange(31), 2)):
        assert equal(batch_at(step), straight[step])
    other = pairs.batches(numbered, batch_size=7, seed=4)
    assert not any(equal(other(step), straight[step]) for step in range(31))


def test_a_batch_that_is_written_to_leaves_the_pairs_alone(numbered):
    batch_at = pairs.batches(numbered, batch_size=23, seed=3)
    before = batch_at(0).sources.copy()
    for array in batch_at(0):
        array[:] = -1
    assert np.array_equal(batch_at(0).sources, before)


@pytest.mark.parametrize("batch_size", [0, 24])
def test_a_batch_size_that_cannot_be(numbered, batch_size):
    with pytest.raises(ValueError, match=f"expected batch_size from 1 to the 23 pairs there are, got {batch_size}"):
        pairs.batches(numbered, batch_size=batch_size, seed=0)


# ---- splits --------------------------------------------------------------------------------------------------


def random_pairs(seed, n=997, kinds=900):
    rng = np.random.default_rng(seed)
    return [f"s{i}" for i in rng.integers(kinds, size=n)], [f"t{i}" for i in rng.integers(kinds, size=n)]


@pytest.mark.parametrize("seed", range(5))
def test_no_source_and_no_target_is_in_two_parts(seed):
    sources, targets = random_pairs(seed, kinds=1_500)
    parts = pairs.split_by_source(sources, targets, (0.8, 0.1, 0.1), seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(997))
    for keys in (sources, targets):
        seen = [{keys[i] for i in part} for part in parts]
        assert sum(map(len, seen)) == len(set(keys))
    assert np.abs(np.array([len(part) for part in parts]) / 997 - (0.8, 0.1, 0.1)).max() < 0.02


def test_pairs_linked_through_others_stay_together():
    # 0 - 1 share a target, 1 - 2 a source, 2 - 3 a target: one chain. A source equal to a target links nothing.
    sources, targets = ["a", "b", "b", "c", "d", "e"], ["x", "x", "y", "y", "a", "d"]
    groups = pairs._groups(sources, targets)
    assert sorted(map(sorted, groups)) == [[0, 1, 2, 3], [4], [5]]


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_the_connected_components(seed):
    sources, targets = random_pairs(seed, n=61, kinds=53)
    reached = np.equal.outer(sources, sources) | np.equal.outer(targets, targets)
    for _ in range(6):  # paths of up to 64 pairs
        reached = reached @ reached
    expected = {tuple(np.flatnonzero(row)) for row in reached}
    assert {tuple(sorted(group)) for group in pairs._groups(sources, targets)} == expected


def test_a_giant_group_goes_where_it_fits():
    sources = ["the same"] * 60 + [f"s{i}" for i in range(40)]
    for seed in range(20):
        parts = pairs.split_by_source(sources, [str(i) for i in range(100)], (0.8, 0.1, 0.1), seed=seed)
        assert [len(part) for part in parts] == [80, 10, 10] and set(range(60)) <= set(parts[0])


def test_a_split_depends_on_its_seed_only():
    sources, targets = random_pairs(0, kinds=1_500)
    first, again, other = (pairs.split_by_source(sources, targets, (0.5, 0.5), seed=seed) for seed in (1, 1, 2))
    assert equal(first, again) and not np.array_equal(first[0], other[0])
    held_out_early = np.mean(first[1] < 500)
    assert 0.4 < held_out_early < 0.6  # drawn from everywhere, not from one end


@pytest.mark.parametrize(
    ("sources", "targets", "fractions", "message"),
    [
        (["a"], ["x", "y"], (0.5, 0.5), "as many sources as targets, got 1 and 2"),
        (["a", "b"], ["x", "y"], (0.5, 0.6), "positive fractions of sum 1"),
        (["a", "b"], ["x", "y"], (1.5, -0.5), "positive fractions of sum 1"),
        (["a", "b"], ["x", "y"], (), "positive fractions of sum 1"),
        (["a", "a"], ["x", "y"], (0.5, 0.5), "a group of pairs for each of 2 parts, got 1 groups, the largest of 2"),
    ],
)
def test_a_split_that_cannot_be(sources, targets, fractions, message):
    with pytest.raises(ValueError, match=message):
        pairs.split_by_source(sources, targets, fractions, seed=0)
