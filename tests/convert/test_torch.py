"""Weights from and to PyTorch, held to torch.nn itself."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, normal, random_params
from hypothesis import given, settings
from hypothesis import strategies as st

import rnnjax
from rnnjax.convert import from_torch, to_torch

T, B = 7, 3
pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
KINDS = {"RNN": rnnjax.rnn, "GRU": rnnjax.gru, "LSTM": rnnjax.lstm}


def tensors(weights):
    import torch

    return {name: torch.from_numpy(np.array(value)) for name, value in weights.items()}


def run_torch(module, xs, lengths=None):
    """Outputs `[T, B, D H]` and last states, each `[L D, B, H]`."""
    import torch

    xs = torch.from_numpy(np.array(xs))
    with torch.no_grad():
        if lengths is None:
            ys, last = module(xs)
        else:
            packed = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(lengths), enforce_sorted=False)
            ys, last = module(packed)
            ys, _ = torch.nn.utils.rnn.pad_packed_sequence(ys, total_length=len(xs))
    return ys.numpy(), [leaf.numpy() for leaf in (last if isinstance(last, tuple) else (last,))]


def states(carries):
    """Carries of all layers and directions as torch stacks them, `[L D, B, H]` for each field."""
    cells = []
    for layer in carries.layers:
        cells.extend(layer if isinstance(layer, rnnjax.Bidirectional) else [layer])
    return [np.stack(leaves) for leaves in zip(*cells, strict=True)]


modules = st.fixed_dictionaries({
    "kind": st.sampled_from([*KINDS]),
    "input_size": st.integers(1, 5),
    "hidden_size": st.integers(2, 5),
    "num_layers": st.integers(1, 3),
    "bidirectional": st.booleans(),
    "bias": st.booleans(),
    "projected": st.booleans(),
    "relu": st.booleans(),
    "padded": st.booleans(),
    "seed": st.integers(0, 2**16),
})  # fmt: skip


def make_module(kind, *, seed, projected=False, relu=False, padded=False, **sizes):
    import torch

    torch.manual_seed(seed)
    if kind == "LSTM" and projected:
        sizes["proj_size"] = sizes["hidden_size"] - 1
    if kind == "RNN" and relu:
        sizes["nonlinearity"] = "relu"
    return getattr(torch.nn, kind)(**sizes)


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(case=modules)
def test_modules_of_torch_give_the_same_outputs(case):
    pytest.importorskip("torch")
    module, xs = make_module(**case), normal(case["seed"], T, B, case["input_size"])
    lengths = [T, 1, 4] if case["padded"] else None
    act = jax.nn.relu if case["relu"] else jnp.tanh
    layers, params, options = from_torch(module.state_dict(), activation=act)
    given_lengths = None if lengths is None else jnp.array(lengths)
    carries, ys = rnnjax.unroll_layers(layers, params, xs, lengths=given_lengths, **options)
    expected, last = run_torch(module, xs, lengths)
    assert_close(ys, expected, rtol=1e-5, atol=1e-5)
    assert_close(states(carries), last, rtol=1e-5, atol=1e-5)


@pytest.mark.oracle
@settings(max_examples=25, deadline=None)
@given(case=modules)
def test_our_layers_run_in_torch_and_come_back_bit_for_bit(case):
    pytest.importorskip("torch")
    module = make_module(**case)
    layers, like, _ = from_torch(module.state_dict(), activation=jax.nn.relu if case["relu"] else jnp.tanh)
    params = random_params(rnnjax.encoder(layers), seed=case["seed"])
    weights = to_torch(layers, params)
    assert {name: value.shape for name, value in weights.items()} == {
        name: tuple(value.shape) for name, value in module.state_dict().items()
    }
    module.load_state_dict(tensors(weights))
    xs = normal(case["seed"], T, B, case["input_size"])
    assert_close(rnnjax.unroll_layers(layers, params, xs)[1], run_torch(module, xs)[0], rtol=1e-5, atol=1e-5)
    again = from_torch(weights).params
    assert jax.tree.structure(again) == jax.tree.structure(params) == jax.tree.structure(like)
    assert all(map(np.array_equal, jax.tree.leaves(again), jax.tree.leaves(params)))


@pytest.mark.oracle
@pytest.mark.parametrize("kind", [*KINDS])
def test_cells_of_torch(kind):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module, x = getattr(torch.nn, f"{kind}Cell")(3, 5), normal(0, B, 3)
    (cell,), params, _ = from_torch({f"core.{n}": w for n, w in module.state_dict().items()}, prefix="core.")
    carry, _ = cell.apply(params.layers[0], cell.initial_carry((B,)), x)
    with torch.no_grad():
        expected = module(torch.from_numpy(np.array(x)))
    expected = expected if isinstance(expected, tuple) else (expected,)
    assert_close(tuple(carry), tuple(leaf.numpy() for leaf in expected))


@pytest.mark.oracle
def test_a_language_model_saved_by_torch_gives_the_same_logits(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    parts = {"embedding": torch.nn.Embedding(11, 3), "lstm": torch.nn.LSTM(3, 5, 2), "out": torch.nn.Linear(5, 11)}
    model = torch.nn.ModuleDict(parts)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    tokens = np.random.default_rng(0).integers(0, 11, (T, B))
    with torch.no_grad():
        expected = parts["out"](parts["lstm"](parts["embedding"](torch.from_numpy(tokens)))[0]).numpy()

    weights = torch.load(tmp_path / "model.pt", weights_only=True)
    layers, params, _ = from_torch(weights, prefix="lstm.")
    table, w, b = (weights[name].numpy() for name in ("embedding.weight", "out.weight", "out.bias"))
    _, ys = rnnjax.unroll_layers(layers, params, table[tokens])
    assert_close(ys @ w.T + np.broadcast_to(b, (T, B, 11)), expected)


def test_safetensors_are_read_and_written(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    layers = [(rnnjax.lstm(3, 5), rnnjax.lstm(3, 5)), (rnnjax.lstm(10, 5), rnnjax.lstm(10, 5))]
    params = random_params(rnnjax.encoder(layers), seed=1)
    numpy.save_file({n: np.ascontiguousarray(w) for n, w in to_torch(layers, params).items()}, tmp_path / "w")
    again = from_torch(numpy.load_file(tmp_path / "w"))
    assert all(map(np.array_equal, jax.tree.leaves(again.params), jax.tree.leaves(params)))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_weights_keep_their_dtype(dtype):
    cell = rnnjax.gru(3, 5, param_dtype=dtype)
    params = random_params(cell, seed=1, dtype=dtype)
    again = from_torch(to_torch(cell, params))
    assert {leaf.dtype for leaf in jax.tree.leaves(again.params)} == {jnp.dtype(dtype)}
    assert all(map(np.array_equal, jax.tree.leaves(again.params), jax.tree.leaves(params)))


@pytest.mark.parametrize("cell", [rnnjax.rnn(3, 5), rnnjax.gru(3, 5), rnnjax.cells.lstmp(3, 5, 2)])
def test_writing_may_be_traced(cell):
    params = random_params(cell, seed=1)
    assert_same(jax.jit(lambda params: to_torch(cell, params))(params), to_torch(cell, params))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([rnnjax.mgu(3, 5)], r"^to_torch: expected cells of rnn, lstm, lstmp, gru, got mgu; there is no such cell"),
        ([rnnjax.gru(3, 5, reset_after=False)], r"^to_torch: expected a gru with reset_after=True, got False; "),
        ([rnnjax.lstm(3, 5, clip=2.0)], r"^to_torch: expected a lstm with clip=None, got 2\.0; "),
        ([rnnjax.lstm(3, 5, activation=jax.nn.relu)], r"^to_torch: expected a lstm with activation=tanh, got relu; "),
        ([rnnjax.lstm(3, 5), rnnjax.lstm(5, 7)], r"^to_torch: expected layers of one kind, one size, the same"),
        ([rnnjax.lstm(3, 5), (rnnjax.lstm(5, 5),) * 2], r"^to_torch: expected layers of one kind, one size, the same"),
    ],
)  # fmt: skip
def test_what_torch_cannot_represent_is_named(layers, message):
    with pytest.raises(ValueError, match=message):
        to_torch(layers, random_params(rnnjax.encoder(layers), seed=1))


def test_what_is_not_recurrent_is_refused():
    with pytest.raises(
        TypeError, match=r"^to_torch: expected cells made by constructors of rnnjax\.cells, got another"
    ):
        to_torch(rnnjax.residual(rnnjax.rnn(3, 3)), ())
    with pytest.raises(
        ValueError, match=r"^from_torch: expected weights by names such as weight_ih_l0, got a\.weight_ih_l0"
    ):
        from_torch({"a.weight_ih_l0": np.zeros((3, 3))})
    with pytest.raises(
        ValueError, match=r"^from_torch: expected weights of an RNN, LSTM or GRU, both biases or none, got"
    ):
        from_torch({"weight_ih_l0": np.zeros((7, 3)), "weight_hh_l0": np.zeros((7, 3))})
