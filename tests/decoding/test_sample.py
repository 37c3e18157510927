"""Sampling and greedy decoding against by-hand loops and known distributions."""

import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_helpers import ToyCarry, constant_model, toy_carry, toy_model
from helpers import assert_same

import rnnjax
from rnnjax.decoding import at_temperature, keep_top_k, keep_top_p

pytestmark = pytest.mark.usefixtures("quick_compilation")
K, V, T = 3, 7, 11


def feed(step_fn, carry, tokens):
    """The carry after these tokens `[P, K]`, and the last logits."""
    logits = None
    for token in tokens:
        carry, logits = step_fn(carry, jnp.asarray(token))
    return carry, logits


assert_close = functools.partial(helpers.assert_close, rtol=1e-5, atol=1e-6)


@functools.cache
def plain_result(seed=0):
    """Samples of the toy model without an end, a prompt or constraints."""
    return rnnjax.sample(toy_model(), toy_carry(), key=jax.random.key(seed), bos_id=2, max_steps=T)


# ---- sample --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_same_key_gives_the_same_tokens_and_another_others():
    again = rnnjax.sample(toy_model(), toy_carry(), key=jax.random.key(0), bos_id=2, max_steps=T)
    assert_same(again, plain_result(0))
    assert np.any(plain_result(0).tokens != plain_result(1).tokens)


@pytest.mark.slow
@pytest.mark.parametrize("make_key", [jax.random.key, jax.random.PRNGKey])
def test_a_batch_of_keys_is_each_key_alone(make_key):
    def sampled(key):
        options = {"bos_id": 2, "eos_id": 1, "max_steps": T, "constraints": [keep_top_p(0.9), at_temperature(0.8)]}
        return rnnjax.sample(toy_model(), toy_carry(), key=key, **options)

    keys = [make_key(seed) for seed in range(5)]
    together = jax.jit(jax.vmap(sampled))(jnp.stack(keys))
    assert len({str(tokens) for tokens in together.tokens.tolist()}) == 5
    for i, key in enumerate(keys):
        alone = sampled(key)
        np.testing.assert_array_equal(together.tokens[i], alone.tokens)
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), alone)


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


def test_frequencies_follow_the_constraints():
    probs = np.array([0.4, 0.02, 0.25, 0.08, 0.13, 0.05, 0.07])
    wanted = np.where(probs >= 0.13, probs**2, 0)
    wanted /= wanted.sum()
    result = rnnjax.sample(
        constant_model(np.log(probs)),
        jnp.zeros(97),
        key=jax.random.key(1),
        bos_id=0,
        max_steps=101,
        constraints=[at_temperature(0.5), keep_top_k(3)],
    )
    counts = np.bincount(np.asarray(result.tokens).ravel(), minlength=V)
    assert set(np.flatnonzero(counts)) == {0, 2, 4}
    kept = wanted > 0
    assert np.sum((counts - 97 * 101 * wanted)[kept] ** 2 / (97 * 101 * wanted[kept])) < 13.8  # 2 degrees of freedom


@pytest.mark.slow
def test_conditional_frequencies_follow_the_token_before():
    matrix = np.random.default_rng(0).dirichlet(np.ones(5), size=5)

    def step_fn(carry, token):
        return carry, jnp.log(jnp.asarray(matrix, jnp.float32))[token]

    tokens = np.asarray(rnnjax.sample(step_fn, jnp.zeros(101), key=jax.random.key(3), bos_id=4, max_steps=199).tokens)
    before = np.concatenate([np.full((101, 1), 4), tokens[:, :-1]], axis=1)
    for first in range(5):
        counts = np.bincount(tokens[before == first], minlength=5)
        np.testing.assert_allclose(counts / counts.sum(), matrix[first], atol=0.03)


