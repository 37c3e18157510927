"""Constraints: each against brute force, and what sampling, greedy decoding and beam search make of the same ones."""

import functools

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_helpers import (
    BOS,
    EOS,
    PAD,
    RULES,
    T,
    V,
    after_one,
    constant_model,
    enumerate_all,
    model_step,
    no_successor,
    random_model,
    rows_of_carry,
    search,
    sequences_of,
    toy_carry,
    toy_model,
)
from helpers import LOOPS, assert_same, equations
from hypothesis import strategies as st

import rnnjax
from rnnjax.decoding import (
    at_temperature,
    ban_sequences,
    ban_tokens,
    force_prefix,
    keep_top_k,
    keep_top_p,
    min_length,
    no_repeat_ngram,
)

SETTINGS = hypothesis.settings(max_examples=80, deadline=None, derandomize=True, database=None)
OPTIONS = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "max_steps": T}


def sample(step_fn, carry, rows=3, **options):
    return rnnjax.sample(step_fn, rows_of_carry(carry, rows), key=jax.random.key(0), **{**OPTIONS, **options})


def greedy(step_fn, carry, **options):
    return rnnjax.greedy(step_fn, rows_of_carry(carry, 1), **{**OPTIONS, **options})


DECODERS = {"sample": sample, "greedy": greedy, "beam_search": functools.partial(search, beam_size=3)}


def applied(constraint, logits, tokens=(), steps=T):
    """Logits after a constraint, with these tokens before each row."""
    logits = jnp.asarray(logits)
    before = jnp.array([*tokens, *[PAD] * (steps - len(tokens))], jnp.int32)
    before = jnp.broadcast_to(before[None], (logits.shape[0], steps))
    return np.asarray(constraint(before, jnp.int32(len(tokens)), logits))


# ---- what all decoders agree on ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_sampling_reaches_what_an_exhaustive_search_finds_and_nothing_else(rule):
    constraints, allowed = RULES[rule]
    step_fn, carry = random_model(2)
    expected = {tokens for tokens, *_ in enumerate_all(step_fn, carry, lambda *_: 0.0, allowed)}
    found = search(step_fn, carry, constraints=constraints)
    assert {row for row in sequences_of(found) if row} == expected
    flat = [*constraints, at_temperature(100.0)]  # so that 2,003 rows meet each of at most 81 sequences
    assert set(sequences_of(sample(step_fn, carry, 2003, constraints=flat))) == expected


@pytest.mark.parametrize("rule", RULES)
def test_greedy_decoding_takes_the_most_probable_token_that_is_allowed(rule):
    constraints, allowed = RULES[rule]
    decode = jax.jit(
        lambda params, carry: greedy(functools.partial(model_step, params), carry, constraints=constraints)
    )
    for seed in range(5):
        step_fn, carry = random_model(seed)
        tokens, log_probs = (), []
        while len(tokens) < T and EOS not in tokens:
            of_model = after_one(step_fn, carry, tokens)[1]
            best = max((token for token in range(V) if allowed(tokens, token)), key=lambda token: of_model[token])
            tokens, log_probs = (*tokens, best), [*log_probs, of_model[best]]
        result = decode(*step_fn.args, carry)
        assert sequences_of(result) == [tokens]
        np.testing.assert_allclose(result.log_probs[0, : len(tokens)], log_probs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DECODERS)
def test_the_first_constraint_is_applied_first(name):
    """The best token is 1. Banned first, the best of the others is kept; banned last, no token is left."""
    model, carry = constant_model([0.0, 3.0, -9.0, 2.0, 1.0]), jnp.zeros(())
    decode = functools.partial(DECODERS[name], model, carry)
    assert decode(constraints=[ban_tokens([1]), keep_top_k(1)]).tokens[0].tolist() == [3] * T
    result = decode(constraints=[keep_top_k(1), ban_tokens([1])])
    if name == "beam_search":
        assert result.scores[0] == -jnp.inf and result.lengths[0] == 0
    else:
        assert result.tokens[0].tolist() == [0] * T


