"""What linen and nnx have in common: gates, biases, activations, and the trees of RNN and Bidirectional.

Gates are i, f, g, o and r, z, n. There is one bias for all gates, and in linen's GRU one more for the candidate. An
activation_fn of an LSTM is that of the candidate and that of c.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Activation, Cell
from rnnjax.convert import _gates as gates
from rnnjax.convert._network import Kind, Layer, array, kind_of, parts_of, require, unknown_kind
from rnnjax.convert._parts import arrays, check_biases, check_convolution, part


class Options(NamedTuple):
    """What weights do not tell of a cell."""

    activation: Activation
    gate_activation: Activation
    residual: bool


class Form(NamedTuple):
    """How the weights of a kind of cell are stored: in linen, a dense layer of x and one of h for each gate."""

    order: str  # of the gates
    names: Sequence[str]  # what follows "i" and "h" in the names of the layers
    bias: str  # which of both layers has the biases


FORMS = {
    "rnn": Form("n", ("",), "i"),
    "lstm": Form("ifgo", "ifgo", "h"),
    "gru": Form("rzn", "rzn", "i"),
    "simple_gru": Form("zn", "fn", "i"),  # an MGU without its reset gate
}


def read_gates(where: str, kind: str, layers: Mapping[str, Any], options: Options) -> tuple[Cell, Any]:
    """A cell with its parameters, from one dense layer of x and one of h for each gate."""
    form = FORMS[kind]
    if kind == "simple_gru" and "bias" in layers["hn"]:
        raise ValueError(
            f"{where}: expected an MGUCell with reset_gate=False, got one with it; it resets by f and keeps f of h, "
            "while mgu resets by f and keeps 1 - f."
        )
    w_x, w_h = (np.concatenate([array(layers[s + n]["kernel"]) for n in form.names], axis=-1) for s in "ih")
    b = np.concatenate([array(layers[form.bias + name]["bias"]) for name in form.names])
    b_h = array(layers["hn"]["bias"]) if kind == "gru" else None
    return with_options(where, kind, (w_x, w_h, b, b_h), options)


def with_options(where: str, kind: str, weights: Sequence[Any], options: Options) -> tuple[Cell, Any]:
    """A cell with its parameters w_x, w_h, b and b_h, and the activations that Flax has for it."""
    w_x, w_h, *biases = weights
    functions = {"activation": options.activation}
    if kind != "rnn":
        functions["gate_activation"] = options.gate_activation
    elif options.residual:
        w_h = w_h + np.eye(len(w_h), dtype=w_h.dtype)
    if kind == "lstm":
        functions["output_activation"] = options.activation
    return part(where, kind, FORMS[kind].order, w_x, w_h, *biases, **functions)


def write_layers(
    where: str, layers: Cell | Sequence[Layer], params: Any, write: Callable[[Kind, Any], dict[str, Any]]
) -> list[dict[str, Any]]:
    """The trees of nn.RNN and nn.Bidirectional, in arrays of JAX."""
    trees = []
    for layer in parts_of(where, layers, params):
        cells = [{"cell": write(kind_of(where, cell), cell_params)} for cell, cell_params in layer]
        trees.append(cells[0] if len(cells) == 1 else {"forward_rnn": cells[0], "backward_rnn": cells[1]})
    return jax.tree.map(jnp.asarray, trees)


def write_gates(kind: Kind, params: Any) -> dict[str, Any]:
    """One dense layer of x and one of h for each gate."""
    form = FORMS[kind.name]
    *weights, b_h = arrays(kind.name, form.order, params)
    w_x, w_h, b = (gates.split(value, form.order) for value in weights)
    layers: dict[str, Any] = {}
    for gate, name in zip(form.order, form.names, strict=True):
        layers |= {f"i{name}": {"kernel": w_x[gate]}, f"h{name}": {"kernel": w_h[gate]}}
        layers[form.bias + name]["bias"] = b[gate]
    if b_h is not None:
        layers["hn"]["bias"] = b_h
    return layers


def check(where: str, kind: Kind, params: Any, known: Sequence[str]) -> None:
    """Raises ValueError for a cell that Flax does not have."""
    if kind.name not in known:
        raise unknown_kind(where, kind, known)
    require(where, kind, clip=None)
    check_biases(where, kind.name, params)
    if kind.name == "gru":
        require(where, kind, reset_after=True)
    if kind.name == "lstm":
        require(where, kind, output_activation=kind.options["activation"])
    if kind.name == "conv_lstm":
        check_convolution(where, kind)
