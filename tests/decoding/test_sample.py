"""Sampling against by-hand loops, known distributions and NumPy; transforms against brute force."""

import functools
from typing import NamedTuple

import helpers
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_same
from hypothesis import strategies as st

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")
K, V, T = 3, 7, 11
SETTINGS = hypothesis.settings(max_examples=80, deadline=None, derandomize=True, database=None)


class ToyCarry(NamedTuple):
    """Carry of the toy model."""

    total: jax.Array  # [K, 5]
    count: jax.Array  # [K]


def toy_model(seed=0):
    """A small recurrent model whose logits depend on every token consumed so far; rows do not mix."""
    rng = np.random.default_rng(seed)
    embed, out = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((V, 5), (5, V)))

    def step_fn(carry, token):
        # Sums over an axis, not a matmul: a row then rounds alike alone and among others.
        total = jnp.tanh(0.7 * carry.total + embed[token])
        logits = 2 * jnp.sum(total[:, :, None] * out[None], axis=1)
        return ToyCarry(total, carry.count + 1), logits

    return step_fn


def toy_carry(rows=K, seed=1):
    total = np.random.default_rng(seed).normal(size=(rows, 5))
    return ToyCarry(jnp.asarray(total, jnp.float32), jnp.zeros(rows, jnp.int32))


def feed(step_fn, carry, tokens):
    """The carry after these tokens `[P, K]`, and the last logits."""
    logits = None
    for token in tokens:
        carry, logits = step_fn(carry, jnp.asarray(token))
    return carry, logits


def run_on(step_fn, carry, **options):
    """Result and last carry, of greedy decoding unless a transform is given."""
    options = {"key": jax.random.key(0), "transform": rnnjax.decoding.temperature(0), **options}
    carry, result = rnnjax.decoding.sample_with_carry(step_fn, carry, **options)
    return result, carry


assert_close = functools.partial(helpers.assert_close, rtol=1e-5, atol=1e-6)


def constant_model(logits):
    """Every token has the same distribution."""

    def step_fn(carry, token):
        return carry, jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (token.shape[0], len(logits)))

    return step_fn


@functools.cache
def plain_result(seed=0):
    """Samples of the toy model without an end, a prompt or a transform."""
    return rnnjax.sample(toy_model(), toy_carry(), key=jax.random.key(seed), bos_id=2, max_steps=T)


# ---- sample --------------------------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_tokens_and_another_others():
    again = rnnjax.sample(toy_model(), toy_carry(), key=jax.random.key(0), bos_id=2, max_steps=T)
    assert_same(again, plain_result(0))
    assert np.any(plain_result(0).tokens != plain_result(1).tokens)


def test_shapes_and_dtypes():
    result = plain_result()
    assert result.tokens.shape == result.log_probs.shape == (K, T)
    assert result.tokens.dtype == result.lengths.dtype == jnp.int32
    assert result.lengths.tolist() == [T] * K
    assert result.tokens.min() >= 0 and result.tokens.max() < V


def test_rows_and_steps_are_drawn_apart():
    tokens = np.asarray(
        rnnjax.sample(constant_model(np.zeros(V)), toy_carry(), key=jax.random.key(0), bos_id=0, max_steps=31).tokens
    )
    assert len({tuple(row) for row in tokens}) == K
    assert all(len(set(row.tolist())) > 3 for row in tokens)


def test_frequencies_are_those_of_the_model():
    probs = np.array([0.4, 0.02, 0.25, 0.08, 0.13, 0.05, 0.07])
    step_fn = constant_model(np.log(probs))
    result = rnnjax.sample(step_fn, jnp.zeros(97), key=jax.random.key(1), bos_id=0, max_steps=101)
    counts = np.bincount(np.asarray(result.tokens).ravel(), minlength=V)
    chi_square = np.sum((counts - 97 * 101 * probs) ** 2 / (97 * 101 * probs))
    assert chi_square < 22.5  # 1 in 1000 with 6 degrees of freedom


