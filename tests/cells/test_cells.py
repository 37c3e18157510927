"""Cells against NumPy written from their equations, and at their edges."""

import functools
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, equations, noisy, normal, random_params

import rnnjax

T, B, F, H = 7, 2, 3, 5
IDENTITY = jax.nn.identity


class Family(NamedTuple):
    """A constructor `(input_size, hidden_size, ...)`, its gates in their order, and its space in these tests."""

    make: Any
    gates: str
    forget_bias: bool
    space: tuple[int, ...] = ()


conv_lstm_1d = functools.partial(rnnjax.conv_lstm, kernel_shape=(2,))
conv_lstm_2d = functools.partial(rnnjax.conv_lstm, kernel_shape=(3, 2))
gru_reset_before = functools.partial(rnnjax.gru, reset_after=False)
make_lstmp = functools.partial(rnnjax.lstmp, projection_size=2)
FAMILIES = {
    "rnn": Family(rnnjax.rnn, "n", False),
    "gru": Family(rnnjax.gru, "run", False),
    "gru_reset_before": Family(gru_reset_before, "run", False),
    "simple_gru": Family(rnnjax.simple_gru, "un", False),
    "lstm": Family(rnnjax.lstm, "ifgo", True),
    "peephole_lstm": Family(rnnjax.peephole_lstm, "ifgo", True),
    "cifg_lstm": Family(rnnjax.cifg_lstm, "fgo", True),
    "lstmp": Family(make_lstmp, "ifgo", True),
    "mgu": Family(rnnjax.mgu, "fn", False),
    "layer_norm_lstm": Family(rnnjax.layer_norm_lstm, "ifgo", True),
    "layer_norm_gru": Family(rnnjax.layer_norm_gru, "run", False),
    "conv_lstm_1d": Family(conv_lstm_1d, "ifgo", True, (7,)),
    "conv_lstm_2d": Family(conv_lstm_2d, "ifgo", True, (7, 11)),
}
every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
dense_families = {name: family for name, family in FAMILIES.items() if not family.space}
every_dense_family = pytest.mark.parametrize("family", dense_families.values(), ids=dense_families)
forget_families = {name: family for name, family in FAMILIES.items() if family.forget_bias}
every_forget_family = pytest.mark.parametrize("family", forget_families.values(), ids=forget_families)


def by_gate(gates, array):
    """The blocks of the last axis by name: by_gate("ifgo", w_x).f is W_xf."""
    return SimpleNamespace(**dict(zip(gates, np.split(np.asarray(array), len(gates), axis=-1), strict=True)))


def initial(cell, leaf):
    """One leaf of freshly initialised parameters, without drawing the others."""
    return jax.jit(lambda key: getattr(cell.init(key), leaf))(jax.random.key(0))


def example(family, batch_shape=(B,)):
    """A cell with parameters, a carry and an x, none of them zero or constant."""
    cell = family.make(F, H)
    params = random_params(cell, seed=1)
    carry = noisy(cell.initial_carry((*batch_shape, *family.space)), seed=2)
    return cell, params, carry, normal(3, *batch_shape, *family.space, F)


# ---- the equations, in NumPy ---------------------------------------------------------------------------------
# Each is (params, carry, x, m) -> carry; m masks the h that enters the products.


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def identity(z):
    return z


def relu(z):
    return np.maximum(z, 0)


def layer_norm(z, scale, epsilon=1e-5):
    centred = z - z.mean(-1, keepdims=True)
    return scale * centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)


def relu_at_most_half(z):
    return np.clip(z, 0, 0.5)


def hard_sigmoid_of_half(z):
    return np.clip(np.clip(z, -0.5, 0.5) / 6 + 0.5, 0, 1)


