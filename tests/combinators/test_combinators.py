"""Combinators against what they say they do: by hand, in NumPy, and mask by mask."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_close,
    echo,
    loop_bodies,
    noisy,
    normal,
    random_draws,
    random_params,
    values_and_gradients,
)

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, F, H = 7, 2, 3, 5
KEY = jax.random.key(7)


class Example(NamedTuple):
    """A cell with parameters and a carry that are not zero, and inputs `[T, B, F]`."""

    cell: rnnjax.Cell
    params: object
    carry: object
    xs: object


def example(cell):
    params = random_params(cell, seed=1)
    return Example(cell, params, noisy(cell.initial_carry((B,)), seed=2), normal(3, T, B, F))


def run(cell, params, xs, carry=None, **options):
    return jax.jit(lambda *args: rnnjax.unroll(cell, *args, **options))(params, xs, carry)


# ---- stack, residual, projected, layer_norm ------------------------------------------------------------------


@pytest.mark.slow
def test_stack_feeds_each_cell_the_output_of_the_one_below():
    cells = [rnnjax.lstm(F, H), rnnjax.gru(H, 11), rnnjax.rnn(11, 2)]
    stacked, params, carry, xs = example(rnnjax.stack(cells))
    last, ys = run(stacked, params, xs, carry)
    carries, steps = list(carry.layers), [jax.jit(cell.apply) for cell in cells]
    for t, x in enumerate(xs):
        for layer, step in enumerate(steps):
            carries[layer], x = step(params.layers[layer], carries[layer], x)
        assert_close(ys[t], x)
    assert_close(last, rnnjax.Layers(tuple(carries)))


@pytest.mark.slow
def test_stacked_layers_start_from_weights_of_their_own():
    first, second = rnnjax.stack([rnnjax.rnn(H, H), rnnjax.rnn(H, H)]).init(KEY).layers
    assert abs(first.w_x - second.w_x).max() > 0.1


def test_stack_wants_a_cell():
    with pytest.raises(ValueError, match="stack: expected at least one cell, got none"):
        rnnjax.stack([])


def test_stack_refuses_layers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"stack: expected layer 2 to take the 11 features .*, got input_size 5"):
        rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 11), rnnjax.rnn(H, 2)])


def test_residual_adds_x_to_the_output_only():
    cell, params, carry, xs = example(rnnjax.lstm(F, F))
    last, ys = run(cell, params, xs, carry)
    assert_close(run(rnnjax.residual(cell), params, xs, carry), (last, xs + ys))


def test_residual_refuses_another_output_size():
    cell, params, carry, xs = example(rnnjax.lstm(F, H))
    with pytest.raises(ValueError, match=r"residual: expected .*got output_size 5 and input_size 3; give the cell"):
        rnnjax.residual(cell)
    unstated = rnnjax.residual(cell._replace(input_size=None))
    with pytest.raises(ValueError, match=r"residual: expected .*shape of x \(2, 3\), got \(2, 5\); give the cell"):
        unstated.apply(params, carry, xs[0])


@pytest.mark.slow
def test_projected_multiplies_the_output_only():
    cell, params, carry, xs = example(rnnjax.projected(rnnjax.lstm(F, H), 11))
    assert (params.w.shape, params.b.shape) == ((H, 11), (11,))
    last, ys = run(rnnjax.lstm(F, H), params.cell, xs, carry)
    assert_close(run(cell, params, xs, carry), (last, np.asarray(ys) @ np.asarray(params.w) + np.asarray(params.b)))


@pytest.mark.slow
def test_layer_norm_normalises_the_output_only():
    cell, params, carry, xs = example(rnnjax.layer_norm(rnnjax.gru(F, H)))
    last, ys = run(rnnjax.gru(F, H), params.cell, xs, carry)
    outputs = np.asarray(ys, np.float64)
    centred = outputs - outputs.mean(-1, keepdims=True)
    normalised = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
    expected = normalised * np.asarray(params.scale) + np.asarray(params.b)
    assert_close(run(cell, params, xs, carry), (last, expected))


@pytest.mark.slow
def test_added_parameters_start_neutral_in_the_dtype_asked_for():
    projected = rnnjax.projected(rnnjax.rnn(F, H), 11, param_dtype=jnp.bfloat16).init(KEY)
    assert {projected.w.dtype, projected.b.dtype} == {jnp.dtype(jnp.bfloat16)}
    assert not projected.b.any() and projected.w.any()
    normalised = rnnjax.layer_norm(rnnjax.rnn(F, H), param_dtype=jnp.bfloat16).init(KEY)
    assert {normalised.scale.dtype, normalised.b.dtype} == {jnp.dtype(jnp.bfloat16)}
    assert (normalised.scale.tolist(), normalised.b.tolist()) == ([1.0] * H, [0.0] * H)


@pytest.mark.slow
def test_added_parameters_have_the_output_size_of_the_last_layer():
    cell = rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 11)])
    assert rnnjax.projected(cell, 2).init(KEY).w.shape == (11, 2)
    assert rnnjax.layer_norm(rnnjax.projected(cell, 2)).init(KEY).scale.shape == (2,)


class Total(NamedTuple):
    """The sum of the inputs `[..., F]`."""

    total: object


def adder():
    """A user's own cell, which does not state its sizes."""

    def apply(params, carry, x):
        return Total(carry.total + x), carry.total + x

    def initial_carry(batch_shape=(), dtype=jnp.float32):
        return Total(jnp.zeros((*batch_shape, F), dtype))

    return rnnjax.Cell(lambda key: (), initial_carry, apply)


