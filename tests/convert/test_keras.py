"""Weights from and to Keras 3, held to its layers."""

import contextlib
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convert_helpers import run_examples
from helpers import assert_close, assert_same, normal, random_params
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.convert import _activations as activations
from rnnjax.convert import from_keras, to_keras
from rnnjax.recurrence import hold_outputs

os.environ.setdefault("KERAS_BACKEND", "jax")  # before Keras is imported
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras's variables
T, B = 7, 3
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
KINDS = ("SimpleRNN", "GRU", "LSTM")


@contextlib.contextmanager
def as_users_have_it():
    """Keras promotes and broadcasts as the strict flags forbid."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def build(layer, *shape, seed=0):
    """The layer with random weights, biases included."""
    with as_users_have_it():
        layer.build(shape)
        rng = np.random.default_rng(seed)
        layer.set_weights([0.5 * rng.standard_normal(w.shape).astype(w.dtype) for w in layer.get_weights()])
    return layer


def call(layer, xs, **options):
    with as_users_have_it():
        return layer(xs, **options)


def ours(converted, xs, mask=None):
    """Carries and outputs `[B, T, ...]`."""
    layers, params, options = converted
    mask = None if mask is None else jnp.asarray(mask)
    return rnnjax.unroll_layers(layers, params, jnp.asarray(xs), mask=mask, time_major=False, **options)


def held(ys, mask, reverse=False):
    """Outputs `[B, T, ...]` of skipped steps as Keras has them."""
    return jnp.swapaxes(hold_outputs(jnp.swapaxes(ys, 0, 1), jnp.asarray(mask).T, reverse=reverse), 0, 1)


def draw_mask(seed):
    """Booleans `[B, T]` with gaps; one row is full, and one all skipped."""
    mask = np.random.default_rng(seed).random((B, T)) < 0.6
    mask[0], mask[1] = True, False
    return mask


def make_layer(case, **options):
    """An LSTM, GRU or SimpleRNN of Keras that returns sequences."""
    import keras

    options |= {"use_bias": case["use_bias"], "activation": case["activation"], "return_sequences": True}
    if case["kind"] != "SimpleRNN":
        options["recurrent_activation"] = case["recurrent_activation"]
    if case["kind"] == "GRU":
        options["reset_after"] = case["reset_after"]
    return getattr(keras.layers, case["kind"])(case["units"], **options)


cases = st.fixed_dictionaries({
    "kind": st.sampled_from(KINDS),
    "features": st.integers(1, 5),
    "units": st.integers(1, 5),
    "use_bias": st.booleans(),
    "reset_after": st.booleans(),
    "activation": st.sampled_from(["tanh", "relu", "linear", "softsign", "elu"]),
    "recurrent_activation": st.sampled_from(["sigmoid", "hard_sigmoid"]),
    "masked": st.booleans(),
    "backwards": st.booleans(),
    "merge": st.sampled_from(["concat", "sum", "mul", "ave"]),
    "seed": st.integers(0, 2**16),
})  # fmt: skip


@pytest.mark.oracle
@settings(max_examples=30, deadline=None)
@given(case=cases)
def test_layers_of_keras_give_the_same_outputs(case):
    pytest.importorskip("keras")
    layer = make_layer(case, go_backwards=case["backwards"], return_state=True)
    build(layer, B, T, case["features"], seed=case["seed"])
    xs, mask = normal(case["seed"], B, T, case["features"]), draw_mask(case["seed"]) if case["masked"] else None
    expected, *last = call(layer, xs, mask=mask)
    carries, ys = ours(from_keras(layer), xs, mask)
    if case["masked"]:
        ys = held(ys, mask, case["backwards"])
    assert_close(ys[:, ::-1] if case["backwards"] else ys, expected, **CLOSE)
    assert_close(list(carries.layers[0]), list(last), **CLOSE)


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(case=cases)
def test_both_directions_and_stacks(case):
    keras = pytest.importorskip("keras")
    one, other = make_layer(case), make_layer(case | {"kind": KINDS[case["units"] % 3]}, go_backwards=True)
    pair = keras.layers.Bidirectional(one, backward_layer=other, merge_mode=case["merge"])
    build(pair, B, T, case["features"], seed=case["seed"])
    xs, mask = normal(case["seed"], B, T, case["features"]), draw_mask(case["seed"]) if case["masked"] else None
    between = call(pair, xs, mask=mask)
    top = build(make_layer(case | {"units": 2}), *between.shape, seed=case["seed"])
    _, ys = ours(from_keras(pair), xs, mask)
    assert_close(ys, between, **CLOSE)  # the same at skipped steps
    _, ys = ours(from_keras([pair, top]), xs, mask)
    assert_close(held(ys, mask) if case["masked"] else ys, call(top, between, mask=mask), **CLOSE)


@pytest.mark.oracle
@pytest.mark.parametrize("backwards", [False, True])
def test_stacked_cells(backwards):
    keras = pytest.importorskip("keras")
    cells = [keras.layers.LSTMCell(5), keras.layers.GRUCell(2, reset_after=False), keras.layers.SimpleRNNCell(3)]
    layer = build(keras.layers.RNN(cells, return_sequences=True, go_backwards=backwards), B, T, 4)
    xs, mask = normal(0, B, T, 4), draw_mask(1)
    converted = from_keras(layer)
    assert [cell.output_size for cell in converted.layers] == [5, 2, 3]
    ys = held(ours(converted, xs, mask)[1], mask, backwards)
    assert_close(ys[:, ::-1] if backwards else ys, call(layer, xs, mask=mask), **CLOSE)
    again = to_keras(converted.layers, converted.params)
    assert_close([w for weights in again for w in weights], layer.get_weights(), **CLOSE)
    (cell,), params, _ = from_keras(build(keras.layers.LSTMCell(5), B, 4))
    assert cell.apply(params.layers[0], cell.initial_carry((B,)), xs[:, 0])[1].shape == (B, 5)


@pytest.mark.oracle
@settings(max_examples=20, deadline=None)
@given(
    rank=st.integers(1, 3), kernel=st.tuples(*[st.integers(1, 3)] * 3), strides=st.tuples(*[st.integers(1, 2)] * 3),
    dilation=st.tuples(*[st.integers(1, 2)] * 3), dilated=st.booleans(), padding=st.sampled_from(["same", "valid"]),
    use_bias=st.booleans(), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_convolutional_lstms(rank, kernel, strides, dilation, dilated, padding, use_bias, seed):
    keras = pytest.importorskip("keras")
    space = (5, 7, 6)[:rank]
    window = {"dilation_rate": dilation[:rank]} if dilated else {"strides": strides[:rank]}
    layers, shape = [], (B, 2, *space, 3)
    for filters in (2, 3):
        layer = getattr(keras.layers, f"ConvLSTM{rank}D")(
            filters, kernel[:rank], padding=padding, use_bias=use_bias, return_sequences=True, **window
        )
        layers.append(build(layer, *shape, seed=seed))
        shape = layer.compute_output_shape(shape)
        window, padding = {}, "same"  # of the second one
    xs = normal(seed, B, 2, *space, 3)
    converted = from_keras(layers, space=space)
    expected = call(layers[1], call(layers[0], xs))
    assert_close(ours(converted, xs)[1], expected, **CLOSE)
    for layer, weights in zip(layers, to_keras(converted.layers, converted.params), strict=True):
        assert_same(weights, layer.get_weights())


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(case=cases)
def test_our_layers_run_in_keras_and_come_back_bit_for_bit(case):
    keras = pytest.importorskip("keras")
    layers = [keras.layers.Bidirectional(make_layer(case)), make_layer(case | {"units": 2})]
    build(layers[0], B, T, case["features"])
    build(layers[1], B, T, 2 * case["units"])
    network = from_keras(layers)
    params = random_params(rnnjax.encoder(network.layers), seed=case["seed"])
    ys = xs = normal(case["seed"], B, T, case["features"])
    for layer, weights in zip(layers, to_keras(network.layers, params), strict=True):
        layer.set_weights(weights)
        ys = call(layer, ys)
    assert_close(rnnjax.unroll_layers(network.layers, params, xs, time_major=False)[1], ys, **CLOSE)
    again = from_keras(layers).params
    assert jax.tree.structure(again) == jax.tree.structure(params)
    assert_same(again, params)


@pytest.mark.oracle
@pytest.mark.parametrize("return_sequences", [False, True])
def test_a_keras_model_with_masks_loads(return_sequences):
    keras = pytest.importorskip("keras")
    layers = keras.layers
    tokens = keras.Input((T,), dtype="int32")
    embedding, pair = (
        layers.Embedding(11, 5, mask_zero=True),
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
    )
    gru, dense = layers.GRU(2, return_sequences=return_sequences), layers.Dense(4)
    with as_users_have_it():
        model = keras.Model(tokens, dense(gru(pair(embedding(tokens)))))
        rng = np.random.default_rng(0)
        model.set_weights([rng.standard_normal(w.shape).astype(w.dtype) for w in model.get_weights()])
        rows = rng.integers(1, 11, (4, T))
        rows[1, 3:], rows[2, [0, 4]], rows[3] = 0, 0, 0  # padded, with gaps, empty
        expected = model(rows)

    (table,), (w, b) = embedding.get_weights(), dense.get_weights()
    layers, params, options = from_keras([pair, gru])
    mask = jnp.asarray(rows != 0)
    carries, ys = rnnjax.unroll_layers(layers, params, table[rows], mask=mask, time_major=False, **options)
    ys = held(ys, mask) if return_sequences else carries.layers[-1].h
    assert_close(ys @ w + np.broadcast_to(b, expected.shape), expected, **CLOSE)


@pytest.mark.oracle
def test_names_of_activations_are_those_of_keras():
    keras = pytest.importorskip("keras")
    z = jnp.linspace(-7, 7, 41)
    for name, function in activations.KERAS.items():
        known = keras.activations.get(name)
        assert keras.activations.serialize(known) == name
        with as_users_have_it():
            assert_close(function(z), known(z), rtol=1e-6, atol=1e-6)


@pytest.mark.oracle
def test_what_cannot_be_read_is_named():
    keras = pytest.importorskip("keras")
    layers, (x, images) = keras.layers, ((B, T, 4), (B, T, 5, 7, 2))

    @keras.saving.register_keras_serializable("tests")
    def square(z):
        return z * z

    bidirectional = layers.Bidirectional
    for layer, message in [
        (build(layers.Dense(3), *x), r"expected layers among SimpleRNN, .*, Bidirectional and RNN, got Dense"),
        (layers.LSTM(3), r"expected layers that are built, got one without weights"),
        (build(layers.LSTM(3, activation="softmax"), *x), r"expected an activation among tanh, .*, got 'softmax'"),
        (build(layers.LSTM(3, activation=square), *x), r"expected an activation among tanh, .*, got 'tests>square'"),
        (build(layers.GRU(3, recurrent_activation="tanh"), *x), r"expected a gate_activation f with f\(-a\) = 1 - f"),
        (build(bidirectional(layers.LSTM(3), merge_mode=None), *x), r"expected one merge_mode among .*, got None"),
        (build(bidirectional(layers.LSTM(3, go_backwards=True), backward_layer=layers.LSTM(3)), *x),
         r"expected a Bidirectional whose layer goes forward"),
        (build(bidirectional(layers.RNN([layers.LSTMCell(3), layers.LSTMCell(3)])), *x),
         r"expected a Bidirectional of one cell in each direction, got StackedRNNCells"),
        ([build(layers.LSTM(4, go_backwards=True), *x), build(layers.LSTM(3), *x)], r"expected layers on top of each"),
        (build(layers.ConvLSTM2D(3, 2), *images), r"expected space, .* with strides \(1, 1\) and padding valid"),
        (build(layers.ConvLSTM1D(3, 2, data_format="channels_first"), B, T, 2, 5), r"expected data_format"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^from_keras: {message}"):
            from_keras(layer)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (rnnjax.mgu(3, 5), r"expected cells of rnn, gru, lstm, conv_lstm, got mgu; there is no such cell"),
        (rnnjax.lstm(3, 5, clip=2.0), r"expected a lstm with clip=None, got 2\.0; "),
        (rnnjax.lstm(3, 5, activation=jax.nn.relu), r"expected a lstm with output_activation=relu, got tanh; "),
        (rnnjax.gru(3, 5, gate_activation=jnp.tanh), r"expected a gate_activation f with f\(-a\) = 1 - f\(a\)"),
        (rnnjax.conv_lstm(3, 5, padding=((0, 1), (1, 0))), r"expected padding SAME or VALID, got \(\(0, 1\)"),
    ],
)  # fmt: skip
def test_what_keras_cannot_represent_is_named(cell, message):
    with pytest.raises(ValueError, match=f"^to_keras: {message}"):
        to_keras(cell, random_params(cell, seed=1))


def test_weights_can_be_written_under_transformations():
    cell = rnnjax.gru(3, 5)
    params = random_params(cell, seed=1)
    weights, pull = jax.vjp(jax.jit(lambda params: to_keras(cell, params)[0]), params)
    assert_same(weights, to_keras(cell, params)[0])
    (gradients,) = pull([normal(number, *w.shape) for number, w in enumerate(weights)])
    assert_same(gradients.w_x[:, 5:10], -normal(0, 3, 15)[:, :5])  # of u, that of z with the other sign


@pytest.mark.oracle
def test_examples_run():
    pytest.importorskip("keras")
    run_examples(from_keras)