def test_frequencies_follow_the_transform():
    probs = np.array([0.4, 0.02, 0.25, 0.08, 0.13, 0.05, 0.07])
    transform = rnnjax.decoding.chain(rnnjax.decoding.temperature(0.5), rnnjax.decoding.top_k(3))
    wanted = np.where(probs >= 0.13, probs**2, 0)
    wanted /= wanted.sum()
    result = rnnjax.sample(
        constant_model(np.log(probs)),
        jnp.zeros(97),
        key=jax.random.key(1),
        bos_id=0,
        max_steps=101,
        transform=transform,
    )
    counts = np.bincount(np.asarray(result.tokens).ravel(), minlength=V)
    assert set(np.flatnonzero(counts)) == {0, 2, 4}
    kept = wanted > 0
    assert np.sum((counts - 97 * 101 * wanted)[kept] ** 2 / (97 * 101 * wanted[kept])) < 13.8  # 2 degrees of freedom


def test_conditional_frequencies_follow_the_token_before():
    matrix = np.random.default_rng(0).dirichlet(np.ones(5), size=5)

    def step_fn(carry, token):
        return carry, jnp.log(jnp.asarray(matrix, jnp.float32))[token]

    tokens = np.asarray(rnnjax.sample(step_fn, jnp.zeros(101), key=jax.random.key(3), bos_id=4, max_steps=199).tokens)
    before = np.concatenate([np.full((101, 1), 4), tokens[:, :-1]], axis=1)
    for first in range(5):
        counts = np.bincount(tokens[before == first], minlength=5)
        np.testing.assert_allclose(counts / counts.sum(), matrix[first], atol=0.03)


def test_log_probs_are_those_of_the_model_before_the_transform():
    step_fn, carry = toy_model(), toy_carry()
    transform = rnnjax.decoding.chain(rnnjax.decoding.temperature(0.3), rnnjax.decoding.top_k(2))
    result, last = run_on(step_fn, carry, key=jax.random.key(2), bos_id=2, max_steps=T, transform=transform)
    token = jnp.full(K, 2)
    for t in range(T):
        carry, logits = step_fn(carry, token)
        token = result.tokens[:, t]
        wanted = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=-1)[:, 0]
        np.testing.assert_allclose(result.log_probs[:, t], wanted, rtol=1e-5, atol=1e-6)
        kept = np.argsort(-np.asarray(logits), axis=-1)[:, :2]
        assert all(int(token[k]) in kept[k] for k in range(K))
    assert_close(last, carry)


def test_bos_can_be_of_each_row():
    bos = jnp.array([1, 4, 6])
    result = rnnjax.greedy(toy_model(), toy_carry(), bos_id=bos, max_steps=2)
    _, logits = toy_model()(toy_carry(), bos)
    np.testing.assert_array_equal(result.tokens[:, 0], np.argmax(logits, axis=-1))


def test_a_longer_run_goes_on_from_the_carry():
    step_fn = toy_model()
    whole, whole_carry = run_on(step_fn, toy_carry(), bos_id=2, max_steps=11)
    first, carry = run_on(step_fn, toy_carry(), bos_id=2, max_steps=4)
    second, carry = run_on(step_fn, carry, bos_id=first.tokens[:, -1], max_steps=7)
    np.testing.assert_array_equal(whole.tokens, np.concatenate([first.tokens, second.tokens], axis=1))
    assert_close(whole_carry, carry)
    assert_same(whole, rnnjax.greedy(step_fn, toy_carry(), bos_id=2, max_steps=11))


@pytest.mark.parametrize("max_steps", [1, 11])
def test_greedy_takes_the_most_probable_token_and_the_rows_do_not_mix(max_steps):
    step_fn, carry = toy_model(), toy_carry()
    result = rnnjax.greedy(step_fn, carry, bos_id=2, max_steps=max_steps)
    token = jnp.full(K, 2)
    for t in range(max_steps):
        carry, logits = step_fn(carry, token)
        token = jnp.argmax(logits, axis=-1)
        np.testing.assert_array_equal(result.tokens[:, t], token)
    for k in range(K):
        alone = rnnjax.greedy(step_fn, jax.tree.map(lambda a: a[k : k + 1], toy_carry()), bos_id=2, max_steps=max_steps)  # noqa: B023
        np.testing.assert_array_equal(alone.tokens[0], result.tokens[k])
        np.testing.assert_allclose(alone.log_probs[0], result.log_probs[k], rtol=1e-5)
    assert len({tuple(row) for row in result.tokens.tolist()}) > 1 or max_steps == 1


