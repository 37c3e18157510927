"""What an exported function needs to run."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import export


class Program(NamedTuple):
    """An exported function with its parameters.

    Trees are dicts of arrays by dotted names, and an array alone is an array. Other parameters of the same shapes go in
    by `program._replace(params=...)`, without another export.

    Attributes:
      exported: the `jax.export.Exported` of `(params, *args) -> results`.
      function: the same, compiled once for each size of a batch and each number of steps.
      params: the parameters, by name; empty if they are inside the program.
      first_carry: the carry that a sequence begins with, of one row, leaves `[1, ...]`; None if none is known.
      metadata: what was saved with it, such as a vocabulary.
    """

    exported: export.Exported
    function: Callable[..., Any]
    params: Any
    first_carry: Any
    metadata: Mapping[str, Any]

    def call(self, *args: Any) -> Any:
        """Runs the program: `(carry, x) -> (carry, y)` of a cell, and the function's own arguments and results else.

        Args:
          *args: arrays, and dicts of arrays by dotted names, of the shapes in `exported.in_avals`.

        Returns:
          The results.

        Raises:
          ValueError, TypeError: other names, dtypes or shapes than exported, or another platform.
        """
        return self.function(self.params, *args)

    def initial_carry(self, batch_size: int) -> Any:
        """Makes the carry that a batch of sequences begins with.

        Args:
          batch_size: B, the number of rows.

        Returns:
          The carry, leaves `[B, ...]` by dotted names.

        Raises:
          ValueError: the program was exported from a function that is no cell.
        """
        if self.first_carry is None:
            raise ValueError(
                "initial_carry: expected a program that was exported from a cell, got one of a function; make "
                "the carry that the function takes, if it takes one."
            )
        return jax.tree.map(lambda row: jnp.repeat(jnp.asarray(row), batch_size, axis=0), self.first_carry)


def make_program(exported: export.Exported, params: Any, first_carry: Any, metadata: Mapping[str, Any]) -> Program:
    """Makes a program that is compiled once for each shape."""
    return Program(exported, jax.jit(exported.call), params, first_carry, dict(metadata))
