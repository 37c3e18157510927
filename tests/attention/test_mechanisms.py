"""Attention against NumPy written from the equations, a loop over positions, and the laws that all mechanisms keep."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_helpers import (
    LENGTHS,
    MECHANISMS,
    B,
    K,
    M,
    S,
    case,
    local_m,
    row,
    run,
    soft,
)
from helpers import assert_close, assert_same, equations, normal, weighted_sum
from jax.test_util import check_grads

import rnnjax
from rnnjax.attention import Alignment, initial_alignment, next_alignment

every_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=MECHANISMS)
soft_mechanisms = {name: m for name, m in MECHANISMS.items() if m.weights is soft}
every_soft_mechanism = pytest.mark.parametrize("mechanism", soft_mechanisms.values(), ids=soft_mechanisms)
wrapped = {name: m for name, m in MECHANISMS.items() if m.weights is not soft}


@pytest.mark.slow
@every_mechanism
def test_attention_is_its_equation(mechanism):
    with jax.enable_x64(True):
        c = case(mechanism, dtype=jnp.float64, lengths=LENGTHS)
        lengths = jnp.array(LENGTHS)
        context, weights = run(c.attention, c.params, c.values, c.query, c.alignment, lengths=lengths)
        p, q, before = jax.tree.map(np.asarray, (c.params, c.query, c.alignment))
        for b, length in enumerate(LENGTHS):
            m, past = np.asarray(c.values)[:length, b], row(before, b)
            expected = np.array(mechanism.weights(mechanism.energies, p, q[b], m, past))
            assert_close(weights[b], np.concatenate([expected, np.zeros(S - length)]), rtol=1e-9, atol=1e-12)
            assert_close(context[b], expected @ m, rtol=1e-9, atol=1e-12)


@every_soft_mechanism
def test_energies_are_those_of_the_equation(mechanism):
    with jax.enable_x64(True):
        c = case(mechanism, batch=(), more=(K,), dtype=jnp.float64)
        energies = c.attention.energies(c.params, c.query, c.attention.remember(c.params, c.values), c.alignment)
        p, q, before = jax.tree.map(np.asarray, (c.params, c.query, c.alignment))
        expected = [mechanism.energies(p, q[k], np.asarray(c.values), row(before, k)) for k in range(K)]
        assert_close(energies, np.array(expected), rtol=1e-9, atol=1e-12)


# ---- laws -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_mechanism
def test_weights_sum_to_one_or_less(mechanism):
    c = case(mechanism)
    alignment = initial_alignment(c.attention.remember(c.params, c.values))
    for _ in range(S):
        _, weights = run(c.attention, c.params, c.values, c.query, alignment)
        alignment = next_alignment(alignment, weights)
        assert bool((weights >= 0).all())
        if mechanism.weights in (soft, local_m):
            assert_close(weights.sum(-1), np.ones(B))
        else:
            assert bool((weights.sum(-1) <= 1 + 1e-6).all()) and bool((weights.sum(-1) > 0).any())
    assert_close(alignment.step, np.full(B, S))


@pytest.mark.slow
@every_mechanism
@pytest.mark.parametrize(("pad_with", "bad"), [("lengths", np.nan), ("mask", np.inf)])
def test_padding_is_inert(mechanism, pad_with, bad):
    c, length = case(mechanism, batch=(), lengths=4), 4
    padding = {"lengths": jnp.array(length)} if pad_with == "lengths" else {"mask": jnp.arange(S) < length}
    values = c.values.at[length:].set(bad)
    alignment = c.alignment._replace(step=c.alignment.step + 1)

    def loss(params, values, query, past, **padding):
        before = alignment._replace(weights=past[0], coverage=past[1])
        context, weights = run(c.attention, params, values, query, before, **padding)
        return weighted_sum((context, weights[:length])), (context, weights)

    graded = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3), has_aux=True))
    past = alignment.weights, alignment.coverage
    gradients, (context, weights) = graded(c.params, values, c.query, past, **padding)
    short = row(past, slice(length))
    expected, (short_context, short_weights) = graded(c.params, c.values[:length], c.query, short)
    assert_close(context, short_context)
    assert_close(weights[:length], short_weights)
    assert_same(weights[length:], np.zeros(S - length))
    assert_close((gradients[0], gradients[2]), (expected[0], expected[2]))
    assert_close(gradients[1][:length], expected[1])
    assert_same(gradients[1][length:], np.zeros((S - length, M)))
    assert_close(row(gradients[3], slice(length)), expected[3])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MECHANISMS if not name.startswith("location")])
def test_holes_in_the_mask_are_not_there(name):
    c = case(MECHANISMS[name], batch=(), more=(K,))
    mask = np.array([False, True, True, False, True, True, False])
    holes = jax.tree.map(lambda leaf: leaf * mask[None].astype(leaf.dtype) if leaf.ndim > 1 else leaf, c.alignment)
    holes = holes._replace(weights=holes.weights.at[:, 2].set(0.5))
    without = jax.tree.map(lambda leaf: leaf[:, mask] if leaf.ndim > 1 else leaf, holes)
    context, weights = run(c.attention, c.params, c.values, c.query, holes, mask=jnp.asarray(mask))
    expected = run(c.attention, c.params, c.values[mask], c.query, without)
    assert_close((context, weights[:, mask]), expected)
    assert not weights[:, ~mask].any()


@pytest.mark.slow
@every_mechanism
@pytest.mark.parametrize("size", [S, 0])
def test_an_empty_source_gives_zeros_and_zero_gradients(mechanism, size):
    c = case(mechanism)
    values = c.values[:size]
    alignment = c.alignment._replace(weights=c.alignment.weights[:, :size], coverage=c.alignment.coverage[:, :size])
    lengths = jnp.zeros(B, jnp.int32)

    def loss(params, values, query):
        outputs = run(c.attention, params, values, query, alignment, lengths=lengths)
        return weighted_sum(outputs), outputs

    graded = jax.jit(jax.grad(loss, argnums=(0, 1, 2), has_aux=True))
    gradients, outputs = graded(c.params, jnp.full_like(values, jnp.nan), c.query)
    assert outputs[0].shape == (B, M) and outputs[1].shape == (B, size)
    for leaf in jax.tree.leaves((gradients, outputs)):
        assert_same(leaf, np.zeros(leaf.shape))


@pytest.mark.slow
@every_mechanism
def test_an_empty_row_does_not_disturb_the_others(mechanism):
    c, lengths = case(mechanism), jnp.array([4, 0, 7])

    def loss(query, lengths):
        outputs = run(c.attention, c.params, c.values, query, c.alignment, lengths=lengths)
        return weighted_sum(outputs), outputs

    graded = jax.jit(jax.grad(loss, has_aux=True))
    gradient, outputs = graded(c.query, lengths)
    full_gradient, full = graded(c.query, lengths.at[1].set(3))
    assert not np.asarray(gradient[1]).any() and not outputs[0][1].any()
    assert_close(row((outputs, gradient), np.array([0, 2])), row((full, full_gradient), np.array([0, 2])))


@pytest.mark.slow
@every_mechanism
def test_none_is_the_first_step(mechanism):
    c = case(mechanism, more=(K,))
    first = initial_alignment(c.attention.remember(c.params, c.values), (B, K))
    assert first.weights.shape == first.coverage.shape == (B, K, S) and first.step.shape == (B, K)
    expected = run(c.attention, c.params, c.values, c.query, first)
    assert_close(run(c.attention, c.params, c.values, c.query), expected)


@pytest.mark.slow
@every_mechanism
def test_batch_is_per_example(mechanism):
    c, lengths = case(mechanism, lengths=LENGTHS), jnp.array(LENGTHS)
    batched = run(c.attention, c.params, c.values, c.query, c.alignment, lengths=lengths)
    memory = c.attention.remember(c.params, c.values, lengths=lengths)
    mapped = jax.jit(jax.vmap(c.attention.attend, (None, 0, 0, 0)))
    assert_close(mapped(c.params, c.query, memory, c.alignment), batched)
    for b in range(B):
        one = run(c.attention, c.params, c.values[:, b], c.query[b], row(c.alignment, b), lengths=lengths[b])
        assert_close(one, row(batched, b))


@pytest.mark.slow
@every_mechanism
@pytest.mark.parametrize("batch", [(), (B,)])
def test_beams_share_a_memory(mechanism, batch):
    c = case(mechanism, batch=batch, more=(K,))
    together = run(c.attention, c.params, c.values, c.query, c.alignment)
    assert together[0].shape == (*batch, K, M) and together[1].shape == (*batch, K, S)
    tiled = jnp.stack([c.values] * K, axis=-2)  # [S, *batch, K, M]: a memory of its own for each beam
    assert_close(together, run(c.attention, c.params, tiled, c.query, c.alignment))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["additive_coverage", "dot", "location", "local_m", "local_p", "monotonic"])
def test_queries_may_have_two_axes_more(name):
    c = case(MECHANISMS[name], more=(K, 4))
    together = run(c.attention, c.params, c.values, c.query, c.alignment)
    for b, k in np.ndindex(B, K):
        one = run(c.attention, c.params, c.values[:, b], c.query[b, k], row(c.alignment, b, k))
        assert_close(one, row(together, b, k))


@pytest.mark.parametrize("name", ["dot", "scaled_dot", "general"])
def test_scores_of_products_are_one_batched_product(name):
    c = case(MECHANISMS[name], more=(K,))
    memory = c.attention.remember(c.params, c.values)
    jaxpr = jax.make_jaxpr(lambda query, memory: c.attention.attend(c.params, query, memory))(c.query, memory)
    shapes = [e.outvars[0].aval.shape for e in equations(jaxpr) if e.primitive.name == "dot_general"]
    assert sorted(shapes) == sorted([(B, K, S), (B, K, M)])
    largest = max(math.prod(v.aval.shape) for e in equations(jaxpr) for v in e.outvars)
    assert largest <= B * S * M  # the memory itself, transposed


@pytest.mark.slow
@every_mechanism
def test_remember_takes_sources_time_major(mechanism):
    c = case(mechanism, batch=(2, B))
    lengths = jnp.array([[7, 4, 2], [1, 0, 5]])
    memory = c.attention.remember(c.params, c.values, lengths=lengths)
    mask = rnnjax.losses.length_mask(lengths, S)
    assert_same(memory, c.attention.remember(c.params, c.values, mask=mask))
    assert memory.values.shape == (2, B, S, M) and memory.mask.dtype == jnp.bool_
    context, weights = run(c.attention, c.params, c.values, c.query, c.alignment, lengths=lengths)
    for i, j in np.ndindex(2, B):
        one = c.attention.remember(c.params, c.values[:, i, j], lengths=lengths[i, j])
        assert_close(row(memory, i, j), one)
    one = run(c.attention, c.params, c.values[:, 1, 2], c.query[1, 2], row(c.alignment, 1, 2), lengths=lengths[1, 2])
    assert_close((context[1, 2], weights[1, 2]), one)
    assert not memory.values[~memory.mask].any()


@pytest.mark.slow
@every_mechanism
def test_jit_is_eager(mechanism):
    c = case(mechanism, more=(K,))
    arguments = c.params, c.values, c.query, c.alignment
    with jax.disable_jit():
        eager = run(c.attention, *arguments)
    assert_close(run(c.attention, *arguments), eager, rtol=1e-5)


@pytest.mark.slow
@every_mechanism
@pytest.mark.parametrize("params_dtype", [jnp.bfloat16, jnp.float32])
def test_half_precision(mechanism, params_dtype):
    c = case(mechanism, dtype=jnp.bfloat16)
    params = jax.tree.map(lambda leaf: leaf.astype(params_dtype), c.params)
    context, weights = run(c.attention, params, c.values, c.query, c.alignment)
    assert context.dtype == weights.dtype == jnp.bfloat16
    full = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, c[1:]
    )
    assert_close((context, weights), run(c.attention, *full), rtol=0.1, atol=0.04)
    memory = c.attention.remember(params, c.values)
    assert memory.keys.dtype == memory.values.dtype == jnp.bfloat16
    if c.attention.energies is not None:
        alignment = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 1), c.alignment)
        energies = c.attention.energies(params, jnp.expand_dims(c.query, 1), memory, alignment)
        assert energies.dtype == jnp.float32


@every_mechanism
def test_parameters_have_the_dtype_asked_for(mechanism):
    for dtype in (jnp.bfloat16, jnp.float32):
        params = jax.eval_shape(mechanism.make(param_dtype=dtype).init, jax.random.key(0))
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(params))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["additive_coverage", "general", "location_cumulative", *wrapped])
def test_attention_in_a_loop_has_the_gradients_of_lax_scan(name):
    mechanism = MECHANISMS[name]
    c = case(mechanism)
    queries = normal(7, 4, B, mechanism.query_size)

    def loss(scan, params, values, queries):
        memory = c.attention.remember(params, values, lengths=jnp.array(LENGTHS))

        def body(alignment, query):
            context, weights = c.attention.attend(params, query, memory, alignment)
            return next_alignment(alignment, weights), (context, weights)

        return weighted_sum(scan(body, initial_alignment(memory), queries))

    def graded(scan):
        return jax.jit(jax.value_and_grad(functools.partial(loss, scan), argnums=(0, 1, 2)))

    arguments = c.params, c.values, queries
    assert_close(graded(rnnjax.scan)(*arguments), graded(jax.lax.scan)(*arguments))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["additive_coverage", "location", "location_cumulative", "local_p", "monotonic", "monotonic_biased"]
)
def test_gradients_are_finite_differences(name):
    with jax.enable_x64(True):
        c = case(MECHANISMS[name], dtype=jnp.float64, lengths=LENGTHS)

        def outputs(params, values, query, weights, coverage):
            alignment = Alignment(weights, coverage, c.alignment.step)
            return run(c.attention, params, values, query, alignment, lengths=jnp.array(LENGTHS))

        arguments = c.params, c.values, c.query, c.alignment.weights, c.alignment.coverage
        check_grads(jax.jit(outputs), arguments, order=1, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)