def test_log_probs_are_those_of_the_model_without_constraints():
    step_fn, carry = toy_model(), toy_carry()
    options = {"constraints": [at_temperature(0.3), keep_top_k(2)], "bos_id": 2, "max_steps": T}
    result = rnnjax.sample(step_fn, carry, key=jax.random.key(2), **options)
    token = jnp.full(K, 2)
    for t in range(T):
        carry, logits = step_fn(carry, token)
        token = result.tokens[:, t]
        wanted = jnp.take_along_axis(jax.nn.log_softmax(logits), token[:, None], axis=-1)[:, 0]
        np.testing.assert_allclose(result.log_probs[:, t], wanted, rtol=1e-5, atol=1e-6)
        kept = np.argsort(-np.asarray(logits), axis=-1)[:, :2]
        assert all(int(token[k]) in kept[k] for k in range(K))
    assert_close(result.carry, carry)


@pytest.mark.slow
def test_bos_can_be_of_each_row():
    bos = jnp.array([1, 4, 6])
    result = rnnjax.greedy(toy_model(), toy_carry(), bos_id=bos, max_steps=2)
    _, logits = toy_model()(toy_carry(), bos)
    np.testing.assert_array_equal(result.tokens[:, 0], np.argmax(logits, axis=-1))


def test_a_longer_run_goes_on_from_the_carry():
    step_fn = toy_model()
    coldest = functools.partial(rnnjax.sample, key=jax.random.key(0), constraints=[at_temperature(0)])
    whole = coldest(step_fn, toy_carry(), bos_id=2, max_steps=11)
    first = coldest(step_fn, toy_carry(), bos_id=2, max_steps=4)
    second = coldest(step_fn, first.carry, bos_id=first.tokens[:, -1], max_steps=7)
    np.testing.assert_array_equal(whole.tokens, np.concatenate([first.tokens, second.tokens], axis=1))
    assert_close(whole.carry, second.carry)
    assert_same(whole, rnnjax.greedy(step_fn, toy_carry(), bos_id=2, max_steps=11))


@pytest.mark.slow
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
        constraints=[at_temperature(0)],
    )
    assert np.all(result.tokens == 1)


def test_sampling_is_one_loop():
    def sampled(carry):
        return rnnjax.sample(toy_model(), carry, key=jax.random.key(0), bos_id=2, eos_id=1, max_steps=T)

    jaxpr = str(jax.make_jaxpr(sampled)(toy_carry()))
    assert jaxpr.count("scan[") == 1 and jaxpr.count("while[") <= 1  # a while belongs to the random bits


def test_jit_gives_the_same():
    def sampled(carry, key):
        options = {"constraints": [at_temperature(0.8), keep_top_p(0.9)], "bos_id": 2, "eos_id": 1, "max_steps": T}
        return rnnjax.sample(toy_model(), carry, key=key, **options)

    eager, jitted = sampled(toy_carry(), jax.random.key(4)), jax.jit(sampled)(toy_carry(), jax.random.key(4))
    np.testing.assert_array_equal(eager.tokens, jitted.tokens)
    assert_close(eager, jitted)


def test_half_precision_and_structured_carries():
    def step_fn(carry, token):
        count, (half,) = carry
        logits = (half + count[:, None].astype(jnp.bfloat16)) * jax.nn.one_hot(token + 1, V, dtype=jnp.bfloat16)
        return (count + 1, (half,)), logits

    carry = (jnp.ones(K, jnp.int32), (jnp.full((K, V), 2, jnp.bfloat16),))
    result = rnnjax.greedy(step_fn, carry, bos_id=0, max_steps=5, eos_id=3)
    assert result.tokens.tolist() == [[1, 2, 3, 0, 0]] * K
    assert result.carry[0].tolist() == [4] * K and result.log_probs.dtype == jnp.bfloat16


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
    last = rnnjax.greedy(counting_model(), toy_carry(), bos_id=bos, eos_id=6, pad_id=99, max_steps=5).carry
    assert last.count.tolist() == [3, 5, 1]
    consumed = np.array([3 + 4 + 5, 0 + 1 + 2 + 3 + 4, 5], np.float32)
    np.testing.assert_allclose(last.total, np.asarray(toy_carry().total) + consumed[:, None], rtol=1e-6)