@pytest.mark.parametrize("size", [0, -1, 2.0, True])
def test_projected_refuses_sizes_that_are_not_positive(size):
    with pytest.raises(ValueError, match=f"projected: expected size to be a positive int, got {size}"):
        rnnjax.projected(rnnjax.rnn(F, H), size)


PROJECTED = pytest.param(lambda cell: rnnjax.projected(cell, 2), id="projected")
NORMALISED = pytest.param(rnnjax.layer_norm, id="layer_norm")
DROPPED = pytest.param(lambda cell: rnnjax.dropout(cell, key=KEY, shape=(T, B, F), output=0.5), id="dropout")


@pytest.mark.parametrize("wrap", [PROJECTED, NORMALISED, DROPPED])
def test_an_output_size_that_the_cell_does_not_state_is_asked_for(wrap):
    with pytest.raises(ValueError, match=r"states its output_size, got None; .*cell\._replace\(output_size=\.\.\.\)"):
        wrap(adder())
    cell, params, carry, xs = example(wrap(adder()._replace(output_size=F)))
    run(cell, params, xs, carry)


@pytest.mark.parametrize("wrap", [PROJECTED, NORMALISED])
def test_a_wrong_output_size_is_refused(wrap):
    cell, params, carry, xs = example(wrap(rnnjax.rnn(F, H)._replace(output_size=11)))
    with pytest.raises(ValueError, match=r"expected an output with the 11 features of cell\.output_size, got 5"):
        cell.apply(params, carry, xs[0])


@pytest.mark.parametrize(
    ("cell", "sizes"),
    [
        (rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 11)]), (F, 11)),
        (rnnjax.stack([adder(), rnnjax.gru(F, H)]), (None, H)),
        (rnnjax.residual(rnnjax.lstm(H, H)), (H, H)),
        (rnnjax.residual(adder()._replace(output_size=F)), (F, F)),
        (rnnjax.projected(rnnjax.lstm(F, H), 11), (F, 11)),
        (rnnjax.layer_norm(rnnjax.lstm(F, H)), (F, H)),
        (rnnjax.layer_norm(adder()._replace(output_size=F)), (None, F)),
        (rnnjax.reset_on(rnnjax.lstm(F, H)), (F, H)),
        (rnnjax.dropout(rnnjax.lstm(F, H), key=None), (F, H)),
    ],
)
def test_combinators_state_the_sizes_that_follow(cell, sizes):
    assert (cell.input_size, cell.output_size) == sizes


