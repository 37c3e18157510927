"""The carries of all steps."""

from typing import Any, NamedTuple

from rnnjax._types import Carry, Cell, Params, serializable


@serializable
class OutputAndCarry(NamedTuple):
    """Output of a cell wrapped in `keep_carries`.

    Attributes:
      y: output of the cell inside, `[..., H]`.
      carry: its carry after the step.
    """

    y: Any
    carry: Carry


def keep_carries(cell: Cell) -> Cell:
    """Puts out the carry of every step beside the output of a cell.

    Args:
      cell: a `Cell`.

    Returns:
      A `Cell` with the same params and carry, whose output is `OutputAndCarry(y [..., H], carry)`; over time, `unroll`
      stacks both, `[T, ...]`, and both are zero at steps that a mask skips.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.combinators.keep_carries(rnnjax.lstm(3, 5))
      >>> _, out = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((7, 2, 3)))
      >>> out.y.shape, out.carry.c.shape
      ((7, 2, 5), (7, 2, 5))
    """

    def apply(params: Params, carry: Carry, x: Any) -> tuple[Carry, OutputAndCarry]:
        carry, y = cell.apply(params, carry, x)
        return carry, OutputAndCarry(y, carry)

    return cell._replace(apply=apply)
