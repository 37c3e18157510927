"""What the mechanisms share: checks at the door, products in at least float32, the sums under the tanh."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Initializer, Key
from rnnjax.attention._base import Memory

glorot = jax.nn.initializers.glorot_uniform()


def check_last(where: str, name: str, x: Array, size: int, why: str) -> None:
    """Raises ValueError unless x is `[..., size]`; `why` says where the size comes from."""
    if x.shape[-1] != size:
        raise ValueError(f"{where}: expected {name} of shape [..., {size}], {why}, got {x.shape}.")


def check_floating(where: str, name: str, x: Array, shape: str) -> None:
    """Raises TypeError unless x is an array of floats."""
    if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.floating):
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{where}: expected {name} to be an array {shape} of a floating dtype, got {got}.")


def wide(dtype: Any) -> Any:
    """The dtype to compute in: this one, or float32 if it is narrower."""
    return jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype


def matmul(x: Array, w: Array) -> Array:
    """x @ w in the dtype of w, accumulated and returned in at least float32."""
    return jnp.matmul(x.astype(w.dtype), w, preferred_element_type=wide(w.dtype))


def draw_vector(init: Initializer, key: Key, size: int, dtype: Any) -> Array:
    """A vector `[size]` from an initialiser that may need the shape of a matrix."""
    return init(key, (size, 1), dtype)[:, 0]


def additive_keys(params: Any, values: Array) -> Array:
    """W_m m + b, `[*batch, S, A]`; with the bias, which is thus added once per source."""
    z = matmul(values, params.w_m)
    return z + jnp.broadcast_to(params.b.astype(z.dtype), z.shape)


def hidden_sums(where: str, query: Array, w_q: Array, memory: Memory) -> Array:
    """W_q q + key_s, `[*batch, N, S, A]`, in at least float32."""
    check_last(where, "query", query, w_q.shape[0], "as query_size has it")
    check_last(where, "memory.keys", memory.keys, w_q.shape[1], "as this attention's remember makes it")
    dtype = wide(memory.keys.dtype)
    return jnp.expand_dims(matmul(query, w_q).astype(dtype), -2) + jnp.expand_dims(memory.keys.astype(dtype), -3)


def sum_up(hidden: Array, v: Array) -> Array:
    """v . tanh(hidden), `[...]`."""
    return jnp.matmul(jnp.tanh(hidden), v.astype(hidden.dtype))
