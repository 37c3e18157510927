"""Pairs of sequences on the host: words, symbols, padding, batches, splits, and the set of translations."""

import hashlib
import io
import json
import urllib.request
import zipfile

import numpy as np
import pytest

from experiments.lib import datasets, pairs
from experiments.lib.pairs import BOS, EOS, PAD, UNK, Symbols, detokenize, words

# ---- words ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("L'homme qu’il aime", "l' homme qu' il aime"),
        ("Jusqu'à aujourd'hui, quelqu'un dort", "jusqu' à aujourd'hui , quelqu'un dort"),
        ("J'ai ; c'est\u202f! Ça\xa0?", "j' ai ; c' est ! ça ?"),
        ("Où habitez-vous ? A-t-il peut-être dit oui ?", "où habitez -vous ? a -t-il peut-être dit oui ?"),
        ("Donnez-le-moi, lui-même.", "donnez -le -moi , lui -même ."),
        ("Don't you? Can't, won't!", "do n't you ? ca n't , wo n't !"),
        ("She'll see Tom's, I'd've", "she 'll see tom 's , i 'd 've"),
        ("It's 10:30 p.m. or 3,000.", "it 's 10:30 p.m. or 3,000 ."),
        ("Six o'clock, well-known...", "six o'clock , well-known ..."),
        ("Join 'em at my parents' house", "join 'em at my parents ' house"),
        ("“No,” he said…", '" no , " he said ...'),
        ("e\u0301te\u0301 \u00adco\u200bol", "été cool"),  # composed; without what is not seen
        ("  \u2009\n", ""),
    ],
)
def test_words(text, tokens):
    assert words(text) == tokens.split()


@pytest.mark.parametrize(
    "text",
    [
        "don't tell me you can't; i won't, he isn't, they'd've, it's o'clock.",
        "why? because! yes, no: well (almost) 99.9% of $3,000... or so...",
        '"are you tired?" "no, not at all."',
        "is it 10:30 a.m. or p.m.? the u.s. and/or the f.b.i.",
        "a mother-in-law's well-known carry-on, my parents' house, join 'em.",
        "the teachers' room",
        "",
    ],
)
def test_english_words_are_put_together_again(text):
    assert detokenize(words(text)) == text


def test_french_elisions_and_inversions_are_put_together_again():
    text = "l'homme qu'il a vu n'est-il pas aujourd'hui là-bas, a-t-il dit, donnez-le-moi."
    assert detokenize(words(text)) == text


def test_nothing_visible_is_lost():
    rng = np.random.default_rng(0)
    alphabet = [*"abcdnstlmi'-.,:!?\"()/$%09éç ", "n't", "'s", "l'", "-t-il", " qu'", "..."]
    for _ in range(2_000):
        text = "".join(rng.choice(alphabet, 17))
        assert "".join(words(text)) == text.replace(" ", ""), text
        assert detokenize(words(text)).replace(" ", "") == text.replace(" ", "")


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


# ---- the set of translations ---------------------------------------------------------------------------------

TWO_COLUMNS = "Go.\tVa\u202f!\r\nIt is\u2028late.\tIl est tard.\r\n"
THREE_COLUMNS = "Go.\tVa\u202f!\tCC-BY 2.0 (France)\nIt is\u2028late.\tIl est tard.\tCC-BY 2.0 (France)"
PARSED = [("Va\u202f!", "Go."), ("Il est tard.", "It is\u2028late.")]


