"""Graphs of ONNX: what makes a tensor, what it is as far as the file tells, and chains of recurrent nodes."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

OPERATORS = ("RNN", "GRU", "LSTM")
# These move entries of their first input about, and change none.
MOVES = ("Expand", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")


class Graph(NamedTuple):
    """A graph that can be asked.

    Attributes:
      model: the ModelProto.
      makers: the node that makes a tensor, by the name of the tensor.
      constants: tensors of the file by name, as TensorProto.
    """

    model: Any
    makers: Mapping[str, Any]
    constants: Mapping[str, Any]


def load_onnx(where: str) -> Any:
    """The package onnx, which is imported where it is needed."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError(f"{where}: expected the package onnx to be installed; pip install onnx.") from error
    return onnx


def open_graph(where: str, model: Any) -> Graph:
    """The graph of a ModelProto, of its bytes, or of a file."""
    onnx = load_onnx(where)
    if isinstance(model, bytes):
        model = onnx.load_from_string(model)
    elif isinstance(model, (str, os.PathLike)):
        model = onnx.load(model)
    elif not isinstance(model, onnx.ModelProto):
        raise TypeError(f"{where}: expected a path, bytes or a ModelProto, got {type(model).__name__}.")
    makers = {name: node for node in model.graph.node for name in node.output if name}
    return Graph(model, makers, {tensor.name: tensor for tensor in model.graph.initializer})


def attributes_of(node: Any) -> dict[str, Any]:
    """The attributes of a node by name; strings as str."""
    from onnx import helper

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value.decode() if isinstance(value, bytes) else value

    return {attribute.name: plain(helper.get_attribute_value(attribute)) for attribute in node.attribute}


def value_of(graph: Graph, name: str, known: Mapping[str, np.ndarray] | None = None) -> np.ndarray | None:
    """The value of a tensor, given those of some others; None if it depends on something that is not given."""
    from onnx import helper, numpy_helper, reference

    known = known or {}
    if name in known:
        return known[name]
    if name in graph.constants:
        return numpy_helper.to_array(graph.constants[name])
    nodes: set[str] = set()
    needed = {*_needed(graph, name, known, nodes)}
    if not all(leaf in known or leaf in graph.constants for leaf in needed):
        return None
    inputs = [helper.make_tensor_value_info(leaf, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
              for leaf, a in known.items() if leaf in needed]  # fmt: skip
    constants = [graph.constants[leaf] for leaf in sorted(needed - {*known})]
    ordered = [node for node in graph.model.graph.node if _output(node) in nodes]
    part = helper.make_graph(ordered, "part", inputs, [helper.make_empty_tensor_value_info(name)], constants)
    model = helper.make_model(part, opset_imports=graph.model.opset_import, functions=graph.model.functions)
    evaluator: Any = reference.ReferenceEvaluator(model)
    return evaluator.run(None, {leaf: known[leaf] for leaf in known if leaf in needed})[0]


def _needed(graph: Graph, name: str, known: Mapping[str, Any], nodes: set[str]) -> Iterator[str]:
    """The tensors, made by no node or known, that a tensor is made of; adds the nodes between by their outputs."""
    node = None if name in known else graph.makers.get(name)
    if node is None:
        yield name
    elif _output(node) not in nodes:
        nodes.add(_output(node))
        for below in filter(None, node.input):
            yield from _needed(graph, below, known, nodes)


def is_zero(graph: Graph, name: str) -> bool:
    """Whether all entries of a tensor are known to be zero, even if its shape depends on the inputs."""
    from onnx import numpy_helper

    node = graph.makers.get(name)
    if node is not None and node.op_type == "ConstantOfShape":
        filled = attributes_of(node).get("value")
        return filled is None or not numpy_helper.to_array(filled).any()
    if node is not None and node.op_type in MOVES:
        return is_zero(graph, node.input[0])
    value = value_of(graph, name)
    return value is not None and not value.any()


def is_input(graph: Graph, name: str) -> bool:
    """Whether a tensor is an input of the model."""
    return name not in graph.makers and name not in graph.constants


def recurrent_nodes(graph: Graph) -> list[Any]:
    """The nodes of recurrent operators, in the order of the file, which is that of computation."""
    return [node for node in graph.model.graph.node if node.op_type in OPERATORS]


def name_of(node: Any) -> str:
    """The name of a node, or of its first output where it has none."""
    return node.name or _output(node)


def _output(node: Any) -> str:
    """The first output of a node that it has."""
    return next(filter(None, node.output))


def check_chain(where: str, graph: Graph, nodes: Sequence[Any], sizes: Sequence[tuple[int, int]]) -> None:
    """Raises ValueError unless each node reads what the one before gives, with the features of both directions joined.

    `sizes` has the number of directions and of hidden features of each node. What lies between is tried on an example.
    """
    for (below, above), (directions, hidden) in zip(itertools.pairwise(nodes), sizes, strict=False):
        ys = below.output[0]
        if attributes_of(below).get("layout"):
            time, batch = (n or size for n, size in zip(_sizes(graph, ys, 1, 0), (3, 2), strict=True))
            shape, joined = (batch, time, directions, hidden), (batch, time, directions * hidden)
            order = (0, 1, 2, 3)
        else:
            time, batch = (n or size for n, size in zip(_sizes(graph, ys, 0, 2), (3, 2), strict=True))
            shape, joined = (time, directions, batch, hidden), (time, batch, directions * hidden)
            order = (0, 2, 1, 3)
        example = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        xs = value_of(graph, above.input[0], {ys: example}) if ys else None
        if xs is None or not np.array_equal(xs, example.transpose(order).reshape(joined)):
            raise ValueError(
                f"{where}: expected recurrent nodes that each read the outputs of the one before, got "
                f"{name_of(above)}, which reads something else than those of {name_of(below)}; pass node=, one of "
                f"{', '.join(map(name_of, nodes))}."
            )


def _sizes(graph: Graph, name: str, *axes: int) -> list[int]:
    """The sizes of axes of a tensor where the model fixes them, and 0 elsewhere."""
    from onnx import shape_inference

    for info in shape_inference.infer_shapes(graph.model).graph.value_info:
        if info.name == name and len(info.type.tensor_type.shape.dim) > max(axes):
            return [info.type.tensor_type.shape.dim[axis].dim_value for axis in axes]
    return [0 for _ in axes]
