"""Beam search against exhaustive enumeration, greedy decoding, and itself."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_helpers import (
    BOS,
    EOS,
    PAD,
    RULES,
    SCORES,
    SETTINGS,
    S,
    T,
    V,
    after_one,
    enumerate_all,
    model_step,
    options_of,
    random_model,
    rows_of_carry,
    search,
    sequences_of,
)
from helpers import equations

import rnnjax
from rnnjax.decoding import ban_tokens, force_prefix, length_normalised, no_repeat_ngram

# ---- exhaustive search ---------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_beam_that_holds_everything_is_exhaustive(name):
    rule, score = SETTINGS[name]
    for seed in range(2):
        step_fn, carry = random_model(seed)
        expected = enumerate_all(step_fn, carry, SCORES[score][1], RULES[rule][1])
        result = search(step_fn, carry, **options_of(name))
        rows, scores = sequences_of(result), np.asarray(result.scores)
        count = len(expected)
        np.testing.assert_allclose(scores[:count], [one[2] for one in expected], rtol=1e-4, atol=1e-5)
        assert set(rows[:count]) == {one[0] for one in expected} and (scores[count:] == -np.inf).all()
        assert rows[0] == expected[0][0]
        for row, length, finished in zip(rows, result.lengths[:count].tolist(), result.finished.tolist(), strict=False):
            assert finished == (row[-1] == EOS) and (finished or length == T)
        assert (result.lengths[count:] == 0).all() and not result.finished[count:].any()
        assert (result.tokens[count:] == PAD).all() and not np.asarray(result.log_probs)[count:].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", [*RULES, "gnmt", "average", "coverage", "all"])
def test_log_probs_are_those_of_the_model(name):
    step_fn, carry = random_model(3)
    result = search(step_fn, carry, beam_size=5, **options_of(name))
    for tokens, length, log_probs in zip(
        result.tokens.tolist(), result.lengths.tolist(), result.log_probs, strict=True
    ):
        of_model = [after_one(step_fn, carry, tokens[:t])[1][tokens[t]] for t in range(length)]
        np.testing.assert_allclose(log_probs[:length], of_model, rtol=1e-4, atol=1e-5)
        assert not np.asarray(log_probs)[length:].any() and tokens[length:] == [PAD] * (T - length)


@pytest.mark.slow
def test_a_search_never_beats_exhaustive_search():
    for seed in range(3):
        step_fn, carry = random_model(seed)
        best = [search(step_fn, carry, beam_size=k).scores[0] for k in (1, 2, 5, V**T)]
        assert all(score <= best[-1] + 1e-5 for score in best)


@pytest.mark.slow
@pytest.mark.parametrize("a", [0.0, 0.8])
def test_widening_never_hurts_where_tokens_are_independent(a):
    """The best prefixes of a step begin with the best prefixes of the step before, so every K finds the best."""
    logits = jax.random.normal(jax.random.key(4), (T, 5))

    def step_fn(carry, token):
        return carry + 1, logits[carry]

    options = {"score": length_normalised(a), "eos_id": None}
    found = [search(step_fn, jnp.zeros((), jnp.int32), beam_size=k, **options).scores for k in (1, 3, 7)]
    for narrow, wide in itertools.pairwise(found):
        np.testing.assert_allclose(wide[: narrow.shape[0]], narrow, rtol=1e-5)


# ---- greedy, batches, ends -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_one_beam_is_greedy(rule):
    options = {"constraints": RULES[rule][0], "bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "max_steps": 7}
    decode = jax.jit(lambda params, carry: rnnjax.greedy(functools.partial(model_step, params), carry, **options))
    for seed in range(5):
        step_fn, carry = random_model(seed, vocabulary=5)
        found = search(step_fn, carry, beam_size=1, **options)
        greedy = decode(*step_fn.args, rows_of_carry(carry, 1))
        assert found.tokens.tolist() == greedy.tokens.tolist() and found.lengths.tolist() == greedy.lengths.tolist()
        np.testing.assert_allclose(found.log_probs, greedy.log_probs, rtol=1e-5, atol=1e-6)


OPTIONS = {
    "plain": {},
    "constraints and score": options_of("all"),
    "groups": {"beam_size": 6, "groups": 3, "diversity": 0.5},
    "few": {"num_results": 2, "score": length_normalised(0.6)},
    "2k": {"ends": "2k", "num_results": 3, "score": length_normalised(0.6)},
    "all": {"ends": "all", "finished_only": True, "score": length_normalised(0.6)},
    "all in groups": {"ends": "all", "groups": 2, "diversity": 0.5, "finished_only": True},
    "reward": {"num_results": 1, "score": SCORES["limited"][0]},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_a_batch_is_each_example_alone(name):
    step_fn, carry = random_model(5, vocabulary=5)
    carries = jax.vmap(lambda shift: carry | {"h": carry["h"] * shift})(jnp.array([0.3, -1.0, 2.0, 0.9, -2.5]))
    run = functools.partial(search, step_fn, **({"beam_size": 4, "max_steps": 7} | OPTIONS[name]))
    together = jax.vmap(run)(carries)
    assert len(set(together.lengths[:, 0].tolist())) > 1  # or the test shows nothing
    for i in range(5):
        alone = run(jax.tree.map(lambda leaf, i=i: leaf[i], carries))
        assert together.tokens[i].tolist() == alone.tokens.tolist()
        np.testing.assert_allclose(together.scores[i], alone.scores, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_stopping_early_changes_nothing(name):
    options = {"bos_id": BOS, "eos_id": EOS, "beam_size": 4, "max_steps": 11} | OPTIONS[name]
    models = [random_model(seed, vocabulary=5, sharp=1.0) for seed in range(89)]
    models = jax.tree.map(lambda *leaves: jnp.stack(leaves), *((step_fn.args[0], carry) for step_fn, carry in models))

    def run(early_stop):
        def of_one(params, carry):
            return rnnjax.beam_search(functools.partial(model_step, params), carry, early_stop=early_stop, **options)

        return jax.jit(jax.vmap(of_one))(*models)

    early, late = run(True), run(False)
    assert early.tokens.tolist() == late.tokens.tolist()
    np.testing.assert_allclose(early.scores, late.scores, rtol=1e-6)


@pytest.mark.slow
def test_finished_hypotheses_are_never_lost():
    """A short one that ended at the first step stays best, whatever many long ones come after."""
    first, later = jnp.log(jnp.array([0.3, 0.3, 0.4])), jnp.log(jnp.array([0.45, 0.45, 0.1]))

    def step_fn(carry, token):
        return carry + 1, jnp.where((carry == 0)[:, None], first[None], later[None])

    result = search(step_fn, jnp.zeros((), jnp.int32), beam_size=3, max_steps=11)
    assert result.tokens[0].tolist() == [EOS] + [PAD] * 10 and np.isclose(result.scores[0], np.log(0.4))
    assert (np.diff(result.scores) <= 0).all()


# ---- records, groups, structure ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"beam_size": 6, "groups": 2, "diversity": 1.0}])
def test_records_follow_their_hypotheses(options):
    step_fn, carry = random_model(6, vocabulary=5)
    settings = {"beam_size": 5, "max_steps": 6, "record": lambda carry: carry["weights"]} | options
    result = search(step_fn, carry, **settings)
    assert result.records.shape == (settings["beam_size"], 6, S)
    assert result.lengths.min() < 6  # or the test shows nothing
    for tokens, length, records in zip(result.tokens.tolist(), result.lengths.tolist(), result.records, strict=True):
        for t in range(6):
            expected = after_one(step_fn, carry, tokens[:t])[0]["weights"] if t < length else np.zeros(S)
            np.testing.assert_allclose(records[t], expected, rtol=1e-4, atol=1e-6)


def diverse_twin(step_fn, carry, groups, size, diversity, steps, ends):
    """Diverse beam search written out: all candidates in a list, sequences copied."""
    live = [[((), 0.0)] for _ in range(groups)]
    ended = [[] for _ in range(groups)]
    for _ in range(steps):
        taken = []
        for g in range(groups):
            candidates = []
            for tokens, log_prob in live[g]:
                log_probs = after_one(step_fn, carry, tokens)[1]
                for token in range(log_probs.shape[0]):
                    total = log_prob + float(log_probs[token])
                    candidates.append((total - diversity * taken.count(token), total, (*tokens, token)))
            candidates.sort(key=lambda one: -one[0])
            rivals = candidates[: {"k": size, "2k": 2 * size, "all": None}[ends]]
            ended[g] += [one[1:] for one in rivals if one[2][-1] == EOS]
            live[g] = [(tokens, total) for _, total, tokens in candidates if tokens[-1] != EOS][:size]
            taken += [tokens[-1] for tokens, _ in live[g]]
    for g in range(groups):
        ended[g] += [(total, tokens) for tokens, total in live[g]]
        ended[g] = sorted(ended[g], key=lambda one: -one[0])[:size]
    return sorted(itertools.chain(*ended), key=lambda one: -one[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "size", "diversity", "ends"),
    [(1, 3, 0.0, "k"), (3, 1, 0.7, "k"), (2, 2, 0.3, "k"), (3, 2, 5.0, "k"), (2, 2, 0.7, "2k"), (2, 2, 2.0, "all")],
)
def test_groups_against_their_twin(groups, size, diversity, ends):
    options = {"beam_size": groups * size, "groups": groups, "diversity": diversity, "max_steps": 5, "ends": ends}
    for seed in range(3):
        step_fn, carry = random_model(seed, vocabulary=5)
        result = search(step_fn, carry, **options)
        expected = diverse_twin(step_fn, carry, groups, size, diversity, 5, ends)
        assert sorted(sequences_of(result)) == sorted(tokens for _, tokens in expected)
        np.testing.assert_allclose(result.scores, [score for score, _ in expected], rtol=1e-4)


@pytest.mark.slow
def test_diverse_groups_begin_differently():
    step_fn, carry = random_model(8, vocabulary=5)
    plain, diverse = (
        search(step_fn, carry, beam_size=4, groups=4, diversity=d, max_steps=3, eos_id=None) for d in (0.0, 50.0)
    )
    assert len(set(plain.tokens[:, 0].tolist())) == 1 and len(set(diverse.tokens[:, 0].tolist())) == 4


@pytest.mark.slow
def test_one_compilation_over_many_sources():
    step_fn, carry = random_model(1)
    traces = []

    @jax.jit
    def run(carry):
        traces.append(1)
        return rnnjax.beam_search(step_fn, carry, bos_id=BOS, eos_id=EOS, beam_size=3, max_steps=4)

    for i in range(10):
        run(jax.tree.map(lambda leaf, i=i: leaf + 0.1 * i, carry))
    assert len(traces) == 1


def test_no_step_sorts_the_vocabulary():
    wide = 4099

    def run(carry):
        def step_fn(carry, token):
            return carry, carry + jnp.broadcast_to(token[:, None].astype(jnp.float32), carry.shape)

        return rnnjax.beam_search(step_fn, carry, bos_id=BOS, eos_id=EOS, beam_size=3, max_steps=4)

    jaxpr = jax.make_jaxpr(run)(jnp.zeros(wide))

    for e in equations(jaxpr):
        if e.primitive.name in ("sort", "top_k", "cumsum", "scatter"):
            assert e.invars[0].aval.shape[-1] < wide // 4


# ---- edges and bad input -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_step():
    step_fn, carry = random_model(1)
    result = search(step_fn, carry, beam_size=2, max_steps=1)
    log_probs = after_one(step_fn, carry, ())[1]
    assert result.tokens[:, 0].tolist() == np.argsort(-log_probs)[:2].tolist()


@pytest.mark.slow
def test_more_beams_than_hypotheses():
    result = search(*random_model(1), beam_size=11, max_steps=1)
    assert (result.scores[:3] > -jnp.inf).all() and (result.scores[3:] == -jnp.inf).all()
    assert result.lengths.tolist() == [1] * 3 + [0] * 8


@pytest.mark.slow
def test_a_vocabulary_of_one():
    def step_fn(carry, token):
        return carry, jnp.zeros((token.shape[0], 1))

    result = rnnjax.beam_search(step_fn, jnp.zeros(2), bos_id=0, eos_id=None, beam_size=3, max_steps=2)
    assert result.tokens[0].tolist() == [0, 0] and result.scores.tolist() == [0.0, -math.inf, -math.inf]


@pytest.mark.slow
@pytest.mark.parametrize("score", ["raw", "reward", "probability"])
def test_everything_forbidden_gives_nothing(score):
    result = search(*random_model(1), beam_size=3, constraints=[ban_tokens(jnp.arange(V))], score=SCORES[score][0])
    assert (result.scores == -jnp.inf).all() and (result.tokens == PAD).all() and not result.finished.any()


@pytest.mark.slow
def test_half_precision_logits_are_scored_in_float32():
    step_fn, carry = random_model(2)

    def half(carry, token):
        after, logits = step_fn(carry, token)
        return after, logits.astype(jnp.bfloat16)

    result = search(half, carry, beam_size=3)
    assert result.scores.dtype == result.log_probs.dtype == jnp.float32
    total = functools.reduce(lambda a, b: a + b, result.log_probs[0].tolist())
    assert np.isclose(total, result.scores[0], rtol=1e-6)


@pytest.mark.slow
def test_constraints_that_forbid_nothing_change_nothing():
    step_fn, carry = random_model(1)
    constraints = [force_prefix([]), ban_tokens(jnp.zeros(0, jnp.int32)), no_repeat_ngram(T + 3)]
    assert (search(step_fn, carry).scores == search(step_fn, carry, constraints=constraints).scores).all()


@pytest.mark.slow
def test_a_prefix_of_all_tokens():
    result = search(*random_model(1), beam_size=3, constraints=[force_prefix([1, 0, 0, 1])])
    assert result.tokens[0].tolist() == [1, 0, 0, 1] and result.lengths.tolist() == [4, 0, 0]


def test_a_banned_token_that_is_nearly_certain():
    """Its exponential overflows beside the largest of the others."""
    logits = jnp.array([[0.0, 1.0, 200.0]])

    def step_fn(carry, token):
        return carry, jnp.repeat(logits, 3, 0)

    result = search(step_fn, jnp.zeros(()), beam_size=3, constraints=[ban_tokens([EOS])])
    np.testing.assert_allclose(result.scores[0], -199.0 * T, rtol=1e-6)


BAD = {
    "beam_size to be a positive int": {"beam_size": 0},
    "max_steps to be a positive int, got 0": {"max_steps": 0},
    "groups to divide": {"beam_size": 5, "groups": 2},
    "num_results of at most": {"beam_size": 2, "num_results": 3},
    "eos_id from 0 to 2": {"eos_id": 3},
    "diversity of at least 0, got -0.5": {"diversity": -0.5},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=f"beam_search: expected {message}"):
        search(*random_model(0), **BAD[message])


def test_bad_step_functions():
    _, carry = random_model(0)
    bad = {
        "logits of shape": lambda carry, token: (carry, jnp.zeros(V)),
        "carry of": lambda carry, token: (carry | {"h": carry["h"][:, :3]}, jnp.zeros((token.shape[0], V))),
        "carry of .*float32.*got .*bfloat16": lambda carry, token: (
            carry | {"h": carry["h"].astype(jnp.bfloat16)},
            jnp.zeros((token.shape[0], V)),
        ),
    }
    for message, function in bad.items():
        with pytest.raises(ValueError, match=f"expected step_fn to return .*{message}"):
            rnnjax.beam_search(function, carry, bos_id=BOS, eos_id=EOS, beam_size=2, max_steps=3)
