"""The leaves of a pytree as a checkpoint holds them: NumPy arrays by readable names, each with its checksum."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils


def named_leaves(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves by their path, such as `state.params.layers.0.w_x`.

    Args:
      tree: pytree of arrays `[...]`, or of `jax.ShapeDtypeStruct`.
      prefix: what stands before every path, such as "state.params".

    Returns:
      The leaves by name.

    Raises:
      TypeError: a leaf that is no array.
      ValueError: two leaves of one name.
    """
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        below = jax.tree_util.keystr(path, simple=True, separator=".")
        name = ".".join(part for part in (prefix, below) if part) or "leaf"
        if not hasattr(leaf, "dtype"):
            raise TypeError(f"expected the leaves of a checkpoint to be arrays, got {type(leaf).__name__} as {name}.")
        if name in found:
            raise ValueError(f"expected the leaves of a checkpoint to have different names, got {name} twice.")
        found[name] = leaf
    return found


def describe(leaf: Any) -> list[Any]:
    """Returns shape and dtype of a leaf, or of a `jax.ShapeDtypeStruct`, as JSON holds them."""
    return [list(leaf.shape), str(leaf.dtype)]


def digest(array: np.ndarray) -> str:
    """Computes the SHA-256 of an array, its dtype and shape included."""
    array = np.ascontiguousarray(array)
    total = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
    total.update(array.tobytes())
    return total.hexdigest()


def to_numpy(leaf: Any) -> np.ndarray:
    """Copies a leaf to the host, whole also where other processes hold parts of it; random keys become their data."""
    data = jax.random.key_data(leaf) if is_key(leaf) else leaf
    if isinstance(data, jax.Array) and not (data.is_fully_addressable or data.is_fully_replicated):
        data = multihost_utils.process_allgather(data, tiled=True)
    return np.asarray(data)


def like_numpy(template: Any) -> np.ndarray:
    """Makes an array of the shape and dtype that `to_numpy` gives for such a leaf; its values mean nothing."""
    data = jax.eval_shape(jax.random.key_data, template) if is_key(template) else template
    return np.empty(data.shape, data.dtype)


def from_numpy(template: Any, array: np.ndarray) -> Any:
    """Makes a leaf like the template of an array that every process has whole, on a mesh if the template is on one."""
    sharding = getattr(template, "sharding", None)
    leaf: jax.Array
    if isinstance(sharding, jax.sharding.NamedSharding):
        leaf = jax.make_array_from_callback(array.shape, sharding, array.__getitem__)
    else:
        leaf = jnp.asarray(array)
    if not is_key(template):
        return leaf
    key = template if isinstance(template, jax.Array) else jnp.empty(template.shape, template.dtype)
    return jax.random.wrap_key_data(leaf, impl=jax.random.key_impl(key))


def is_key(leaf: Any) -> bool:
    """Says whether a leaf is an array of random keys."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
