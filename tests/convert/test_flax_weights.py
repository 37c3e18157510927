"""Weights from and to flax.linen and flax.nnx, held to Flax itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from helpers import assert_close, assert_same, noisy, normal, random_params
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.convert import from_linen, from_nnx, to_linen, to_nnx
from rnnjax.convert._network import kind_of

T, B = 5, 3
SPACE = (4, 3, 2)  # of a conv_lstm, as many of them as its kernel has axes
LINEN = {"rnn": linen.SimpleCell, "lstm": linen.OptimizedLSTMCell, "gru": linen.GRUCell, "simple_gru": linen.MGUCell}
OURS = {"rnn": rnnjax.rnn, "lstm": rnnjax.lstm, "gru": rnnjax.gru, "simple_gru": rnnjax.cells.simple_gru}
ACTIVATIONS = {"tanh": jnp.tanh, "relu": jax.nn.relu}

flags = {
    "input_size": st.integers(1, 5),
    "hidden_size": st.integers(2, 5),
    "num_layers": st.integers(1, 2),
    "bidirectional": st.booleans(),
    "activation": st.sampled_from([*ACTIVATIONS]),
    "padded": st.booleans(),
    "written": st.booleans(),  # ours into theirs, or theirs into ours
    "seed": st.integers(0, 2**16),
}
linen_cases = st.fixed_dictionaries(flags | {"kind": st.sampled_from([*LINEN])})
nnx_cases = st.fixed_dictionaries(flags | {"kind": st.sampled_from(["rnn", "lstm", "gru"]), "optimized": st.booleans()})


def make_layers(case):
    """Layers of ours, as a case has them."""
    act = ACTIVATIONS[case["activation"]]
    options = {"activation": act} | ({"output_activation": act} if case["kind"] == "lstm" else {})
    layers, features = [], case["input_size"]
    for _ in range(case["num_layers"]):
        cell = OURS[case["kind"]](features, case["hidden_size"], **options)
        layers.append((cell, cell) if case["bidirectional"] else cell)
        features = case["hidden_size"] * (2 if case["bidirectional"] else 1)
    return layers


def make_linen(case):
    """One module of linen per layer."""

    def rnn():
        options = {"reset_gate": False} if case["kind"] == "simple_gru" else {}
        cell = LINEN[case["kind"]](case["hidden_size"], activation_fn=ACTIVATIONS[case["activation"]], **options)
        return linen.RNN(cell, time_major=True, return_carry=True)

    both = {"time_major": True, "return_carry": True}
    pair = case["bidirectional"]
    return [linen.Bidirectional(rnn(), rnn(), **both) if pair else rnn() for _ in range(case["num_layers"])]


def make_nnx(case):
    """One module of nnx per layer, with noise on all of its parameters."""
    rngs = nnx.Rngs(case["seed"])
    lstm = nnx.OptimizedLSTMCell if case["optimized"] else nnx.LSTMCell
    constructor = {"rnn": nnx.SimpleCell, "lstm": lstm, "gru": nnx.GRUCell}[case["kind"]]

    def rnn(features):
        cell = constructor(
            features, case["hidden_size"], activation_fn=ACTIVATIONS[case["activation"]], rngs=rngs, dtype=jnp.float32
        )
        return nnx.RNN(cell, time_major=True, return_carry=True)

    modules, features = [], case["input_size"]
    for _ in range(case["num_layers"]):
        pair, both = case["bidirectional"], {"time_major": True, "return_carry": True}
        module = nnx.Bidirectional(rnn(features), rnn(features), **both) if pair else rnn(features)
        nnx.update(module, noisy(nnx.to_pure_dict(nnx.state(module, nnx.Param)), case["seed"]))
        modules.append(module)
        features = case["hidden_size"] * (2 if case["bidirectional"] else 1)
    return modules


def as_flax(carry):
    """A carry of ours as Flax has it."""
    if isinstance(carry, rnnjax.Bidirectional):
        return tuple(map(as_flax, carry))
    return (carry.c, carry.h) if isinstance(carry, rnnjax.LSTMCarry) else carry.h


def assert_runs_alike(layers, params, options, runs, xs, lengths):
    """The same outputs at real steps, and the same last carries of all layers; runs are those of theirs, by layer."""
    carries, ys = rnnjax.unroll_layers(layers, params, xs, lengths=lengths, **options)
    expected = xs
    for run, carry in zip(runs, carries.layers, strict=True):
        last, expected = run(expected, seq_lengths=lengths)
        assert_close(as_flax(carry), last, rtol=1e-5, atol=1e-5)
    real = np.ones((T, B), bool) if lengths is None else np.arange(T)[:, None] < np.array(lengths)
    assert_close(np.asarray(ys)[real], np.asarray(expected)[real], rtol=1e-5, atol=1e-5)


def check_linen(case):
    layers, modules = make_layers(case), make_linen(case)
    xs, trees = normal(case["seed"], T, B, case["input_size"]), []
    if case["written"]:
        params = random_params(rnnjax.encoder(layers), case["seed"])
        trees = to_linen(layers, params)
        assert_comes_back(layers, case["activation"], case["seed"])
    else:
        below = xs
        for number, module in enumerate(modules):
            variables = noisy(module.init(jax.random.key(number), below), case["seed"] + number)
            trees.append(variables["params"])
            below = module.apply(variables, below)[1]
        layers, params, _ = from_linen(trees, activation=ACTIVATIONS[case["activation"]])
        assert jax.tree.structure(to_linen(layers, params)) == jax.tree.structure(trees)
        assert_same(to_linen(layers, params), trees)

    def run(module, tree):
        return lambda xs, **lengths: module.apply({"params": tree}, xs, **lengths)

    lengths = jnp.array([T, 1, 3]) if case["padded"] else None
    assert_runs_alike(layers, params, {}, map(run, modules, trees), xs, lengths)


def check_nnx(case):
    layers, modules = make_layers(case), make_nnx(case)
    if case["written"]:
        params, options = random_params(rnnjax.encoder(layers), case["seed"]), {}
        params = jax.tree.map(lambda p: without_b_h(p), params, is_leaf=lambda p: isinstance(p, rnnjax.GRUParams))
        for module, tree in zip(modules, to_nnx(layers, params, optimized=case["optimized"]), strict=True):
            nnx.update(module, tree)
    else:
        layers, params, options = from_nnx(modules)
        states = [nnx.to_pure_dict(nnx.state(module, nnx.Param)) for module in modules]
        assert_same(from_nnx(states).params, params)
        written = to_nnx(layers, params, optimized=case["optimized"])
        assert jax.tree.structure(written) == jax.tree.structure(states)
        assert_same(written, states)
    lengths = jnp.array([T, 1, 3]) if case["padded"] else None
    assert_runs_alike(layers, params, options, modules, normal(case["seed"], T, B, case["input_size"]), lengths)


def without_b_h(params):
    return params._replace(b_h=jnp.zeros_like(params.b_h)) if isinstance(params, rnnjax.GRUParams) else params


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(case=linen_cases)
def test_layers_of_linen_and_ours_are_the_same(case):
    check_linen(case)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(case=nnx_cases)
def test_layers_of_nnx_and_ours_are_the_same(case):
    check_nnx(case)


ONE = {"input_size": 3, "hidden_size": 5, "activation": "relu", "padded": True, "seed": 3}


def test_one_of_linen():
    check_linen(ONE | {"kind": "lstm", "num_layers": 1, "bidirectional": False, "written": False})


def test_one_of_nnx():
    both = {"num_layers": 2, "bidirectional": True, "written": False, "optimized": False}
    check_nnx(ONE | {"kind": "gru", **both})


@pytest.mark.parametrize("kind", [*OURS])
def test_ours_come_back_from_linen_bit_for_bit(kind):
    assert_comes_back(make_layers(ONE | {"kind": kind, "num_layers": 2, "bidirectional": True}), "relu", 1)


def assert_comes_back(layers, activation, seed):
    """The same cells with the same parameters, by way of linen."""
    params = random_params(rnnjax.encoder(layers), seed)
    again = from_linen(to_linen(layers, params), activation=ACTIVATIONS[activation])
    kinds = [[kind_of("test", cell) for cell in cells_of(some)] for some in (again.layers, layers)]
    assert kinds[0] == kinds[1]
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    assert_same(again.params, params)


def cells_of(layers):
    return [cell for layer in layers for cell in ([layer] if isinstance(layer, rnnjax.Cell) else layer)]


conv_cases = st.fixed_dictionaries({
    "kernel_shape": st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple),
    "input_size": st.integers(1, 3),
    "hidden_size": st.integers(1, 3),
    "use_bias": st.booleans(),
    "seed": st.integers(0, 2**16),
})  # fmt: skip


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(case=conv_cases)
def test_convolutional_lstms_of_linen(case):
    space = SPACE[: len(case["kernel_shape"])]
    xs = normal(case["seed"], T, B, *space, case["input_size"])
    cell = linen.ConvLSTMCell(case["hidden_size"], case["kernel_shape"], use_bias=case["use_bias"])
    module = linen.RNN(cell, time_major=True, return_carry=True)
    variables = noisy(module.init(jax.random.key(0), xs), case["seed"])
    layers, params, _ = from_linen(variables["params"])
    carries, ys = rnnjax.unroll_layers(layers, params, xs)
    assert_close((as_flax(carries.layers[0]), ys), module.apply(variables, xs), rtol=1e-5, atol=1e-5)
    (tree,) = to_linen(layers, params)
    if case["use_bias"]:
        assert_close(module.apply({"params": tree}, xs)[1], ys, rtol=1e-5, atol=1e-5)


def test_the_forget_bias_of_a_convolutional_lstm_comes_back_within_one_rounding():
    cell = rnnjax.cells.conv_lstm(3, 5, kernel_shape=(3, 2), stride=(1, 1), dilation=[1, 1])
    params = random_params(cell, 7)
    (again,) = from_linen(to_linen(cell, params)).params.layers
    assert_same((again.w_x, again.w_h), (params.w_x, params.w_h))
    np.testing.assert_allclose(again.b, params.b, rtol=0, atol=np.finfo(np.float32).eps)


def test_a_residual_cell_is_one_with_the_identity_in_its_weights():
    xs = normal(0, T, B, 3)
    module = linen.RNN(linen.SimpleCell(5, residual=True), time_major=True)
    variables = noisy(module.init(jax.random.key(0), xs))
    layers, params, _ = from_linen(variables["params"], residual=True)
    assert_close(rnnjax.unroll_layers(layers, params, xs)[1], module.apply(variables, xs))
    cell = nnx.SimpleCell(3, 5, residual=True, rngs=nnx.Rngs(0))
    assert_same(from_nnx(cell).params.layers[0].w_h, cell.dense_h.kernel[...] + jnp.eye(5))


def test_the_merge_of_nnx_comes_along():
    rngs, xs = nnx.Rngs(0), normal(0, T, B, 3)
    cells = [nnx.RNN(nnx.GRUCell(3, 5, rngs=rngs)) for _ in range(2)]
    module = nnx.Bidirectional(*cells, merge_fn=jnp.add, time_major=True)
    layers, params, options = from_nnx(module)
    assert_close(rnnjax.unroll_layers(layers, params, xs, **options)[1], module(xs))
    with pytest.raises(ValueError, match=r"^from_nnx: expected one merge_fn in all layers, got several; convert"):
        from_nnx([module, nnx.Bidirectional(*cells, merge_fn=jnp.subtract)])


def test_cells_that_a_parent_holds_by_name():
    class Parent(linen.Module):
        @linen.compact
        def __call__(self, xs):
            xs = linen.RNN(linen.LSTMCell(5), time_major=True)(xs)
            both = linen.Bidirectional(linen.RNN(linen.GRUCell(2)), linen.RNN(linen.GRUCell(2)), time_major=True)
            return both(xs)

    xs = normal(0, T, B, 3)
    variables = noisy(Parent().init(jax.random.key(0), xs))
    held = variables["params"]
    layers, params, _ = from_linen([held["LSTMCell_0"], (held["GRUCell_0"], held["GRUCell_1"])])
    assert_close(rnnjax.unroll_layers(layers, params, xs)[1], Parent().apply(variables, xs))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_weights_keep_their_dtype(dtype):
    cell = rnnjax.gru(3, 5, param_dtype=dtype)
    params = random_params(cell, 1, dtype)
    (again,) = from_linen(to_linen(cell, params)).params.layers
    assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {jnp.dtype(dtype)}
    assert_same(again, params)


def test_writing_may_be_traced():
    layers = [(rnnjax.gru(3, 5), rnnjax.lstm(3, 5)), rnnjax.cells.conv_lstm(10, 2)]
    params = random_params(rnnjax.encoder(layers), 1)
    assert_same(jax.jit(lambda params: to_linen(layers, params))(params), to_linen(layers, params))
    layers = rnnjax.lstm(3, 5)
    params = random_params(layers, 1)
    assert_same(jax.jit(lambda params: to_nnx(layers, params))(params), to_nnx(layers, params))


@pytest.mark.parametrize(
    ("write", "cell", "message"),
    [
        (to_linen, rnnjax.mgu(3, 5), "expected cells of rnn, lstm, gru, simple_gru, conv_lstm, got mgu; there is"),
        (to_linen, rnnjax.gru(3, 5, reset_after=False), "expected a gru with reset_after=True, got False; "),
        (to_linen, rnnjax.lstm(3, 5, clip=2.0), "expected a lstm with clip=None, got 2.0; "),
        (to_linen, rnnjax.lstm(3, 5, activation=jax.nn.relu), "expected a lstm with output_activation=relu, got"),
        (to_linen, rnnjax.rnn(3, 5, use_bias=False), "expected a rnn with biases, got use_bias=False; "),
        (to_linen, rnnjax.cells.conv_lstm(3, 5, padding="VALID", space=(4, 4)), "expected a conv_lstm with padding"),
        (to_nnx, rnnjax.cells.conv_lstm(3, 5), "expected cells of rnn, lstm, gru, got conv_lstm; there is no such"),
        (to_nnx, rnnjax.gru(3, 5), "expected a gru whose b_h is zero, got another one; nnx has no such bias"),
    ],
)  # fmt: skip
def test_what_flax_cannot_represent_is_named(write, cell, message):
    with pytest.raises(ValueError) as error:
        write(cell, random_params(cell, 1))
    assert str(error.value).startswith(f"{write.__name__}: {message}")


def test_what_we_cannot_represent_is_named():
    variables = linen.MGUCell(5).init(jax.random.key(0), jnp.zeros((B, 5)), jnp.zeros((B, 3)))
    with pytest.raises(ValueError, match=r"^from_linen: expected an MGUCell with reset_gate=False, got one with it; "):
        from_linen(variables["params"])
    with pytest.raises(ValueError, match=r"^from_linen: expected the parameters of a cell, .*, got params; of several"):
        from_linen(variables)
    with pytest.raises(ValueError, match=r"^from_nnx: expected an nnx\.RNN that reads forwards, got reverse=True; "):
        from_nnx(nnx.RNN(nnx.GRUCell(3, 5, rngs=nnx.Rngs(0)), reverse=True))
    with pytest.raises(ValueError, match=r"^from_nnx: expected a SimpleCell, LSTMCell, .*, got a Linear; of several"):
        from_nnx(nnx.Linear(3, 5, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match=r"^from_linen: expected weights of a rnn, 1 gates side by side, got shapes"):
        from_linen({"i": {"kernel": np.ones((3, 5)), "bias": np.ones(5)}, "h": {"kernel": np.ones((4, 4))}})
    with pytest.raises(ValueError, match=r"^from_linen: expected a pair for both directions, got 3; pass layers in a"):
        from_linen([(variables["params"],) * 3])
