"""Encoders and decoders against loops by hand, NumPy written from the equations, and the searches that use them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, equations, normal, values_and_gradients, weighted_sum

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")

S, B, T, F, H, M, A, O = 7, 3, 5, 2, 11, 13, 17, 19
V, K = 23, 2
SOURCE_LENGTHS, LENGTHS = (7, 4, 2), (3, 5, 1)
unroll = jax.jit(rnnjax.unroll, static_argnums=0, static_argnames="reverse")
assert_exact = functools.partial(assert_close, rtol=1e-9, atol=1e-11)  # in float64


def drawn(part, seed=0, dtype=jnp.float32):
    """Parameters with every entry of every leaf drawn, biases included; by NumPy, which compiles nothing."""
    shapes, rng = jax.eval_shape(part.init, jax.random.key(0)), np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.standard_normal(leaf.shape), dtype), shapes)


def row(tree, *index):
    """One row of every leaf, or one element of it."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


# ---- the twins: NumPy, one row without padding, one step after the other -----------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_step(p, carry, x):
    i, f, g, o = np.split(x @ p.w_x + carry.h @ p.w_h + p.b, 4)
    c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return rnnjax.LSTMCarry(h, c), h


def gru_step(p, carry, x):
    (x_r, x_u, x_n), (h_r, h_u, h_n) = np.split(x @ p.w_x + p.b, 3), np.split(carry.h @ p.w_h, 3)
    u, n = sigmoid(x_u + h_u), np.tanh(x_n + sigmoid(x_r + h_r) * (h_n + p.b_h))
    h = u * n + (1 - u) * carry.h
    return rnnjax.GRUCarry(h), h


def stack_step(p, carry, x):
    after = []
    for params, before in zip(p.layers, carry.layers, strict=True):
        layer, x = lstm_step(params, before, x)
        after.append(layer)
    return rnnjax.Layers(tuple(after)), x


class Kind(NamedTuple):
    """A cell of H outputs, its step in NumPy and what of its carry is asked for."""

    make: Any
    step: Any
    h: Any


KINDS = {
    "rnn": Kind(lambda size: rnnjax.rnn(size, H), None, None),
    "gru": Kind(lambda size: rnnjax.gru(size, H), gru_step, lambda carry: carry.h),
    "lstm": Kind(lambda size: rnnjax.lstm(size, H), lstm_step, lambda carry: carry.h),
    "stack": Kind(
        lambda size: rnnjax.stack([rnnjax.lstm(size, 3), rnnjax.lstm(3, H)]),
        stack_step,
        lambda carry: carry.layers[1].h,
    ),
}


def additive(p, query, m):
    """Additive attention: context `[M]` and weights `[S]` of one query over m `[S, M]`."""
    e = np.array([p.v @ np.tanh(query @ p.w_q + m_s @ p.w_m + p.b) for m_s in m])
    a = np.exp(e) / np.exp(e).sum()
    return sum(a_s * m_s for a_s, m_s in zip(a, m, strict=True)), a


def decode(kind, query, w_c, feeds, params, carry, xs, m):
    """The equations of `attention_decoder`, one row: outputs, contexts and weights of all steps, and the last carry."""
    steps, feed = [], np.zeros(O)
    for x in xs:
        fed = [feed] if feeds else []
        if query == "previous":
            context, weights = additive(params.attention, kind.h(carry), m)
            carry, y = kind.step(params.cell, carry, np.concatenate([x, context, *fed]))
        else:
            carry, y = kind.step(params.cell, carry, np.concatenate([x, *fed]))
            context, weights = additive(params.attention, y, m)
        output = np.concatenate([y, context])
        if w_c is not None:
            output = np.tanh(output @ w_c)
        feed = output
        steps.append((output, context, weights))
    return carry, [np.stack(column) for column in zip(*steps, strict=True)]


# ---- encoders --------------------------------------------------------------------------------------------------

ENCODERS = {
    "stacked": lambda: rnnjax.encoder([rnnjax.gru(F, 5), rnnjax.lstm(5, 3)]),
    "pairs": lambda: rnnjax.encoder([(rnnjax.gru(F, 5), rnnjax.gru(F, 5)), (rnnjax.lstm(5, 3),) * 2], merge="sum"),
    "pair_below": lambda: rnnjax.encoder([(rnnjax.gru(F, 5), rnnjax.lstm(F, 3)), rnnjax.lstm(8, 7)]),
    "reversed": lambda: rnnjax.encoder([rnnjax.lstm(F, 5), rnnjax.gru(5, 3)], reverse=True),
}
every_encoder = pytest.mark.parametrize("name", ENCODERS)


@functools.cache
def encoding(name):
    encoder = ENCODERS[name]()
    return jax.jit(encoder.apply), drawn(encoder, seed=3)


def test_an_encoder_of_one_cell_a_layer_is_one_unroll_after_the_other():
    apply, params = encoding("stacked")
    xs, lengths = normal(1, S, B, F), jnp.array(SOURCE_LENGTHS)
    carries, ys = apply(params, xs, lengths=lengths)
    first, middle = unroll(rnnjax.gru(F, 5), params.layers[0], xs, lengths=lengths)
    second, expected = unroll(rnnjax.lstm(5, 3), params.layers[1], middle, lengths=lengths)
    assert_close((carries, ys), (rnnjax.Layers((first, second)), expected))


def test_a_pair_reads_in_both_directions_and_a_cell_may_lie_on_it():
    apply, params = encoding("pair_below")
    xs, lengths = normal(1, S, B, F), jnp.array(SOURCE_LENGTHS)
    pair = params.layers[0]
    forward, ys_forward = unroll(rnnjax.gru(F, 5), pair.forward, xs, lengths=lengths)
    backward, ys_backward = unroll(rnnjax.lstm(F, 3), pair.backward, xs, lengths=lengths, reverse=True)
    both = jnp.concatenate([ys_forward, ys_backward], axis=-1)
    top, expected = unroll(rnnjax.lstm(8, 7), params.layers[1], both, lengths=lengths)
    wanted = rnnjax.Layers((rnnjax.Bidirectional(forward, backward), top)), expected
    assert_close(apply(params, xs, lengths=lengths), wanted)


