"""Which ends compete, and whether what is cut does: against twins that write the search out, and against everything."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_helpers import (
    BOS,
    EOS,
    PAD,
    SCORES,
    V,
    constant_model,
    enumerate_all,
    random_model,
    search,
    sequences_of,
    table_model,
)
from tree_models import ROOT, log_probs_of, prefixes_of, random_tree, tree_step

import rnnjax
from rnnjax.decoding import ban_tokens, length_normalised, min_length

ENDS = ("k", "2k", "all")
WORDS, STEPS, END = 7, 5, 3  # of the trees


def gnmt(alpha, length):
    return ((5 + length) / 6) ** alpha


@functools.partial(jax.jit, static_argnames=("beam_size", "alpha", "options"))
def search_trees(logits, beam_size, alpha=0.0, options=()):
    """A search of each tree `[N, nodes, V]`."""

    def one(logits):
        settings = {"eos_id": END, "max_steps": STEPS, "score": length_normalised(alpha)} | dict(options)
        step_fn = functools.partial(tree_step, logits)
        return rnnjax.beam_search(step_fn, jnp.int32(ROOT), bos_id=0, pad_id=PAD, beam_size=beam_size, **settings)

    return jax.vmap(one)(logits)


def trees(count, seed=0, sharp=2.0):
    rng = np.random.default_rng(seed)
    return np.stack([random_tree(rng, WORDS, STEPS, sharp) for _ in range(count)])


def rows(result, i):
    """Of source i the tokens and the score of each hypothesis that is there."""
    one = jax.tree.map(lambda leaf: np.asarray(leaf)[i], result)
    return [pair for pair in zip(sequences_of(one), one.scores.tolist(), strict=True) if pair[1] > -np.inf]


# ---- twins -----------------------------------------------------------------------------------------------------


def twin(log_probs, size, alpha, which):
    """The search written out, sequences copied: its ended hypotheses and what lives in the end, best first."""
    nodes = {prefix: node for node, prefix in enumerate(prefixes_of(WORDS, STEPS))}
    live, ended = [((), 0.0)], []
    for length in range(1, STEPS + 1):
        candidates = [
            ((*tokens, token), total + log_probs[nodes[tokens], token])
            for tokens, total in live
            for token in range(WORDS)
        ]
        candidates.sort(key=lambda one: -one[1])
        rivals = candidates[: {"k": size, "2k": 2 * size, "all": None}[which]]
        ended += [(tokens, total / gnmt(alpha, length)) for tokens, total in rivals if tokens[-1] == END]
        ended = sorted(ended, key=lambda one: -one[1])[:size]
        live = [one for one in candidates if one[0][-1] != END][:size]
    return ended, live


def twin_of_flax(log_probs, size, alpha):
    """`beam_search` of Flax's example of translation and of t5x: what ended alone, or what lives where nothing has."""
    ended, live = twin(log_probs, size, alpha, "2k")
    return ended, [] if ended else live


def assert_hypotheses(found, expected):
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("which", ENDS)
@pytest.mark.parametrize(("size", "alpha"), [(1, 0.0), (2, 0.6), (3, 0.0), (3, 1.0)])
def test_ends_are_those_of_a_search_written_out(which, size, alpha):
    logits = trees(13)
    for finished_only in (False, True):
        found = search_trees(logits, size, alpha, (("ends", which), ("finished_only", finished_only)))
        for i, one in enumerate(logits):
            expected, live = twin(log_probs_of(one), size, alpha, which)
            if not finished_only:
                cut = [(tokens, total / gnmt(alpha, STEPS)) for tokens, total in live]
                expected = sorted(expected + cut, key=lambda one: -one[1])[:size]
            assert_hypotheses(rows(found, i), expected)


@pytest.mark.slow
@pytest.mark.parametrize("end", [-2.0, -6.0])  # of the second few hypotheses end, or none
@pytest.mark.parametrize(("size", "alpha"), [(1, 0.6), (2, 0.0), (3, 0.6)])
def test_the_search_of_flax_and_t5x(size, alpha, end):
    logits = trees(17, seed=1)
    logits[..., END] += end
    found = search_trees(logits, size, alpha, (("ends", "2k"), ("finished_only", True)))
    plain = search_trees(logits, size, alpha)
    without = 0
    for i, one in enumerate(logits):
        ended, live = twin_of_flax(log_probs_of(one), size, alpha)
        assert_hypotheses(rows(found, i), ended)
        if not ended:  # where they return what lives, its log-probabilities not divided
            without += 1
            cut = [(tokens, total / gnmt(alpha, STEPS)) for tokens, total in live]
            assert_hypotheses(rows(plain, i), cut)
    assert without < 17 if end == -2.0 else without > 0


# ---- laws ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "options"), [(2, ()), (4, (("groups", 2), ("diversity", 0.7)))])
def test_more_that_competes_is_never_worse(size, options):
    """What lives is the same, so that place by place the scores can only rise."""
    logits, rises = trees(97, seed=2), np.zeros(2, int)
    for finished_only in (False, True):
        settings = (("finished_only", finished_only), *options)
        scores = [np.asarray(search_trees(logits, size, 0.6, (("ends", ends), *settings)).scores) for ends in ENDS]
        for i, (fewer, more) in enumerate(itertools.pairwise(scores)):
            assert (fewer <= more + 1e-6).all()
            rises[i] += (fewer < more - 1e-3).sum()
    assert (rises > 0).all()  # or the test shows nothing


