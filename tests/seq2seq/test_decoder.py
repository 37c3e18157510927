"""Decoders against loops by hand: NumPy written from the equations, one row without padding."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, normal
from seq2seq_helpers import (
    KINDS,
    SOURCE_LENGTHS,
    A,
    B,
    F,
    H,
    K,
    M,
    O,
    S,
    T,
    V,
    assert_exact,
    drawn,
    gru_step,
    lstm_step,
    make_decoder,
    mechanisms,
    row,
)

import rnnjax

# ---- the attention decoder against its equations -------------------------------------------------------------


def additive(p, query, m):
    """Additive attention: context `[M]` and weights `[S]` of one query over m `[S, M]`."""
    e = np.array([p.v @ np.tanh(query @ p.w_q + m_s @ p.w_m + p.b) for m_s in m])
    a = np.exp(e) / np.exp(e).sum()
    return sum(a_s * m_s for a_s, m_s in zip(a, m, strict=True)), a


def decode(kind, query, layer, feeds, params, carry, xs, m, parts="both"):
    """The equations of `attention_decoder`, one row: outputs, contexts and weights of all steps, and the last carry."""
    steps, feed = [], np.zeros(feeds)
    for x in xs:
        fed = [feed] if feeds else []  # so many features
        if query == "previous":
            context, weights = additive(params.attention, kind.h(carry), m)
            carry, y = kind.step(params.cell, carry, np.concatenate([x, context, *fed]))
        else:
            carry, y = kind.step(params.cell, carry, np.concatenate([x, *fed]))
            context, weights = additive(params.attention, y, m)
        output = feed = layer({"both": np.concatenate([y, context]), "y": y, "context": context}[parts])
        steps.append((output, context, weights))
    return carry, [np.stack(column) for column in zip(*steps, strict=True)]


@pytest.mark.slow
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
            layer = (lambda z: z) if form == "plain" else lambda z: np.tanh(z @ p.w_c)
            feeds = O if form == "feeding" else 0
            last, expected = decode(KINDS[kind], query, layer, feeds, p, row(first, b), x[:, b], m[:length, b])
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


LAYERS = {  # options, the layer in NumPy, the features of z and of the output
    "linear": ({"attentional_size": O, "attentional_activation": jax.nn.identity}, lambda p, z: z @ p.w_c, H + M, O),
    "biased": ({"attentional_size": O, "attentional_bias": True}, lambda p, z: np.tanh(z @ p.w_c + p.b_c), H + M, O),
    "absent": ({}, lambda p, z: z, H + M, H + M),
    "context": ({"output": "context"}, lambda p, z: z, M, M),
    "y": ({"output": "y"}, lambda p, z: z, H, H),
    "of context": (
        {"output": "context", "attentional_size": O, "attentional_bias": True, "attentional_activation": jax.nn.relu},
        lambda p, z: np.maximum(z @ p.w_c + p.b_c, 0), M, O,
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("query", ["previous", "current"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_attentional_layer_is_as_asked_for(name, query, feeding):
    """With input feeding beside "current", "linear" and "context" are TensorFlow's AttentionWrapper."""
    options, layer, joined, size = LAYERS[name]
    with jax.enable_x64(True):
        attention = rnnjax.attention.additive_attention(H, M, A)
        cell = rnnjax.gru(F + (M if query == "previous" else 0) + (size if feeding else 0), H)
        decoder = rnnjax.attention_decoder(cell, attention, query=query, input_feeding=feeding, **options)
        params = drawn(decoder, seed=1, dtype=jnp.float64)
        layered = "attentional_size" in options
        assert params.w_c is None if not layered else params.w_c.shape == (joined, O)
        assert params.b_c is None if "attentional_bias" not in options else params.b_c.shape == (O,)
        source, xs = normal(2, S, B, M, dtype=jnp.float64), normal(3, T, B, F, dtype=jnp.float64)
        memory = attention.remember(params.attention, source, lengths=jnp.array(SOURCE_LENGTHS))
        start = decoder.initial_carry(memory, dtype=jnp.float64)
        assert start.feed is None if not feeding else start.feed.shape == (B, size)
        carry, out = jax.jit(lambda *now: rnnjax.teacher_force(decoder, *now))(params, memory, xs, start)
        p, m, x, first = jax.tree.map(np.asarray, (params, source, xs, start.cell))
        for b, length in enumerate(SOURCE_LENGTHS):
            last, expected = decode(
                KINDS["gru"], query, functools.partial(layer, p), size if feeding else 0, p, row(first, b), x[:, b],
                m[:length, b], options.get("output", "both"),
            )  # fmt: skip
            assert_exact([out.output[:, b], out.context[:, b], out.weights[:, b, :length]], expected)
            assert_exact(row(carry.cell, b), last)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_query_may_be_chosen():
    attention, decoder = make_decoder("lstm", query_of=lambda carry: carry.c)
    params = drawn(decoder, seed=1)
    memory = attention.remember(params.attention, normal(2, S, B, M))
    cell_carry = rnnjax.LSTMCarry(normal(3, B, H), normal(4, B, H))
    _, out = decoder.step(params, decoder.initial_carry(memory, cell_carry), normal(5, B, F), memory)
    assert_close((out.context, out.weights), attention.attend(params.attention, cell_carry.c, memory))