def test_log_probs_and_lengths_of_a_random_model_with_an_end():
    options = {"key": jax.random.key(0), "bos_id": 2, "max_steps": T}
    result = rnnjax.sample(toy_model(), toy_carry(13), eos_id=5, pad_id=7, **options)
    plain = rnnjax.sample(toy_model(), toy_carry(13), **options)
    lengths = []
    for k, row in enumerate(np.asarray(plain.tokens)):
        ends = np.flatnonzero(row == 5)
        n = int(ends[0]) + 1 if len(ends) else T
        np.testing.assert_array_equal(result.tokens[k], [*row[:n], *[7] * (T - n)])
        np.testing.assert_allclose(result.log_probs[k, :n], plain.log_probs[k, :n], rtol=1e-5)
        assert not np.any(result.log_probs[k, n:])
        lengths.append(n)
    assert result.lengths.tolist() == result.carry.count.tolist() == lengths
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

    result = rnnjax.greedy(step_fn, toy_carry(), bos_id=jnp.array([4, 5, 4]), eos_id=6, pad_id=0, max_steps=5)
    assert result.lengths.tolist() == [2, 1, 2]
    assert np.all(np.isfinite(result.log_probs)) and np.all(np.isfinite(result.carry.total))


# ---- prompts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5,), (5, K)])
def test_a_prompt_is_fed_before_anything_is_sampled(shape):
    prompt = np.random.default_rng(0).integers(0, V, shape)
    columns = prompt if prompt.ndim == 2 else np.repeat(prompt[:, None], K, axis=1)
    step_fn, options = toy_model(), {"key": jax.random.key(8), "max_steps": T}
    result = rnnjax.sample(step_fn, toy_carry(), bos_id=2, prompt=jnp.asarray(prompt), **options)
    carry, _ = feed(step_fn, toy_carry(), [np.full(K, 2), *columns[:-1]])
    wanted = rnnjax.sample(step_fn, carry, bos_id=jnp.asarray(columns[-1]), **options)
    np.testing.assert_array_equal(result.tokens, wanted.tokens)
    assert_close(result, wanted)
    assert result.carry.count.tolist() == [T + 5] * K


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


@pytest.mark.slow
def test_sampling_from_an_lstm_equals_unroll():
    cell = rnnjax.lstm(V, 13)
    params = cell.init(jax.random.key(0))
    out = jax.random.normal(jax.random.key(1), (13, V)) * 3

    def step_fn(carry, token):
        carry, hidden = cell.apply(params, carry, jax.nn.one_hot(token, V))
        return carry, hidden @ out

    result = rnnjax.sample(step_fn, cell.initial_carry((K,)), key=jax.random.key(2), bos_id=0, max_steps=T)
    consumed = jnp.concatenate([jnp.zeros((1, K), jnp.int32), result.tokens.T[:-1]])
    carry, hidden = rnnjax.unroll(cell, params, jax.nn.one_hot(consumed, V))
    log_probs = jax.nn.log_softmax(hidden @ out)
    wanted = jnp.take_along_axis(log_probs, result.tokens.T[:, :, None], axis=-1)[..., 0].T
    np.testing.assert_allclose(result.log_probs, wanted, rtol=1e-4, atol=1e-5)
    assert_close(result.carry, carry)


# ---- errors --------------------------------------------------------------------------------------------------


def sampled(step_fn=None, carry=None, **options):
    defaults = {"key": jax.random.key(0), "bos_id": 2, "max_steps": T}
    return rnnjax.sample(step_fn or toy_model(), toy_carry() if carry is None else carry, **{**defaults, **options})


@pytest.mark.parametrize("max_steps", [0, -3])
def test_max_steps_must_be_positive(max_steps):
    with pytest.raises(ValueError, match=f"sample: expected max_steps of at least 1, got {max_steps}"):
        sampled(max_steps=max_steps)
    with pytest.raises(ValueError, match=f"greedy: expected max_steps of at least 1, got {max_steps}"):
        rnnjax.greedy(toy_model(), toy_carry(), bos_id=2, max_steps=max_steps)


def test_an_end_outside_the_vocabulary_is_refused():
    with pytest.raises(ValueError, match="sample: expected eos_id from 0 to 6"):
        sampled(eos_id=7)


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
