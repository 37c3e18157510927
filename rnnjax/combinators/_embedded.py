"""Cells that read tokens."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Initializer, Key, Params, serializable
from rnnjax.combinators._common import check_size

_standard_normal = jax.nn.initializers.normal(1.0)


@serializable
class EmbeddedParams(NamedTuple):
    """Parameters of `embedded`.

    Attributes:
      cell: parameters of the cell inside.
      table: one row of features per token `[V, F]`.
    """

    cell: Params
    table: Array


def embedded(
    cell: Cell, vocabulary_size: int, *, table_init: Initializer = _standard_normal, param_dtype=jnp.float32
) -> Cell:
    """Looks up the features of tokens: the cell that it makes takes integers `[...]`, without an axis of features.

        x = table[token]

    Args:
      cell: a `Cell` that states its input_size F.
      vocabulary_size: V; tokens are from 0 to V - 1.
      table_init: initialiser of the table `[V, F]`; standard normal by default.
      param_dtype: dtype of the table.

    Returns:
      A `Cell` with `EmbeddedParams` and the carry of the cell; a token is an integer `[...]`, y is `[..., H]`. `unroll`
      takes tokens `[T, ...]`.

    Raises:
      ValueError: a vocabulary_size that is not positive, or a cell that does not state its input_size.
      TypeError: at the first step, tokens that are no integers.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.combinators.embedded(rnnjax.gru(3, 5), vocabulary_size=11)
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.arange(8).reshape(4, 2))  # [T, B]
      >>> ys.shape
      (4, 2, 5)
    """
    check_size("embedded", "vocabulary_size", vocabulary_size)
    features = cell.input_size
    if features is None:
        raise ValueError(
            "embedded: expected a cell that states its input_size, got None; set it, as in "
            "cell._replace(input_size=...)."
        )

    def init(key: Key) -> EmbeddedParams:
        key_cell, key_table = jax.random.split(key)
        return EmbeddedParams(cell.init(key_cell), table_init(key_table, (vocabulary_size, features), param_dtype))

    def apply(params: EmbeddedParams, carry: Carry, x: Array) -> tuple[Carry, Array]:
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise TypeError(f"embedded: expected tokens of an integer dtype, got {x.dtype}.")
        return cell.apply(params.cell, carry, params.table[x])

    return Cell(init, cell.initial_carry, apply, None, cell.output_size, feature_axes=0)
