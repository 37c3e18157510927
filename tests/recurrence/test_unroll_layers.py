"""Layers over time: cells, pairs for both directions, dropout between them, and how often a call is checked."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    LOOPS,
    assert_close,
    assert_same,
    echo,
    equations,
    noisy,
    normal,
    random_draws,
    random_params,
    values_and_gradients,
)

import rnnjax
from rnnjax import Bidirectional, Layers

T, B, F, H = 7, 2, 3, 5
LSTM, GRU = rnnjax.lstm(F, H), rnnjax.gru(F, H)
BOTH = Bidirectional(random_params(LSTM), random_params(GRU, seed=3))
XS = normal(1, T, B, F)
START = Bidirectional(noisy(LSTM.initial_carry((B,)), seed=2), rnnjax.GRUCarry(normal(5, B, H)))
CELLS = [rnnjax.lstm(F, H), rnnjax.gru(H, 11), rnnjax.rnn(11, 2)]
LAYERS = random_params(rnnjax.stack(CELLS), seed=4)
FLAGS = {"lengths": jnp.array([4, 7]), "resets": jnp.asarray(np.random.default_rng(0).random((T, B)) < 0.4)}


def swap(leaf):
    return jnp.swapaxes(leaf, 0, 1)


def row(tree, b):
    return jax.tree.map(lambda leaf: leaf[b], tree)


def read_both(xs, carry=None, **options):
    """One pair over xs: its carries and outputs."""
    carry = None if carry is None else Layers((carry,))
    carries, ys = rnnjax.unroll_layers([(LSTM, GRU)], Layers((BOTH,)), xs, carry, **options)
    return carries.layers[0], ys


def read_both_alone(xs, carry=None):
    """Two slow runs over one sequence, the second from its end: carries and concatenated ys."""
    carry = Bidirectional(None, None) if carry is None else carry
    forward, ys_forward = rnnjax.recurrence.unroll_reference(LSTM, BOTH.forward, xs, carry.forward)
    backward, ys_backward = rnnjax.recurrence.unroll_reference(GRU, BOTH.backward, xs[::-1], carry.backward)
    return Bidirectional(forward, backward), jnp.concatenate([ys_forward, ys_backward[::-1]], -1)


# ---- errors at the door --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dropout", [1.0, -0.1, 7])
def test_rates_that_are_no_probabilities_are_refused(dropout):
    with pytest.raises(ValueError, match=rf"unroll_layers: expected dropout .*\[0, 1\), got {dropout}"):
        rnnjax.unroll_layers(CELLS, LAYERS, XS, dropout=dropout)


PAIRED = Layers((BOTH,))
BAD_LAYERS = {
    "no_layer": (([], Layers(())), ValueError, "at least one layer, got none"),
    "a_cell": ((LSTM, Layers((BOTH.forward,))), ValueError, "cells or pairs of cells, got a Cell; put it in a list"),
    "three_cells": (([(LSTM, GRU, GRU)], PAIRED), ValueError, "cells or pairs of cells, got tuple"),
    "layers_that_do_not_fit": (([GRU, GRU], LAYERS), ValueError, "layer 1 to take the 5 features .*, got input_size 3"),
    "a_pair_below_that_does_not_fit": (
        ([(LSTM, GRU), rnnjax.gru(5, 5)], LAYERS),
        ValueError,
        "layer 1 to take the 10 features .*, got input_size 5; outputs of a pair are concatenated",
    ),
    "params_too_many": ((CELLS[:2], LAYERS), ValueError, r"params of as many layers .*, 2, got 3; make them with enc"),
    "carry_too_short": ((CELLS, LAYERS, Layers((None,))), ValueError, "carry of as many layers .*, 3, got 1; pass on"),
    "params_of_a_tuple": ((CELLS, LAYERS.layers), TypeError, "params to be Layers, got tuple"),
    "carry_of_one_cell": ((CELLS, LAYERS, START.forward), TypeError, "carry to be Layers, got LSTMCarry"),
    "params_of_one_cell": (
        ([(LSTM, GRU)], Layers((BOTH.forward,))),
        TypeError,
        r"params\.layers\[0\], of a pair, to be Bidirectional\(forward, backward\), got LSTMParams",
    ),
    "carry_of_one_direction": (
        ([(LSTM, GRU)], PAIRED, Layers((START.forward,))),
        TypeError,
        r"carry\.layers\[0\], of a pair, to be Bidirectional.*got LSTMCarry",
    ),
    "carries_exchanged": (
        ([(LSTM, GRU)], PAIRED, Layers((Bidirectional(*START[::-1]),))),
        ValueError,
        r"carry\.layers\[0\]\.forward of structure .*LSTMCarry.*got .*GRUCarry",
    ),
}


@pytest.mark.parametrize("name", BAD_LAYERS)
def test_layers_that_do_not_match_are_refused(name):
    (layers, params, *carry), error, message = BAD_LAYERS[name]
    with pytest.raises(error, match=f"unroll_layers: expected .*{message}"):
        rnnjax.unroll_layers(layers, params, XS, *carry)


def test_a_reversed_pair_is_refused():
    with pytest.raises(ValueError, match="expected layers of one cell beside reverse=True, got a pair"):
        read_both(XS, reverse=True)


def test_merge_is_checked():
    with pytest.raises(TypeError, match=r"expected merge to be a function of two arrays, such as jnp.add, got 'sum'"):
        read_both(XS, merge="sum")
    for merge, got in ((lambda a, b: a[1:], r"\(6, 2, 5\)"), (lambda a, b: (a, b), "tuple")):
        with pytest.raises(ValueError, match=rf"expected merge to return an array .*\(7, 2\), got {got}"):
            read_both(XS, merge=merge)


# ---- both directions -----------------------------------------------------------------------------------------

MERGES = {
    "concatenated": (None, lambda a, b: np.concatenate([a, b], -1)),
    "sum": (jnp.add, lambda a, b: a + b),
    "mean": (lambda a, b: (a + b) / 2, lambda a, b: (a + b) / 2),
    "product": (jnp.multiply, lambda a, b: a * b),
}


@pytest.mark.parametrize("name", MERGES)
def test_a_pair_merges_two_runs(name):
    merge, expected_merge = MERGES[name]
    carries, ys = read_both(XS, START, **({} if merge is None else {"merge": merge}))
    expected_carries, expected = read_both_alone(XS, START)
    assert_close(carries, expected_carries)
    assert_close(ys, expected_merge(*np.split(np.asarray(expected), 2, -1)))


@pytest.mark.parametrize("missing", ["forward", "backward"])
def test_one_direction_may_start_from_its_initial_carry(missing):
    carry = START._replace(**{missing: None})
    assert_close(read_both(XS, carry), read_both_alone(XS, carry))


@pytest.mark.slow
def test_rows_of_a_pair_equal_the_unpadded_rows():
    lengths = np.array([0, 1, 4, 7, 6])
    xs = normal(6, T, 5, F)
    padded = jnp.where(np.arange(T)[:, None, None] < lengths[:, None], xs, jnp.nan)
    carries, ys = read_both(padded, lengths=lengths)
    for b, length in enumerate(lengths):
        assert_close((row(carries, b), ys[:length, b]), read_both_alone(xs[:length, b]))
        assert not ys[length:, b].any()


PACKED = {"whole": [(0, 3), (3, 4), (4, 7)], "padded": [(0, 2), (2, 5)], "with_a_gap": [(0, 2), (4, 7)]}


@pytest.mark.slow
@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize("packing", PACKED)
def test_a_pair_runs_packed_sequences_apart(packing, time_major):
    """Resets mark where a sequence begins; there is padding between and after the sequences."""
    segments = {0: PACKED[packing], 1: [(0, 7)]}
    mask, resets = np.zeros((T, B), bool), np.zeros((T, B), bool)
    for b, row_segments in segments.items():
        for start, stop in row_segments:
            mask[start:stop, b], resets[start, b] = True, True
    xs = jnp.where(mask[..., None], XS, jnp.nan)
    if time_major:
        _, ys = read_both(xs, mask=jnp.asarray(mask), resets=jnp.asarray(resets))
    else:
        _, ys = read_both(swap(xs), mask=jnp.asarray(mask.T), resets=jnp.asarray(resets.T), time_major=False)
        ys = swap(ys)
    for b, row_segments in segments.items():
        for start, stop in row_segments:
            assert_close(ys[start:stop, b], read_both_alone(XS[start:stop, b])[1])


@pytest.mark.parametrize("time_major", [True, False])
def test_resets_of_all_rows_cut_a_pair_too(time_major):
    resets = jnp.zeros(T, bool).at[3].set(True)
    _, ys = read_both(XS if time_major else swap(XS), resets=resets, time_major=time_major)
    ys = ys if time_major else swap(ys)
    for b in range(B):
        for part in (slice(None, 3), slice(3, None)):
            assert_close(ys[part, b], read_both_alone(XS[part, b])[1])


def test_resets_of_a_pair_without_masks():
    resets = jnp.zeros((T, B), bool).at[3, 0].set(True).at[5, 1].set(True).at[0, 1].set(True)
    _, ys = read_both(XS, resets=resets)
    for b, cut in ((0, 3), (1, 5)):
        assert_close(ys[:cut, b], read_both_alone(XS[:cut, b])[1])
        assert_close(ys[cut:, b], read_both_alone(XS[cut:, b])[1])


# ---- layers --------------------------------------------------------------------------------------------------

MIXED = [(LSTM, GRU), rnnjax.gru(2 * H, 11), (rnnjax.rnn(11, 2), rnnjax.lstm(11, 2))]
MIXED_PARAMS = random_params(rnnjax.encoder(MIXED), seed=6)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"reverse": True, "remat": "sqrt"}], ids=["forward", "reverse"])
def test_unroll_layers_is_unroll_of_the_stack(options):
    carry = noisy(rnnjax.stack(CELLS).initial_carry((B,)), seed=5)

    def layered(params, xs, carry):
        return rnnjax.unroll_layers(CELLS, params, xs, carry, **FLAGS, **options)

    def stacked(params, xs, carry):
        return rnnjax.unroll(rnnjax.stack(CELLS), params, xs, carry, **FLAGS, reverse=options.get("reverse", False))

    args = (LAYERS, XS, carry)
    assert_close(values_and_gradients(layered, *args), values_and_gradients(stacked, *args))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"remat": 2}, {"chunk": 3}, {"remat": "step"}], ids=str)
def test_layers_of_pairs_and_cells_are_slow_runs_one_after_the_other(options):
    """Values and gradients; resets of the backward runs are those of the flipped sequences."""
    mask = np.arange(T)[:, None] < np.asarray(FLAGS["lengths"])
    resets = np.asarray(FLAGS["resets"]) & mask
    ends = np.zeros_like(resets)
    ends[:-1] = resets[1:]  # the padding is at the end, so that the next real step is the next step

    def one(cell, params, xs, carry, **options):
        return rnnjax.recurrence.unroll_reference(cell, params, xs, carry, mask=jnp.asarray(mask), **options)

    def by_hand(params, xs, carry):
        carries = []
        for layer, entry, before in zip(MIXED, params.layers, carry.layers, strict=True):
            if isinstance(layer, rnnjax.Cell):
                after, xs = one(layer, entry, xs, before, resets=jnp.asarray(resets))
            else:
                forward, ys = one(layer[0], entry.forward, xs, before.forward, resets=jnp.asarray(resets))
                backward, back = one(
                    layer[1], entry.backward, xs, before.backward, resets=jnp.asarray(ends), reverse=True
                )
                after, xs = Bidirectional(forward, backward), jnp.concatenate([ys, back], -1)
            carries.append(after)
        return Layers(tuple(carries)), xs

    def layered(params, xs, carry):
        return rnnjax.unroll_layers(MIXED, params, xs, carry, **FLAGS, **options)

    start = noisy(rnnjax.unroll_layers(MIXED, MIXED_PARAMS, XS[:0])[0], seed=7)
    args = MIXED_PARAMS, XS, start
    assert_close(values_and_gradients(layered, *args), values_and_gradients(by_hand, *args), rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("layers", "params"), [(CELLS, LAYERS), (MIXED, MIXED_PARAMS)], ids=["cells", "pairs"])
def test_batch_first_is_time_first_transposed(layers, params):
    """Dropout included: its masks are drawn for the steps."""
    options = {"lengths": FLAGS["lengths"], "key": jax.random.key(0), "dropout": 0.3}
    carries, ys = rnnjax.unroll_layers(layers, params, XS, **options, resets=FLAGS["resets"])
    got = rnnjax.unroll_layers(layers, params, swap(XS), **options, resets=FLAGS["resets"].T, time_major=False)
    assert_close(got, (carries, swap(ys)))


@pytest.mark.parametrize("name", ["unroll_layers", "encoder"])
def test_a_call_is_checked_and_transposed_once(name):
    """Whatever the number of layers and directions: inputs and outputs are transposed, and lengths become one mask."""
    run = rnnjax.encoder(MIXED).apply if name == "encoder" else lambda *a, **o: rnnjax.unroll_layers(MIXED, *a, **o)

    def program(params, xs, lengths, resets):
        return run(params, xs, lengths=lengths, resets=resets, time_major=False)

    jaxpr = jax.make_jaxpr(program)(MIXED_PARAMS, swap(XS), FLAGS["lengths"], FLAGS["resets"].T)
    loops = [e for e in equations(jaxpr) if e.primitive.name in LOOPS]
    inside = [e for loop in loops for e in equations(loop.params["jaxpr"])]
    names = [e.primitive.name for e in equations(jaxpr) if not any(e is other for other in inside)]
    assert len(loops) == 5 + 1  # a run of each cell, and where sequences end
    assert names.count("transpose") == 3  # xs, resets and ys
    assert names.count("lt") == 1


@pytest.mark.slow
def test_eager_calls_of_layers_are_traced_once_and_forgotten():
    traces = []

    def counted(cell):
        def apply(params, carry, x):
            traces.append(1)
            return cell.apply(params, carry, x)

        return cell._replace(apply=apply)

    layers = [(counted(LSTM), counted(GRU)), counted(rnnjax.gru(2 * H, 11))]
    params, options = Layers(MIXED_PARAMS.layers[:2]), {"time_major": False, **FLAGS, "resets": FLAGS["resets"].T}
    first = rnnjax.unroll_layers(layers, params, swap(XS), **options)
    once = len(traces)
    for _ in range(3):
        assert_same(rnnjax.unroll_layers(layers, params, swap(XS), **options), first)
    assert len(traces) == once
    apply = weakref.ref(layers[1].apply)
    del layers
    gc.collect()
    assert apply() is None


# ---- dropout between layers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_dropout_lies_between_layers_only(layers):
    xs, rate = normal(0, 31, 7, 37), 0.25
    cells, params = [echo(37)] * layers, Layers(((),) * layers)
    carries, ys = rnnjax.unroll_layers(cells, params, xs, key=jax.random.key(0), dropout=rate)
    factor = np.asarray(ys / xs)
    scales = np.array([0.0, (1 - rate) ** (1 - layers)])
    assert abs(factor[..., None] - scales).min(-1).max() < 1e-5
    keeps = (1 - rate) ** (layers - 1)  # the masks of two gaps are independent
    assert abs((factor != 0).mean() - keeps) < 5 * np.sqrt(keeps * (1 - keeps) / factor.size) + 1e-9
    assert_close(carries.layers[0].h, xs[-1])
    if layers > 1:
        assert (factor[0] != factor[1]).any(), "a fresh mask for every step"


def test_dropout_between_layers_needs_a_key():
    plain = rnnjax.unroll_layers(CELLS, LAYERS, XS)
    assert_close(rnnjax.unroll_layers(CELLS, LAYERS, XS, dropout=0.5), plain, rtol=0, atol=0)
    assert_close(rnnjax.unroll_layers(CELLS, LAYERS, XS, key=jax.random.key(0)), plain, rtol=0, atol=0)


def test_dropout_between_layers_is_drawn_outside_the_loops():
    def run(key):
        return rnnjax.unroll_layers(CELLS, LAYERS, XS, key=key, dropout=0.5)[1]

    jaxpr = jax.make_jaxpr(run)(jax.random.key(0))
    scans = [e for e in equations(jaxpr) if e.primitive.name in LOOPS]
    assert len(scans) >= len(CELLS) and random_draws(jaxpr) >= len(CELLS) - 1
    assert sum(random_draws(scan.params["jaxpr"]) for scan in scans) == 0
