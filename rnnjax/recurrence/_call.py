"""Checks of a call: its arguments are checked once, at the door, and brought into time-major form.

The shared assumption: inputs are `xs [T, ..., F]`, an array or a pytree of arrays `[T, ...]` whose first leaf is
one; the axes between time and features are the batch shape. A cell may have no axis of features, or several
(`Cell.feature_axes`). Masks, lengths and resets have leading axes of the
batch shape, often just `[B]`, and hold for all axes behind them.
"""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks as checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, Cell

METHODS = ("auto", "scan")


class Steps(NamedTuple):
    """What one step consumes and, stacked `[T, ...]`, what a loop runs over."""

    x: Any  # [..., F]
    keep: Array | None  # the mask, bool [*prefix]
    reset: Array | None  # bool [*prefix]


class Call(NamedTuple):
    """The inputs of a call, checked and time-major."""

    steps: Steps  # stacked over time
    length: int  # T
    batch_shape: tuple[int, ...]


class Start(NamedTuple):
    """Where one cell starts."""

    carry: Carry  # before the first step
    initial: Carry  # what a reset goes back to


class Options(NamedTuple):
    """How a loop runs; compiled programs are kept by it."""

    reverse: bool = False
    remat: Literal["step", "sqrt"] | int | None = None
    chunk: int | None = None
    truncate: int | None = None  # steps between two cuts of the gradient


def swap_time(tree: Any) -> Any:
    """[T, B, ...] <-> [B, T, ...] for every leaf."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def check_inputs(where: str, cell: Cell, xs: Any, lengths: Any, mask: Any, resets: Any, time_major: bool) -> Call:
    """The inputs of a call, time-major; raises unless they fit each other and the cell that reads them first."""
    check_cell(where, cell)
    features = ", F" if cell.feature_axes else ""
    axes = f"[T, ...{features}]" if time_major else f"[B, T, ...{features}]"
    xs = jax.tree.map(jnp.asarray, xs)
    leaves = jax.tree.leaves(xs)
    if not leaves or leaves[0].ndim < cell.feature_axes + (1 if time_major else 2):
        got = leaves[0].shape if leaves else "no array"
        remedy = "; the last axis is features" * bool(cell.feature_axes)
        raise ValueError(f"{where}: expected xs of shape {axes}, got {got}{remedy}.")
    if not time_major:
        xs = swap_time(xs)
    length, batch_shape = jax.tree.leaves(xs)[0].shape[0], checks.batch_shape_of(cell, xs, time=True)
    for leaf in jax.tree.leaves(xs):
        if leaf.ndim < 1 or leaf.shape[0] != length:
            raise ValueError(f"{where}: expected every leaf of xs to have {length} steps, got shape {leaf.shape}.")

    if lengths is not None and mask is not None:
        raise ValueError(f"{where}: expected lengths or mask, got both; they mean the same thing.")
    if lengths is not None:
        leading = batch_shape[: np.ndim(lengths)]
        remedy = f"; xs are {axes}" + ", or pass time_major=False" * time_major
        mask = masking.length_mask(masking.check_lengths(where, lengths, length, leading, remedy), length)
    elif mask is not None:
        mask = _check_flags(where, "mask", mask, length, batch_shape, time_major)
    if resets is not None:
        resets = _check_flags(where, "resets", resets, length, batch_shape, time_major)
    return Call(Steps(xs, mask, resets), length, batch_shape)


def check_cell(where: str, cell: Any) -> None:
    """Raises TypeError for what is no `Cell`."""
    if not isinstance(cell, Cell):
        got, several = getattr(cell, "__name__", type(cell).__name__), isinstance(cell, (list, tuple))
        remedy = "use unroll_layers for several" if several else "call its constructor with sizes"
        raise TypeError(f"{where}: expected a Cell, got {got}; {remedy}.")


def check_carry(where: str, cell: Cell, call: Call, carry: Carry | None, name: str = "carry") -> Start:
    """Where a cell starts: from the carry, which is checked, or from the initial one if it is None."""
    wide = jax.tree.leaves(call.steps.x)[0].dtype == jnp.float64
    initial = cell.initial_carry(call.batch_shape, jnp.float64 if wide else jnp.float32)
    if carry is None:
        return Start(initial, initial)
    carry = jax.tree.map(jnp.asarray, carry)
    remedy = f"make it with cell.initial_carry(batch_shape); the batch shape of xs is {call.batch_shape}"
    _check_like(f"{where}: expected {name}", initial, carry, remedy)
    return Start(carry, jax.tree.map(lambda zero, given: zero.astype(given.dtype), initial, carry))


def check_options(where: str, reverse: bool, remat: Any, chunk: Any, method: str) -> Options:
    """How the loop runs; raises for values that mean nothing."""
    if method not in METHODS:
        raise ValueError(f"{where}: expected method to be one of {', '.join(METHODS)}, got {method!r}.")
    if isinstance(remat, int):
        check_steps(where, "remat", remat)
    elif remat not in (None, "step", "sqrt"):
        raise ValueError(f"{where}: expected remat to be None, 'step', 'sqrt' or an int of steps, got {remat!r}.")
    if chunk is not None:
        check_steps(where, "chunk", chunk)
    return Options(reverse, remat, chunk)


def check_steps(where: str, name: str, value: Any) -> int:
    """A number of steps; raises ValueError unless it is a positive int."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where}: expected {name} to be a positive int of steps, got {value!r}.")
    return value


def check_returned(before: Carry, after: Carry, y: Any, batch_shape: tuple[int, ...]) -> None:
    """Raises unless what a cell returned keeps the contract of `Cell`."""
    remedy = "a cell must return a carry like the one it got"
    _check_like("cell.apply: expected a carry", before, after, remedy)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if a.dtype != b.dtype:
            name = jax.tree_util.keystr(path)
            raise TypeError(f"cell.apply: expected carry{name} of dtype {a.dtype}, got {b.dtype}; {remedy}.")
    for leaf in jax.tree.leaves(y):
        if leaf.shape[: len(batch_shape)] != batch_shape:
            raise ValueError(
                f"cell.apply: expected an output with the batch shape {batch_shape} in front, got {leaf.shape}."
            )


def _check_flags(where: str, name: str, flags: Any, length: int, batch_shape: tuple, time_major: bool) -> Array:
    """A mask or resets as booleans `[T, *prefix]`, time-major."""
    flags = jnp.asarray(flags)
    if flags.dtype != jnp.bool_:
        raise TypeError(f"{where}: expected {name} of dtype bool, got {flags.dtype}; compare it, as in {name} > 0.")
    if not time_major and flags.ndim >= 2:
        flags = swap_time(flags)
    if flags.ndim < 1 or flags.shape != (length, *batch_shape)[: flags.ndim]:
        expected = (length, *batch_shape) if time_major else (*batch_shape[:1], length, *batch_shape[1:])
        raise ValueError(
            f"{where}: expected {name} with the leading axes of xs, {expected} or fewer, got shape {flags.shape}."
        )
    return flags


def _check_like(what: str, expected: Any, got: Any, remedy: str) -> None:
    """Raises ValueError unless two pytrees have the same structure and shapes."""
    if jax.tree.structure(expected) != jax.tree.structure(got):  # type: ignore[operator]
        raise ValueError(
            f"{what} of structure {jax.tree.structure(expected)}, got {jax.tree.structure(got)}; {remedy}."
        )
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True):
        if a.shape != jnp.shape(b):
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{what}{name} of shape {a.shape}, got {jnp.shape(b)}; {remedy}.")
