"""Models of ONNX, held to ONNX Runtime and to the reference evaluator of onnx."""

import functools
import io

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
from rnnjax.convert import from_onnx, to_onnx

T, B = 7, 3
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
ACTIVATIONS = [*activations.ONNX, *activations.ONNX_WITH_PARAMETERS]
WITH_DEFAULTS = [*activations.ONNX, "HardSigmoid", "LeakyRelu", "Elu"]  # which ONNX Runtime takes from the standard


def run(model, feeds):
    """What ONNX Runtime returns, by name."""
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    feeds = {name: np.asarray(value) for name, value in feeds.items()}
    return dict(zip(names, session.run(None, feeds), strict=True))


def make_node(
    operator, *, features, hidden, directions=1, seed=0, bias=True, peepholes=False, states=None, lengths=None,
    as_inputs=False, **attributes,
):  # fmt: skip
    """A model of one node with random weights; states and lengths are constants unless they are inputs."""
    from onnx import TensorProto, helper, numpy_helper

    rng, rows = np.random.default_rng(seed), GATES[operator] * hidden
    shapes = {"W": (directions, rows, features), "R": (directions, rows, hidden)}
    shapes |= {"B": (directions, 2 * rows)} if bias else {}
    shapes |= {"P": (directions, 3 * hidden)} if peepholes else {}
    tensors = {name: 0.7 * rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    given = {**(states or {}), **({"sequence_lens": lengths} if lengths is not None else {})}
    places = ["X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P"]
    names = [name if name in {"X", *tensors, *given} else "" for name in places]
    while not names[-1]:
        names.pop()
    outputs = ["Y", "Y_h", "Y_c"][: 3 if operator == "LSTM" else 2]
    if directions == 2:
        attributes["direction"] = "bidirectional"
    node = helper.make_node(operator, names, outputs, "node", hidden_size=hidden, **attributes)
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ("T", "B", features))]
    if as_inputs:
        dtypes = {"sequence_lens": TensorProto.INT32}
        inputs += [
            helper.make_tensor_value_info(n, dtypes.get(n, TensorProto.FLOAT), v.shape) for n, v in given.items()
        ]
    else:
        tensors |= given
    constants = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(
        [node], "g", inputs, [helper.make_empty_tensor_value_info(name) for name in outputs], constants
    )
    for value in graph.output:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def last_states(carries):
    """The carry of the only layer, `[D, B, H]` for each field."""
    (layer,) = carries.layers
    directions = layer if isinstance(layer, rnnjax.Bidirectional) else [layer]
    return [np.stack(leaves) for leaves in zip(*directions, strict=True)]


node_cases = st.fixed_dictionaries({
    "operator": st.sampled_from([*GATES]),
    "features": st.integers(1, 5),
    "hidden": st.integers(1, 5),
    "direction": st.sampled_from(["forward", "reverse", "bidirectional"]),
    "bias": st.booleans(),
    "peepholes": st.booleans(),
    "input_forget": st.booleans(),
    "linear_before_reset": st.integers(0, 1),
    "clip": st.sampled_from([None, 0.3, 2.0]),
    "activations": st.booleans(),
    "parameters": st.booleans(),
    "states": st.booleans(),
    "lengths": st.booleans(),
    "as_inputs": st.booleans(),
    "seed": st.integers(0, 2**16),
})  # fmt: skip