def zipped(text, name="fra.txt"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("_about.txt", "From tatoeba.org.")
        archive.writestr(name, text)
    return out.getvalue()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """An empty RNNJAX_DATA, an empty cache and no network; the path where the set is looked for first."""

    def forbidden(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "data" / "fra_eng").mkdir(parents=True)
    return tmp_path / "data" / "fra_eng" / "fra-eng.zip"


def test_the_known_file_is_read(data, monkeypatch):
    data.write_bytes(zipped(TWO_COLUMNS))
    known = hashlib.sha256(data.read_bytes()).hexdigest()
    monkeypatch.setattr(datasets, "FRA_ENG", datasets.FRA_ENG._replace(sha256=known))
    assert datasets.load_fra_eng() == PARSED
    assert datasets.load_fra_eng()[0].french == "Va\u202f!" and datasets.load_fra_eng()[0].english == "Go."


@pytest.mark.parametrize("text", [TWO_COLUMNS, THREE_COLUMNS, "\ufeff" + THREE_COLUMNS])
def test_another_file_is_read_if_asked_for(data, tmp_path, text):
    (tmp_path / "newer.zip").write_bytes(zipped(text))
    assert datasets.load_fra_eng(str(tmp_path / "newer.zip")) == PARSED


def what_is_said(error):
    with pytest.raises(error) as caught:
        datasets.load_fra_eng()
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and message.count(". ") == 0  # one sentence
    assert datasets.FRA_ENG.url in message and "newer" in message and "pass its path" in message
    return message


def test_a_newer_file_in_its_place_is_refused_with_a_way_on(data):
    data.write_bytes(zipped(THREE_COLUMNS))
    assert "got other bytes; delete it to fetch it again, or" in what_is_said(ValueError)
    assert data.exists()


def test_no_copy_and_no_network_is_one_sentence_with_a_way_on(data):
    message = what_is_said(FileNotFoundError)
    assert datasets.FRA_ENG.copy in message and "no route to host" in message and "RNNJAX_DATA" in message


def test_a_download_of_other_bytes_is_refused_with_a_way_on(data, tmp_path, monkeypatch):
    class Answer(io.BytesIO):
        headers: dict = {}  # noqa: RUF012

    asked = []
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda url, timeout: asked.append(url) or Answer(zipped(THREE_COLUMNS))
    )
    assert datasets.FRA_ENG.sha256 in what_is_said(ValueError)
    assert asked == [datasets.FRA_ENG.copy]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no zip", "to be a zip file with fra.txt"),
        (zipped("Go.\tVa !", name="deu.txt"), "to be a zip file with fra.txt"),
        (zipped("Go.\tVa !".encode("utf-16")), "to be a zip file with fra.txt in UTF-8"),
        (zipped("Go.\tVa !\nGo on."), r"expected english TAB french.*line 2: 'Go on.'"),
        (zipped("Go.\tVa !\n\nGo on.\tVa"), r"expected english TAB french.*line 2: ''"),
    ],
)
def test_a_file_of_another_kind_is_refused(data, tmp_path, content, message):
    (tmp_path / "other.zip").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        datasets.load_fra_eng(str(tmp_path / "other.zip"))


def test_a_path_of_nothing(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found none at .*nothing\.zip"):
        datasets.load_fra_eng(str(tmp_path / "nothing.zip"))


def test_from_sentences_to_batches(tmp_path):
    (tmp_path / "set.zip").write_bytes(zipped("".join(f"I don't, {i}.\tJe n'en ai pas, {i}.\n" for i in range(11))))
    sentences = datasets.load_fra_eng(str(tmp_path / "set.zip"))
    french, english = [words(s.french) for s in sentences], [words(s.english) for s in sentences]
    training, held_out = pairs.split_by_source(list(map(tuple, french)), list(map(tuple, english)), (0.7, 0.3), seed=0)
    source, target = (Symbols.of(texts[i] for i in training) for texts in (french, english))
    for part in (training, held_out):
        encoded = pairs.encode_pairs(
            [french[i] for i in part], [english[i] for i in part], source.encode, target.encode
        )
        batch = pairs.batches(encoded, batch_size=3, seed=0)(0)
        for column in batch.targets.T:
            number = "<unk>" if part is held_out else detokenize(target.decode(column)).split()[-1][:-1]
            assert detokenize(target.decode(column)) == f"i don't, {number}."
    assert json.loads(json.dumps(source.symbols))[:4] == list(pairs.SPECIAL)
