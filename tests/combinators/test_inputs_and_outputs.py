"""Cells that read tokens, put out their carries, see their input in every layer; held outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, noisy, normal, random_params

import rnnjax

T, B, F, H, V = 7, 2, 3, 5, 11


def tokens(*shape):
    return np.random.default_rng(0).integers(0, V, shape, dtype=np.int32)


# ---- embedded ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_shape", [(), (B,), (3, B)])
def test_embedded_reads_rows_of_its_table(batch_shape):
    cell = rnnjax.gru(F, H)
    reader = rnnjax.combinators.embedded(cell, V)
    params, xs = random_params(reader, seed=1), tokens(T, *batch_shape)
    assert params.table.shape == (V, F)
    carry, ys = rnnjax.unroll(reader, params, xs)
    expected = rnnjax.unroll(cell, params.cell, params.table[xs])
    assert_close((carry, ys), expected)


def test_tokens_take_all_options_of_unroll():
    reader = rnnjax.combinators.embedded(rnnjax.lstm(F, H), V)
    params, xs = random_params(reader, seed=1), tokens(T, B)
    lengths, resets = jnp.array([T, 3]), np.random.default_rng(1).random((T, B)) < 0.3
    expected = rnnjax.unroll(
        rnnjax.lstm(F, H), params.cell, params.table[xs], lengths=lengths, resets=resets, reverse=True
    )
    options = {"lengths": lengths, "reverse": True, "time_major": False}
    carry, ys = rnnjax.unroll(reader, params, xs.T, resets=resets.T, **options)
    assert_close((carry, jnp.swapaxes(ys, 0, 1)), expected)
    stacked = rnnjax.encoder([reader, (rnnjax.gru(H, 2), rnnjax.gru(H, 2))])
    assert stacked.apply(stacked.init(jax.random.key(0)), xs, lengths=lengths)[1].shape == (T, B, 4)


def test_a_token_is_reset_and_dropped_out_as_features_are():
    inner = rnnjax.gru(F, H)
    reader = rnnjax.combinators.embedded(inner, V)
    params, xs, resets = random_params(reader, seed=1), tokens(T, B), np.random.default_rng(1).random((T, B)) < 0.3
    reset_on = rnnjax.reset_on(reader)
    expected = rnnjax.unroll(reader, params, xs, resets=resets)
    assert_close(rnnjax.unroll(reset_on, params, rnnjax.combinators.ResetInput(xs, resets)), expected)
    dropped = rnnjax.dropout(reader, key=jax.random.key(0), shape=xs.shape, output=0.5, tied=False)
    ys = rnnjax.unroll(dropped, params, xs)[1]
    plain = rnnjax.unroll(reader, params, xs)[1]
    assert_close(ys, jnp.where(ys == 0, 0, 2 * plain))
    assert 0.3 < float((ys == 0).mean()) < 0.7
    with pytest.raises(ValueError, match=r"^dropout: expected input=0 beside a cell with 0 axes of features\.$"):
        rnnjax.dropout(reader, key=jax.random.key(0), shape=xs.shape, input=0.5)


def test_embedded_refuses_what_it_cannot_read():
    reader = rnnjax.combinators.embedded(rnnjax.gru(F, H), V)
    params = random_params(reader, seed=1)
    with pytest.raises(TypeError, match=r"^embedded: expected tokens of an integer dtype, got float32"):
        rnnjax.unroll(reader, params, normal(0, T, B))
    with pytest.raises(ValueError, match=r"^unroll: expected xs of shape \[T, \.\.\.\], got \(\)\.$"):
        rnnjax.unroll(reader, params, jnp.int32(3))
    with pytest.raises(ValueError, match=r"^embedded: expected vocabulary_size to be a positive int, got 0\.$"):
        rnnjax.combinators.embedded(rnnjax.gru(F, H), 0)
    with pytest.raises(ValueError, match=r"^embedded: expected a cell that states its input_size, got None; "):
        rnnjax.combinators.embedded(rnnjax.gru(F, H)._replace(input_size=None), V)


def test_a_cell_of_ones_own_may_read_scalars():
    """A leaky sum of a series `[T, B]`, without an axis of features."""
    cell = rnnjax.Cell(
        init=lambda key: (),
        initial_carry=lambda batch_shape=(), dtype=jnp.float32: jnp.zeros(batch_shape, dtype),
        apply=lambda params, carry, x: (0.5 * carry + x.astype(carry.dtype),) * 2,
        feature_axes=0,
    )
    xs = normal(0, T, B)
    carry, ys = rnnjax.unroll(cell, (), xs, lengths=jnp.array([T, 0]))
    expected = sum(0.5 ** (T - 1 - t) * xs[t, 0] for t in range(T))
    assert ys.shape == (T, B)
    assert_close(carry, jnp.array([expected, 0.0]))


# ---- keep_carries, skip connections --------------------------------------------------------------------------


def test_keep_carries_stacks_the_carry_of_every_step():
    cell, lengths = rnnjax.lstm(F, H), jnp.array([T, 3])
    params, xs, first = random_params(cell, seed=1), normal(2, T, B, F), noisy(cell.initial_carry((B,)), seed=3)
    last, out = rnnjax.unroll(rnnjax.combinators.keep_carries(cell), params, xs, first, lengths=lengths)
    carry = first
    for t, x in enumerate(xs):
        carry, y = cell.apply(params, carry, x)
        rows = slice(None) if t < 3 else slice(1)
        assert_close((out.y[t, rows], out.carry.c[t, rows]), (y[rows], carry.c[rows]))
    assert_close(last.c[0], carry.c[0])
    assert not np.asarray(out.carry.c[3:, 1]).any()


def test_skip_connections_join_input_and_layers():
    cells = [rnnjax.lstm(F, H), rnnjax.gru(F + H, 11), rnnjax.rnn(F + 11, 2)]
    stacked = rnnjax.stack(cells, skip_connections=True)
    assert (stacked.input_size, stacked.output_size) == (F, H + 11 + 2)
    params, carry, xs = random_params(stacked, seed=1), noisy(stacked.initial_carry((B,)), seed=2), normal(3, T, B, F)
    last, ys = rnnjax.unroll(stacked, params, xs, carry)
    carries = list(carry.layers)
    for t, x in enumerate(xs):
        below, outputs = x, []
        for layer, cell in enumerate(cells):
            carries[layer], y = cell.apply(params.layers[layer], carries[layer], below)
            outputs.append(y)
            below = jnp.concatenate([x, y], axis=-1)
        assert_close(ys[t], jnp.concatenate(outputs, axis=-1))
    assert_close(last, rnnjax.Layers(tuple(carries)))


def test_skip_connections_refuse_layers_that_do_not_fit():
    message = (
        r"^stack: expected layer 1 to take the 3 features of the input and the 5 of the layer below, got input_size 5"
    )
    with pytest.raises(ValueError, match=message):
        rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 7)], skip_connections=True)


# ---- held outputs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reverse", [False, True])
def test_held_outputs_are_those_of_the_last_real_step(reverse):
    ys, mask = {"a": normal(0, T, B, F), "b": tokens(T, B)}, np.random.default_rng(5).random((T, B)) < 0.5
    held = jax.jit(lambda *args: rnnjax.recurrence.hold_outputs(*args, reverse=reverse))(ys, mask)
    for b in range(B):
        last = jax.tree.map(lambda leaf, b=b: jnp.zeros_like(leaf[0, b]), ys)
        for t in reversed(range(T)) if reverse else range(T):
            last = jax.tree.map(lambda leaf, b=b, t=t: leaf[t, b], ys) if mask[t, b] else last
            assert_close(jax.tree.map(lambda leaf, b=b, t=t: leaf[t, b], held), last)


def test_held_outputs_at_the_edges():
    ys = normal(0, T, B, F)
    hold = rnnjax.recurrence.hold_outputs
    assert_close(hold(ys, np.ones((T, B), bool)), ys)
    assert not np.asarray(hold(ys, np.zeros((T, B), bool))).any()
    assert hold(ys[:0], np.zeros((0, B), bool)).shape == (0, B, F)
    assert_close(hold(jnp.where(jnp.arange(T)[:, None, None] < 3, ys, jnp.nan), np.arange(T)[:, None] < [3, 2])[3:, 0],
                 jnp.broadcast_to(ys[2, 0], (T - 3, F)))  # fmt: skip
    with pytest.raises(ValueError, match=r"^hold_outputs: expected mask of the shape \(7, 2, 3\) or of its leading"):
        hold(ys, np.ones((B, T), bool))


def test_gradients_of_held_outputs_reach_the_step_they_come_from():
    mask = np.array([[True], [False], [False], [True]])
    gradient = jax.grad(lambda ys: rnnjax.recurrence.hold_outputs(ys, mask).sum())(normal(0, 4, 1, F))
    assert gradient[:, 0, 0].tolist() == [3.0, 0.0, 0.0, 1.0]
