"""Layers on top of each other, as one cell."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Cell, Key, Layers


def stack(cells: Sequence[Cell]) -> Cell:
    """Stacks layers: each cell takes the output of the one below, within one step.

        y^0 = x,    carry^l, y^l = cell_l(params^l, carry^l, y^{l-1}),    y = y^L

    Reference: Graves 2013, "Generating sequences with recurrent neural networks".

    Args:
      cells: L cells; the first takes F features, each other the H of the one below.

    Returns:
      A `Cell` with params and carry `Layers(layers)`; x is `[..., F]`, y that of the last cell, `[..., H]`.

    Raises:
      ValueError: no cells, or a cell that takes another number of features than the one below gives.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.stack([rnnjax.lstm(3, 5), rnnjax.gru(5, 7)])
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 2, 3)))
      >>> ys.shape, carry.layers[0].c.shape
      ((4, 2, 7), (2, 5))
    """
    cells = tuple(cells)
    if not cells:
        raise ValueError("stack: expected at least one cell, got none.")
    checks.check_fit("stack", cells)

    def init(key: Key) -> Layers:
        keys = jax.random.split(key, len(cells))
        return Layers(tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True)))

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> Layers:
        return Layers(tuple(cell.initial_carry(batch_shape, dtype) for cell in cells))

    def apply(params: Layers, carry: Layers, x: Any) -> tuple[Layers, Any]:
        carries, y = [], x
        for cell, layer_params, layer_carry in zip(cells, params.layers, carry.layers, strict=True):
            layer_carry, y = cell.apply(layer_params, layer_carry, y)
            carries.append(layer_carry)
        return Layers(tuple(carries)), y

    return Cell(init, initial_carry, apply, cells[0].input_size, cells[-1].output_size)