@pytest.mark.parametrize("merge", ["mean", "product"])
def test_directions_are_merged_as_asked(merge):
    cells = rnnjax.gru(F, 5), rnnjax.gru(F, 5)
    encoder = rnnjax.encoder([cells], merge=merge)
    params, xs = drawn(encoder), normal(1, S, B, F)
    carries, ys = encoder.apply(params, xs)
    expected = rnnjax.bidirectional(*cells, params.layers[0], xs, merge=merge)
    assert_close((carries.layers[0], ys), expected)


def junk_behind(lengths, xs, junk=jnp.nan):
    """xs `[S, B, ...]` with junk where there is only padding."""
    real = rnnjax.length_mask(jnp.array(lengths), xs.shape[0])
    return jnp.where(real.reshape(*real.shape, *(1,) * (xs.ndim - 2)), xs, jnp.asarray(junk, xs.dtype))


@every_encoder
def test_a_padded_source_is_encoded_as_an_unpadded_one(name):
    apply, params = encoding(name)
    xs, lengths = normal(1, S, B, F), (S, 4, 0)
    carries, ys = apply(params, junk_behind(lengths, xs), lengths=jnp.array(lengths))
    assert_close((row(carries, 1), ys[:4, 1]), apply(params, xs[:4, 1]))
    assert ys[:, 0].all() and not ys[4:, 1].any() and not ys[:, 2].any()
    assert not any(np.asarray(leaf)[2].any() for leaf in jax.tree.leaves(carries))
    if name == "pairs":
        masked = apply(params, junk_behind(lengths, xs), mask=rnnjax.length_mask(jnp.array(lengths), S))
        assert_close(masked, (carries, ys))


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
        "merge to be one of concat, .*got 'both'": lambda: rnnjax.encoder([pair], merge="both"),
        "reverse=True, got a pair": lambda: rnnjax.encoder([cell, pair], reverse=True),
        "layers to be cells or pairs of cells, got a Cell; put it in a list": lambda: rnnjax.encoder(cell),
        "layers to be cells or pairs of cells, got .*tuple": lambda: rnnjax.encoder([cell, (cell, cell, cell)]),
        "cells or pairs of cells, got .*int": lambda: rnnjax.encoder([cell, 3]),
    }.items():
        with pytest.raises(ValueError, match=f"encoder: expected .*{message}"):
            make()
    encoder = ENCODERS["stacked"]()  # not compiled, so that values are known
    apply, params = encoder.apply, drawn(encoder)
    with pytest.raises(ValueError, match="lengths between 0 and T = 7 steps, got 2 to 8"):
        apply(params, normal(1, S, B, F), lengths=np.array([2, 8, 3]))
    with pytest.raises(ValueError, match="lengths or mask, got both"):
        apply(params, normal(1, S, B, F), lengths=jnp.ones(B, int), mask=jnp.ones((S, B), bool))


# ---- bridges ---------------------------------------------------------------------------------------------------


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
    bridge = rnnjax.bridge(like, target, **options)
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

    bridge = rnnjax.bridge(jnp.zeros(5), rnnjax.lstm(F, 3).initial_carry(), w_init=ones, param_dtype=jnp.bfloat16)
    params = bridge.init(jax.random.key(0))
    assert params.w.dtype == params.b.dtype == jnp.bfloat16 and bool((params.w == 1).all()) and not params.b.any()
    carry = bridge.apply(params, normal(0, B, 5, dtype=jnp.bfloat16))
    assert carry.c.dtype == jnp.bfloat16
    init = rnnjax.bridge(jnp.zeros(5), rnnjax.gru(F, 3).initial_carry()).init
    assert np.any(init(jax.random.key(0)).w != init(jax.random.key(1)).w)


def test_one_vector_becomes_many_tokens():
    """One to many: a free run of a decoder that knows a vector by its first carry."""
    cell = rnnjax.lstm(F, H)
    decoder, bridge = rnnjax.vector_decoder(cell), rnnjax.bridge(jnp.zeros(5), cell.initial_carry())
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
            rnnjax.bridge(source, target)
    bridge = rnnjax.bridge(carry, carry)
    params = drawn(bridge)
    for source in (normal(0, B, 6), rnnjax.LSTMCarry(normal(0, B, 3), normal(0, B, 5)), (), (jnp.float32(1.0),) * 2):
        with pytest.raises(ValueError, match=r"bridge: expected a source whose leaves have \[3, 3\] features"):
            bridge.apply(params, source)


# ---- the attention decoder against its equations ---------------------------------------------------------------


def make_decoder(kind="gru", query="previous", form="plain", attention=None, **options):
    """A decoder of inputs F, outputs H and a memory of M features."""
    attention = attention or rnnjax.additive_attention(H, M, A)
    size = F + (M if query == "previous" else 0) + (O if form == "feeding" else 0)
    if form != "plain":
        options["attentional"] = (H + M, O)
    options["input_feeding"] = form == "feeding"
    return attention, rnnjax.attention_decoder(KINDS[kind].make(size), attention, query=query, **options)


