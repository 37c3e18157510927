"""From ONNX: recurrent nodes of a model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from rnnjax._types import Bidirectional, Cell, Layers
from rnnjax.convert import _onnx_graph as graphs
from rnnjax.convert._network import Network, network
from rnnjax.convert._onnx_cells import read_activations, read_cell
from rnnjax.convert._onnx_graph import Graph

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


class _Layer(NamedTuple):
    """What a node says."""

    parts: list[tuple[Cell, Any]]  # of each direction
    carries: list[Any] | None
    lengths: np.ndarray | str | None  # an array that the file has, or the name of what the caller passes
    reverse: bool
    batch_first: bool


def from_onnx(model: Any, node: str | None = None) -> Network:
    """Reads recurrent nodes of an ONNX model, of the operators RNN, GRU and LSTM.

    All of an operator is read: activations with their alpha and beta, clip, peepholes, linear_before_reset,
    input_forget (`rnnjax.cifg_lstm`), directions and layout. Nodes that read the outputs of one another, moved about by
    Transpose, Reshape, Squeeze and the like, as exporters write layers, become the layers of one network. Initial
    states and sequence_lens that the file has as constants are among the options; those that are inputs of the model
    are for you to pass, as `carry` and `lengths`.

    ONNX Runtime differs in two things: the last state of a row of length 0, which is the initial one here as always, is
    zero there, and so is the default alpha of ThresholdedRelu, which is 1 in the standard.

    Args:
      model: the path of a file, its bytes, or a ModelProto.
      node: the name of one recurrent node, or of its first output, in a model whose nodes are not one chain; None for
        all of them.

    Returns:
      A `Network`, in the dtype of the weights. Its options: `reverse=True` for the direction "reverse",
      `time_major=False` for layout 1, `carry` for initial states other than zeros, and `lengths`.

    Raises:
      ValueError: no recurrent node, or none of that name, nodes that are not a chain, weights or initial states that
        the model computes from its inputs, or something that has no counterpart here.
      TypeError: what is no model.
      ImportError: the package onnx is not installed.

    Examples:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> model = rnnjax.convert.to_onnx(cell, params)  # doctest: +SKIP
      >>> layers, params, options = rnnjax.convert.from_onnx(model)  # doctest: +SKIP
      >>> rnnjax.unroll_layers(layers, params, jnp.ones((7, 2, 3)), **options)[1].shape  # doctest: +SKIP
      (7, 2, 5)
    """
    graph = graphs.open_graph("from_onnx", model)
    nodes = graphs.recurrent_nodes(graph)
    found = [one for one in nodes if node in (None, one.name, one.output[0])]
    if not found:
        names = ", ".join(map(graphs.name_of, nodes)) or "none"
        raise ValueError(f"from_onnx: expected {node or 'a recurrent node'} among the recurrent nodes, got {names}.")
    layers = [_read_node(graph, one) for one in found]
    sizes = [(len(layer.parts), len(layer.parts[0][1].w_h)) for layer in layers]
    graphs.check_chain("from_onnx", graph, found, sizes)
    return network([layer.parts if len(layer.parts) > 1 else layer.parts[0] for layer in layers], _options(layers))


def _options(layers: list[_Layer]) -> dict[str, Any]:
    """What all nodes agree on, and their initial states."""
    agreed: dict[str, set[Any]] = {
        "direction": {layer.reverse for layer in layers},
        "layout": {layer.batch_first for layer in layers},
        "sequence_lens": {x.tobytes() if isinstance(x := layer.lengths, np.ndarray) else x for layer in layers},
    }
    for name, values in agreed.items():
        if len(values) > 1:
            raise ValueError(
                f"from_onnx: expected nodes of one {name}, got several; convert them one by one, by node=."
            )
    options: dict[str, Any] = {}
    if layers[0].reverse:
        options["reverse"] = True
    if layers[0].batch_first:
        options["time_major"] = False
    if isinstance(layers[0].lengths, np.ndarray):
        options["lengths"] = jnp.asarray(layers[0].lengths)
    if any(layer.carries for layer in layers):
        options["carry"] = Layers(tuple(_joined(layer.carries) for layer in layers))
    return options


def _joined(carries: list[Any] | None) -> Any:
    """The carry of a layer of one or both directions."""
    return carries and (Bidirectional(*carries) if len(carries) > 1 else carries[0])


def _read_node(graph: Graph, node: Any) -> _Layer:
    """Reads one node."""
    attributes = graphs.attributes_of(node)
    batch_first = attributes.get("layout") == 1
    given = {name: tensor for name, tensor in zip(INPUTS, node.input, strict=False) if tensor}
    weights = {name: _constant(graph, node, name, given[name]) for name in ("W", "R", "B", "P") if name in given}
    activations = read_activations(node.op_type, attributes, len(weights["W"]))
    parts = [
        read_cell(node.op_type, attributes, {name: array[number] for name, array in weights.items()}, functions)
        for number, functions in enumerate(activations)
    ]
    lengths: Any = given.get("sequence_lens")
    if lengths is not None and (known := graphs.value_of(graph, lengths)) is not None:
        lengths = known
    carries = _read_carries(graph, node, given, parts, batch_first)
    return _Layer(parts, carries, lengths, attributes.get("direction") == "reverse", batch_first)


def _read_carries(
    graph: Graph, node: Any, given: Mapping[str, str], parts: list[tuple[Cell, Any]], batch_first: bool
) -> list[Any] | None:
    """The initial states of each direction, where the file has some that are not zero."""
    states = {}
    for field in parts[0][0].initial_carry()._fields:
        tensor = given.get(f"initial_{field}")
        if tensor is None or graphs.is_input(graph, tensor) or graphs.is_zero(graph, tensor):
            continue
        value = _constant(graph, node, f"initial_{field}", tensor)
        states[field] = value.swapaxes(0, 1) if batch_first else value  # [D, B, H]
    if not states:
        return None
    batch = next(iter(states.values())).shape[1]
    carries = [cell.initial_carry((batch,), params.w_x.dtype) for cell, params in parts]
    return [c._replace(**{f: jnp.asarray(v[number]) for f, v in states.items()}) for number, c in enumerate(carries)]


def _constant(graph: Graph, node: Any, name: str, tensor: str) -> np.ndarray:
    """An input of a node that the file has."""
    value = graphs.value_of(graph, tensor)
    if value is None:
        raise ValueError(
            f"from_onnx: expected {name} of {graphs.name_of(node)} to be constant, got {tensor}, which depends on "
            "inputs of the model; cut the model off there, by onnx.utils.extract_model."
        )
    return value