def test_temperature_0_takes_the_first_of_equal_ones():
    logits = np.array([1.0, 3.0, 2.0, 3.0, 3.0, 0.0, -1.0])
    result = rnnjax.sample(
        constant_model(logits),
        toy_carry(),
        key=jax.random.key(0),
        bos_id=0,
        max_steps=T,
        transform=rnnjax.decoding.temperature(0),
    )
    assert np.all(result.tokens == 1)


def test_sampling_is_one_loop():
    def sampled(carry):
        return rnnjax.sample(toy_model(), carry, key=jax.random.key(0), bos_id=2, eos_id=1, max_steps=T)

    jaxpr = str(jax.make_jaxpr(sampled)(toy_carry()))
    assert jaxpr.count("scan[") == 1 and jaxpr.count("while[") <= 1  # a while belongs to the random bits


def test_jit_gives_the_same():
    def sampled(carry, key):
        transform = rnnjax.decoding.chain(rnnjax.decoding.temperature(0.8), rnnjax.decoding.top_p(0.9))
        return rnnjax.sample(toy_model(), carry, key=key, bos_id=2, eos_id=1, max_steps=T, transform=transform)

    eager, jitted = sampled(toy_carry(), jax.random.key(4)), jax.jit(sampled)(toy_carry(), jax.random.key(4))
    np.testing.assert_array_equal(eager.tokens, jitted.tokens)
    assert_close(eager, jitted)


def test_half_precision_and_structured_carries():
    def step_fn(carry, token):
        count, (half,) = carry
        logits = (half + count[:, None].astype(jnp.bfloat16)) * jax.nn.one_hot(token + 1, V, dtype=jnp.bfloat16)
        return (count + 1, (half,)), logits

    carry = (jnp.ones(K, jnp.int32), (jnp.full((K, V), 2, jnp.bfloat16),))
    result, last = run_on(step_fn, carry, bos_id=0, max_steps=5, eos_id=3)
    assert result.tokens.tolist() == [[1, 2, 3, 0, 0]] * K
    assert last[0].tolist() == [4] * K and result.log_probs.dtype == jnp.bfloat16


# ---- the end of a row ----------------------------------------------------------------------------------------


def counting_model():
    """Counts up; the carry holds the tokens consumed and their sum."""

    def step_fn(carry, token):
        logits = 1e9 * (jax.nn.one_hot((token + 1) % V, V) - 1)
        return ToyCarry(carry.total + token[:, None].astype(jnp.float32), carry.count + 1), logits

    return step_fn


def test_rows_that_end_early_stay_ended():
    bos = jnp.array([3, 0, 5])  # they reach 6 after 3, 6 and 1 tokens
    result = rnnjax.greedy(counting_model(), toy_carry(), bos_id=bos, eos_id=6, pad_id=99, max_steps=5)
    assert result.tokens.tolist() == [[4, 5, 6, 99, 99], [1, 2, 3, 4, 5], [6, 99, 99, 99, 99]]
    assert result.lengths.tolist() == [3, 5, 1]
    assert result.log_probs[0, 3:].tolist() == [0, 0] and result.log_probs[2, 1:].tolist() == [0] * 4


def test_the_carry_of_an_ended_row_is_frozen():
    bos = jnp.array([3, 0, 5])
    _, last = run_on(counting_model(), toy_carry(), bos_id=bos, eos_id=6, pad_id=99, max_steps=5)
    assert last.count.tolist() == [3, 5, 1]
    consumed = np.array([3 + 4 + 5, 0 + 1 + 2 + 3 + 4, 5], np.float32)
    np.testing.assert_allclose(last.total, np.asarray(toy_carry().total) + consumed[:, None], rtol=1e-6)


def test_log_probs_and_lengths_of_a_random_model_with_an_end():
    options = {"bos_id": 2, "max_steps": T, "transform": jax.nn.identity}
    result, last = run_on(toy_model(), toy_carry(13), eos_id=5, pad_id=7, **options)
    plain = rnnjax.sample(toy_model(), toy_carry(13), key=jax.random.key(0), bos_id=2, max_steps=T)
    lengths = []
    for k, row in enumerate(np.asarray(plain.tokens)):
        ends = np.flatnonzero(row == 5)
        n = int(ends[0]) + 1 if len(ends) else T
        np.testing.assert_array_equal(result.tokens[k], [*row[:n], *[7] * (T - n)])
        np.testing.assert_allclose(result.log_probs[k, :n], plain.log_probs[k, :n], rtol=1e-5)
        assert not np.any(result.log_probs[k, n:])
        lengths.append(n)
    assert result.lengths.tolist() == last.count.tolist() == lengths
    assert len(set(lengths)) > 3