# ---- reset_on ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_reset_on_is_unroll_with_resets():
    cell, params, carry, xs = example(rnnjax.lstm(F, H))
    resets = jnp.asarray(np.random.default_rng(0).random((T, B)) < 0.4)
    expected = run(cell, params, xs, carry, resets=resets)
    assert_close(run(rnnjax.reset_on(cell), params, rnnjax.combinators.ResetInput(xs, resets), carry), expected)
    assert abs(expected[1] - run(cell, params, xs, carry)[1]).max() > 1e-2


def test_reset_on_keeps_the_dtype_of_the_carry():
    cell, params, _, xs = example(rnnjax.reset_on(rnnjax.lstm(F, H)))
    carry = cell.initial_carry((B,), jnp.bfloat16)
    carry, _ = cell.apply(params, carry, rnnjax.combinators.ResetInput(xs[0], jnp.array([True, False])))
    assert {leaf.dtype for leaf in carry} == {jnp.dtype(jnp.bfloat16)}


def test_reset_on_says_what_it_takes():
    cell, params, carry, xs = example(rnnjax.reset_on(rnnjax.lstm(F, H)))
    with pytest.raises(TypeError, match=r"ResetInput\(x, reset\) with a boolean reset, got tuple"):
        cell.apply(params, carry, (xs[0], jnp.array([True, False])))
    with pytest.raises(TypeError, match="with a boolean reset, got a reset of dtype int32"):
        cell.apply(params, carry, rnnjax.combinators.ResetInput(xs[0], jnp.array([1, 0])))


# ---- dropout: the masks --------------------------------------------------------------------------------------

N = 11


def echo_masks(*, shape=(T, B, N), steps=T, batch=B, resets=None, **rates):
    """Masks of input or output `[steps, batch, N]`, seen through a cell that returns its input."""
    cell = rnnjax.dropout(echo(N), key=KEY, shape=shape, **rates)
    xs = normal(1, steps, batch, N)
    return np.asarray(run(cell, (), xs, resets=resets)[1] / xs)


@pytest.mark.parametrize("where", ["input", "output"])
def test_tied_masks_are_the_same_for_all_steps_and_differ_between_rows(where):
    masks = echo_masks(**{where: 0.5})
    assert_close(masks, np.broadcast_to(masks[:1], masks.shape))
    assert (masks[0, 0] != masks[0, 1]).any()
    assert_close(np.unique(masks.round(5)), np.array([0, 2]))


@pytest.mark.slow
@pytest.mark.parametrize("where", ["input", "output"])
def test_fresh_masks_differ_from_step_to_step(where):
    masks = echo_masks(tied=False, **{where: 0.5})
    assert all((masks[t] != masks[t + 1]).any() for t in range(T - 1))
    assert_close(np.unique(masks.round(5)), np.array([0, 2]))


def test_masks_of_input_and_output_are_independent():
    both = echo_masks(input=0.5, output=0.5, tied=False)
    assert set(np.unique(both.round(5))) == {0, 4}
    assert abs((both != 0).mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / both.size)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("where", ["input", "output"])
def test_scaling_keeps_the_mean(where, tied):
    rate, batch = 0.3, 499
    masks = echo_masks(shape=(T, batch, N), batch=batch, tied=tied, **{where: rate})[0]
    error = np.sqrt(rate * (1 - rate) / masks.size)
    assert abs((masks == 0).mean() - rate) < 5 * error
    assert abs(masks.mean() - 1) < 5 * error / (1 - rate)


@pytest.mark.parametrize("tied", [True, False])
def test_a_shape_without_batch_gives_all_rows_one_mask(tied):
    masks = echo_masks(shape=(T, N), input=0.5, tied=tied)
    assert_close(masks[:, 0], masks[:, 1])
    assert (masks == 0).any() and (masks != 0).any()


@pytest.mark.slow
def test_another_key_draws_other_masks():
    cell, params, _, xs = example(rnnjax.gru(F, H))
    keys = jax.random.split(KEY)
    first, second = (run(rnnjax.dropout(cell, key=key, shape=xs.shape, recurrent=0.5), params, xs)[1] for key in keys)
    assert abs(first - second).max() > 1e-2


