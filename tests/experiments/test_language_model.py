"""A language model of words: its corpus, its network, its perplexity and its samples."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_fixture

from experiments.language_model import __main__ as experiment
from experiments.language_model import corpus
from experiments.language_model.model import make_model
from rnnjax.data import Vocabulary

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(experiment)
TINY = dataclasses.replace(experiment.Config(), cell="irnn", hidden=5, embedding=3, dropout=0.5)


@pytest.mark.slow
def test_smoke_leaves_its_files_and_writes_on(smoke):
    folder, result = smoke
    assert figures_of(folder) == {"loss"}
    assert 1 < result["baseline_perplexity"] < result["unigram_perplexity"] and 1 < result["perplexity"] < 2000
    text = experiment.sample(experiment.SampleConfig(out=str(folder), prompt="The Object", length=9, seed=3))
    assert text.startswith("the object") and "<eos>" not in text and "<unk>" not in text
    assert text == experiment.sample(experiment.SampleConfig(out=str(folder), prompt="The Object", length=9, seed=3))


def test_a_text_is_cut_into_three_parts_in_order(tmp_path):
    path = tmp_path / "text.txt"
    text = "".join(f"Word{i} is the {i % 3}th.\n\n" for i in range(38)) + "A same one.\n\nA same one."
    path.write_text(text + " " + "The same 0th.")
    config = dataclasses.replace(TINY, data=str(path), least=2)
    found = corpus.load(config)
    symbols = np.array(found.vocabulary.symbols)
    assert symbols[:2].tolist() == ["<eos>", "<unk>"] and "is" in symbols and "word3" not in symbols
    train, test = (" ".join(symbols[ids]) for ids in (found.train, found.test))
    assert train.startswith("<eos> <unk> is the 0th . <eos> <unk> is the 1th .") and test.endswith(". <eos>")
    assert found.train.tolist().count(0) == 1 + 41 * 8 // 10 and found.test.tolist().count(0) == 1 + 5
    assert 0.2 < found.unknown < 0.7  # every name of a test sentence, and more
    fewer = corpus.load(dataclasses.replace(config, sentences=10))
    assert fewer.train.tolist().count(0) == 11
    path.write_text("Too short.")
    with pytest.raises(ValueError, match="at least 10 sentences, got 1"):
        corpus.load(config)


def test_what_a_later_part_has_is_not_trained_on(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("".join(f"{word} ends.\n\n" for word in "abcdefghab"))
    assert corpus.load(dataclasses.replace(TINY, data=str(path), least=1)).repeated == 2


@pytest.mark.parametrize("embedding", [0, 3])
def test_windows_and_single_steps_agree_and_weights_are_tied(embedding):
    model = make_model(dataclasses.replace(TINY, embedding=embedding), 7)
    params = model.init(jax.random.key(0))
    assert (params.projection is None) == (embedding == 0)
    ids, carry = jnp.array([[1, 2], [3, 4], [5, 6]]), model.initial_carry((2,))
    after, logits = model.logits(params, carry, ids)
    for row, expected in zip(ids, logits, strict=True):
        carry, found = model.step(params, carry, row)
        np.testing.assert_allclose(found, expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), carry, after)
    far = params._replace(words=params.words.at[0].set(9.0))  # read by nobody here: an output alone
    _, other = model.logits(far, model.initial_carry((2,)), ids)
    np.testing.assert_allclose(other[..., 1:], logits[..., 1:], atol=1e-5)
    assert np.abs(other[..., 0] - logits[..., 0]).max() > 1e-3


def test_dropout_leaves_the_recurrent_path_alone():
    """With everything dropped but a trace, what a network knows of its inputs is gone, but not its own carry."""
    model = make_model(dataclasses.replace(TINY, layers=1, dropout=0.999), 7)
    params, ids = model.init(jax.random.key(0)), jnp.array([[1], [2]])
    start = jax.tree.map(lambda leaf: leaf + 0.7, model.initial_carry((1,)))
    carry, _ = model.logits(params, start, ids, key=jax.random.key(1))
    blind = params._replace(words=params.words * 0)
    expected, _ = model.logits(blind, start, ids)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), carry, expected)


def test_perplexity_of_a_uniform_guess_is_the_size():
    ids = np.array([0, 3, 4, 0, 2, 0])
    found = experiment.perplexity(np.full(5, np.log(50)), ids)
    assert found == pytest.approx((50, 50, 50))
    sums, counts = corpus.by_sentence(np.arange(5.0), ids)
    assert sums.tolist() == [3.0, 7.0] and counts.tolist() == [3, 2]


def test_samples_end_lines_and_never_draw_the_unknown_word():
    vocabulary = Vocabulary((corpus.EOS, corpus.UNK, "a", "dog"))
    model = make_model(dataclasses.replace(TINY, layers=1), 4)
    params = model.init(jax.random.key(0))
    params = params._replace(b_y=jnp.array([2.0, 9.0, 2.0, 2.0]))
    text = experiment.make_write(model, params, vocabulary, 1.0, 1.0, 60)("A zebra", 0)
    assert text.startswith("a zebra") and "<" not in text and "\n" in text and {"a", "dog"} <= set(text.split())


@pytest.mark.parametrize("changes", [{"layers": 0}, {"least": 0}, {"dropout": 1.0}, {"cell": "lru"}])
def test_options_that_cannot_be(changes):
    with pytest.raises(ValueError, match="expected --"):
        dataclasses.replace(experiment.Config(), **changes).check()
