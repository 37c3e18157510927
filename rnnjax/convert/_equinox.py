"""Weights of eqx.nn.LSTMCell and eqx.nn.GRUCell. Equinox itself is not needed.

Gates are i, f, g, o and r, z, n, weights multiply from the left, and the GRU resets after the product. All biases are
there, or none.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Cell
from rnnjax.convert._network import Kind, Layer, Network, array, kind_of, parts_of, require, unknown_kind
from rnnjax.convert._parts import arrays, field, names_in, part, read_layers

ORDERS = {"lstm": "ifgo", "gru": "rzn"}


def from_equinox(cells: Any) -> Network:
    """Reads the weights of an `eqx.nn.LSTMCell` or an `eqx.nn.GRUCell`.

    Args:
      cells: such a cell, or a mapping with arrays by the names of its fields; or a list of them, one per layer, in
        which a pair stands for both directions.

    Returns:
      A `Network`, in the dtype of the weights.

    Raises:
      ValueError: what is no such cell, or weights whose shapes do not fit.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> weights = {"weight_ih": jnp.ones((15, 3)), "weight_hh": jnp.ones((15, 5))}  # of use_bias=False
      >>> layers, params, _ = rnnjax.convert.from_equinox(weights)
      >>> rnnjax.unroll_layers(layers, params, jnp.ones((7, 2, 3)))[1].shape
      (7, 2, 5)
    """
    return read_layers("from_equinox", cells, _read)


def to_equinox(layers: Cell | Sequence[Layer], params: Any) -> list[Any]:
    """Writes the weights of layers of lstm or gru as Equinox has them. May be traced, as by `jax.jit`.

    Args:
      layers: one cell, or layers as `unroll_layers` takes them.
      params: their parameters.

    Returns:
      For each layer, arrays by the fields of its cell, or a pair of such dicts for both directions. Into a cell:
      `eqx.tree_at(lambda cell: [getattr(cell, name) for name in weights], cell, list(weights.values()))`.

    Raises:
      ValueError: a cell, or an option of one, that Equinox does not have.
      TypeError: what is no cell of the library, or params of other layers.

    Examples:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(3, 5)
      >>> (weights,) = rnnjax.convert.to_equinox(cell, cell.init(jax.random.key(0)))
      >>> {name: value.shape for name, value in weights.items()}
      {'bias': (15,), 'bias_n': (5,), 'weight_hh': (15, 5), 'weight_ih': (15, 3)}
    """
    written = []
    for layer in parts_of("to_equinox", layers, params):
        weights = [_write(kind_of("to_equinox", cell), cell_params) for cell, cell_params in layer]
        written.append(weights[0] if len(weights) == 1 else tuple(weights))
    return jax.tree.map(jnp.asarray, written)


def _read(cell: Any) -> tuple[Cell, Any]:
    """A cell with its parameters."""
    fields = (field(cell, name) for name in ("weight_ih", "weight_hh", "bias", "bias_n"))
    w_x, w_h, b, b_n = (None if value is None else array(value) for value in fields)
    if w_x is None or w_h is None:
        raise ValueError(f"from_equinox: expected an eqx.nn.LSTMCell or eqx.nn.GRUCell, got {names_in(cell)}.")
    kind = "lstm" if len(w_h) == 4 * w_h.shape[1] else "gru"
    return part("from_equinox", kind, ORDERS[kind], w_x.T, w_h.T, b, b_n)


def _write(kind: Kind, params: Any) -> dict[str, Any]:
    """The weights of one cell by its fields."""
    if kind.name not in ORDERS:
        raise unknown_kind("to_equinox", kind, [*ORDERS])
    require("to_equinox", kind, activation=jnp.tanh, gate_activation=jax.nn.sigmoid, clip=None)
    require("to_equinox", kind, **{"output_activation": jnp.tanh} if kind.name == "lstm" else {"reset_after": True})
    w_x, w_h, b, b_h = arrays(kind.name, ORDERS[kind.name], params)
    weights = {"weight_ih": w_x.T, "weight_hh": w_h.T, "bias": b, "bias_n": b_h}
    return {name: value for name, value in weights.items() if value is not None}
