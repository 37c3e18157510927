"""Attention against NumPy written from the equations, one loop a position, and the laws that all mechanisms keep."""

import functools
import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, equations, normal, random_params, weighted_sum
from jax.test_util import check_grads

import rnnjax
from rnnjax.attention import (
    Alignment,
    Attention,
    additive_attention,
    concat_attention,
    dot_attention,
    general_attention,
    initial_alignment,
    local_attention,
    location_attention,
    monotonic_attention,
    next_alignment,
    scaled_dot_attention,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")

S, B, D, M, A, K = 7, 3, 5, 11, 13, 2
WINDOW = 2
LENGTHS = (7, 4, 2)


# ---- the twins: one query, one source without padding, one position after the other ---------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def additive_energies(p, q, m, before):
    v = p.v if p.g is None else p.g * p.v / np.sqrt(np.sum(p.v**2))
    r = 0 if p.r is None else p.r
    w_c = np.zeros_like(p.b) if p.w_c is None else p.w_c
    return [v @ np.tanh(q @ p.w_q + m[s] @ p.w_m + p.b + w_c * before.coverage[s]) + r for s in range(len(m))]


def dot_energies(p, q, m, before):
    return [q @ m[s] for s in range(len(m))]


def scaled_dot_energies(p, q, m, before):
    return [p.g * (q @ m[s]) for s in range(len(m))]


def general_energies(p, q, m, before):
    return [q @ (p.w @ m[s]) for s in range(len(m))]


def concat_energies(p, q, m, before):
    return [p.v @ np.tanh(np.concatenate([q, m[s]]) @ p.w) for s in range(len(m))]


def location_energies(p, q, m, before, cumulative=False):
    weights, half, energies = before.coverage if cumulative else before.weights, len(p.w_f) // 2, []
    for s in range(len(m)):
        f = sum(p.w_f[k] * weights[s + k - half] for k in range(len(p.w_f)) if 0 <= s + k - half < len(m))
        energies.append(p.v @ np.tanh(q @ p.w_q + m[s] @ p.w_m + f @ p.u + p.b))
    return energies


def softmax(energies, among):
    total = sum(math.exp(energies[s]) for s in among)
    return [math.exp(energies[s]) / total if s in among else 0 for s in range(len(energies))]


def soft(energies, p, q, m, before):
    return softmax(energies(p, q, m, before), range(len(m)))


def local_m(energies, p, q, m, before):
    return softmax(energies(p.attention, q, m, before), [s for s in range(len(m)) if abs(s - before.step) <= WINDOW])


def local_p(energies, p, q, m, before):
    center = len(m) * sigmoid(p.v_p @ np.tanh(q @ p.w_p))
    weights = softmax(energies(p.attention, q, m, before), [s for s in range(len(m)) if abs(s - center) <= WINDOW])
    return [weights[s] * math.exp(-((s - center) ** 2) / (2 * (WINDOW / 2) ** 2)) for s in range(len(m))]


def monotonic(energies, p, q, m, before):
    stop, inspected, weights = sigmoid(np.array(energies(p, q, m, before))), 0, []
    for s in range(len(m)):
        inspected = (1 - stop[s - 1]) * inspected if s else 0
        inspected += before.weights[s] if before.step else s == 0
        weights.append(stop[s] * inspected)
    return weights


def hard(energies, p, q, m, before):
    start = list(before.weights > 0).index(True) if before.step and before.weights.any() else 0
    lost = before.step and not before.weights.any()
    stops = [s for s in range(start, len(m)) if energies(p, q, m, before)[s] > 0]
    return [float(not lost and s in stops[:1]) for s in range(len(m))]


# ---- the table ------------------------------------------------------------------------------------------------


class Mechanism(NamedTuple):
    """A constructor with parameters of a dtype, the twin of its weights and of its energies, and its query size."""

    make: Any
    weights: Any
    energies: Any
    query_size: int = D


def additive(**options):
    return functools.partial(additive_attention, D, M, A, **options)


def location(**options):
    return functools.partial(location_attention, D, M, A, filters=3, width=5, **options)


def with_additive(wrap, **options):
    return lambda param_dtype=jnp.float32: wrap(additive(**options)(param_dtype=param_dtype))


def local_p_over_general(param_dtype=jnp.float32):
    inside = general_attention(D, M, param_dtype=param_dtype)
    return local_attention(inside, window=WINDOW, query_size=D, param_dtype=param_dtype)


cumulative_energies = functools.partial(location_energies, cumulative=True)
MECHANISMS = {
    "additive": Mechanism(additive(), soft, additive_energies),
    "additive_normalized": Mechanism(additive(normalize=True), soft, additive_energies),
    "additive_coverage": Mechanism(additive(normalize=True, coverage=True), soft, additive_energies),
    "dot": Mechanism(lambda param_dtype=None: dot_attention(), soft, dot_energies, M),
    "scaled_dot": Mechanism(functools.partial(scaled_dot_attention, M), soft, scaled_dot_energies, M),
    "general": Mechanism(functools.partial(general_attention, D, M), soft, general_energies),
    "concat": Mechanism(functools.partial(concat_attention, D, M, A), soft, concat_energies),
    "location": Mechanism(location(), soft, location_energies),
    "location_cumulative": Mechanism(location(cumulative=True), soft, cumulative_energies),
    "local_m": Mechanism(
        with_additive(functools.partial(local_attention, window=WINDOW), coverage=True), local_m, additive_energies
    ),
    "local_p": Mechanism(local_p_over_general, local_p, general_energies),
    "monotonic": Mechanism(with_additive(monotonic_attention, normalize=True), monotonic, additive_energies),
    "monotonic_hard": Mechanism(
        with_additive(functools.partial(monotonic_attention, hard=True)), hard, additive_energies
    ),
}
every_mechanism = pytest.mark.parametrize("mechanism", MECHANISMS.values(), ids=MECHANISMS)
soft_mechanisms = {name: m for name, m in MECHANISMS.items() if m.weights is soft}
every_soft_mechanism = pytest.mark.parametrize("mechanism", soft_mechanisms.values(), ids=soft_mechanisms)
wrapped = {name: m for name, m in MECHANISMS.items() if m.weights is not soft}


class Case(NamedTuple):
    """One mechanism at work: batch axes `batch` for the memory, `more` behind them for queries and alignment."""

    attention: Any
    params: Any
    values: Any  # [S, *batch, M]
    query: Any  # [*batch, *more, D]
    alignment: Any  # of several steps ago for some rows, of the first step for others


def case(mechanism, batch=(B,), more=(), dtype=jnp.float32, lengths=None):
    attention = mechanism.make(param_dtype=dtype)
    rows = (*batch, *more)
    rng = np.random.default_rng(5)
    weights = rng.uniform(0.1, 1, (*rows, S))
    if lengths is not None:
        weights = weights * (np.arange(S) < np.reshape(lengths, (*batch, *(1 for _ in more), 1)))
    if mechanism.weights is hard:
        weights = weights == weights.max(-1, keepdims=True)
    else:
        weights = weights / weights.sum(-1, keepdims=True)
    step = np.resize([1, 0, 4, 2, 3], rows)
    coverage = weights * np.expand_dims(step, -1) * rng.uniform(0.5, 1.5, (*rows, S))
    return Case(
        attention,
        random_params(attention, seed=1, dtype=dtype),
        normal(2, S, *batch, M, dtype=dtype),
        normal(3, *rows, mechanism.query_size, dtype=dtype),
        Alignment(jnp.asarray(weights, dtype), jnp.asarray(coverage, dtype), jnp.asarray(step, jnp.int32)),
    )


@functools.partial(jax.jit, static_argnums=0)
def run(attention, params, values, query, alignment=None, **padding):
    return attention.attend(params, query, attention.remember(params, values, **padding), alignment)


def row(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


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


@every_mechanism
def test_none_is_the_first_step(mechanism):
    c = case(mechanism, more=(K,))
    first = initial_alignment(c.attention.remember(c.params, c.values), (B, K))
    assert first.weights.shape == first.coverage.shape == (B, K, S) and first.step.shape == (B, K)
    expected = run(c.attention, c.params, c.values, c.query, first)
    assert_close(run(c.attention, c.params, c.values, c.query), expected)


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


@every_mechanism
@pytest.mark.parametrize("batch", [(), (B,)])
def test_beams_share_a_memory(mechanism, batch):
    c = case(mechanism, batch=batch, more=(K,))
    together = run(c.attention, c.params, c.values, c.query, c.alignment)
    assert together[0].shape == (*batch, K, M) and together[1].shape == (*batch, K, S)
    tiled = jnp.stack([c.values] * K, axis=-2)  # [S, *batch, K, M]: a memory of its own for each beam
    assert_close(together, run(c.attention, c.params, tiled, c.query, c.alignment))


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


@every_mechanism
def test_jit_is_eager(mechanism):
    c = case(mechanism, more=(K,))
    arguments = c.params, c.values, c.query, c.alignment
    with jax.disable_jit():
        eager = run(c.attention, *arguments)
    assert_close(run(c.attention, *arguments), eager, rtol=1e-5)


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


@pytest.mark.parametrize("name", ["additive_coverage", "location", "location_cumulative", "local_p", "monotonic"])
def test_gradients_are_finite_differences(name):
    with jax.enable_x64(True):
        c = case(MECHANISMS[name], dtype=jnp.float64, lengths=LENGTHS)

        def outputs(params, values, query, weights, coverage):
            alignment = Alignment(weights, coverage, c.alignment.step)
            return run(c.attention, params, values, query, alignment, lengths=jnp.array(LENGTHS))

        arguments = c.params, c.values, c.query, c.alignment.weights, c.alignment.coverage
        check_grads(jax.jit(outputs), arguments, order=1, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)


# ---- monotonic attention --------------------------------------------------------------------------------------


def given_energies():
    """An attention whose energies are the query."""
    plain = dot_attention()
    return Attention(plain.init, plain.remember, plain.attend, lambda params, query, memory, alignment=None: query)


def attend_all(attention, energies, lengths=None):
    """The weights `[T, ..., S]` of steps with these energies `[T, ..., S]`."""
    size = energies.shape[-1]
    memory = attention.remember((), jnp.ones((size, *energies.shape[1:-1], 1), energies.dtype), lengths=lengths)
    alignment, weights = initial_alignment(memory), []
    for step_energies in energies:
        weights.append(attention.attend((), step_energies, memory, alignment)[1])
        alignment = next_alignment(alignment, weights[-1])
    return jnp.stack(weights)


def test_monotonic_attention_is_the_expectation_of_its_process():
    size, steps = 5, 4
    with jax.enable_x64(True):
        energies = normal(1, steps, size, dtype=jnp.float64)
        weights = attend_all(monotonic_attention(given_energies()), energies)
    p = sigmoid(np.asarray(energies))
    expected, total = np.zeros((steps, size)), 0.0
    # Every path of positions attended to; the position `size` is off the end, where a path stays.
    for path in itertools.product(range(size + 1), repeat=steps):
        probability, start = 1.0, 0
        for step, stop in enumerate(path):
            if stop < start:
                probability = 0.0
            elif start < size:
                probability *= math.prod(1 - p[step, s] for s in range(start, stop))
                probability *= p[step, stop] if stop < size else 1
            start = stop
        total += probability
        for step, stop in enumerate(path):
            if stop < size:
                expected[step, stop] += probability
    assert abs(total - 1) < 1e-12
    assert_close(weights, expected, rtol=1e-10, atol=1e-13)


def test_hard_is_parallel_where_energies_are_huge():
    signs = np.sign(np.random.default_rng(3).standard_normal((6, 17, S)) - 0.3)
    energies = jnp.asarray(1e4 * signs, jnp.float32)
    lengths = jnp.asarray(np.arange(17) % (S + 1))
    parallel = attend_all(monotonic_attention(given_energies()), energies, lengths)
    assert_same(attend_all(monotonic_attention(given_energies(), hard=True), energies, lengths), parallel)
    assert set(np.unique(parallel)) == {0, 1} and len(np.unique(np.argmax(parallel, -1))) > 3


@pytest.mark.parametrize("hard", [False, True])
def test_monotonic_attention_takes_any_energies_behind_the_mask(hard):
    attention, lengths = monotonic_attention(given_energies(), hard=hard), jnp.array(LENGTHS)
    memory = attention.remember((), jnp.ones((S, B, 1)), lengths=lengths)
    graded = jax.grad(lambda energies: weighted_sum(attention.attend((), energies, memory)))
    weights = attention.attend((), normal(1, B, S), memory)[1]
    energies = jnp.where(memory.mask, normal(1, B, S), jnp.nan)
    assert_close(attention.attend((), energies, memory)[1], weights)
    assert_close(graded(energies), graded(normal(1, B, S)))
    assert not weights[~memory.mask].any()


@pytest.mark.parametrize("hard", [False, True])
def test_what_runs_off_the_end_stays_lost(hard):
    energies = jnp.asarray([[9.0, -1.0, -2.0], [-3e4, -3e4, -3e4], [50.0, 60.0, 70.0], [5.0, 6.0, 7.0]])
    weights = attend_all(monotonic_attention(given_energies(), hard=hard), energies)
    assert weights[0].sum() > 0.9 and not weights[1:].any()


def test_monotonic_attention_never_moves_back():
    energies = normal(4, 6, 5, S)
    weights = np.asarray(attend_all(monotonic_attention(given_energies(), hard=True), energies))
    places = np.where(weights.any(-1), weights.argmax(-1), S)
    assert (np.diff(places, axis=0) >= 0).all() and len(np.unique(places)) > 3
    behind = np.cumsum(np.asarray(attend_all(monotonic_attention(given_energies()), energies)), -1)
    assert (np.diff(behind, axis=0) <= 1e-6).all()


def test_monotonic_attention_keeps_what_a_saturated_stop_lets_through():
    energies = jnp.asarray([[30.0, 30.0, 30.0]])
    weights = attend_all(monotonic_attention(given_energies()), energies)[0]
    assert_close(weights[1], np.exp(-30.0), rtol=1e-4, atol=0)  # 1 - sigmoid(30) is 0 in float32


def test_noise_has_its_deviation_and_differs_by_row_and_step():
    key, size, rows = jax.random.key(0), 3, 499
    memory = given_energies().remember((), jnp.ones((size, rows, 1)))
    zeros = jnp.zeros((rows, size))

    def first_stops(noise, key, step):
        # All mass at position 0, so that its weight is the sigmoid of its noise.
        before = jnp.zeros((rows, size)).at[:, 0].set(1)
        alignment = Alignment(before, before, jnp.full(rows, step, jnp.int32))
        attention = monotonic_attention(given_energies(), noise=noise, key=key)
        weights = np.asarray(attention.attend((), zeros, memory, alignment)[1][:, 0], np.float64)
        return np.log(weights / (1 - weights))

    drawn = first_stops(1.7, key, 2)
    assert abs(drawn.std() - 1.7) < 0.2 and abs(drawn.mean()) < 0.25
    assert len(np.unique(drawn)) == rows
    assert_same(drawn, first_stops(1.7, key, 2))
    assert abs(np.corrcoef(drawn, first_stops(1.7, key, 3))[0, 1]) < 0.2
    for noise, no_key in ((1.7, None), (0.0, key)):
        assert_same(first_stops(noise, no_key, 2), np.zeros(rows))
    hard = monotonic_attention(given_energies(), noise=1.7, key=key, hard=True)
    assert 0.3 < np.asarray(hard.attend((), zeros, memory)[1][:, 0]).mean() < 0.7


# ---- local attention ------------------------------------------------------------------------------------------


def test_local_attention_sees_nothing_once_it_has_left_the_source():
    attention = local_attention(dot_attention(), window=1)
    params = attention.init(jax.random.key(0))
    values, query = normal(1, S, B, M), normal(2, B, M)
    memory = attention.remember(params, values, lengths=jnp.array([7, 4, 2]))
    alignment = initial_alignment(memory)._replace(step=jnp.full(B, 3, jnp.int32))
    context, weights = attention.attend(params, query, memory, alignment)
    assert_same(weights > 0, np.array([[0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0], [0] * S], bool))
    assert not context[2].any()


# ---- parameters -----------------------------------------------------------------------------------------------


def test_where_parameters_start():
    params = additive_attention(D, M, A, normalize=True, coverage=True, r_init=-4.0).init(jax.random.key(0))
    assert_close((params.g, params.r), (np.array(A**-0.5), np.array(-4.0)))
    assert not params.b.any() and params.w_c.shape == params.v.shape == (A,)
    for leaf in (params.w_q, params.w_m, params.v, params.w_c):
        assert leaf.any()
    plain = additive_attention(D, M, A).init(jax.random.key(0))
    assert plain.g is None and plain.r is None and plain.w_c is None
    assert not np.array_equal(plain.w_q, additive_attention(D, M, A).init(jax.random.key(1)).w_q)
    assert_close(scaled_dot_attention(M).init(jax.random.key(0)).g, M**-0.5)
    assert local_attention(dot_attention(), window=1).init(jax.random.key(0)).w_p is None
    first = location_attention(D, M, A, filters=3, width=5).init(jax.random.key(0))
    assert first.w_f.shape == (5, 3) and first.u.shape == (3, A)


@pytest.mark.parametrize(
    ("make", "keywords"),
    [
        (functools.partial(additive_attention, D, M, A, coverage=True), ("w_q", "w_m", "v", "w_c")),
        (functools.partial(general_attention, D, M), ("w",)),
        (functools.partial(concat_attention, D, M, A), ("w", "v")),
        (functools.partial(location_attention, D, M, A), ("w_q", "w_m", "v", "w_f", "u")),
        (functools.partial(local_attention, dot_attention(), window=1, query_size=M), ("w_p", "v_p")),
    ],
)
def test_every_initialiser_reaches_its_leaf(make, keywords):
    for number, keyword in enumerate(keywords, 2):
        inits = {f"{keyword}_init": jax.nn.initializers.constant(number)}
        params = make(**inits).init(jax.random.key(0))._asdict()
        filled = [name for name, leaf in params.items() if isinstance(leaf, jax.Array) and bool((leaf == number).all())]
        assert filled == [keyword]


def test_next_alignment_keeps_the_dtype_of_the_alignment():
    memory = dot_attention().remember((), normal(1, S, B, M, dtype=jnp.bfloat16))
    alignment = initial_alignment(memory, dtype=jnp.float32)
    after = next_alignment(alignment, jnp.full((B, S), 0.125, jnp.bfloat16))
    after = next_alignment(after, jnp.full((B, S), 0.5, jnp.bfloat16))
    assert after.weights.dtype == after.coverage.dtype == jnp.float32 and after.step.dtype == jnp.int32
    assert_same((after.weights, after.coverage), (np.full((B, S), 0.5), np.full((B, S), 0.625)))
    assert initial_alignment(memory).weights.dtype == jnp.bfloat16
    assert initial_alignment(memory).weights.shape == (B, S)


# ---- errors ---------------------------------------------------------------------------------------------------

ADDITIVE = additive_attention(D, M, A)
VALUES, QUERY = np.ones((S, B, M), np.float32), np.ones((B, D), np.float32)


def remembering(**changes):
    arguments = {"values": VALUES, **changes}
    return lambda: ADDITIVE.remember(
        ADDITIVE.init(jax.random.key(0)), jnp.asarray(arguments.pop("values")), **arguments
    )


def attending(query=QUERY, attention=ADDITIVE, **changes):
    def attend():
        params = ADDITIVE.init(jax.random.key(0))
        memory = ADDITIVE.remember(params, jnp.asarray(VALUES))
        alignment = initial_alignment(memory)._replace(**changes) if changes else None
        return attention.attend(params, jnp.asarray(query), memory, alignment)

    return attend


def local_p_attending():
    attention = local_attention(dot_attention(), window=1, query_size=M + 1)
    params = attention.init(jax.random.key(0))
    return attention.attend(params, jnp.ones((B, M)), attention.remember(params, jnp.asarray(VALUES)))


def another_memory_attending():
    memory = dot_attention().remember((), jnp.asarray(VALUES))
    return ADDITIVE.attend(ADDITIVE.init(jax.random.key(0)), jnp.asarray(QUERY), memory)


LOCAL = local_attention(ADDITIVE, window=1)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: additive_attention(0, M, A), ValueError, "additive_attention: expected query_size to be a positive"),
        (lambda: additive_attention(D, 1.5, A), ValueError, "memory_size to be a positive int, got 1.5"),
        (lambda: concat_attention(D, M, True), ValueError, "attention_size to be a positive int, got True"),
        (lambda: general_attention(D, -1), ValueError, "general_attention: .* got -1"),
        (lambda: scaled_dot_attention(0), ValueError, "scaled_dot_attention: expected size"),
        (lambda: location_attention(D, M, A, filters=0), ValueError, "filters to be a positive int, got 0"),
        (lambda: location_attention(D, M, A, width=4), ValueError, "expected an odd width, got 4; take 5"),
        (lambda: local_attention(ADDITIVE, window=0), ValueError, "window to be a positive int, got 0"),
        (lambda: local_attention(ADDITIVE, window=1, query_size=0), ValueError, "local_attention: expected query_size"),
        (lambda: local_attention(LOCAL, window=1), ValueError, "local_attention: expected an attention with energies"),
        (lambda: monotonic_attention(LOCAL), ValueError, "monotonic_attention: expected an attention with energies"),
        (lambda: monotonic_attention(ADDITIVE, noise=-1.0), ValueError, "noise of at least 0, got -1.0"),
        (remembering(values=VALUES[..., 1:]), ValueError, r"values of shape \[..., 11\], as memory_size has it, got"),
        (remembering(values=VALUES[0, 0]), ValueError, r"values of shape \[S, ..., M\], got \(11,\)"),
        (remembering(values=VALUES > 0), TypeError, "values to be an array .* of a floating dtype, got bool"),
        (
            remembering(lengths=jnp.ones(B, int), mask=jnp.ones((S, B), bool)),
            ValueError,
            "expected lengths or mask, got both; pass one",
        ),
        (remembering(lengths=jnp.ones(S, int)), ValueError, r"lengths of shape \(3,\) beside .* got \(7,\)"),
        (remembering(lengths=jnp.ones(B)), TypeError, "lengths of dtype integer, got float32"),
        (remembering(mask=jnp.ones((B, S), bool)), ValueError, r"mask of shape \(7, 3\) beside .* got \(3, 7\)"),
        (remembering(mask=jnp.ones((S, B), int)), TypeError, "mask of dtype bool, got int32"),
        (attending(QUERY[0]), ValueError, r"query of shape \[3, ..., D\], the memory's batch axes first, got \(5,\)"),
        (attending(QUERY[:2]), ValueError, r"query of shape \[3, ..., D\].* got \(2, 5\)"),
        (attending(QUERY[0, 0]), ValueError, r"query of shape \[3, ..., D\].* got \(\)"),
        (attending(QUERY[:, 1:]), ValueError, r"query of shape \[..., 5\], as query_size has it, got \(3, 1, 4\)"),
        (attending(QUERY > 0), TypeError, "query to be an array .* floating dtype, got bool"),
        (attending(attention=dot_attention()), ValueError, r"dot_attention: expected query of shape \[..., 13\]"),
        (attending(attention=general_attention(A, M)), ValueError, r"expected query of shape \[..., 13\]"),
        (another_memory_attending, ValueError, r"memory.keys of shape \[..., 13\], as this attention's remember makes"),
        (attending(weights=jnp.ones((B, S + 1))), ValueError, r"alignment.weights of shape \(3, 7\) .* got \(3, 8\)"),
        (attending(coverage=jnp.ones(S)), ValueError, r"alignment.coverage of shape \(3, 7\) .* initial_alignment"),
        (attending(step=jnp.int32(1)), ValueError, r"alignment.step of shape \(3,\) .* got \(\)"),
        (local_p_attending, ValueError, r"local_attention: expected query of shape \[..., 12\], as query_size has it"),
    ],
)
def test_bad_arguments_are_refused(bad, error, message):
    with pytest.raises(error, match=message):
        bad()


@pytest.mark.parametrize("sizes", [(7, 11), (257, 509)])
def test_energies_of_general_attention_begin_of_order_one(sizes):
    """Or its softmax is saturated before anything is learned, and looks at one position for good."""
    attention = rnnjax.attention.general_attention(*sizes)
    params = attention.init(jax.random.key(0))
    memory = attention.remember(params, jax.random.normal(jax.random.key(1), (31, 5, sizes[1])))
    query = jax.random.normal(jax.random.key(2), (5, 3, sizes[0]))
    energies = attention.energies(params, query, memory, None)
    assert 0.5 < float(jnp.std(energies)) < 2
