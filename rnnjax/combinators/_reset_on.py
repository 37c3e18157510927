"""Resets that come with the input."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, Cell, Params, serializable


@serializable
class ResetInput(NamedTuple):
    """Input of a cell wrapped in `reset_on`.

    Attributes:
      x: what the cell inside takes, `[..., F]`.
      reset: booleans `[...]`, with any number of the batch axes of x.
    """

    x: Any
    reset: Array


def reset_on(cell: Cell) -> Cell:
    """Starts a cell afresh where its input says so: the carry is set to the initial one before x is consumed.

    `unroll(cell, ..., resets=resets)` is `unroll(reset_on(cell), params, ResetInput(xs, resets))`; the wrapped
    form is for loops of your own, such as an actor that steps through episodes.

    Args:
      cell: a `Cell`.

    Returns:
      A `Cell` with the same params, carry and output, whose input is `ResetInput(x [..., F], reset [...])`.

    Raises:
      TypeError: at the first step, if the input is no `ResetInput` or its reset is not boolean.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.reset_on(rnnjax.rnn(1, 1, activation=lambda z: z))
      >>> params = rnnjax.RNNParams(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
      >>> xs = rnnjax.combinators.ResetInput(jnp.ones((4, 1)), jnp.array([False, False, True, False]))
      >>> rnnjax.unroll(cell, params, xs)[1][:, 0].tolist()
      [1.0, 2.0, 1.0, 2.0]
    """

    def apply(params: Params, carry: Carry, x: ResetInput) -> tuple[Carry, Any]:
        if not isinstance(x, ResetInput) or x.reset.dtype != jnp.bool_:
            got = f"a reset of dtype {x.reset.dtype}" if isinstance(x, ResetInput) else type(x).__name__
            raise TypeError(f"reset_on: expected the input to be ResetInput(x, reset) with a boolean reset, got {got}.")
        start = cell.initial_carry(checks.batch_shape_of(cell, x.x))
        initial = jax.tree.map(lambda a, b: a.astype(b.dtype), start, carry)
        return cell.apply(params, masking.select(x.reset, initial, carry), x.x)

    return cell._replace(apply=apply)
