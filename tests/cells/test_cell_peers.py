"""Cells against those of other libraries, with the same weights and the same first carries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from helpers import assert_close, noisy, normal

import rnnjax
from rnnjax.convert import from_linen, from_torch

T, B, F, H = 7, 2, 3, 5


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_cells_are_those_of_torch(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, xs, first = getattr(torch.nn, name)(F, H), normal(0, T, B, F), (normal(1, B, H), normal(2, B, H))
    first = first if name == "LSTM" else first[:1]
    (cell,), params, _ = from_torch(module.state_dict())
    carry, ys = rnnjax.unroll(cell, params.layers[0], xs, type(cell.initial_carry((B,)))(*first))
    state = tuple(torch.from_numpy(np.array(leaf)[None]) for leaf in first)
    with torch.no_grad():
        expected, last = module(torch.from_numpy(np.array(xs)), state if name == "LSTM" else state[0])
    last = last if name == "LSTM" else (last,)
    assert_close((ys, tuple(carry)), (expected.numpy(), tuple(leaf[0].numpy() for leaf in last)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SimpleCell", "OptimizedLSTMCell", "GRUCell"])
def test_cells_are_those_of_flax(name):
    module, xs, h, c = getattr(linen, name)(H), normal(0, T, B, F), normal(1, B, H), normal(2, B, H)
    theirs = (c, h) if "LSTM" in name else h
    variables = noisy(module.init(jax.random.key(0), theirs, xs[0]))
    (cell,), params, _ = from_linen(variables["params"])
    first = rnnjax.LSTMCarry(h, c) if "LSTM" in name else type(cell.initial_carry((B,)))(h)
    carry, ys = rnnjax.unroll(cell, params.layers[0], xs, first)
    expected = []
    for x in xs:
        theirs, y = module.apply(variables, theirs, x)
        expected.append(y)
    assert_close((ys, (carry.c, carry.h) if "LSTM" in name else carry.h), (jnp.stack(expected), theirs))
