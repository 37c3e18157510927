"""French and English sentences: the file of Tatoeba, the generated set, and the words of both languages."""

import hashlib
import io
import urllib.request
import zipfile

import numpy as np
import pytest

from experiments.data import fra_eng
from experiments.data.fra_eng import split_by_source, words

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


def test_nothing_visible_is_lost():
    rng = np.random.default_rng(0)
    alphabet = [*"abcdnstlmi'-.,:!?\"()/$%09éç ", "n't", "'s", "l'", "-t-il", " qu'", "..."]
    sentences = ["a mother-in-law's well-known carry-on, my parents' house, join 'em.", ""]
    for text in [*sentences, *("".join(rng.choice(alphabet, 17)) for _ in range(2_000))]:
        assert "".join(words(text)) == text.replace(" ", ""), text


# ---- the split -----------------------------------------------------------------------------------------------


def random_pairs(seed, n=997, kinds=900):
    rng = np.random.default_rng(seed)
    return [f"s{i}" for i in rng.integers(kinds, size=n)], [f"t{i}" for i in rng.integers(kinds, size=n)]


@pytest.mark.parametrize("seed", range(5))
def test_no_source_and_no_target_is_in_two_parts(seed):
    sources, targets = random_pairs(seed, kinds=1_500)
    parts = split_by_source(sources, targets, (0.8, 0.1, 0.1), seed=seed)
    assert sorted(np.concatenate(parts)) == list(range(997))
    for keys in (sources, targets):
        seen = [{keys[i] for i in part} for part in parts]
        assert sum(map(len, seen)) == len(set(keys))
    assert np.abs(np.array([len(part) for part in parts]) / 997 - (0.8, 0.1, 0.1)).max() < 0.02


def test_pairs_linked_through_others_stay_together():
    # 0 - 1 share a target, 1 - 2 a source, 2 - 3 a target: one chain. A source equal to a target links nothing.
    sources, targets = ["a", "b", "b", "c", "d", "e"], ["x", "x", "y", "y", "a", "d"]
    groups = fra_eng._groups(sources, targets)
    assert sorted(map(sorted, groups)) == [[0, 1, 2, 3], [4], [5]]


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_the_connected_components(seed):
    sources, targets = random_pairs(seed, n=61, kinds=53)
    reached = np.equal.outer(sources, sources) | np.equal.outer(targets, targets)
    for _ in range(6):  # paths of up to 64 pairs
        reached = reached @ reached
    expected = {tuple(np.flatnonzero(row)) for row in reached}
    assert {tuple(sorted(group)) for group in fra_eng._groups(sources, targets)} == expected


def test_a_giant_group_goes_where_it_fits():
    sources = ["the same"] * 60 + [f"s{i}" for i in range(40)]
    for seed in range(20):
        parts = split_by_source(sources, [str(i) for i in range(100)], (0.8, 0.1, 0.1), seed=seed)
        assert [len(part) for part in parts] == [80, 10, 10] and set(range(60)) <= set(parts[0])


def test_a_split_depends_on_its_seed_only():
    sources, targets = random_pairs(0, kinds=1_500)
    first, again, other = (split_by_source(sources, targets, (0.5, 0.5), seed=seed) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, again)) and not np.array_equal(first[0], other[0])
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
        split_by_source(sources, targets, fractions, seed=0)


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
    monkeypatch.setattr(fra_eng, "FRA_ENG", fra_eng.FRA_ENG._replace(sha256=known))
    assert fra_eng.load("tatoeba") == PARSED
    assert fra_eng.load("tatoeba")[0].french == "Va\u202f!" and fra_eng.load("tatoeba")[0].english == "Go."


@pytest.mark.parametrize("text", [TWO_COLUMNS, THREE_COLUMNS, "\ufeff" + THREE_COLUMNS])
def test_another_file_is_read_if_asked_for(data, tmp_path, text):
    (tmp_path / "newer.zip").write_bytes(zipped(text))
    assert fra_eng.load(str(tmp_path / "newer.zip")) == PARSED


def what_is_said(error):
    with pytest.raises(error) as caught:
        fra_eng.load("tatoeba")
    message = str(caught.value)
    assert "\n" not in message and message.endswith(".") and message.count(". ") == 0  # one sentence
    assert fra_eng.FRA_ENG.url in message and "newer" in message and "pass its path" in message
    return message


def test_a_newer_file_in_its_place_is_refused_with_a_way_on(data):
    data.write_bytes(zipped(THREE_COLUMNS))
    assert "got other bytes; delete it to fetch it again, or" in what_is_said(ValueError)
    assert data.exists()


def test_no_copy_and_no_network_is_one_sentence_with_a_way_on(data):
    message = what_is_said(FileNotFoundError)
    assert fra_eng.FRA_ENG.copy in message and "no route to host" in message and "RNNJAX_DATA" in message


def test_a_download_of_other_bytes_is_refused_with_a_way_on(data, tmp_path, monkeypatch):
    class Answer(io.BytesIO):
        headers: dict = {}  # noqa: RUF012

    asked = []
    monkeypatch.setattr(
        urllib.request, "urlopen", lambda url, timeout: asked.append(url) or Answer(zipped(THREE_COLUMNS))
    )
    assert fra_eng.FRA_ENG.sha256 in what_is_said(ValueError)
    assert asked == [fra_eng.FRA_ENG.copy]
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
        fra_eng.load(str(tmp_path / "other.zip"))


def test_a_path_of_nothing(data, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"found none at .*nothing\.zip"):
        fra_eng.load(str(tmp_path / "nothing.zip"))


def test_the_generated_set_has_every_sentence_once_in_both_languages():
    pairs = fra_eng.load("generated")
    assert len(pairs) == len(set(pairs)) == len({p.french for p in pairs}) == len({p.english for p in pairs}) > 1_000
    assert ("Ta sœur oublie la lettre ce matin.", "Your sister forgets the letter this morning.") in pairs
    assert all(pair.french[0].isupper() and pair.english[-1] in ".!" for pair in pairs)
