"""Weights of torch.nn.RNN, LSTM, GRU and their cells. PyTorch itself is not needed.

Its gates are i, f, g, o and r, z, n, weights multiply from the left, and there are two biases, of which ours is the sum
(but for the candidate of a GRU, where both count).
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import cells
from rnnjax._types import Activation, Cell
from rnnjax.convert import _gates as gates
from rnnjax.convert._network import Kind, Layer, Network, array, kind_of, network, parts_of, require, unknown_kind
from rnnjax.convert._parts import arrays, part

ORDERS = {"rnn": "n", "lstm": "ifgo", "lstmp": "ifgo", "gru": "rzn"}


def from_torch(weights: Mapping[str, Any], *, prefix: str = "", activation: Activation = jnp.tanh) -> Network:
    """Reads the weights of a torch.nn.RNN, LSTM or GRU, of any number of layers and directions, or of a cell of theirs.

    Args:
      weights: a `state_dict()`, or what `safetensors.numpy.load_file` returns: arrays or tensors by name. Names tell
        layers and directions, shapes tell the kind, the sizes and a projection (proj_size).
      prefix: what stands before the names, such as "encoder.rnn.".
      activation: of a torch.nn.RNN, which its weights do not tell: `jax.nn.relu` for nonlinearity="relu".

    Returns:
      A `Network`, in the dtype of the weights. Dropout between layers is an option of `unroll_layers`.

    Raises:
      ValueError: no recurrent weights under this prefix, or some whose shapes do not fit.

    Examples:
      >>> import numpy as np, jax.numpy as jnp, rnnjax
      >>> shapes = {"weight_ih_l0": (20, 3), "weight_hh_l0": (20, 5), "bias_ih_l0": (20,), "bias_hh_l0": (20,)}
      >>> weights = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
      >>> layers, params, _ = rnnjax.convert.from_torch(weights)
      >>> rnnjax.unroll_layers(layers, params, jnp.ones((7, 2, 3)))[1].shape
      (7, 2, 5)
    """
    if f"{prefix}weight_ih" in weights:
        return network([_read(weights, prefix, "", activation)])
    found = [re.fullmatch(re.escape(prefix) + r"weight_ih_l(\d+)", name) for name in weights]
    numbers = sorted(int(match[1]) for match in found if match)
    if not numbers or numbers != [*range(len(numbers))]:
        some = ", ".join(list(weights)[:3])
        raise ValueError(
            f"from_torch: expected weights by names such as {prefix}weight_ih_l0, got {some}, ...; pass the prefix "
            "that stands before those of the recurrent module."
        )
    parts: list[Any] = []
    for number in numbers:
        suffixes = [f"_l{number}", f"_l{number}_reverse"]
        pair = [_read(weights, prefix, s, activation) for s in suffixes if f"{prefix}weight_ih{s}" in weights]
        parts.append(pair if len(pair) == 2 else pair[0])
    return network(parts)


def to_torch(layers: Cell | Sequence[Layer], params: Any, *, prefix: str = "") -> dict[str, np.ndarray]:
    """Writes the weights of layers of rnn, gru, lstm or lstmp as a torch.nn.RNN, GRU or LSTM has them.

    May be traced, as by `jax.jit` and `jax.vjp`.

    Args:
      layers: one cell, or layers as `unroll_layers` takes them, all of the same kind, size and directions.
      params: their parameters.
      prefix: what stands before the names.

    Returns:
      Arrays by the names of a `state_dict()`: as tensors, `module.load_state_dict` takes them. Our bias is bias_ih, and
      bias_hh is zero but for the candidate of a GRU; without biases, there are none (bias=False).

    Raises:
      ValueError: a cell, or an option of one, that torch.nn does not have, or layers that differ.
      TypeError: what is no cell of the library, or params of other layers.

    Examples:
      >>> import jax, rnnjax
      >>> layers = [(rnnjax.gru(3, 5), rnnjax.gru(3, 5))]
      >>> weights = rnnjax.convert.to_torch(layers, rnnjax.encoder(layers).init(jax.random.key(0)))
      >>> weights["weight_hh_l0_reverse"].shape
      (15, 5)
    """
    parts = parts_of("to_torch", layers, params)
    _check_alike(parts)
    weights = {}
    for number, layer in enumerate(parts):
        for direction, (cell, cell_params) in zip(("", "_reverse"), layer, strict=False):
            for name, value in _write(cell, cell_params).items():
                weights[f"{prefix}{name}_l{number}{direction}"] = value
    return weights


def _read(weights: Mapping[str, Any], prefix: str, suffix: str, activation: Activation) -> tuple[Cell, Any]:
    """A cell with its parameters, of one direction of one layer."""

    def get(name: str) -> np.ndarray | None:
        value = weights.get(f"{prefix}{name}{suffix}")
        return None if value is None else array(value)

    w_ih, w_hh, w_hr, b_ih, b_hh = map(get, ("weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"))
    assert w_ih is not None
    hidden = 0 if w_hh is None else (w_hh if w_hr is None else w_hr).shape[1]
    kind = {hidden: "rnn", 3 * hidden: "gru", 4 * hidden: "lstm"}.get(len(w_ih))
    if w_hh is None or len(w_hh) != len(w_ih) or kind is None or (b_ih is None) != (b_hh is None):
        shapes = {name: np.shape(value) for name, value in weights.items() if name.startswith(f"{prefix}weight")}
        raise ValueError(
            f"from_torch: expected weights of an RNN, LSTM or GRU, both biases or none, got shapes {shapes}."
        )
    b, b_h = b_ih, None
    if b_ih is not None and b_hh is not None:  # the candidate of a GRU keeps its recurrent bias apart
        b, b_h = gates.sum_biases(b_ih, b_hh, ORDERS[kind], apart="n" if kind == "gru" else "")
    if w_hr is None:
        options = {"activation": activation} if kind == "rnn" else {}
        return part("from_torch", kind, ORDERS[kind], w_ih.T, w_hh.T, b, b_h, **options)
    w_x, w_h, w_p = map(jnp.asarray, (w_ih.T, w_hh.T, w_hr.T))
    cell = cells.lstmp(len(w_x), *w_p.shape, use_bias=b is not None, param_dtype=w_x.dtype)
    return cell, cells.LSTMPParams(w_x, w_h, None if b is None else jnp.asarray(b), w_p)


def _write(cell: Cell, params: Any) -> dict[str, np.ndarray]:
    """The weights of one cell, by the beginning of their names."""
    kind = kind_of("to_torch", cell)
    theirs = ORDERS[kind.name]
    w_x, w_h, b, b_h = arrays(kind.name.removesuffix("p"), theirs, params)  # a projection is beside an lstm's
    weights = {"weight_ih": w_x.T, "weight_hh": w_h.T}
    if kind.name == "lstmp":
        weights["weight_hr"] = array(params.w_p).T
    if b is not None:
        zeros = np.zeros(w_h.shape[-1:], w_h.dtype)
        weights["bias_ih"] = b
        weights["bias_hh"] = zeros if b_h is None else gates.join({**gates.split(zeros, theirs), "n": b_h}, theirs)
    return weights


def _check_kind(kind: Kind) -> None:
    """Raises ValueError for a cell that torch.nn does not have."""
    if kind.name not in ORDERS:
        raise unknown_kind("to_torch", kind, [*ORDERS])
    require("to_torch", kind, clip=None)
    if kind.name != "rnn":
        require("to_torch", kind, activation=jnp.tanh, gate_activation=jax.nn.sigmoid)
    if kind.name in ("lstm", "lstmp"):
        require("to_torch", kind, output_activation=jnp.tanh)
    if kind.name == "gru":
        require("to_torch", kind, reset_after=True)


def _check_alike(parts: list[list[tuple[Cell, Any]]]) -> None:
    """Raises ValueError unless all layers are of one kind, one size and the same directions."""

    found = set()
    for layer in parts:
        for cell, params in layer:
            kind = kind_of("to_torch", cell)
            _check_kind(kind)
            found.add((len(layer), kind.name, params.w_h.shape, "no biases" if params.b is None else "biases"))
    if len(found) > 1:
        raise ValueError(
            "to_torch: expected layers of one kind, one size, the same directions and all with biases or none, as a "
            f"module of torch.nn has them, got {sorted(found)}; convert them one by one."
        )