def random_node(case):
    """The model of a case, with the states and lengths that it has."""
    rng, operator = np.random.default_rng(case["seed"]), case["operator"]
    directions = 2 if case["direction"] == "bidirectional" else 1
    attributes = {} if directions == 2 else {"direction": case["direction"]}
    if case["clip"]:
        attributes["clip"] = case["clip"]
    coupled = operator == "LSTM" and case["input_forget"]
    if coupled:
        attributes["input_forget"] = 1
    if operator == "GRU":
        attributes["linear_before_reset"] = case["linear_before_reset"]
    if case["activations"]:
        names, alphas, betas = [], [], []
        for _ in range(directions):
            # Bounded, so that nothing overflows.
            gate = rng.choice(
                ["Sigmoid", "HardSigmoid", *([] if coupled or operator == "GRU" else ["Tanh", "Softsign"])]
            )
            chosen = [gate, *rng.choice(ACTIVATIONS if case["parameters"] else WITH_DEFAULTS, 2)]
            names += chosen[1 if operator == "RNN" else 0 :][: {"RNN": 1, "GRU": 2, "LSTM": 3}[operator]]
        for name in names if case["parameters"] else ():
            parameters = dict(activations.ONNX_WITH_PARAMETERS).get(name, (None, {}))[1]
            alphas += [round(rng.uniform(0.2, 0.9), 3)] if parameters else []
            betas += [0.5 if name == "HardSigmoid" else round(rng.uniform(0.2, 0.9), 3)] if len(parameters) > 1 else []
        attributes |= {"activations": names}
        attributes |= {"activation_alpha": alphas} if alphas else {}
        attributes |= {"activation_beta": betas} if betas else {}
    states = None
    if case["states"]:
        fields = ["initial_h", "initial_c"][: 2 if operator == "LSTM" else 1]
        states = {f: rng.standard_normal((directions, B, case["hidden"])).astype(np.float32) for f in fields}
    lengths = np.array([T, 1, 4], np.int32) if case["lengths"] else None
    model = make_node(
        operator, features=case["features"], hidden=case["hidden"], directions=directions, seed=case["seed"],
        bias=case["bias"], peepholes=case["peepholes"] and operator == "LSTM" and not coupled, states=states,
        lengths=lengths, as_inputs=case["as_inputs"], **attributes,
    )  # fmt: skip
    return model, states, lengths


@pytest.mark.oracle
@settings(max_examples=50, deadline=None)
@given(case=node_cases)
def test_nodes_give_what_onnx_runtime_gives(case):
    pytest.importorskip("onnx")
    model, states, lengths = random_node(case)
    xs = normal(case["seed"], T, B, case["features"])
    layers, params, options = from_onnx(model)
    feeds = {"X": xs}
    if case["as_inputs"]:
        assert not {"carry", "lengths"} & {*options}
        if lengths is not None:
            feeds["sequence_lens"] = lengths
            options["lengths"] = jnp.asarray(lengths)
        if states:
            feeds |= states
            options["carry"] = jax.tree.map(jnp.asarray, as_carry(layers, states))
    else:
        assert ("lengths" in options, "carry" in options) == (lengths is not None, states is not None)
    expected = run(model, feeds)
    carries, ys = rnnjax.unroll_layers(layers, params, xs, **options)
    joined = np.swapaxes(expected["Y"], 1, 2).reshape(T, B, -1)
    assert_close(ys, joined, **CLOSE)
    assert_close(last_states(carries), list(expected.values())[1:], **CLOSE)


def as_carry(layers, states):
    (layer,) = layers
    cells = [layer] if isinstance(layer, rnnjax.Cell) else layer
    carries = [type(cell.initial_carry())(*[v[number] for v in states.values()]) for number, cell in enumerate(cells)]
    return rnnjax.Layers((rnnjax.Bidirectional(*carries) if len(carries) > 1 else carries[0],))


def draw_cell(kind, features, hidden, *, bias, clip, reset_after, functions):
    """A cell of ours with these options."""
    options = {"use_bias": bias, "clip": clip, "activation": functions[1]}
    if kind != "rnn":
        options["gate_activation"] = jax.nn.hard_sigmoid if functions[0] else jax.nn.sigmoid
    if kind == "gru":
        options["reset_after"] = reset_after
    if "lstm" in kind:
        options["output_activation"] = functions[2]
    return getattr(rnnjax.cells, kind)(features, hidden, **options)


FUNCTIONS = [
    jnp.tanh, jax.nn.relu, jax.nn.identity, jax.nn.soft_sign, jax.nn.elu, jax.nn.leaky_relu,
    functools.partial(jax.nn.elu, alpha=0.5), functools.partial(activations.scaled_tanh, alpha=0.7, beta=1.2),
]  # fmt: skip
layer_cases = st.fixed_dictionaries({
    "kind": st.sampled_from(["rnn", "gru", "lstm", "peephole_lstm", "cifg_lstm"]),
    "hidden": st.integers(1, 5),
    "pair": st.booleans(),
    "bias": st.booleans(),
    "clip": st.sampled_from([None, 0.5]),
    "reset_after": st.booleans(),
    "functions": st.tuples(st.booleans(), st.sampled_from(FUNCTIONS), st.sampled_from(FUNCTIONS)),
})  # fmt: skip


def draw_layers(cases, features):
    layers = []
    for case in cases:
        options = {name: case[name] for name in ("bias", "clip", "reset_after", "functions")}
        cell = draw_cell(case["kind"], features, case["hidden"], **options)
        layers.append((cell, cell) if case["pair"] else cell)
        features = case["hidden"] * (1 + case["pair"])
    return layers


