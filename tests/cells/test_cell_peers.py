"""Cells against those of other libraries, with the same weights; torch is not installed by the test extra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, noisy, normal

import rnnjax

T, B, F, H = 7, 2, 3, 5


def run_torch(module, xs, *state):
    """Outputs and last states `[B, H]` of a one-layer torch module with noise on its weights."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        ys, last = module(torch.from_numpy(np.array(xs)), *state)
    return ys.numpy(), [leaf[0].numpy() for leaf in (last if isinstance(last, tuple) else (last,))]


def torch_weights(module):
    """w_x `[F, G, H]`, w_h `[H, G, H]` and both biases `[G, H]` of a one-layer torch module."""
    weights = [getattr(module, f"{name}_l0").detach().numpy() for name in ("weight_ih", "weight_hh")]
    biases = [getattr(module, f"{name}_l0").detach().numpy() for name in ("bias_ih", "bias_hh")]
    return [w.T.reshape(w.shape[1], -1, H) for w in weights] + [b.reshape(-1, H) for b in biases]


def flat(gates):
    """Gates `[..., G, H]` side by side, `[..., G * H]`."""
    return jnp.asarray(gates.reshape(*gates.shape[:-2], -1))


@pytest.mark.oracle
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_rnn_is_that_of_torch(activation):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, xs, h = torch.nn.RNN(F, H, nonlinearity=activation), normal(0, T, B, F), normal(1, B, H)
    w_x, w_h, b_x, b_h = torch_weights(module)
    cell = rnnjax.rnn(F, H, activation={"tanh": jnp.tanh, "relu": jax.nn.relu}[activation])
    params = rnnjax.RNNParams(flat(w_x), flat(w_h), flat(b_x + b_h))
    carry, ys = rnnjax.unroll(cell, params, xs, rnnjax.RNNCarry(h))
    expected_ys, (expected_h,) = run_torch(module, xs, torch.from_numpy(np.array(h)[None]))
    assert_close((ys, carry.h), (expected_ys, expected_h))


@pytest.mark.oracle
def test_lstm_is_that_of_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, xs, h, c = torch.nn.LSTM(F, H), normal(0, T, B, F), normal(1, B, H), normal(2, B, H)
    w_x, w_h, b_x, b_h = torch_weights(module)  # i, f, g, o
    params = rnnjax.LSTMParams(flat(w_x), flat(w_h), flat(b_x + b_h))
    carry, ys = rnnjax.unroll(rnnjax.lstm(F, H), params, xs, rnnjax.LSTMCarry(h, c))
    state = tuple(torch.from_numpy(np.array(leaf)[None]) for leaf in (h, c))
    expected_ys, (expected_h, expected_c) = run_torch(module, xs, state)
    assert_close((ys, carry.h, carry.c), (expected_ys, expected_h, expected_c))


@pytest.mark.oracle
def test_gru_is_that_of_torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, xs, h = torch.nn.GRU(F, H), normal(0, T, B, F), normal(1, B, H)
    w_x, w_h, b_x, b_h = torch_weights(module)  # r, z, n, and u = 1 - z = sigmoid of minus what z sees
    polarity = np.array([1, -1, 1], np.float32)[:, None]
    b = b_x + b_h * np.array([1, 1, 0], np.float32)[:, None]
    params = rnnjax.GRUParams(flat(w_x * polarity), flat(w_h * polarity), flat(b * polarity), jnp.asarray(b_h[2]))
    carry, ys = rnnjax.unroll(rnnjax.gru(F, H), params, xs, rnnjax.GRUCarry(h))
    expected_ys, (expected_h,) = run_torch(module, xs, torch.from_numpy(np.array(h)[None]))
    assert_close((ys, carry.h), (expected_ys, expected_h))


def flax_gates(variables, prefix, gates):
    """Kernels side by side, and a dict of the biases there are."""
    layers = {gate: variables["params"][f"{prefix}{gate}"] for gate in gates}
    kernels = jnp.concatenate([layers[gate]["kernel"] for gate in gates], axis=-1)
    return kernels, {gate: layer["bias"] for gate, layer in layers.items() if "bias" in layer}


@pytest.mark.slow
def test_lstm_is_that_of_flax():
    linen = pytest.importorskip("flax.linen")
    module, xs, h, c = linen.OptimizedLSTMCell(H), normal(0, T, B, F), normal(1, B, H), normal(2, B, H)
    variables = noisy(module.init(jax.random.key(0), (c, h), xs[0]))
    w_x, _ = flax_gates(variables, "i", "ifgo")
    w_h, b = flax_gates(variables, "h", "ifgo")
    params = rnnjax.LSTMParams(w_x, w_h, jnp.concatenate([b[gate] for gate in "ifgo"]))
    carry, ys = rnnjax.unroll(rnnjax.lstm(F, H), params, xs, rnnjax.LSTMCarry(h, c))
    for t, x in enumerate(xs):
        (c, h), y = module.apply(variables, (c, h), x)
        assert_close(ys[t], y)
    assert_close(carry, rnnjax.LSTMCarry(h, c))


@pytest.mark.slow
def test_gru_is_that_of_flax():
    linen = pytest.importorskip("flax.linen")
    module, xs, h = linen.GRUCell(H), normal(0, T, B, F), normal(1, B, H)
    variables = noisy(module.init(jax.random.key(0), h, xs[0]))
    w_x, b = flax_gates(variables, "i", "rzn")
    w_h, b_h = flax_gates(variables, "h", "rzn")
    polarity = jnp.repeat(jnp.array([1.0, -1.0, 1.0]), H)
    bias = jnp.concatenate([b[gate] for gate in "rzn"]) * polarity
    params = rnnjax.GRUParams(w_x * polarity[None], w_h * polarity[None], bias, b_h["n"])
    carry, ys = rnnjax.unroll(rnnjax.gru(F, H), params, xs, rnnjax.GRUCarry(h))
    for t, x in enumerate(xs):
        h, y = module.apply(variables, h, x)
        assert_close(ys[t], y)
    assert_close(carry, rnnjax.GRUCarry(h))
