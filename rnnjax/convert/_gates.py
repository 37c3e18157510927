"""Gates side by side in one array, and in another order.

A letter names a gate: those of the equations on our cell functions, and z = 1 - u for libraries that write
h = (1 - z) * n + z * h: since sigmoid(-a) = 1 - sigmoid(a), the weights of z are those of u with the other sign.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def split(array: Any, order: str, axis: int = -1) -> dict[str, Any]:
    """The blocks of an array by gate.

    >>> blocks = split(np.arange(6), "run")
    >>> blocks["u"].tolist(), blocks["z"].tolist()
    ([2, 3], [-2, -3])
    """
    blocks = dict(zip(order, _numpy(array).split(array, len(order), axis=axis), strict=True))
    for gate, other in (("u", "z"), ("z", "u")):
        if gate in blocks:
            blocks[other] = -blocks[gate]
    return blocks


def join(blocks: dict[str, Any], order: str, axis: int = -1) -> Any:
    """The array whose blocks these are, in this order."""
    ordered = [blocks[gate] for gate in order]
    return _numpy(*ordered).concatenate(ordered, axis=axis)


def sum_biases(b_x: Any, b_h: Any, order: str, apart: str = "") -> tuple[Any, Any]:
    """The sum of two biases, and the block of the second one that is kept apart, since it counts elsewhere, or None.

    >>> b, b_n = sum_biases(np.arange(3), np.array([4, 8, 16]), "run", apart="n")
    >>> b.tolist(), b_n.tolist()
    ([4, 9, 2], [16])
    """
    if not apart:
        return b_x + b_h, None
    blocks = split(b_h, order)
    kept = blocks[apart]
    return b_x + join({**blocks, apart: np.zeros_like(kept)}, order), kept


def reorder(array: Any, order: str, other: str, axis: int = -1) -> Any:
    """The same gates in another order.

    >>> reorder(np.arange(6), "run", "rzn").tolist()
    [0, 1, -2, -3, 4, 5]
    """
    return array if order == other else join(split(array, order, axis), other, axis)


def _numpy(*arrays: Any) -> ModuleType:
    """NumPy, or that of JAX where something is traced."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np