@pytest.mark.oracle
@settings(max_examples=40, deadline=None)
@given(
    cases=st.lists(layer_cases, min_size=1, max_size=3), features=st.integers(1, 5), lengths=st.booleans(),
    carry=st.booleans(), reverse=st.booleans(), steps=st.sampled_from([0, 1, T]), seed=st.integers(0, 2**16),
)  # fmt: skip
def test_our_layers_run_in_onnx_runtime_and_come_back_bit_for_bit(
    cases, features, lengths, carry, reverse, steps, seed
):
    onnx = pytest.importorskip("onnx")
    layers = draw_layers(cases, features)
    reverse = reverse and not any(case["pair"] for case in cases)
    carry, lengths = carry and steps > 0, lengths or not steps  # without, last states of ONNX Runtime are arbitrary
    encoder = rnnjax.encoder(layers)
    params, xs = random_params(encoder, seed), normal(seed, steps, B, features)
    model = to_onnx(layers, params, lengths=lengths, carry=carry, reverse=reverse)
    onnx.checker.check_model(model, full_check=True)

    options, feeds = {"reverse": reverse}, {"xs": xs}
    if lengths:
        feeds["lengths"] = np.array([steps, min(steps, 1), 1 if carry else 0], np.int32)
        options["lengths"] = jnp.asarray(feeds["lengths"])
    if carry:
        options["carry"] = jax.tree.map(lambda leaf: leaf + normal(seed, *leaf.shape), encoder.initial_carry((B,)))
        feeds |= named_states("initial", options["carry"])
    carries, ys = rnnjax.unroll_layers(layers, params, xs, **options)
    assert_close({"ys": ys, **named_states("last", carries)}, run(model, feeds), **CLOSE)

    again = from_onnx(model)
    assert again.options == ({"reverse": True} if reverse else {})
    assert jax.tree.structure(again.params) == jax.tree.structure(params)
    assert_same(again.params, params)
    assert_close(rnnjax.unroll_layers(again.layers, again.params, xs, **options), (carries, ys), **CLOSE)
    assert to_onnx(again.layers, again.params, lengths=lengths, carry=carry, reverse=reverse) == model


def named_states(place, carries):
    """The carries of all layers, `[D, B, H]` by the names that the model has for them."""
    named = {}
    for number, layer in enumerate(carries.layers):
        directions = layer if isinstance(layer, rnnjax.Bidirectional) else [layer]
        for field in directions[0]._fields:
            named[f"{place}_{field}_{number}"] = np.stack([getattr(carry, field) for carry in directions])
    return named


@pytest.mark.oracle
def test_rows_of_length_0_keep_their_state_here_and_lose_it_in_onnx_runtime():
    pytest.importorskip("onnx")
    cell = rnnjax.lstm(2, 5)
    params, xs = random_params(cell, 1), normal(0, T, B, 2)
    carry = jax.tree.map(lambda leaf: leaf + normal(0, *leaf.shape), cell.initial_carry((B,)))
    lengths = np.array([0, T, 0], np.int32)
    got = run(
        to_onnx(cell, params, lengths=True, carry=True),
        {"xs": xs, "lengths": lengths, **named_states("initial", rnnjax.Layers((carry,)))},
    )
    after, ys = rnnjax.unroll(cell, params, xs, carry, lengths=jnp.asarray(lengths))
    assert_close(got["ys"], ys, **CLOSE)
    assert_close(got["last_c_0"][0, 1], after.c[1], **CLOSE)
    assert_same(after.c[::2], carry.c[::2])
    assert not got["last_c_0"][0, ::2].any()


@pytest.mark.oracle
@pytest.mark.parametrize("operator", [*GATES])
@pytest.mark.parametrize("constant", [False, True])
def test_batch_first_nodes(operator, constant):
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator  # ONNX Runtime has no layout 1

    fields = ["initial_h", "initial_c"][: 2 if operator == "LSTM" else 1]
    states = {field: np.array(normal(i, B, 1, 5)) for i, field in enumerate(fields)} if constant else None
    model = make_node(operator, features=2, hidden=5, layout=1, states=states)
    xs = np.asarray(normal(0, B, T, 2))
    expected = ReferenceEvaluator(model).run(None, {"X": xs})
    layers, params, options = from_onnx(model)
    assert {*options} == {"time_major", *({"carry"} if constant else ())}
    _, ys = rnnjax.unroll_layers(layers, params, jnp.asarray(xs), **options)
    assert_close(ys, expected[0].reshape(B, T, 5), **CLOSE)


