"""Scheduled sampling and exposure bias against teacher forcing, free runs, frequencies and sums known by hand."""

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, normal

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, V, H = 7, 3, 11, 5
LENGTHS = (4, 7, 0)


# ---- decays ----------------------------------------------------------------------------------------------------

DECAYS = {
    "linear": (rnnjax.seq2seq.linear_teacher_decay(20), lambda i: max(0.0, 1 - i / 20)),
    "linear_end": (rnnjax.seq2seq.linear_teacher_decay(7, end=0.3), lambda i: max(0.3, 1 - 0.7 * i / 7)),
    "constant": (rnnjax.seq2seq.linear_teacher_decay(3, end=1.0), lambda i: 1.0),
    "exponential": (rnnjax.seq2seq.exponential_teacher_decay(0.9), lambda i: 0.9**i),
    "inverse_sigmoid": (
        rnnjax.seq2seq.inverse_sigmoid_teacher_decay(7.0),
        lambda i: 7 / (7 + math.exp(min(i / 7, 600))),
    ),
    "inverse_sigmoid_1": (rnnjax.seq2seq.inverse_sigmoid_teacher_decay(1), lambda i: 1 / (1 + math.exp(min(i, 600)))),
}


@pytest.mark.parametrize("name", DECAYS)
def test_decays_are_their_formulas(name):
    decay, formula = DECAYS[name]
    updates = [0, 1, 2, 3, 7, 13, 14, 20, 41, 10_000]
    wanted = [formula(i) for i in updates]
    np.testing.assert_allclose([float(decay(i)) for i in updates], wanted, rtol=1e-5, atol=1e-7)
    traced = jax.jit(decay)
    np.testing.assert_allclose([float(traced(jnp.int32(i))) for i in updates], wanted, rtol=1e-5, atol=1e-7)
    every = [float(traced(jnp.int32(i))) for i in range(50)]
    assert all(0 <= after <= before <= 1 for before, after in itertools.pairwise(every))


def test_known_points_of_decays():
    assert float(rnnjax.seq2seq.inverse_sigmoid_teacher_decay(50.0)(50 * math.log(50))) == pytest.approx(0.5, abs=1e-5)
    assert (
        float(rnnjax.seq2seq.linear_teacher_decay(8)(2)) == 0.75
        and float(rnnjax.seq2seq.exponential_teacher_decay(0.5)(3)) == 0.125
    )
    assert float(rnnjax.seq2seq.inverse_sigmoid_teacher_decay(1.0)(2**31 - 1)) == 0.0


def test_bad_decays():
    for message, make in {
        "linear_teacher_decay: expected steps of at least 1 .*got 0": lambda: rnnjax.seq2seq.linear_teacher_decay(0),
        r"end in \[0, 1\], got 5 and 1.1": lambda: rnnjax.seq2seq.linear_teacher_decay(5, end=1.1),
        "got 5 and -0.1": lambda: rnnjax.seq2seq.linear_teacher_decay(5, end=-0.1),
        "got 5 and nan": lambda: rnnjax.seq2seq.linear_teacher_decay(5, end=math.nan),
        r"exponential_teacher_decay: expected k in \(0, 1\), got 1": lambda: rnnjax.seq2seq.exponential_teacher_decay(
            1.0
        ),
        r"exponential_teacher_decay: expected k in \(0, 1\), got 0": lambda: rnnjax.seq2seq.exponential_teacher_decay(
            0.0
        ),
        "inverse_sigmoid_teacher_decay: expected k of at least 1, got 0.9": lambda: (
            rnnjax.seq2seq.inverse_sigmoid_teacher_decay(0.9)
        ),
        "expected k of at least 1, got nan": lambda: rnnjax.seq2seq.inverse_sigmoid_teacher_decay(math.nan),
    }.items():
        with pytest.raises(ValueError, match=message):
            make()


# ---- models ----------------------------------------------------------------------------------------------------


class ToyParams(NamedTuple):
    """Parameters of the recurrent toy model."""

    embedding: jax.Array  # [V, H]
    w: jax.Array  # [H, H]
    out: jax.Array  # [H, V]


