"""The largest of many numbers, found in two passes."""

import jax.numpy as jnp
from jax import lax

from rnnjax.types import Array

BLOCK = 64


def largest(values: Array, count: int) -> tuple[Array, Array]:
    """`jax.lax.top_k` to the letter, ties by the lower index, in a fraction of its time where there are many values.

    The k largest lie in the k blocks with the largest maxima: one pass over all values, then a search in few.

    Args:
      values: `[K, V]`.
      count: how many, at most V.

    Returns:
      `(values [K, count], indices [K, count])`, the largest first.
    """
    rows, size = values.shape
    blocks = size // BLOCK
    if blocks < 4 * count:
        return lax.top_k(values, count)
    body = values[:, : blocks * BLOCK].reshape(rows, blocks, BLOCK)
    _, chosen = lax.top_k(jnp.max(body, axis=-1), count)
    chosen = jnp.sort(chosen, axis=-1)  # so that of equal values the first comes first
    found = jnp.take_along_axis(body, chosen[:, :, None], axis=1).reshape(rows, -1)
    places = (chosen[:, :, None] * BLOCK + jnp.arange(BLOCK)[None, None]).reshape(rows, -1)
    rest = jnp.arange(blocks * BLOCK, size)
    found = jnp.concatenate([found, values[:, blocks * BLOCK :]], axis=1)
    places = jnp.concatenate([places, jnp.broadcast_to(rest[None], (rows, rest.shape[0]))], axis=1)
    top, at = lax.top_k(found, count)
    return top, jnp.take_along_axis(places, at, axis=1)
