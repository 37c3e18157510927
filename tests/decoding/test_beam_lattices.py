"""Beam search on lattices drawn by hand: what is found, and when the search stops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_helpers import BOS, EOS, PAD, V, sequences_of, table_model

import rnnjax
from rnnjax.decoding import Score, average_length, ban_tokens, length_normalised

pytestmark = pytest.mark.usefixtures("quick_compilation")


# ---- when it stops --------------------------------------------------------------------------------------------


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


@pytest.mark.slow
def test_it_stops_as_soon_as_nothing_better_can_come_and_no_sooner():
    # 0.7 after a step; 0.25 * 0.7 after two, while the best live one has 0.25 ** 2 left: two steps are enough.
    assert steps_taken({"num_results": 1}) == 1
    assert steps_taken({}) == 2
    assert steps_taken({"early_stop": False}) == 50
    assert steps_taken({"early_stop": False, "constraints": [ban_tokens(np.arange(V))]}) == 1  # none is left
    # Until 14 log 0.25 / 51 < log 0.7 the mean per token of a long one could still come to be the best.
    mean = {"score": length_normalised(1.0, norm=average_length), "num_results": 1}
    assert steps_taken(mean | {"max_steps": 51}) == 14
    assert steps_taken({"num_results": 1}, (0.5, 0.0, 0.5)) == 1  # of equal ones that which ended first is the best
    # With a reward of 1 per token, log 0.7 + 1 is reached as long as t log 0.25 + 11 is more.
    assert (
        steps_taken({"score": Score(lambda log_prob, length: log_prob + length), "num_results": 1, "max_steps": 11})
        == 8
    )
    # After two steps a group has 0.275 and goes on with 0.225, the other has 0.18 and 0.12.
    rows = np.zeros((5, 5))
    rows[BOS, [0, EOS, 3]], rows[0, [EOS, 4]], rows[3, [EOS, 4]] = (0.5, 0.2, 0.3), (0.55, 0.45), (0.6, 0.4)
    rows[4, 4] = 1.0
    assert steps_taken({"groups": 2, "diversity": 9.0}, rows) == 2


# ---- lattices -------------------------------------------------------------------------------------------------


def search_lattice(edges, **options):
    """The search over a dict of dicts of probabilities; a token without a row goes to itself."""
    size = 1 + max(to for nexts in edges.values() for to in (*edges, *nexts))
    table = np.eye(size)
    for token, nexts in edges.items():
        table[token] = [nexts.get(to, 0.0) for to in range(size)]
    return rnnjax.beam_search(table_model(table), jnp.zeros(()), max_steps=5, pad_id=PAD, **options)


def assert_finds(result, *expected):
    """Hypotheses without pads and their probabilities, best first."""
    assert sequences_of(result) == [tokens for tokens, _ in expected]
    np.testing.assert_allclose(np.exp(result.scores), [probability for _, probability in expected], rtol=1e-5)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_group_stops_by_its_most_probable_not_by_its_first():
    """In the second group d f 0.03, after c end 0.06 and d end 0.07, lives before c e 0.14, whose e the first has."""
    a, b, c, d, e, f, end, start = range(8)
    edges = {start: {a: 0.4, b: 0.3, c: 0.2, d: 0.1}, a: {end: 0.6, e: 0.4}, b: {end: 0.6, e: 0.4}, e: {end: 1.0}}
    edges |= {c: {end: 0.3, e: 0.7}, d: {end: 0.7, f: 0.3}}
    found = search_lattice(edges, bos_id=start, eos_id=end, beam_size=4, groups=2, diversity=9.0)
    assert_finds(found, ((a, end), 0.24), ((b, end), 0.18), ((c, e, end), 0.14), ((d, end), 0.07))