def test_padding_may_be_the_end_token():
    bos = jnp.array([3, 0, 5])
    result = rnnjax.greedy(counting_model(), toy_carry(), bos_id=bos, eos_id=6, pad_id=6, max_steps=5)
    assert result.lengths.tolist() == [3, 5, 1]
    assert result.tokens.tolist() == [[4, 5, 6, 6, 6], [1, 2, 3, 4, 5], [6, 6, 6, 6, 6]]


def test_padding_may_be_an_ordinary_token():
    bos = jnp.array([3, 0, 5])
    result = rnnjax.greedy(counting_model(), toy_carry(), bos_id=bos, eos_id=6, pad_id=4, max_steps=5)
    assert result.lengths.tolist() == [3, 5, 1]


def test_nan_after_the_end_stays_out_of_log_probs_and_carry():
    def step_fn(carry, token):
        carry, logits = counting_model()(carry, token)
        late = (carry.count > 2)[:, None]  # an ended row that runs on would see these
        return carry._replace(total=jnp.where(late, jnp.nan, carry.total)), jnp.where(late, jnp.nan, logits)

    result, last = run_on(step_fn, toy_carry(), bos_id=jnp.array([4, 5, 4]), eos_id=6, pad_id=0, max_steps=5)
    assert result.lengths.tolist() == [2, 1, 2]
    assert np.all(np.isfinite(result.log_probs)) and np.all(np.isfinite(last.total))


# ---- prompts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (5, K)])
def test_a_prompt_is_fed_before_anything_is_sampled(shape):
    prompt = np.random.default_rng(0).integers(0, V, shape)
    columns = prompt if prompt.ndim == 2 else np.repeat(prompt[:, None], K, axis=1)
    step_fn, key = toy_model(), jax.random.key(8)
    options = {"key": key, "max_steps": T, "transform": jax.nn.identity}
    result, last = run_on(step_fn, toy_carry(), bos_id=2, prompt=jnp.asarray(prompt), **options)
    carry, _ = feed(step_fn, toy_carry(), [np.full(K, 2), *columns[:-1]])
    wanted, wanted_last = run_on(step_fn, carry, bos_id=jnp.asarray(columns[-1]), **options)
    np.testing.assert_array_equal(result.tokens, wanted.tokens)
    assert_close((result, last), (wanted, wanted_last))
    assert last.count.tolist() == [T + 5] * K


def test_the_prompt_decides_what_follows():
    prompts = jnp.array([[1, 1, 0], [3, 3, 3], [5, 4, 5]])  # the first row differs from the others at one place each
    carry = jax.tree.map(lambda a: jnp.broadcast_to(a[:1], a.shape), toy_carry())
    rows = rnnjax.greedy(toy_model(), carry, bos_id=2, max_steps=T, prompt=prompts).log_probs
    assert np.any(rows[0] != rows[1]) and np.any(rows[0] != rows[2])


@pytest.mark.parametrize("shape", [(0,), (0, K)])
def test_an_empty_prompt_is_no_prompt(shape):
    prompt = jnp.zeros(shape, jnp.int32)
    result = rnnjax.sample(toy_model(), toy_carry(), key=jax.random.key(0), bos_id=2, max_steps=T, prompt=prompt)
    assert_same(result, plain_result())


def test_a_prompt_may_hold_the_end_token():
    prompt = jnp.array([6, 6, 3])
    result = rnnjax.greedy(counting_model(), toy_carry(), bos_id=0, eos_id=6, max_steps=5, prompt=prompt)
    assert result.tokens.tolist() == [[4, 5, 6, 0, 0]] * K and result.lengths.tolist() == [3] * K


# ---- a real model --------------------------------------------------------------------------------------------


