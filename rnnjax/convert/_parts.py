"""A cell with its parameters, made of arrays whose gates are in another order; and these arrays again."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import cells
from rnnjax._types import Cell
from rnnjax.convert import _gates as gates
from rnnjax.convert._network import Kind, Network, array, network, require

ORDERS = {"rnn": "n", "lstm": "ifgo", "gru": "run", "simple_gru": "un", "conv_lstm": "ifgo"}
PARAMS: Mapping[str, Any] = {
    "rnn": cells.RNNParams,
    "lstm": cells.LSTMParams,
    "gru": cells.GRUParams,
    "simple_gru": cells.SimpleGRUParams,
    "conv_lstm": cells.ConvLSTMParams,
}


def read_layers(where: str, source: Any, read: Callable[[Any], Any], **options: Any) -> Network:
    """A network of one layer, or of a sequence of them, in which a tuple is a pair for both directions."""
    parts = []
    for layer in source if isinstance(source, Sequence) else [source]:
        if isinstance(layer, tuple) and len(layer) != 2:
            raise ValueError(f"{where}: expected a pair for both directions, got {len(layer)}; pass layers in a list.")
        parts.append(tuple(map(read, layer)) if isinstance(layer, tuple) else read(layer))
    return network(parts, options)


def part(
    where: str, kind: str, order: str, w_x: Any, w_h: Any, b: Any | None, b_h: Any | None = None, **options: Any
) -> tuple[Cell, Any]:
    """The cell of a kind, with parameters `w_x [..., F, G H], w_h [..., H, G H], b [G H], b_h [H]` in this order."""
    hidden = w_h.shape[-2]
    if not w_x.shape[-1] == w_h.shape[-1] == len(order) * hidden or (b is not None and b.shape != w_h.shape[-1:]):
        shapes = [None if value is None else value.shape for value in (w_x, w_h, b)]
        raise ValueError(
            f"{where}: expected weights of a {kind}, {len(order)} gates side by side, got shapes {shapes}."
        )
    ours = [
        None if value is None else jnp.asarray(gates.reorder(value, order, ORDERS[kind])) for value in (w_x, w_h, b)
    ]
    if kind == "gru":
        ours.append(None if b_h is None else jnp.asarray(b_h))
    if kind == "conv_lstm":
        options["kernel_shape"] = w_x.shape[:-2]
    options |= {"use_bias": b is not None, "param_dtype": jax.dtypes.canonicalize_dtype(w_x.dtype)}
    return getattr(cells, kind)(w_x.shape[-2], hidden, **options), PARAMS[kind](*ours)


def arrays(kind: str, order: str, params: Any) -> list[Any]:
    """w_x, w_h, b and b_h of parameters in another order; None for a bias that is not there."""
    ours = [params.w_x, params.w_h, params.b]
    theirs = [None if value is None else gates.reorder(array(value), ORDERS[kind], order) for value in ours]
    b_h = getattr(params, "b_h", None)
    return [*theirs, None if b_h is None else array(b_h)]


def add_to_forget(b: Any, order: str, amount: int) -> Any:
    """The biases with an amount added to those of the forget gate, which some frameworks add as they run."""
    blocks = gates.split(b, order)
    return gates.join(blocks | {"f": blocks["f"] + amount}, order)


def check_biases(where: str, kind: str, params: Any) -> None:
    """Raises ValueError for a cell without biases, where all have them."""
    if params.b is None:
        raise ValueError(f"{where}: expected a {kind} with biases, got use_bias=False; there is no other there.")


def check_convolution(where: str, kind: Kind) -> None:
    """Raises ValueError for a conv_lstm that does not keep the size of space, or has other functions."""
    units = {name: None for name in ("stride", "dilation") if set(kind.options[name] or ()) == {1}}
    kind = kind._replace(options={**kind.options, **units})
    require(where, kind, padding="SAME", stride=None, dilation=None)
    require(where, kind, activation=jnp.tanh, gate_activation=jax.nn.sigmoid, output_activation=jnp.tanh)


def field(tree: Any, name: str, default: Any = None) -> Any:
    """An item of a mapping, or an attribute of a module."""
    return tree.get(name, default) if isinstance(tree, Mapping) else getattr(tree, name, default)


def names_in(tree: Any) -> str:
    """What a tree has, for messages."""
    if not isinstance(tree, Mapping):
        return f"a {type(tree).__name__}"
    return ", ".join(sorted(map(str, tree))[:5]) or "nothing"
