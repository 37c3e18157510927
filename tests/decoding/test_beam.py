"""Beam search against exhaustive enumeration, greedy decoding, a lattice drawn by hand, and itself."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import equations

import rnnjax
from rnnjax.decoding._largest import largest, log_sum_exp

pytestmark = pytest.mark.usefixtures("quick_compilation")
V, T, EOS, BOS, PAD = 3, 4, 2, 1, 9  # V^T = 81 holds every hypothesis
S = 5


@jax.jit
def model_step(params, carry, token):
    """Logits that depend on all tokens before; the carry also sums up attention over S positions."""
    embedding, w_h, w_y, w_a = params
    h = jnp.tanh(embedding[token] + carry["h"] @ w_h)
    weights = jax.nn.softmax(h @ w_a, axis=-1)
    return {"h": h, "cover": carry["cover"] + weights, "weights": weights}, h @ w_y


def random_model(seed, vocabulary=V, hidden=7, sharp=2.0):
    """A step function of random numbers, and its carry of one hypothesis."""
    keys = jax.random.split(jax.random.key(seed), 5)
    shapes = (vocabulary, hidden), (hidden, hidden), (hidden, vocabulary), (hidden, S)
    params = [sharp * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False)]
    carry = {"h": jax.random.normal(keys[4], (hidden,)), "cover": jnp.zeros(S), "weights": jnp.zeros(S)}
    return functools.partial(model_step, params), carry


def after(step_fn, carry, tokens):
    """The carry and the log-probabilities after each of many prefixes of one length, `[N, ...]`."""
    tokens = np.asarray(tokens, np.int32).reshape(len(tokens), -1)
    rows = V**T if len(tokens) > 1 else 1  # few shapes, few compilations
    padded = np.zeros((rows, tokens.shape[1] + 1), np.int32)
    padded[:, 0], padded[: len(tokens), 1:] = BOS, tokens
    carry = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (rows, *leaf.shape)), carry)
    for column in padded.T:
        carry, logits = step_fn(carry, jnp.asarray(column))
    return jax.tree.map(np.asarray, (carry, jax.nn.log_softmax(logits)))


def after_one(step_fn, carry, tokens):
    """The same for one prefix, without the axis."""
    return jax.tree.map(lambda leaf: leaf[0], after(step_fn, carry, [tokens]))


def enumerate_all(step_fn, carry, score, allowed=lambda tokens, token: True):
    """Every hypothesis with its score, best first: the obvious twin."""
    found, open_ones = [], [((), 0.0)]
    for length in range(1, T + 1):
        carries, log_probs = after(step_fn, carry, [tokens for tokens, _ in open_ones])
        grown = []
        for i, (tokens, log_prob) in enumerate(open_ones):
            for token in range(V):
                if allowed(tokens, token):
                    new = (*tokens, token), log_prob + float(log_probs[i, token])
                    if token == EOS or length == T:
                        found.append((*new, score(new[1], length, carries["cover"][i])))
                    else:
                        grown.append(new)
        open_ones = grown
        if not grown:
            break
    return sorted(found, key=lambda one: -one[2])


def rows_of(result):
    """Hypotheses as tuples, and their scores."""
    rows = [tuple(row[:n]) for row, n in zip(result.tokens.tolist(), result.lengths.tolist(), strict=True)]
    return rows, np.asarray(result.scores)


def repeats(tokens, token, n):
    grams = [(*tokens, token)[i : i + n] for i in range(len(tokens) + 2 - n)]
    return len(grams) != len(set(grams))


def gnmt(a, b=0.0):
    def score(log_prob, length, cover):
        return log_prob / ((5 + length) / 6) ** a + b * np.log(np.minimum(cover, 1.0)).sum()

    return score


SETTINGS = {
    "none": ({}, gnmt(0), {}),
    "gnmt": ({"length_penalty": 0.7}, gnmt(0.7), {}),
    "average": (
        {"length_penalty": 1.0, "length_norm": "average"},
        lambda log_prob, length, _: log_prob / length,
        {},
    ),
    "coverage": (
        {"coverage_penalty": 0.3, "coverage": lambda carry: carry["cover"]},
        gnmt(0, 0.3),
        {},
    ),
    "min_length": ({"min_length": 3}, gnmt(0), {"allowed": lambda tokens, token: token != EOS or len(tokens) >= 2}),
    "prefix": (
        {"prefix": jnp.array([1, 0])},
        gnmt(0),
        {"allowed": lambda tokens, token: len(tokens) >= 2 or token == (1, 0)[len(tokens)]},
    ),
    "banned": ({"banned": jnp.array([1])}, gnmt(0), {"allowed": lambda tokens, token: token != 1}),
    "bigrams": ({"no_repeat_ngram": 2}, gnmt(0), {"allowed": lambda tokens, token: not repeats(tokens, token, 2)}),
    "unigrams": ({"no_repeat_ngram": 1}, gnmt(0), {"allowed": lambda tokens, token: not repeats(tokens, token, 1)}),
    "all": (
        {
            "length_penalty": 0.9,
            "coverage_penalty": 0.2,
            "coverage": lambda carry: carry["cover"],
            "min_length": 2,
            "no_repeat_ngram": 3,
        },
        gnmt(0.9, 0.2),
        {"allowed": lambda tokens, token: not repeats(tokens, token, 3) and (token != EOS or len(tokens) >= 1)},
    ),
}


def search(step_fn, carry, **options):
    settings = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "beam_size": V**T, "max_steps": T} | options
    return jax.jit(lambda carry: rnnjax.beam_search(step_fn, carry, **settings))(carry)


# ---- exhaustive search ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("seed", range(2))
def test_a_beam_that_holds_everything_is_exhaustive(name, seed):
    step_fn, carry = random_model(seed)
    options, score, rules = SETTINGS[name]
    expected = enumerate_all(step_fn, carry, score, **rules)
    result = search(step_fn, carry, **options)
    rows, scores = rows_of(result)
    count = len(expected)
    np.testing.assert_allclose(scores[:count], [one[2] for one in expected], rtol=1e-4, atol=1e-5)
    assert set(rows[:count]) == {one[0] for one in expected} and (scores[count:] == -np.inf).all()
    assert rows[0] == expected[0][0]
    for row, length, finished in zip(rows, result.lengths[:count].tolist(), result.finished.tolist(), strict=False):
        assert finished == (row[-1] == EOS) and (finished or length == T)
    assert (result.lengths[count:] == 0).all() and not result.finished[count:].any()
    assert (result.tokens[count:] == PAD).all() and not np.asarray(result.log_probs)[count:].any()


@pytest.mark.parametrize("name", SETTINGS)
def test_log_probs_are_those_of_the_model(name):
    step_fn, carry = random_model(3)
    result = search(step_fn, carry, beam_size=5, **SETTINGS[name][0])
    for tokens, length, log_probs in zip(
        result.tokens.tolist(), result.lengths.tolist(), result.log_probs, strict=True
    ):
        of_model = [after_one(step_fn, carry, tokens[:t])[1][tokens[t]] for t in range(length)]
        np.testing.assert_allclose(log_probs[:length], of_model, rtol=1e-4, atol=1e-5)
        assert not np.asarray(log_probs)[length:].any() and tokens[length:] == [PAD] * (T - length)


def test_a_search_never_beats_exhaustive_search():
    for seed in range(3):
        step_fn, carry = random_model(seed)
        best = [search(step_fn, carry, beam_size=k).scores[0] for k in (1, 2, 5, V**T)]
        assert all(score <= best[-1] + 1e-5 for score in best)


@pytest.mark.parametrize("a", [0.0, 0.8])
def test_widening_never_hurts_where_tokens_are_independent(a):
    """The best prefixes of a step begin with the best prefixes of the step before, so every K finds the best."""
    logits = jax.random.normal(jax.random.key(4), (T, 5))

    def step_fn(carry, token):
        return carry + 1, logits[carry]

    found = [
        search(step_fn, jnp.zeros((), jnp.int32), beam_size=k, length_penalty=a, eos_id=None).scores for k in (1, 3, 7)
    ]
    for narrow, wide in itertools.pairwise(found):
        np.testing.assert_allclose(wide[: narrow.shape[0]], narrow, rtol=1e-5)


# ---- greedy, batches, ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_one_beam_is_greedy(seed):
    step_fn, carry = random_model(seed, vocabulary=5)
    found = search(step_fn, carry, beam_size=1, max_steps=7)
    greedy = rnnjax.greedy(
        step_fn, jax.tree.map(lambda leaf: leaf[None], carry), bos_id=BOS, eos_id=EOS, pad_id=PAD, max_steps=7
    )
    assert found.tokens.tolist() == greedy.tokens.tolist() and found.lengths.tolist() == greedy.lengths.tolist()
    np.testing.assert_allclose(found.log_probs, greedy.log_probs, rtol=1e-5, atol=1e-6)


OPTIONS = {
    "plain": {},
    "penalties": SETTINGS["all"][0],
    "groups": {"beam_size": 6, "groups": 3, "diversity": 0.5},
    "few": {"num_results": 2, "length_penalty": 0.6},
}


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


def table_model(rows):
    """A step function with these probabilities of the next token after each token, or after all of them."""
    rows = jnp.log(jnp.asarray(rows, jnp.float32))
    rows = jnp.broadcast_to(rows, (rows.shape[-1], rows.shape[-1]))
    return lambda carry, token: (carry, rows[token])


def steps_taken(options, probabilities=(0.25, 0.05, 0.7)):
    """How many steps a search runs over a table, eos the third."""
    taken, model = [], table_model(probabilities)

    def step_fn(carry, token):
        jax.debug.callback(lambda _: taken.append(1), token)
        return model(carry, token)

    settings = {"bos_id": BOS, "eos_id": EOS, "beam_size": 2, "max_steps": 50} | options
    jax.block_until_ready(rnnjax.beam_search(step_fn, jnp.zeros(()), **settings))
    jax.effects_barrier()
    return len(taken)


def test_it_stops_as_soon_as_nothing_better_can_come_and_no_sooner():
    # 0.7 after a step; 0.25 * 0.7 after two, while the best live one has 0.25 ** 2 left: two steps are enough.
    assert steps_taken({"num_results": 1}) == 1
    assert steps_taken({}) == 2
    assert steps_taken({"early_stop": False}) == 50
    assert steps_taken({"early_stop": False, "banned": jnp.arange(V)}) == 1  # none is left
    # Until 14 log 0.25 / 51 < log 0.7 the mean per token of a long one could still come to be the best.
    mean = {"length_penalty": 1.0, "length_norm": "average", "num_results": 1}
    assert steps_taken(mean | {"max_steps": 51}) == 14
    assert steps_taken({"num_results": 1}, (0.5, 0.0, 0.5)) == 1  # of equal ones that which ended first is the best
    # After two steps a group has 0.275 and goes on with 0.225, the other has 0.18 and 0.12.
    rows = np.zeros((5, 5))
    rows[BOS, [0, EOS, 3]], rows[0, [EOS, 4]], rows[3, [EOS, 4]] = (0.5, 0.2, 0.3), (0.55, 0.45), (0.6, 0.4)
    rows[4, 4] = 1.0
    assert steps_taken({"groups": 2, "diversity": 9.0}, rows) == 2


def test_finished_hypotheses_are_never_lost():
    """A short one that ended at the first step stays best, whatever many long ones come after."""
    first, later = jnp.log(jnp.array([0.3, 0.3, 0.4])), jnp.log(jnp.array([0.45, 0.45, 0.1]))

    def step_fn(carry, token):
        return carry + 1, jnp.where((carry == 0)[:, None], first[None], later[None])

    result = search(step_fn, jnp.zeros((), jnp.int32), beam_size=3, max_steps=11)
    assert result.tokens[0].tolist() == [EOS] + [PAD] * 10 and np.isclose(result.scores[0], np.log(0.4))
    assert (np.diff(result.scores) <= 0).all()


# ---- lattices ------------------------------------------------------------------------------------------------


def search_lattice(edges, **options):
    """The search over a dict of dicts of probabilities; a token without a row goes to itself."""
    size = 1 + max(to for nexts in edges.values() for to in (*edges, *nexts))
    table = np.eye(size)
    for token, nexts in edges.items():
        table[token] = [nexts.get(to, 0.0) for to in range(size)]
    return rnnjax.beam_search(table_model(table), jnp.zeros(()), max_steps=5, pad_id=PAD, **options)


def assert_finds(result, *expected):
    """Hypotheses without pads and their probabilities, best first."""
    rows, scores = rows_of(result)
    assert rows == [tokens for tokens, _ in expected]
    np.testing.assert_allclose(np.exp(scores), [probability for _, probability in expected], rtol=1e-5)


def test_the_two_best_paths_of_a_lattice():
    """s -> a 0.6, b 0.4;  a -> c 0.55, d 0.45;  b -> c 0.9, d 0.1;  c, d -> end.

    Paths: a c 0.33, b c 0.36, a d 0.27, b d 0.04. Greedy takes a, and then c.
    """
    a, b, c, d, end, start = range(6)
    edges = {start: {a: 0.6, b: 0.4}, a: {c: 0.55, d: 0.45}, b: {c: 0.9, d: 0.1}, c: {end: 1.0}, d: {end: 1.0}}
    run = functools.partial(search_lattice, edges, bos_id=start, eos_id=end)
    assert_finds(run(beam_size=2), ((b, c, end), 0.36), ((a, c, end), 0.33))
    assert_finds(run(beam_size=1), ((a, c, end), 0.33))
    assert_finds(run(beam_size=4, num_results=3), ((b, c, end), 0.36), ((a, c, end), 0.33), ((a, d, end), 0.27))


def test_an_end_takes_no_place_of_those_that_live():
    a, b, c, d, end, start = range(6)
    edges = {start: {end: 0.5, a: 0.3, b: 0.2}, a: {c: 0.5, d: 0.5}, b: {end: 1.0}}
    assert_finds(search_lattice(edges, bos_id=start, eos_id=end, beam_size=2), ((end,), 0.5), ((b, end), 0.2))


def test_what_would_end_outside_the_beam_neither_ends_nor_goes_on():
    """Of a end 0.3, a c 0.18, b end 0.14, b c 0.132 the third is dropped, though it beats what a c comes to."""
    a, b, c, d, end, start = range(6)
    edges = {start: {a: 0.6, b: 0.4}, a: {end: 0.5, c: 0.3, d: 0.2}, b: {end: 0.35, c: 0.33, d: 0.32}}
    edges[c] = {end: 0.6, d: 0.4}
    found = search_lattice(edges, bos_id=start, eos_id=end, beam_size=2)
    assert_finds(found, ((a, end), 0.3), ((a, c, end), 0.108))


def test_of_equal_ones_the_first_to_end_is_first():
    a, end, start = range(3)
    for nexts in ({end: 1.0}, {a: 1.0}):  # which ends later, or is cut
        result = search_lattice({start: {a: 0.5, end: 0.5}, a: nexts}, bos_id=start, eos_id=end, beam_size=2)
        assert result.scores[0] == result.scores[1] and result.lengths[0] == 1


def test_a_group_is_pushed_by_what_lives_alone():
    """The first group's a ends, so that at the same step nothing of it lives."""
    a, b, c, end, start = range(5)
    edges = {start: {a: 0.6, b: 0.4}, a: {end: 1.0}, b: {end: 0.6, c: 0.4}}
    found = search_lattice(edges, bos_id=start, eos_id=end, beam_size=2, groups=2, diversity=1.0)
    assert_finds(found, ((a, end), 0.6), ((b, end), 0.24))


