"""Packs what a loop stacks into one array: a GPU launches one kernel per array written in a step.

    values a, b, c [..., n_k] of each step  ->  rows [T, ..., sum n_k]  ->  slices of the rows

A later loop that scans over the slices, as the backward loop does, finds that they are slices of one array and scans
over that array.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core
from jax.interpreters import ad

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Var
from rnnjax.recurrence._rewrite.loops import Loop


def groups(stacked: Sequence[Var]) -> list[list[Var]]:
    """Groups the values of a step that can share a row: equal dtypes, and equal axes except for the last."""
    found: dict[Any, list[Var]] = {}
    for number, var in enumerate(stacked):
        shape = var.aval.shape
        shares = shape and all(isinstance(n, int) for n in shape)
        found.setdefault((shape[:-1], var.aval.dtype) if shares else number, []).append(var)
    return list(found.values())


def pack(values: Sequence[Any]) -> Any:
    """Packs the values of a step into one row."""
    return values[0] if len(values) == 1 else jnp.concatenate(values, axis=-1)


def unpack(rows: Any, group: Sequence[Var]) -> list[Any]:
    """Unpacks the values of a group, for one step or for all."""
    if len(group) == 1:
        return [rows]
    ends = [0]
    for var in group:
        ends.append(ends[-1] + var.aval.shape[-1])
    return [lax.slice_in_dim(rows, start, end, axis=-1) for start, end in itertools.pairwise(ends)]


def empty(group: Sequence[Var], length: int) -> Any:
    """Allocates an array for the rows of all steps, with arbitrary contents."""
    aval = group[0].aval
    if len(group) > 1:
        aval = aval.update(shape=(*aval.shape[:-1], sum(var.aval.shape[-1] for var in group)))
    zeros = lax.broadcast(ad.zeros_like_aval(aval), (length,))
    rows = lax.empty(zeros.shape, zeros.dtype)
    # Zeros know how rows are split over devices.
    return rows if jax.typeof(rows) == jax.typeof(zeros) else zeros


class Packed(NamedTuple):
    """A loop that scans over rows, and the operands of its equation."""

    loop: Loop
    operands: list[Any]
    avals: list[Any]


def read_packed(loop: Loop, operands: Sequence[Any], avals: Sequence[Any]) -> Packed:
    """Makes a loop scan over rows where its xs are slices of rows, given the program built so far."""
    first = len(operands) - len(loop.xs)
    xs, x_avals = operands[first:], avals[first:]
    slices = [_slice_of(x) for x in xs]
    bases = [found[0] for found in slices if found is not None]
    is_packed = [found is not None and bases.count(found[0]) > 1 for found in slices]
    if not any(is_packed):
        return Packed(loop, list(operands), list(avals))
    new = core.gensym()
    rows: list[Any] = []
    row_vars: list[Var] = []
    row_avals: list[Any] = []
    eqns = []
    for var, aval, found, packed in zip(loop.xs, x_avals, slices, is_packed, strict=True):
        if found is None or not packed:
            continue
        base, start, end = found
        if base not in rows:
            width = base.type.shape[-1]
            rows.append(base)
            row_vars.append(new(var.aval.update(shape=(*var.aval.shape[:-1], width))))
            row_avals.append(aval.update(shape=(*aval.shape[:-1], width)))
        row = row_vars[rows.index(base)]
        traced, _ = jaxprs.trace(lambda x, s=start, e=end: [lax.slice_in_dim(x, s, e, axis=-1)], [row.aval])
        eqns.append(traced.eqns[0].replace(invars=[row], outvars=[var]))
    left = [not packed for packed in is_packed]
    jaxpr = loop.jaxpr.replace(
        invars=[*loop.consts, *loop.carry, *jaxprs.chosen(left, loop.xs), *row_vars],
        eqns=[*eqns, *loop.jaxpr.eqns],
        debug_info=loop.jaxpr.debug_info.with_unknown_names(),
    )
    return Packed(
        loop._replace(jaxpr=jaxpr),
        [*operands[:first], *jaxprs.chosen(left, xs), *rows],
        [*avals[:first], *jaxprs.chosen(left, x_avals), *row_avals],
    )


def _slice_of(value: Any) -> tuple[Any, int, int] | None:
    """Finds the array that a value is a slice of along the last axis, and the bounds of the slice."""
    op: Any = getattr(value, "owner", None)
    if getattr(op, "name", "") != "stablehlo.slice":
        return None
    base = op.operands[0]
    starts, limits, strides = (list(op.attributes[n]) for n in ("start_indices", "limit_indices", "strides"))
    whole = all((s, e) == (0, n) for s, e, n in zip(starts[:-1], limits[:-1], base.type.shape, strict=False))
    return (base, starts[-1], limits[-1]) if whole and set(strides) == {1} else None
