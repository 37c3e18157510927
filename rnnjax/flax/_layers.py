"""What the layers of both of Flax's APIs share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Cell


def same_layers(
    make: Callable[..., Cell], features: int, hidden: int, count: int, bidirectional: bool, options: Mapping[str, Any]
) -> list[Cell | tuple[Cell, Cell]]:
    """Layers of one kind of cell, for inputs of so many features."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{make.__name__}: expected num_layers to be a positive int, got {count!r}.")
    widths = [features] + [2 * hidden if bidirectional else hidden] * (count - 1)
    cells = [make(width, hidden, **options) for width in widths]
    return [(cell, cell) for cell in cells] if bidirectional else [*cells]


def first_cell(layers: Sequence[Cell | tuple[Cell, Cell]]) -> Cell:
    """The cell that sees the inputs first."""
    return layers[0] if isinstance(layers[0], Cell) else layers[0][0]


def spread(carry: Any, batch_shape: tuple[int, ...]) -> Any:
    """A carry of one row for all rows of a batch."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*batch_shape, *leaf.shape)), carry)