def test_more_steps_than_drawn_begin_again():
    masks = echo_masks(shape=(3, B, N), input=0.5, tied=False)
    assert_close(masks, masks[np.arange(T) % 3])
    assert (masks[0] != masks[1]).any()


def test_resets_begin_again_with_the_first_mask_of_the_row():
    plain = echo_masks(input=0.5, tied=False)
    resets = np.zeros((T, B), bool)
    resets[4, 1] = True
    masks = echo_masks(input=0.5, tied=False, resets=jnp.asarray(resets))
    assert_close(masks[:, 0], plain[:, 0])
    assert_close(masks[:4, 1], plain[:4, 1])
    assert_close(masks[4:, 1], plain[: T - 4, 1])
    assert (plain[4:, 1] != plain[: T - 4, 1]).any()


@pytest.mark.slow
def test_skipped_steps_use_no_mask():
    cell = rnnjax.dropout(echo(N), key=KEY, shape=(T, B, N), input=0.5, tied=False)
    xs, mask = normal(1, T, B, N), np.array([[1, 0, 0, 1, 1, 1, 1], [1] * 7], bool).T
    factors = np.asarray(run(cell, (), xs, mask=jnp.asarray(mask))[1] / xs)
    plain = echo_masks(input=0.5, tied=False)
    assert_close(factors[mask[:, 0], 0], plain[:5, 0])
    assert_close(factors[:, 1], plain[:, 1])


def linear_memory(**rates):
    """h = m * h, step after step: the recurrent masks, seen through a linear cell without inputs."""
    cell = rnnjax.rnn(F, H, activation=jax.nn.identity)
    params = rnnjax.RNNParams(jnp.zeros((F, H)), jnp.eye(H), jnp.zeros(H))
    h = 1 + jnp.abs(normal(5, B, H))
    noisy_cell = rnnjax.dropout(cell, key=KEY, **rates)
    carry = noisy_cell.initial_carry((B,))._replace(cell=rnnjax.RNNCarry(h))
    ys = run(noisy_cell, params, normal(6, T, B, F), carry)[1]
    return np.asarray(ys) / np.asarray(h)


def test_recurrent_masks_are_tied_over_time_and_drawn_per_row():
    powers = linear_memory(shape=(T, B, F), recurrent=0.4)
    mask = powers[0]
    assert_close(np.unique(mask.round(4)), np.array([0, 1 / 0.6]))
    assert (mask[0] != mask[1]).any()
    assert_close(powers, np.stack([mask**t for t in range(1, T + 1)]))


def test_recurrent_mask_of_a_shape_without_batch_is_shared():
    powers = linear_memory(shape=(T, F), recurrent=0.4)
    assert_close(powers[:, 0], powers[:, 1])
    assert_close(np.unique(powers[0].round(4)), np.array([0, 1 / 0.6]))


# ---- dropout: zoneout ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("make", [rnnjax.gru, rnnjax.lstm])
def test_zoneout_keeps_old_values_where_its_mask_says(make):
    hidden, rate = 97, 0.3
    cell, params, carry, xs = example(make(F, hidden))
    wrapped = rnnjax.dropout(cell, key=KEY, shape=xs.shape, zoneout=rate)
    zoned = wrapped.initial_carry((B,))._replace(cell=carry)
    step, zoned_step = jax.jit(cell.apply), jax.jit(wrapped.apply)
    stayed = []
    for x in xs:
        new, _ = step(params, zoned.cell, x)
        old = zoned.cell
        zoned, y = zoned_step(params, zoned, x)
        assert_close(y, zoned.cell.h, rtol=0, atol=0)
        stays = jax.tree.map(lambda got, before: np.asarray(got == before), zoned.cell, old)
        assert_close(zoned.cell, jax.tree.map(np.where, stays, old, new))
        stayed.append(np.stack(stays))
    stayed = np.stack(stayed)  # [T, leaves, B, hidden]
    assert abs(stayed.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / stayed.size)
    assert (stayed[0] != stayed[1]).any() and (stayed[:, :, 0] != stayed[:, :, 1]).any()
    if stayed.shape[1] == 2:
        assert (stayed[:, 0] != stayed[:, 1]).any(), "h and c have masks of their own"


