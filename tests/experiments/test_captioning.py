"""Captions: scenes, what is held out, files of features, and the model."""

import dataclasses

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.captioning import __main__ as captioning
from experiments.captioning import features, scenes
from experiments.captioning.model import make_captioner
from experiments.captioning.scenes import COLOURS, NEW, RELATIONS, SHAPES, SIDE, TEST, TRAIN, VALIDATION
from experiments.lib.pairs import BOS, EOS, Symbols, pad_pairs

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(captioning)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert next(iter(result)) == "exact_match" and result["baseline_frequent_exact_match"] <= 0.2
    assert figures_of(folder) == {"words_0", "words_1", "attention_0", "attention_1", "attention_2"}
    assert "no caption is in two parts" in (folder / "report.md").read_text()


def kinds_of(part):
    """Colours and shapes of all objects of a part, by its captions."""
    words = [scenes.words_of(captions[0]) for captions in part.captions]
    return {(row[at], row[at + 1]) for row in words for at in (1, 5)}


def test_pairs_and_kinds_are_held_out():
    parts = [scenes.make_part(part, 900, 0) for part in (TRAIN, VALIDATION, TEST, NEW)]
    assert [len(part.captions) for part in parts] == [900] * 4
    train, *_, new = map(kinds_of, parts)
    assert len(train) == 20 and len(new - train) == 4 and all(kinds_of(part) <= train for part in parts[1:3])
    assert {colour for colour, _ in train} == {*COLOURS} and {shape for _, shape in train} == {*SHAPES}
    said = [{frozenset(captions) for captions in part.captions} for part in parts]
    assert all(not a & b for i, a in enumerate(said) for b in said[:i])
    for captions in parts[3].captions[:50]:
        words = scenes.words_of(captions[0])
        assert not {words[1:3], words[5:7]} <= train  # at least one is new
    same = scenes.make_part(TEST, 900, 0)
    assert np.array_equal(same.inputs, parts[2].inputs) and same.captions == parts[2].captions


def test_both_captions_are_true():
    part = scenes.make_part(TRAIN, 200, 1)
    for image, captions in zip(part.inputs.astype(float), part.captions, strict=True):
        centres = []
        for caption in captions:
            colour = scenes.words_of(caption)[1]
            near = np.abs(image - np.array(COLOURS[colour])).max(axis=-1) < 50
            centres.append(np.argwhere(near).mean(axis=0))
        (y1, x1), (y2, x2) = centres
        if captions[0].split()[2] == captions[1].split()[2]:
            continue  # one colour
        relation = next(name for name in RELATIONS[0] if f" {name} " in captions[0])
        assert (x2 - x1 if relation == "left of" else y2 - y1) > 9
        a, b = captions[0].split(f" {relation} ")
        assert captions[1] == f"{b} {dict(zip(*RELATIONS, strict=True))[relation]} {a}"


def test_shapes_are_drawn_within_their_radius():
    drawn = scenes.draw_shapes(np.arange(4), np.full(4, 6.0), np.full(4, 12.0), np.full(4, 20.0))
    areas = drawn.sum(axis=(1, 2))
    assert abs(areas[0] - np.pi * 36) < 8 and areas[1] == 169
    assert drawn[2, 14:27].sum(axis=1).tolist() == sorted(drawn[2, 14:27].sum(axis=1))  # wider further down
    assert areas[3] == 2 * 13 * 5 - 25
    assert not drawn[:, :14].any() and not drawn[:, 27:].any() and drawn.shape == (4, SIDE, SIDE)


def test_words_are_scored_by_the_caption_that_agrees_most():
    captions = ("a small red circle left of a big blue square", "a big blue square right of a small red circle")
    right = scenes.right_words("a big blue cross right of a small red circle", captions)
    assert right.tolist() == [True, True, False, True, True, True, True]
    assert scenes.right_words("", captions).sum() == 0 and scenes.right_words(captions[0], captions).all()
    part = scenes.Part(np.zeros(2), [captions, captions])
    assert captioning.right_captions([captions[1], "a"], part).tolist() == [True, False]


def test_text_ends_at_the_end():
    symbols = Symbols.of([["a", "red", "a"]])
    assert captioning.to_text(symbols, [BOS, *symbols.encode(["a", "red"]), EOS, 4]) == "a red"


@pytest.mark.parametrize("attention", [True, False])
def test_what_the_model_knows_of_the_places(attention):
    """Of features by position, the mean is all the same for positions that are swapped."""
    config = dataclasses.replace(captioning.Config(), channels=(5,), hidden=7, embedding=3)
    model = make_captioner(config, (4, 3), 11, attention=attention)
    params = model.init(jax.random.key(0))
    seen = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
    pairs = pad_pairs([[0], [1]], [[4, 5, 6], [7]])
    outputs = model.outputs(params, pairs._replace(sources=seen))
    assert outputs.shape == (4, 2, 7)
    memory, _ = model.encode(params, seen, pairs.source_lengths)
    if attention:
        assert memory.values.shape == (2, 4, 5) and memory.mask.all()
    else:
        assert memory.shape == (2, 5)
        np.testing.assert_allclose(outputs, model.outputs(params, pairs._replace(sources=seen[:, ::-1])), atol=1e-5)


# ---- features of a file ----------------------------------------------------------------------------------------


def save(path, **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "features": rng.normal(size=(6, 4, 3)).astype(np.float32),
        "captions": np.array([["a dog runs", "a dog"], ["a cat", ""]] * 3),
        "split": np.array(["train", "validation", "test"] * 2),
    } | changes
    np.savez(path, **arrays)
    return str(path)


def test_features_of_a_file_are_read(tmp_path):
    parts = features.load(save(tmp_path / "f.npz"))
    assert [part.inputs.shape for part in parts] == [(2, 4, 3)] * 3
    assert parts[0].captions == [("a dog runs", "a dog"), ("a cat",)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"features": np.zeros((6, 4))}, r"features \[N, P, F\], captions"),
        ({"split": np.array(["train"] * 6)}, "split in .* to say train, validation, test"),
        ({"features": np.full((6, 4, 3), np.nan)}, "finite floats"),
        ({"captions": np.array([["a"]] * 5 + [[""]])}, "none in row 5"),
    ],
)
def test_damaged_files_of_features_are_refused(tmp_path, changes, expected):
    with pytest.raises(ValueError, match=expected):
        features.load(save(tmp_path / "f.npz", **changes))
    (tmp_path / "g.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"a file of numpy.savez"):
        features.load(str(tmp_path / "g.npz"))
    with pytest.raises(FileNotFoundError, match="found none at"):
        features.load(str(tmp_path / "h.npz"))


@pytest.mark.slow
def test_features_of_a_file_are_described(tmp_path):
    path = save(tmp_path / "f.npz")
    result = captioning.main(smoke_config(captioning, tmp_path / "run", features=path, steps=4, batch=2, max_words=4))
    assert 0 <= result["exact_match"] <= 1 and "Features of 2 images" in (tmp_path / "run" / "report.md").read_text()


def test_options_that_cannot_be_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="--attention to be a mechanism"):
        captioning.main(smoke_config(captioning, tmp_path, attention="none"))
