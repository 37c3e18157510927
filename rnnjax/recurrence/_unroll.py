"""A cell lifted over time.

The shared assumption: inputs are `xs [T, ..., F]`, an array or a pytree of arrays `[T, ...]` whose first leaf is
one; the axes between time and features are the batch shape. A cell of tokens or scalars has inputs `[T, ...]`
(`Cell.feature_axes`). A step whose mask is false is skipped: it keeps the
carry, emits zeros, and neither its x nor its reset matters, not even as NaN.
"""

from typing import Any, Literal

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.recurrence._call import check_carry, check_inputs, check_options, swap_time
from rnnjax.recurrence._loop import run_loop


def unroll(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    time_major: bool = True,
    remat: Literal["step", "sqrt"] | int | None = None,
    chunk: int | None = None,
    method: str = "auto",
) -> tuple[Carry, Any]:
    """Runs a cell over time: carry_t, y_t = apply(params, carry_{t-1}, x_t), t = 0 ... T - 1.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`; `[B, T, ..., F]` if not time_major.
      carry: the carry to start from; `cell.initial_carry` of the batch shape if None.
      lengths: integers `[B]`, in steps: row b is right-padded from step lengths[b] on. Values are checked
        outside jit; under jit a length over T counts as T, a negative one as 0.
      mask: booleans `[T, B]`, true for real steps, instead of lengths; holes are allowed: a false step is skipped.
      resets: booleans `[T, B]`: the carry is set to the cell's initial carry before x_t is consumed.
      reverse: run from the last step to the first; ys keep the order of xs, and the carry is that of step 0.
      time_major: False for xs, ys, mask and resets with batch first.
      remat: what the backward pass recomputes, to save memory: None nothing; "step" what lies within a step,
        keeping the carries; an int n all of each block of n steps, keeping one carry per block; "sqrt" the same
        with n near the root of T. A block length that divides T saves a copy of the inputs.
      chunk: run in blocks of this many steps, which bounds the memory of what is computed for all steps at once.
      method: "auto" or "scan": the engine of the loop; both are the scan today.

    Returns:
      `(carry, ys)`: the carry after the last real step of each row, and the outputs `[T, ..., H]`, zero at
      skipped steps. A row without real steps keeps its first carry.

    Raises:
      ValueError, TypeError: an argument has the wrong rank, shape, dtype or value, or the cell returns a carry
        that differs in structure, shape or dtype from the one it got.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> xs = jax.random.normal(jax.random.key(1), (7, 2, 3))  # [T, B, F]
      >>> carry, ys = rnnjax.unroll(cell, params, xs, lengths=jnp.array([7, 4]))
      >>> ys.shape, float(abs(ys[4:, 1]).max()), bool((carry.h[1] == ys[3, 1]).all())
      ((7, 2, 5), 0.0, True)
    """
    options = check_options("unroll", reverse, remat, chunk, method)
    call = check_inputs("unroll", cell, xs, lengths, mask, resets, time_major)
    start = check_carry("unroll", cell, call, carry)
    carry, ys = run_loop(cell, params, start, call, options)
    return carry, ys if time_major else swap_time(ys)