@pytest.mark.slow
@pytest.mark.parametrize("rates", [0.3, rnnjax.LSTMCarry(h=0.1, c=0.6)], ids=["one", "per_leaf"])
def test_zoneout_without_a_key_takes_the_expectation(rates):
    cell, params, carry, xs = example(rnnjax.lstm(F, H))
    wrapped = rnnjax.dropout(cell, key=None, zoneout=rates)
    h_rate, c_rate = rates if isinstance(rates, tuple) else (rates, rates)
    zoned = wrapped.initial_carry((B,))._replace(cell=carry)
    for x in xs:
        new, _ = cell.apply(params, carry, x)
        carry = rnnjax.LSTMCarry(h_rate * carry.h + (1 - h_rate) * new.h, c_rate * carry.c + (1 - c_rate) * new.c)
        zoned, y = wrapped.apply(params, zoned, x)
        assert_close((zoned.cell, y), (carry, carry.h))


def test_zoneout_rates_per_leaf():
    cell, params, carry, xs = example(rnnjax.lstm(F, 97))
    wrapped = rnnjax.dropout(cell, key=KEY, shape=xs.shape, zoneout=rnnjax.LSTMCarry(h=0.0, c=0.8))
    zoned, _ = wrapped.apply(params, wrapped.initial_carry((B,))._replace(cell=carry), xs[0])
    new, _ = cell.apply(params, carry, xs[0])
    assert_close(zoned.cell.h, new.h)
    assert abs(float((zoned.cell.c == carry.c).mean()) - 0.8) < 5 * np.sqrt(0.16 / carry.c.size)


# ---- dropout: what it leaves alone ---------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"key": KEY, "shape": (T, B, F)},
        {"key": KEY, "shape": (T, B, F), "zoneout": rnnjax.LSTMCarry(0.0, 0.0), "tied": False},
        {"key": None, "input": 0.3, "output": 0.4, "recurrent": 0.5},
        {"key": None, "shape": (T, B, F), "input": 0.3, "tied": False},
    ],
    ids=["no_rates", "zero_rates", "no_key", "no_key_fresh"],
)
def test_without_rates_or_key_it_is_the_plain_cell(options):
    cell, params, _, xs = example(rnnjax.lstm(F, H))
    (last, steps), ys = run(rnnjax.dropout(cell, **options), params, xs)
    assert_close((last, ys), run(cell, params, xs), rtol=0, atol=0)
    assert steps.tolist() == [T] * B


@pytest.mark.slow
def test_parameters_are_those_of_the_cell():
    cell = rnnjax.lstm(F, H)
    wrapped = rnnjax.dropout(cell, key=KEY, shape=(T, B, F), input=0.3, recurrent=0.3)
    assert_close(wrapped.init(KEY), cell.init(KEY), rtol=0, atol=0)


@pytest.mark.parametrize("tied", [True, False])
def test_masks_are_drawn_once_outside_the_loop(tied):
    cell, params, _, xs = example(rnnjax.lstm(F, H))
    rates = {"input": 0.1, "output": 0.2, "recurrent": 0.3, "zoneout": 0.4}

    def noisy_run(key):
        return rnnjax.unroll(rnnjax.dropout(cell, key=key, shape=xs.shape, tied=tied, **rates), params, xs)[1]

    jaxpr = jax.make_jaxpr(noisy_run)(KEY)
    bodies = loop_bodies(jaxpr)
    assert bodies and sum(map(random_draws, bodies)) == 0
    assert random_draws(jaxpr) >= 5  # input, output, recurrent, h and c


