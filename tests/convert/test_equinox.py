"""Weights from and to Equinox, held to eqx.nn itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, normal, random_params
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.convert import from_equinox, to_equinox

T, B = 7, 3
OURS = {"LSTMCell": rnnjax.lstm, "GRUCell": rnnjax.gru}

cases = st.fixed_dictionaries({
    "kind": st.sampled_from([*OURS]),
    "input_size": st.integers(1, 5),
    "hidden_size": st.integers(2, 5),
    "use_bias": st.booleans(),
    "bidirectional": st.booleans(),
    "written": st.booleans(),
    "seed": st.integers(0, 2**16),
})  # fmt: skip


def run_equinox(cell, xs, reverse=False):
    """Outputs `[T, B, H]` and the last state, a tuple of `[B, H]`."""
    gru, zeros = hasattr(cell, "bias_n"), jnp.zeros((B, cell.hidden_size))
    state = zeros if gru else (zeros, zeros)

    def step(state, x):
        state = jax.vmap(cell)(x, state)
        return state, state if gru else state[0]

    last, ys = jax.lax.scan(step, state, xs, reverse=reverse)
    return ys, last if isinstance(last, tuple) else (last,)


def with_weights(eqx, cell, weights):
    return eqx.tree_at(lambda cell: [getattr(cell, name) for name in weights], cell, list(weights.values()))


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(case=cases)
def test_cells_of_equinox_and_ours_are_the_same(case):
    eqx = pytest.importorskip("equinox")
    sizes = case["input_size"], case["hidden_size"]
    keys = jax.random.split(jax.random.key(case["seed"]))
    cells = tuple(getattr(eqx.nn, case["kind"])(*sizes, use_bias=case["use_bias"], key=key) for key in keys)
    if case["written"]:
        ours = OURS[case["kind"]](*sizes, use_bias=case["use_bias"])
        layers, params = [(ours, ours)], random_params(rnnjax.encoder([(ours, ours)]), case["seed"])
        (weights,) = to_equinox(layers, params)
        cells = tuple(with_weights(eqx, cell, new) for cell, new in zip(cells, weights, strict=True))
        assert jax.tree.structure(from_equinox([cells]).params) == jax.tree.structure(params)
        assert_same(from_equinox([cells]).params, params)
    layers, params, _ = from_equinox([cells] if case["bidirectional"] else cells[0])
    xs = normal(case["seed"], T, B, case["input_size"])
    carries, ys = rnnjax.unroll_layers(layers, params, xs)
    expected, last = run_equinox(cells[0], xs)
    carry = carries.layers[0]
    if case["bidirectional"]:
        backward, first = run_equinox(cells[1], xs, reverse=True)
        expected, last = jnp.concatenate([expected, backward], axis=-1), (*last, *first)
        carry = (*carry.forward, *carry.backward)
    assert_close((ys, tuple(carry)), (expected, last), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [*OURS])
@pytest.mark.parametrize("use_bias", [True, False])
def test_ours_come_back_bit_for_bit(kind, use_bias):
    cell = OURS[kind](3, 5, use_bias=use_bias)
    layers = [cell, (OURS[kind](5, 2, use_bias=use_bias),) * 2]
    params = random_params(rnnjax.encoder(layers), 1)
    weights = to_equinox(layers, params)
    again = from_equinox(weights)
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    assert_same(again.params, params)
    assert_same(jax.jit(lambda params: to_equinox(layers, params))(params), weights)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (rnnjax.rnn(3, 5), "expected cells of lstm, gru, got rnn; there is no such cell there."),
        (rnnjax.gru(3, 5, reset_after=False), "expected a gru with reset_after=True, got False; "),
        (rnnjax.lstm(3, 5, output_activation=jax.nn.relu), "expected a lstm with output_activation=tanh, got relu; "),
        (rnnjax.gru(3, 5, clip=1.0), "expected a gru with clip=None, got 1.0; "),
    ],
)
def test_what_equinox_cannot_represent_is_named(cell, message):
    with pytest.raises(ValueError) as error:
        to_equinox(cell, random_params(cell, 1))
    assert str(error.value).startswith(f"to_equinox: {message}")


def test_what_is_no_cell_is_refused():
    with pytest.raises(
        ValueError, match=r"^from_equinox: expected an eqx\.nn\.LSTMCell or eqx\.nn\.GRUCell, got a str"
    ):
        from_equinox([("cell", "cell")])
    with pytest.raises(ValueError, match=r"^from_equinox: expected weights of a gru, 3 gates side by side, got shapes"):
        from_equinox({"weight_ih": np.ones((10, 3)), "weight_hh": np.ones((10, 5))})