def test_a_constraint_sees_what_those_before_it_left():
    logits = jnp.log(jnp.array([[0.5, 0.125, 0.375]]))

    def kept(*constraints):
        now = functools.reduce(lambda now, constraint: applied(constraint, now), constraints, logits)
        return np.isfinite(now[0]).tolist()

    # Flattened first, 0.45 needs two tokens; cut first, the most probable one is enough.
    assert kept(at_temperature(10.0), keep_top_p(0.45)) == [True, False, True]
    assert kept(keep_top_p(0.45), at_temperature(10.0)) == [True, False, False]
    for constraints, ids in (([at_temperature(10.0), keep_top_p(0.45)], {0, 2}), ([keep_top_p(0.45)], {0})):
        result = sample(constant_model(logits[0]), jnp.zeros(()), 101, constraints=constraints, eos_id=None)
        assert set(result.tokens.ravel().tolist()) == ids


@pytest.mark.parametrize("name", DECODERS)
def test_a_constraint_sees_the_tokens_chosen_so_far(name):
    """Neither bos nor a prompt, pad_id from `step` on and after an end."""
    seen = []

    def spy(tokens, step, logits):
        jax.debug.callback(lambda *now: seen.append(now), tokens, step)
        return logits

    decode = functools.partial(rnnjax.beam_search, **OPTIONS, beam_size=3) if name == "beam_search" else DECODERS[name]
    options = {"constraints": [spy, min_length(2, EOS)], "max_steps": 7, "prompt": jnp.array([1, 0])}
    result = decode(*random_model(3), **options)
    jax.effects_barrier()
    steps = sorted((int(step), np.asarray(tokens)) for tokens, step in seen)
    assert [step for step, _ in steps] == list(range(len(steps))) and len(steps) > 2
    for step, tokens in steps:
        assert tokens.shape[1] == 7 and tokens.dtype == np.int32 and (tokens[:, step:] == PAD).all()
        if name != "beam_search":  # whose rows are those of other hypotheses each time
            np.testing.assert_array_equal(tokens[:, :step], result.tokens[:, :step])
    if name == "beam_search":
        assert tuple(result.tokens[0, :2].tolist()) in {tuple(row[:2].tolist()) for row in steps[2][1]}


@pytest.mark.parametrize("name", DECODERS)
def test_without_constraints_the_loop_holds_no_tokens(name):
    """The tokens so far would be carried as integers [K, 11]."""

    def step_fn(carry, token):
        return carry, jnp.broadcast_to(carry[:, :1], (token.shape[0], V))

    def carried(constraints):
        run = functools.partial(DECODERS[name], step_fn, constraints=constraints, max_steps=11)
        loops = [e for e in equations(jax.make_jaxpr(run)(jnp.zeros(2))) if e.primitive.name in (*LOOPS, "while")]
        return sum(v.aval.shape[1:] == (11,) and v.aval.dtype == jnp.int32 for e in loops for v in e.outvars)

    assert carried([]) == 0 and carried([lambda tokens, step, logits: logits]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", DECODERS)
def test_constraints_of_each_source_of_a_batch(name):
    """Ids that are traced, of a prefix, of bans and of a banned sequence beside one that is known."""
    step_fn, carry = random_model(4)
    prefixes, bans = jnp.array([[1, 0], [0, 1], [1, 1], [0, 0]]), jnp.array([[0], [1], [2], [0]])

    def run(prefix, banned):
        ban = ban_tokens(banned)

        def ban_later(tokens, step, logits):
            return jnp.where(step < 2, logits, ban(tokens, step, logits))

        other = jnp.where(banned[0] == 2, 0, 2)
        apart = ban_sequences([jnp.stack([prefix[1], other, other]), np.array([2, 2, 2])])
        return DECODERS[name](step_fn, carry, constraints=[force_prefix(prefix), ban_later, apart], eos_id=None)

    together = jax.jit(jax.vmap(run))(prefixes, bans)
    for i in range(4):
        assert together.tokens[i].tolist() == run(prefixes[i], bans[i]).tokens.tolist()
        tokens = np.asarray(together.tokens[i])
        assert (tokens[:, :2] == np.asarray(prefixes[i])).all() and not (tokens[:, 2:] == int(bans[i, 0])).any()
        other = 0 if bans[i, 0] == 2 else 2
        assert [int(prefixes[i, 1]), other, other] not in tokens[:, 1:].tolist()


@pytest.mark.slow
def test_half_precision_logits_stay_half_precision():
    step_fn, carry = random_model(2)

    def half(carry, token):
        after, logits = step_fn(carry, token)
        return after, logits.astype(jnp.bfloat16)

    constraints = [
        min_length(0, EOS), ban_tokens([]), ban_sequences([]), force_prefix([]), no_repeat_ngram(T), keep_top_k(V),
        keep_top_p(1.0), at_temperature(1.0),
    ]  # fmt: skip
    for decode in DECODERS.values():
        assert_same(decode(half, carry, constraints=constraints), decode(half, carry))


# ---- each against brute force ----------------------------------------------------------------------------------

LOGITS = st.lists(st.lists(st.integers(-8, 8), min_size=7, max_size=7), min_size=3, max_size=3)
NORMAL = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)


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


