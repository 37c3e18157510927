"""Layers on top of each other, as one cell."""

import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Array, Cell, Key, Layers


def stack(cells: Sequence[Cell], *, skip_connections: bool = False) -> Cell:
    """Stacks layers: each cell takes the output of the one below, within one step.

        y^0 = x,    carry^l, y^l = cell_l(params^l, carry^l, y^{l-1}),    y = y^L

    With skip connections, the input goes to every layer, and every layer to the output:

        carry^l, y^l = cell_l(params^l, carry^l, [x, y^{l-1}]),    y = [y^1, ..., y^L]

    Reference: Graves 2013, "Generating sequences with recurrent neural networks".

    Args:
      cells: L cells; the first takes F features, each other the H of the one below, and with skip connections F + H.
      skip_connections: whether layers see the input and the output sees the layers.

    Returns:
      A `Cell` with params and carry `Layers(layers)`; x is `[..., F]`, y that of the last cell, `[..., H]`, or with
      skip connections of all of them, `[..., H_1 + ... + H_L]`.

    Raises:
      ValueError: no cells, or a cell that takes another number of features than the one below gives.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.stack([rnnjax.lstm(3, 5), rnnjax.gru(5, 7)])
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 2, 3)))
      >>> ys.shape, carry.layers[0].c.shape
      ((4, 2, 7), (2, 5))
    """
    cells = tuple(cells)
    if not cells:
        raise ValueError("stack: expected at least one cell, got none.")
    if skip_connections:
        _check_skips(cells)
    else:
        checks.check_fit("stack", cells)

    def init(key: Key) -> Layers:
        keys = jax.random.split(key, len(cells))
        return Layers(tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True)))

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> Layers:
        return Layers(tuple(cell.initial_carry(batch_shape, dtype) for cell in cells))

    def apply(params: Layers, carry: Layers, x: Any) -> tuple[Layers, Any]:
        carries, ys = [], [x]
        for cell, layer_params, layer_carry in zip(cells, params.layers, carry.layers, strict=True):
            skips = skip_connections and len(ys) > 1
            layer_carry, y = cell.apply(layer_params, layer_carry, _join([x, ys[-1]]) if skips else ys[-1])
            carries.append(layer_carry)
            ys.append(y)
        return Layers(tuple(carries)), _join(ys[1:]) if skip_connections else ys[-1]

    output_size = cells[-1].output_size
    if skip_connections:
        sizes = [cell.output_size for cell in cells if cell.output_size is not None]
        output_size = sum(sizes) if len(sizes) == len(cells) else None
    return Cell(init, initial_carry, apply, cells[0].input_size, output_size, cells[0].feature_axes)


def _join(parts: Sequence[Array]) -> Array:
    """Joins arrays `[..., H_i]` along their features, in the dtype of the last."""
    return jnp.concatenate([part.astype(parts[-1].dtype) for part in parts], axis=-1)


def _check_skips(cells: Sequence[Cell]) -> None:
    """Raises ValueError for a layer that does not take the input beside the output of the layer below, where known."""
    features = cells[0].input_size
    for number, (below, cell) in enumerate(itertools.pairwise(cells), 1):
        if None in (features, below.output_size, cell.input_size):
            continue
        if cell.input_size != features + below.output_size:  # type: ignore[operator]
            raise ValueError(
                f"stack: expected layer {number} to take the {features} features of the input and the "
                f"{below.output_size} of the layer below, got input_size {cell.input_size}."
            )
