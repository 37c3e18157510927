"""Masks: which steps count, and that what does not count changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, normal

import rnnjax
from rnnjax import _masking as masking

NAN = float("nan")


def test_length_mask_is_true_before_the_length():
    mask = rnnjax.losses.length_mask(jnp.array([0, 1, 4, 5]), 5)
    assert mask.dtype == jnp.bool_
    expected = [[t < length for length in (0, 1, 4, 5)] for t in range(5)]
    assert mask.tolist() == expected


@pytest.mark.parametrize("lengths", [3, [[2, 0, 7], [1, 5, 3]], np.array([0, 3], np.uint8), np.array([7], np.int16)])
def test_length_mask_takes_any_shape_and_integer(lengths):
    mask = rnnjax.losses.length_mask(jnp.asarray(lengths), 7)
    assert mask.shape == (7, *np.shape(lengths))
    assert mask.sum(0).tolist() == np.asarray(lengths).tolist()


def test_length_mask_of_no_steps_is_empty():
    assert rnnjax.losses.length_mask(jnp.array([0, 2, 3]), 0).shape == (0, 3)


@pytest.mark.parametrize("lengths", [[2, 8], np.array([2, 8]), np.array([2, 2**40])])
def test_lengths_that_are_known_are_checked_in_a_compiled_function_too(lengths):
    with pytest.raises(ValueError, match=f"here: expected lengths between 0 and T = 7, got 2 to {lengths[1]}"):
        jax.jit(lambda x: (masking.check_lengths("here", lengths, 7, (2,)), x))(1.0)
    traced = jax.jit(lambda lengths: masking.check_lengths("here", lengths, 7, (2,)))
    assert traced(jnp.array([2, 8])).tolist() == [2, 8]


def test_select_takes_each_entry_from_its_side():
    mask = jnp.array([True, False, True])
    on_true = {"a": normal(0, 3, 5), "b": (jnp.arange(3), None)}
    on_false = {"a": normal(1, 3, 5), "b": (jnp.arange(3) + 7, None)}
    got = masking.select(mask, on_true, on_false)
    assert jax.tree.structure(got) == jax.tree.structure(on_true)
    for row, real in enumerate(mask):
        side = on_true if real else on_false
        assert got["a"][row].tolist() == side["a"][row].tolist()
        assert got["b"][0][row] == side["b"][0][row]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32, jnp.int32, jnp.bool_])
def test_select_keeps_dtypes_with_a_scalar(dtype):
    leaf = jnp.array([[1, 1], [0, 1], [1, 0]], dtype)
    got = masking.select(jnp.array([False, True, True]), leaf, 0)
    assert got.dtype == dtype
    assert got.astype(jnp.int32).tolist() == [[0, 0], [0, 1], [1, 0]]


def test_select_does_not_pass_gradients_to_the_other_side():
    mask, a, b = jnp.array([True, False]), normal(0, 2, 3), normal(1, 2, 3)
    grad_a, grad_b = jax.grad(lambda a, b: masking.select(mask, a, b).sum(), (0, 1))(a, b)
    assert grad_a.tolist() == [[1.0] * 3, [0.0] * 3]
    assert grad_b.tolist() == [[0.0] * 3, [1.0] * 3]


def test_masked_mean_counts_entries_behind_prefix_masks():
    values, where = normal(0, 3, 5), jnp.array([True, False, True])
    got = rnnjax.losses.masked_mean(values, where)
    kept = np.asarray(values, np.float64)[[0, 2]]
    assert_close(got, rnnjax.losses.SumCount(kept.sum(), 10))
    assert_close(got.mean, kept.mean())


def test_masked_mean_without_a_mask_is_the_mean():
    values = normal(0, 3, 5)
    assert_close(rnnjax.losses.masked_mean(values).mean, np.mean(np.asarray(values, np.float64)))
    assert float(rnnjax.losses.masked_mean(values).count) == 15


def test_masked_mean_ignores_nan_behind_the_mask():
    values, where = jnp.array([1.5, NAN, 4.0, NAN]), jnp.array([True, False, True, False])
    assert_close(rnnjax.losses.masked_mean(values, where), rnnjax.losses.SumCount(5.5, 2))
    gradient = jax.grad(lambda v: rnnjax.losses.masked_mean(v, where).mean)(values)
    assert gradient.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_masked_mean_of_nothing_is_zero_with_zero_gradient():
    values, where = jnp.array([NAN, 2.0, 3.0]), jnp.zeros(3, bool)
    got = rnnjax.losses.masked_mean(values, where)
    assert (float(got.sum), float(got.count), float(got.mean)) == (0.0, 0.0, 0.0)
    assert jax.grad(lambda v: rnnjax.losses.masked_mean(v, where).mean)(values).tolist() == [0.0] * 3


@pytest.mark.slow
def test_means_over_parts_combine_exactly():
    values, where = normal(0, 7, 3), jnp.array([True, True, False, True, False, True, True])
    parts = [rnnjax.losses.masked_mean(values[cut], where[cut]) for cut in (slice(0, 2), slice(2, 3), slice(3, 7))]
    assert_close(rnnjax.losses.SumCount.total(parts), rnnjax.losses.masked_mean(values, where))


def test_masked_mean_keeps_the_dtype():
    got = rnnjax.losses.masked_mean(jnp.array([0.5, 0.25], jnp.bfloat16), jnp.array([True, False]))
    assert (got.sum.dtype, got.count.dtype, got.mean.dtype) == (jnp.bfloat16,) * 3


@pytest.mark.slow
def test_masked_softmax_is_softmax_over_what_counts():
    logits, where = 3 * normal(0, 2, 5), jnp.array([[True, False, True, True, False], [True] * 5])
    got = masking.masked_softmax(logits, where)
    for row, keep in enumerate(np.asarray(where)):
        exps = np.exp(np.asarray(logits, np.float64)[row, keep])
        assert_close(got[row, keep], exps / exps.sum())
        assert not got[row, ~keep].any()


def test_masked_softmax_sums_over_the_axis_asked_for():
    logits, where = normal(0, 3, 5), jnp.asarray(np.random.default_rng(0).random((3, 5)) < 0.7)
    got = masking.masked_softmax(logits, where, axis=0)
    assert_close(got, masking.masked_softmax(logits.T, where.T).T)
    assert_close(got.sum(0), np.any(where, axis=0).astype(float))


@pytest.mark.slow
def test_masked_softmax_of_an_empty_row_is_zero_with_zero_gradient():
    logits, where = normal(0, 2, 3), jnp.array([[False] * 3, [True, True, False]])
    weights = normal(1, 2, 3)
    gradient = jax.grad(lambda z: (weights * masking.masked_softmax(z, where)).sum())(logits)
    assert masking.masked_softmax(logits, where)[0].tolist() == [0.0] * 3
    assert gradient[0].tolist() == [0.0] * 3
    assert abs(gradient[1, :2]).min() > 1e-3 and gradient[1, 2] == 0


@pytest.mark.parametrize("poison", [NAN, float("inf"), 3e38])
def test_masked_softmax_ignores_what_is_behind_the_mask(poison):
    where, weights = jnp.array([[True, False, True], [False] * 3]), normal(1, 2, 3)

    def weighted(fill):
        logits = jnp.where(where, normal(0, 2, 3), fill)
        return jax.value_and_grad(lambda z: (weights * masking.masked_softmax(z, where)).sum())(logits)

    assert_close(weighted(poison), weighted(0.5))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_masked_softmax_survives_large_logits_in_every_dtype(dtype):
    largest = float(jnp.finfo(dtype).max) / 2
    logits = jnp.array([[largest, -largest, largest], [-largest, largest, -largest]], dtype)
    got = masking.masked_softmax(logits, jnp.array([[True, True, True], [True, False, True]]))
    assert got.dtype == dtype
    assert got.astype(jnp.float32).tolist() == [[0.5, 0.0, 0.5], [0.5, 0.0, 0.5]]


LOGITS, KEEP = np.zeros((3, 5), np.float32), np.ones((3, 5), bool)


@pytest.mark.parametrize(
    ("values", "where", "error", "message"),
    [
        ([1.0, 2.0], None, TypeError, "expected values to be an array, got list"),
        (LOGITS, [True, False, True], TypeError, "expected where to be an array, got list"),
        (LOGITS, np.ones(3, np.int32), TypeError, "expected where to hold booleans, true for what counts, got int32"),
        (LOGITS, KEEP.T, ValueError, r"expected where of the shape \(3, 5\) or of its leading axes, got \(5, 3\)"),
        (LOGITS[0], KEEP, ValueError, r"expected where of the shape \(5,\) or of its leading axes, got \(3, 5\)"),
    ],
)
def test_masked_mean_checks_at_the_door(values, where, error, message):
    with pytest.raises(error, match=f"masked_mean: {message}"):
        masking.masked_mean(values, where)


@pytest.mark.parametrize(
    ("logits", "where", "error", "message"),
    [
        ([1.0, 2.0], KEEP, TypeError, "expected logits to be an array, got list"),
        (np.zeros((3, 5), np.int32), KEEP, TypeError, "expected logits of a floating-point dtype, got int32"),
        (LOGITS, LOGITS, TypeError, "expected where to hold booleans, true for what counts, got float32"),
        (LOGITS, KEEP[:, :4], ValueError, r"expected where of the shape \(3, 5\) or of its leading axes, got \(3, 4\)"),
        (LOGITS, KEEP[:, 0], ValueError, r"expected where of the shape \(3, 5\) of the logits, got \(3,\)"),
    ],
)
def test_masked_softmax_checks_at_the_door(logits, where, error, message):
    with pytest.raises(error, match=f"masked_softmax: {message}"):
        masking.masked_softmax(logits, where)


def test_lengths_are_integers():
    with pytest.raises(TypeError, match="length_mask: expected lengths of an integer dtype, in steps, got float32"):
        masking.length_mask(jnp.array([2.0, 3.0]), 5)


def test_the_total_of_no_parts_is_refused():
    with pytest.raises(ValueError, match="expected at least one SumCount, got none"):
        masking.SumCount.total([])
