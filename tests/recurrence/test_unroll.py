"""unroll and its kin: errors at the door, masks with holes, directions, layers, memory modes and program size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    LOOPS,
    assert_close,
    echo,
    equations,
    noisy,
    normal,
    random_draws,
    random_params,
    values_and_gradients,
    weighted_sum,
)

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, F, H = 7, 2, 3, 5
LSTM = rnnjax.lstm(F, H)
PARAMS = random_params(LSTM)
XS = normal(1, T, B, F)
CARRY = noisy(LSTM.initial_carry((B,)), seed=2)


def swap(leaf):
    return jnp.swapaxes(leaf, 0, 1)


def swap_all(tree):
    return jax.tree.map(swap, tree)


def row(tree, b):
    return jax.tree.map(lambda leaf: leaf[b], tree)


# ---- errors at the door --------------------------------------------------------------------------------------

UNROLL_ERRORS = {
    "xs_without_time": ({"xs": normal(0, F)}, ValueError, r"xs of shape \[T, \.\.\., F\], got \(3,\)"),
    "xs_without_batch": (
        {"xs": normal(0, T, F), "time_major": False},
        ValueError,
        r"xs of shape \[B, T, \.\.\., F\], got \(7, 3\)",
    ),
    "xs_empty": ({"xs": ()}, ValueError, r"xs of shape .*got no array"),
    "xs_of_two_lengths": (
        {"xs": (XS, normal(0, T + 4, B, F))},
        ValueError,
        r"every leaf of xs to have 7 steps, got shape \(11, 2, 3\)",
    ),
    "lengths_of_floats": ({"lengths": jnp.array([2.0, 3.0])}, TypeError, "lengths of an integer dtype.*got float32"),
    "lengths_of_booleans": ({"lengths": jnp.array([True, False])}, TypeError, "lengths of an integer.*got bool"),
    "lengths_of_another_batch": (
        {"lengths": jnp.array([2, 3, 5])},
        ValueError,
        r"lengths of shape \(2,\), got \(3,\)",
    ),
    "lengths_of_too_many_axes": (
        {"lengths": jnp.array([[2, 3]])},
        ValueError,
        r"lengths of shape \(2,\), got \(1, 2\)",
    ),
    "lengths_beyond_the_end": (
        {"lengths": jnp.array([2, 8])},
        ValueError,
        "lengths between 0 and T = 7, got 2 to 8",
    ),
    "lengths_negative": ({"lengths": [-1, 5]}, ValueError, "lengths between 0 and T = 7, got -1 to 5"),
    "lengths_and_mask": (
        {"lengths": jnp.array([2, 3]), "mask": jnp.ones((T, B), bool)},
        ValueError,
        "lengths or mask, got both",
    ),
    "mask_of_floats": ({"mask": jnp.ones((T, B))}, TypeError, "mask of dtype bool, got float32"),
    "mask_of_another_batch": (
        {"mask": jnp.ones((T, B + 1), bool)},
        ValueError,
        r"mask with the leading axes of xs, \(7, 2\) or fewer, got shape \(7, 3\)",
    ),
    "mask_with_batch_first": (
        {"mask": jnp.ones((B, T), bool)},
        ValueError,
        r"mask with.*\(7, 2\) or fewer, got shape \(2, 7\)",
    ),
    "resets_of_integers": ({"resets": jnp.ones((T, B), jnp.int32)}, TypeError, "resets of dtype bool, got int32"),
    "resets_too_short": (
        {"resets": jnp.ones((T - 1, B), bool)},
        ValueError,
        r"resets with the leading axes of xs, \(7, 2\) or fewer, got shape \(6, 2\)",
    ),
    "resets_without_axes": ({"resets": jnp.bool_(True)}, ValueError, r"resets with.*got shape \(\)"),
    "carry_of_another_cell": (
        {"carry": rnnjax.GRUCarry(jnp.zeros((B, H)))},
        ValueError,
        r"carry of structure .*LSTMCarry.*got .*GRUCarry.*initial_carry",
    ),
    "carry_of_another_batch": (
        {"carry": LSTM.initial_carry((B + 1,))},
        ValueError,
        r"carry\.h of shape \(2, 5\), got \(3, 5\)",
    ),
    "carry_of_another_cell_state": (
        {"carry": rnnjax.LSTMCarry(jnp.zeros((B, H)), jnp.zeros((B, H + 2)))},
        ValueError,
        r"carry\.c of shape \(2, 5\), got \(2, 7\)",
    ),
    "x_of_integers": ({"xs": jnp.ones((T, B, F), jnp.int32)}, TypeError, "x of a floating dtype, got int32"),
}
SCAN_ERRORS = {
    "remat_unknown": ({"remat": "steps"}, ValueError, "remat to be None, 'step', 'sqrt' or an int.*got 'steps'"),
    "remat_of_a_fraction": ({"remat": 1.5}, ValueError, r"remat to be.*got 1\.5"),
    "remat_of_zero": ({"remat": 0}, ValueError, "remat to be a positive int of steps, got 0"),
    "remat_true": ({"remat": True}, ValueError, "remat to be a positive int of steps, got True"),
    "chunk_of_zero": ({"chunk": 0}, ValueError, "chunk to be a positive int of steps, got 0"),
    "chunk_negative": ({"chunk": -2}, ValueError, "chunk to be a positive int of steps, got -2"),
    "chunk_of_a_fraction": ({"chunk": 2.5}, ValueError, r"chunk to be a positive int of steps, got 2\.5"),
    "method_unknown": ({"method": "fused"}, ValueError, "method to be one of auto, scan, got 'fused'"),
}


def call(run, options):
    options = dict(options)
    return run(LSTM, PARAMS, options.pop("xs", XS), options.pop("carry", None), **options)


@pytest.mark.parametrize("name", UNROLL_ERRORS)
@pytest.mark.parametrize("where", ["unroll", "unroll_reference", "tbptt"])
def test_bad_argument_is_refused(where, name):
    options, error, message = UNROLL_ERRORS[name]
    run = {
        "unroll": rnnjax.unroll,
        "unroll_reference": rnnjax.recurrence.unroll_reference,
        "tbptt": functools.partial(rnnjax.tbptt, steps=2),
    }[where]
    origin = "lstm_cell" if name == "x_of_integers" else where
    with pytest.raises(error, match=f"^{origin}: expected .*{message}"):
        call(run, options)


@pytest.mark.parametrize("name", SCAN_ERRORS)
def test_bad_option_is_refused(name):
    options, error, message = SCAN_ERRORS[name]
    with pytest.raises(error, match=f"unroll: expected {message}"):
        call(rnnjax.unroll, options)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True])
def test_tbptt_refuses_bad_steps(steps):
    with pytest.raises(ValueError, match=f"tbptt: expected steps to be a positive int of steps, got {steps}"):
        rnnjax.tbptt(LSTM, PARAMS, XS, steps=steps)


def test_bidirectional_refuses_an_unknown_merge():
    params = rnnjax.Bidirectional(PARAMS, PARAMS)
    with pytest.raises(ValueError, match=r"bidirectional: expected merge to be one of concat, .*got 'max'"):
        rnnjax.bidirectional(LSTM, LSTM, params, XS, merge="max")


@pytest.mark.parametrize("dropout", [1.0, -0.1, 7])
def test_unroll_layers_refuses_rates_that_are_no_probabilities(dropout):
    with pytest.raises(ValueError, match=rf"unroll_layers: expected dropout .*\[0, 1\), got {dropout}"):
        rnnjax.unroll_layers([LSTM], rnnjax.Layers((PARAMS,)), XS, dropout=dropout)


def test_unroll_layers_counts_its_layers():
    two, carry = rnnjax.Layers((PARAMS, PARAMS)), rnnjax.Layers((CARRY, CARRY))
    with pytest.raises(ValueError, match=r"as many params and carries as cells, 1, got 2 and 1"):
        rnnjax.unroll_layers([LSTM], two, XS)
    with pytest.raises(ValueError, match=r"as many params and carries as cells, 1, got 1 and 2"):
        rnnjax.unroll_layers([LSTM], rnnjax.Layers((PARAMS,)), XS, carry)


def test_unroll_layers_wants_a_layer():
    with pytest.raises(ValueError, match="unroll_layers: expected at least one cell, got none"):
        rnnjax.unroll_layers([], rnnjax.Layers(()), XS)


BROKEN_CELLS = {
    "structure": (lambda carry, y: (carry.h, y), ValueError, "a carry of structure .*LSTMCarry.*got"),
    "shape": (
        lambda carry, y: (carry._replace(c=carry.c[:, 1:]), y),
        ValueError,
        r"a carry\.c of shape \(2, 5\), got \(2, 4\)",
    ),
    "dtype": (
        lambda carry, y: (carry._replace(h=carry.h.astype(jnp.bfloat16)), y),
        TypeError,
        r"carry\.h of dtype float32, got bfloat16",
    ),
    "output": (lambda carry, y: (carry, y[0]), ValueError, r"the batch shape \(2,\) in front, got \(5,\)"),
}


@pytest.mark.parametrize("what", BROKEN_CELLS)
def test_what_a_cell_returns_is_checked(what):
    breaking, error, message = BROKEN_CELLS[what]
    cell = LSTM._replace(apply=lambda params, carry, x: breaking(*LSTM.apply(params, carry, x)))
    with pytest.raises(error, match=f"cell.apply: expected .*{message}"):
        rnnjax.unroll(cell, PARAMS, XS)


# ---- masks and lengths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [(9, -4), (7, 0), (100, 3)])
def test_lengths_inside_jit_are_clipped(lengths):
    run = jax.jit(lambda lengths: rnnjax.unroll(LSTM, PARAMS, XS, CARRY, lengths=lengths))
    clipped = np.clip(np.array(lengths), 0, T)
    assert_close(run(jnp.array(lengths)), rnnjax.unroll(LSTM, PARAMS, XS, CARRY, lengths=clipped))


@pytest.mark.parametrize("reverse", [False, True])
def test_mask_with_holes_skips_steps(reverse):
    mask = np.array([[1, 0, 1, 1, 0, 0, 1], [0, 1, 1, 0, 1, 1, 0]], bool).T
    xs = jnp.where(mask[..., None], XS, jnp.nan)
    carry, ys = rnnjax.unroll(LSTM, PARAMS, xs, CARRY, mask=mask, reverse=reverse)
    for b in range(B):
        real = mask[:, b]
        row_carry, row_ys = rnnjax.recurrence.unroll_reference(
            LSTM, PARAMS, XS[real, b], row(CARRY, b), reverse=reverse
        )
        assert_close((row(carry, b), ys[real, b]), (row_carry, row_ys))
        assert not ys[~real, b].any()


def test_reset_at_a_skipped_step_is_inert():
    mask = jnp.array([[True, True, False, True, True, False, True]] * B).T
    resets = jnp.zeros((T, B), bool).at[2, 0].set(True).at[5, 1].set(True)
    plain = rnnjax.unroll(LSTM, PARAMS, XS, CARRY, mask=mask)
    assert_close(rnnjax.unroll(LSTM, PARAMS, XS, CARRY, mask=mask, resets=resets), plain)
    moved = rnnjax.unroll(LSTM, PARAMS, XS, CARRY, mask=mask, resets=resets.at[3, 0].set(True))
    assert abs(moved[1][3, 0] - plain[1][3, 0]).max() > 1e-2


def test_a_row_fully_masked_keeps_its_carry_and_has_no_gradient():
    def run(carry, xs):
        return rnnjax.unroll(LSTM, PARAMS, xs, carry, lengths=jnp.array([0, 5]))

    (carry, ys), gradients = values_and_gradients(run, CARRY, XS.at[:, 0].set(jnp.nan))
    assert_close(row(carry, 0), row(CARRY, 0), rtol=0, atol=0)
    assert not ys[:, 0].any() and not gradients[1][:, 0].any()
    # The carry is passed on, so that its gradient is that of the weighted sum itself.
    assert_close(row(gradients[0], 0), row(jax.grad(weighted_sum)(CARRY), 0))


@pytest.mark.parametrize("shape", [(), (5,)])
def test_lengths_and_resets_of_fewer_axes_hold_for_those_behind(shape):
    batch, rng = (5, 2), np.random.default_rng(0)
    xs = normal(3, T, *batch, F)
    lengths, resets = np.array(rng.integers(0, T + 1, shape)), rng.random((T, *shape)) < 0.3
    behind = (1,) * (len(batch) - len(shape))
    wide_lengths = np.broadcast_to(lengths.reshape(*shape, *behind), batch)
    wide_resets = np.broadcast_to(resets.reshape(T, *shape, *behind), (T, *batch))
    mask = np.arange(T).reshape(-1, *[1] * lengths.ndim) < lengths
    expected = rnnjax.unroll(LSTM, PARAMS, xs, lengths=wide_lengths, resets=wide_resets)
    assert_close(rnnjax.unroll(LSTM, PARAMS, xs, lengths=lengths, resets=resets), expected)
    assert_close(rnnjax.unroll(LSTM, PARAMS, xs, mask=mask, resets=resets), expected)


@pytest.mark.parametrize("batch_shape", [(), (5,), (5, 2)])
def test_batch_shape_is_free(batch_shape):
    xs = normal(4, T, *batch_shape, F)
    carry, ys = rnnjax.unroll(LSTM, PARAMS, xs, reverse=True)
    assert ys.shape == (T, *batch_shape, H) and carry.c.shape == (*batch_shape, H)
    for index in np.ndindex(*batch_shape):
        expected = rnnjax.recurrence.unroll_reference(LSTM, PARAMS, xs[(slice(None), *index)], reverse=True)
        assert_close((row(carry, index), ys[(slice(None), *index)]), expected)


def test_lengths_of_a_single_sequence():
    xs, length = XS[:, 0], 4
    carry, ys = rnnjax.unroll(LSTM, PARAMS, xs, lengths=length)
    expected = rnnjax.recurrence.unroll_reference(LSTM, PARAMS, xs[:length])
    assert_close((carry, ys[:length]), expected)
    assert not ys[length:].any()


def test_time_major_false_exchanges_masks_too():
    mask = jnp.asarray(np.random.default_rng(0).random((T, B)) < 0.6)
    resets = jnp.asarray(np.random.default_rng(1).random((T, B)) < 0.4)
    carry, ys = rnnjax.unroll(LSTM, PARAMS, XS, CARRY, mask=mask, resets=resets)
    batch_major = rnnjax.unroll(LSTM, PARAMS, swap(XS), CARRY, mask=mask.T, resets=resets.T, time_major=False)
    assert_close(batch_major, (carry, swap(ys)))
    assert_close(
        rnnjax.recurrence.unroll_reference(
            LSTM, PARAMS, swap(XS), CARRY, mask=mask.T, resets=resets.T, time_major=False
        ),
        batch_major,
    )


def test_reset_goes_to_the_initial_carry_not_to_the_one_passed_in():
    resets = jnp.zeros((T, B), bool).at[0].set(True)
    assert_close(rnnjax.unroll(LSTM, PARAMS, XS, CARRY, resets=resets), rnnjax.unroll(LSTM, PARAMS, XS))


@pytest.mark.parametrize("carry_dtype", [jnp.bfloat16, jnp.float32])
def test_carry_keeps_the_dtype_passed_in(carry_dtype):
    carry = LSTM.initial_carry((B,), carry_dtype)
    last, ys = rnnjax.unroll(LSTM, PARAMS, XS, carry, resets=jnp.zeros((T, B), bool).at[2].set(True))
    assert {leaf.dtype for leaf in (*last, ys)} == {jnp.dtype(carry_dtype)}


def test_double_precision_inputs_get_a_double_precision_carry():
    with jax.enable_x64(True):
        params, xs = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (PARAMS, XS))
        last, ys = rnnjax.unroll(LSTM, params, xs)
        assert {leaf.dtype for leaf in (*last, ys)} == {jnp.dtype(jnp.float64)}


# ---- both directions -----------------------------------------------------------------------------------------

GRU = rnnjax.gru(F, H)
BOTH = rnnjax.Bidirectional(PARAMS, random_params(GRU, seed=3))
NUMPY_MERGES = {
    "concat": lambda a, b: np.concatenate([a, b], -1),
    "sum": lambda a, b: a + b,
    "mean": lambda a, b: (a + b) / 2,
    "product": lambda a, b: a * b,
}


def both_alone(xs, carry=None):
    """Two slow runs over one sequence, the second from its end: carries and concatenated ys."""
    carry = rnnjax.Bidirectional(None, None) if carry is None else carry
    forward, ys_forward = rnnjax.recurrence.unroll_reference(LSTM, BOTH.forward, xs, carry.forward)
    backward, ys_backward = rnnjax.recurrence.unroll_reference(GRU, BOTH.backward, xs[::-1], carry.backward)
    return rnnjax.Bidirectional(forward, backward), jnp.concatenate([ys_forward, ys_backward[::-1]], -1)


@pytest.mark.parametrize("merge", NUMPY_MERGES)
def test_bidirectional_merges_two_runs(merge):
    carry = rnnjax.Bidirectional(CARRY, rnnjax.GRUCarry(normal(5, B, H)))
    carries, ys = rnnjax.bidirectional(LSTM, GRU, BOTH, XS, carry, merge=merge)
    expected_carries, expected = both_alone(XS, carry)
    assert_close(carries, expected_carries)
    assert_close(ys, NUMPY_MERGES[merge](*np.split(np.asarray(expected), 2, -1)))


def test_bidirectional_rows_equal_the_unpadded_rows():
    lengths = np.array([0, 1, 4, 7, 6])
    xs = normal(6, T, 5, F)
    padded = jnp.where(np.arange(T)[:, None, None] < lengths[:, None], xs, jnp.nan)
    carries, ys = rnnjax.bidirectional(LSTM, GRU, BOTH, padded, lengths=lengths)
    for b, length in enumerate(lengths):
        assert_close((row(carries, b), ys[:length, b]), both_alone(xs[:length, b]))
        assert not ys[length:, b].any()


PACKED = {"whole": [(0, 3), (3, 4), (4, 7)], "padded": [(0, 2), (2, 5)], "with_a_gap": [(0, 2), (4, 7)]}


@pytest.mark.parametrize("time_major", [True, False])
@pytest.mark.parametrize("packing", PACKED)
def test_bidirectional_runs_packed_sequences_apart(packing, time_major):
    """Resets mark where a sequence begins; between and behind the sequences lies padding."""
    segments = {0: PACKED[packing], 1: [(0, 7)]}
    mask, resets = np.zeros((T, B), bool), np.zeros((T, B), bool)
    for b, row_segments in segments.items():
        for start, stop in row_segments:
            mask[start:stop, b], resets[start, b] = True, True
    xs = jnp.where(mask[..., None], XS, jnp.nan)
    options = {"mask": jnp.asarray(mask), "resets": jnp.asarray(resets)}
    if time_major:
        _, ys = rnnjax.bidirectional(LSTM, GRU, BOTH, xs, **options)
    else:
        options = {name: flags.T for name, flags in options.items()}
        _, ys = rnnjax.bidirectional(LSTM, GRU, BOTH, swap(xs), time_major=False, **options)
        ys = swap(ys)
    for b, row_segments in segments.items():
        for start, stop in row_segments:
            assert_close(ys[start:stop, b], both_alone(XS[start:stop, b])[1])


def test_bidirectional_resets_without_masks():
    resets = jnp.zeros((T, B), bool).at[3, 0].set(True).at[5, 1].set(True).at[0, 1].set(True)
    _, ys = rnnjax.bidirectional(LSTM, GRU, BOTH, XS, resets=resets)
    for b, cut in ((0, 3), (1, 5)):
        assert_close(ys[:cut, b], both_alone(XS[:cut, b])[1])
        assert_close(ys[cut:, b], both_alone(XS[cut:, b])[1])


def test_bidirectional_takes_batch_first():
    lengths = jnp.array([4, 7])
    carries, ys = rnnjax.bidirectional(LSTM, GRU, BOTH, XS, lengths=lengths)
    batch_major = rnnjax.bidirectional(LSTM, GRU, BOTH, swap(XS), lengths=lengths, time_major=False)
    assert_close(batch_major, (carries, swap(ys)))


# ---- layers --------------------------------------------------------------------------------------------------

CELLS = [rnnjax.lstm(F, H), rnnjax.gru(H, 11), rnnjax.rnn(11, 2)]
LAYERS = random_params(rnnjax.stack(CELLS), seed=4)


@pytest.mark.parametrize("options", [{}, {"reverse": True, "remat": "sqrt"}], ids=["forward", "reverse"])
def test_unroll_layers_is_unroll_of_the_stack(options):
    masks = {
        "lengths": jnp.array([4, 7]),
        "resets": jnp.asarray(np.random.default_rng(0).random((T, B)) < 0.4),
    }
    carry = noisy(rnnjax.stack(CELLS).initial_carry((B,)), seed=5)

    def layered(params, xs, carry):
        return rnnjax.unroll_layers(CELLS, params, xs, carry, **masks, **options)

    def stacked(params, xs, carry):
        return rnnjax.unroll(rnnjax.stack(CELLS), params, xs, carry, **masks, reverse=options.get("reverse", False))

    args = (LAYERS, XS, carry)
    assert_close(values_and_gradients(layered, *args), values_and_gradients(stacked, *args))


def test_unroll_layers_takes_batch_first():
    carries, ys = rnnjax.unroll_layers(CELLS, LAYERS, XS, lengths=jnp.array([4, 7]))
    batch_major = rnnjax.unroll_layers(CELLS, LAYERS, swap(XS), lengths=jnp.array([4, 7]), time_major=False)
    assert_close(batch_major, (carries, swap(ys)))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_dropout_lies_between_layers_only(layers):
    xs, rate = normal(0, 31, 7, 37), 0.25
    cells, params = [echo(37)] * layers, rnnjax.Layers(((),) * layers)
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


# ---- truncated backpropagation and memory --------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 3, 11])
def test_tbptt_gradient_is_the_sum_over_its_chunks(steps):
    def truncated(params, xs, carry):
        return rnnjax.tbptt(LSTM, params, xs, carry, steps=steps)

    values, gradients = values_and_gradients(truncated, PARAMS, XS, CARRY)
    assert_close(values, rnnjax.recurrence.unroll_reference(LSTM, PARAMS, XS, CARRY))
    weights = jnp.cos(jnp.arange(T * B * H, dtype=jnp.float32) + 1).reshape(T, B, H)  # those of weighted_sum

    @jax.jit
    def block_gradients(params, xs, carry, weights, is_last):
        def loss(params, xs):
            last, ys = rnnjax.recurrence.unroll_reference(LSTM, params, xs, carry)
            return jnp.sum(ys * weights) + is_last * weighted_sum(last), last

        return jax.grad(loss, (0, 1), has_aux=True)(params, xs)

    carry, total, xs_gradients = CARRY, jax.tree.map(jnp.zeros_like, PARAMS), []
    for start in range(0, T, steps):
        block, is_last = slice(start, start + steps), float(start + steps >= T)
        (of_params, of_xs), carry = block_gradients(PARAMS, XS[block], carry, weights[block], is_last)
        total = jax.tree.map(jnp.add, total, of_params)
        xs_gradients.append(of_xs)
    no_gradient = jax.tree.map(jnp.zeros_like, CARRY)
    assert_close(gradients, (total, jnp.concatenate(xs_gradients), no_gradient))


def test_tbptt_keeps_masks_in_step_with_its_chunks():
    masks = {
        "mask": jnp.asarray(np.random.default_rng(0).random((B, T)) < 0.6),
        "resets": jnp.asarray(np.random.default_rng(1).random((B, T)) < 0.4),
        "time_major": False,
    }
    got = rnnjax.tbptt(LSTM, PARAMS, swap(XS), CARRY, steps=3, **masks)
    assert_close(got, rnnjax.recurrence.unroll_reference(LSTM, PARAMS, swap(XS), CARRY, **masks))


MODES = [
    {"remat": 2},
    {"remat": 3, "reverse": True},
    {"remat": "sqrt", "chunk": 5, "reverse": True},
    {"remat": "step", "chunk": 2},
    {"chunk": 11, "remat": 7, "reverse": True},
]


@functools.cache
def plain_run(reverse):
    return values_and_gradients(functools.partial(masked_run, reverse=reverse), PARAMS, XS, CARRY)


def masked_run(params, xs, carry, **options):
    lengths, resets = jnp.array([6, 7]), jnp.asarray(np.random.default_rng(0).random((T, B)) < 0.3)
    return rnnjax.unroll(LSTM, params, xs, carry, lengths=lengths, resets=resets, **options)


@pytest.mark.parametrize("options", MODES, ids=str)
def test_blocks_that_do_not_divide_the_steps_change_nothing(options):
    got = values_and_gradients(functools.partial(masked_run, **options), PARAMS, XS, CARRY)
    assert_close(got, plain_run(options.get("reverse", False)))


@pytest.mark.parametrize("options", [{"remat": "sqrt"}, {"remat": 3}, {"chunk": 2}, {"remat": "step"}], ids=str)
def test_no_steps_in_every_memory_mode(options):
    carry, ys = rnnjax.unroll(LSTM, PARAMS, XS[:0], CARRY, **options)
    assert_close((carry, ys), (CARRY, jnp.zeros((0, B, H))), rtol=0, atol=0)


def test_remat_keeps_less_for_the_backward_pass():
    xs = normal(0, 64, B, F)

    def kept(remat):
        def run(params, xs):
            return jax.vjp(lambda p, x: rnnjax.unroll(LSTM, p, x, remat=remat), params, xs)[1]

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(run, PARAMS, xs)))

    assert kept("sqrt") < kept("step") < kept(None)
    assert kept(16) < kept(2) < kept(None)


# ---- the program ---------------------------------------------------------------------------------------------

PROGRAMS = {
    "plain": {},
    "reverse_with_masks": {"reverse": True, "lengths": jnp.array([7, 3])},
    "remat_step": {"remat": "step"},
    "remat_sqrt": {"remat": "sqrt"},
    "remat_3": {"remat": 3},
    "chunk_3": {"chunk": 3},
}


def test_memory_grows_as_the_root_of_the_steps():
    """What the compiled gradient needs beside its arguments and results, of 64 and of 16 times as many steps."""

    def growth(**mode):
        def loss(params, xs):
            return weighted_sum(rnnjax.unroll(LSTM, params, xs, **mode)[0])

        def temporary(steps):
            compiled = jax.jit(jax.grad(loss)).lower(PARAMS, normal(0, steps, B, F)).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        return temporary(16 * 64) / temporary(64)

    assert growth() > 10
    assert growth(remat="sqrt") < 5


@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_does_not_grow_with_the_steps(name, gradient):
    def run(params, xs):
        return weighted_sum(rnnjax.unroll(LSTM, params, xs, **PROGRAMS[name]))

    run = jax.grad(run) if gradient else run

    def sizes(steps):
        traced = jax.jit(run).trace(PARAMS, normal(0, steps, B, F))
        text = traced.lower().as_text()
        return len(list(equations(traced.jaxpr))), text.count("\n"), len(text)

    # Lengths of one kind: both leave 2 in blocks of 3, and both have a divisor near their root.
    (short_equations, short_lines, short_text), (long_equations, long_lines, long_text) = sizes(35), sizes(704)
    assert long_equations <= short_equations
    assert long_lines <= short_lines
    assert long_text < 1.1 * short_text  # "704" is longer than "35"


def test_one_trace_for_each_shape():
    traces = []

    def apply(params, carry, x):
        traces.append(x.shape)
        return LSTM.apply(params, carry, x)

    cell = LSTM._replace(apply=apply)
    run = jax.jit(lambda params, xs, lengths: rnnjax.unroll(cell, params, xs, lengths=lengths))
    counts = []
    for steps, batch in ((7, 2), (7, 2), (7, 5), (7, 2), (7, 5), (11, 2)):
        run(PARAMS, normal(len(counts), steps, batch, F), jnp.arange(batch) + 1 + len(counts) % 2)
        counts.append(len(traces))
    per_shape = counts[0]
    assert counts == [per_shape * n for n in (1, 1, 2, 2, 2, 3)]


def test_inputs_may_be_trees():
    xs = {"features": XS, "ids": jnp.arange(T * B).reshape(T, B) % F, "nothing": None}

    def apply(params, carry, x):
        return LSTM.apply(params, carry, x["features"] + jax.nn.one_hot(x["ids"], F))

    got = rnnjax.unroll(LSTM._replace(apply=apply), PARAMS, xs, lengths=jnp.array([4, 7]))
    summed = XS + jax.nn.one_hot(xs["ids"], F)
    assert_close(got, rnnjax.unroll(LSTM, PARAMS, summed, lengths=jnp.array([4, 7])))