@pytest.mark.slow
def test_gradients_flow_where_nothing_is_dropped():
    cell, params, _, xs = example(rnnjax.lstm(F, H))

    def noisy_run(key, params, xs):
        rates = {"input": 0.4, "output": 0.2, "recurrent": 0.3, "zoneout": 0.1}
        return rnnjax.unroll(rnnjax.dropout(cell, key=key, shape=xs.shape, **rates), params, xs)[1]

    _, (of_params, of_xs) = values_and_gradients(lambda *args: noisy_run(KEY, *args), params, xs)
    for leaf in jax.tree.leaves(of_params):
        assert bool(jnp.isfinite(leaf).all()) and (jnp.abs(leaf) > 0).mean() > 0.5
    dropped = np.asarray(of_xs == 0).all(0)
    assert 0 < dropped.sum() < dropped.size
    assert (np.asarray(of_xs != 0).all(0) == ~dropped).all(), "tied: an input is dropped at all steps or at none"


@pytest.mark.slow
def test_dropout_of_a_key_inside_vmap_is_row_by_row():
    cell, params, _, xs = example(rnnjax.gru(F, H))

    def one(key, xs):
        return rnnjax.unroll(rnnjax.dropout(cell, key=key, shape=xs.shape, output=0.5, tied=False), params, xs)[1]

    keys = jax.random.split(KEY, B)
    batch = jax.jit(jax.vmap(one, in_axes=(0, 1), out_axes=1))(keys, xs)
    for b in range(B):
        assert_close(batch[:, b], one(keys[b], xs[:, b]))


# ---- dropout: errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["input", "output", "recurrent", "zoneout"])
@pytest.mark.parametrize("rate", [1.0, -0.1, 3])
def test_rates_are_probabilities_below_one(where, rate):
    with pytest.raises(ValueError, match=rf"dropout: expected rates .*\[0, 1\), got {rate}"):
        rnnjax.dropout(rnnjax.lstm(F, H), key=KEY, shape=(T, B, F), **{where: rate})


@pytest.mark.parametrize("shape", [None, (F,)])
def test_a_key_needs_the_shape_of_the_inputs(shape):
    with pytest.raises(ValueError, match=r"expected shape to be that of the inputs xs \[T, \.\.\., F\], got"):
        rnnjax.dropout(rnnjax.lstm(F, H), key=KEY, shape=shape, input=0.5)


def test_recurrent_dropout_wants_a_cell_that_takes_the_mask():
    refused = pytest.raises(ValueError, match=r"expected a cell whose apply takes recurrent_mask.*, got one without")
    with refused:
        rnnjax.dropout(rnnjax.stack([rnnjax.lstm(F, H)]), key=KEY, shape=(T, B, F), recurrent=0.5)
    cell, params, _, xs = example(rnnjax.residual(rnnjax.lstm(F, F)))
    with refused:
        run(rnnjax.dropout(cell, key=KEY, shape=xs.shape, recurrent=0.5), params, xs)


def test_zoneout_rates_have_the_structure_of_the_carry():
    with pytest.raises(ValueError, match=r"zoneout to be a float or a carry of rates, got GRUCarry\(h=0.5\)"):
        rnnjax.dropout(rnnjax.lstm(F, H), key=KEY, shape=(T, B, F), zoneout=rnnjax.GRUCarry(0.5))


def test_zoneout_wants_a_cell_whose_output_is_h():
    cell, params, _, xs = example(rnnjax.projected(rnnjax.lstm(F, H), 11))
    with pytest.raises(ValueError, match="zoneout needs a cell whose output is the field h of its carry"):
        rnnjax.unroll(rnnjax.dropout(cell, key=None, zoneout=0.5), params, xs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rates",
    [{"input": 0.5}, {"output": 0.5}, {"input": 0.5, "tied": False}, {"recurrent": 0.5}, {"zoneout": 0.5}],
    ids=str,
)
def test_another_batch_than_drawn_is_refused(rates):
    cell, params, _, xs = example(rnnjax.lstm(F, H))
    wrapped = rnnjax.dropout(cell, key=KEY, shape=(T, 11, F), **rates)
    with pytest.raises(ValueError, match=r"(dropout|lstm_cell): expected .*11.*got \(2,"):
        rnnjax.unroll(wrapped, params, xs)
