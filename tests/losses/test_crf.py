"""The conditional random field against a sum over all sequences of labels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.losses import CRFParams, crf, crf_decode, crf_marginals

T, B, K = 5, 7, 3
LENGTHS = np.array([5, 0, 1, 2, 5, 3, 4])


def draw(seed=0, dtype=np.float32, forbidden=False):
    """Parameters, logits, labels and all with NaN behind the ends."""
    rng = np.random.default_rng(seed)
    params = CRFParams(*(rng.normal(size=shape).astype(dtype) for shape in ((K, K), (K,), (K,))))
    if forbidden:  # as in BIO: the label 2 comes after 1 and 2 only, and never first
        params.transitions[0, 2] = params.start[2] = -np.inf
    logits = rng.normal(size=(T, B, K)).astype(dtype) * 2
    logits[np.arange(T)[:, None] >= LENGTHS[None]] = np.nan
    labels = rng.integers(2 if forbidden else K, size=(T, B))
    return jax.tree.map(jnp.asarray, (params, logits, labels))


def score(params, logits, labels):
    """The score of one sequence."""
    if not len(labels):
        return 0.0
    moved = sum(float(params.transitions[pair]) for pair in itertools.pairwise(labels))
    emitted = sum(float(logits[t, label]) for t, label in enumerate(labels))
    return float(params.start[labels[0]]) + emitted + moved + float(params.end[labels[-1]])


def sequences(params, logits, length):
    """All sequences of labels with their probabilities."""
    found = list(itertools.product(range(K), repeat=length))
    scores = np.array([score(params, logits, labels) for labels in found])
    chances = np.exp(scores - scores.max())
    return found, chances / chances.sum(), scores


@pytest.mark.parametrize("forbidden", [False, True])
def test_loss_marginals_and_best_labels_are_those_of_all_sequences(forbidden):
    params, logits, labels = draw(forbidden=forbidden)
    losses = crf(params, logits, labels, lengths=jnp.asarray(LENGTHS))
    marginals = crf_marginals(params, logits, lengths=jnp.asarray(LENGTHS))
    best = crf_decode(params, logits, lengths=jnp.asarray(LENGTHS))
    assert marginals.shape == (T, B, K) and best.labels.shape == (T, B) and best.labels.dtype == jnp.int32
    for b, length in enumerate(LENGTHS):
        found, chances, scores = sequences(params, logits[:, b], length)
        mine = found.index(tuple(labels[:length, b].tolist()))
        np.testing.assert_allclose(np.exp(-losses[b]), chances[mine], rtol=1e-5)
        expected = np.zeros((T, K))
        for sequence, chance in zip(found, chances, strict=True):
            expected[np.arange(length), list(sequence)] += chance
        np.testing.assert_allclose(marginals[:, b], expected, atol=1e-6)
        assert best.labels[:, b].tolist() == [*found[scores.argmax()], *[0] * (T - length)]
        np.testing.assert_allclose(best.scores[b], scores.max(), rtol=1e-5, atol=1e-6)


def test_probabilities_of_all_labels_add_up_to_one():
    params, logits, _ = draw(seed=1)
    every = jnp.asarray(list(itertools.product(range(K), repeat=T))).T  # [T, K^T]
    repeated = jnp.broadcast_to(logits[:, :1], (T, every.shape[1], K))
    np.testing.assert_allclose(jnp.sum(jnp.exp(-crf(params, repeated, every))), 1, rtol=1e-5)


def test_gradients_are_finite_differences_and_finite_where_something_is_forbidden():
    with jax.enable_x64(True):
        params, logits, labels = draw(seed=2, dtype=np.float64, forbidden=True)

        def loss(params, logits):
            return jnp.sum(crf(params, logits, labels, lengths=jnp.asarray(LENGTHS)))

        gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, logits)
        assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
        rng = np.random.default_rng(3)
        flat, unflatten = jax.flatten_util.ravel_pytree((params, logits))
        direction = jnp.where(jnp.isfinite(flat), jnp.asarray(rng.normal(size=flat.shape)), 0)
        run = jax.jit(lambda step: loss(*unflatten(flat + step * direction)))
        slope = (run(1e-5) - run(-1e-5)) / 2e-5
        dot = jnp.vdot(jax.flatten_util.ravel_pytree(gradient)[0], direction)
        np.testing.assert_allclose(slope, dot, rtol=1e-7)


def test_a_label_that_cannot_be_reached_has_no_gradient_of_nan():
    none = -jnp.inf
    params = CRFParams(jnp.array([[0.0, none], [0.0, none]]), jnp.array([0.0, none]), jnp.zeros(2))
    logits = jnp.asarray(np.random.default_rng(4).normal(size=(4, 3, 2)), jnp.float32)
    loss, gradient = jax.value_and_grad(lambda p: jnp.sum(crf(p, logits, jnp.zeros((4, 3), int))))(params)
    np.testing.assert_allclose(loss, 0, atol=1e-6)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(gradient))
    assert float(crf(params, logits, jnp.ones((4, 3), int))[0]) == np.inf


def test_shapes_of_a_batch_are_free():
    params, logits, labels = draw(seed=5)
    logits, labels = jnp.nan_to_num(logits)[:, :6], labels[:, :6]
    expected = [function(params, logits, *more) for function, more in ((crf, (labels,)), (crf_marginals, ()))]
    best = crf_decode(params, logits)
    wide, wide_labels = logits.reshape(T, 2, 3, K), labels.reshape(T, 2, 3)
    np.testing.assert_allclose(crf(params, wide, wide_labels).reshape(6), expected[0], rtol=1e-6)
    np.testing.assert_allclose(crf_marginals(params, wide).reshape(T, 6, K), expected[1], rtol=1e-5)
    assert crf_decode(params, wide).labels.reshape(T, 6).tolist() == best.labels.tolist()
    one_by_one = jax.vmap(lambda own, own_labels: crf(params, own, own_labels), in_axes=1)(logits, labels)
    np.testing.assert_allclose(one_by_one, expected[0], rtol=1e-6)
    one = jax.jit(crf_decode)(params, logits[:1])  # T = 1
    assert one.labels.tolist() == [(logits[0] + (params.start + params.end)[None]).argmax(-1).tolist()]


def test_bfloat16_stays_itself():
    params, logits, labels = jax.tree.map(
        lambda leaf: leaf.astype(jnp.bfloat16) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, draw(seed=6)
    )
    assert crf(params, logits, labels, lengths=jnp.asarray(LENGTHS)).dtype == jnp.bfloat16
    assert crf_marginals(params, logits, lengths=jnp.asarray(LENGTHS)).dtype == jnp.bfloat16


def test_what_does_not_fit_is_said():
    params, logits, labels = draw()
    with pytest.raises(TypeError, match="crf: expected params to be CRFParams, got tuple"):
        crf(tuple(params), logits, labels)
    with pytest.raises(TypeError, match="crf_decode: expected logits to be an array, got list"):
        crf_decode(params, [[0.0]])
    with pytest.raises(TypeError, match="expected logits of a floating-point dtype, got int32"):
        crf_marginals(params, labels)
    with pytest.raises(ValueError, match=r"expected transitions of shape \(2, 2\) beside logits of shape \(5, 7, 2\)"):
        crf_decode(params, logits[..., :2])
    with pytest.raises(ValueError, match=r"crf: expected integer labels of shape \(5, 7\), got int32 \(4, 7\)"):
        crf(params, logits, labels[1:])
    with pytest.raises(ValueError, match=r"expected lengths of shape \(7,\), got \(6,\)"):
        crf(params, logits, labels, lengths=jnp.asarray(LENGTHS[1:]))
    with pytest.raises(ValueError, match="expected lengths between 0 and T = 5, got 0 to 6"):
        crf_decode(params, logits, lengths=jnp.asarray(LENGTHS + LENGTHS // 5))
    with pytest.raises(ValueError, match="of at least one step"):
        crf_decode(params, logits[:0])