def test_no_group_stops_another():
    """The first group has nothing better to come after a end, the second has b c end after b end 0.16."""
    a, b, c, end, start = range(5)
    edges = {start: {a: 0.6, b: 0.4}, a: {end: 0.9, c: 0.1}, b: {end: 0.4, c: 0.6}, c: {end: 1.0}}
    found = search_lattice(edges, bos_id=start, eos_id=end, beam_size=2, groups=2, diversity=9.0)
    assert_finds(found, ((a, end), 0.54), ((b, c, end), 0.24))


def test_a_group_stops_by_its_most_probable_not_by_its_first():
    """In the second group d f 0.03, after c end 0.06 and d end 0.07, lives before c e 0.14, whose e the first has."""
    a, b, c, d, e, f, end, start = range(8)
    edges = {start: {a: 0.4, b: 0.3, c: 0.2, d: 0.1}, a: {end: 0.6, e: 0.4}, b: {end: 0.6, e: 0.4}, e: {end: 1.0}}
    edges |= {c: {end: 0.3, e: 0.7}, d: {end: 0.7, f: 0.3}}
    found = search_lattice(edges, bos_id=start, eos_id=end, beam_size=4, groups=2, diversity=9.0)
    assert_finds(found, ((a, end), 0.24), ((b, end), 0.18), ((c, e, end), 0.14), ((d, end), 0.07))


