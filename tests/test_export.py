"""Programs of the library survive `jax.export`: what they take and return is registered for serialisation."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cell_table import TABLE
from helpers import assert_close, normal, random_params
from jax import export

import rnnjax
from rnnjax._checks import batch_shape_of
from rnnjax._types import serializable

pytest.importorskip("flatbuffers")  # JAX serialises with it, but does not require it
T, B, F, H, S, A, V = 3, 2, 3, 5, 7, 11, 13

# NamedTuples that no compiled program takes or returns: functions, options, and what lives on the host.
NOT_ARRAYS = {
    "Attention", "Bridge", "Case", "Cell", "Decoder", "EarlyStop", "Encoder", "FitResult", "Loss", "Network", "Program",
    "Progress", "Restored", "Score", "Snapshot", "Streams", "Vocabulary",
}  # fmt: skip


def through_bytes(function, *args):
    """The function after a journey as bytes."""
    exported = export.export(jax.jit(function))(*args)
    read = export.deserialize(exported.serialize())
    assert read.in_tree == exported.in_tree and read.out_tree == exported.out_tree
    return read.call


def named_tuples():
    """Public NamedTuples, by their dotted names."""
    for face in (rnnjax, *(getattr(rnnjax, name) for name in rnnjax.__all__)):
        for name in getattr(face, "__all__", ()):
            public = getattr(face, name)
            if inspect.isclass(public) and issubclass(public, tuple) and hasattr(public, "_fields"):
                yield f"{face.__name__}.{name}", public


@pytest.mark.parametrize("node", [pytest.param(node, id=name) for name, node in named_tuples()])
def test_every_public_named_tuple_of_arrays_is_registered(node):
    tree = node(*map(float, range(len(node._fields))))
    if node.__name__ in NOT_ARRAYS:
        with pytest.raises(ValueError, match="unregistered type"):
            through_bytes(lambda tree: tree, tree)
    else:
        again = through_bytes(lambda tree: tree, tree)(tree)
        assert type(again) is node and [float(leaf) for leaf in again] == list(tree)


@pytest.mark.parametrize("name", TABLE)
def test_an_unrolled_cell_survives(name):
    cell, make_inputs = TABLE[name]
    xs = jax.tree.map(jnp.asarray, make_inputs(1, T, (B,)))
    args = random_params(cell), xs, cell.initial_carry(batch_shape_of(cell, xs, time=True))

    def run(params, xs, carry):
        return rnnjax.unroll(cell, params, xs, carry)

    assert_close(through_bytes(run, *args)(*args), jax.jit(run)(*args))


@pytest.mark.slow
def test_layers_and_pairs_survive():
    layers = [(rnnjax.gru(F, H), rnnjax.rnn(F, H)), rnnjax.lstm(2 * H, F)]
    encoder = rnnjax.encoder(layers)
    args = encoder.init(jax.random.key(0)), normal(1, S, B, F), jnp.array([S, 2])

    def run(params, xs, lengths):
        return encoder.apply(params, xs, lengths=lengths)

    assert_close(through_bytes(run, *args)(*args), jax.jit(run)(*args))


def test_a_decoder_step_survives():
    attention = rnnjax.attention.additive_attention(H, 2, A)
    decoder = rnnjax.attention_decoder(rnnjax.lstm(F + 2, H), attention)
    params = decoder.init(jax.random.key(0))
    memory = attention.remember(params.attention, normal(1, S, B, 2), lengths=jnp.array([S, 4]))
    args = params, decoder.initial_carry(memory), normal(2, B, F), memory
    assert_close(through_bytes(decoder.step, *args)(*args), jax.jit(decoder.step)(*args))


def test_a_search_survives():
    logits = normal(3, 1, V)

    def search(bias):
        def step_fn(carry, token):
            return rnnjax.GRUCarry(carry.h + 1), logits * carry.h + bias

        return rnnjax.beam_search(step_fn, rnnjax.GRUCarry(jnp.ones(1)), bos_id=1, eos_id=2, beam_size=5, max_steps=T)

    bias = normal(4, 1, V)
    assert_close(through_bytes(search, bias)(bias), jax.jit(search)(bias))


def test_registering_again_changes_nothing():
    assert serializable(rnnjax.LSTMCarry) is rnnjax.LSTMCarry
    loaded_anew = type("LSTMCarry", (rnnjax.LSTMCarry,), {"__module__": rnnjax.LSTMCarry.__module__})
    assert serializable(loaded_anew) is loaded_anew
    carry = rnnjax.LSTMCarry(jnp.zeros(2), jnp.ones(3))
    again = through_bytes(lambda carry: carry, carry)(carry)
    assert type(again) is rnnjax.LSTMCarry
    np.testing.assert_array_equal(again.c, carry.c)


def test_the_name_in_the_bytes_is_the_public_one():
    exported = export.export(jax.jit(lambda tree: tree))((rnnjax.Layers(()), rnnjax.LSTMCarry(1.0, 2.0)))
    data = bytes(exported.serialize())
    assert b"rnnjax.Layers" in data and b"rnnjax.cells.LSTMCarry" in data and b"cells._" not in data