@pytest.mark.parametrize(
    ("kind", "query", "form"),
    [
        ("gru", "previous", "plain"),
        ("lstm", "previous", "attentional"),
        ("stack", "previous", "feeding"),
        ("stack", "current", "plain"),
        ("gru", "current", "attentional"),
        ("lstm", "current", "feeding"),
    ],
)
def test_a_decoder_is_its_equations(kind, query, form):
    with jax.enable_x64(True):
        attention, decoder = make_decoder(kind, query, form)
        params = drawn(decoder, seed=1, dtype=jnp.float64)
        assert params.w_c is None if form == "plain" else params.w_c.shape == (H + M, O)
        source, xs = normal(2, S, B, M, dtype=jnp.float64), normal(3, T, B, F, dtype=jnp.float64)
        start = jax.tree.map(
            lambda leaf: normal(leaf.size, B, *leaf.shape, dtype=jnp.float64),
            KINDS[kind].make(F).initial_carry((), jnp.float64),
        )

        @jax.jit
        def run(params, source, start):
            memory = attention.remember(params.attention, source, lengths=jnp.array(SOURCE_LENGTHS))
            carry = decoder.initial_carry(memory, start, dtype=jnp.float64)
            return rnnjax.teacher_force(decoder, params, memory, xs, carry)

        carry, out = run(params, source, start)
        p, m, x, first = jax.tree.map(np.asarray, (params, source, xs, start))
        for b, length in enumerate(SOURCE_LENGTHS):
            last, expected = decode(
                KINDS[kind], query, p.w_c, form == "feeding", p, row(first, b), x[:, b], m[:length, b]
            )
            assert_exact([out.output[:, b], out.context[:, b], out.weights[:, b, :length]], expected)
            assert not out.weights[:, b, length:].any()
            assert_exact(row(carry.cell, b), last)
            assert_exact(carry.alignment.weights[b, :length], expected[2][-1])
            assert_exact(carry.alignment.coverage[b, :length], expected[2].sum(0))
            assert carry.alignment.step[b] == T
            if form == "feeding":
                assert_exact(carry.feed[b], expected[0][-1])
            else:
                assert carry.feed is None


def test_the_first_carry_of_a_decoder():
    attention, decoder = make_decoder("lstm", form="feeding")
    memory = attention.remember(drawn(decoder).attention, normal(1, S, B, M))
    carry = decoder.initial_carry(memory)
    assert carry.cell.h.shape == (B, H) and carry.feed.shape == (B, O) and carry.alignment.weights.shape == (B, S)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(carry))
    wide = decoder.initial_carry(memory, batch_shape=(B, K), dtype=jnp.bfloat16)
    assert wide.cell.c.shape == (B, K, H) and wide.feed.shape == (B, K, O) and wide.alignment.step.shape == (B, K)
    assert wide.cell.h.dtype == wide.feed.dtype == wide.alignment.coverage.dtype == jnp.bfloat16
    given = rnnjax.LSTMCarry(normal(2, B, H), normal(3, B, H))
    assert_same(decoder.initial_carry(memory, given).cell, given)


def test_the_parameters_of_a_decoder_are_drawn_apart():
    def ones(key, shape, dtype):
        return jnp.ones(shape, dtype)

    _, decoder = make_decoder(form="attentional", w_init=ones, param_dtype=jnp.bfloat16)
    params = decoder.init(jax.random.key(0))
    assert params.w_c.dtype == jnp.bfloat16 and bool((params.w_c == 1).all())
    _, decoder = make_decoder(form="attentional")
    params, other = decoder.init(jax.random.key(0)), decoder.init(jax.random.key(1))
    assert_same(params, decoder.init(jax.random.key(0)))
    assert len({float(leaf[0, 0]) for leaf in (params.w_c, params.cell.w_x, params.attention.w_q)}) == 3
    assert all(np.any(a != b) for a, b in ((params.w_c, other.w_c), (params.attention.w_q, other.attention.w_q)))


def test_the_query_may_be_chosen():
    attention, decoder = make_decoder("lstm", query_of=lambda carry: carry.c)
    params = drawn(decoder, seed=1)
    memory = attention.remember(params.attention, normal(2, S, B, M))
    cell_carry = rnnjax.LSTMCarry(normal(3, B, H), normal(4, B, H))
    _, out = decoder.step(params, decoder.initial_carry(memory, cell_carry), normal(5, B, F), memory)
    assert_close((out.context, out.weights), attention.attend(params.attention, cell_carry.c, memory))


def test_a_stack_of_stacks_asks_with_its_top_layer():
    inner = rnnjax.stack([rnnjax.lstm(5, 3), rnnjax.lstm(3, H)])
    attention = rnnjax.additive_attention(H, M, A)
    decoder = rnnjax.attention_decoder(rnnjax.stack([rnnjax.gru(F + M, 5), inner]), attention)
    params = drawn(decoder, seed=1)
    memory = attention.remember(params.attention, normal(2, S, B, M))
    cell_carry = jax.tree.map(lambda leaf: normal(leaf.size, *leaf.shape), decoder.initial_carry(memory).cell)
    cell_carry = cell_carry._replace(layers=(rnnjax.GRUCarry(normal(9, B, 5)), cell_carry.layers[1]))
    _, out = decoder.step(params, decoder.initial_carry(memory, cell_carry), normal(5, B, F), memory)
    query = cell_carry.layers[1].layers[1].h
    assert_close(out.weights, attention.attend(params.attention, query, memory)[1])