@pytest.mark.slow
def test_a_stack_of_stacks_asks_with_its_top_layer():
    inner = rnnjax.stack([rnnjax.lstm(5, 3), rnnjax.lstm(3, H)])
    attention = rnnjax.attention.additive_attention(H, M, A)
    decoder = rnnjax.attention_decoder(rnnjax.stack([rnnjax.gru(F + M, 5), inner]), attention)
    params = drawn(decoder, seed=1)
    memory = attention.remember(params.attention, normal(2, S, B, M))
    cell_carry = jax.tree.map(lambda leaf: normal(leaf.size, *leaf.shape), decoder.initial_carry(memory).cell)
    cell_carry = cell_carry._replace(layers=(rnnjax.GRUCarry(normal(9, B, 5)), cell_carry.layers[1]))
    _, out = decoder.step(params, decoder.initial_carry(memory, cell_carry), normal(5, B, F), memory)
    query = cell_carry.layers[1].layers[1].h
    assert_close(out.weights, attention.attend(params.attention, query, memory)[1])


@pytest.mark.slow
def test_the_one_step_attention_of_course_notes():
    """Bidirectional LSTM, attention from the state before, post-attention LSTM that reads the context only."""
    with jax.enable_x64(True):
        before = rnnjax.encoder([(rnnjax.lstm(F, 5), rnnjax.lstm(F, 5))])
        attention = rnnjax.attention.additive_attention(H, 10, A)
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


@pytest.mark.slow
def test_the_regions_of_an_image_are_a_memory():
    """Show, Attend and Tell: regions of a grid, the first state from their mean, h asks before it reads the word."""
    with jax.enable_x64(True):
        height, width = 2, 3
        features = normal(1, height, width, B, M, dtype=jnp.float64)
        regions = features.reshape(height * width, B, M)
        attention, decoder = make_decoder("lstm")
        bridge = rnnjax.seq2seq.bridge(jnp.zeros(M, jnp.float64), rnnjax.lstm(F, H).initial_carry((), jnp.float64))
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


# ---- the vector decoder --------------------------------------------------------------------------------------


@pytest.mark.parametrize("every_step", [False, True])
def test_a_vector_decoder_is_its_equations(every_step):
    with jax.enable_x64(True):
        decoder = rnnjax.seq2seq.vector_decoder(rnnjax.gru(F + (M if every_step else 0), H), every_step=every_step)
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
    decoder = rnnjax.seq2seq.vector_decoder(rnnjax.lstm(F + M, H), every_step=True)
    memory = normal(1, B, M)
    assert decoder.initial_carry(memory).cell.c.shape == (B, H)
    assert decoder.initial_carry(None).cell.c.shape == (H,)
    assert decoder.initial_carry(memory, batch_shape=[B, K], dtype=jnp.bfloat16).cell.h.shape == (B, K, H)
    assert decoder.initial_carry(None, dtype=jnp.bfloat16).cell.h.dtype == jnp.bfloat16
    given = rnnjax.LSTMCarry(normal(2, B, H), normal(3, B, H))
    assert_same(decoder.initial_carry(None, given).cell, given)


def test_a_vector_at_every_step_is_shared_by_beams():
    decoder = rnnjax.seq2seq.vector_decoder(rnnjax.gru(F + M, H), every_step=True)
    params, memory, xs = drawn(decoder), normal(1, B, M), normal(2, B, K, F)
    start, step = decoder.initial_carry(memory, rnnjax.GRUCarry(normal(3, B, K, H))), jax.jit(decoder.step)
    carry, out = step(params, start, xs, memory)
    for b, k in np.ndindex(B, K):
        one = step(params, row(start, b, k), xs[b, k], memory[b])
        assert_close(one, (row(carry, b, k), row(out, b, k)))


# ---- errors --------------------------------------------------------------------------------------------------