def test_sampling_from_an_lstm_equals_unroll():
    cell = rnnjax.lstm(V, 13)
    params = cell.init(jax.random.key(0))
    out = jax.random.normal(jax.random.key(1), (13, V)) * 3

    def step_fn(carry, token):
        carry, hidden = cell.apply(params, carry, jax.nn.one_hot(token, V))
        return carry, hidden @ out

    options = {"key": jax.random.key(2), "transform": jax.nn.identity}
    result, last = run_on(step_fn, cell.initial_carry((K,)), bos_id=0, max_steps=T, **options)
    consumed = jnp.concatenate([jnp.zeros((1, K), jnp.int32), result.tokens.T[:-1]])
    carry, hidden = rnnjax.unroll(cell, params, jax.nn.one_hot(consumed, V))
    log_probs = jax.nn.log_softmax(hidden @ out)
    wanted = jnp.take_along_axis(log_probs, result.tokens.T[:, :, None], axis=-1)[..., 0].T
    np.testing.assert_allclose(result.log_probs, wanted, rtol=1e-4, atol=1e-5)
    assert_close(last, carry)


# ---- transforms ----------------------------------------------------------------------------------------------

LOGITS = st.lists(st.lists(st.integers(-8, 8), min_size=7, max_size=7), min_size=3, max_size=3)


def brute_top_k(row, k):
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    return set(order[:k])


def brute_top_p(row, p):
    """The kept ids, and whether a sum lies so near p that rounding decides."""
    probs = np.exp(np.asarray(row, np.float64) - max(row))
    probs /= probs.sum()
    kept, total, near = set(), 0.0, False
    for i in sorted(range(len(row)), key=lambda i: (-row[i], i)):
        kept.add(i)
        total += probs[i]
        near = near or abs(total - p) < 1e-5
        if total >= p:
            break
    return kept, near


def assert_keeps(transform, logits, kept):
    got = np.asarray(transform(jnp.asarray(logits)))
    mask = np.array([[i in ids for i in range(V)] for ids in kept])
    np.testing.assert_array_equal(got, np.where(mask, logits, -np.inf))


@SETTINGS
@hypothesis.given(LOGITS, st.integers(1, 11))
def test_top_k_equals_brute_force(rows, k):
    logits = np.asarray(rows, np.float32) / 2
    assert_keeps(rnnjax.decoding.top_k(k), logits, [brute_top_k(row, k) for row in logits])


@SETTINGS
@hypothesis.given(LOGITS, st.floats(0.01, 0.99))
def test_top_p_equals_brute_force(rows, p):
    logits = np.asarray(rows, np.float32) / 2
    wanted = [brute_top_p(row, p) for row in logits]
    hypothesis.assume(not any(near for _, near in wanted))
    assert_keeps(rnnjax.decoding.top_p(p), logits, [kept for kept, _ in wanted])


@pytest.mark.parametrize("k", [V, V + 1, 1000])
def test_top_k_of_all_changes_nothing(k):
    logits = np.random.default_rng(0).normal(size=(K, V)).astype(np.float32)
    np.testing.assert_array_equal(rnnjax.decoding.top_k(k)(jnp.asarray(logits)), logits)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("size", [V, 1009])
def test_top_p_1_changes_nothing(size, scale):
    logits = np.random.default_rng(0).normal(size=(K, size)).astype(np.float32) * scale
    np.testing.assert_array_equal(rnnjax.decoding.top_p(1.0)(jnp.asarray(logits)), logits)


def test_a_small_top_p_leaves_the_most_probable_token():
    logits = np.random.default_rng(0).normal(size=(K, V)).astype(np.float32)
    assert_keeps(rnnjax.decoding.top_p(1e-6), logits, [{int(np.argmax(row))} for row in logits])


def test_top_p_in_half_precision_keeps_what_it_would_in_single():
    logits = np.random.default_rng(0).normal(size=(K, 1009)).astype(np.float32) / 4
    half = jnp.asarray(logits, jnp.bfloat16)
    single = np.isfinite(np.asarray(rnnjax.decoding.top_p(0.5)(half.astype(jnp.float32)))).sum(axis=-1)
    kept = rnnjax.decoding.top_p(0.5)(half)
    assert kept.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.isfinite(np.asarray(kept, np.float32)).sum(axis=-1), single, rtol=0.02)