PARAMS = ToyParams(2 * normal(1, V, H), normal(2, H, H), 2 * normal(3, H, V))
CARRY = {"h": normal(4, B, H)}
TOKENS = jnp.asarray(np.random.default_rng(5).integers(V, size=(T, B)))


def recurrent(params=PARAMS):
    """Logits that depend on every token so far."""

    def step_fn(carry, token):
        h = jnp.tanh(params.embedding[token] + carry["h"] @ params.w)
        return {"h": h}, h @ params.out

    return step_fn


def forced(params, tokens):
    """Teacher forcing as a Python loop: logits `[T, B, V]`."""
    carry, rows = CARRY, []
    for token in tokens:
        carry, logits = recurrent(params)(carry, token)
        rows.append(logits)
    return jnp.stack(rows)


def markov(table):
    """Logits that depend on the last token only: log of a row of the table `[V, V]`."""
    logits = jnp.log(jnp.asarray(table, jnp.float32))
    return lambda carry, token: (carry, logits[token])


@functools.partial(jax.jit, static_argnames=("greedy", "step_fn"))
def run(step_fn, carry, tokens, seed, truth, greedy=False):
    key = jax.random.key(seed)
    return rnnjax.seq2seq.scheduled_sampling(step_fn, carry, tokens, key=key, truth=truth, greedy=greedy)


STEP = recurrent()


# ---- scheduled sampling ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("greedy", [False, True])
def test_truth_1_is_teacher_forcing(greedy):
    for seed in range(3):
        result = run(STEP, CARRY, TOKENS, seed, 1.0, greedy)
        assert_same(result.inputs, TOKENS)
        assert_close(result.logits, forced(PARAMS, TOKENS))


def test_truth_0_from_the_most_probable_is_greedy_decoding():
    result = run(STEP, CARRY, TOKENS, 0, 0.0, greedy=True)
    found = rnnjax.greedy(STEP, CARRY, bos_id=TOKENS[0], max_steps=T)
    assert_same(result.inputs, np.concatenate([TOKENS[:1], found.tokens.T[:-1]]))
    chosen = jnp.take_along_axis(jax.nn.log_softmax(result.logits), found.tokens.T[..., None], axis=-1)[..., 0]
    assert_close(chosen, found.log_probs.T)
    assert np.mean(result.inputs[1:] != TOKENS[1:]) > 0.5  # not the truth by chance


def test_truth_0_is_a_free_run():
    """Each token has the frequency that the token read before it gives; the truth is never read."""
    table = np.random.default_rng(0).dirichlet(np.ones(5), size=6)
    table = np.concatenate([table, np.zeros((6, 1))], axis=1) + 1e-12
    tokens = jnp.full((199, 101), 5)
    inputs = np.asarray(run(markov(table), jnp.zeros(101), tokens, 0, 0.0).inputs)
    assert (inputs[0] == 5).all() and (inputs[1:] != 5).all()
    for before in range(6):
        counts = np.bincount(inputs[1:][inputs[:-1] == before], minlength=6)
        np.testing.assert_allclose(counts / counts.sum(), table[before], atol=0.03 if before < 5 else 0.16)
    assert len({tuple(column) for column in inputs.T}) == 101


@pytest.mark.parametrize("truth", [0.5, 0.2])
def test_coins_are_fair_and_independent(truth):
    """The model never writes the true token, so that what was read tells the coin."""
    table = np.full((4, 4), 1e-12) + np.array([1 / 3, 1 / 3, 1 / 3, 0])
    steps, rows = 101, 97
    inputs = np.asarray(run(markov(table), jnp.zeros(rows), jnp.full((steps, rows), 3), 1, truth).inputs)
    coins = (inputs == 3).astype(float)
    assert coins[0].all()
    coins = coins[1:]

    def near(mean, p, count):
        return abs(mean - p) < 4 * math.sqrt(p * (1 - p) / count)

    assert near(coins.mean(), truth, coins.size)
    assert near((coins[1:] * coins[:-1]).mean(), truth**2, coins.size / 2)  # of step and step
    assert near((coins[:, 1:] * coins[:, :-1]).mean(), truth**2, coins.size / 2)  # of row and row
    assert coins.mean(axis=0).std() < 3 * math.sqrt(truth * (1 - truth) / (steps - 1))
    own = inputs[1:][coins == 0]
    chi_square = np.sum((np.bincount(own) - own.size / 3) ** 2) / (own.size / 3)
    assert chi_square < 13.8  # 1 in 1000 with 2 degrees of freedom
    both = (coins[:, 1:] + coins[:, :-1]) == 0
    assert near((inputs[1:, 1:] == inputs[1:, :-1])[both].mean(), 1 / 3, both.sum() / 2)  # draws of row and row


