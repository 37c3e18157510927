"""Monotonic attention against the process that it is the expectation of; local attention at the end of a source."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_helpers import LENGTHS, B, M, S, sigmoid
from helpers import assert_close, assert_same, normal, weighted_sum

from rnnjax.attention import (
    Alignment,
    Attention,
    dot_attention,
    initial_alignment,
    local_attention,
    monotonic_attention,
    next_alignment,
)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_hard_is_parallel_where_energies_are_huge():
    signs = np.sign(np.random.default_rng(3).standard_normal((6, 17, S)) - 0.3)
    energies = jnp.asarray(1e4 * signs, jnp.float32)
    lengths = jnp.asarray(np.arange(17) % (S + 1))
    parallel = attend_all(monotonic_attention(given_energies()), energies, lengths)
    assert_same(attend_all(monotonic_attention(given_energies(), hard=True), energies, lengths), parallel)
    assert set(np.unique(parallel)) == {0, 1} and len(np.unique(np.argmax(parallel, -1))) > 3


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.parametrize("hard", [False, True])
def test_an_offset_is_added_to_all_energies(hard):
    """So that the energies e with r are those of e + r without."""
    energies = normal(5, 4, 7, S)
    plain, biased = (monotonic_attention(given_energies(), hard=hard, r_init=r_init) for r_init in (None, -0.75))
    params = biased.init(jax.random.key(0))
    assert params.r == -0.75 and params.r.dtype == jnp.float32 and params.attention == ()
    memory = biased.remember(params, jnp.ones((S, 7, 1)))
    alignment = initial_alignment(memory)
    for step_energies, expected in zip(energies, attend_all(plain, energies - 0.75), strict=True):
        weights = biased.attend(params, step_energies, memory, alignment)[1]
        assert_close(weights, expected)
        alignment = next_alignment(alignment, weights)
    assert alignment.coverage.sum() < attend_all(plain, energies).sum()


def test_an_offset_below_zero_looks_far():
    """With energies of 0 the mean position of what is attended to is one over the probability of a stop."""
    size = 997
    memory = given_energies().remember((), jnp.ones((size, 3, 1)))
    for r_init in (-2.0, -4.0):
        attention = monotonic_attention(given_energies(), r_init=r_init, param_dtype=jnp.float64)
        with jax.enable_x64(True):
            params = attention.init(jax.random.key(0))
            assert params.r.dtype == jnp.float64
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
        weights = np.asarray(attention.attend(params, jnp.zeros((3, size)), memory)[1])
        np.testing.assert_allclose(weights @ np.arange(size), (1 - sigmoid(r_init)) / sigmoid(r_init), rtol=1e-3)


@pytest.mark.slow
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


@pytest.mark.slow
def test_local_attention_sees_nothing_once_it_has_left_the_source():
    attention = local_attention(dot_attention(), window=1)
    params = attention.init(jax.random.key(0))
    values, query = normal(1, S, B, M), normal(2, B, M)
    memory = attention.remember(params, values, lengths=jnp.array([7, 4, 2]))
    alignment = initial_alignment(memory)._replace(step=jnp.full(B, 3, jnp.int32))
    context, weights = attention.attend(params, query, memory, alignment)
    assert_same(weights > 0, np.array([[0, 0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 0, 0], [0] * S], bool))
    assert not context[2].any()