def assert_keeps(constraint, logits, kept, tokens=(), steps=T):
    mask = np.array([[i in ids for i in range(logits.shape[1])] for ids in kept])
    np.testing.assert_array_equal(applied(constraint, logits, tokens, steps), np.where(mask, logits, -np.inf))


@SETTINGS
@hypothesis.given(LOGITS, st.integers(1, 11))
def test_top_k_equals_brute_force(rows, k):
    logits = np.asarray(rows, np.float32) / 2
    assert_keeps(keep_top_k(k), logits, [brute_top_k(row, k) for row in logits])


@SETTINGS
@hypothesis.given(LOGITS, st.floats(0.01, 0.99))
def test_top_p_equals_brute_force(rows, p):
    logits = np.asarray(rows, np.float32) / 2
    wanted = [brute_top_p(row, p) for row in logits]
    hypothesis.assume(not any(near for _, near in wanted))
    assert_keeps(keep_top_p(p), logits, [kept for kept, _ in wanted])


@SETTINGS
@hypothesis.given(LOGITS, st.floats(0.05, 20))
def test_temperature_divides(rows, value):
    logits = np.asarray(rows, np.float32)
    np.testing.assert_allclose(applied(at_temperature(value), logits), logits / np.float32(value), rtol=1e-6)


@pytest.mark.slow
@SETTINGS
@hypothesis.given(st.lists(st.integers(0, 2), min_size=0, max_size=8), st.integers(1, 11))
def test_ngrams_equal_brute_force(tokens, n):
    def completes(token):
        """Whether it ends an n-gram that is there already."""
        grams = [(*tokens, token)[i : i + n] for i in range(len(tokens) + 2 - n)]
        return len(grams) > 0 and grams[-1] in grams[:-1]

    kept = {token for token in range(7) if not completes(token)}
    assert_keeps(no_repeat_ngram(n), NORMAL, [kept] * 3, tokens, steps=9)


SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=4), min_size=0, max_size=5)


@SETTINGS
@hypothesis.given(st.lists(st.integers(0, 2), min_size=0, max_size=8), SEQUENCES)
def test_banned_sequences_equal_brute_force(tokens, sequences):
    kept = {token for token in range(7) if not any([*tokens, token][-len(banned) :] == banned for banned in sequences)}
    assert_keeps(ban_sequences(sequences), NORMAL, [kept] * 3, tokens, steps=9)


def test_banned_sequences_of_one_token_are_banned_tokens():
    assert_same(applied(ban_sequences([[6], [2]]), NORMAL), applied(ban_tokens([6, 2]), NORMAL))


