"""To ONNX: a model of recurrent nodes, one for each layer."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax import _checks as checks
from rnnjax._types import Cell
from rnnjax.convert._network import Layer, kind_of, parts_of
from rnnjax.convert._onnx_cells import OPERATORS, check_kind, write_activations, write_cell
from rnnjax.convert._onnx_graph import load_onnx

OPSET, IR_VERSION = 14, 8  # the first operators with layout, in a file that every runtime in use reads


def to_onnx(
    layers: Cell | Sequence[Layer], params: Any, *, lengths: bool = False, carry: bool = False, reverse: bool = False
) -> Any:
    """Writes layers of rnn, gru, lstm, peephole_lstm or cifg_lstm as an ONNX model, with one recurrent node per layer.

    Inputs and outputs of the model, for any T and B; D is the number of directions of a layer, and l its number from 0:

        xs [T, B, F]                                       ys [T, B, D * H] of the last layer
        lengths [B] in int32, if asked for                 last_h_l [D, B, H], and last_c_l of an LSTM
        initial_h_l [D, B, H], and initial_c_l of an LSTM, if asked for

    ONNX Runtime returns what `unroll_layers` returns, but for one thing: after no step, its last states are not the
    initial ones, but zeros for a row of length 0, and anything for T = 0. It has these operators in float32.

    Args:
      layers: one cell, or layers as `unroll_layers` takes them; outputs of a pair are concatenated. Both cells of a
        pair are of the same kind, size, clip and reset_after, and with biases or without.
      params: their parameters, in float16, float32 or float64.
      lengths: whether the model has an input of lengths.
      carry: whether the model has inputs of initial states, which are zeros otherwise.
      reverse: whether it runs from the last step to the first, as `unroll_layers(..., reverse=True)`.

    Returns:
      A ModelProto, which `onnx.save(model, path)` writes, and whose `SerializeToString()` runtimes take.

    Raises:
      ValueError: a cell, or an option of one, that the operators do not have, pairs of different cells, layers that do
        not fit each other, or another dtype.
      TypeError: what is no cell of the library, or params of other layers.
      ImportError: the package onnx is not installed.

    Examples:
      >>> import jax, rnnjax
      >>> layers = [(rnnjax.gru(3, 5), rnnjax.gru(3, 5)), rnnjax.lstm(10, 7)]
      >>> params = rnnjax.encoder(layers).init(jax.random.key(0))
      >>> model = rnnjax.convert.to_onnx(layers, params, lengths=True)  # doctest: +SKIP
      >>> import onnxruntime  # doctest: +SKIP
      >>> session = onnxruntime.InferenceSession(model.SerializeToString())  # doctest: +SKIP
      >>> xs, lengths = np.ones((4, 2, 3), np.float32), np.array([4, 1], np.int32)  # doctest: +SKIP
      >>> ys, last_h_0, last_h_1, last_c_1 = session.run(None, {"xs": xs, "lengths": lengths})  # doctest: +SKIP
      >>> ys.shape, last_h_0.shape  # doctest: +SKIP
      ((4, 2, 7), (2, 2, 5))
    """
    parts = parts_of("to_onnx", layers, params)
    shape = [part[0][0] if len(part) == 1 else (part[0][0], part[1][0]) for part in parts]
    checks.check_layers("to_onnx", shape, reverse=reverse, concatenated=True)
    written = [_write_layer(part, reverse) for part in parts]
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(params)}
    if len(dtypes) > 1 or not dtypes <= {"float16", "float32", "float64"}:
        raise ValueError(
            f"to_onnx: expected params of float16, float32 or float64, got {', '.join(sorted(dtypes))}; cast them."
        )
    onnx = load_onnx("to_onnx")
    dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtypes.pop()))
    info, last = onnx.helper.make_tensor_value_info, written[-1]
    graph = onnx.GraphProto(name="rnnjax")
    graph.input.append(info("xs", dtype, ("T", "B", parts[0][0][0].input_size)))
    if lengths:
        graph.input.append(info("lengths", onnx.TensorProto.INT32, ("B",)))
    graph.output.append(info("ys", dtype, ("T", "B", last.directions * last.attributes["hidden_size"])))
    for number, layer in enumerate(written):
        xs = f"ys_{number - 1}" if number else "xs"
        ys = "ys" if layer is last else f"ys_{number}"
        _add_layer(onnx, graph, dtype, number, layer, xs, ys, lengths=lengths, carry=carry)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="rnnjax")


class _Layer(NamedTuple):
    """A node to be."""

    operator: str
    arrays: dict[str, np.ndarray]  # weights `[D, ...]` by the names of its inputs
    attributes: dict[str, Any]
    states: tuple[str, ...]  # fields of the carry
    directions: int


def _write_layer(layer: list[tuple[Cell, Any]], reverse: bool) -> _Layer:
    """The node of one layer."""
    kinds = [kind_of("to_onnx", cell) for cell, _ in layer]
    for kind in kinds:
        check_kind(kind)
    alike = {
        (k.name, *p.w_h.shape, k.options["clip"], k.options.get("reset_after"), p.b is None)
        for k, (_, p) in zip(kinds, layer, strict=True)
    }
    if len(alike) > 1:
        raise ValueError(
            "to_onnx: expected both cells of a pair to be of one kind, size, clip and reset_after, and with biases or "
            f"without, got {' and '.join(kind.name for kind in kinds)} that differ."
        )
    kind, (cell, params) = kinds[0], layer[0]
    by_direction = [write_cell(kind, params) for _, params in layer]
    arrays = {name: np.stack([weights[name] for weights in by_direction]) for name in by_direction[0]}
    attributes = {"hidden_size": params.w_h.shape[0], **write_activations(kinds)}
    attributes["direction"] = "bidirectional" if len(layer) > 1 else "reverse" if reverse else "forward"
    if kind.options["clip"] is not None:
        attributes["clip"] = float(kind.options["clip"])
    if kind.options.get("reset_after"):
        attributes["linear_before_reset"] = 1
    if kind.name == "cifg_lstm":
        attributes["input_forget"] = 1
    return _Layer(OPERATORS[kind.name], arrays, attributes, cell.initial_carry()._fields, len(layer))


def _add_layer(
    onnx: Any, graph: Any, dtype: int, number: int, layer: _Layer, xs: str, ys: str, *, lengths: bool, carry: bool
) -> None:
    """Adds a layer to a graph: its node, what joins the features of its directions, states and weights."""
    hidden = layer.attributes["hidden_size"]
    for place, tensors in [("initial", graph.input)] * carry + [("last", graph.output)]:
        for state in layer.states:
            info = onnx.helper.make_tensor_value_info
            tensors.append(info(f"{place}_{state}_{number}", dtype, (layer.directions, "B", hidden)))
    names = {name: f"{name}_{number}" for name in layer.arrays}
    given = [xs, *(names.get(name, "") for name in ("W", "R", "B")), "lengths" if lengths else ""]
    given += [f"initial_{state}_{number}" if carry else "" for state in layer.states]
    given += [names["P"]] if "P" in names else []
    while not given[-1]:  # which some runtimes do not take
        given.pop()
    made = [f"y_{number}", *(f"last_{state}_{number}" for state in layer.states)]  # [T, D, B, H]
    node = onnx.helper.make_node
    graph.node.append(node(layer.operator, given, made, f"layer_{number}", **layer.attributes))
    constants = {names[name]: np.ascontiguousarray(value) for name, value in layer.arrays.items()}
    if layer.directions == 1:
        graph.node.append(node("Squeeze", [f"y_{number}", f"axis_{number}"], [ys]))
        constants[f"axis_{number}"] = np.array([1])
    else:
        graph.node.append(node("Transpose", [f"y_{number}"], [f"moved_{number}"], perm=(0, 2, 1, 3)))  # [T, B, D, H]
        graph.node.append(node("Reshape", [f"moved_{number}", f"shape_{number}"], [ys]))
        constants[f"shape_{number}"] = np.array([0, 0, layer.directions * hidden])  # 0: as it is
    graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in constants.items())
