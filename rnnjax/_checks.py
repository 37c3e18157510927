"""Checks at the door that several namespaces make: of step functions, of ids, and of layers.

A step function is `(carry, token [K]) -> (carry, logits [K, V])`.
"""

import itertools
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Carry, Cell, StepFn


def batch_shape_of(cell: Cell, inputs: Any, *, time: bool = False) -> tuple[int, ...]:
    """The axes before those of features, of the first leaf of inputs; without that of time, if there is one."""
    shape = jnp.shape(jax.tree.leaves(inputs)[0])
    return tuple(shape[int(time) : len(shape) - cell.feature_axes])


def check_positive(where: str, **sizes: int) -> None:
    """Raises ValueError unless every size is a positive int."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"{where}: expected {name} to be a positive int, got {size!r}.")


def first_cell(layers: Sequence[Cell | tuple[Cell, Cell]]) -> Cell:
    """The cell of layers that sees the inputs first."""
    return layers[0] if isinstance(layers[0], Cell) else layers[0][0]


def count_rows(where: str, carry: Carry) -> int:
    """K of a carry whose leaves are all `[K, ...]`."""
    leaves = jax.tree.leaves(carry)
    if not leaves or any(jnp.ndim(leaf) < 1 for leaf in leaves):
        raise ValueError(
            f"{where}: expected a carry whose leaves have a leading axis of K rows, got none; of one row too, as in "
            "cell.initial_carry((1,))."
        )
    return jnp.shape(leaves[0])[0]


def checked(where: str, step_fn: StepFn) -> StepFn:
    """The same step function, which raises unless it returns a carry like the one it got and logits `[K, V]`."""

    def step(carry: Carry, token: Array) -> tuple[Carry, Array]:
        after, logits = step_fn(carry, token)
        if logits.ndim != 2 or logits.shape[0] != token.shape[0]:
            raise ValueError(
                f"{where}: expected step_fn to return logits of shape [{token.shape[0]}, V], got {logits.shape}."
            )
        before, returned = _shapes(carry), _shapes(after)
        if before != returned:
            raise ValueError(f"{where}: expected step_fn to return a carry of {before}, got {returned}.")
        return after, logits

    return step


def check_ids(where: str, name: str, ids: Any, vocabulary_size: int) -> None:
    """Raises for ids outside the vocabulary, where their values are known."""
    if isinstance(ids, jax.core.Tracer):
        return
    values = np.asarray(ids)
    if values.size and not (values.min() >= 0 and values.max() < vocabulary_size):
        raise ValueError(
            f"{where}: expected {name} from 0 to {vocabulary_size - 1}, ids of the {vocabulary_size} logits, got "
            f"{values.min()} to {values.max()}."
        )


def check_tokens(where: str, name: str, tokens: Any, shape: tuple[int | str, int | str]) -> Array:
    """tokens as an array of integer ids; raises unless it has the shape, such as ("T", 3), in which T may be any."""
    tokens = jnp.asarray(tokens)
    if tokens.ndim != 2 or any(n not in ("T", size) for n, size in zip(shape, tokens.shape, strict=True)):
        raise ValueError(f"{where}: expected {name} of shape [{shape[0]}, {shape[1]}], got {tokens.shape}.")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"{where}: expected {name} of integer ids, got {tokens.dtype}.")
    return tokens


def logits_of(where: str, step_fn: StepFn, carry: Carry, rows: int) -> tuple[int, Any]:
    """V and the dtype for log-probabilities, at least float32; checks what a step returns, without running it."""
    _, logits = jax.eval_shape(checked(where, step_fn), carry, jax.ShapeDtypeStruct((rows,), jnp.int32))
    return logits.shape[1], jnp.float64 if logits.dtype == jnp.float64 else jnp.float32


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree)


def check_layers(
    where: str,
    layers: Sequence[Cell | tuple[Cell, Cell]],
    *,
    merge: Callable | None = None,
    reverse: bool = False,
    concatenated: bool = False,
) -> tuple[Cell | tuple[Cell, Cell], ...]:
    """Layers, cells or pairs of cells, as a tuple; raises unless they fit each other and the options suit them.

    `concatenated` says whether the merge is known to join the features of both directions.
    """
    if isinstance(layers, Cell):  # which is a tuple too
        raise ValueError(f"{where}: expected layers to be cells or pairs of cells, got a Cell; put it in a list.")
    layers = tuple(layers)
    if not layers:
        raise ValueError(f"{where}: expected at least one layer, got none.")
    for layer in layers:
        is_pair = isinstance(layer, (tuple, list)) and len(layer) == 2 and all(isinstance(cell, Cell) for cell in layer)
        if not isinstance(layer, Cell) and not is_pair:
            raise ValueError(f"{where}: expected layers to be cells or pairs of cells, got {type(layer).__name__}.")
        if is_pair and reverse:
            raise ValueError(
                f"{where}: expected layers of one cell beside reverse=True, got a pair, which reads both ways."
            )
    if merge is not None and not callable(merge):
        raise TypeError(f"{where}: expected merge to be a function of two arrays, such as jnp.add, got {merge!r}.")
    check_fit(where, layers, concatenated=concatenated)
    return layers


def check_fit(where: str, layers: Sequence[Cell | tuple[Cell, Cell]], *, concatenated: bool = False) -> None:
    """Raises ValueError for a layer that takes another number of features than the one below gives, where known."""
    for number, (below, above) in enumerate(itertools.pairwise(layers), 1):
        width = _width(below, concatenated)
        for cell in (above,) if isinstance(above, Cell) else above:
            if None not in (width, cell.input_size) and width != cell.input_size:
                raise ValueError(
                    f"{where}: expected layer {number} to take the {width} features of the layer below, got input_size "
                    f"{cell.input_size}{'' if isinstance(below, Cell) else '; outputs of a pair are concatenated'}."
                )


def _width(layer: Cell | tuple[Cell, Cell], concatenated: bool) -> int | None:
    """Features of the outputs of a layer, or None where they are not known."""
    if isinstance(layer, Cell):
        return layer.output_size
    sizes = [cell.output_size for cell in layer if cell.output_size is not None]
    return sum(sizes) if concatenated and len(sizes) == len(layer) else None