def test_what_was_read_is_returned():
    result = run(STEP, CARRY, TOKENS, 3, 0.5)
    assert 0.2 < np.mean(result.inputs[1:] == TOKENS[1:]) < 0.9
    assert_same(result.inputs[0], TOKENS[0])
    assert_close(result.logits, forced(PARAMS, result.inputs))


def test_keys_decide():
    first, again, other = (run(STEP, CARRY, TOKENS, seed, 0.5) for seed in (0, 0, 1))
    assert_same(first, again)
    assert np.any(first.inputs != other.inputs)


@pytest.mark.slow
def test_no_gradient_passes_through_what_was_drawn():
    """The gradient is that of teacher forcing with the tokens that were read."""

    @jax.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
        result = rnnjax.seq2seq.scheduled_sampling(recurrent(params), CARRY, TOKENS, key=jax.random.key(2), truth=0.3)
        return jnp.sum(jnp.sin(result.logits)), result.inputs

    got, inputs = gradient(PARAMS)
    expected = jax.jit(jax.grad(lambda params: jnp.sum(jnp.sin(forced(params, inputs)))))(PARAMS)
    assert np.any(inputs != TOKENS)
    assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_the_schedule_may_be_traced():
    decay, traces = rnnjax.seq2seq.inverse_sigmoid_teacher_decay(3.0), []

    @jax.jit
    def at(update):
        traces.append(1)
        return rnnjax.seq2seq.scheduled_sampling(STEP, CARRY, TOKENS, key=jax.random.key(2), truth=decay(update))

    shares = []
    for update in range(10):
        result = at(jnp.int32(update))
        assert_same(result.inputs, run(STEP, CARRY, TOKENS, 2, float(decay(update))).inputs)
        shares.append(int(np.sum(result.inputs == TOKENS)))
    assert len(traces) == 1 and shares[0] > shares[-1]


@pytest.mark.parametrize("steps", [0, 1])
def test_few_steps(steps):
    result = run(STEP, CARRY, TOKENS[:steps], 0, 0.0)
    assert result.logits.shape == (steps, B, V) and result.inputs.shape == (steps, B)
    assert_same(result.inputs, TOKENS[:steps])


@pytest.mark.slow
def test_half_precision_and_dtypes():
    half = recurrent(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), PARAMS))
    carry = {"h": CARRY["h"].astype(jnp.bfloat16)}
    result = run(half, carry, TOKENS.astype(jnp.uint8), 0, 0.5)
    assert result.logits.dtype == jnp.bfloat16 and result.inputs.dtype == jnp.int32
    bias = rnnjax.seq2seq.exposure_bias(
        half, carry, TOKENS, lengths=jnp.array(LENGTHS), bos_id=0, key=jax.random.key(0)
    )
    assert np.isfinite(bias.own.sum.astype(jnp.float32)).all()


def test_bad_sampling():
    def sampled(step_fn=STEP, tokens=TOKENS, carry=CARRY, truth=0.5):
        return rnnjax.seq2seq.scheduled_sampling(step_fn, carry, tokens, key=jax.random.key(0), truth=truth)

    for message, options in {
        r"tokens of shape \[T, 3\], got \(7, 2\)": {"tokens": TOKENS[:, :2]},
        r"tokens of shape \[T, 3\], got \(7,\)": {"tokens": TOKENS[:, 0]},
        "a carry whose leaves have a leading axis": {"carry": ()},
        r"logits of shape \[3, V\]": {"step_fn": lambda carry, token: (carry, jnp.zeros(V))},
        "return a carry of": {"step_fn": lambda carry, token: ({"h": carry["h"][:, 1:]}, jnp.zeros((B, V)))},
        r"truth in \[0, 1\], got 1.5": {"truth": 1.5},
        r"truth in \[0, 1\], got -0.5": {"truth": jnp.float32(-0.5)},
        r"truth in \[0, 1\], got nan": {"truth": math.nan},
        r"truth to be a number, got shape \(3,\)": {"truth": jnp.ones(3)},
    }.items():
        with pytest.raises(ValueError, match=f"scheduled_sampling: expected .*{message}"):
            sampled(**options)
    with pytest.raises(TypeError, match="expected tokens of integer ids, got float32"):
        sampled(tokens=TOKENS.astype(jnp.float32))