# ---- records, groups, ensembles, structure -------------------------------------------------------------------


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


def diverse_twin(step_fn, carry, groups, size, diversity, steps):
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
            ended[g] += [one[1:] for one in candidates[:size] if one[2][-1] == EOS]
            live[g] = [(tokens, total) for _, total, tokens in candidates if tokens[-1] != EOS][:size]
            taken += [tokens[-1] for tokens, _ in live[g]]
    for g in range(groups):
        ended[g] += [(total, tokens) for tokens, total in live[g]]
        ended[g] = sorted(ended[g], key=lambda one: -one[0])[:size]
    return sorted(itertools.chain(*ended), key=lambda one: -one[0])


@pytest.mark.parametrize("groups,size,diversity", [(1, 3, 0.0), (3, 1, 0.7), (2, 2, 0.3), (3, 2, 5.0)])
def test_groups_against_their_twin(groups, size, diversity):
    for seed in range(3):
        step_fn, carry = random_model(seed, vocabulary=5)
        result = search(step_fn, carry, beam_size=groups * size, groups=groups, diversity=diversity, max_steps=5)
        expected = diverse_twin(step_fn, carry, groups, size, diversity, 5)
        assert sorted(rows_of(result)[0]) == sorted(tokens for _, tokens in expected)
        np.testing.assert_allclose(result.scores, [score for score, _ in expected], rtol=1e-4)


