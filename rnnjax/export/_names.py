"""Trees as they cross the boundary of a program: dicts of arrays by dotted names, which need no registration."""

from typing import Any

import jax


def named(where: str, tree: Any) -> Any:
    """The leaves of a tree by their paths, such as "layers.0.h"; an array alone stays one."""
    found: dict[str, Any] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not path:
            return leaf
        if _name(path) in found:
            raise ValueError(
                f"{where}: expected the leaves of a tree to have different dotted names, got {_name(path)} twice."
            )
        found[_name(path)] = leaf
    return found


def named_parts(where: str, result: Any) -> Any:
    """What a function returns: the parts of a plain tuple are named one by one."""
    return tuple(named(where, part) for part in result) if type(result) is tuple else named(where, result)


def unnamed(like: Any, given: Any) -> Any:
    """The tree that `named` was given, with other leaves."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    return jax.tree.unflatten(structure, [given[_name(path)] if path else given for path, _ in leaves])


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")