def test_the_one_step_attention_of_course_notes():
    """Bidirectional LSTM, attention from the state before, post-attention LSTM that reads the context only."""
    with jax.enable_x64(True):
        before = rnnjax.encoder([(rnnjax.lstm(F, 5), rnnjax.lstm(F, 5))])
        attention = rnnjax.additive_attention(H, 10, A)
        decoder = rnnjax.attention_decoder(rnnjax.lstm(10, H), attention)
        encoder_params, params = (drawn(part, seed, jnp.float64) for seed, part in enumerate((before, decoder)))
        w_y, source = normal(3, H, V, dtype=jnp.float64), normal(4, S, B, F, dtype=jnp.float64)
        lengths = jnp.array(SOURCE_LENGTHS)
        _, a = jax.jit(before.apply)(encoder_params, source, lengths=lengths)
        memory = attention.remember(params.attention, a, lengths=lengths)
        carry, outputs = decoder.initial_carry(memory, dtype=jnp.float64), []
        step = jax.jit(lambda carry: decoder.step(params, carry, None, memory))
        for _ in range(T):
            carry, out = step(carry)
            outputs.append((jax.nn.softmax(out.output[..., :H] @ w_y), out.weights))
        ys, alphas = (jnp.stack(column) for column in zip(*outputs, strict=True))
        p, q, w, x = jax.tree.map(np.asarray, (encoder_params.layers[0], params, w_y, source))
        for b, length in enumerate(SOURCE_LENGTHS):
            zeros, forward, backward = rnnjax.LSTMCarry(np.zeros(5), np.zeros(5)), [], []
            state = zeros
            for t in range(length):
                state, h = lstm_step(p.forward, state, x[t, b])
                forward.append(h)
            state = zeros
            for t in reversed(range(length)):
                state, h = lstm_step(p.backward, state, x[t, b])
                backward.insert(0, h)
            annotations = [np.concatenate(both) for both in zip(forward, backward, strict=True)]  # a<t'>
            state = rnnjax.LSTMCarry(np.zeros(H), np.zeros(H))  # s<0>, c<0>
            for t in range(T):
                e = [q.attention.v @ np.tanh(state.h @ q.attention.w_q + a @ q.attention.w_m + q.attention.b)
                     for a in annotations]  # fmt: skip
                alpha = np.exp(e) / np.exp(e).sum()
                context = sum(alpha[s] * annotations[s] for s in range(length))
                state, s_t = lstm_step(q.cell, state, context)
                y = np.exp(s_t @ w) / np.exp(s_t @ w).sum()
                assert_exact(ys[t, b], y)
                assert_exact(alphas[t, b, :length], alpha)
        forced = rnnjax.teacher_force(decoder, params, memory, jnp.zeros((T, B, 0), jnp.float64))
        assert_exact(forced[1].weights, alphas)
        assert_exact(forced[0], carry)


def test_the_regions_of_an_image_are_a_memory():
    """Show, Attend and Tell: regions of a grid, the first state from their mean, h asks before it reads the word."""
    with jax.enable_x64(True):
        height, width = 2, 3
        features = normal(1, height, width, B, M, dtype=jnp.float64)
        regions = features.reshape(height * width, B, M)
        attention, decoder = make_decoder("lstm")
        bridge = rnnjax.bridge(jnp.zeros(M, jnp.float64), rnnjax.lstm(F, H).initial_carry((), jnp.float64))
        params, over = drawn(decoder, 1, jnp.float64), drawn(bridge, 2, jnp.float64)
        words = normal(3, T, B, F, dtype=jnp.float64)
        memory = attention.remember(params.attention, regions)
        start = bridge.apply(over, jnp.mean(regions, axis=0))
        carry = decoder.initial_carry(memory, start, dtype=jnp.float64)
        _, out = rnnjax.teacher_force(decoder, params, memory, words, carry)
        maps = out.weights.reshape(T, B, height, width)
        p, w, b_, grid, x = jax.tree.map(np.asarray, (params, over.w, over.b, features, words))
        for b in range(B):
            mean = np.mean([grid[i, j, b] for i in range(height) for j in range(width)], axis=0)
            state = rnnjax.LSTMCarry(*np.split(np.tanh(mean @ w + b_), 2))
            for t in range(T):
                e = np.array([[p.attention.v @ np.tanh(state.h @ p.attention.w_q + region @ p.attention.w_m
                              + p.attention.b) for region in line] for line in grid[:, :, b]])  # fmt: skip
                alpha = np.exp(e) / np.exp(e).sum()
                context = np.einsum("ij,ijm->m", alpha, grid[:, :, b])
                state, h = lstm_step(p.cell, state, np.concatenate([x[t, b], context]))
                assert_exact(maps[t, b], alpha)
                assert_exact(out.output[t, b], np.concatenate([h, context]))


# ---- the vector decoder ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_step", [False, True])
def test_a_vector_decoder_is_its_equations(every_step):
    with jax.enable_x64(True):
        decoder = rnnjax.vector_decoder(rnnjax.gru(F + (M if every_step else 0), H), every_step=every_step)
        params, memory = drawn(decoder, 1, jnp.float64), normal(2, B, M, dtype=jnp.float64)
        xs, start = normal(3, T, B, F, dtype=jnp.float64), rnnjax.GRUCarry(normal(4, B, H, dtype=jnp.float64))
        given = memory if every_step else None
        carry, out = rnnjax.teacher_force(decoder, params, given, xs, decoder.initial_carry(given, start))
        assert out.context is None and out.weights is None and carry.alignment is None and carry.feed is None
        p, m, x, h = jax.tree.map(np.asarray, (params, memory, xs, start.h))
        for b in range(B):
            state = rnnjax.GRUCarry(h[b])
            for t in range(T):
                state, y = gru_step(p, state, np.concatenate([x[t, b], m[b]]) if every_step else x[t, b])
                assert_exact(out.output[t, b], y)
            assert_exact(row(carry.cell, b), state)


def test_the_first_carry_of_a_vector_decoder():
    decoder = rnnjax.vector_decoder(rnnjax.lstm(F + M, H), every_step=True)
    memory = normal(1, B, M)
    assert decoder.initial_carry(memory).cell.c.shape == (B, H)
    assert decoder.initial_carry(None).cell.c.shape == (H,)
    assert decoder.initial_carry(memory, batch_shape=[B, K], dtype=jnp.bfloat16).cell.h.shape == (B, K, H)
    assert decoder.initial_carry(None, dtype=jnp.bfloat16).cell.h.dtype == jnp.bfloat16
    given = rnnjax.LSTMCarry(normal(2, B, H), normal(3, B, H))
    assert_same(decoder.initial_carry(None, given).cell, given)


def test_a_vector_at_every_step_is_shared_by_beams():
    decoder = rnnjax.vector_decoder(rnnjax.gru(F + M, H), every_step=True)
    params, memory, xs = drawn(decoder), normal(1, B, M), normal(2, B, K, F)
    start, step = decoder.initial_carry(memory, rnnjax.GRUCarry(normal(3, B, K, H))), jax.jit(decoder.step)
    carry, out = step(params, start, xs, memory)
    for b, k in np.ndindex(B, K):
        one = step(params, row(start, b, k), xs[b, k], memory[b])
        assert_close(one, (row(carry, b, k), row(out, b, k)))


