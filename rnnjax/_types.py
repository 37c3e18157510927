"""Types that every module shares.

Shape letters, everywhere in this library:
    T time, B batch, S source length, K beams or samples, F input features, H hidden features,
    V vocabulary, A attention, L layers, P prompt length.
The last axis is features, time is axis 0, and every axis between them is free: `x[..., F]`, `xs[T, ..., F]`.
"""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
from jax import export

Array = jax.Array
Key = jax.Array
Params = Any  # a NamedTuple of arrays
Carry = Any  # a NamedTuple of arrays whose leading axes are the batch shape
Initializer = Callable[..., Array]  # (key, shape, dtype) -> array, as in jax.nn.initializers
Activation = Callable[[Array], Array]
Node = TypeVar("Node", bound=type)


def serializable(node: Node) -> Node:
    """Registers a NamedTuple of arrays for the serialisation of `jax.export`, under its public name."""
    public = [part for part in node.__module__.split(".") if not part.startswith("_")]
    with contextlib.suppress(ValueError):  # a module that is loaded anew defines its classes again: JAX keeps the first
        export.register_namedtuple_serialization(node, serialized_name=".".join([*public, node.__name__]))
    return node


class Cell(NamedTuple):
    """A recurrent cell: three pure functions, and the sizes they are for.

    Any three functions that keep the contract are a cell; `rnnjax.testing.check_cell` tests that they do. The sizes are
    known for every cell of this library. A cell of your own may leave them out, until something needs them, such as a
    combinator that makes parameters for the output: `cell._replace(output_size=...)`.

    Attributes:
      init: `(key) -> params`.
      initial_carry: `(batch_shape=(), dtype=float32) -> carry`; every leaf is an array `[*batch_shape, ...]`, and
        floats are of that dtype.
      apply: `(params, carry, x[..., F]) -> (carry, y[..., H])`; the carry it returns has the structure, shapes and
        dtypes of the carry it took. The y of this library's cells has the dtype of the carry, and they take
        `recurrent_mask=`, which `rnnjax.dropout` multiplies h by, as an option.
      input_size: F, or None if unknown; of the first leaf where x is a tree.
      output_size: H, the last axis of y, or None if unknown; of the first leaf where y is a tree.
      feature_axes: how many axes of x are not of the batch: 1, or 0 for a cell that takes tokens or scalars `[...]`.

    Examples:
      A cell that adds up its inputs:

      >>> from typing import NamedTuple
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> class SumCarry(NamedTuple):
      ...     total: jax.Array  # [..., 2]
      >>> def apply(params, carry, x):
      ...     total = carry.total + x.astype(carry.total.dtype)
      ...     return SumCarry(total), total
      >>> cell = rnnjax.Cell(
      ...     init=lambda key: (),
      ...     initial_carry=lambda batch_shape=(), dtype=jnp.float32: SumCarry(jnp.zeros((*batch_shape, 2), dtype)),
      ...     apply=apply,
      ...     input_size=2,
      ...     output_size=2,
      ... )
      >>> carry, ys = rnnjax.unroll(cell, (), jnp.ones((4, 3, 2)))
      >>> ys[:, 0, 0].tolist()
      [1.0, 2.0, 3.0, 4.0]
    """

    init: Callable[[Key], Params]
    initial_carry: Callable[..., Carry]
    apply: Callable[[Params, Carry, Any], tuple[Carry, Any]]
    input_size: int | None = None
    output_size: int | None = None
    feature_axes: int = 1


@serializable
class Layers(NamedTuple):
    """Parameters, or carries, of stacked layers.

    Attributes:
      layers: one entry per layer, from the one that sees the inputs to the last.
    """

    layers: tuple[Any, ...]


@serializable
class Bidirectional(NamedTuple):
    """A pair: parameters, or carries, of the two directions.

    Attributes:
      forward: of the cell that runs from the first step to the last.
      backward: of the cell that runs from the last step to the first.
    """

    forward: Any
    backward: Any


# One step of a decoder, closed over its parameters: (carry, token [K]) -> (carry, logits [K, V]).
StepFn = Callable[[Carry, Array], tuple[Carry, Array]]
