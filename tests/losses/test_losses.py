"""Losses against formulas in NumPy, optax, brute force and masks with NaN behind them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax import _masking as masking
from rnnjax.losses import ctc
from rnnjax.losses._loss import LOSSES, cross_entropy

T, B, V = 5, 3, 7
CLASS_LOSSES = ("cross_entropy", "kl_divergence")


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def log_softmax(z):
    return z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))


def arrays(name, seed=0, shape=(T, B)):
    """Predictions and targets that suit a loss."""
    rng = np.random.default_rng(seed)
    predictions = rng.normal(size=shape) * 2
    if name in CLASS_LOSSES:
        logits = rng.normal(size=(*shape, V))
        predictions = log_softmax(logits) if name == "kl_divergence" else logits
        targets = rng.dirichlet(np.ones(V), size=shape)
    elif name == "hinge":
        targets = rng.choice([-1.0, 1.0], size=shape)
    elif name == "binary_cross_entropy":
        targets = rng.choice([0.0, 0.3, 1.0], size=shape)
    else:
        targets = rng.normal(size=shape) * 2
    return jnp.asarray(predictions, jnp.float32), jnp.asarray(targets, jnp.float32)


FORMULAS = {
    "mean_bias": lambda p, t: p - t,
    "mean_absolute": lambda p, t: np.abs(p - t),
    "mean_squared": lambda p, t: (p - t) ** 2,
    "root_mean_squared": lambda p, t: (p - t) ** 2,
    "huber": lambda p, t: np.where(np.abs(p - t) <= 1, 0.5 * (p - t) ** 2, np.abs(p - t) - 0.5),
    "log_cosh": lambda p, t: np.log(np.cosh(p - t)),
    "binary_cross_entropy": lambda z, y: -y * np.log(sigmoid(z)) - (1 - y) * np.log(sigmoid(-z)),
    "hinge": lambda p, y: np.maximum(0, 1 - y * p),
    "cross_entropy": lambda z, p: -np.sum(p * log_softmax(z), axis=-1),
    "kl_divergence": lambda q, p: np.sum(p * (np.log(p) - q), axis=-1),
}
OPTAX = {
    "mean_squared": optax.losses.squared_error,
    "root_mean_squared": optax.losses.squared_error,
    "huber": optax.losses.huber_loss,
    "log_cosh": optax.losses.log_cosh,
    "binary_cross_entropy": optax.losses.sigmoid_binary_cross_entropy,
    "hinge": optax.losses.hinge_loss,
    "cross_entropy": optax.losses.softmax_cross_entropy,
    "kl_divergence": optax.losses.kl_divergence,
}


def test_every_name_has_a_formula():
    assert set(FORMULAS) == set(LOSSES)


@pytest.mark.parametrize("name", FORMULAS)
def test_values_equal_the_formula(name):
    predictions, targets = arrays(name)
    values = rnnjax.losses.get_loss(name).values(predictions, targets)
    wanted = FORMULAS[name](np.asarray(predictions, np.float64), np.asarray(targets, np.float64))
    assert values.shape == (T, B)
    np.testing.assert_allclose(values, wanted, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", OPTAX)
def test_values_equal_optax(name):
    predictions, targets = arrays(name, seed=1)
    np.testing.assert_array_equal(
        rnnjax.losses.get_loss(name).values(predictions, targets), OPTAX[name](predictions, targets)
    )


@pytest.mark.parametrize("name", FORMULAS)
def test_sum_and_count_are_of_the_unmasked_values(name):
    predictions, targets = arrays(name)
    where = np.random.default_rng(2).random((T, B)) < 0.6
    loss = rnnjax.losses.get_loss(name)
    values = np.asarray(loss.values(predictions, targets), np.float64)
    parts = loss(predictions, targets, where=jnp.asarray(where))
    np.testing.assert_allclose(parts.sum, values[where].sum(), rtol=1e-5, atol=1e-5)
    assert 0 < int(parts.count) == where.sum() < T * B
    whole = loss(predictions, targets)
    np.testing.assert_allclose(whole.mean, values.mean(), rtol=1e-5, atol=1e-5)
    assert whole.count == T * B


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_nan_behind_the_mask_changes_nothing(name):
    predictions, targets = arrays(name)
    where = jnp.asarray(np.random.default_rng(3).random((T, B)) < 0.6)
    poisoned = [masking.select(where, a, float("nan")) for a in (predictions, targets)]
    loss = rnnjax.losses.get_loss(name)

    def mean(predictions, targets):
        return loss.finish(loss(predictions, targets, where=where).mean)

    clean, clean_gradients = jax.value_and_grad(mean, argnums=(0, 1))(predictions, targets)
    value, gradients = jax.value_and_grad(mean, argnums=(0, 1))(*poisoned)
    assert np.isfinite(clean)
    assert value == clean
    for gradient, wanted in zip(gradients, clean_gradients, strict=True):
        np.testing.assert_array_equal(gradient, wanted)
        assert np.all(np.asarray(gradient)[~np.asarray(where)] == 0)
    assert np.any(np.asarray(gradients[0])[np.asarray(where)] != 0)


@pytest.mark.parametrize("name", FORMULAS)
def test_all_masked_is_zero_of_zero(name):
    predictions, targets = (jnp.full_like(a, jnp.nan) for a in arrays(name))
    loss = rnnjax.losses.get_loss(name)

    def mean(predictions):
        parts = loss(predictions, targets, where=jnp.zeros((T, B), bool))
        return parts.mean, parts

    gradient, parts = jax.grad(mean, has_aux=True)(predictions)
    assert (parts.sum, parts.count, parts.mean) == (0, 0, 0)
    assert np.all(np.asarray(gradient) == 0)


@pytest.mark.parametrize("name", FORMULAS)
def test_finish_of_an_all_masked_mean_has_zero_gradient(name):
    predictions, targets = arrays(name)
    loss = rnnjax.losses.get_loss(name)

    def finished(predictions):
        return loss.finish(loss(predictions, targets, where=jnp.zeros((T, B), bool)).mean)

    value, gradient = jax.value_and_grad(finished)(predictions)
    assert value == 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_total_of_parts_is_the_whole(name):
    predictions, targets = arrays(name, shape=(7, B))
    where = jnp.asarray(np.random.default_rng(5).random((7, B)) < 0.5)
    loss = rnnjax.losses.get_loss(name)
    pieces = [slice(0, 2), slice(2, 3), slice(3, 7)]
    parts = [loss(predictions[p], targets[p], where=where[p]) for p in pieces]
    assert len({float(part.count) for part in parts}) > 1  # so that a mean of means would be wrong
    total, whole = rnnjax.losses.SumCount.total(parts), loss(predictions, targets, where=where)
    np.testing.assert_allclose(total.sum, whole.sum, rtol=1e-5)
    assert total.count == whole.count
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-5)


def test_finish_of_root_mean_squared_is_the_root():
    predictions, targets = arrays("root_mean_squared")
    loss = rnnjax.losses.get_loss("root_mean_squared")
    wanted = np.sqrt(np.mean((np.asarray(predictions) - np.asarray(targets)) ** 2))
    np.testing.assert_allclose(loss.finish(loss(predictions, targets).mean), wanted, rtol=1e-5)


@pytest.mark.parametrize("name", ["mean_squared", "root_mean_squared", "huber", "log_cosh"])
def test_perfect_predictions_have_zero_loss_and_gradient(name):
    _, targets = arrays(name)
    loss = rnnjax.losses.get_loss(name)
    value, gradient = jax.value_and_grad(lambda p: loss.finish(loss(p, targets).mean))(targets)
    assert value == 0
    np.testing.assert_array_equal(gradient, jnp.zeros_like(gradient))


@pytest.mark.parametrize("name", sorted(set(FORMULAS) - {"root_mean_squared"}))
def test_finish_of_the_others_is_the_mean_itself(name):
    assert rnnjax.losses.get_loss(name).finish(jnp.float32(2.5)) == 2.5


@pytest.mark.slow
def test_cross_entropy_of_integer_labels_is_that_of_one_hot_probabilities():
    logits, _ = arrays("cross_entropy")
    labels = np.random.default_rng(6).integers(0, V, (T, B))
    values = cross_entropy(logits, jnp.asarray(labels))
    wanted = -np.take_along_axis(log_softmax(np.asarray(logits, np.float64)), labels[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(values, wanted, rtol=1e-5)
    np.testing.assert_allclose(values, cross_entropy(logits, jax.nn.one_hot(labels, V)), rtol=1e-5)


def test_cross_entropy_ignores_labels_out_of_range_behind_the_mask():
    logits, _ = arrays("cross_entropy")
    labels = jnp.asarray(np.random.default_rng(6).integers(0, V, (T, B)))
    where = jnp.asarray(np.random.default_rng(7).random((T, B)) < 0.5)
    loss = rnnjax.losses.get_loss("cross_entropy")
    bad = loss(masking.select(where, logits, float("nan")), masking.select(where, labels, -100), where=where)
    good = loss(logits, labels, where=where)
    assert bad == good


@pytest.mark.slow
def test_losses_take_half_precision():
    for name in FORMULAS:
        predictions, targets = (a.astype(jnp.bfloat16) for a in arrays(name))
        parts = rnnjax.losses.get_loss(name)(predictions, targets, where=jnp.asarray(np.eye(T, B, dtype=bool)))
        assert parts.sum.dtype == jnp.bfloat16 and np.isfinite(parts.sum) and parts.count == B


def test_unknown_name_lists_the_names():
    with pytest.raises(ValueError) as error:
        rnnjax.losses.get_loss("mean_cubed")
    assert "'mean_cubed'" in str(error.value)
    for name in (*FORMULAS, "ctc"):
        assert name in str(error.value)


@pytest.mark.parametrize("name", FORMULAS)
def test_targets_of_another_shape_are_refused(name):
    predictions, targets = arrays(name)
    with pytest.raises(ValueError, match=r"expected.*\(5, 3.*got \(3, 5|expected.*\(5, 3.*got \(2, 3"):
        rnnjax.losses.get_loss(name).values(predictions, targets[:2])


def test_integer_labels_of_another_shape_are_refused():
    logits, _ = arrays("cross_entropy")
    with pytest.raises(ValueError, match=r"cross_entropy: expected labels of shape \(5, 3\).*got \(5, 2\)"):
        cross_entropy(logits, jnp.zeros((T, 2), jnp.int32))


@pytest.mark.parametrize("name", FORMULAS)
def test_what_is_no_array_is_refused(name):
    predictions, targets = arrays(name)
    with pytest.raises(TypeError, match=f"{name}: expected .* to be an array, got list"):
        rnnjax.losses.get_loss(name)(predictions.tolist(), targets)
    with pytest.raises(TypeError, match=f"{name}: expected targets to be an array, got list"):
        rnnjax.losses.get_loss(name)(predictions, targets.tolist(), where=np.ones((T, B), bool))


@pytest.mark.parametrize("name", FORMULAS)
def test_a_mask_of_another_kind_is_refused(name):
    predictions, targets = arrays(name)
    with pytest.raises(TypeError, match=f"{name}: expected where to hold booleans"):
        rnnjax.losses.get_loss(name)(predictions, targets, where=np.ones((T, B), np.float32))
    with pytest.raises(ValueError, match=rf"{name}: expected where of the shape .* got \(3, 5\)"):
        rnnjax.losses.get_loss(name)(predictions, targets, where=np.ones((B, T), bool))


# ---- CTC -----------------------------------------------------------------------------------------------------


def collapse(path, blank):
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != blank)


def ctc_by_hand(logits, labels, blank):
    """-log of the summed probability of all V^T paths that collapse to the labels; logits `[T, V]`."""
    log_probs = log_softmax(np.asarray(logits, np.float64))
    steps, classes = log_probs.shape
    total = sum(
        np.exp(sum(log_probs[t, symbol] for t, symbol in enumerate(path)))
        for path in itertools.product(range(classes), repeat=steps)
        if collapse(path, blank) == tuple(labels)
    )
    return -np.log(total)


CTC_CASES = (  # blank, labels of each row, steps of each row
    (0, ((1, 2), (1, 1), (2,)), (5, 3, 1)),
    (2, ((0, 1, 0), (1,), ()), (5, 2, 4)),
)


def ctc_arrays(case, seed=0, steps=5, classes=3, width=3):
    _, labels, logit_lengths = case
    logits = np.random.default_rng(seed).normal(size=(steps, len(labels), classes)).astype(np.float32) * 1.5
    padded = np.zeros((len(labels), width), np.int32)
    for row, symbols in enumerate(labels):
        padded[row, : len(symbols)] = symbols
    lengths = jnp.asarray(logit_lengths), jnp.asarray([len(symbols) for symbols in labels])
    return jnp.asarray(logits), jnp.asarray(padded), {"logit_lengths": lengths[0], "label_lengths": lengths[1]}


@pytest.mark.slow
@pytest.mark.parametrize("case", CTC_CASES)
def test_ctc_equals_the_sum_over_all_paths(case):
    logits, labels, lengths = ctc_arrays(case)
    values = ctc(logits, labels, **lengths, blank_id=case[0])
    wanted = [ctc_by_hand(logits[:n, b], case[1][b], case[0]) for b, n in enumerate(case[2])]
    np.testing.assert_allclose(values, wanted, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("case", CTC_CASES)
def test_ctc_padding_is_inert_under_nan(case):
    logits, labels, lengths = ctc_arrays(case)
    real = np.arange(5)[:, None] < np.asarray(case[2])
    poisoned = jnp.where(real[:, :, None], logits, jnp.nan)
    junk = np.where(np.arange(3) < np.asarray(lengths["label_lengths"])[:, None], labels, 999)

    def total(logits, labels):
        return ctc(logits, labels, **lengths, blank_id=case[0]).sum()

    value, gradient = jax.value_and_grad(total)(poisoned, jnp.asarray(junk))
    clean, clean_gradient = jax.value_and_grad(total)(logits, labels)
    assert np.isfinite(clean) and value == clean
    np.testing.assert_array_equal(gradient, clean_gradient)
    assert np.all(np.asarray(gradient)[~real] == 0) and np.any(np.asarray(gradient)[real] != 0)


def test_ctc_takes_time_major_logits():
    logits, labels, lengths = ctc_arrays(CTC_CASES[0])
    with pytest.raises(ValueError, match=r"expected logits \[T, B, V\] and labels \[B, N\].*\(3, 5, 3\)"):
        ctc(jnp.swapaxes(logits, 0, 1), labels, **lengths)


def test_ctc_refuses_lengths_of_another_shape():
    logits, labels, lengths = ctc_arrays(CTC_CASES[0])
    for name in lengths:
        with pytest.raises(ValueError, match=rf"ctc: expected {name} of shape \(3,\), got \(2,\)"):
            ctc(logits, labels, **{**lengths, name: lengths[name][:2]})


def test_ctc_refuses_what_is_no_array():
    logits, labels, lengths = ctc_arrays(CTC_CASES[0])
    with pytest.raises(TypeError, match="ctc: expected label_lengths to be an array, got list"):
        ctc(logits, labels, logit_lengths=lengths["logit_lengths"], label_lengths=[1, 2, 1])


def test_ctc_under_jit_is_the_same():
    logits, labels, lengths = ctc_arrays(CTC_CASES[0])
    loss = rnnjax.losses.get_loss("ctc").values
    np.testing.assert_allclose(jax.jit(loss)(logits, labels, **lengths), loss(logits, labels, **lengths), rtol=1e-5)


@pytest.mark.oracle
def test_ctc_equals_torch():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    logits = rng.normal(size=(11, 3, 5)).astype(np.float32)
    labels = rng.integers(1, 5, (3, 4)).astype(np.int32)
    logit_lengths, label_lengths = np.array([11, 7, 9]), np.array([4, 2, 3])
    values = ctc(
        jnp.asarray(logits),
        jnp.asarray(labels),
        logit_lengths=jnp.asarray(logit_lengths),
        label_lengths=jnp.asarray(label_lengths),
    )
    wanted = torch.nn.functional.ctc_loss(
        torch.log_softmax(torch.tensor(logits), -1),
        torch.tensor(labels).long(),
        torch.tensor(logit_lengths),
        torch.tensor(label_lengths),
        reduction="none",
    )
    np.testing.assert_allclose(values, wanted.numpy(), rtol=1e-4)
