"""Readers of sentences: padding, order, attention, dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.lib import readers

LENGTHS = np.array([5, 3, 1])


@pytest.fixture(scope="module", params=["mean", "gru", "attention"])
def case(request):
    reader = readers.make_reader(request.param, 2, 3, 4, layers=2, dropout=0.5)
    return request.param, reader.init(jax.random.key(0)), jax.jit(reader.apply)


def test_padding_is_not_read(case):
    name, params, apply = case
    xs = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    other = np.where((np.arange(5)[:, None] < LENGTHS)[..., None], xs, np.float32(np.nan))
    read, same = apply(params, xs, LENGTHS), apply(params, other, LENGTHS)
    assert read.logits.shape == (3, 4)
    np.testing.assert_array_equal(read.logits, same.logits)
    if name == "attention":
        np.testing.assert_allclose(read.weights.sum(axis=1), 1, rtol=1e-6)
        assert not read.weights[1, 3:].any() and read.weights[1, 2] > 0
    else:
        assert read.weights is None


def test_only_the_mean_ignores_the_order(case):
    name, params, apply = case
    xs = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    swapped = xs.copy()
    swapped[[0, 1], 0] = xs[[1, 0], 0]
    difference = np.abs(apply(params, xs, LENGTHS).logits - apply(params, swapped, LENGTHS).logits).max(axis=1)
    assert (difference[0] < 1e-6) == (name == "mean") and difference[1] < 1e-6


def test_the_mean_is_the_mean():
    reader = readers.make_reader("mean", 2, 7, 3)
    params = reader.init(jax.random.key(0))
    xs = np.random.default_rng(0).normal(size=(5, 3, 2)).astype(np.float32)
    expected = np.stack([xs[:n, i].mean(axis=0) for i, n in enumerate(LENGTHS)]) @ params.w_y
    np.testing.assert_allclose(reader.apply(params, xs, LENGTHS).logits, expected, atol=1e-6)


def test_dropout_keeps_the_mean():
    x = jnp.ones((100, 100))
    dropped = readers.drop(x, 0.25, jax.random.key(0))
    assert {0.0, 4 / 3} == {round(float(v), 6) if v == 0 else 4 / 3 for v in np.unique(dropped)}
    assert abs(float(dropped.mean()) - 1) < 0.02
    assert readers.drop(x, 0.25, None) is x and readers.drop(x, 0.0, jax.random.key(0)) is x


def test_sentences_are_padded_and_unknown_words_marked():
    words = readers.encode([("to", "be"), ("not",), ()], {"to": 1, "be": 2}, unknown=7, steps=3)
    assert words.ids.T.tolist() == [[1, 2, 0], [7, 0, 0], [0, 0, 0]] and words.lengths.tolist() == [2, 1, 0]
