"""unroll and its slow twin: errors at the door, masks with holes, lengths, resets, and how often it is traced."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, noisy, normal, random_params, values_and_gradients, weighted_sum

import rnnjax

T, B, F, H = 7, 2, 3, 5
LSTM = rnnjax.lstm(F, H)
PARAMS = random_params(LSTM)
XS = normal(1, T, B, F)
CARRY = noisy(LSTM.initial_carry((B,)), seed=2)


def swap(leaf):
    return jnp.swapaxes(leaf, 0, 1)


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
        r"carry\S* of structure .*LSTMCarry.*got .*GRUCarry.*initial_carry",
    ),
    "carry_of_another_batch": (
        {"carry": LSTM.initial_carry((B + 1,))},
        ValueError,
        r"carry\S*\.h of shape \(2, 5\), got \(3, 5\)",
    ),
    "carry_of_another_cell_state": (
        {"carry": rnnjax.LSTMCarry(jnp.zeros((B, H)), jnp.zeros((B, H + 2)))},
        ValueError,
        r"carry\S*\.c of shape \(2, 5\), got \(2, 7\)",
    ),
    "x_of_integers": ({"xs": jnp.ones((T, B, F), jnp.int32)}, TypeError, "x of a floating dtype, got int32"),
}
OPTION_ERRORS = {
    "remat_unknown": ({"remat": "steps"}, ValueError, "remat to be None, 'step', 'sqrt' or an int.*got 'steps'"),
    "remat_of_a_fraction": ({"remat": 1.5}, ValueError, r"remat to be.*got 1\.5"),
    "remat_of_zero": ({"remat": 0}, ValueError, "remat to be a positive int of steps, got 0"),
    "remat_true": ({"remat": True}, ValueError, "remat to be a positive int of steps, got True"),
    "chunk_of_zero": ({"chunk": 0}, ValueError, "chunk to be a positive int of steps, got 0"),
    "chunk_negative": ({"chunk": -2}, ValueError, "chunk to be a positive int of steps, got -2"),
    "chunk_of_a_fraction": ({"chunk": 2.5}, ValueError, r"chunk to be a positive int of steps, got 2\.5"),
    "method_unknown": ({"method": "fused"}, ValueError, "method to be one of auto, scan, got 'fused'"),
}


def of_one_layer(layer, entry):
    """`unroll_layers` called like `unroll`, where entry(tree) is the layer's part of params or carry."""

    def run(cell, params, xs, carry=None, **options):
        carry = None if carry is None else rnnjax.Layers((entry(carry),))
        return rnnjax.unroll_layers([layer(cell)], rnnjax.Layers((entry(params),)), xs, carry, **options)

    return run


RUNS = {
    "unroll": rnnjax.unroll,
    "unroll_reference": rnnjax.recurrence.unroll_reference,
    "tbptt": functools.partial(rnnjax.tbptt, steps=2),
    "unroll_layers": of_one_layer(lambda cell: cell, lambda tree: tree),
    "unroll_layers_pair": of_one_layer(lambda cell: (cell, cell), lambda tree: rnnjax.Bidirectional(tree, tree)),
}


def call(run, options):
    options = dict(options)
    return run(LSTM, PARAMS, options.pop("xs", XS), options.pop("carry", None), **options)


@pytest.mark.parametrize("name", UNROLL_ERRORS)
@pytest.mark.parametrize("where", RUNS)
def test_bad_argument_is_refused(where, name):
    options, error, message = UNROLL_ERRORS[name]
    origin = "lstm_cell" if name == "x_of_integers" else where.removesuffix("_pair")
    with pytest.raises(error, match=f"^{origin}: expected .*{message}"):
        call(RUNS[where], options)


def test_what_is_no_cell_is_refused():
    with pytest.raises(TypeError, match="unroll: expected a Cell, got list; use unroll_layers for several"):
        rnnjax.unroll([LSTM, LSTM], PARAMS, XS)
    with pytest.raises(TypeError, match="unroll: expected a Cell, got lstm; call its constructor with sizes"):
        rnnjax.unroll(rnnjax.lstm, PARAMS, XS)


def test_batch_first_by_mistake_is_told_what_to_pass():
    xs = jnp.swapaxes(XS, 0, 1)
    for lengths in (jnp.full(XS.shape[1], len(XS)), jnp.ones(XS.shape[1], int)):  # too long, too many
        with pytest.raises(ValueError, match=r"xs are \[T, ..., F\], or pass time_major=False"):
            rnnjax.unroll(LSTM, PARAMS, xs, lengths=lengths)
    with pytest.raises(ValueError, match=rf"the batch shape of xs is \({len(XS)},\)"):
        rnnjax.unroll(LSTM, PARAMS, xs, LSTM.initial_carry((XS.shape[1],)))


@pytest.mark.parametrize("name", OPTION_ERRORS)
@pytest.mark.parametrize("where", ["unroll", "unroll_layers"])
def test_bad_option_is_refused(where, name):
    options, error, message = OPTION_ERRORS[name]
    with pytest.raises(error, match=f"^{where}: expected {message}"):
        call(RUNS[where], options)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True])
def test_tbptt_refuses_bad_steps(steps):
    with pytest.raises(ValueError, match=f"tbptt: expected steps to be a positive int of steps, got {steps}"):
        rnnjax.tbptt(LSTM, PARAMS, XS, steps=steps)


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_reset_at_a_skipped_step_is_inert():
    mask = jnp.array([[True, True, False, True, True, False, True]] * B).T
    resets = jnp.zeros((T, B), bool).at[2, 0].set(True).at[5, 1].set(True)
    plain = rnnjax.unroll(LSTM, PARAMS, XS, CARRY, mask=mask)
    assert_close(rnnjax.unroll(LSTM, PARAMS, XS, CARRY, mask=mask, resets=resets), plain)
    moved = rnnjax.unroll(LSTM, PARAMS, XS, CARRY, mask=mask, resets=resets.at[3, 0].set(True))
    assert abs(moved[1][3, 0] - plain[1][3, 0]).max() > 1e-2


@pytest.mark.slow
def test_a_row_fully_masked_keeps_its_carry_and_has_no_gradient():
    def run(carry, xs):
        return rnnjax.unroll(LSTM, PARAMS, xs, carry, lengths=jnp.array([0, 5]))

    (carry, ys), gradients = values_and_gradients(run, CARRY, XS.at[:, 0].set(jnp.nan))
    assert_close(row(carry, 0), row(CARRY, 0), rtol=0, atol=0)
    assert not ys[:, 0].any() and not gradients[1][:, 0].any()
    # The carry is passed on, so that its gradient is that of the weighted sum itself.
    assert_close(row(gradients[0], 0), row(jax.grad(weighted_sum)(CARRY), 0))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(), (5,)])
def test_lengths_and_resets_of_fewer_axes_hold_for_those_after(shape):
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


@pytest.mark.slow
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


@pytest.mark.slow
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


# ---- tracing -------------------------------------------------------------------------------------------------


@pytest.mark.slow
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


@pytest.mark.slow
def test_inputs_may_be_trees():
    xs = {"features": XS, "ids": jnp.arange(T * B).reshape(T, B) % F, "nothing": None}

    def apply(params, carry, x):
        return LSTM.apply(params, carry, x["features"] + jax.nn.one_hot(x["ids"], F))

    got = rnnjax.unroll(LSTM._replace(apply=apply), PARAMS, xs, lengths=jnp.array([4, 7]))
    summed = XS + jax.nn.one_hot(xs["ids"], F)
    assert_close(got, rnnjax.unroll(LSTM, PARAMS, summed, lengths=jnp.array([4, 7])))
