"""One example for the laws, and its parameters, inputs and carry, all in NumPy: nothing is compiled to make them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._checks import batch_shape_of
from rnnjax._types import Cell
from rnnjax.testing._programs import drawn_params, is_float

# (seed, T, batch_shape) -> xs [T, *batch_shape, F]
MakeInputs = Callable[[int, int, tuple[int, ...]], Any]

LENGTH, BATCH = 4, 3


class Case(NamedTuple):
    """One example for the laws.

    Attributes:
      cell: the `Cell` under test.
      make_inputs: `(seed, T, batch_shape) -> xs [T, *batch_shape, F]`.
      seed: of parameters, carries and inputs.
      lengths: integers `[BATCH]` between 0 and LENGTH.
      resets: booleans `[LENGTH, BATCH]`.
      split: where a run is cut in two, between 0 and LENGTH.
    """

    cell: Cell
    make_inputs: MakeInputs
    seed: int
    lengths: np.ndarray
    resets: np.ndarray
    split: int


def float_inputs(input_size: int, space: tuple[int, ...] = ()) -> MakeInputs:
    """Makes inputs for a cell that takes floats: standard normal `[T, *batch_shape, *space, input_size]`.

    Args:
      input_size: F.
      space: axes between batch and features, such as height and width.

    Returns:
      `(seed, T, batch_shape) -> xs [T, *batch_shape, *space, F]`.

    Examples:
      >>> from rnnjax.testing import float_inputs
      >>> float_inputs(3)(0, 5, (2,)).shape
      (5, 2, 3)
    """

    def make(seed: int, length: int, batch_shape: tuple[int, ...]) -> np.ndarray:
        shape = (length, *batch_shape, *space, input_size)
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    return make


def example(case: Case, batch_shape: tuple[int, ...] = (BATCH,)) -> tuple[Any, Any, Any]:
    """Parameters, a carry that is not the initial one, and inputs `[LENGTH, *batch_shape, F]`."""
    xs = inputs(case, LENGTH, batch_shape)
    params = noisy(drawn_params(case.cell)(jax.random.key(case.seed)), case.seed)
    return params, noisy(case.cell.initial_carry(batch_shape_of(case.cell, xs, time=True)), case.seed + 1), xs


def inputs(case: Case, length: int, batch_shape: tuple[int, ...]) -> Any:
    """The inputs of a case, `[length, *batch_shape, F]`."""
    return jax.tree.map(np.asarray, case.make_inputs(case.seed, length, batch_shape))


def noisy(tree: Any, seed: int) -> Any:
    """The tree with noise on every float, so that zero biases and unit scales are tested too."""
    rng = np.random.default_rng(seed)

    def add(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return leaf + (0.3 * rng.standard_normal(leaf.shape)).astype(leaf.dtype) if is_float(leaf) else leaf

    return jax.tree.map(add, tree)


def at(tree: Any, index: Any) -> Any:
    """leaf[index] for every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