@SETTINGS
@hypothesis.given(LOGITS, st.floats(0.05, 20))
def test_temperature_divides(rows, value):
    logits = np.asarray(rows, np.float32)
    np.testing.assert_allclose(
        rnnjax.decoding.temperature(value)(jnp.asarray(logits)), logits / np.float32(value), rtol=1e-6
    )


def test_transforms_take_any_leading_axes():
    logits = np.random.default_rng(0).normal(size=(2, K, V)).astype(np.float32)
    for transform in (
        rnnjax.decoding.top_k(2),
        rnnjax.decoding.top_p(0.7),
        rnnjax.decoding.temperature(0),
        rnnjax.decoding.temperature(0.5),
    ):
        whole = transform(jnp.asarray(logits))
        for i, j in np.ndindex(2, K):
            np.testing.assert_array_equal(whole[i, j], transform(jnp.asarray(logits[i, j])))


def test_chain_applies_the_first_first():
    logits = jnp.log(jnp.array([0.5, 0.125, 0.375]))

    def kept(*transforms):
        return np.isfinite(rnnjax.decoding.chain(*transforms)(logits)).tolist()

    # Flattened first, 0.45 needs two tokens; cut first, the most probable one is enough.
    assert kept(rnnjax.decoding.temperature(10.0), rnnjax.decoding.top_p(0.45)) == [True, False, True]
    assert kept(rnnjax.decoding.top_p(0.45), rnnjax.decoding.temperature(10.0)) == [True, False, False]


def test_an_empty_chain_changes_nothing():
    logits = jnp.array([1.0, 3.0, 2.0])
    np.testing.assert_array_equal(rnnjax.decoding.chain()(logits), logits)


# ---- errors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rnnjax.decoding.temperature(-0.5), r"temperature: expected a value of at least 0, got -0\.5"),
        (lambda: rnnjax.decoding.top_k(0), "top_k: expected k of at least 1, got 0"),
        (lambda: rnnjax.decoding.top_p(0.0), r"top_p: expected p in \(0, 1\], got 0\.0"),
        (lambda: rnnjax.decoding.top_p(1.5), r"top_p: expected p in \(0, 1\], got 1\.5"),
        (lambda: rnnjax.decoding.top_p(float("nan")), r"top_p: expected p in \(0, 1\], got nan"),
        (lambda: rnnjax.decoding.temperature(float("nan")), "temperature: expected .* got nan"),
    ],
)
def test_transforms_refuse_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def sampled(step_fn=None, carry=None, **options):
    defaults = {"key": jax.random.key(0), "bos_id": 2, "max_steps": T}
    return rnnjax.sample(step_fn or toy_model(), toy_carry() if carry is None else carry, **{**defaults, **options})


@pytest.mark.parametrize("max_steps", [0, -3])
def test_max_steps_must_be_positive(max_steps):
    with pytest.raises(ValueError, match=f"expected max_steps of at least 1, got {max_steps}"):
        sampled(max_steps=max_steps)


@pytest.mark.parametrize("carry", [(), jnp.float32(1.0)])
def test_the_carry_must_tell_the_number_of_rows(carry):
    with pytest.raises(ValueError, match="expected a carry whose leaves have a leading axis of K rows"):
        sampled(carry=carry)


@pytest.mark.parametrize("shape", [(5, 2), (5, K, 1), ()])
def test_a_prompt_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected a prompt of shape \[P\] or \[P, 3\], got"):
        sampled(prompt=jnp.zeros(shape, jnp.int32))


def test_a_prompt_of_floats_is_refused():
    with pytest.raises(TypeError, match="expected a prompt of integer ids, got float32"):
        sampled(prompt=jnp.zeros(5))


@pytest.mark.parametrize("cut", [lambda logits: logits[:2], lambda logits: logits[0], lambda logits: logits[None]])
def test_logits_of_another_shape_are_refused(cut):
    def step_fn(carry, token):
        carry, logits = toy_model()(carry, token)
        return carry, cut(logits)

    with pytest.raises(ValueError, match=r"expected step_fn to return logits of shape \[3, V\], got"):
        sampled(step_fn)


def test_a_carry_of_another_shape_is_refused():
    def step_fn(carry, token):
        carry, logits = toy_model()(carry, token)
        return carry._replace(total=carry.total[:, :2]), logits

    with pytest.raises((ValueError, TypeError), match=r"step_fn|carry"):
        sampled(step_fn)