def test_a_pad_before_the_first_token_completes_nothing():
    """The tokens before the first are not those at the end of the row, where pad_id is an ordinary id."""
    tokens = jnp.full((3, 4), 5)
    for step, banned in ((0, False), (1, True)):
        logits = ban_sequences([[5, 1]])(tokens, jnp.int32(step), jnp.asarray(NORMAL))
        assert bool(jnp.isinf(logits[:, 1]).all()) == bool(jnp.isinf(logits).any()) == banned


@pytest.mark.parametrize("step", range(T))
def test_bans_lengths_and_prefixes_at_each_step(step):
    tokens, every = (5, 1, 0, 3)[:step], set(range(7))
    assert_keeps(ban_tokens(np.array([6, 2])), NORMAL, [every - {2, 6}] * 3, tokens)
    assert_keeps(min_length(3, 4), NORMAL, [every - {4} if step < 2 else every] * 3, tokens)
    assert_keeps(force_prefix([5, 1]), NORMAL, [{(5, 1)[step]} if step < 2 else every] * 3, tokens)
    assert_keeps(no_successor, NORMAL, [every - {tokens[-1] + 1} if step else every] * 3, tokens)


@pytest.mark.parametrize("k", [7, 8, 1000])
def test_top_k_of_all_changes_nothing(k):
    np.testing.assert_array_equal(applied(keep_top_k(k), NORMAL), NORMAL)


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("size", [7, 1009])
def test_top_p_1_changes_nothing(size, scale):
    logits = np.random.default_rng(0).normal(size=(3, size)).astype(np.float32) * np.float32(scale)
    np.testing.assert_array_equal(applied(keep_top_p(1.0), logits), logits)


def test_a_small_top_p_leaves_the_most_probable_token():
    assert_keeps(keep_top_p(1e-6), NORMAL, [{int(np.argmax(row))} for row in NORMAL])


def test_temperature_0_leaves_the_most_probable_token():
    assert_keeps(at_temperature(0), np.float32([[1, 3, 2, 3], [0, 0, 0, -1]]), [{1}, {0}])


def test_top_p_in_half_precision_keeps_what_it_would_in_single():
    logits = np.random.default_rng(0).normal(size=(3, 1009)).astype(np.float32) / 4
    half = jnp.asarray(logits, jnp.bfloat16)
    single = np.isfinite(applied(keep_top_p(0.5), half.astype(jnp.float32))).sum(axis=-1)
    kept = applied(keep_top_p(0.5), half)
    assert kept.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.isfinite(kept.astype(np.float32)).sum(axis=-1), single, rtol=0.02)


def test_rows_do_not_mix():
    tokens = jnp.array([[1, 2, 1, PAD], [2, 2, 0, PAD], [0, 1, 0, PAD]])
    constraints = (
        keep_top_k(2),
        keep_top_p(0.7),
        at_temperature(0),
        at_temperature(0.5),
        no_repeat_ngram(2),
        ban_sequences([[2, 1, 3], [1, 0], [2, 0, 5]]),
        no_successor,
    )
    for constraint in constraints:
        whole = constraint(tokens, jnp.int32(3), jnp.asarray(NORMAL))
        for k in range(3):
            alone = constraint(tokens[k : k + 1], jnp.int32(3), jnp.asarray(NORMAL[k : k + 1]))
            np.testing.assert_array_equal(whole[k : k + 1], alone)


