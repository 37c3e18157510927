"""One direction of a recurrent node of ONNX: its weights and attributes, and the cell that they are.

Weights multiply from the left, and there are two biases, of which ours is the sum, but for the candidate of a GRU with
linear_before_reset. The gates are i, o, f, g and z, r, n with h = (1 - z) * n + z * h, so that z is 1 - u. Where gates
are coupled, f is 1 - i there and i is 1 - f here: below, our f is called u, and their i z; their f counts for nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax import cells
from rnnjax._types import Cell
from rnnjax.convert import _gates as gates
from rnnjax.convert._activations import check_complementary, from_onnx_name, to_onnx_name
from rnnjax.convert._network import Kind, array, unknown_kind

OPERATORS = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM", "peephole_lstm": "LSTM", "cifg_lstm": "LSTM"}
ORDERS = {
    "rnn": ("n", "n"), "gru": ("run", "zrn"), "lstm": ("ifgo", "iofg"), "peephole_lstm": ("ifgo", "iofg"),
    "cifg_lstm": ("ugo", "zofg"),
}  # fmt: skip
PEEPHOLES = ("ifo", "iof")
PARAMS: Mapping[str, Any] = {
    "rnn": cells.RNNParams, "gru": cells.GRUParams, "lstm": cells.LSTMParams,
    "peephole_lstm": cells.PeepholeLSTMParams, "cifg_lstm": cells.CIFGParams,
}  # fmt: skip
ACTIVATIONS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}  # by default
OPTIONS = {  # what they are of
    "RNN": ["activation"], "GRU": ["gate_activation", "activation"],
    "LSTM": ["gate_activation", "activation", "output_activation"],
}  # fmt: skip


def read_cell(
    operator: str, attributes: Mapping[str, Any], weights: Mapping[str, np.ndarray], activations: Mapping[str, Any]
) -> tuple[Cell, Any]:
    """The cell of one direction with its parameters."""
    coupled, peepholes = attributes.get("input_forget") == 1, "P" in weights
    if coupled and peepholes:
        raise ValueError("from_onnx: expected an LSTM with peepholes or input_forget, got both; there is none here.")
    kind = operator.lower()
    if kind == "lstm":
        kind = "cifg_lstm" if coupled else "peephole_lstm" if peepholes else "lstm"
    ours, theirs = ORDERS[kind]
    w_x, w_h = (jnp.asarray(gates.reorder(weights[name].T, theirs, ours)) for name in ("W", "R"))
    options = {"use_bias": "B" in weights, "param_dtype": w_x.dtype, **activations}
    if "clip" in attributes:
        options["clip"] = decimal(attributes["clip"])
    if kind == "gru":
        options["reset_after"] = attributes.get("linear_before_reset") == 1
    if kind in ("gru", "cifg_lstm"):
        check_complementary("from_onnx", options["gate_activation"])
    b: Any = None
    further: dict[str, Any] = {}
    if "B" in weights:
        both, apart = np.split(weights["B"], 2), "n" if options.get("reset_after") else ""
        b, b_h = gates.sum_biases(both[0], both[1], theirs, apart)
        b = jnp.asarray(gates.reorder(b, theirs, ours))
        if apart:
            further["b_h"] = jnp.asarray(b_h)
    if peepholes:
        further["w_c"] = jnp.asarray(gates.reorder(weights["P"], PEEPHOLES[1], PEEPHOLES[0]).reshape(3, -1))
    cell = getattr(cells, kind)(w_x.shape[0], w_h.shape[0], **options)
    return cell, PARAMS[kind](w_x, w_h, b, **further)


def write_cell(kind: Kind, params: Any) -> dict[str, np.ndarray]:
    """The weights of one direction, by the names of the inputs of the node."""
    ours, theirs = ORDERS[kind.name]

    def reorder(weights: Any) -> np.ndarray:
        blocks = gates.split(array(weights), ours)
        blocks.setdefault("f", np.zeros_like(blocks[ours[0]]))  # of coupled gates
        return gates.join(blocks, theirs)

    weights = {"W": reorder(params.w_x).T, "R": reorder(params.w_h).T}
    if params.b is not None:
        b = reorder(params.b)
        recurrent = np.zeros_like(b)
        if kind.options.get("reset_after"):
            recurrent[-len(params.b_h) :] = array(params.b_h)
        weights["B"] = np.concatenate([b, recurrent])
    if kind.name == "peephole_lstm":
        weights["P"] = gates.reorder(array(params.w_c).reshape(-1), *PEEPHOLES)
    return weights


def check_kind(kind: Kind) -> None:
    """Raises ValueError for a cell that the operators do not have."""
    if kind.name not in OPERATORS:
        raise unknown_kind("to_onnx", kind, [*OPERATORS])
    if kind.name in ("gru", "cifg_lstm"):
        check_complementary("to_onnx", kind.options["gate_activation"])


def read_activations(operator: str, attributes: Mapping[str, Any], directions: int) -> list[dict[str, Any]]:
    """The activations of each direction, by our names; their parameters stand one after the other in two lists."""
    names = attributes.get("activations") or ACTIVATIONS[operator] * directions
    alphas, betas = (map(decimal, attributes.get(f"activation_{name}", ())) for name in ("alpha", "beta"))
    functions: Iterator[Any] = iter([from_onnx_name("from_onnx", name, alphas, betas) for name in names])
    return [{option: next(functions) for option in OPTIONS[operator]} for _ in range(directions)]


def write_activations(kinds: Sequence[Kind]) -> dict[str, Any]:
    """The attributes of the activations of all directions."""
    attributes: dict[str, list[Any]] = {"activations": [], "activation_alpha": [], "activation_beta": []}
    for kind in kinds:
        for option in OPTIONS[OPERATORS[kind.name]]:
            name, parameters = to_onnx_name("to_onnx", kind.options[option])
            attributes["activations"].append(name)
            attributes["activation_alpha"] += parameters[:1]
            attributes["activation_beta"] += parameters[1:]
    return {name: values for name, values in attributes.items() if values}


def decimal(value: float) -> float:
    """The shortest number that is this one in float32, which attributes are stored in: 0.01, not 0.00999999977."""
    return float(str(np.float32(value)))
