"""Weights of the cells of flax.nnx, alone, in nnx.RNN or in nnx.Bidirectional: modules, or their states.

A module is read by its attributes and a state by its items, which have the same names.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Activation, Cell
from rnnjax.convert._flax import FORMS, Options, check, read_gates, with_options, write_gates, write_layers
from rnnjax.convert._network import Kind, Layer, Network, array
from rnnjax.convert._parts import arrays, field, names_in, read_layers

KINDS = {1: "rnn", 3: "gru", 4: "lstm"}  # by the number of gates


def from_nnx(
    source: Any, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid, residual: bool = False,
) -> Network:  # fmt: skip
    """Reads the parameters of flax.nnx's SimpleCell, LSTMCell, OptimizedLSTMCell and GRUCell.

    Args:
      source: such a cell, an `nnx.RNN` or an `nnx.Bidirectional`, or the state of one; or a list of them, one per
        layer, in which a pair stands for both directions.
      activation, gate_activation, residual: of the cells, where a state does not tell them; a module does.

    Returns:
      A `Network`, in the dtype of the parameters, whose options have the merge_fn of modules that are bidirectional.
      b_h of a GRU is zero: nnx has no such bias. Of a residual SimpleCell, w_h is theirs plus the identity.

    Raises:
      ValueError: what is none of these cells, an `nnx.RNN` that reads backwards, or different merge functions.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> from flax import nnx
      >>> module, xs = nnx.RNN(nnx.LSTMCell(3, 5, rngs=nnx.Rngs(0)), time_major=True), jnp.ones((7, 2, 3))
      >>> layers, params, options = rnnjax.convert.from_nnx(module)
      >>> _, ys = rnnjax.unroll_layers(layers, params, xs, **options)
      >>> bool(jnp.allclose(ys, module(xs), atol=1e-5))
      True
    """
    merges = []

    def read(tree: Any) -> Any:
        forward, backward = field(tree, "forward_rnn"), field(tree, "backward_rnn")
        if forward is not None and backward is not None:
            merges.append(field(tree, "merge_fn"))
            return read_cell(field(forward, "cell")), read_cell(field(backward, "cell"))
        if field(tree, "reverse"):
            raise ValueError(
                "from_nnx: expected an nnx.RNN that reads forwards, got reverse=True; convert its cell, and pass "
                "reverse=True to unroll."
            )
        return read_cell(field(tree, "cell", tree))

    def read_cell(tree: Any) -> Any:
        functions = field(tree, "activation_fn", activation), field(tree, "gate_fn", gate_activation)
        return _read_nnx(tree, Options(*functions, field(tree, "residual", residual)))

    found = read_layers("from_nnx", source, read)
    if len(set(merges)) > 1:
        raise ValueError("from_nnx: expected one merge_fn in all layers, got several; convert the layers one by one.")
    return found._replace(options={"merge": merges[0]}) if any(merges) else found


def to_nnx(layers: Cell | Sequence[Layer], params: Any, *, optimized: bool = True) -> list[dict[str, Any]]:
    """Writes the parameters of layers of rnn, lstm or gru as flax.nnx has them.

    Activations are those of the modules: activation_fn and gate_fn. May be traced, as by `jax.jit`, but for
    the b_h of a GRU.

    Args:
      layers: one cell, or layers as `unroll_layers` takes them.
      params: their parameters.
      optimized: whether LSTMs are written for `nnx.OptimizedLSTMCell`, or for `nnx.LSTMCell`.

    Returns:
      One tree of arrays per layer, which `nnx.update(module, tree)` takes: `{"cell": ...}` for an `nnx.RNN`, or
      `{"forward_rnn": ..., "backward_rnn": ...}` of two of these for an `nnx.Bidirectional`. `from_nnx` reads them.

    Raises:
      ValueError: a cell, or an option of one, that flax.nnx does not have; a GRU whose b_h is not zero.
      TypeError: what is no cell of the library, or params of other layers.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from flax import nnx
      >>> cell, xs = rnnjax.gru(3, 5), jnp.ones((7, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> (tree,) = rnnjax.convert.to_nnx(cell, params)
      >>> module = nnx.RNN(nnx.GRUCell(3, 5, rngs=nnx.Rngs(0)), time_major=True)
      >>> nnx.update(module, tree)
      >>> bool(jnp.allclose(module(xs), rnnjax.unroll(cell, params, xs)[1], atol=1e-5))
      True
    """

    def write(kind: Kind, cell_params: Any) -> dict[str, Any]:
        return _write_nnx(kind, cell_params, optimized)

    return write_layers("to_nnx", layers, params, write)


def _read_nnx(cell: Any, options: Options) -> tuple[Cell, Any]:
    """A cell with its parameters, from a cell of nnx or its state."""
    dense_i, dense_h, gate_f = (field(cell, name) for name in ("dense_i", "dense_h", "if_"))
    if gate_f is not None:
        names = [side + gate for side in "ih" for gate in FORMS["lstm"].names]
        layers = {name: _dense(gate_f if name == "if" else field(cell, name)) for name in names}
        return read_gates("from_nnx", "lstm", layers, options)
    if dense_i is None or dense_h is None:
        raise ValueError(
            "from_nnx: expected a SimpleCell, LSTMCell, OptimizedLSTMCell or GRUCell of nnx, an nnx.RNN or an "
            f"nnx.Bidirectional, got {names_in(cell)}; of several layers, pass each in a list."
        )
    dense_i, dense_h = _dense(dense_i), _dense(dense_h)
    w_x, w_h, b = dense_i["kernel"], dense_h["kernel"], dense_i.get("bias", dense_h.get("bias"))
    kind = KINDS.get(w_h.shape[-1] // w_h.shape[-2], "lstm")
    b_h = np.zeros(w_h.shape[-2], w_h.dtype) if kind == "gru" else None
    return with_options("from_nnx", kind, (w_x, w_h, b, b_h), options)


def _dense(layer: Any) -> dict[str, np.ndarray]:
    """The arrays that an nnx.Linear or its state has."""
    arrays = {name: field(layer, name) for name in ("kernel", "bias")}
    return {name: array(value) for name, value in arrays.items() if value is not None}


def _write_nnx(kind: Kind, params: Any, optimized: bool) -> dict[str, Any]:
    """The parameters of one cell of nnx."""
    check("to_nnx", kind, params, ("rnn", "lstm", "gru"))
    if kind.name == "lstm" and not optimized:
        layers = write_gates(kind, params)
        return {"if_" if name == "if" else name: layer for name, layer in layers.items()}
    w_x, w_h, b, b_h = arrays(kind.name, FORMS[kind.name].order, params)
    if b_h is not None and np.any(b_h):
        raise ValueError("to_nnx: expected a gru whose b_h is zero, got another one; nnx has no such bias.")
    layers = {"dense_i": {"kernel": w_x}, "dense_h": {"kernel": w_h}}
    layers[f"dense_{FORMS[kind.name].bias}"]["bias"] = b
    return layers
