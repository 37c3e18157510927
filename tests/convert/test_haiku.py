"""Weights from and to Haiku, held to Haiku itself."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, noisy, normal, random_params
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.convert import from_haiku, to_haiku

T, B = 5, 3
SPACE = (4, 3, 2)  # of a conv_lstm, as many of them as its kernel has axes
EPS = float(np.finfo(np.float32).eps)
OURS = {
    "lstm": rnnjax.lstm,
    "gru": functools.partial(rnnjax.gru, reset_after=False),
    "rnn": functools.partial(rnnjax.rnn, activation=jax.nn.relu),
}

cases = st.fixed_dictionaries({
    "kind": st.sampled_from([*OURS]),
    "input_size": st.integers(1, 5),
    "hidden_size": st.integers(2, 5),
    "num_layers": st.integers(1, 3),
    "double_bias": st.booleans(),
    "written": st.booleans(),
    "seed": st.integers(0, 2**16),
})  # fmt: skip


def make_haiku(make_cores, deep=None):
    """Runs cores over time, time first: outputs, and the last states of all."""
    hk = pytest.importorskip("haiku")

    def run(xs):
        core = (deep or hk.DeepRNN)(make_cores(hk))
        return hk.dynamic_unroll(core, xs, core.initial_state(B))

    return hk.without_apply_rng(hk.transform(run))


def states(carries):
    """Last states of all layers, each a tuple of its fields."""
    return [tuple(carry) for carry in carries.layers]


def their_states(last):
    return [tuple(state) if isinstance(state, tuple) else (state,) for state in last]


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(case=cases)
def test_cores_of_haiku_and_ours_are_the_same(case):
    sizes = [case["input_size"]] + [case["hidden_size"]] * case["num_layers"]

    def make_cores(hk):
        makers = {"lstm": hk.LSTM, "gru": hk.GRU, "rnn": lambda n: hk.VanillaRNN(n, double_bias=case["double_bias"])}
        return [makers[case["kind"]](size) for size in sizes[1:]]

    model, xs = make_haiku(make_cores), normal(case["seed"], T, B, sizes[0])
    theirs = noisy(model.init(jax.random.key(case["seed"]), xs), case["seed"])
    if case["written"]:
        layers = [OURS[case["kind"]](*pair) for pair in itertools.pairwise(sizes)]
        params = random_params(rnnjax.encoder(layers), case["seed"])
        written = to_haiku(layers, params, double_bias=case["double_bias"])
        assert jax.tree.map(jnp.shape, written) == jax.tree.map(jnp.shape, theirs)
        theirs = written
    else:
        layers, params, _ = from_haiku(theirs)
    carries, ys = rnnjax.unroll_layers(layers, params, xs)
    expected, last = model.apply(theirs, xs)
    assert_close((ys, states(carries)), (expected, their_states(last)), rtol=1e-5, atol=1e-5)


@pytest.mark.oracle
@settings(max_examples=10, deadline=None)
@given(
    kernel_shape=st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    input_size=st.integers(1, 3),
    hidden_size=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_convolutional_lstms_of_haiku(kernel_shape, input_size, hidden_size, seed):
    rank = len(kernel_shape)
    model = make_haiku(lambda hk: [getattr(hk, f"Conv{rank}DLSTM")(SPACE[:rank], hidden_size, kernel_shape)])
    xs = normal(seed, T, B, *SPACE[:rank], input_size)
    theirs = noisy(model.init(jax.random.key(seed), xs), seed)
    layers, params, _ = from_haiku(theirs)
    carries, ys = rnnjax.unroll_layers(layers, params, xs)
    expected, last = model.apply(theirs, xs)
    assert_close((ys, states(carries)), (expected, their_states(last)), rtol=1e-5, atol=1e-5)
    written = to_haiku(layers, params)
    assert jax.tree.map(jnp.shape, written) == jax.tree.map(jnp.shape, theirs)
    assert_close(model.apply(written, xs)[0], ys, rtol=1e-5, atol=1e-5)


@pytest.mark.oracle
def test_cores_inside_modules_and_both_directions():
    hk = pytest.importorskip("haiku")

    class Reader(hk.Module):
        def __init__(self):
            super().__init__()
            self.forward, self.backward = hk.GRU(5), hk.GRU(5)

        def __call__(self, xs):
            pair = [(self.forward, False), (self.backward, True)]
            runs = [hk.dynamic_unroll(c, xs, c.initial_state(B), reverse=r)[0] for c, r in pair]
            top = hk.LSTM(2)
            return hk.dynamic_unroll(top, jnp.concatenate(runs, axis=-1), top.initial_state(B))[0]

    model, xs = hk.without_apply_rng(hk.transform(lambda xs: Reader()(xs))), normal(0, T, B, 3)
    theirs = noisy(model.init(jax.random.key(0), xs))
    names = [("reader/~/gru", "reader/~/gru_1"), "reader/lstm"]
    layers, params, _ = from_haiku(theirs, names)
    assert_close(rnnjax.unroll_layers(layers, params, xs)[1], model.apply(theirs, xs))
    assert jax.tree.structure(to_haiku(layers, params, names)) == jax.tree.structure(theirs)


@pytest.mark.oracle
def test_skip_connections_are_those_of_a_stack():
    hk = pytest.importorskip("haiku")
    model = make_haiku(lambda hk: [hk.LSTM(5), hk.LSTM(2)], hk.deep_rnn_with_skip_connections)
    xs = normal(0, T, B, 3)
    theirs = noisy(model.init(jax.random.key(0), xs))
    layers, params, _ = from_haiku(theirs)
    cell = rnnjax.stack(layers, skip_connections=True)
    assert_close(rnnjax.unroll(cell, params, xs)[1], model.apply(theirs, xs)[0])


KINDS = {**OURS, "conv_lstm": functools.partial(rnnjax.cells.conv_lstm, kernel_shape=(3, 2))}


@pytest.mark.parametrize("kind", [*KINDS])
@pytest.mark.parametrize("double_bias", [True, False])
def test_ours_come_back(kind, double_bias):
    layers = [KINDS[kind](3, 5), KINDS[kind](5, 2)]
    params = random_params(rnnjax.encoder(layers), 1)
    written = to_haiku(layers, params, double_bias=double_bias)
    again = from_haiku(written).params
    assert jax.tree.structure(again) == jax.tree.structure(params)
    for got, expected in zip(again.layers, params.layers, strict=True):
        assert_same((got.w_x, got.w_h), (expected.w_x, expected.w_h))
        np.testing.assert_allclose(got.b, expected.b, rtol=0, atol=EPS if "lstm" in kind else 0)
    assert_same(jax.jit(lambda params: to_haiku(layers, params, double_bias=double_bias))(params), written)


def test_names_of_cores():
    layers = [(OURS["lstm"](3, 5),) * 2, OURS["gru"](10, 2), OURS["lstm"](2, 5), KINDS["conv_lstm"](5, 2)]
    params = random_params(rnnjax.encoder(layers), 1)
    own = ["lstm/linear", "lstm_1/linear", "gru", "lstm_2/linear"]
    convolutions = [f"conv2_dlstm/{name}_to_hidden" for name in ("input", "hidden")]
    assert sorted(to_haiku(layers, params)) == sorted(own + convolutions)
    many = {
        f"lstm_{n}/linear" if n else "lstm/linear": {"w": np.ones((9, 4 * 5)), "b": np.zeros(20)} for n in range(12)
    }
    many["lstm_10/linear"]["b"] = np.ones(20)
    biases = [float(layer.b[0]) for layer in from_haiku(many).params.layers]
    assert biases == [0.0] * 10 + [1.0, 0.0]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (rnnjax.mgu(3, 5), "expected cells of rnn, lstm, gru, conv_lstm, got mgu; there is no such cell there."),
        (rnnjax.gru(3, 5), "expected a gru with reset_after=False, got True; "),
        (rnnjax.rnn(3, 5), "expected a rnn with activation=relu, got tanh; "),
        (rnnjax.lstm(3, 5, use_bias=False), "expected a lstm with biases, got use_bias=False; "),
        (rnnjax.cells.conv_lstm(3, 5, dilation=(2, 2)), "expected a conv_lstm with dilation=None, got (2, 2); "),
    ],
)
def test_what_haiku_cannot_represent_is_named(cell, message):
    with pytest.raises(ValueError) as error:
        to_haiku(cell, random_params(cell, 1))
    assert str(error.value).startswith(f"to_haiku: {message}")


def test_what_is_no_core_is_refused():
    some = {"lstm/linear": {"w": np.ones((8, 20)), "b": np.zeros(20)}, "mlp/linear": {"w": np.ones((8, 20))}}
    with pytest.raises(
        ValueError, match=r"^from_haiku: expected cores of one kind by Haiku's own names, got none in mlp"
    ):
        from_haiku({"mlp/linear": some["mlp/linear"]})
    with pytest.raises(ValueError, match=r"^from_haiku: expected cores of one kind .*, got gru, lstm; pass modules="):
        from_haiku(some | {"gru": {}})
    with pytest.raises(
        ValueError, match=r"^from_haiku: expected lstm_7 to be an LSTM, GRU, .*, got other parameters; "
    ):
        from_haiku(some, ["lstm_7"])
    with pytest.raises(ValueError, match=r"^to_haiku: expected names of 1 modules, one per cell, got 2\."):
        to_haiku(OURS["lstm"](3, 5), random_params(OURS["lstm"](3, 5), 1), ["a", "b"])
