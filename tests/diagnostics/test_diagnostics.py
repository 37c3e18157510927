"""Diagnostics: gradients by lag, Jacobians of steps, Lyapunov exponents, saturated gates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cell_table import TABLE
from helpers import assert_close, normal, random_params

import rnnjax
from rnnjax import diagnostics
from rnnjax._checks import batch_shape_of

T, B = 5, 2
FLOATS = [name for name in TABLE if name != "lstm_bfloat16"]


def last_output(carry, ys):
    """A loss that depends on the last step only."""
    del carry
    last = jax.tree.leaves(ys)[0][-1]
    return jnp.sum(last * jnp.cos(jnp.arange(last.size, dtype=last.dtype)).reshape(last.shape))


def floats(tree):
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def with_floats(tree, leaves):
    """The tree with other leaves in place of its floating-point ones."""
    rest = iter(leaves)
    return jax.tree.map(lambda leaf: next(rest) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def slow_norms(cell, params, xs, start):
    """The same by a loop of Python: the gradient with respect to what is added to the carry before each step."""

    def loss(added):
        carry, ys = start, []
        for t in range(T):
            carry = with_floats(carry, [leaf + more for leaf, more in zip(floats(carry), added[t], strict=True)])
            carry, y = cell.apply(params, carry, jax.tree.map(lambda leaf, t=t: leaf[t], xs))
            ys.append(y)
        return last_output(carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *ys))

    gradients = jax.jit(jax.grad(loss))([[jnp.zeros_like(leaf) for leaf in floats(start)] for _ in range(T)])
    rank = len(batch_shape_of(cell, xs, time=True))
    norms = [[jnp.sqrt(jnp.sum(g**2, axis=tuple(range(rank, g.ndim)))) for g in step] for step in gradients]
    return [jnp.stack(leaf) for leaf in zip(*norms, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOATS)
def test_gradient_norms_are_those_of_the_rest_of_the_run(name):
    cell, make_inputs = TABLE[name]
    params, xs = random_params(cell), jax.tree.map(jnp.asarray, make_inputs(1, T, (B,)))
    start = cell.initial_carry(batch_shape_of(cell, xs, time=True))
    got = jax.jit(lambda params, xs: diagnostics.gradient_norms(cell, params, xs, last_output))(params, xs)
    assert jax.tree.structure(got.leaves) == jax.tree.structure(start)
    types = [leaf.dtype for leaf in jax.tree.leaves(start)]
    norms = [
        n for n, dtype in zip(jax.tree.leaves(got.leaves), types, strict=True) if jnp.issubdtype(dtype, jnp.floating)
    ]
    assert_close(norms, slow_norms(cell, params, xs, start))
    assert_close(got.whole, jnp.sqrt(sum(leaf**2 for leaf in norms)))


@pytest.mark.slow
def test_gradient_norms_of_powers():
    """h_T = h_t W^(T - t): the norms are those of the powers of W."""
    cell = rnnjax.rnn(2, 3, activation=jax.nn.identity)
    params = random_params(cell)
    norms = diagnostics.gradient_norms(cell, params, normal(1, T, 2), lambda carry, ys: carry.h[1])
    w = np.asarray(params.w_h, np.float64)
    expected = [np.linalg.norm(np.linalg.matrix_power(w, T - t)[:, 1]) for t in range(T)]
    np.testing.assert_allclose(norms.whole, expected, rtol=1e-5)


@pytest.mark.slow
def test_padding_has_no_gradient_and_changes_none():
    cell, lengths = rnnjax.lstm(3, 5), jnp.array([T, 4, 0])
    params, xs = random_params(cell), np.array(normal(1, T, 3, 3))
    xs[4:, 1] = xs[:, 2] = np.nan
    norms = diagnostics.gradient_norms(
        cell, params, jnp.asarray(xs), lambda carry, ys: carry.h.sum() + carry.c.sum(), lengths=lengths
    )
    alone = diagnostics.gradient_norms(cell, params, jnp.asarray(xs[:4, 1]), lambda c, ys: c.h.sum() + c.c.sum())
    for padded, expected in zip(norms.leaves, alone.leaves, strict=True):
        np.testing.assert_allclose(padded[:4, 1], expected, rtol=1e-5)
        assert not np.any(padded[4:, 1]) and not np.any(padded[:, 2]) and np.all(padded[:, 0] > 0)


@pytest.mark.slow
def test_gradients_too_small_and_too_large_to_be_squared():
    """0.1^30 and 10^30 are numbers of float32, their squares are not."""
    cell = rnnjax.rnn(1, 2, activation=jax.nn.identity)
    for factor in (0.1, 10.0):
        params = rnnjax.RNNParams(jnp.ones((1, 2)), factor * jnp.eye(2), jnp.zeros(2))
        norms = diagnostics.gradient_norms(cell, params, jnp.zeros((30, 1)), lambda carry, ys: carry.h.sum())
        np.testing.assert_allclose(norms.whole, 2**0.5 * factor ** np.arange(30.0, 0, -1), rtol=1e-4)
        np.testing.assert_allclose(diagnostics.growth_rate(norms.whole), np.log(factor), rtol=1e-4)


@pytest.mark.slow
def test_half_life_is_fitted_and_leaves_out_zeros():
    lags = jnp.arange(11, 0, -1, dtype=jnp.float32)
    norms = jnp.stack([3.0 * 0.5 ** (lags / 4.0), 2.0**lags, jnp.where(lags > 8, 0.0, 0.5**lags), 0.0 * lags], axis=1)
    np.testing.assert_allclose(diagnostics.half_life(norms), [4.0, np.inf, 1.0, np.inf], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOATS)
def test_products_of_step_jacobians_are_that_of_the_run(name):
    if name.startswith("conv"):
        pytest.skip("the step of a convolution has no single row")
    cell, make_inputs = TABLE[name]
    params, xs = random_params(cell), jax.tree.map(jnp.asarray, make_inputs(1, T, ()))
    start = jax.tree.map(
        lambda leaf: leaf + 0.3 if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, cell.initial_carry(())
    )
    jacobians = jax.jit(lambda params, xs: diagnostics.step_jacobians(cell, params, xs, start))(params, xs)

    def flat(leaves):
        return jnp.concatenate([leaf.reshape(-1) for leaf in leaves])

    def run(leaves):
        return flat(floats(rnnjax.unroll(cell, params, xs, with_floats(start, leaves))[0]))

    columns = jax.jit(jax.jacrev(run))(floats(start))
    whole = jnp.concatenate([j.reshape(jacobians.shape[1], -1) for j in columns], axis=1)
    product = jnp.eye(jacobians.shape[1])
    for jacobian in jacobians:
        product = jnp.matmul(jacobian, product)
    assert_close(product, whole)


def test_exponents_sum_to_the_mean_log_determinant():
    jacobians = normal(0, 11, 5, 5)
    exponents = diagnostics.lyapunov_exponents(jacobians)
    logs = np.linalg.slogdet(np.asarray(jacobians, np.float64))[1]
    assert_close(exponents.sum(), logs.mean())
    assert np.all(np.diff(exponents) <= 0)


def test_exponents_of_a_rotation_that_grows():
    """Every direction grows alike, by log 1.5 a step, however it turns."""
    q = jnp.linalg.qr(normal(1, 3, 3))[0]
    np.testing.assert_allclose(
        diagnostics.lyapunov_exponents(jnp.tile(1.5 * q, (200, 1, 1))), np.full(3, np.log(1.5)), rtol=1e-4
    )


def test_spectrum_of_normal_matrices():
    """Singular values of a symmetric matrix are the absolute eigenvalues."""
    a = normal(0, 4, 3, 3)
    symmetric = a + jnp.swapaxes(a, 1, 2)
    spectrum = diagnostics.jacobian_spectrum(symmetric)
    absolute = np.sort(np.abs(np.asarray(spectrum.eigenvalues)), axis=1)[:, ::-1]
    np.testing.assert_allclose(spectrum.singular_values, absolute, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 4)])
def test_jacobians_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"jacobians of shape \[T, N, N\], got"):
        diagnostics.jacobian_spectrum(jnp.zeros(shape))


def test_activations_of_an_lstm_are_its_gates():
    cell = rnnjax.lstm(3, 5)
    params, xs = random_params(cell), normal(1, T, B, 3)
    found = diagnostics.activations(cell, params, xs)
    _, ys = rnnjax.unroll(cell, params, xs)
    z = jnp.matmul(xs, params.w_x) + jnp.matmul(jnp.concatenate([jnp.zeros((1, B, 5)), ys[:-1]]), params.w_h)
    i, f, g, o = jnp.split(z + jnp.broadcast_to(params.b, z.shape), 4, axis=-1)
    expected = {"sigmoid_0": jax.nn.sigmoid(f), "sigmoid_1": jax.nn.sigmoid(i), "tanh_0": jnp.tanh(g)}
    expected |= {"sigmoid_2": jax.nn.sigmoid(o)}
    assert_close({name: found[name] for name in expected}, expected)
    assert_close(found["sigmoid_2"] * found["tanh_1"], ys)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_activations_are_found_in_every_cell(name):
    cell, make_inputs = TABLE[name]
    params, xs = random_params(cell), jax.tree.map(jnp.asarray, make_inputs(1, T, (B,)))
    found = jax.jit(lambda params, xs: diagnostics.activations(cell, params, xs))(params, xs)
    bare = name in ("rnn_relu_identity", "rnn_linear")
    assert bool(found) is not bare
    for values in found.values():
        assert values.shape[:2] == (T, B) and np.all(np.abs(values) <= 1) and np.std(np.asarray(values, float)) > 0


def test_activations_start_from_a_carry():
    cell = rnnjax.gru(3, 5)
    params, xs = random_params(cell), normal(1, T, 3)
    carry, _ = rnnjax.unroll(cell, params, xs[:3])
    whole = diagnostics.activations(cell, params, xs)
    rest = diagnostics.activations(cell, params, xs[3:], carry)
    assert_close(rest, jax.tree.map(lambda leaf: leaf[3:], whole))


def test_saturation_counts_both_ends():
    values = jnp.array([[-0.9, 0.0, 1.0], [0.9, -0.7, 0.85], [0.95, -1.0, 0.79]])
    low, high = diagnostics.saturation(values, bounds=(-1.0, 1.0))
    np.testing.assert_allclose(low, [1 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(high, [2 / 3, 0, 2 / 3], rtol=1e-6)


@pytest.mark.parametrize("options", [{"bounds": (1.0, 0.0)}, {"margin": 0.5}, {"margin": 0.0}])
def test_bounds_that_make_no_sense_are_refused(options):
    with pytest.raises(ValueError, match=r"bounds in order and a margin between 0 and 0\.5"):
        diagnostics.saturation(jnp.zeros((2, 3)), **options)
