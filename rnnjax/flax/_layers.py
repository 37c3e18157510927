"""What the layers of both of Flax's APIs share."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Cell, Layers
from rnnjax.flax._sequences import time_first
from rnnjax.seq2seq import Encoder


def same_layers(
    make: Callable[..., Cell], features: int, hidden: int, count: int, bidirectional: bool, options: Mapping[str, Any]
) -> list[Cell | tuple[Cell, Cell]]:
    """Layers of one kind of cell, for inputs of so many features."""
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"{make.__name__}: expected num_layers to be a positive int, got {count!r}.")
    widths = [features] + [2 * hidden if bidirectional else hidden] * (count - 1)
    cells = [make(width, hidden, **options) for width in widths]
    return [(cell, cell) for cell in cells] if bidirectional else [*cells]


def run_layers(
    reader: Encoder,
    params: Layers,
    inputs: Array,
    carry: Layers | None,
    *,
    start: Layers | None,
    feature_axes: int,
    key: Array | None,
    lengths: Array | None,
    mask: Array | None,
    resets: Array | None,
    time_major: bool,
) -> tuple[Layers, Array]:
    """Runs layers over inputs in Flax's layout, from a carry, or else from a learned `start` of one row."""
    xs = inputs if time_major else jnp.moveaxis(inputs, -1 - feature_axes, 0)
    if carry is None and start is not None:
        batch_shape = xs.shape[1 : xs.ndim - feature_axes]
        carry = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (*batch_shape, *leaf.shape)), start)
    mask, resets = time_first(mask, time_major), time_first(resets, time_major)
    carry, ys = reader.apply(params, xs, carry, key=key, lengths=lengths, mask=mask, resets=resets)
    return carry, ys if time_major else jnp.moveaxis(ys, 0, -2)
