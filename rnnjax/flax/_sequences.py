"""Sequences and carries in Flax's layout: time after the batch axes, rows flipped within their lengths, (c, h).

Shapes: inputs are `[*batch, T, *features]`, or `[T, *batch, *features]` if time_major.
"""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.cells import GRUCarry, LSTMCarry, RNNCarry
from rnnjax.recurrence import unroll


def as_floats(inputs: Any) -> Any:
    """Inputs whose integers became floats, as Flax promotes them."""

    def promote(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        return leaf if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.astype(jnp.float32)

    return jax.tree.map(promote, inputs)


def time_axis(inputs: Array, feature_axes: int, time_major: bool) -> int:
    """Where time is in inputs."""
    return 0 if time_major else inputs.ndim - feature_axes - 1


def time_first(flags: Array | None, time_major: bool) -> Array | None:
    """A mask or resets `[*batch, T]` as `[T, *batch]`."""
    return flags if flags is None or time_major else jnp.moveaxis(flags, -1, 0)


def flip(ys: Array, lengths: Array | None) -> Array:
    """Turns ys `[T, *batch, ...]` around, each row within its length; padding stays where it is."""
    if lengths is None:
        return jnp.flip(ys, axis=0)
    steps = jnp.arange(ys.shape[0]).reshape(-1, *(1,) * lengths.ndim)
    lengths = jnp.expand_dims(lengths, 0)
    steps = jnp.where(steps < lengths, lengths - 1 - steps, steps)  # [T, *batch]
    return jnp.take_along_axis(ys, steps.reshape(*steps.shape, *(1,) * (ys.ndim - steps.ndim)), axis=0)


def run(
    cell: Cell,
    params: Params,
    inputs: Array,
    carry: Carry | None,
    *,
    feature_axes: int,
    lengths: Array | None,
    time_major: bool,
    reverse: bool,
    keep_order: bool,
) -> tuple[Carry, Any]:
    """Runs a cell over inputs in Flax's layout; with reverse, outputs come in the order in which they were computed."""
    axis = time_axis(inputs, feature_axes, time_major)
    xs = jnp.moveaxis(jnp.asarray(inputs), axis, 0)
    lengths = None if lengths is None else jnp.asarray(lengths)
    carry, ys = unroll(cell, params, xs, carry, lengths=lengths, reverse=reverse)
    if reverse and not keep_order:
        ys = jax.tree.map(lambda leaf: flip(leaf, lengths), ys)
    return carry, jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, axis), ys)


def to_flax(carry: Carry) -> Any:
    """Our carry as Flax has it: `(c, h)` of an LSTM, h of the others."""
    return (carry.c, carry.h) if isinstance(carry, LSTMCarry) else carry.h


def from_flax(like: Carry, carry: Any) -> Carry:
    """Flax's carry as ours, of the type of `like`."""
    if isinstance(carry, LSTMCarry | GRUCarry | RNNCarry):
        return carry
    if isinstance(like, LSTMCarry):
        c, h = carry
        return LSTMCarry(h, c)
    return type(like)(carry)
