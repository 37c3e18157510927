"""Decoding of CTC against a sum over all paths."""

import collections
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.decoding import ctc_beam_search, ctc_greedy
from rnnjax.losses import ctc

T, V = 5, 3
search = jax.jit(ctc_beam_search, static_argnames=("blank_id", "beam_size", "max_labels"))


def draw(seed=0, steps=T, size=V):
    """Logits of one source."""
    return np.random.default_rng(seed).normal(size=(steps, size)).astype(np.float32) * 1.5


def collapse(path, blank_id):
    return tuple(label for label, _ in itertools.groupby(path) if label != blank_id)


def all_labels(logits, blank_id):
    """The probability of every sequence of labels."""
    log_probs = np.asarray(jax.nn.log_softmax(jnp.asarray(logits, jnp.float32)), np.float64)
    found = collections.defaultdict(float)
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        found[collapse(path, blank_id)] += np.exp(sum(log_probs[t, label] for t, label in enumerate(path)))
    return dict(found)


def rows(result):
    """Sequences of labels with their probabilities, those that are alive."""
    return {
        tuple(labels[:length].tolist()): float(np.exp(log_prob))
        for labels, length, log_prob in zip(*map(np.asarray, result), strict=True)
        if log_prob > -np.inf
    }


@pytest.mark.parametrize("blank_id", [0, 1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_beam_that_holds_everything_is_the_sum_over_all_paths(seed, blank_id):
    logits = draw(seed)
    expected = all_labels(logits, blank_id)
    result = search(logits, blank_id=blank_id, beam_size=len(expected) + 5)
    found = rows(result)
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[labels] for labels in expected], list(expected.values()), rtol=1e-5)
    assert (np.diff(result.log_probs[: len(expected)]) <= 0).all()
    assert (result.log_probs[len(expected) :] == -np.inf).all()


def test_scores_are_those_of_the_loss():
    logits = draw(seed=2, steps=7, size=5)
    result = search(logits, beam_size=2000)
    count = 40
    losses = ctc(
        jnp.broadcast_to(logits[:, None], (7, count, 5)),
        result.labels[:count],
        logit_lengths=jnp.full(count, 7),
        label_lengths=result.lengths[:count],
    )
    np.testing.assert_allclose(result.log_probs[:count], -losses, rtol=1e-4)


def test_a_narrow_beam_is_at_most_exact_and_never_repeats():
    for seed in range(7):
        logits = draw(seed, steps=7)
        exact = all_labels(logits, 0)
        for beam_size in (1, 2, 3, 7):
            result = search(logits, beam_size=beam_size)
            found = rows(result)
            assert len(found) == beam_size and all(found[labels] <= exact[labels] * 1.00001 for labels in found)
        best = max(exact, key=exact.get)
        assert best in found and next(iter(found)) == best  # seven suffice here


def test_more_labels_than_asked_for_are_left_out():
    logits = draw(seed=3)
    exact = {labels: chance for labels, chance in all_labels(logits, 0).items() if len(labels) <= 2}
    found = rows(ctc_beam_search(jnp.asarray(logits), beam_size=50, max_labels=2))
    assert found.keys() == exact.keys()
    np.testing.assert_allclose([found[labels] for labels in exact], list(exact.values()), rtol=1e-5)


@pytest.mark.parametrize("length", range(T + 1))
def test_what_follows_the_end_changes_nothing(length):
    logits = draw(seed=4)
    padded = np.where(np.arange(T)[:, None] < length, logits, np.nan)
    found = rows(search(padded, length=jnp.asarray(length), beam_size=70))
    exact = all_labels(logits[:length], 0)
    assert found.keys() == exact.keys()
    np.testing.assert_allclose([found[labels] for labels in exact], list(exact.values()), rtol=1e-5)
    greedy = ctc_greedy(jnp.asarray(padded), length=jnp.asarray(length))
    assert rows(greedy).keys() == {collapse(logits[:length].argmax(1), 0)}


def test_classes_of_probability_zero_come_and_go():
    logits = draw(seed=6, steps=7)
    logits[[1, 2, 4, 5], [1, 0, 1, 2]] = -np.inf
    exact = {labels: chance for labels, chance in all_labels(logits, 0).items() if chance}
    found = rows(search(logits, beam_size=200))
    assert found.keys() == exact.keys()
    np.testing.assert_allclose([found[labels] for labels in exact], list(exact.values()), rtol=1e-5)


def test_a_batch_is_each_source_alone():
    logits = jnp.stack([draw(seed, steps=7) for seed in range(5)])
    lengths = jnp.array([7, 0, 3, 1, 7])
    for function in (lambda x, n: ctc_beam_search(x, length=n, beam_size=3), lambda x, n: ctc_greedy(x, length=n)):
        together = jax.jit(jax.vmap(function))(logits, lengths)
        for b in range(5):
            alone = function(logits[b], lengths[b])
            assert alone.labels.tolist() == together.labels[b].tolist()
            np.testing.assert_allclose(alone.log_probs, together.log_probs[b], rtol=1e-5)


@pytest.mark.parametrize("blank_id", [0, 4])
def test_greedy_collapses_the_best_path(blank_id):
    path = np.random.default_rng(5).integers(5, size=53)
    logits = 9 * jax.nn.one_hot(path, 5)
    result = ctc_greedy(logits, blank_id=blank_id)
    assert rows(result).keys() == {collapse(path, blank_id)}
    assert (result.labels[0, result.lengths[0] :] == blank_id).all()
    np.testing.assert_allclose(result.log_probs[0], jax.nn.log_softmax(logits).max(-1).sum(), rtol=1e-5)


def test_what_does_not_fit_is_said():
    logits = jnp.asarray(draw())
    with pytest.raises(
        ValueError, match=r"expected logits \[T, V\] of one source, got shape \(5, 1, 3\); use jax.vmap"
    ):
        ctc_greedy(logits[:, None])
    with pytest.raises(TypeError, match="ctc_beam_search: expected logits to be an array, got list"):
        ctc_beam_search([[0.0]], beam_size=1)
    with pytest.raises(TypeError, match="expected logits of a floating-point dtype, got int32"):
        ctc_greedy(logits.astype(int))
    with pytest.raises(ValueError, match="expected blank_id from 0 to 2"):
        ctc_greedy(logits, blank_id=3)
    with pytest.raises(ValueError, match="expected beam_size to be a positive int, got 0"):
        ctc_beam_search(logits, beam_size=0)
    with pytest.raises(ValueError, match="expected max_labels to be a positive int, got 0"):
        ctc_beam_search(logits, beam_size=1, max_labels=0)
    with pytest.raises(ValueError, match="expected lengths between 0 and T = 5, got 6 to 6"):
        ctc_greedy(logits, length=jnp.asarray(6))