# ---- teacher forcing -------------------------------------------------------------------------------------------


def mechanisms():
    additive = functools.partial(rnnjax.additive_attention, H, M, A)
    return {
        "additive": additive(),
        "additive_coverage": additive(coverage=True),
        "dot": rnnjax.dot_attention(),
        "general": rnnjax.general_attention(H, M),
        "concat": rnnjax.concat_attention(H, M, A),
        "scaled_dot": rnnjax.scaled_dot_attention(H),
        "location": rnnjax.location_attention(H, M, A, filters=2, width=3),
        "local_m": rnnjax.local_attention(rnnjax.general_attention(H, M), window=1),
        "local_p": rnnjax.local_attention(rnnjax.general_attention(H, M), window=2, query_size=H),
        "monotonic": rnnjax.monotonic_attention(additive(normalize=True)),
    }


class Case(NamedTuple):
    """A decoder at work, with everything that gradients are asked for."""

    attention: Any
    decoder: Any
    params: Any
    source: Any  # [S, B, M]
    xs: Any  # [T, B, F]


def case(name="additive", query="previous", form="plain", kind="gru", dtype=jnp.float32):
    attention = mechanisms()[name]
    memory_size = H if name in ("dot", "scaled_dot") else M
    size = F + (memory_size if query == "previous" else 0) + (O if form == "feeding" else 0)
    options = {} if form == "plain" else {"attentional": (H + memory_size, O), "input_feeding": form == "feeding"}
    decoder = rnnjax.attention_decoder(KINDS[kind].make(size), attention, query=query, **options)
    params = drawn(decoder, seed=1, dtype=dtype)
    return Case(attention, decoder, params, normal(2, S, B, memory_size, dtype=dtype), normal(3, T, B, F, dtype=dtype))


def remembered(case, params, source, lengths=SOURCE_LENGTHS):
    return case.attention.remember(params.attention, source, lengths=jnp.array(lengths))


def forced(case, lengths=LENGTHS, source_lengths=SOURCE_LENGTHS, **options):
    def run(params, source, xs):
        memory = remembered(case, params, source, source_lengths)
        given = None if lengths is None else jnp.array(lengths)
        return rnnjax.teacher_force(case.decoder, params, memory, xs, lengths=given, **options)

    return run


def scanned(case, lengths=LENGTHS, source_lengths=SOURCE_LENGTHS):
    """The same by jax.lax.scan, with the padding taken out by hand."""

    def run(params, source, xs):
        memory = remembered(case, params, source, source_lengths)
        real = np.arange(T)[:, None] < np.array(lengths)

        def body(carry, now):
            x, real = now

            def keep(new, old):
                return jnp.where(real.reshape(B, *(1,) * (new.ndim - 1)), new, old)

            after, out = case.decoder.step(params, carry, x, memory)
            return jax.tree.map(keep, after, carry), jax.tree.map(lambda leaf: keep(leaf, jnp.zeros_like(leaf)), out)

        return jax.lax.scan(body, case.decoder.initial_carry(memory), (xs, jnp.asarray(real)))

    return run


@pytest.mark.parametrize("name", mechanisms())
def test_forcing_is_a_plain_scan_for_every_mechanism(name):
    """Values and gradients, with NaN behind both lengths, and one source that is empty."""
    c = case(name, "previous" if len(name) % 2 else "current", kind="rnn")
    lengths = (S, 0, 4)

    def both(padded, clean):
        return forced(c, LENGTHS, lengths)(*padded), scanned(c, LENGTHS, lengths)(*clean)

    clean = c.params, c.source, c.xs
    padded = c.params, junk_behind(lengths, c.source), junk_behind(LENGTHS, c.xs)
    values, gradients = values_and_gradients(both, padded, clean)
    assert_close(*values)
    assert_close(*gradients, rtol=1e-3, atol=1e-4)
    (_, out), (_, of_source, of_xs) = values[0], gradients[0]
    assert not out.weights[:, 1].any() and not out.context[:, 1].any() and not of_source[:, 1].any()
    assert np.asarray(of_source[:, 0]).any() and np.asarray(of_source[:4, 2]).any() and np.asarray(of_xs[0]).any()


def stepped(c, lengths=(T,) * B):
    """The same as a Python loop."""

    def run(params, source, xs):
        memory = remembered(c, params, source)
        carry, outs = c.decoder.initial_carry(memory), []
        for t, x in enumerate(xs):
            real = t < jnp.array(lengths)
            after, out = c.decoder.step(params, carry, x, memory)
            carry = rnnjax.select(real, after, carry)
            outs.append(rnnjax.select(real, out, 0))
        return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outs)

    return run


@pytest.mark.parametrize(
    ("name", "query", "kind"),
    [("location", "previous", "stack"), ("additive_coverage", "current", "lstm")],
)
def test_forcing_is_stepping(name, query, kind):
    c = case(name, query, "feeding", kind)
    args = c.params, c.source, c.xs
    assert_close(jax.jit(forced(c))(*args), jax.jit(stepped(c, LENGTHS))(*args))


@pytest.mark.parametrize(
    ("name", "query"),
    [("additive_coverage", "previous"), ("location", "current"), ("local_m", "previous"), ("monotonic", "current")],
)
def test_attention_is_told_of_the_steps_before(name, query):
    """A loop that keeps weights, their sum and the count of steps itself."""
    c, cell = case(name, query, kind="rnn"), rnnjax.rnn(F + (M if query == "previous" else 0), H)

    @jax.jit
    def looped(params, source, xs):
        memory, carry, outs = remembered(c, params, source), cell.initial_carry((B,)), []
        weights, total = jnp.zeros((B, S)), jnp.zeros((B, S))
        for t, x in enumerate(xs):
            before = rnnjax.Alignment(weights, total, jnp.full(B, t, jnp.int32))
            attend = functools.partial(c.attention.attend, params.attention, memory=memory, alignment=before)
            if query == "previous":
                context, weights = attend(carry.h)
                carry, y = cell.apply(params.cell, carry, jnp.concatenate([x, context], axis=-1))
            else:
                carry, y = cell.apply(params.cell, carry, x)
                context, weights = attend(y)
            total = total + weights
            outs.append(weights)
        return carry, jnp.stack(outs), total

    args = c.params, c.source, c.xs
    last, out = jax.jit(forced(c, None))(*args)
    assert_close((last.cell, out.weights, last.alignment.coverage), looped(*args))