def convolve(x, kernel):
    """x `[B, *space, C]`, kernel `[*k, C, N]`; out[i] = sum_j x[i + j - (k - 1) // 2] kernel[j], zeros outside."""
    offsets, space = kernel.shape[:-2], x.shape[1:-1]
    around = [((k - 1) // 2, k - 1 - (k - 1) // 2) for k in offsets]
    padded = np.pad(x, [(0, 0), *around, (0, 0)])
    out = np.zeros((*x.shape[:-1], kernel.shape[-1]))
    for j in np.ndindex(*offsets):
        window = tuple(slice(start, start + size) for start, size in zip(j, space, strict=True))
        out += padded[(slice(None), *window)] @ kernel[j]
    return out


def rnn_equation(p, carry, x, m, activation=np.tanh):
    return (activation(x @ p.w_x + (m * carry.h) @ p.w_h + p.b),)


def gru_reset_before_equation(p, carry, x, m, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("run", p.w_x), by_gate("run", p.w_h), by_gate("run", p.b), m * carry.h
    r = sigmoid(x @ W_x.r + h @ W_h.r + b.r)
    u = sigmoid(x @ W_x.u + h @ W_h.u + b.u)
    n = tanh(x @ W_x.n + (r * h) @ W_h.n + b.n)
    return (u * n + (1 - u) * carry.h,)


def gru_equation(p, carry, x, m, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("run", p.w_x), by_gate("run", p.w_h), by_gate("run", p.b), m * carry.h
    r = sigmoid(x @ W_x.r + h @ W_h.r + b.r)
    u = sigmoid(x @ W_x.u + h @ W_h.u + b.u)
    n = tanh(x @ W_x.n + b.n + r * (h @ W_h.n + p.b_h))
    return (u * n + (1 - u) * carry.h,)


def simple_gru_equation(p, carry, x, m, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("un", p.w_x), by_gate("un", p.w_h), by_gate("un", p.b), m * carry.h
    u = sigmoid(x @ W_x.u + h @ W_h.u + b.u)
    n = tanh(x @ W_x.n + h @ W_h.n + b.n)
    return (u * n + (1 - u) * carry.h,)


def lstm_equation(p, carry, x, m, output_activation=np.tanh, product=np.matmul, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("ifgo", p.w_x), by_gate("ifgo", p.w_h), by_gate("ifgo", p.b), m * carry.h
    i = sigmoid(product(x, W_x.i) + product(h, W_h.i) + b.i)
    f = sigmoid(product(x, W_x.f) + product(h, W_h.f) + b.f)
    g = tanh(product(x, W_x.g) + product(h, W_h.g) + b.g)
    o = sigmoid(product(x, W_x.o) + product(h, W_h.o) + b.o)
    c = f * carry.c + i * g
    return o * output_activation(c), c


def peephole_lstm_equation(p, carry, x, m, output_activation=np.tanh, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("ifgo", p.w_x), by_gate("ifgo", p.w_h), by_gate("ifgo", p.b), m * carry.h
    p_i, p_f, p_o = p.w_c
    i = sigmoid(x @ W_x.i + h @ W_h.i + p_i * carry.c + b.i)
    f = sigmoid(x @ W_x.f + h @ W_h.f + p_f * carry.c + b.f)
    g = tanh(x @ W_x.g + h @ W_h.g + b.g)
    c = f * carry.c + i * g
    o = sigmoid(x @ W_x.o + h @ W_h.o + p_o * c + b.o)
    return o * output_activation(c), c


def cifg_lstm_equation(p, carry, x, m, output_activation=np.tanh, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("fgo", p.w_x), by_gate("fgo", p.w_h), by_gate("fgo", p.b), m * carry.h
    f = sigmoid(x @ W_x.f + h @ W_h.f + b.f)
    g = tanh(x @ W_x.g + h @ W_h.g + b.g)
    o = sigmoid(x @ W_x.o + h @ W_h.o + b.o)
    c = f * carry.c + (1 - f) * g
    return o * output_activation(c), c


def lstmp_equation(p, carry, x, m, output_activation=np.tanh, sigmoid=sigmoid, tanh=np.tanh):
    h, c = lstm_equation(p, carry, x, m, output_activation, sigmoid=sigmoid, tanh=tanh)
    return h @ p.w_p, c


def mgu_equation(p, carry, x, m, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("fn", p.w_x), by_gate("fn", p.w_h), by_gate("fn", p.b), m * carry.h
    f = sigmoid(x @ W_x.f + h @ W_h.f + b.f)
    n = tanh(x @ W_x.n + (f * h) @ W_h.n + b.n)
    return (f * n + (1 - f) * carry.h,)


def layer_norm_lstm_equation(p, carry, x, m, output_activation=np.tanh, sigmoid=sigmoid, tanh=np.tanh):
    z = layer_norm(x @ p.w_x, p.scale_x) + layer_norm((m * carry.h) @ p.w_h, p.scale_h) + p.b
    gate = by_gate("ifgo", z)
    c = sigmoid(gate.f) * carry.c + sigmoid(gate.i) * tanh(gate.g)
    return sigmoid(gate.o) * output_activation(layer_norm(c, p.scale_c) + p.b_c), c


def layer_norm_gru_equation(p, carry, x, m, sigmoid=sigmoid, tanh=np.tanh):
    W_x, W_h, b, h = by_gate("run", p.w_x), by_gate("run", p.w_h), by_gate("run", p.b), m * carry.h
    s_x, s_h = by_gate("run", p.scale_x), by_gate("run", p.scale_h)
    z_x = layer_norm(np.concatenate([x @ W_x.r, x @ W_x.u], -1), np.concatenate([s_x.r, s_x.u]))
    z_h = layer_norm(np.concatenate([h @ W_h.r, h @ W_h.u], -1), np.concatenate([s_h.r, s_h.u]))
    gate = by_gate("ru", z_x + z_h)
    r, u = sigmoid(gate.r + b.r), sigmoid(gate.u + b.u)
    n = tanh(layer_norm(x @ W_x.n, s_x.n) + r * layer_norm(h @ W_h.n, s_h.n) + b.n)
    return (u * n + (1 - u) * carry.h,)


variant = functools.partial
conv_lstm_equation = variant(lstm_equation, product=convolve)
without_tanh = variant(variant, output_activation=IDENTITY), variant(variant, output_activation=identity)
GOLDEN = {
    "rnn": (rnnjax.rnn, rnn_equation, ()),
    "rnn_relu": (variant(rnnjax.rnn, activation=jax.nn.relu), variant(rnn_equation, activation=relu), ()),
    "rnn_linear": (variant(rnnjax.rnn, activation=IDENTITY), variant(rnn_equation, activation=identity), ()),
    "gru": (rnnjax.gru, gru_equation, ()),
    "gru_reset_before": (gru_reset_before, gru_reset_before_equation, ()),
    "simple_gru": (rnnjax.simple_gru, simple_gru_equation, ()),
    "lstm": (rnnjax.lstm, lstm_equation, ()),
    "peephole_lstm": (rnnjax.peephole_lstm, peephole_lstm_equation, ()),
    "cifg_lstm": (rnnjax.cifg_lstm, cifg_lstm_equation, ()),
    "lstmp": (make_lstmp, lstmp_equation, ()),
    "mgu": (rnnjax.mgu, mgu_equation, ()),
    "layer_norm_lstm": (rnnjax.layer_norm_lstm, layer_norm_lstm_equation, ()),
    "layer_norm_gru": (rnnjax.layer_norm_gru, layer_norm_gru_equation, ()),
    "conv_lstm_1d": (conv_lstm_1d, conv_lstm_equation, (11,)),
    "conv_lstm_2d": (conv_lstm_2d, conv_lstm_equation, (11, 13)),
}
for name in ("lstm", "peephole_lstm", "cifg_lstm", "layer_norm_lstm", "conv_lstm_1d"):
    make, equation, space = GOLDEN[name]
    GOLDEN[f"{name}_without_tanh"] = (without_tanh[0](make), without_tanh[1](equation), space)
OTHER_FUNCTIONS = {"activation": jax.nn.relu, "gate_activation": jax.nn.hard_sigmoid, "clip": 0.5}
for name in [*FAMILIES][1:]:  # all but rnn, which has no gates
    make, equation, space = GOLDEN[name]
    other = variant(equation, sigmoid=hard_sigmoid_of_half, tanh=relu_at_most_half)
    GOLDEN[f"{name}_clipped"] = variant(make, **OTHER_FUNCTIONS), other, space
other_rnn = variant(rnn_equation, activation=relu_at_most_half)
GOLDEN["rnn_clipped"] = variant(rnnjax.rnn, activation=jax.nn.relu, clip=0.5), other_rnn, ()


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN)
def test_cell_is_its_equation(name):
    check_equation(*GOLDEN[name], masked=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_masked_cell_is_its_equation(name):
    check_equation(*GOLDEN[name], masked=True)


def check_equation(make, equation, space, masked):
    with jax.enable_x64(True):
        cell = make(F, H)
        params = random_params(cell, seed=1, dtype=jnp.float64)
        carry = noisy(cell.initial_carry((B, *space), jnp.float64), seed=2)
        xs = normal(3, T, B, *space, F, dtype=jnp.float64)
        mask = np.random.default_rng(4).uniform(0.3, 1.7, carry.h.shape) if masked else np.ones(carry.h.shape)
        options = {"recurrent_mask": jnp.asarray(mask)} if masked else {}
        p = jax.tree.map(np.asarray, params)
        expected = jax.tree.map(np.asarray, carry)
        step = jax.jit(functools.partial(cell.apply, **options))
        for x in xs:
            carry, y = step(params, carry, x)
            expected = type(expected)(*equation(p, expected, np.asarray(x), mask))
            assert_close(carry, expected, rtol=1e-9, atol=1e-11)
            assert_close(y, expected.h, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cell_without_biases_is_one_whose_biases_are_zero(name):
    make, space = FAMILIES[name].make, FAMILIES[name].space
    with_biases, without = make(F, H), make(F, H, use_bias=False)
    params = random_params(without, seed=1)
    assert not any(leaf is not None for field, leaf in params._asdict().items() if field.startswith("b"))
    shapes = jax.eval_shape(with_biases.init, jax.random.key(0))._asdict()
    zeros = {field: jnp.zeros(leaf.shape) for field, leaf in shapes.items() if field.startswith("b") and leaf}
    carry, x = noisy(without.initial_carry((B, *space)), seed=2), normal(3, B, *space, F)
    assert_close(without.apply(params, carry, x), with_biases.apply(params._replace(**zeros), carry, x))


@pytest.mark.parametrize("name", ["layer_norm_lstm", "layer_norm_gru"])
def test_epsilon_is_added_to_the_variance(name):
    cell = getattr(rnnjax, name)(F, H, epsilon=1.5)
    params, carry, x = random_params(cell, seed=1), noisy(cell.initial_carry((B,)), seed=2), normal(3, B, F)
    equation = {"layer_norm_lstm": layer_norm_lstm_equation, "layer_norm_gru": layer_norm_gru_equation}[name]
    with mock.patch.dict(globals(), layer_norm=functools.partial(layer_norm, epsilon=1.5)):
        expected = equation(*jax.tree.map(np.asarray, (params, carry, x)), 1.0)
    assert_close(cell.apply(params, carry, x)[0], type(carry)(*expected), rtol=1e-5, atol=1e-6)


def valid_every_second(x, kernel):
    """Convolves without padding, at every second place along the first axis of space: the kernel of 3 x 1 is odd."""
    return convolve(x, kernel)[:, 1:-1:2]


def test_conv_lstm_with_padding_and_stride_is_its_equation():
    make = functools.partial(rnnjax.conv_lstm, kernel_shape=(3, 1))
    cell = make(F, H, padding="VALID", stride=(2, 1), space=(11, 5))
    state = (5, 5)
    params, carry = random_params(cell, seed=1), noisy(cell.initial_carry((B,)), seed=2)
    assert carry.c.shape == (B, *state, H)
    x = normal(3, B, 11, 5, F)

    def product(values, kernel):
        return valid_every_second(values, kernel) if values.shape[-1] == F else convolve(values, kernel)

    expected = lstm_equation(*jax.tree.map(np.asarray, (params, carry, x)), 1.0, product=product)
    after, _ = cell.apply(params, carry, x)
    assert_close(after, rnnjax.LSTMCarry(*expected), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{"dilation": (2, 3)}, {"padding": [(2, 1), (0, 3)]}, {"stride": (3, 2)}])
def test_conv_lstm_knows_the_size_that_its_convolution_leaves(options):
    cell = rnnjax.conv_lstm(F, H, kernel_shape=(3, 2), space=(11, 7), **options)
    params, xs = random_params(cell, seed=1), normal(3, T, B, 11, 7, F)
    lengths = jnp.array([T, 3])
    carry, ys = rnnjax.unroll(cell, params, xs, lengths=lengths)
    assert ys.shape == (T, B, *carry.h.shape[1:]) and carry.h.shape == cell.initial_carry((B,)).h.shape
    assert_close(carry.h[1], ys[2, 1])
    assert not np.asarray(ys[3:, 1]).any()


def test_conv_lstm_refuses_options_of_another_rank():
    with pytest.raises(ValueError, match=r"^conv_lstm: expected stride with 2 entries, got \(2,\)\.$"):
        rnnjax.conv_lstm(F, H, stride=(2,))
    cell = rnnjax.conv_lstm(F, H, padding="VALID")  # which does not know its space
    with pytest.raises(ValueError, match=r"^conv_lstm_cell: expected a carry of shape .* for h"):
        cell.apply(random_params(cell, seed=1), cell.initial_carry((B, 7, 5)), normal(3, B, 7, 5, F))


def test_a_clip_that_is_no_bound_is_refused():
    with pytest.raises(ValueError, match=r"^gru: expected clip to be positive or None, got -1\.$"):
        rnnjax.gru(F, H, clip=-1)
    with pytest.raises(TypeError, match=r"^rnn: expected the options .* got gate_activation\.$"):
        rnnjax.rnn(F, H, gate_activation=jax.nn.relu)


# ---- initialisation ------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_dense_family
def test_recurrent_weights_are_orthogonal_gate_by_gate(family):
    blocks = vars(by_gate(family.gates, initial(family.make(F, H), "w_h")))
    for gate, w in blocks.items():
        square = w.T @ w if len(w) == H else w @ w.T  # of the projected LSTM, rows are orthogonal
        assert_close(square, np.eye(len(w)), atol=1e-5)
        for other, v in blocks.items():
            assert gate == other or abs(w - v).max() > 0.1, f"{gate} and {other} have the same weights"


@pytest.mark.slow
@every_family
def test_input_weights_are_glorot_uniform_gate_by_gate(family):
    features, hidden = 37, 41
    w_x = initial(family.make(features, hidden), "w_x")
    receptive_field = np.prod(w_x.shape[:-2], dtype=int)
    bound = np.sqrt(6 / (receptive_field * (features + hidden)))
    for gate, w in vars(by_gate(family.gates, w_x)).items():
        assert w.shape[-2:] == (features, hidden), gate
        assert 0.97 * bound < abs(w).max() <= bound, gate
        assert abs(w.std() - bound / np.sqrt(3)) < 0.05 * bound, gate


@every_family
@pytest.mark.parametrize("forget_bias", [None, 0.0, -2.5])
def test_biases_are_zero_but_for_the_forget_bias(family, forget_bias):
    if forget_bias is not None and not family.forget_bias:
        pytest.skip("no forget bias")
    options = {} if forget_bias is None else {"forget_bias": forget_bias}
    b = by_gate(family.gates, initial(family.make(F, H, **options), "b"))
    for gate, values in vars(b).items():
        is_forget = gate == "f" and family.forget_bias
        value = (1.0 if forget_bias is None else forget_bias) if is_forget else 0.0
        assert values.tolist() == [value] * H, gate


@every_forget_family
def test_b_init_replaces_the_forget_bias(family):
    shapes = []

    def b_init(key, shape, dtype):
        shapes.append((shape, dtype))
        return jnp.arange(shape[0], dtype=dtype)

    b = initial(family.make(F, H, b_init=b_init, forget_bias=17.0), "b")
    size = len(family.gates) * H
    assert shapes == [((size,), jnp.float32)]
    assert b.tolist() == list(range(size))


def test_extra_parameters_start_neutral():
    key = jax.random.key(0)
    assert rnnjax.gru(F, H).init(key).b_h.tolist() == [0.0] * H
    assert gru_reset_before(F, H).init(key).b_h is None
    assert rnnjax.peephole_lstm(F, H).init(key).w_c.tolist() == [[0.0] * H] * 3
    for params in (rnnjax.layer_norm_lstm(F, H).init(key), rnnjax.layer_norm_gru(F, H).init(key)):
        assert set(np.unique(params.scale_x)) == set(np.unique(params.scale_h)) == {1.0}
    params = rnnjax.layer_norm_lstm(F, H).init(key)
    assert (params.scale_c.tolist(), params.b_c.tolist()) == ([1.0] * H, [0.0] * H)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@every_family
def test_param_dtype_is_that_of_every_leaf(family, dtype):
    params = jax.eval_shape(family.make(F, H, param_dtype=dtype).init, jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}


@pytest.mark.slow
def test_weights_under_vmap_are_drawn_one_matrix_after_the_other():
    """Batched decompositions of one program can wait for each other forever on a CPU (jaxlib before 0.11)."""
    cell, keys = rnnjax.stack([rnnjax.lstm(3, 5), rnnjax.gru(5, 2)]), jax.random.split(jax.random.key(0), 3)
    init = jax.vmap(cell.init)
    decomposed = [e.invars[0].aval.shape for e in equations(jax.make_jaxpr(init)(keys)) if e.primitive.name == "qr"]
    assert set(decomposed) == {(5, 5), (2, 2)}
    drawn = jax.jit(init)(keys)
    for i, params in enumerate(map(cell.init, keys)):
        alone = jax.tree.map(lambda leaf, i=i: leaf[i], drawn)
        assert all(map(np.array_equal, jax.tree.leaves(alone), jax.tree.leaves(params)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_recurrent_weights_are_orthogonal(dtype):
    w_h = rnnjax.lstm(F, H, param_dtype=dtype).init(jax.random.key(0)).w_h
    assert w_h.dtype == dtype
    for w in vars(by_gate("ifgo", w_h.astype(jnp.float32))).values():
        assert_close(w.T @ w, np.eye(H), atol=3e-2)


@pytest.mark.parametrize(
    ("gates", "signs"),
    [
        ("ifgo", {"i": -1, "f": 1, "g": 0, "o": 0}),
        ("fgo", {"f": 1, "g": 0, "o": 0}),
        ("run", {"r": 0, "u": -1, "n": 0}),
        ("un", {"u": -1, "n": 0}),
    ],
)
def test_chrono_init_spreads_lags_evenly(gates, signs):
    hidden, max_lag = 4001, 101
    b = by_gate(gates, rnnjax.cells.chrono_init(max_lag, gates)(jax.random.key(0), (len(gates) * hidden,)))
    u = b.f if "f" in gates else -b.u
    for gate, sign in signs.items():
        assert_close(getattr(b, gate), sign * u)
    lags = np.sort(np.exp(u))  # Uniform(1, max_lag - 1)
    assert_close(lags, np.linspace(1, max_lag - 1, hidden), rtol=0, atol=0.03 * max_lag)


def test_chrono_init_reaches_the_bias_of_a_cell():
    init = rnnjax.cells.chrono_init(19, "run")
    b = by_gate("run", rnnjax.gru(F, H, b_init=init).init(jax.random.key(0)).b)
    assert (b.u < 0).all() and len(np.unique(b.u)) == H
    assert not b.r.any() and not b.n.any()


def test_chrono_init_says_what_it_expects():
    with pytest.raises(ValueError, match="max_lag > 2 steps, got 2"):
        rnnjax.cells.chrono_init(2)
    with pytest.raises(ValueError, match=r"gates='ifgo'.*4 gates.*got shape \(15,\)"):
        rnnjax.gru(F, H, b_init=rnnjax.cells.chrono_init(17)).init(jax.random.key(0))


def test_identity_init_is_a_scaled_identity():
    w = rnnjax.cells.identity_init(0.7)(jax.random.key(0), (H, H), jnp.bfloat16)
    assert w.dtype == jnp.bfloat16
    assert_close(w, 0.7 * np.eye(H), rtol=1e-2)
    params = rnnjax.lstm(F, H, w_h_init=rnnjax.cells.identity_init()).init(jax.random.key(0))
    for block in vars(by_gate("ifgo", params.w_h)).values():
        assert_close(block, np.eye(H))
    with pytest.raises(ValueError, match=r"square matrix \[H, H\], got \(3, 5\)"):
        rnnjax.cells.identity_init()(jax.random.key(0), (F, H))


# ---- dtypes --------------------------------------------------------------------------------------------------


def to_bfloat16(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), tree)


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("mode", ["dtype", "params_and_x"])
def test_products_in_bfloat16_beside_a_float32_carry(family, mode):
    cell, params, carry, x = example(family)
    expected = jax.jit(cell.apply)(params, carry, x)
    if mode == "dtype":
        cell = family.make(F, H, dtype=jnp.bfloat16)
    else:
        params, x = to_bfloat16((params, x))
    got = jax.jit(cell.apply)(params, carry, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(jnp.float32)}
    assert_close(got, expected, rtol=2e-2, atol=2e-2)
    products = [
        equation
        for equation in equations(jax.make_jaxpr(cell.apply)(params, carry, x))
        if equation.primitive.name in ("dot_general", "conv_general_dilated")
    ]
    assert len(products) >= 2
    for product in products:
        assert {operand.aval.dtype for operand in product.invars} == {jnp.dtype(jnp.bfloat16)}
        assert product.params["preferred_element_type"] == jnp.float32


@pytest.mark.slow
@every_family
def test_products_in_float32_beside_a_bfloat16_carry(family):
    cell, params, carry, x = example(family)
    expected = jax.jit(cell.apply)(params, carry, x)
    got = jax.jit(cell.apply)(params, to_bfloat16(carry), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype(jnp.bfloat16)}
    assert_close(got, expected, rtol=8e-2, atol=8e-2)


@every_family
def test_initial_carry_is_zero_and_has_the_dtype_asked_for(family):
    cell = family.make(F, H)
    for name, leaf in cell.initial_carry((2, 3), jnp.bfloat16)._asdict().items():
        size = cell.output_size if name == "h" else H
        assert (leaf.shape, leaf.dtype, float(abs(leaf).max())) == ((2, 3, size), jnp.bfloat16, 0.0)


# ---- the recurrent mask --------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset_after", [True, False])
def test_recurrent_mask_enters_the_products_only(reset_after):
    cell = rnnjax.gru(F, H, reset_after=reset_after)
    params, h, x = random_params(cell), normal(1, B, H), normal(2, B, F)
    zeros = jnp.zeros((B, H))
    _, y = cell.apply(params, rnnjax.GRUCarry(h), x, recurrent_mask=zeros)
    _, fresh = cell.apply(params, rnnjax.GRUCarry(zeros), x)
    _, u = cell.apply(params._replace(b=params.b.at[2 * H :].set(1e3)), rnnjax.GRUCarry(zeros), x)  # n = 1
    assert_close(y, fresh + (1 - u) * h)


@pytest.mark.slow
@every_family
def test_recurrent_mask_of_a_row_serves_every_row(family):
    cell, params, carry, x = example(family)
    row = jnp.linspace(0.1, 1.9, cell.output_size)
    rows = jnp.broadcast_to(row, carry.h.shape)
    got = cell.apply(params, carry, x, recurrent_mask=row)
    assert_close(got, cell.apply(params, carry, x, recurrent_mask=rows))
    assert abs(got[1] - cell.apply(params, carry, x)[1]).max() > 1e-3


# ---- errors at the door --------------------------------------------------------------------------------------


@every_family
def test_x_of_another_feature_size_is_refused(family):
    cell, params, carry, x = example(family)
    with pytest.raises(ValueError, match=rf"expected x of shape \[\.\.\., {F}\].*got \(.*{F - 1}\)"):
        cell.apply(params, carry, x[..., 1:])


@every_family
def test_integer_x_is_refused(family):
    cell, params, carry, x = example(family)
    with pytest.raises(TypeError, match="expected x of a floating dtype, got int32; embed or one-hot"):
        cell.apply(params, carry, x.astype(jnp.int32))


@every_family
def test_carry_of_another_batch_is_refused(family):
    cell, params, _, x = example(family)
    wrong = cell.initial_carry((B + 1, *family.space))
    with pytest.raises(ValueError, match=rf"expected a carry of shape \({B}, .*got \({B + 1}, .*initial_carry"):
        cell.apply(params, wrong, x)


@every_family
def test_carry_of_another_hidden_size_is_refused(family):
    cell, params, _, x = example(family)
    wrong = family.make(F, H + 2).initial_carry((B, *family.space))
    with pytest.raises(ValueError, match=rf"expected a carry of shape \(.*{H}\).*got \(.*{H + 2}\)"):
        cell.apply(params, wrong, x)


@every_forget_family
@pytest.mark.parametrize("rows", [1, B + 1])
def test_cell_state_of_another_shape_is_refused(family, rows):
    cell, params, carry, x = example(family)
    wrong = carry._replace(c=jnp.zeros((rows, *family.space, H)))
    with pytest.raises(ValueError, match=rf"expected a carry.* of shape \({B}, .*got \({rows}, "):
        cell.apply(params, wrong, x)


@every_family
def test_x_without_axes_is_refused(family):
    cell, params, carry, _ = example(family)
    with pytest.raises(ValueError, match=r"expected x of shape .*got \(\)"):
        cell.apply(params, carry, jnp.float32(0.5))


@every_family
@pytest.mark.parametrize("size", [0, -3, 2.0, "5", True])
def test_sizes_are_positive_ints(family, size):
    with pytest.raises(ValueError, match=f"expected input_size to be a positive int, got {size!r}"):
        family.make(size, H)
    with pytest.raises(ValueError, match=f"expected hidden_size to be a positive int, got {size!r}"):
        family.make(F, size)


@every_family
def test_cells_state_their_sizes(family):
    cell = family.make(F, H)
    assert (cell.input_size, cell.output_size) == (F, 2 if family.make is make_lstmp else H)


@every_family
def test_an_option_that_a_cell_does_not_have_is_named(family):
    constructor = family.make(F, H).apply.func.__name__.removesuffix("_cell")
    expected = rf"^{constructor}: expected the options of .*w_h_init, .* got bias, forget_gate\.$"
    with pytest.raises(TypeError, match=expected):
        family.make(F, H, forget_gate=1.0, bias=False)


@every_family
def test_batch_shape_is_a_tuple(family):
    with pytest.raises(TypeError, match=r"expected batch_shape to be a tuple of ints, such as \(8,\), got 11"):
        family.make(F, H).initial_carry(11)


@pytest.mark.slow
def test_gru_says_when_b_h_does_not_fit():
    x, carry = normal(0, B, F), rnnjax.GRUCarry(normal(1, B, H))
    with_b_h, without = (rnnjax.gru(F, H, reset_after=after).init(jax.random.key(0)) for after in (True, False))
    with pytest.raises(ValueError, match="b_h to be None with reset_after=False, got an array"):
        rnnjax.gru_cell(with_b_h, carry, x, reset_after=False)
    with pytest.raises(ValueError, match=r"b_h to be an array \[H\] with reset_after=True, got None"):
        rnnjax.gru_cell(without, carry, x)


@pytest.mark.parametrize("kernel_shape", [(), (2, 3, 2, 3), (0, 3), 3])
def test_kernel_shape_has_one_to_three_positive_entries(kernel_shape):
    with pytest.raises((ValueError, TypeError), match=r"conv_lstm: expected kernel_shape.*got"):
        rnnjax.conv_lstm(F, H, kernel_shape=kernel_shape)


@pytest.mark.slow
def test_conv_lstm_wants_its_axes_of_space():
    cell = conv_lstm_2d(F, H)
    with pytest.raises(ValueError, match=r"with 2 axes of space, got \(7, 3\)"):
        cell.apply(cell.init(jax.random.key(0)), cell.initial_carry((7,)), normal(0, 7, F))
