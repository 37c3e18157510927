"""Weights of the recurrent layers of Keras 3. Keras itself is not needed: layers say all by get_config and get_weights.

Its gates are i, f, c, o and z, r, h with h = z * h + (1 - z) * n, so that z is 1 - u. A GRU with reset_after has two
rows of biases, of which ours is the sum but for the candidate, where both count.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Cell
from rnnjax.convert import _gates as gates
from rnnjax.convert._activations import check_complementary, from_keras_name
from rnnjax.convert._network import Layer, Network, array, kind_of, network, parts_of, require, unknown_kind
from rnnjax.convert._parts import arrays, part

KINDS = {"SimpleRNN": "rnn", "GRU": "gru", "LSTM": "lstm"} | {f"ConvLSTM{n}D": "conv_lstm" for n in (1, 2, 3)}
ORDERS = {"rnn": "n", "gru": "zrn", "lstm": "ifgo", "conv_lstm": "ifgo"}


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

    Examples:
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
    strides, padding and dilation_rate, and a Bidirectional the same merge_mode. May be traced, as by `jax.jit`.

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

    Examples:
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
        return [cell for spec in specs for cell in _read_stack(spec["class_name"], spec["config"], weights, space)]
    kind = KINDS.get(re.sub("Cell$", "", name))
    if kind is None:
        raise ValueError(f"from_keras: expected layers among {', '.join(KINDS)}, Bidirectional and RNN, got {name}.")
    return [_read_cell(kind, config, weights, space)]


def _read_cell(kind: str, config: Mapping[str, Any], weights: Iterator[np.ndarray], space: Any) -> tuple[Cell, Any]:
    """A cell with its parameters."""
    w_x, w_h, b, b_h = next(weights), next(weights), next(weights) if config["use_bias"] else None, None
    if b is not None and b.ndim == 2:  # the candidate of a GRU keeps its recurrent bias apart
        b, b_h = gates.sum_biases(b[0], b[1], ORDERS[kind], apart="n")
    options: dict[str, Any] = {"activation": from_keras_name("from_keras", config["activation"])}
    if kind != "rnn":
        options["gate_activation"] = from_keras_name("from_keras", config["recurrent_activation"])
    if kind == "gru":
        check_complementary("from_keras", options["gate_activation"])
        options["reset_after"] = config["reset_after"]
    if kind in ("lstm", "conv_lstm"):
        options["output_activation"] = options["activation"]
    if kind == "conv_lstm":
        options |= _window(config, space)
    return part("from_keras", kind, ORDERS[kind], w_x, w_h, b, b_h, **options)


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
    dilation = tuple(config["dilation_rate"])
    return {"stride": strides, "padding": padding.upper(), "dilation": dilation, "space": space}


def _space_after(layer: Any, space: Any) -> Any:
    """The sizes of space that a layer leaves for the next one, if they are known."""
    cell = layer[0] if isinstance(layer[0], Cell) else layer[0][0]
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
    *weights, b, b_h = arrays(kind.name, ORDERS[kind.name], params)
    if b_h is not None:  # rows of input and of recurrent biases
        zeros = gates.split(np.zeros(b.shape, b.dtype), ORDERS["gru"])
        recurrent = gates.join(zeros | {"n": b_h}, ORDERS["gru"])
        b = gates.join({"x": b[None], "h": recurrent[None]}, "xh", axis=0)
    return weights if b is None else [*weights, b]