# ---- exposure bias ---------------------------------------------------------------------------------------------

# After 0 (bos) the model errs; once it has erred it is lost. The true sequence is 1 1 1 ...
CHAIN = np.array([[0.1, 0.4, 0.5], [0.05, 0.9, 0.05], [0.05, 0.15, 0.8]])


def measured(step_fn, carry, targets, lengths, seed=0, **options):
    return jax.jit(
        lambda targets, lengths: rnnjax.seq2seq.exposure_bias(
            step_fn, carry, targets, lengths=lengths, bos_id=0, key=jax.random.key(seed), **options
        )
    )(targets, lengths)


def test_a_model_that_is_lost_after_an_error_has_a_known_gap():
    """Its own token after bos is 2, always; after 2 the truth has probability 0.15 instead of 0.9."""
    rows, steps = 5, 4
    bias = measured(markov(CHAIN), jnp.zeros(rows), jnp.ones((steps, rows), int), jnp.full(rows, steps), greedy=True)
    np.testing.assert_allclose(bias.truth.mean, -np.log([0.4, 0.9, 0.9, 0.9]), rtol=1e-5)
    np.testing.assert_allclose(bias.own.mean, -np.log([0.4, 0.15, 0.15, 0.15]), rtol=1e-5)
    np.testing.assert_allclose(bias.own.mean - bias.truth.mean, [0, *[math.log(6)] * 3], rtol=1e-5, atol=1e-6)
    assert bias.own.count.tolist() == bias.truth.count.tolist() == [5.0] * 4


def test_samples_give_the_gap_in_expectation():
    rows, steps = 20_011, 3
    bias = measured(markov(CHAIN), jnp.zeros(rows), jnp.ones((steps, rows), int), jnp.full(rows, steps), seed=1)
    where, wanted = np.array([1.0, 0, 0]), []
    for _ in range(steps):
        wanted.append(where @ -np.log(CHAIN[:, 1]))
        where = where @ CHAIN
    np.testing.assert_allclose(bias.own.mean, wanted, atol=0.03)
    np.testing.assert_allclose(bias.truth.mean, -np.log([0.4, 0.9, 0.9]), rtol=1e-3)
    assert wanted[1] - 0.03 > -math.log(0.9)


def test_the_truth_is_the_loss_by_position():
    bias = measured(STEP, CARRY, TOKENS, jnp.array(LENGTHS))
    log_probs = np.asarray(jax.nn.log_softmax(forced(PARAMS, np.concatenate([np.zeros((1, B), int), TOKENS[:-1]]))))
    sums, counts = np.zeros(T), np.zeros(T)
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            sums[t] -= log_probs[t, b, int(TOKENS[t, b])]
            counts[t] += 1
    assert_close(bias.truth, rnnjax.losses.SumCount(sums, counts))
    assert_same(bias.own.count, counts)
    assert bias.own.sum.shape == (T,)
    np.testing.assert_allclose(bias.own.sum[0], bias.truth.sum[0], rtol=1e-6)
    assert np.abs(bias.own.sum[1:] - bias.truth.sum[1:]).min() > 1e-3  # read other tokens