def test_gradients_of_forcing_are_those_of_stepping():
    c = case("general", "previous", "feeding", "lstm")
    args = c.params, c.source, c.xs[:3]
    got, expected = values_and_gradients(forced(c, None), *args), values_and_gradients(stepped(c), *args)
    assert_close(got, expected, rtol=1e-3, atol=1e-4)


def test_forcing_starts_from_a_carry_and_goes_on_from_it():
    c = case("additive_coverage", form="feeding", kind="lstm")
    memory = remembered(c, c.params, c.source)
    start = rnnjax.LSTMCarry(normal(5, B, H), normal(6, B, H))
    carry = c.decoder.initial_carry(memory, start)
    last, out = rnnjax.teacher_force(c.decoder, c.params, memory, c.xs, carry)
    middle, first = rnnjax.teacher_force(c.decoder, c.params, memory, c.xs[:2], carry)
    again, second = rnnjax.teacher_force(c.decoder, c.params, memory, c.xs[2:], middle)
    assert_close(again, last)
    assert_close(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second), out)
    assert np.abs(out.output - rnnjax.teacher_force(c.decoder, c.params, memory, c.xs)[1].output).max() > 0.01


@functools.cache
def plainly_forced():
    c = case(form="feeding")
    return jax.jit(forced(c))(c.params, c.source, c.xs)


@pytest.mark.parametrize("options", [{"remat": "step"}, {"remat": 2}, {"chunk": 2}, {"mask": True}], ids=str)
def test_options_of_the_loop_change_nothing(options):
    c = case(form="feeding")
    args = c.params, c.source, c.xs
    if "mask" in options:
        run = forced(c, None, mask=rnnjax.length_mask(jnp.array(LENGTHS), T))
    else:
        run = forced(c, **options)
        names = [e.primitive.name for e in equations(jax.make_jaxpr(run)(*args))]
        assert any(name in ("remat2", "checkpoint") for name in names) == ("remat" in options)
        assert ("scan" in names and names.count("scan") > 1) == (options != {"remat": "step"})
    assert_close(jax.jit(run)(*args), plainly_forced())


def test_a_row_without_targets_keeps_its_carry_and_gets_no_gradient():
    c = case(form="feeding")
    (carry, out), gradients = values_and_gradients(forced(c, (3, 0, 5)), c.params, c.source, c.xs)
    assert not any(np.asarray(leaf)[1].any() for leaf in jax.tree.leaves(carry))
    assert not any(np.asarray(leaf)[:, 1].any() for leaf in jax.tree.leaves((out, gradients[1], gradients[2])))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_no_steps_give_no_outputs():
    c = case()
    carry, out = forced(c, None)(c.params, c.source, c.xs[:0])
    assert out.output.shape == (0, B, H + M) and out.weights.shape == (0, B, S)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(carry))


@pytest.mark.parametrize("name", ["additive_coverage", "dot", "location", "local_p", "monotonic"])
def test_a_source_without_positions_is_an_empty_source(name):
    c, outs = case(name), []
    for source in (c.source[:0], c.source):
        memory = remembered(c, c.params, source, (0,) * B)
        carry = c.decoder.initial_carry(memory)
        outs.append(jax.jit(c.decoder.step)(c.params, carry, c.xs[0], memory))
    (carry, out), (_, expected) = outs
    assert out.weights.shape == carry.alignment.coverage.shape == (B, 0)
    assert_close((out.output, out.context), (expected.output, expected.context))
    assert not expected.context.any()


def test_rows_do_not_mix_and_beams_share_a_memory():
    """Over a source alone, over a batch of beams, and by vmap: all the same."""
    c = case("location", "previous", "feeding", "lstm")
    xs = normal(7, T, B, K, F)
    memory = remembered(c, c.params, c.source)
    carry, out = rnnjax.teacher_force(
        c.decoder, c.params, memory, xs, c.decoder.initial_carry(memory, batch_shape=(B, K))
    )
    run = functools.partial(rnnjax.teacher_force, c.decoder, c.params)
    assert_close(
        jax.vmap(lambda memory, xs: run(memory, xs, c.decoder.initial_carry(memory, batch_shape=(K,))), (0, 1), (0, 1))(
            memory, xs
        ),
        (carry, out),
    )
    for b, k in ((1, 1),):
        alone = c.attention.remember(c.params.attention, c.source[: SOURCE_LENGTHS[b], b])
        last, one = run(alone, xs[:, b, k])
        assert_close((one.output, one.context), (out.output[:, b, k], out.context[:, b, k]))
        assert_close(one.weights, out.weights[:, b, k, : SOURCE_LENGTHS[b]])
        assert_close(last.cell, row(carry.cell, b, k))


def test_forcing_is_one_loop_traced_once():
    c, traces = case(form="feeding"), []

    @jax.jit
    def run(params, source, xs, lengths):
        traces.append(1)
        return rnnjax.teacher_force(c.decoder, params, remembered(c, params, source), xs, lengths=lengths)

    for seed in range(10):
        run(c.params, c.source + seed, c.xs, jnp.array(LENGTHS) % (seed + 1))
    assert len(traces) == 1
    loops = [e for e in equations(jax.make_jaxpr(forced(c))(c.params, c.source, c.xs)) if e.primitive.name == "scan"]
    assert len(loops) == 1


