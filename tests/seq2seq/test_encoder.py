"""Encoders against successive calls of unroll, bridges against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, normal, values_and_gradients
from seq2seq_helpers import SOURCE_LENGTHS, B, F, H, S, T, V, drawn, junk_behind, lstm_step, row

import rnnjax

unroll = jax.jit(rnnjax.unroll, static_argnums=0, static_argnames="reverse")
ENCODERS = {
    "stacked": lambda: rnnjax.encoder([rnnjax.gru(F, 5), rnnjax.lstm(5, 3)]),
    "pairs": lambda: rnnjax.encoder([(rnnjax.gru(F, 5), rnnjax.gru(F, 5)), (rnnjax.lstm(5, 3),) * 2], merge=jnp.add),
    "pair_below": lambda: rnnjax.encoder([(rnnjax.gru(F, 5), rnnjax.lstm(F, 3)), rnnjax.lstm(8, 7)]),
    "reversed": lambda: rnnjax.encoder([rnnjax.lstm(F, 5), rnnjax.gru(5, 3)], reverse=True),
}
every_encoder = pytest.mark.parametrize("name", ENCODERS)


@functools.cache
def encoding(name):
    encoder = ENCODERS[name]()
    return jax.jit(encoder.apply), drawn(encoder, seed=3)


@pytest.mark.slow
def test_an_encoder_of_cells_is_one_unroll_after_the_other():
    apply, params = encoding("stacked")
    xs, lengths = normal(1, S, B, F), jnp.array(SOURCE_LENGTHS)
    carries, ys = apply(params, xs, lengths=lengths)
    first, middle = unroll(rnnjax.gru(F, 5), params.layers[0], xs, lengths=lengths)
    second, expected = unroll(rnnjax.lstm(5, 3), params.layers[1], middle, lengths=lengths)
    assert_close((carries, ys), (rnnjax.Layers((first, second)), expected))


@pytest.mark.slow
def test_a_pair_reads_in_both_directions_and_a_cell_may_follow_it():
    apply, params = encoding("pair_below")
    xs, lengths = normal(1, S, B, F), jnp.array(SOURCE_LENGTHS)
    pair = params.layers[0]
    forward, ys_forward = unroll(rnnjax.gru(F, 5), pair.forward, xs, lengths=lengths)
    backward, ys_backward = unroll(rnnjax.lstm(F, 3), pair.backward, xs, lengths=lengths, reverse=True)
    both = jnp.concatenate([ys_forward, ys_backward], axis=-1)
    top, expected = unroll(rnnjax.lstm(8, 7), params.layers[1], both, lengths=lengths)
    wanted = rnnjax.Layers((rnnjax.Bidirectional(forward, backward), top)), expected
    assert_close(apply(params, xs, lengths=lengths), wanted)


@pytest.mark.slow
def test_an_encoder_is_unroll_layers_with_its_options():
    """Options given to the encoder hold for every call that does not give them itself."""
    layers = [(rnnjax.gru(F, 5), rnnjax.gru(F, 5)), rnnjax.lstm(5, 3)]
    encoder = rnnjax.encoder(layers, merge=jnp.multiply, dropout=0.5)
    params, xs = drawn(encoder), normal(1, B, S, F)
    carry = jax.tree.map(lambda leaf: leaf + 0.3, encoder.apply(params, xs, time_major=False)[0])
    call = {"key": jax.random.key(1), "lengths": jnp.array(SOURCE_LENGTHS), "time_major": False, "remat": "sqrt"}
    got = encoder.apply(params, xs, carry, **call)
    assert_same(got, rnnjax.unroll_layers(layers, params, xs, carry, merge=jnp.multiply, dropout=0.5, **call))
    other = encoder.apply(params, xs, carry, merge=jnp.add, dropout=0.0, **call)
    assert_same(other, rnnjax.unroll_layers(layers, params, xs, carry, merge=jnp.add, **call))
    assert np.abs(got[1] - other[1]).max() > 0.01


@pytest.mark.slow
@every_encoder
def test_a_padded_source_is_encoded_as_an_unpadded_one(name):
    apply, params = encoding(name)
    xs, lengths = normal(1, S, B, F), (S, 4, 0)
    carries, ys = apply(params, junk_behind(lengths, xs), lengths=jnp.array(lengths))
    assert_close((row(carries, 1), ys[:4, 1]), apply(params, xs[:4, 1]))
    assert ys[:, 0].all() and not ys[4:, 1].any() and not ys[:, 2].any()
    assert not any(np.asarray(leaf)[2].any() for leaf in jax.tree.leaves(carries))
    if name == "pairs":
        masked = apply(params, junk_behind(lengths, xs), mask=rnnjax.losses.length_mask(jnp.array(lengths), S))
        assert_close(masked, (carries, ys))


@pytest.mark.slow
def test_padding_of_a_source_gets_no_gradient():
    """Of one row alone, so that its gradients can be compared with those of the unpadded row."""
    apply, params = encoding("reversed")
    xs, lengths = normal(1, S, B, F), (S, 4, 0)

    def both(params, padded, short):
        carries, ys = apply(params[0], padded, lengths=jnp.array(lengths))
        one = jax.tree.map(lambda leaf: leaf[1], carries)
        return (one, ys[:4, 1]), apply(params[1], short)

    values, gradients = values_and_gradients(both, (params, params), junk_behind(lengths, xs), xs[:4, 1])
    assert_close(*values)
    assert_close(*gradients[0])
    assert_close(gradients[1][:4, 1], gradients[2])
    assert not gradients[1][4:].any() and not gradients[1][:, [0, 2]].any()


def test_a_reversed_encoder_reads_the_flipped_source():
    apply, params = encoding("reversed")
    xs = normal(1, S, B, F)
    carries, ys = apply(params, xs.at[4:, 0].set(jnp.nan), lengths=jnp.array([4, 1, S]))
    cells = rnnjax.lstm(F, 5), rnnjax.gru(5, 3)
    for b, length in enumerate((4, 1)):
        flipped, last = xs[:length, b][::-1], []
        for cell, cell_params in zip(cells, params.layers, strict=True):
            carry, flipped = unroll(cell, cell_params, flipped)
            last.append(carry)
        assert_close(row(carries, b), rnnjax.Layers(tuple(last)))
        assert_close(ys[:length, b], flipped[::-1])


@every_encoder
def test_an_encoder_of_no_steps_gives_first_carries(name):
    apply, params = encoding(name)
    carries, ys = apply(params, jnp.zeros((0, B, F)))
    full, full_ys = jax.eval_shape(apply, params, normal(1, S, B, F))
    assert ys.shape == (0, *full_ys.shape[1:]) and jax.tree.structure(carries) == jax.tree.structure(full)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(carries))


@every_encoder
def test_first_carries_are_those_of_every_cell(name):
    encoder = ENCODERS[name]()
    carries, _ = encoding(name)[0](drawn(encoder, seed=3), jnp.zeros((0, B, F)))
    assert_same(encoder.initial_carry((B,)), carries)
    assert {leaf.dtype for leaf in jax.tree.leaves(encoder.initial_carry((), jnp.bfloat16))} == {jnp.dtype("bfloat16")}


@pytest.mark.slow
def test_encoder_parameters_are_drawn_apart():
    encoder = ENCODERS["pairs"]()
    params = encoder.init(jax.random.key(0))
    assert_same(params, encoder.init(jax.random.key(0)))
    matrices = [np.asarray(leaf) for leaf in jax.tree.leaves(params) if leaf.ndim == 2]
    assert len({float(matrix[0, 0]) for matrix in matrices}) == len(matrices)


def test_bad_encoders():
    cell, pair = rnnjax.gru(F, 5), (rnnjax.gru(F, 5), rnnjax.gru(F, 5))
    for message, make in {
        "at least one layer": lambda: rnnjax.encoder([]),
        "reverse=True, got a pair": lambda: rnnjax.encoder([cell, pair], reverse=True),
        "layers to be cells or pairs of cells, got a Cell; put it in a list": lambda: rnnjax.encoder(cell),
        "layers to be cells or pairs of cells, got .*tuple": lambda: rnnjax.encoder([cell, (cell, cell, cell)]),
        "layer 1 to take the 5 features .*, got input_size 4": lambda: rnnjax.encoder([cell, rnnjax.gru(4, 5)]),
        "cells or pairs of cells, got .*int": lambda: rnnjax.encoder([cell, 3]),
    }.items():
        with pytest.raises(ValueError, match=f"encoder: expected .*{message}"):
            make()
    with pytest.raises(TypeError, match=r"encoder: expected merge to be a function of two arrays, .*got 'both'"):
        rnnjax.encoder([pair], merge="both")
    with pytest.raises(TypeError, match="unexpected keyword argument 'merges'"):
        rnnjax.encoder([pair], merges=jnp.add)
    encoder = ENCODERS["stacked"]()  # not compiled, so that values are known
    apply, params = encoder.apply, drawn(encoder)
    with pytest.raises(ValueError, match="lengths between 0 and T = 7, got 2 to 8"):
        apply(params, normal(1, S, B, F), lengths=np.array([2, 8, 3]))
    with pytest.raises(ValueError, match="lengths or mask, got both"):
        apply(params, normal(1, S, B, F), lengths=jnp.ones(B, int), mask=jnp.ones((S, B), bool))


# ---- bridges -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "twin", "batch"),
    [(None, np.tanh, (B,)), (jax.nn.identity, lambda z: z, (2, B)), (None, np.tanh, ())],
)
def test_a_bridge_leads_from_any_carries_to_any_other(activation, twin, batch):
    pair = rnnjax.Bidirectional(rnnjax.lstm(F, 5).initial_carry(), rnnjax.gru(F, 3).initial_carry())
    like = rnnjax.Layers((pair, rnnjax.lstm(8, 2).initial_carry()))
    rng = np.random.default_rng(1)
    source = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=(*batch, *leaf.shape)), jnp.float32), like)
    target = rnnjax.stack([rnnjax.gru(F, 7), rnnjax.lstm(7, 11)]).initial_carry()
    options = {} if activation is None else {"activation": activation}
    bridge = rnnjax.seq2seq.bridge(like, target, **options)
    params = drawn(bridge, seed=4)
    assert params.w.shape == (5 + 5 + 3 + 2 + 2, 7 + 11 + 11) and params.b.shape == (29,)
    got = bridge.apply(params, source)
    pair, top = source.layers
    vector = np.concatenate([pair.forward.h, pair.forward.c, pair.backward.h, top.h, top.c], axis=-1)
    z = twin(vector @ np.asarray(params.w) + np.asarray(params.b))
    wanted = rnnjax.Layers((rnnjax.GRUCarry(z[..., :7]), rnnjax.LSTMCarry(z[..., 7:18], z[..., 18:])))
    assert_close(got, wanted)


def test_the_parameters_of_a_bridge():
    def ones(key, shape, dtype):
        return jnp.ones(shape, dtype)

    bridge = rnnjax.seq2seq.bridge(
        jnp.zeros(5), rnnjax.lstm(F, 3).initial_carry(), w_init=ones, param_dtype=jnp.bfloat16
    )
    params = bridge.init(jax.random.key(0))
    assert params.w.dtype == params.b.dtype == jnp.bfloat16 and bool((params.w == 1).all()) and not params.b.any()
    carry = bridge.apply(params, normal(0, B, 5, dtype=jnp.bfloat16))
    assert carry.c.dtype == jnp.bfloat16
    init = rnnjax.seq2seq.bridge(jnp.zeros(5), rnnjax.gru(F, 3).initial_carry()).init
    assert np.any(init(jax.random.key(0)).w != init(jax.random.key(1)).w)


def test_one_vector_becomes_many_tokens():
    """One to many: a free run of a decoder that knows a vector by its first carry."""
    cell = rnnjax.lstm(F, H)
    decoder, bridge = rnnjax.seq2seq.vector_decoder(cell), rnnjax.seq2seq.bridge(jnp.zeros(5), cell.initial_carry())
    cell_params, bridge_params = drawn(decoder, seed=1), drawn(bridge, seed=2)
    embedding, out, vectors = 2 * normal(3, V, F), 2 * normal(4, H, V), 2 * normal(5, B, 5)

    def step_fn(carry, token):
        carry, made = decoder.step(cell_params, carry, embedding[token], None)
        return carry, made.output @ out

    start = decoder.initial_carry(None, bridge.apply(bridge_params, vectors))
    tokens = jax.jit(lambda carry: rnnjax.greedy(step_fn, carry, bos_id=1, max_steps=T).tokens)(start)
    p, w, b = jax.tree.map(np.asarray, (cell_params, bridge_params.w, bridge_params.b))
    for row_tokens, vector in zip(tokens.tolist(), np.asarray(vectors), strict=True):
        carry, token = rnnjax.LSTMCarry(*np.split(np.tanh(vector @ w + b), 2)), 1
        for found in row_tokens:
            carry, h = lstm_step(p, carry, np.asarray(embedding)[token])
            token = int(np.argmax(h @ np.asarray(out)))
            assert found == token
    assert len({tuple(row_tokens) for row_tokens in tokens.tolist()}) == B


def test_bad_bridges():
    carry = rnnjax.lstm(F, 3).initial_carry()
    for message, source, target in (
        ("source to be vectors of floats", jnp.zeros((B, 5)), carry),
        ("source to be vectors of floats", jnp.zeros(5, jnp.int32), carry),
        ("source to be vectors of floats", (), carry),
        ("target to be vectors of floats .*got .*3, 3", jnp.zeros(5), rnnjax.lstm(F, 3).initial_carry((3,))),
        ("target to be vectors of floats", jnp.zeros(5), 3.0),
    ):
        with pytest.raises(ValueError, match=f"bridge: expected {message}"):
            rnnjax.seq2seq.bridge(source, target)
    bridge = rnnjax.seq2seq.bridge(carry, carry)
    params = drawn(bridge)
    for source in (normal(0, B, 6), rnnjax.LSTMCarry(normal(0, B, 3), normal(0, B, 5)), (), (jnp.float32(1.0),) * 2):
        with pytest.raises(ValueError, match=r"bridge: expected a source whose leaves have \[3, 3\] features"):
            bridge.apply(params, source)