def test_diverse_groups_begin_differently():
    step_fn, carry = random_model(8, vocabulary=5)
    plain, diverse = (
        search(step_fn, carry, beam_size=4, groups=4, diversity=d, max_steps=3, eos_id=None) for d in (0.0, 50.0)
    )
    assert len(set(plain.tokens[:, 0].tolist())) == 1 and len(set(diverse.tokens[:, 0].tolist())) == 4


@pytest.mark.parametrize("average", ["log", "prob"])
def test_ensembles_search_the_averaged_distribution(average):
    models, carries = zip(*(random_model(seed) for seed in (1, 2)), strict=True)
    step_fn = rnnjax.decoding.ensemble(models, weights=(3, 1), average=average)

    def twin(carry, token):
        outs = [model(c, token) for model, c in zip(models, carry, strict=True)]
        probs = [jax.nn.softmax(logits) for _, logits in outs]
        mixed = probs[0] ** 0.75 * probs[1] ** 0.25 if average == "log" else 0.75 * probs[0] + 0.25 * probs[1]
        return tuple(after for after, _ in outs), jnp.log(mixed)

    results = [search(f, carries) for f in (step_fn, twin)]
    np.testing.assert_allclose(results[0].scores, results[1].scores, rtol=1e-4)
    assert results[0].tokens[:7].tolist() == results[1].tokens[:7].tolist()


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