@pytest.mark.parametrize(("kind", "form"), [("gru", "plain"), ("stack", "feeding")])
def test_half_precision(kind, form):
    full = case("additive_coverage", form=form, kind=kind)
    half = case("additive_coverage", form=form, kind=kind, dtype=jnp.bfloat16)
    args = half.params, half.source, half.xs
    carry, out = jax.jit(forced(half))(*args)
    leaves = jax.tree.leaves((out, carry.cell, carry.feed, carry.alignment.weights))
    if kind == "gru":
        leaves += jax.tree.leaves(jax.eval_shape(jax.grad(lambda args: weighted_sum(forced(half)(*args))), args))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
    expected = jax.jit(forced(full))(full.params, full.source, full.xs)
    assert_close(out, expected[1], rtol=0.1, atol=0.1)


# ---- a whole model ---------------------------------------------------------------------------------------------


class Model(NamedTuple):
    """Parameters of a whole model, from tokens to logits."""

    embedding: Any
    encoder: Any
    bridge: Any
    decoder: Any
    out: Any


ENCODER = rnnjax.encoder([(rnnjax.lstm(F, 5), rnnjax.lstm(F, 8))])
LIKE = rnnjax.Bidirectional(rnnjax.lstm(F, 5).initial_carry(), rnnjax.lstm(F, 8).initial_carry())
BRIDGE = rnnjax.bridge(LIKE, rnnjax.lstm(F, H).initial_carry())
BOS, EOS, PAD = 1, 2, 29


def whole_model(name="additive", form="plain", query="previous"):
    """Parameters and attention decoder of a translator over V words."""
    decoder = case(name, query, form, "lstm").decoder
    features = H + M if form == "plain" else O
    params = (drawn(part, seed) for seed, part in enumerate((ENCODER, BRIDGE, decoder)))
    return decoder, Model(2 * normal(5, V, F), *params, 1.5 * normal(6, features, V))


def read(attention, decoder, model, sources, lengths):
    carries, ys = ENCODER.apply(model.encoder, model.embedding[sources], lengths=lengths)
    memory = attention.remember(model.decoder.attention, ys, lengths=lengths)
    return memory, BRIDGE.apply(model.bridge, carries.layers[0])


def test_padding_of_a_whole_model_is_inert():
    """Loss and gradients of all parameters are the same whatever tokens are in the padding."""
    decoder, model = whole_model(form="feeding")
    attention = mechanisms()["additive"]
    rng = np.random.default_rng(0)
    sources, targets = (jnp.asarray(rng.integers(V, size=size)) for size in ((S, B), (T, B)))
    lengths, target_lengths = jnp.array([4, 1, 3]), jnp.array([2, 3, 1])

    @jax.jit
    @jax.value_and_grad
    def graded(model, sources, targets):
        memory, start = read(attention, decoder, model, sources, lengths)
        xs = model.embedding[jnp.concatenate([jnp.full_like(targets[:1], BOS), targets[:-1]])]
        carry = decoder.initial_carry(memory, start)
        _, out = rnnjax.teacher_force(decoder, model.decoder, memory, xs, carry, lengths=target_lengths)
        where = rnnjax.length_mask(target_lengths, targets.shape[0])
        return rnnjax.sequence_loss(out.output @ model.out, targets, where=where, label_smoothing=0.1).mean

    got = graded(model, sources, targets)
    others = junk_behind(lengths, sources, BOS), junk_behind(target_lengths, targets, V + 100)
    assert_close(got, graded(model, *others), rtol=1e-6, atol=1e-7)
    other = graded(model, sources.at[3, 0].set((sources[3, 0] + 1) % V), targets)
    assert abs(got[0] - other[0]) > 1e-5  # what is real matters
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(got))


def searched(name, form, query="previous", **options):
    """Beam search vmapped over sources, memory closed over, and what is needed to force the same tokens."""
    decoder, model = whole_model(name, form, query)
    attention = mechanisms()[name]
    sources = jnp.asarray(np.random.default_rng(1).integers(V, size=(S, B)))

    def one(memory, start):
        def step_fn(carry, token):
            carry, out = decoder.step(model.decoder, carry, model.embedding[token], memory)
            return carry, out.output @ model.out

        carry = decoder.initial_carry(memory, start)
        if "coverage_penalty" in options:
            options["coverage"] = functools.partial(rnnjax.source_coverage, memory=memory)
        return rnnjax.beam_search(
            step_fn, carry, bos_id=BOS, eos_id=EOS, pad_id=PAD, beam_size=K + 1, max_steps=T,
            record=lambda carry: carry.alignment.weights, **options,
        )  # fmt: skip

    memory, start = read(attention, decoder, model, sources, jnp.array(SOURCE_LENGTHS))
    result = jax.jit(jax.vmap(one))(memory, start)

    def force(tokens, lengths):
        """All beams of all sources at once: weights `[T, B, K, S]` and log-probabilities `[T, B, K, V]`."""
        tokens = jnp.moveaxis(jnp.where(tokens == PAD, EOS, tokens), -1, 0)
        xs = model.embedding[jnp.concatenate([jnp.full_like(tokens[:1], BOS), tokens[:-1]])]
        beams = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], K + 1, axis=1), start)
        carry = decoder.initial_carry(memory, beams, batch_shape=(B, K + 1))
        _, out = rnnjax.teacher_force(decoder, model.decoder, memory, xs, carry, lengths=lengths)
        return out.weights, jax.nn.log_softmax(out.output @ model.out), tokens

    return result, force


@pytest.mark.parametrize(
    ("name", "form", "query"),
    [
        ("additive_coverage", "plain", "previous"),
        ("monotonic", "feeding", "current"),
    ],
)
def test_a_search_records_the_alignment_that_forcing_gives(name, form, query):
    result, force = searched(name, form, query)
    assert bool(jnp.isfinite(result.scores).all()) and len(set(result.lengths.ravel().tolist())) > 1
    weights, log_probs, tokens = jax.jit(force)(result.tokens, result.lengths)
    assert_close(result.records, jnp.moveaxis(weights, 0, -2))
    chosen = jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
    real = np.arange(T) < np.asarray(result.lengths)[..., None]
    assert_close(result.log_probs, np.where(real, np.moveaxis(np.asarray(chosen), 0, -1), 0), rtol=1e-3, atol=1e-4)
    ties = [len({tuple(beam) for beam in beams}) for beams in result.tokens.tolist()]
    assert ties == [K + 1] * B and not np.array_equal(result.tokens[0], result.tokens[1])