# ---- bad input -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: at_temperature(-0.5), r"at_temperature: expected a value of at least 0, got -0\.5"),
        (lambda: at_temperature(float("nan")), "at_temperature: expected .* got nan"),
        (lambda: keep_top_k(0), "keep_top_k: expected k to be an integer of at least 1, got 0"),
        (lambda: keep_top_k(2.5), "keep_top_k: expected k to be an integer of at least 1, got 2.5"),
        (lambda: keep_top_p(0.0), r"keep_top_p: expected p in \(0, 1\], got 0\.0"),
        (lambda: keep_top_p(1.5), r"keep_top_p: expected p in \(0, 1\], got 1\.5"),
        (lambda: keep_top_p(float("nan")), r"keep_top_p: expected p in \(0, 1\], got nan"),
        (lambda: no_repeat_ngram(0), "no_repeat_ngram: expected n to be an integer of at least 1, got 0"),
        (lambda: no_repeat_ngram(-1), "no_repeat_ngram: expected n to be an integer of at least 1, got -1"),
        (lambda: min_length(-2, EOS), "min_length: expected n to be an integer of at least 0, got -2"),
        (lambda: min_length(3, None), "min_length: expected eos_id to be an integer of at least 0, got None"),
    ],
)
def test_constraints_refuse_bad_numbers(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("ids", [[0.5], 3, [[1, 2]], [True]])
def test_ids_are_integers_of_one_axis(ids):
    with pytest.raises(TypeError, match=r"ban_tokens: expected ids to be integers \[N\], got"):
        ban_tokens(ids)
    with pytest.raises(TypeError, match=r"force_prefix: expected tokens to be integers \[N\], got"):
        force_prefix(jnp.asarray(ids))


@pytest.mark.parametrize("sequences", [3, [1, 2], [[0.5]], [[[1]]], "ab", jnp.arange(3)])
def test_banned_sequences_are_integers_of_one_axis_each(sequences):
    with pytest.raises(TypeError, match=r"ban_sequences: expected .* integers \[[nN]\].*, got"):
        ban_sequences(sequences)
    with pytest.raises(ValueError, match=r"ban_sequences: expected at least one token in each, got none in .*\[1\]"):
        ban_sequences([[1], []])


@pytest.mark.parametrize("name", DECODERS)
def test_what_does_not_fit_the_vocabulary_is_named(name):
    for constraint, message in (
        (ban_tokens(jnp.array([0, 7])), "ban_tokens: expected ids from 0 to 2, ids of the 3 logits, got 0 to 7"),
        (ban_tokens([2**32]), "ban_tokens: expected ids from 0 to 2"),
        (ban_sequences([[1], [0, 3]]), r"ban_sequences: expected sequences\[1\] from 0 to 2, .*, got 0 to 3"),
        (force_prefix([-1]), "force_prefix: expected tokens from 0 to 2, ids of the 3 logits, got -1 to -1"),
        (force_prefix(jnp.zeros(5, jnp.int32)), "force_prefix: expected at most T = 4 tokens, got 5"),
        (min_length(2, 3), "min_length: expected eos_id from 0 to 2, ids of the 3 logits, got 3 to 3"),
    ):
        with pytest.raises(ValueError, match=message):
            DECODERS[name](*random_model(0), constraints=[constraint])


@pytest.mark.parametrize("name", DECODERS)
def test_what_a_constraint_returns_is_checked(name):
    for bad, shape in (
        (lambda tokens, step, logits: logits[0], r"\(3,\) and float32"),
        (lambda tokens, step, logits: logits[:, :2], r"\(\d, 2\) and float32"),
        (lambda tokens, step, logits: logits.astype(jnp.bfloat16), r"\(\d, 3\) and bfloat16"),
        (lambda tokens, step, logits: logits > 0, r"\(\d, 3\) and bool"),
    ):
        message = (
            rf"{name}: expected constraints\[1\] to return logits of shape \(\d, 3\) and dtype float32.*got {shape}"
        )
        with pytest.raises(ValueError, match=message):
            DECODERS[name](*random_model(0), constraints=[ban_tokens([0]), bad])


def test_constraints_are_a_sequence_of_functions():
    options = {"bos_id": 0, "max_steps": 3}
    for constraints in (keep_top_k(1), [None], [jnp.zeros(3)]):
        with pytest.raises(TypeError, match="greedy: expected constraints to be a sequence of functions, got"):
            rnnjax.greedy(toy_model(), toy_carry(), constraints=constraints, **options)
