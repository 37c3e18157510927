"""Weights of the cells of flax.linen, alone, in nn.RNN or in nn.Bidirectional: trees of arrays by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Activation, Cell
from rnnjax.convert._flax import FORMS, Options, check, read_gates, write_gates, write_layers
from rnnjax.convert._network import Kind, Layer, Network, array
from rnnjax.convert._parts import add_to_forget, arrays, field, names_in, part, read_layers


def from_linen(
    params: Any, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid, residual: bool = False,
) -> Network:  # fmt: skip
    """Reads the parameters of flax.linen's SimpleCell, LSTMCell, OptimizedLSTMCell, GRUCell, ConvLSTMCell and MGUCell.

    An MGUCell without its reset gate is a `simple_gru`. A ConvLSTMCell has stride 1 and same padding; the 1 that it
    adds to its forget gate as it runs becomes part of our bias, within one rounding.

    Args:
      params: the tree of a cell, of an `nn.RNN` or of an `nn.Bidirectional`; or a list of such trees, one per layer,
        in which a pair of trees stands for both directions. A parent module holds them under names such as "layers_0"
        or "LSTMCell_0".
      activation, gate_activation: the activation_fn and the gate_fn of the cells, which parameters do not tell.
      residual: that of SimpleCell; then w_h is theirs plus the identity.

    Returns:
      A `Network`, in the dtype of the parameters. A merge_fn of Bidirectional is the merge of `unroll_layers`.

    Raises:
      ValueError: a tree without a cell of this list, among them an MGUCell with its reset gate: it resets by f and
        keeps f of h, while `mgu` resets by f and keeps 1 - f.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> import flax.linen as nn
      >>> module, xs = nn.RNN(nn.GRUCell(5), time_major=True), jnp.ones((7, 2, 3))
      >>> variables = module.init(jax.random.key(0), xs)
      >>> layers, params, _ = rnnjax.convert.from_linen(variables["params"])
      >>> _, ys = rnnjax.unroll_layers(layers, params, xs)
      >>> bool(jnp.allclose(ys, module.apply(variables, xs), atol=1e-5))
      True
    """

    def read(tree: Any) -> Any:
        if isinstance(tree, Mapping) and set(tree) == {"forward_rnn", "backward_rnn"}:
            return read(tree["forward_rnn"]), read(tree["backward_rnn"])
        return _read_linen(field(tree, "cell", tree), Options(activation, gate_activation, residual))

    return read_layers("from_linen", params, read)


def to_linen(layers: Cell | Sequence[Layer], params: Any) -> list[dict[str, Any]]:
    """Writes the parameters of layers of rnn, lstm, gru, simple_gru or conv_lstm as flax.linen has them.

    Activations are those of the modules: activation_fn and gate_fn. A simple_gru is an `MGUCell(reset_gate=False)`. The
    1 that ConvLSTMCell adds to its forget gate as it runs is taken from our bias, within one rounding. May be traced,
    as by `jax.jit`.

    Args:
      layers: one cell, or layers as `unroll_layers` takes them.
      params: their parameters.

    Returns:
      One tree per layer: `{"cell": ...}` as `nn.RNN` has it, or `{"forward_rnn": ..., "backward_rnn": ...}` of two of
      these as `nn.Bidirectional` has it. `from_linen` reads them.

    Raises:
      ValueError: a cell, or an option of one, that flax.linen does not have.
      TypeError: what is no cell of the library, or params of other layers.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> import flax.linen as nn
      >>> cell, xs = rnnjax.lstm(3, 5), jnp.ones((7, 2, 3))
      >>> params = cell.init(jax.random.key(0))
      >>> (tree,) = rnnjax.convert.to_linen(cell, params)
      >>> ys = nn.RNN(nn.OptimizedLSTMCell(5), time_major=True).apply({"params": tree}, xs)
      >>> bool(jnp.allclose(ys, rnnjax.unroll(cell, params, xs)[1], atol=1e-5))
      True
    """
    return write_layers("to_linen", layers, params, _write_linen)


def _read_linen(tree: Any, options: Options) -> tuple[Cell, Any]:
    """A cell with its parameters, from those of a cell of linen."""
    layers = tree if isinstance(tree, Mapping) else {}
    if set(layers) == {"ih", "hh"}:
        return _read_conv(layers["ih"], layers["hh"])
    for kind, form in FORMS.items():
        if set(layers) == {side + name for side in "ih" for name in form.names}:
            return read_gates("from_linen", kind, layers, options)
    raise ValueError(
        f"from_linen: expected the parameters of a cell, an nn.RNN or an nn.Bidirectional, got {names_in(tree)}; of "
        "several layers, pass those of each in a list."
    )


def _read_conv(ih: Mapping[str, Any], hh: Mapping[str, Any]) -> tuple[Cell, Any]:
    """A conv_lstm with its parameters; both convolutions have a bias or none."""
    w_x, w_h = array(ih["kernel"]), array(hh["kernel"])
    b = array(ih["bias"]) + array(hh["bias"]) if "bias" in ih else np.zeros(w_h.shape[-1:], w_h.dtype)
    return part("from_linen", "conv_lstm", "igfo", w_x, w_h, add_to_forget(b, "igfo", 1))


def _write_linen(kind: Kind, params: Any) -> dict[str, Any]:
    """The parameters of one cell of linen."""
    check("to_linen", kind, params, (*FORMS, "conv_lstm"))
    if kind.name != "conv_lstm":
        return write_gates(kind, params)
    w_x, w_h, b, _ = arrays("conv_lstm", "igfo", params)
    b = add_to_forget(b, "igfo", -1)
    return {"ih": {"kernel": w_x, "bias": b}, "hh": {"kernel": w_h, "bias": np.zeros(b.shape, b.dtype)}}