def test_coverage_penalises_what_was_not_looked_at():
    penalty = 0.7
    result, force = searched("additive", "plain", coverage_penalty=penalty, length_penalty=0.5)
    weights, _, _ = jax.jit(force)(result.tokens, result.lengths)
    covered = np.minimum(np.asarray(weights, np.float64).sum(0), 1)  # [B, K, S]
    real = np.arange(S) < np.array(SOURCE_LENGTHS)[:, None]
    coverage = np.where(real[:, None], np.log(np.where(real[:, None], covered, 1)), 0).sum(-1)
    norm = ((5 + np.asarray(result.lengths)) / 6) ** 0.5
    assert_close(result.scores, np.asarray(result.log_probs).sum(-1) / norm + penalty * coverage, rtol=1e-4, atol=1e-4)


def test_coverage_of_positions_that_are_not_there_is_one():
    attention, decoder = make_decoder()
    memory = attention.remember(drawn(decoder).attention, normal(1, S, B, M), lengths=jnp.array(SOURCE_LENGTHS))
    for batch in ((B,), (B, K)):
        carry = decoder.initial_carry(memory, batch_shape=batch)
        coverage = jnp.abs(normal(2, *batch, S))
        carry = carry._replace(alignment=carry.alignment._replace(coverage=coverage))
        got = rnnjax.source_coverage(carry, memory)
        for index in np.ndindex(*batch):
            length = SOURCE_LENGTHS[index[0]]
            assert_same(got[index], np.concatenate([coverage[index][:length], np.ones(S - length)]))


# ---- errors ----------------------------------------------------------------------------------------------------


def test_bad_decoders():
    attention = rnnjax.additive_attention(H, M, A)
    for message, options in {
        "query to be 'previous' or 'current', got 'next'": {"query": "next"},
        r"attentional sizes \(H \+ M, O\) beside input_feeding, got None": {"input_feeding": True},
        "query_of beside query='previous' only": {"query": "current", "query_of": lambda carry: carry.h},
    }.items():
        with pytest.raises(ValueError, match=f"attention_decoder: expected {message}"):
            rnnjax.attention_decoder(rnnjax.gru(F + M, H), attention, **options)


def test_a_carry_without_h_needs_a_query():
    class Total(NamedTuple):
        total: Any

    def apply(params, carry, x):
        return Total(carry.total + x[..., :H]), carry.total

    adder = rnnjax.Cell(
        lambda key: (), lambda batch_shape=(), dtype=jnp.float32: Total(jnp.zeros((*batch_shape, H), dtype)), apply
    )
    attention = rnnjax.additive_attention(H, M, A)
    params = rnnjax.AttentionDecoderParams((), drawn(attention), None)
    memory = attention.remember(params.attention, normal(1, S, B, M))
    decoder = rnnjax.attention_decoder(adder, attention)
    with pytest.raises(ValueError, match="expected a carry with a field h, got Total; pass query_of"):
        decoder.step(params, decoder.initial_carry(memory), normal(2, B, F), memory)
    for options in ({"query_of": lambda carry: carry.total}, {"query": "current"}):
        decoder = rnnjax.attention_decoder(adder, attention, **options)
        x = normal(2, B, F if "query_of" in options else H)
        _, out = decoder.step(params, decoder.initial_carry(memory), x, memory)
        assert_close(out.weights, attention.attend(params.attention, jnp.zeros((B, H)), memory)[1])


def test_bad_steps():
    vector = rnnjax.vector_decoder(rnnjax.gru(F + M, H), every_step=True)
    params = drawn(vector)
    with pytest.raises(ValueError, match=r"vector_decoder: expected a memory \[..., M\] with every_step, got None"):
        vector.step(params, vector.initial_carry(None, batch_shape=(B,)), normal(1, B, F), None)
    plain = rnnjax.vector_decoder(rnnjax.gru(F, H))
    with pytest.raises(ValueError, match="expected x, or a memory that is read at every step, got neither"):
        plain.step(drawn(plain), plain.initial_carry(None, batch_shape=(B,)), None, None)
    attention, decoder = make_decoder(query="current")
    memory = attention.remember(drawn(decoder).attention, normal(1, S, B, M))
    with pytest.raises(ValueError, match="expected x, or a memory that is read at every step, got neither"):
        decoder.step(drawn(decoder), decoder.initial_carry(memory), None, memory)
    with pytest.raises(ValueError, match="source_coverage: expected the carry of a decoder with attention"):
        rnnjax.source_coverage(vector.initial_carry(None), memory)


def test_bad_forcing():
    c = case()
    memory = remembered(c, c.params, c.source)
    force = functools.partial(rnnjax.teacher_force, c.decoder, c.params, memory)
    with pytest.raises(ValueError, match="expected lengths between 0 and T = 5 steps, got 1 to 6"):
        force(c.xs, lengths=jnp.array([1, 6, 3]))
    with pytest.raises(ValueError, match="expected lengths or mask, got both"):
        force(c.xs, lengths=jnp.array(LENGTHS), mask=jnp.ones((T, B), bool))
    with pytest.raises(TypeError, match="expected mask of dtype bool"):
        force(c.xs, mask=jnp.ones((T, B)))
    with pytest.raises(ValueError, match=r"expected xs of shape \[T, ..., F\]"):
        force(c.xs[:, 0, 0])
    with pytest.raises(ValueError, match="expected query of shape"):
        force(normal(1, T, 2, F))
    with pytest.raises(ValueError, match="expected remat to be None"):
        force(c.xs, remat="all")
    with pytest.raises(ValueError, match="expected chunk to be a positive int"):
        force(c.xs, chunk=0)