@pytest.mark.slow
def test_own_tokens_are_drawn_by_the_key_or_are_the_most_probable():
    first, other = (measured(STEP, CARRY, TOKENS, jnp.array(LENGTHS), seed) for seed in (0, 1))
    assert np.any(first.own.sum != other.own.sum)
    assert_same(first.truth, other.truth)
    greedy, again = (measured(STEP, CARRY, TOKENS, jnp.array(LENGTHS), seed, greedy=True) for seed in (0, 1))
    assert_same(greedy, again)
    tokens = rnnjax.greedy(STEP, CARRY, bos_id=0, max_steps=T).tokens.T
    log_probs = jax.nn.log_softmax(forced(PARAMS, jnp.concatenate([jnp.zeros((1, B), int), tokens[:-1]])))
    values = -np.asarray(jnp.take_along_axis(log_probs, TOKENS[..., None], axis=-1)[..., 0])
    real = np.arange(T)[:, None] < np.array(LENGTHS)
    assert_close(greedy.own.sum, np.where(real, values, 0).sum(1))


@pytest.mark.slow
@pytest.mark.parametrize("junk", [-1, V + 100, 3])
def test_padding_is_inert(junk):
    """Whatever ids are behind the lengths, also of a model that answers NaN to what it does not know."""

    def poisoned(carry, token):
        carry, logits = STEP(carry, jnp.clip(token, 0, V - 1))
        known = (token >= 0) & (token < V)
        return carry, jnp.where(known[:, None], logits, jnp.nan)

    real = rnnjax.losses.length_mask(jnp.array(LENGTHS), T)
    padded = jnp.where(real, TOKENS, junk)
    got = measured(poisoned, CARRY, padded, jnp.array(LENGTHS))
    assert_close(got, measured(STEP, CARRY, TOKENS, jnp.array(LENGTHS)))
    nothing = measured(poisoned, CARRY, jnp.full((T, B), junk), jnp.zeros(B, int))
    assert not nothing.own.sum.any() and not nothing.own.count.any() and not nothing.truth.mean.any()


def test_bad_exposure():
    def bias(targets=TOKENS, lengths=jnp.array(LENGTHS), carry=CARRY):  # noqa: B008
        return rnnjax.seq2seq.exposure_bias(STEP, carry, targets, lengths=lengths, bos_id=0, key=jax.random.key(0))

    for message, options in {
        r"lengths of shape \(3,\), got \(2,\)": {"lengths": jnp.array([1, 2])},
        r"lengths of shape \(3,\), got \(\)": {"lengths": 2},
        r"targets of shape \[T, 3\], got \(7, 2\)": {"targets": TOKENS[:, :2]},
        r"targets of shape \[T, 3\], got \(7,\)": {"targets": TOKENS[:, 0]},
        "lengths between 0 and T = 7, got 2 to 8": {"lengths": jnp.array([2, 8, 3])},
        "lengths between 0 and T = 7, got -1 to 2": {"lengths": np.array([2, -1, 0])},
    }.items():
        with pytest.raises(ValueError, match=f"exposure_bias: expected {message}"):
            bias(**options)
    for message, options in {
        "targets of integer ids": {"targets": TOKENS.astype(jnp.float32)},
        "lengths of an integer dtype, in steps": {"lengths": jnp.array([1.0, 2.0, 3.0])},
    }.items():
        with pytest.raises(TypeError, match=f"exposure_bias: expected {message}, got float32"):
            bias(**options)


def test_arrays_that_are_known_may_be_closed_over_in_a_compiled_function():
    def step_fn(carry, token):
        return carry, jnp.zeros((token.shape[0], 5)) + carry[:, None]

    targets = jnp.array([[1, 2, 3], [4, 2, 1]])

    def compiled(lengths):
        @jax.jit
        def both(carry):
            bias = rnnjax.seq2seq.exposure_bias(
                step_fn, carry, targets, lengths=lengths, bos_id=0, key=jax.random.key(0)
            )
            scores = rnnjax.decoding.score_sequences(step_fn, carry, targets.T, lengths=lengths, bos_id=0).scores
            return bias.truth.count, scores

        return both(jnp.ones(3))

    count, scores = compiled(jnp.array([2, 1, 0]))
    assert count.tolist() == [2.0, 1.0] and scores.shape == (3,)
    with pytest.raises(ValueError, match="exposure_bias: expected lengths between 0 and T = 2, got 0 to 3"):
        compiled(np.array([2, 3, 0]))
