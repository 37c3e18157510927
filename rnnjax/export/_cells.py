"""Cells to programs: one step, and all steps of a sequence."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.export._function import export_function
from rnnjax.export._names import named
from rnnjax.export._program import Program
from rnnjax.recurrence import unroll


def export_step(
    cell: Cell,
    params: Params,
    *,
    x: Any = None,
    carry: Carry | None = None,
    **options: Any,
) -> Program:
    """Exports one step of a cell, `(carry, x) -> (carry, y)`, for batches of any size.

    Args:
      cell: the `Cell`. Any step with a carry is one, such as that of a language model with integers `[B]` for x:
        `Cell(init, initial_carry, step)`.
      params: its parameters.
      x: an example of what one step reads, of one row, leaves `[1, ...]`, arrays or `jax.ShapeDtypeStruct`; float32
        `[1, cell.input_size]` if None.
      carry: the carry that a sequence begins with, of one row, leaves `[1, ...]`; `cell.initial_carry((1,))` if None.
      **options: `inline_params`, `platforms` and `metadata` of `export_function`.

    Returns:
      A `Program`: `program.call(carry, x [B, ...])` returns `(carry, y [B, ...])`, and `program.initial_carry(B)` is
      the first carry.

    Raises:
      ValueError, TypeError: no Cell, no x where the cell does not know its input_size, not one row, or whatever
        `export_function` raises.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.stack([rnnjax.lstm(3, 5), rnnjax.gru(5, 7)])
      >>> program = rnnjax.export.export_step(cell, cell.init(jax.random.key(0)))
      >>> carry, y = program.call(program.initial_carry(2), jnp.ones((2, 3)))
      >>> y.shape, {name: leaf.shape for name, leaf in sorted(carry.items())}
      ((2, 7), {'layers.0.c': (2, 5), 'layers.0.h': (2, 5), 'layers.1.h': (2, 7)})
    """
    carry, x = _one_row("export_step", cell, carry, x)
    program = export_function(cell.apply, params, carry, x, shapes=("batch, ...", "batch, ..."), **options)
    return program._replace(first_carry=named("export_step", carry))


def export_sequence(
    cell: Cell,
    params: Params,
    *,
    x: Any = None,
    carry: Carry | None = None,
    lengths: bool = False,
    time_major: bool = True,
    **options: Any,
) -> Program:
    """Exports `unroll` of a cell, `(carry, xs) -> (carry, ys)`, for batches of any size and any number of steps.

    Args:
      cell: the `Cell`; encoders, and layers that read in both directions, are functions for `export_function`.
      params: its parameters.
      x: an example of what one step reads, of one row, leaves `[1, ...]`, arrays or `jax.ShapeDtypeStruct`; float32
        `[1, cell.input_size]` if None.
      carry: the carry that a sequence begins with, of one row, leaves `[1, ...]`; `cell.initial_carry((1,))` if None.
      lengths: whether the program takes the lengths of the rows, int32 `[B]`, as its last argument.
      time_major: False for xs and ys with batch first.
      **options: `inline_params`, `platforms` and `metadata` of `export_function`.

    Returns:
      A `Program`: `program.call(carry, xs [T, B, ...])` or, with lengths, `program.call(carry, xs, lengths [B])`
      returns `(carry, ys [T, B, ...])`. It goes on from a carry that it returned. A length over T counts as T.

    Raises:
      ValueError, TypeError: as `export_step`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> program = rnnjax.export.export_sequence(cell, cell.init(jax.random.key(0)), lengths=True)
      >>> carry, ys = program.call(program.initial_carry(2), jnp.ones((7, 2, 3)), jnp.array([7, 4]))
      >>> ys.shape, float(abs(ys[4:, 1]).max()), bool((carry["h"][1] == ys[3, 1]).all())
      ((7, 2, 5), 0.0, True)
    """
    carry, x = _one_row("export_sequence", cell, carry, x)
    xs = jax.tree.map(lambda leaf: _with_time(leaf, 0 if time_major else 1), x)
    args: list[Any] = [carry, xs]
    shapes = ["batch, ...", "time, batch, ..." if time_major else "batch, time, ..."]
    if lengths:
        args, shapes = [*args, jax.ShapeDtypeStruct((1,), jnp.int32)], [*shapes, "batch"]

    def sequence(params: Params, carry: Carry, xs: Any, lengths: Array | None = None) -> tuple[Carry, Any]:
        return unroll(cell, params, xs, carry, lengths=lengths, time_major=time_major)

    program = export_function(sequence, params, *args, shapes=shapes, **options)
    return program._replace(first_carry=named("export_sequence", carry))


def _one_row(where: str, cell: Cell, carry: Carry | None, x: Any) -> tuple[Carry, Any]:
    """The carry and the x of one row that stand for those of any batch; raises unless they are."""
    if not isinstance(cell, Cell):
        raise TypeError(
            f"{where}: expected a Cell, got {getattr(cell, '__name__', type(cell).__name__)}; export_function takes "
            "any function."
        )
    if x is None and cell.input_size is None:
        raise ValueError(
            f"{where}: expected x, an example of what one step reads, since the input_size of the cell is unknown, got "
            "None; pass jax.ShapeDtypeStruct((1, F), dtype)."
        )
    x = jax.ShapeDtypeStruct((1, cell.input_size), jnp.float32) if x is None else x
    carry = cell.initial_carry((1,)) if carry is None else carry
    for name, tree in (("carry", carry), ("x", x)):
        for leaf in jax.tree.leaves(tree):
            if jnp.shape(leaf)[:1] != (1,):
                raise ValueError(
                    f"{where}: expected {name} of one row, leaves [1, ...], got shape {jnp.shape(leaf)}; the program "
                    "takes any number of them."
                )
    return carry, x


def _with_time(leaf: Any, axis: int) -> jax.ShapeDtypeStruct:
    """An example of a sequence, from that of one step."""
    shape = jnp.shape(leaf)
    return jax.ShapeDtypeStruct((*shape[:axis], 1, *shape[axis:]), jnp.result_type(leaf))