@pytest.mark.oracle
@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.filterwarnings("ignore")  # of the exporter
def test_layers_exported_by_pytorch_load(tmp_path, kind, dynamic, bidirectional):
    pytest.importorskip("onnx")
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = getattr(torch.nn, kind)(2, 5, num_layers=2, bidirectional=bidirectional, batch_first=dynamic)
    xs = np.asarray(normal(0, *((B, T) if dynamic else (T, B)), 2))
    axes = {"xs": {0: "B", 1: "T"}} if dynamic else None
    path = tmp_path / "model.onnx"
    torch.onnx.export(module, (torch.from_numpy(xs),), path, input_names=["xs"], dynamic_axes=axes, dynamo=False)
    with torch.no_grad():
        expected = module(torch.from_numpy(xs))[0].numpy()
    for model in (path, str(path), path.read_bytes()):
        layers, params, options = from_onnx(model)
        assert len(layers) == 2 and options == {}  # initial states of zeros, which the model makes of shapes
    _, ys = rnnjax.unroll_layers(layers, params, jnp.asarray(xs), time_major=not dynamic)
    assert_close(ys, expected, **CLOSE)


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
def test_a_node_among_others_exported_by_pytorch_loads():
    onnx, torch = pytest.importorskip("onnx"), pytest.importorskip("torch")

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.below, self.linear, self.above = torch.nn.LSTM(2, 5), torch.nn.Linear(5, 3), torch.nn.GRU(3, 4)

        def forward(self, xs):
            return self.above(self.linear(self.below(xs)[0]))[0]

    module, file, xs = Model(), io.BytesIO(), normal(0, T, B, 2)
    torch.onnx.export(module, (torch.from_numpy(np.array(xs)),), file, input_names=["xs"], dynamo=False)
    model = onnx.load_from_string(file.getvalue())
    names = [node.name for node in model.graph.node if node.op_type in GATES]
    with pytest.raises(
        ValueError, match=f"^from_onnx: expected recurrent nodes that each read .* one of {', '.join(names)}"
    ):
        from_onnx(model)
    below, above = (from_onnx(model, name) for name in names)
    w, b = (p.detach().numpy() for p in module.linear.parameters())
    _, ys = rnnjax.unroll_layers(below.layers, below.params, xs)
    _, ys = rnnjax.unroll_layers(above.layers, above.params, ys @ w.T + np.broadcast_to(b, (T, B, 3)))
    with torch.no_grad():
        assert_close(ys, module(torch.from_numpy(np.array(xs))).numpy(), **CLOSE)