@pytest.mark.parametrize("shape,count", [((3, 7), 7), ((5, 641), 2), ((2, 1283), 5), ((3, 4099), 9), ((1, 64 * 8), 2)])
def test_largest_is_top_k_to_the_letter(shape, count):
    for seed, levels in ((0, 10**6), (1, 3), (2, 40)):  # many ties
        values = jnp.floor(levels * jax.random.uniform(jax.random.key(seed), shape))
        values = values.at[0, : shape[1] // 2].set(-jnp.inf)
        for mine, theirs in zip(largest(values, count), jax.lax.top_k(values, count), strict=True):
            assert (mine == theirs).all()


def test_of_equal_values_the_first_is_the_first_of_the_largest():
    """Though a later block holds the largest value of all."""
    values = jnp.zeros((1, 1283)).at[0, jnp.array([71, 197, 201])].set(jnp.array([1.0, 2.0, 1.0]))
    assert largest(values, 3)[1].tolist() == [[197, 71, 201]]


@pytest.mark.parametrize("width", [1, 5, 8, 17, 1009])
def test_log_sum_exp_is_that_of_jax(width):
    scales = jnp.array([1.0, 1, 1, 40, 40, 0.1, 0])[:, None]  # to overflow, and for every value to count
    values = scales * jax.random.normal(jax.random.key(width), (7, width))
    values = values.at[0].set(-jnp.inf).at[1, 0].set(jnp.inf).at[2, 0].set(jnp.nan).at[3, : width // 2].set(-jnp.inf)
    peak = jnp.max(values, axis=-1, keepdims=True)
    np.testing.assert_allclose(
        log_sum_exp(values, peak), jax.nn.logsumexp(values, axis=-1, keepdims=True), rtol=1e-6, atol=1e-5
    )


# ---- edges and bad input -------------------------------------------------------------------------------------


def test_one_step():
    step_fn, carry = random_model(1)
    result = search(step_fn, carry, beam_size=2, max_steps=1)
    log_probs = after_one(step_fn, carry, ())[1]
    assert result.tokens[:, 0].tolist() == np.argsort(-log_probs)[:2].tolist()


def test_more_beams_than_hypotheses():
    result = search(*random_model(1), beam_size=11, max_steps=1)
    assert (result.scores[:3] > -jnp.inf).all() and (result.scores[3:] == -jnp.inf).all()
    assert result.lengths.tolist() == [1] * 3 + [0] * 8


def test_a_vocabulary_of_one():

    def step_fn(carry, token):
        return carry, jnp.zeros((token.shape[0], 1))

    result = rnnjax.beam_search(step_fn, jnp.zeros(2), bos_id=0, eos_id=None, beam_size=3, max_steps=2)
    assert result.tokens[0].tolist() == [0, 0] and result.scores.tolist() == [0.0, -math.inf, -math.inf]


def test_everything_banned_gives_nothing():
    result = search(*random_model(1), beam_size=3, banned=jnp.arange(V))
    assert (result.scores == -jnp.inf).all() and (result.tokens == PAD).all() and not result.finished.any()


def test_half_precision_logits_are_scored_in_float32():
    step_fn, carry = random_model(2)

    def half(carry, token):
        after, logits = step_fn(carry, token)
        return after, logits.astype(jnp.bfloat16)

    result = search(half, carry, beam_size=3)
    assert result.scores.dtype == result.log_probs.dtype == jnp.float32
    total = functools.reduce(lambda a, b: a + b, result.log_probs[0].tolist())
    assert np.isclose(total, result.scores[0], rtol=1e-6)


def test_options_that_forbid_nothing_change_nothing():
    step_fn, carry = random_model(1)
    options = {"prefix": jnp.zeros(0, jnp.int32), "banned": jnp.zeros(0, jnp.int32), "no_repeat_ngram": T + 3}
    assert (search(step_fn, carry).scores == search(step_fn, carry, **options).scores).all()


def test_a_prefix_of_all_tokens():
    result = search(*random_model(1), beam_size=3, prefix=jnp.array([1, 0, 0, 1]))
    assert result.tokens[0].tolist() == [1, 0, 0, 1] and result.lengths.tolist() == [4, 0, 0]


def test_a_banned_token_that_is_nearly_certain():
    """Its exponential overflows beside the largest of the others."""
    logits = jnp.array([[0.0, 1.0, 200.0]])
    result = search(lambda carry, token: (carry, jnp.repeat(logits, 3, 0)), jnp.zeros(()), beam_size=3, banned=[EOS])
    np.testing.assert_allclose(result.scores[0], -199.0 * T, rtol=1e-6)


BAD = {
    "beam_size to be a positive int": {"beam_size": 0},
    "max_steps to be a positive int, got 0": {"max_steps": 0},
    "groups to divide": {"beam_size": 5, "groups": 2},
    "num_results of at most": {"beam_size": 2, "num_results": 3},
    "eos_id from 0 to 2": {"eos_id": 3},
    "banned from 0 to 2": {"banned": jnp.array([0, 7])},
    "prefix from 0 to 2": {"prefix": jnp.array([-1])},
    "prefix of at most 4": {"prefix": jnp.zeros(5, jnp.int32)},
    "coverage beside coverage_penalty": {"coverage_penalty": 0.1},
    "of at least 0, got length_penalty=-1.0": {"length_penalty": -1.0},
    "of at least 0, got .* coverage_penalty=-0.1": {"coverage_penalty": -0.1, "coverage": lambda carry: carry["cover"]},
    "of at least 0, got .* diversity=-0.5": {"diversity": -0.5},
    "of at least 0, got .* min_length=-2": {"min_length": -2},
    "of at least 0, got .* no_repeat_ngram=-1": {"no_repeat_ngram": -1},
    "length_norm of gnmt, average": {"length_norm": "sum"},
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments(message):
    with pytest.raises(ValueError, match=message):
        search(*random_model(0), **BAD[message])
    with pytest.raises(TypeError, match="banned to be integers"):
        search(*random_model(0), banned=jnp.array([0.5]))


def test_bad_step_functions():
    step_fn, carry = random_model(0)
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
    with pytest.raises(ValueError, match="at least one step function"):
        rnnjax.decoding.ensemble([])
    with pytest.raises(ValueError, match="2 positive weights"):
        rnnjax.decoding.ensemble([step_fn, step_fn], weights=[1.0])
    with pytest.raises(ValueError, match="'log' or 'prob'"):
        rnnjax.decoding.ensemble([step_fn], average="mean")
