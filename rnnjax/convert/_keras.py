"""Weights of the recurrent layers of Keras 3. Keras itself is not needed: layers say all by get_config and get_weights.

Its gates are i, f, c, o and z, r, h with h = z * h + (1 - z) * n, so that z is 1 - u. A GRU with reset_after has two
rows of biases, of which ours is the sum but for the candidate, where both count.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax import cells
from rnnjax._types import Array, Cell
from rnnjax.convert import _gates as gates
from rnnjax.convert._activations import check_complementary, from_keras_name
from rnnjax.convert._network import Layer, Network, array, kind_of, network, parts_of, require, unknown_kind

KINDS = {"SimpleRNN": "rnn", "GRU": "gru", "LSTM": "lstm"} | {f"ConvLSTM{n}D": "conv_lstm" for n in (1, 2, 3)}
ORDERS = {"rnn": ("n", "n"), "gru": ("run", "zrn"), "lstm": ("ifgo", "ifgo"), "conv_lstm": ("ifgo", "ifgo")}


def average(forward: Array, backward: Array) -> Array:
    """The mean of the outputs of both directions, `[T, ..., H]` each."""
    return (forward + backward) / 2


MERGES: Mapping[str, Callable[[Array, Array], Array] | None] = {
    "concat": None, "sum": jnp.add, "mul": jnp.multiply, "ave": average,
}  # fmt: skip


def from_keras(layer: Any, *, space: tuple[int, ...] | None = None) -> Network:
    """Reads the weights of a recurrent layer of Keras 3, or of a list of them, each on top of the one before.

    SimpleRNN, GRU, LSTM, ConvLSTM1D, 2D and 3D, a Bidirectional of them, their cells, and RNN of a cell or of several.
    Inputs are time-major here unless `time_major=False`. Outputs are those of return_sequences, but for two habits:

    - Steps that a mask skips have outputs of zeros here and, without zero_output_for_mask, the last output there:
      `rnnjax.recurrence.hold_outputs` gives it. In a Bidirectional they are zeros there too.
    - A layer that goes backwards gives its outputs there in the order in which it makes them: here, they keep their
      places in time, `ys[::-1]` is the other.

    What concerns training is not read: dropout, recurrent_dropout, regularizers, constraints. Nor are stateful and
    return_*, since carries are always passed and returned.

    Args:
      layer: a layer that is built, or a list of such layers.
      space: sizes of space in the inputs of a ConvLSTM, one per axis; needed where it changes them, that is with
        strides or with padding="valid".

    Returns:
      A `Network`, in the dtype of the weights; its options are `reverse=True` for a layer with go_backwards, and
      `merge` for a merge_mode other than "concat".

    Raises:
      ValueError: a layer that is not built, of another kind, or with something that has no counterpart here.

    Example:
      >>> import keras, rnnjax  # doctest: +SKIP
      >>> layer = keras.layers.Bidirectional(keras.layers.GRU(5, return_sequences=True))  # doctest: +SKIP
      >>> ys = layer(np.ones((2, 7, 3), np.float32))  # doctest: +SKIP
      >>> layers, params, options = rnnjax.convert.from_keras(layer)  # doctest: +SKIP
      >>> xs = jnp.ones((2, 7, 3))  # doctest: +SKIP
      >>> carries, ours = rnnjax.unroll_layers(layers, params, xs, time_major=False, **options)  # doctest: +SKIP
      >>> bool(jnp.allclose(ours, ys, atol=1e-5))  # doctest: +SKIP
      True
    """
    given = list(layer) if isinstance(layer, (list, tuple)) else [layer]
    parts: list[Any] = []
    merges, backwards = set(), False
    for one in given:
        weights = [array(w) for w in one.get_weights()]
        if not weights:
            raise ValueError(
                "from_keras: expected layers that are built, got one without weights; call it once before."
            )
        reader, name, config = iter(weights), type(one).__name__, one.get_config()
        if name == "Bidirectional":
            found: list[Any] = [_read_pair(config, reader, space)]
            merges.add(config["merge_mode"])
        else:
            found = _read_stack(name, config, reader, space)
            backwards |= config.get("go_backwards", False)
        if (left := len([*reader])) > 0:
            raise ValueError(f"from_keras: expected a {name} with {len(weights) - left} weights, got {len(weights)}.")
        parts += found
        space = _space_after(found[-1], space)
    if backwards and len(given) > 1:
        raise ValueError(
            "from_keras: expected layers on top of each other that go forward, got one with go_backwards, which gives "
            "its outputs in the other order; convert it alone."
        )
    if len(merges) > 1 or not merges <= MERGES.keys():
        raise ValueError(
            f"from_keras: expected one merge_mode among {', '.join(MERGES)}, got {', '.join(map(str, merges))}; "
            "convert layers that differ one by one."
        )
    merge = MERGES[merges.pop()] if merges else None
    return network(parts, ({"merge": merge} if merge else {}) | ({"reverse": True} if backwards else {}))


def to_keras(layers: Cell | Sequence[Layer], params: Any) -> list[list[np.ndarray]]:
    """Writes the weights of layers of rnn, gru, lstm or conv_lstm as recurrent layers of Keras have them.

    Weights tell no options: the layers that take them need the same activations, use_bias, reset_after, kernel_size,
    strides, padding and dilation_rate, and a Bidirectional the same merge_mode.

    Args:
      layers: one cell, or layers as `unroll_layers` takes them.
      params: their parameters.

    Returns:
      For each layer what its `set_weights` takes: kernel, recurrent kernel and, with biases, bias; those of both
      directions for a pair, which is a Bidirectional. Our bias of a GRU with reset_after is the first row of two, and
      the second is zero but for the candidate.

    Raises:
      ValueError: a cell, or an option of one, that Keras does not have.
      TypeError: what is no cell of the library, or params of other layers.

    Example:
      >>> import jax, rnnjax
      >>> cell = rnnjax.gru(3, 5)
      >>> [weights] = rnnjax.convert.to_keras(cell, cell.init(jax.random.key(0)))
      >>> [w.shape for w in weights]
      [(3, 15), (5, 15), (2, 15)]
    """
    return [
        [w for cell, cell_params in layer for w in _write(cell, cell_params)]
        for layer in parts_of("to_keras", layers, params)
    ]


def _read_pair(config: Mapping[str, Any], weights: Iterator[np.ndarray], space: Any) -> list[tuple[Cell, Any]]:
    """Both directions of a Bidirectional, the forward one first."""
    specs = config["layer"], config["backward_layer"]
    if [spec["config"].get("go_backwards") for spec in specs] != [False, True]:
        raise ValueError("from_keras: expected a Bidirectional whose layer goes forward and backward_layer backwards.")
    pair = [_read_stack(spec["class_name"], spec["config"], weights, space) for spec in specs]
    if any(len(direction) > 1 for direction in pair):
        raise ValueError(
            "from_keras: expected a Bidirectional of one cell in each direction, got StackedRNNCells; convert its "
            "forward_layer and its backward_layer one by one."
        )
    return [direction[0] for direction in pair]


def _read_stack(
    name: str, config: Mapping[str, Any], weights: Iterator[np.ndarray], space: Any
) -> list[tuple[Cell, Any]]:
    """The cells of a layer of one direction, with their parameters."""
    if name == "RNN":
        return _read_stack(config["cell"]["class_name"], config["cell"]["config"], weights, space)
    if name == "StackedRNNCells":
        specs = config["cells"]
        return [part for spec in specs for part in _read_stack(spec["class_name"], spec["config"], weights, space)]
    kind = KINDS.get(re.sub("Cell$", "", name))
    if kind is None:
        raise ValueError(f"from_keras: expected layers among {', '.join(KINDS)}, Bidirectional and RNN, got {name}.")
    return [_read_cell(kind, config, weights, space)]


def _read_cell(kind: str, config: Mapping[str, Any], weights: Iterator[np.ndarray], space: Any) -> tuple[Cell, Any]:
    """A cell with its parameters."""
    ours, theirs = ORDERS[kind]
    w_x, w_h = (jnp.asarray(gates.reorder(next(weights), theirs, ours)) for _ in range(2))
    b: Any = None
    b_h: Any = None
    if config["use_bias"]:
        b = next(weights)
        if b.ndim == 2:  # the candidate of a GRU keeps its recurrent bias apart
            b, b_h = map(jnp.asarray, gates.sum_biases(b[0], b[1], theirs, apart="n"))
        b = jnp.asarray(gates.reorder(b, theirs, ours))
    features, hidden = w_x.shape[-2], w_h.shape[-2]
    activation = from_keras_name("from_keras", config["activation"])
    options: cells.CellOptions = {"use_bias": b is not None, "param_dtype": w_x.dtype, "activation": activation}
    if kind == "rnn":
        return cells.rnn(features, hidden, **options), cells.RNNParams(w_x, w_h, b)
    options["gate_activation"] = from_keras_name("from_keras", config["recurrent_activation"])
    if kind == "gru":
        check_complementary("from_keras", options["gate_activation"])
        return cells.gru(features, hidden, reset_after=config["reset_after"], **options), cells.GRUParams(
            w_x, w_h, b, b_h
        )
    if kind == "lstm":
        return cells.lstm(features, hidden, output_activation=activation, **options), cells.LSTMParams(w_x, w_h, b)
    cell = cells.conv_lstm(features, hidden, output_activation=activation, **_window(config, space), **options)
    return cell, cells.ConvLSTMParams(w_x, w_h, b)


def _window(config: Mapping[str, Any], space: Any) -> dict[str, Any]:
    """How the convolution of a ConvLSTM moves."""
    if config["data_format"] != "channels_last":
        raise ValueError(f"from_keras: expected data_format channels_last, got {config['data_format']}.")
    kernel, strides, padding = tuple(config["kernel_size"]), tuple(config["strides"]), config["padding"]
    keeps = max(strides) == 1 and (padding == "same" or max(kernel) == 1)
    if not keeps and space is None:
        raise ValueError(
            f"from_keras: expected space, the sizes of space in the inputs, for a ConvLSTM with strides {strides} and "
            f"padding {padding}, which changes them, got None."
        )
    return {
        "kernel_shape": kernel, "stride": strides, "padding": padding.upper(),
        "dilation": tuple(config["dilation_rate"]), "space": space,
    }  # fmt: skip


def _space_after(part: Any, space: Any) -> Any:
    """The sizes of space that a layer leaves for the next one, if they are known."""
    cell = part[0] if isinstance(part[0], Cell) else part[0][0]
    return space and cell.initial_carry().h.shape[:-1]


def _write(cell: Cell, params: Any) -> list[np.ndarray]:
    """The weights of one cell."""
    kind = kind_of("to_keras", cell)
    if kind.name not in ORDERS:
        raise unknown_kind("to_keras", kind, [*ORDERS])
    require("to_keras", kind, clip=None)
    if "output_activation" in kind.options:
        require("to_keras", kind, output_activation=kind.options["activation"])
    if kind.name == "gru":
        check_complementary("to_keras", kind.options["gate_activation"])
    if kind.name == "conv_lstm" and kind.options["padding"] not in ("SAME", "VALID"):
        raise ValueError(f"to_keras: expected padding SAME or VALID, got {kind.options['padding']}; there is no other.")
    ours, theirs = ORDERS[kind.name]
    weights = [gates.reorder(array(w), ours, theirs) for w in (params.w_x, params.w_h)]
    if params.b is not None:
        b = gates.reorder(array(params.b), ours, theirs)
        if kind.options.get("reset_after"):
            b_h = array(params.b_h)
            xp = b.__array_namespace__()
            b = xp.stack([b, xp.concat([xp.zeros_like(b)[: -len(b_h)], b_h])])
        weights.append(b)
    return weights