def test_what_the_operators_do_not_have_is_named():
    lstm, gru = rnnjax.lstm(3, 5), rnnjax.gru(3, 5)
    for layers, message in [
        ([rnnjax.lstmp(3, 5, 2)], r"expected cells of rnn, gru, lstm, peephole_lstm, cifg_lstm, got lstmp"),
        ([rnnjax.gru(3, 5, gate_activation=jnp.tanh)], r"expected a gate_activation f with f\(-a\) = 1 - f\(a\)"),
        ([rnnjax.lstm(3, 5, activation=jnp.sin)], r"expected an activation among Tanh, .*, got sin"),
        ([(lstm, gru)], r"expected both cells of a pair to be of one kind, .*, got lstm and gru that differ"),
        ([(lstm, rnnjax.lstm(3, 5, clip=1.0))], r"expected both cells of a pair to be of one kind, size, clip"),
        ([(lstm, lstm), rnnjax.lstm(5, 2)], r"expected layer 1 to take the 10 features of the layer below"),
        ([rnnjax.lstm(3, 5, param_dtype=jnp.bfloat16)], r"expected params of float16, float32 or float64, got bf"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^to_onnx: {message}"):
            to_onnx(layers, rnnjax.encoder(layers, merge=jnp.add).init(jax.random.key(0)))
    with pytest.raises(ValueError, match=r"^to_onnx: expected layers of one cell beside reverse=True"):
        to_onnx([(lstm, lstm)], rnnjax.encoder([(lstm, lstm)]).init(jax.random.key(0)), reverse=True)


@pytest.mark.oracle
def test_what_cannot_be_read_is_named():
    onnx = pytest.importorskip("onnx")
    helper = onnx.helper
    sizes = {"features": 2, "hidden": 5}

    def computed(name):
        """A model whose tensor of that name is twice an input."""
        model = make_node("LSTM", **sizes, states={"initial_h": np.ones((1, B, 5), np.float32)})
        (kept,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        kept.name = "half"
        model.graph.input.append(helper.make_tensor_value_info("scale", onnx.TensorProto.FLOAT, ()))
        model.graph.node.insert(0, helper.make_node("Mul", ["half", "scale"], [name]))
        return model

    def filled(value):
        """A model whose initial state has that value everywhere, and a shape that the caller gives."""
        model = make_node("RNN", **sizes, states={"initial_h": np.ones((1, B, 5), np.float32)}, as_inputs=True)
        model.graph.input.append(helper.make_tensor_value_info("shape", onnx.TensorProto.INT64, (3,)))
        del model.graph.input[1]
        tensor = onnx.numpy_helper.from_array(np.array([value], np.float32))
        model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=tensor))
        model.graph.node.insert(1, helper.make_node("Identity", ["filled"], ["initial_h"]))
        return model

    assert from_onnx(filled(0.0)).options == {}
    both = make_node("LSTM", **sizes)
    both.graph.node.append(make_node("LSTM", **sizes, direction="reverse").graph.node[0])
    both.graph.node[1].input[0], both.graph.node[1].name = "Y", "other"
    del both.graph.node[1].output[:]
    both.graph.node[1].output.append("Z")
    for model, node, message in [
        (helper.make_model(helper.make_graph([], "g", [], [])), None, r"expected a recurrent node among .*, got none"),
        (make_node("LSTM", **sizes), "other", r"expected other among the recurrent nodes, got node"),
        (make_node("LSTM", **sizes, peepholes=True, input_forget=1), None, r"expected an LSTM with peepholes or"),
        (make_node("LSTM", **sizes, activations=["Sigmoid", "Sinh", "Tanh"]), None, r"expected an activation .*Sinh"),
        (make_node("GRU", **sizes, activations=["Tanh", "Tanh"]), None, r"expected a gate_activation f with"),
        (make_node("RNN", **sizes, activations=["Affine"], activation_alpha=[2.0]), None, r"expected alpha and beta"),
        (computed("W"), None, r"expected W of node to be constant, got W, which depends on inputs of the model"),
        (computed("initial_h"), None, r"expected initial_h of node to be constant, got initial_h, which depends"),
        (filled(1.0), None, r"expected initial_h of node to be constant, got initial_h, which depends"),
        (both, None, r"expected recurrent nodes that each read .* got other, .*; pass node=, one of node, other"),
    ]:  # fmt: skip
        with pytest.raises(ValueError, match=f"^from_onnx: {message}"):
            from_onnx(model, node)
    with pytest.raises(TypeError, match=r"^from_onnx: expected a path, bytes or a ModelProto, got int"):
        from_onnx(3)


@pytest.mark.oracle
def test_steps_that_are_moved_between_nodes_are_no_chain():
    onnx = pytest.importorskip("onnx")
    layers = [rnnjax.lstm(2, 5), rnnjax.lstm(5, 3)]
    model = to_onnx(layers, random_params(rnnjax.encoder(layers), 1))
    assert len(from_onnx(model).layers) == 2
    (moved,) = (node for node in model.graph.node if list(node.output) == ["ys_0"])
    moved.output[0] = "ys_straight"
    swap = onnx.helper.make_node("Transpose", ["ys_straight"], ["ys_0"], perm=(1, 0, 2))  # over the batch, as in ReNet
    model.graph.node.insert([*model.graph.node].index(moved) + 1, swap)
    with pytest.raises(ValueError, match=r"got layer_1, which reads something else than those of layer_0"):
        from_onnx(model)


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_weights_keep_their_dtype(dtype):
    pytest.importorskip("onnx")
    with jax.enable_x64(True):
        cell = rnnjax.peephole_lstm(3, 5, param_dtype=dtype)
        params = random_params(cell, 1, dtype)
        again = from_onnx(to_onnx(cell, params).SerializeToString()).params.layers[0]
        assert {leaf.dtype for leaf in jax.tree.leaves(again)} == {jnp.dtype(dtype)}
        assert_same(again, params)


@pytest.mark.oracle
@pytest.mark.parametrize("function", [from_onnx, to_onnx])
def test_examples_run(function):
    pytest.importorskip("onnxruntime")
    run_examples(function)


def test_without_onnx_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(
        ImportError, match=r"^from_onnx: expected the package onnx to be installed; pip install onnx\.$"
    ):
        from_onnx("model.onnx")
