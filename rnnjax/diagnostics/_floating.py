"""The leaves of a carry that can have a gradient."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array


def floating(tree: Any) -> list[Array]:
    """The leaves that can have a gradient."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def carry_dtype(xs: Any) -> Any:
    """The dtype of a carry beside these inputs: theirs, or float32 beside tokens."""
    dtype = jax.tree.leaves(xs)[0].dtype
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.float32


def with_floating(tree: Any, leaves: list[Array], like: Any = None) -> Any:
    """The tree with other leaves where it, or `like`, a tree of the same structure, has floating ones."""
    rest = iter(leaves)
    return jax.tree.map(
        lambda leaf, type_of: next(rest) if jnp.issubdtype(type_of.dtype, jnp.floating) else leaf,
        tree,
        tree if like is None else like,
    )