@pytest.mark.slow
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("score", ["raw", "average", "both", "reward"])
def test_a_beam_that_holds_everything_finds_all_that_finish(ends, score):
    step_fn, carry = random_model(2)
    every = enumerate_all(step_fn, carry, SCORES[score][1])
    for finished_only in (False, True):
        expected = [one for one in every if not finished_only or one[0][-1] == EOS]
        result = search(step_fn, carry, score=SCORES[score][0], ends=ends, finished_only=finished_only)
        found = sequences_of(result)
        assert set(found[: len(expected)]) == {one[0] for one in expected} and found[0] == expected[0][0]
        np.testing.assert_allclose(result.scores[: len(expected)], [one[2] for one in expected], rtol=1e-4, atol=1e-5)
        assert (result.scores[len(expected) :] == -np.inf).all()
        assert (result.tokens[len(expected) :] == PAD).all() and not result.lengths[len(expected) :].any()


@pytest.mark.slow
def test_one_beam_whose_ends_all_compete_is_the_best_place_to_end_a_greedy_path():
    for seed in range(5):
        step_fn, carry = random_model(seed, vocabulary=5)
        options = {"constraints": [ban_tokens([EOS])], "beam_size": 1, "max_steps": 6}
        path = search(step_fn, carry, **options)
        ended = []
        for n in range(6):
            tokens = jnp.concatenate([path.tokens[0, :n], jnp.array([EOS])])[None]
            one = jax.tree.map(lambda leaf: leaf[None], carry)
            ended.append(
                rnnjax.decoding.score_sequences(step_fn, one, tokens, lengths=jnp.array([n + 1]), bos_id=BOS).scores[0]
            )
        found = search(step_fn, carry, beam_size=1, max_steps=6, ends="all", finished_only=True)
        assert int(found.lengths[0]) == int(np.argmax(ended)) + 1
        np.testing.assert_allclose(found.scores[0], max(ended), rtol=1e-5)


@pytest.mark.parametrize("ends", ENDS)
def test_an_end_that_is_forbidden_does_not_compete(ends):
    run = functools.partial(
        search, constant_model([0.5, 0.0, 2.0]), jnp.zeros(()), ends=ends, finished_only=True, beam_size=3
    )
    assert run().lengths[0] == 1  # where it may end at once, it does
    assert run(constraints=[min_length(3, EOS)]).lengths.tolist() == [3, 3, 3]


# ---- by hand ---------------------------------------------------------------------------------------------------


def test_what_would_end_outside_the_beam_ends_where_more_compete():
    """After a step a 0.6, b 0.4; then a end 0.3, a c 0.18, b end 0.14, b c 0.132, so that b end is third."""
    a, b, c, end, start = range(5)
    rows = np.zeros((5, 5))
    rows[start, [a, b]], rows[a, [end, c]], rows[b, [end, c]], rows[c, end] = (0.6, 0.4), (0.5, 0.3), (0.35, 0.33), 1
    rows[a, start], rows[b, start] = 0.2, 0.32
    run = functools.partial(
        rnnjax.beam_search, table_model(rows), jnp.zeros(()), bos_id=start, eos_id=end, beam_size=2, max_steps=2
    )
    found = {ends: run(ends=ends) for ends in ENDS}
    assert sequences_of(found["k"]) == [(a, end), (a, c)]
    np.testing.assert_allclose(np.exp(found["k"].scores), (0.3, 0.18), rtol=1e-5)
    for ends in ("2k", "all"):
        assert sequences_of(found[ends]) == [(a, end), (a, c)]  # 0.18 cut is better than 0.14
        finished = run(ends=ends, finished_only=True)
        assert sequences_of(finished) == [(a, end), (b, end)] and finished.finished.all()
        np.testing.assert_allclose(np.exp(finished.scores), (0.3, 0.14), rtol=1e-5)
    only = run(finished_only=True)
    assert (
        sequences_of(only) == [(a, end), ()] and only.scores[1] == -np.inf and only.finished.tolist() == [True, False]
    )


@pytest.mark.parametrize("ends", ENDS)
def test_where_none_finishes_nothing_is_returned(ends):
    rows = np.full((V, V), 0.5)
    rows[:, EOS] = 0
    result = rnnjax.beam_search(
        table_model(rows), jnp.zeros(()), bos_id=BOS, eos_id=EOS, pad_id=PAD, beam_size=2, max_steps=3, ends=ends,
        finished_only=True, record=lambda carry: jnp.ones((2, 1)),
    )  # fmt: skip
    assert (np.asarray(result.scores) == -np.inf).sum() == 2 or np.exp(result.scores).max() < 1e-6
    assert not result.lengths.any() and not result.finished.any() and (result.tokens == PAD).all()
    assert not result.log_probs.any() and not result.records.any()


def test_ends_without_an_end():
    logits = trees(3)
    plain = search_trees(logits, 3, 0.0, (("eos_id", None),))
    for ends in ENDS:
        again = search_trees(logits, 3, 0.0, (("eos_id", None), ("ends", ends)))
        assert again.tokens.tolist() == plain.tokens.tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ends": "3k"}, r"ends to be one of \('k', '2k', 'all'\), got '3k'"),
        ({"finished_only": True, "eos_id": None}, "an eos_id beside finished_only, got None"),
    ],
)
def test_bad_ends(options, message):
    with pytest.raises(ValueError, match=f"beam_search: expected {message}"):
        search(*random_model(0), beam_size=2, **options)
