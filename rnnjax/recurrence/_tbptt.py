"""Truncated backpropagation through time."""

from typing import Any

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.recurrence._call import Options, check_carry, check_inputs, check_steps, swap_time
from rnnjax.recurrence._loop import run_loop


def tbptt(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    steps: int,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    time_major: bool = True,
) -> tuple[Carry, Any]:
    """Runs a cell over time like `unroll`, in blocks of `steps` between which the gradient is cut.

    Values are those of `unroll`; carries pass from block to block as constants. The carry passed in is a
    constant too; the one returned has the gradient of the last block. Reference: Williams & Peng 1990, "An
    efficient gradient-based algorithm for on-line training of recurrent network trajectories".

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`.
      carry: the carry to start from, or None.
      steps: length of a block; the last one may be shorter.
      lengths: integers `[B]`, or None.
      mask: booleans `[T, B]`, or None.
      resets: booleans `[T, B]`, or None.
      time_major: False for batch first.

    Returns:
      `(carry, ys)` as `unroll` gives them, ys `[T, ..., H]`.

    Raises:
      ValueError, TypeError: as `unroll`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(1, 1, activation=jax.nn.identity)
      >>> params = rnnjax.RNNParams(*map(jnp.ones, ((1, 1), (1, 1), (1,))))
      >>> reach = lambda xs: rnnjax.tbptt(cell, params, xs, steps=2)[1][-1, 0]
      >>> jax.grad(reach)(jnp.ones((5, 1)))[:, 0].tolist()  # the last block is one step
      [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    call = check_inputs("tbptt", cell, xs, lengths, mask, resets, time_major)
    start = check_carry("tbptt", cell, call, carry)
    options = Options(truncate=check_steps("tbptt", "steps", steps))
    carry, ys = run_loop(cell, params, start, call, options)
    return carry, ys if time_major else swap_time(ys)
