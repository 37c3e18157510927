"""What the tests of encoders and decoders share: sizes, steps of cells in NumPy, and decoders at work."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from helpers import assert_close, normal

import rnnjax

S, B, T, F, H, M, A, O = 7, 3, 5, 2, 11, 13, 17, 19
V, K = 23, 2
SOURCE_LENGTHS, LENGTHS = (7, 4, 2), (3, 5, 1)
assert_exact = functools.partial(assert_close, rtol=1e-9, atol=1e-11)  # in float64


def drawn(part, seed=0, dtype=jnp.float32):
    """Parameters with every entry of every leaf drawn, biases included; by NumPy, which compiles nothing."""
    shapes, rng = jax.eval_shape(part.init, jax.random.key(0)), np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(0.4 * rng.standard_normal(leaf.shape), dtype), shapes)


def row(tree, *index):
    """One row of every leaf, or one element of it."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], tree)


def junk_behind(lengths, xs, junk=jnp.nan):
    """xs `[S, B, ...]` with junk where there is only padding."""
    real = rnnjax.losses.length_mask(jnp.array(lengths), xs.shape[0])
    return jnp.where(real.reshape(*real.shape, *(1,) * (xs.ndim - 2)), xs, jnp.asarray(junk, xs.dtype))


# ---- the twins: NumPy, one row without padding, one step after the other -------------------------------------


def sigmoid(x):
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def lstm_step(p, carry, x):
    """One step of `lstm`."""
    i, f, g, o = np.split(x @ p.w_x + carry.h @ p.w_h + p.b, 4)
    c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return rnnjax.LSTMCarry(h, c), h


def gru_step(p, carry, x):
    """One step of `gru`."""
    (x_r, x_u, x_n), (h_r, h_u, h_n) = np.split(x @ p.w_x + p.b, 3), np.split(carry.h @ p.w_h, 3)
    u, n = sigmoid(x_u + h_u), np.tanh(x_n + sigmoid(x_r + h_r) * (h_n + p.b_h))
    h = u * n + (1 - u) * carry.h
    return rnnjax.GRUCarry(h), h


def stack_step(p, carry, x):
    """One step of a stack of LSTMs."""
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


# ---- decoders at work ----------------------------------------------------------------------------------------


def make_decoder(kind="gru", query="previous", form="plain", attention=None, memory_size=M, **options):
    """An attention, and a decoder of inputs F and outputs H over a memory of so many features."""
    attention = attention or rnnjax.attention.additive_attention(H, M, A)
    size = F + (memory_size if query == "previous" else 0) + (O if form == "feeding" else 0)
    if form != "plain":
        options["attentional_size"] = O
    options["input_feeding"] = form == "feeding"
    return attention, rnnjax.attention_decoder(KINDS[kind].make(size), attention, query=query, **options)


def mechanisms():
    """Attention of every kind, for queries of H features, by name."""
    additive = functools.partial(rnnjax.attention.additive_attention, H, M, A)
    return {
        "additive": additive(),
        "additive_coverage": additive(coverage=True),
        "dot": rnnjax.attention.dot_attention(),
        "general": rnnjax.attention.general_attention(H, M),
        "concat": rnnjax.attention.concat_attention(H, M, A),
        "scaled_dot": rnnjax.attention.scaled_dot_attention(H),
        "location": rnnjax.attention.location_attention(H, M, A, filters=2, width=3),
        "local_m": rnnjax.attention.local_attention(rnnjax.attention.general_attention(H, M), window=1),
        "local_p": rnnjax.attention.local_attention(rnnjax.attention.general_attention(H, M), window=2, query_size=H),
        "monotonic": rnnjax.attention.monotonic_attention(additive(normalize=True)),
        "monotonic_biased": rnnjax.attention.monotonic_attention(rnnjax.attention.general_attention(H, M), r_init=-1.0),
    }


class Case(NamedTuple):
    """A decoder at work, with everything that gradients are asked for."""

    attention: Any
    decoder: Any
    params: Any
    source: Any  # [S, B, M]
    xs: Any  # [T, B, F]


def case(name="additive", query="previous", form="plain", kind="gru", dtype=jnp.float32):
    """A decoder with the attention of this name, and something to decode."""
    memory_size = H if name in ("dot", "scaled_dot") else M
    attention, decoder = make_decoder(kind, query, form, mechanisms()[name], memory_size)
    params = drawn(decoder, seed=1, dtype=dtype)
    return Case(attention, decoder, params, normal(2, S, B, memory_size, dtype=dtype), normal(3, T, B, F, dtype=dtype))


def remembered(case, params, source, lengths=SOURCE_LENGTHS):
    """The memory of a source, under the parameters of a decoder."""
    return case.attention.remember(params.attention, source, lengths=jnp.array(lengths))