def test_bad_decoders():
    attention = rnnjax.attention.additive_attention(H, M, A)
    for message, options in {
        "query to be 'previous' or 'current', got 'next'": {"query": "next"},
        r"output to be one of \('both', 'y', 'context'\), got 'h'": {"output": "h"},
        "attentional_size beside attentional_bias and attentional_activation, got None": {"attentional_bias": True},
        "attentional_size beside attentional_bias and .*, got None": {"attentional_activation": jax.nn.relu},
        "attentional_size to be a positive int, got 0": {"attentional_size": 0},
        r"attentional_size to be a positive int, got \(24, 19\)": {"attentional_size": (H + M, O)},
        "query_of beside query='previous' only": {"query": "current", "query_of": lambda carry: carry.h},
    }.items():
        with pytest.raises(ValueError, match=f"attention_decoder: expected {message}"):
            rnnjax.attention_decoder(rnnjax.gru(F + M, H), attention, **options)
    of_unknown_size = rnnjax.gru(F + M, H)._replace(output_size=None)
    for options in ({"attentional_size": O}, {"input_feeding": True}):
        with pytest.raises(ValueError, match=r"attention_decoder: expected a cell with an output_size .*got None"):
            rnnjax.attention_decoder(of_unknown_size, attention, **options)
    rnnjax.attention_decoder(of_unknown_size, attention, input_feeding=True, output="context")
    with pytest.raises(TypeError, match=r"attentional_activation to be a function such as jnp\.tanh, got 'tanh'"):
        rnnjax.attention_decoder(rnnjax.gru(F + M, H), attention, attentional_activation="tanh", attentional_size=O)


@pytest.mark.parametrize("name", mechanisms())
def test_the_attentional_vector_knows_the_size_of_the_memory(name):
    decoder = rnnjax.attention_decoder(rnnjax.gru(F, H), mechanisms()[name], query="current", attentional_size=O)
    size = H if name in ("dot", "scaled_dot") else M
    assert jax.eval_shape(decoder.init, jax.random.key(0)).w_c.shape == (H + size, O)


@pytest.mark.slow
@pytest.mark.parametrize("query", ["previous", "current"])
def test_a_memory_of_undeclared_size_is_as_wide_as_the_query(query):
    cell, dot = rnnjax.projected(rnnjax.lstm(F, M), H), rnnjax.attention.dot_attention()
    local = rnnjax.attention.local_attention(dot, window=1)
    size = M if query == "previous" else H  # h has M features, y has H
    for attention in (dot, local):
        params = rnnjax.attention_decoder(cell, attention, query=query, attentional_size=O).init(jax.random.key(0))
        assert params.w_c.shape == (H + size, O)
    asked = rnnjax.attention_decoder(cell, dot, query_of=lambda carry: carry.h[..., :K], attentional_size=O)
    assert asked.init(jax.random.key(0)).w_c.shape == (H + K, O)


@pytest.mark.slow
def test_a_memory_of_another_size_than_declared_is_refused():
    attention, decoder = make_decoder(form="attentional", query="current")
    params = drawn(decoder)
    memory = attention.remember(params.attention, normal(1, S, B, M))
    longer = memory._replace(values=normal(2, B, S, M + 2))
    with pytest.raises(ValueError, match=r"expected \[y; context\] of 24 features, .*got y of 11 and context of 15"):
        decoder.step(params, decoder.initial_carry(memory), normal(3, B, F), longer)


def test_a_carry_without_h_needs_a_query():
    class Total(NamedTuple):
        total: Any

    def apply(params, carry, x):
        return Total(carry.total + x[..., :H]), carry.total

    adder = rnnjax.Cell(
        lambda key: (), lambda batch_shape=(), dtype=jnp.float32: Total(jnp.zeros((*batch_shape, H), dtype)), apply
    )
    attention = rnnjax.attention.additive_attention(H, M, A)
    params = rnnjax.seq2seq.AttentionDecoderParams((), drawn(attention), None)
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
    vector = rnnjax.seq2seq.vector_decoder(rnnjax.gru(F + M, H), every_step=True)
    params = drawn(vector)
    with pytest.raises(ValueError, match=r"vector_decoder: expected a memory \[..., M\] with every_step, got None"):
        vector.step(params, vector.initial_carry(None, batch_shape=(B,)), normal(1, B, F), None)
    plain = rnnjax.seq2seq.vector_decoder(rnnjax.gru(F, H))
    with pytest.raises(ValueError, match="expected x, or a memory that is read at every step, got neither"):
        plain.step(drawn(plain), plain.initial_carry(None, batch_shape=(B,)), None, None)
    attention, decoder = make_decoder(query="current")
    memory = attention.remember(drawn(decoder).attention, normal(1, S, B, M))
    with pytest.raises(ValueError, match="expected x, or a memory that is read at every step, got neither"):
        decoder.step(drawn(decoder), decoder.initial_carry(memory), None, memory)
    with pytest.raises(ValueError, match="source_coverage: expected the carry of a decoder with attention"):
        rnnjax.seq2seq.source_coverage(vector.initial_carry(None), memory)
