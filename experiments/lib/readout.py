"""A cell over time with a linear output, y_t = h_t W_y + b_y; and dropout of what it reads and is read."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import rnnjax


class Params(NamedTuple):
    """Parameters of a cell and of a linear output."""

    cell: NamedTuple
    w_y: jax.Array  # [H, V]
    b_y: jax.Array  # [V]


def make_readout(cell: rnnjax.Cell, outputs: int, *, unroll: Callable = rnnjax.unroll):
    """Makes `key -> params`, and `(params, xs [T, B, F]) -> outputs [T, B, V]`; V is `outputs`."""

    def init(key: jax.Array) -> Params:
        key_cell, key_y = jax.random.split(key)
        w_y = jax.nn.initializers.glorot_uniform()(key_y, (cell.output_size, outputs))
        return Params(cell.init(key_cell), w_y, jnp.zeros(outputs))

    def apply(params: Params, xs: jax.Array) -> jax.Array:
        _, hs = unroll(cell, params.cell, xs)
        return jnp.matmul(hs, params.w_y) + params.b_y[None, None]

    return init, apply


def drop(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """x with a share of its elements dropped, the others scaled to the same mean; as it is where there is no key."""
    if key is None or not rate:
        return x
    return jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), jnp.zeros_like(x))
