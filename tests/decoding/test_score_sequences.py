"""Scores of given sequences on the scale of the search, blame for errors, and the loss that trains sequences."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, assert_same, normal

import rnnjax
from rnnjax import losses
from rnnjax.decoding import average_length, length_normalised

pytestmark = pytest.mark.usefixtures("quick_compilation")

V, K, T, H = 5, 3, 7, 11
BOS, EOS, PAD = 1, 2, 9
EMBEDDING, W, OUT = 2 * normal(1, V, H), normal(2, H, H), 2 * normal(3, H, V)
LENGTHS = (4, 7, 0)


@jax.jit
def step_fn(carry, token):
    """Logits that depend on every token so far."""
    h = jnp.tanh(EMBEDDING[token] + carry["h"] @ W)
    return {"h": h}, h @ OUT


CARRY = {"h": normal(4, K, H)}
TOKENS = jnp.asarray(np.random.default_rng(5).integers(V, size=(K, T)))


def scored(tokens=TOKENS, lengths=LENGTHS, carry=CARRY, model=step_fn, bos_id=BOS, **options):
    return rnnjax.decoding.score_sequences(model, carry, tokens, lengths=jnp.array(lengths), bos_id=bos_id, **options)


def looped(tokens, lengths, bos_ids):
    """Log-probabilities `[K, T]` by a Python loop, one row alone."""
    table = np.zeros((K, T))
    for k, length in enumerate(lengths):
        carry, token = jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], CARRY), bos_ids[k]
        for t in range(length):
            carry, logits = step_fn(carry, jnp.array([token]))
            token = int(tokens[k, t])
            table[k, t] = jax.nn.log_softmax(logits[0])[token]
    return table


# ---- scores ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "norm"),
    [
        ({}, lambda n: 1),
        ({"score": length_normalised(0.7)}, lambda n: ((5 + n) / 6) ** 0.7),
        ({"score": length_normalised(1.0, norm=average_length)}, lambda n: n),
        ({"score": length_normalised(0.5, norm=average_length)}, lambda n: n**0.5),
    ],
)
def test_scores_are_sums_of_log_probabilities(options, norm):
    expected = looped(TOKENS, LENGTHS, (BOS,) * K)
    got = scored(**options)
    assert_close(got.log_probs, expected)
    wanted = [sum(row) / norm(n) if n else 0 for row, n in zip(expected, LENGTHS, strict=True)]
    assert_close(got.scores, np.array(wanted))


def test_bos_may_be_of_each_row():
    bos_ids = (3, 0, 2)
    assert_close(scored(bos_id=jnp.array(bos_ids)).log_probs, looped(TOKENS, LENGTHS, bos_ids))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [{}, {"score": length_normalised(0.8)}, {"score": length_normalised(1.0, norm=average_length)}],
    ids=["raw", "gnmt", "average"],
)
def test_the_scale_is_that_of_the_search(options):
    """What a search finds for each of several sources scores as the search says, cut hypotheses too."""

    @jax.vmap
    def search(carry):
        return rnnjax.beam_search(
            step_fn, carry, bos_id=BOS, eos_id=EOS, pad_id=PAD, beam_size=13, max_steps=4, **options
        )

    found = jax.jit(search)(CARRY)
    assert {3, 4} <= set(found.lengths.ravel().tolist()) and not found.finished.all()
    for k in range(K):
        carry = jax.tree.map(lambda leaf, k=k: jnp.broadcast_to(leaf[k], (13, H)), CARRY)
        got = scored(found.tokens[k], found.lengths[k], carry, **options)
        assert_close(got.scores, found.scores[k], rtol=1e-5, atol=1e-5)
        assert_close(got.log_probs, found.log_probs[k], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("junk", [PAD, -1, 10**6])
def test_padding_is_inert(junk):
    def poisoned(carry, token):
        carry, logits = step_fn(carry, jnp.clip(token, 0, V - 1))
        return carry, jnp.where(((token >= 0) & (token < V))[:, None], logits, jnp.nan)

    real = rnnjax.losses.length_mask(jnp.array(LENGTHS), T).T
    got = scored(jnp.where(real, TOKENS, junk), model=poisoned)
    assert_close(got, scored())
    assert not got.log_probs[~real].any() and got.scores[2] == 0

    def total(scale, tokens, model):
        def scaled(carry, token):
            carry, logits = model(carry, token)
            return carry, scale * logits

        return jnp.sum(scored(tokens, model=scaled).scores)

    gradient = jax.grad(total)
    np.testing.assert_allclose(
        gradient(1.0, jnp.where(real, TOKENS, junk), poisoned), gradient(1.0, TOKENS, step_fn), rtol=1e-5
    )


def test_infinitely_bad_logits_behind_the_length_leave_no_trace():
    """A model that breaks down after some steps: what is masked is not merely small."""

    def tired(carry, token):
        logits = jnp.where((carry > 3)[:, None], jnp.nan, jnp.zeros((K, V)))
        return carry + 1, logits

    got = scored(lengths=(4, 1, 3), carry=jnp.zeros(K, jnp.int32), model=tired)
    assert_close(got.scores, -math.log(V) * np.array([4, 1, 3]))


@pytest.mark.parametrize("steps", [0, 1])
def test_few_steps(steps):
    got = scored(TOKENS[:, :steps], (steps, 0, steps), score=length_normalised(0.6))
    assert got.log_probs.shape == (K, steps) and got.scores.shape == (K,)
    assert_close(got.log_probs, looped(TOKENS, (steps, 0, steps), (BOS,) * K)[:, :steps])


def test_scores_close_under_jit_and_grad():
    def total(scale, tokens, lengths):
        def scaled(carry, token):
            carry, logits = step_fn(carry, token)
            return carry, scale * logits

        result = rnnjax.decoding.score_sequences(scaled, CARRY, tokens, lengths=lengths, bos_id=BOS)
        return jnp.sum(result.scores), result

    lengths = jnp.array(LENGTHS)
    (_, got), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))(1.0, TOKENS, lengths)
    assert_close(got, scored())
    step = 1e-2
    above, below = (float(total(1.0 + sign * step, TOKENS, lengths)[0]) for sign in (1, -1))
    assert float(gradient) == pytest.approx((above - below) / (2 * step), rel=1e-2)
    # Inside jit values are not known: an id outside the vocabulary behind a length is inert there too.
    junk = jnp.where(rnnjax.losses.length_mask(lengths, T).T, TOKENS, -7)
    assert_close(jax.jit(total)(1.0, junk, lengths)[1], got)


def test_half_precision_is_scored_in_float32():
    def half(carry, token):
        carry, logits = step_fn(carry, token)
        return carry, logits.astype(jnp.bfloat16)

    got = scored(model=half, score=length_normalised(0.5))
    assert got.scores.dtype == got.log_probs.dtype == jnp.float32
    assert_close(got.log_probs, scored().log_probs, rtol=0.02, atol=0.05)
    assert_close(got.scores[:2], got.log_probs.sum(1)[:2] / ((5 + np.array(LENGTHS[:2])) / 6) ** 0.5)


def test_numpy_arrays_will_do():
    numpy = rnnjax.decoding.score_sequences(step_fn, CARRY, np.asarray(TOKENS), lengths=np.array(LENGTHS), bos_id=BOS)
    assert_same(numpy, scored())


def test_bad_sequences():
    for message, options in {
        r"tokens of shape \[3, T\], got \(2, 7\)": {"tokens": TOKENS[:2]},
        r"tokens of shape \[3, T\], got \(7,\)": {"tokens": TOKENS[0]},
        r"lengths of shape \(3,\), got \(2,\)": {"lengths": (1, 2)},
        "tokens from 0 to 4, ids of the 5 logits, got .* to 5": {"tokens": TOKENS.at[0, 3].set(5)},
        "tokens from 0 to 4, .*got -1 to": {"tokens": TOKENS.at[1, 6].set(-1)},
        "lengths between 0 and T = 7, got 0 to 8": {"lengths": (8, 3, 0)},
        "lengths between 0 and T = 7, got -2 to 3": {"lengths": (-2, 3, 0)},
        "a carry whose leaves have a leading axis": {"carry": ()},
        r"logits of shape \[3, V\]": {"model": lambda carry, token: (carry, jnp.zeros(V))},
    }.items():
        with pytest.raises(ValueError, match=f"score_sequences: expected .*{message}"):
            scored(**options)
    scored(tokens=TOKENS.at[0, 4].set(5).at[2, 0].set(-1))  # behind the lengths
    for message, options in {
        "tokens of integer ids": {"tokens": TOKENS.astype(jnp.float32)},
        "lengths of an integer dtype, in steps": {"lengths": (1.0, 2.0, 3.0)},
        "score to be a Score, such as length_normalised.*": {"score": "average"},
    }.items():
        with pytest.raises(TypeError, match=f"score_sequences: expected {message}, got"):
            scored(**options)


# ---- who is at fault -------------------------------------------------------------------------------------------

# Greedy takes word 3 (0.5), after which all is equally likely; word 4 (0.4) is followed by the end (0.9).
LATTICE = np.array([[0.2] * 5, [0.02, 0.02, 0.06, 0.5, 0.4], [0.2] * 5, [0.2] * 5, [0.025, 0.025, 0.9, 0.025, 0.025]])


def lattice(carry, token):
    return carry, jnp.log(jnp.asarray(LATTICE, jnp.float32))[token]


def blamed(beam_size, references, lengths):
    """The best that a search finds on the lattice, against references."""
    found = rnnjax.beam_search(
        lattice, jnp.zeros(()), bos_id=BOS, eos_id=EOS, pad_id=PAD, beam_size=beam_size, max_steps=3
    )
    rows = len(references)
    references, lengths = jnp.array(references), jnp.array(lengths)
    score = functools.partial(rnnjax.decoding.score_sequences, lattice, jnp.zeros(rows), bos_id=BOS)
    of_reference = score(references, lengths=lengths).scores
    best = jnp.broadcast_to(found.tokens[0], references.shape)
    of_found = score(best, lengths=jnp.full(rows, found.lengths[0])).scores
    assert_close(of_found, np.full(rows, found.scores[0]))
    same = jnp.all(jnp.where(references == 0, PAD, references) == best, axis=1)
    return rnnjax.decoding.attribute_errors(of_reference, of_found, correct=same), found.tokens[0].tolist()


REFERENCES = [[4, 2, 0], [2, 0, 0], [3, 2, 0], [4, 4, 2], [3, 4, 2]]
REFERENCE_LENGTHS = [2, 1, 2, 3, 3]


@pytest.mark.slow
def test_a_narrow_beam_is_at_fault():
    """Greedy finds 3 and then one of equals, P = 0.5 * 0.2 * 0.2; 4 2 has P = 0.36."""
    found, best = blamed(1, REFERENCES, REFERENCE_LENGTHS)
    assert best == [3, 0, 0]
    # P = 0.36, 0.06, 0.1, 0.009, 0.09 against 0.02
    assert found.search.tolist() == [True, True, True, False, True]
    assert found.model.tolist() == [False, False, False, True, False]
    assert float(found.search_share) == pytest.approx(0.8) and float(found.model_share) == pytest.approx(0.2)


@pytest.mark.slow
def test_behind_a_wide_beam_the_model_is_at_fault():
    found, best = blamed(7, REFERENCES, REFERENCE_LENGTHS)
    assert best == [4, 2, PAD]
    assert not found.search.any() and found.model.tolist() == [False, True, True, True, True]  # the first is correct
    assert float(found.search_share) == 0 and float(found.model_share) == 1


def test_blame_by_hand():
    reference, hypothesis = jnp.array([-1.0, -3.0, -2.0, -5.0, -1.0]), jnp.array([-2.0, -1.0, -2.0, -6.0, -9.0])
    correct = jnp.array([False, False, False, True, False])
    found = rnnjax.decoding.attribute_errors(reference, hypothesis, correct=correct)
    assert found.search.tolist() == [True, False, False, False, True]
    assert found.model.tolist() == [False, True, True, False, False]  # equals are the model's
    assert float(found.search_share) == float(found.model_share) == 0.5
    every = rnnjax.decoding.attribute_errors(reference, hypothesis)
    assert every.search.tolist() == [True, False, False, True, True]
    assert float(every.search_share) == pytest.approx(0.6) and float(every.model_share) == pytest.approx(0.4)


def test_shares_sum_to_one_where_there_are_errors():
    attribute = jax.jit(rnnjax.decoding.attribute_errors)
    for seed in range(5):
        correct = normal(seed + 20, 13) > 0.5
        found = attribute(normal(seed, 13), normal(seed + 10, 13), correct=correct)
        assert float(found.search_share + found.model_share) == pytest.approx(1)
        assert not (found.search & found.model).any() and bool((found.search | found.model | correct).all())
        assert not ((found.search | found.model) & correct).any()


@pytest.mark.parametrize("count", [0, 3])
def test_nobody_is_at_fault_without_errors(count):
    found = rnnjax.decoding.attribute_errors(jnp.zeros(count), normal(0, count), correct=jnp.ones(count, bool))
    assert found.search.shape == found.model.shape == (count,)
    assert not found.search.any() and not found.model.any()
    assert float(found.search_share) == float(found.model_share) == 0.0


def test_bad_blame():
    for arguments, correct in (
        ((jnp.zeros(3), jnp.zeros(2)), None),
        ((jnp.zeros(3), jnp.zeros(3)), jnp.zeros(2, bool)),
        ((jnp.zeros(()), jnp.zeros(())), None),
        ((jnp.zeros((2, 3)), jnp.zeros((2, 3))), None),
    ):
        with pytest.raises(ValueError, match=r"attribute_errors: expected scores and correct of one shape \[N\], got"):
            rnnjax.decoding.attribute_errors(*arguments, correct=correct)
    with pytest.raises(TypeError, match="attribute_errors: expected correct of dtype bool, got int32"):
        rnnjax.decoding.attribute_errors(jnp.zeros(3), jnp.zeros(3), correct=jnp.array([1, 0, 1]))


# ---- the loss of sequences -------------------------------------------------------------------------------------

LOGITS, LABELS = 2 * normal(7, T, K, V), jnp.asarray(np.random.default_rng(8).integers(V, size=(T, K)))


@pytest.mark.slow
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.37])
def test_sequence_loss_is_that_of_optax(smoothing):
    mask = rnnjax.losses.length_mask(jnp.array(LENGTHS), T)

    def of_optax(logits):
        labels = optax.smooth_labels(jax.nn.one_hot(LABELS, V), smoothing)
        return jnp.sum(jnp.where(mask, optax.softmax_cross_entropy(logits, labels), 0))

    def ours(logits):
        labels = jnp.where(mask, LABELS, -1)
        return rnnjax.losses.sequence_loss(logits, labels, where=mask, label_smoothing=smoothing)

    junk = jnp.where(mask[..., None], LOGITS, jnp.nan)
    got = ours(junk)
    assert float(got.sum) == pytest.approx(float(of_optax(LOGITS)), rel=1e-5) and float(got.count) == sum(LENGTHS)
    assert float(got.mean) == pytest.approx(float(got.sum) / sum(LENGTHS))
    assert_close(jax.grad(lambda logits: ours(logits).sum)(junk), jax.grad(of_optax)(LOGITS))


def test_sequence_loss_of_all_positions_of_any_rank():
    labels = optax.smooth_labels(jax.nn.one_hot(LABELS[2], V), 0.2)
    got = rnnjax.losses.sequence_loss(LOGITS[2], LABELS[2], label_smoothing=0.2)
    assert float(got.sum) == pytest.approx(float(optax.softmax_cross_entropy(LOGITS[2], labels).sum()), rel=1e-5)
    assert float(got.count) == K
    whole = rnnjax.losses.sequence_loss(LOGITS, LABELS)
    plain = optax.softmax_cross_entropy_with_integer_labels(LOGITS, LABELS)
    assert float(whole.mean) == pytest.approx(float(plain.mean()), rel=1e-5)
    nothing = rnnjax.losses.sequence_loss(LOGITS, LABELS, where=jnp.zeros((T, K), bool), label_smoothing=0.2)
    assert float(nothing.sum) == float(nothing.count) == float(nothing.mean) == 0.0


def test_smoothed_loss_is_least_where_it_should_be():
    """With e = 0.4 over 5 classes the best prediction keeps 0.68 and gives 0.08 to each other."""
    best = np.full(V, 0.08) + 0.6 * np.eye(V)[3]
    gradient = jax.grad(lambda z: losses.sequence_loss(z[None], jnp.array([3]), label_smoothing=0.4).sum)
    np.testing.assert_allclose(gradient(jnp.log(jnp.asarray(best, jnp.float32))), np.zeros(V), atol=1e-6)
    assert np.abs(gradient(jnp.zeros(V))).max() > 0.1


def test_bad_sequence_loss():
    for smoothing in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=r"sequence_loss: expected label_smoothing in \[0, 1\), got"):
            rnnjax.losses.sequence_loss(LOGITS, LABELS, label_smoothing=smoothing)
    with pytest.raises(ValueError, match=r"expected labels of shape \(7, 3\)"):
        rnnjax.losses.sequence_loss(LOGITS, LABELS[:, :2], label_smoothing=0.1)
