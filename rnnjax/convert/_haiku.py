"""Weights of the recurrent cores of Haiku: LSTM, GRU, VanillaRNN and Conv1DLSTM to Conv3DLSTM. Haiku is not needed.

Gates of its LSTMs are i, g, f, o, in one product of [x, h], and 1 is added to the forget gate as they run. Those of its
GRU are z, r, a with h = (1 - z) * h + z * a, so that z is our u, and it resets before the product. Its vanilla core has
ReLU and up to two biases, of which ours is the sum.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Cell
from rnnjax.convert._network import Kind, Layer, Network, array, kind_of, parts_of, require, unknown_kind
from rnnjax.convert._parts import add_to_forget, arrays, check_biases, check_convolution, part, read_layers

ORDERS = {"rnn": "n", "lstm": "igfo", "gru": "urn", "conv_lstm": "igfo"}
NAMES = {"rnn": "vanilla_rnn", "lstm": "lstm", "gru": "gru", "conv_lstm": "conv{rank}_dlstm"}  # Haiku's own
RNN, CONV_LSTM = ("linear", "linear_1"), ("input_to_hidden", "hidden_to_hidden")  # modules of x and of h in theirs
CORE = re.compile(r"(.*?(?:lstm|gru|vanilla_rnn))(?:_(\d+))?(?:/linear|/linear_1|/input_to_hidden|/hidden_to_hidden)?")
Modules = Sequence[str | tuple[str, str]]


def from_haiku(params: Mapping[str, Any], modules: Modules | None = None) -> Network:
    """Reads the parameters of the recurrent cores of Haiku.

    The 1 that its LSTMs add to the forget gate as they run becomes part of our bias, within one rounding. Parameters do
    not tell skip connections: those of `hk.deep_rnn_with_skip_connections` are
    `rnnjax.stack(layers, skip_connections=True)`.

    Args:
      params: what `init` of the transformed function returns: arrays by module and name.
      modules: names of the cores, one per layer, such as "encoder/lstm", a pair of them for both directions. None for
        those that have Haiku's own names, if all are of one kind: "lstm", "lstm_1", ...

    Returns:
      A `Network`, in the dtype of the parameters.

    Raises:
      ValueError: no cores, several kinds whose order is not told, or parameters that are none of a core.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> haiku = {"lstm/linear": {"w": jnp.ones((8, 20)), "b": jnp.zeros(20)}}
      >>> layers, params, _ = rnnjax.convert.from_haiku(haiku)
      >>> rnnjax.unroll_layers(layers, params, jnp.ones((7, 2, 3)))[1].shape
      (7, 2, 5)
    """
    return read_layers("from_haiku", _find(params) if modules is None else modules, lambda name: _read(params, name))


def to_haiku(
    layers: Cell | Sequence[Layer], params: Any, modules: Modules | None = None, *, double_bias: bool = True
) -> dict[str, dict[str, Any]]:
    """Writes the parameters of layers of lstm, gru, rnn or conv_lstm as Haiku has them. May be traced, as by `jax.jit`.

    The 1 that Haiku's LSTMs add to the forget gate as they run is taken from our bias, within one rounding.

    Args:
      layers: one cell, or layers as `unroll_layers` takes them; a gru has reset_after=False, an rnn `jax.nn.relu`.
      params: their parameters.
      modules: names of the cores, one per layer, a pair of them for both directions. None for the names that Haiku
        gives them: "lstm", "lstm_1", "gru", ...
      double_bias: that of VanillaRNN, whose second bias is zero.

    Returns:
      Arrays by module and name, as `apply` of the transformed function takes them. `from_haiku` reads them.

    Raises:
      ValueError: a cell, or an option of one, that Haiku does not have, or another number of names.
      TypeError: what is no cell of the library, or params of other layers.

    Examples:
      >>> import jax, rnnjax
      >>> layers = [rnnjax.lstm(3, 5), rnnjax.lstm(5, 7)]
      >>> haiku = rnnjax.convert.to_haiku(layers, rnnjax.encoder(layers).init(jax.random.key(0)))
      >>> {module: {name: value.shape for name, value in leaves.items()} for module, leaves in haiku.items()}
      {'lstm/linear': {'b': (20,), 'w': (8, 20)}, 'lstm_1/linear': {'b': (28,), 'w': (12, 28)}}
    """
    cells = [part for layer in parts_of("to_haiku", layers, params) for part in layer]
    kinds = [kind_of("to_haiku", cell) for cell, _ in cells]
    for kind, (_, cell_params) in zip(kinds, cells, strict=True):
        _check(kind, cell_params)
    names: list[str] = []
    for entry in modules if modules is not None else _own_names(kinds, cells):
        names.extend([entry] if isinstance(entry, str) else entry)
    if len(names) != len(cells):
        raise ValueError(f"to_haiku: expected names of {len(cells)} modules, one per cell, got {len(names)}.")
    written: dict[str, dict[str, Any]] = {}
    for name, kind, (_, cell_params) in zip(names, kinds, cells, strict=True):
        written |= _write(name, kind, cell_params, double_bias)
    return jax.tree.map(jnp.asarray, written)


def _find(params: Mapping[str, Any]) -> list[str]:
    """The names of the cores by their numbers, where all are of one kind."""
    found: dict[str, set[int]] = {}
    for name in params:
        if match := CORE.fullmatch(name):
            found.setdefault(match[1], set()).add(int(match[2] or 0))
    if len(found) != 1:
        got = ", ".join(sorted(found)) or f"none in {', '.join(list(params)[:3])}"
        raise ValueError(
            f"from_haiku: expected cores of one kind by Haiku's own names, got {got}; pass modules=[...], the names of "
            "the cores, one per layer."
        )
    ((base, numbers),) = found.items()
    return [f"{base}_{number}" if number else base for number in sorted(numbers)]


def _read(params: Mapping[str, Any], name: str) -> tuple[Cell, Any]:
    """A cell with its parameters, from the core of this name."""
    paths = [path for path in params if path == name or path.startswith(f"{name}/")]
    inner = {path[len(name) + 1 :]: {k: array(v) for k, v in params[path].items()} for path in paths}
    if set(inner) == {""} and set(inner[""]) == {"w_i", "w_h", "b"}:
        core = inner[""]
        return part("from_haiku", "gru", "urn", core["w_i"], core["w_h"], core["b"], reset_after=False)
    if set(inner) == {"linear"}:
        w, b = inner["linear"]["w"], inner["linear"]["b"]
        w_x, w_h = np.split(w, [-(w.shape[1] // 4)])
        return part("from_haiku", "lstm", "igfo", w_x, w_h, add_to_forget(b, "igfo", 1))
    if set(inner) == set(RNN):
        x, h = (inner[layer] for layer in RNN)
        b = x["b"] + h["b"] if "b" in h else x["b"]
        return part("from_haiku", "rnn", "n", x["w"], h["w"], b, activation=jax.nn.relu)
    if set(inner) == set(CONV_LSTM):
        x, h = (inner[layer] for layer in CONV_LSTM)
        return part("from_haiku", "conv_lstm", "igfo", x["w"], h["w"], add_to_forget(x["b"] + h["b"], "igfo", 1))
    raise ValueError(
        f"from_haiku: expected {name} to be an LSTM, GRU, VanillaRNN or Conv1DLSTM to Conv3DLSTM, got other "
        f"parameters; these modules have some: {', '.join(list(params)[:5])}."
    )


def _write(name: str, kind: Kind, params: Any, double_bias: bool) -> dict[str, dict[str, Any]]:
    """The parameters of the core of this name."""
    w_x, w_h, b, _ = arrays(kind.name, ORDERS[kind.name], params)
    if kind.name == "gru":
        return {name: {"w_i": w_x, "w_h": w_h, "b": b}}
    zeros = np.zeros(b.shape, b.dtype)
    if kind.name == "rnn":
        leaves = [{"w": w_x, "b": b}, {"w": w_h, "b": zeros} if double_bias else {"w": w_h}]
        return {f"{name}/{layer}": leaf for layer, leaf in zip(RNN, leaves, strict=True)}
    b = add_to_forget(b, "igfo", -1)
    if kind.name == "lstm":
        return {f"{name}/linear": {"w": jnp.concatenate([w_x, w_h]), "b": b}}
    leaves = [{"w": w_x, "b": b}, {"w": w_h, "b": zeros}]
    return {f"{name}/{layer}": leaf for layer, leaf in zip(CONV_LSTM, leaves, strict=True)}


def _own_names(kinds: Sequence[Kind], cells: Sequence[tuple[Cell, Any]]) -> list[str]:
    """The names that Haiku gives to cores in their order."""
    seen: Counter[str] = Counter()
    names = []
    for kind, (_, params) in zip(kinds, cells, strict=True):
        base = NAMES[kind.name].format(rank=params.w_x.ndim - 2)
        names.append(f"{base}_{seen[base]}" if seen[base] else base)
        seen[base] += 1
    return names


def _check(kind: Kind, params: Any) -> None:
    """Raises ValueError for a cell that Haiku does not have."""
    if kind.name not in ORDERS:
        raise unknown_kind("to_haiku", kind, [*ORDERS])
    if kind.name == "conv_lstm":
        check_convolution("to_haiku", kind)
    require("to_haiku", kind, clip=None, activation=jax.nn.relu if kind.name == "rnn" else jnp.tanh)
    if kind.name != "rnn":
        require("to_haiku", kind, gate_activation=jax.nn.sigmoid)
    if kind.name == "gru":
        require("to_haiku", kind, reset_after=False)
    if kind.name == "lstm":
        require("to_haiku", kind, output_activation=jnp.tanh)
    check_biases("to_haiku", kind.name, params)
