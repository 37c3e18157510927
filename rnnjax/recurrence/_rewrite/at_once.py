"""Evaluates equations for all steps at once, and sums products over all steps."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _jaxprs as jaxprs
from rnnjax._jaxprs import Eqn, Jaxpr, Var
from rnnjax.recurrence._rewrite.kinds import PRODUCTS


def evaluate(jaxpr: Jaxpr, eqns: Iterable[Eqn], env: dict[Var, Any], varying: set[Var], flat: bool) -> None:
    """Evaluates equations in order; vars in `varying` are `[T, ...]` in env, and outputs that vary join them.

    With `flat`, the rows of all steps become one matrix: the fastest product on one device. On more than one, a
    reshape that merges the steps with a sharded axis would gather it.
    """
    for eqn in eqns:
        varies = [jaxprs.is_var(atom) and atom in varying for atom in eqn.invars]
        values = [jaxprs.read(env, atom) for atom in eqn.invars]
        if not any(varies):
            jaxprs.run(jaxpr, [eqn], env)
            continue
        if flat and eqn.primitive.name in PRODUCTS and sum(varies) == 1 and is_matrix_product(eqn, varies.index(False)):
            outs = [_rows_times_matrix(eqn, varies.index(False), values)]
        else:
            outs = _vmapped(jaxpr, eqn, values, varies)
        env.update(zip(eqn.outvars, outs, strict=True))
        varying.update(eqn.outvars)


def _vmapped(jaxpr: Jaxpr, eqn: Eqn, values: Sequence[Any], varies: Sequence[bool]) -> list[Any]:
    def one(*values):
        inner = {var: value for var, value in zip(eqn.invars, values, strict=True) if jaxprs.is_var(var)}
        jaxprs.run(jaxpr, [eqn], inner)
        return [inner[var] for var in eqn.outvars]

    return jax.vmap(one, in_axes=[0 if v else None for v in varies])(*values)


def is_matrix_product(eqn: Eqn, position: int) -> bool:
    """Tells whether a product is rows times a matrix: one contracted axis, no batch axes, a weight of two axes."""
    if eqn.primitive.name != "dot_general":
        return False
    contracting, batch = eqn.params["dimension_numbers"]
    return not batch[0] and len(contracting[0]) == 1 and eqn.invars[position].aval.ndim == 2


def _rows_times_matrix(eqn: Eqn, position: int, values: Sequence[Any]) -> Any:
    """Multiplies all steps `[T, ...]` of an operand at once by the weight at `position`."""
    contracting, _ = eqn.params["dimension_numbers"]
    (axis,), (weight_axis,) = contracting[1 - position], contracting[position]
    rows = jnp.moveaxis(values[1 - position], axis + 1, -1)  # [T, ..., F]
    params = {**eqn.params, "dimension_numbers": (((1,), (weight_axis,)), ((), ()))}
    out = eqn.primitive.bind(_merge(rows, 0, rows.ndim - 1), values[position], **params)
    out = out.reshape(*rows.shape[:-1], out.shape[-1])
    return out if position == 1 else jnp.moveaxis(out, -1, 1)


def can_sum(eqn: Eqn) -> bool:
    """Tells whether `sum_over_steps` takes an equation: a product without groups, or rows added to a table of zeros."""
    if eqn.primitive.name == "conv_general_dilated":
        return eqn.params["feature_group_count"] == eqn.params["batch_group_count"] == 1
    return eqn.primitive.name in ("dot_general", "scatter-add")


def sum_over_steps(eqn: Eqn, values: Sequence[Any], dtype: Any, flat: bool) -> Any:
    """Sums an equation over all steps, its operands `[T, ...]`, by one equation over all steps.

    `dtype` is that of the accumulator; the sum is taken in the wider of it and that of the equation. Operand 0 of a
    scatter-add is the table, which does not vary.
    """
    dtype = max(dtype, eqn.outvars[0].aval.dtype, key=lambda dtype: dtype.itemsize)
    if eqn.primitive.name == "scatter-add":
        return _scatter_add(eqn, values)
    if eqn.primitive.name == "conv_general_dilated":
        return _sum_of_convolutions(eqn, values, dtype, flat)
    (lhs_axes, rhs_axes), (lhs_batch, rhs_batch) = eqn.params["dimension_numbers"]
    lhs, rhs = values
    if flat and not lhs_batch:
        lhs, rhs = (_rows(value, axes) for value, axes in ((lhs, lhs_axes), (rhs, rhs_axes)))
        numbers: Any = (((0,), (0,)), ((), ()))
    else:
        numbers = (
            ((0, *_after(lhs_axes)), (0, *_after(rhs_axes))),
            (_after(lhs_batch), _after(rhs_batch)),
        )
    return eqn.primitive.bind(lhs, rhs, **{**eqn.params, "dimension_numbers": numbers, "preferred_element_type": dtype})


def _after(axes: Sequence[int]) -> tuple[int, ...]:
    """Shifts the axes of a step to make room for an axis of steps in front."""
    return tuple(axis + 1 for axis in axes)


def _rows(value: Any, axes: Sequence[int]) -> Any:
    """Merges the steps and `axes` of a value `[T, ...]` into one axis in front."""
    moved = jnp.moveaxis(value, _after(axes), range(1, len(axes) + 1))
    return _merge(moved, 0, len(axes) + 1)


def _merge(value: Any, start: int, stop: int) -> Any:
    """Merges the axes from start to stop."""
    shape = value.shape
    return value.reshape(*shape[:start], math.prod(shape[start:stop]), *shape[stop:])


def _sum_of_convolutions(eqn: Eqn, values: Sequence[Any], dtype: Any, flat: bool) -> Any:
    """Sums convolutions over steps: the steps become further features, over which a convolution sums anyway."""
    numbers = eqn.params["dimension_numbers"]

    def merged(value, axis):
        moved = jnp.moveaxis(value, 0, axis) if flat else jnp.moveaxis(value, 0, axis + 1)
        return _merge(moved, axis, axis + 2)

    lhs, rhs = merged(values[0], numbers.lhs_spec[1]), merged(values[1], numbers.rhs_spec[1])
    return eqn.primitive.bind(lhs, rhs, **{**eqn.params, "preferred_element_type": dtype})


def _scatter_add(eqn: Eqn, values: Sequence[Any]) -> Any:
    """Adds the rows of all steps to one table."""
    numbers = eqn.params["dimension_numbers"]
    numbers = numbers._replace(
        update_window_dims=_after(numbers.update_window_dims),
        scatter_indices_batching_dims=_after(numbers.scatter_indices_batching_dims),
    )
    params = {**eqn.params, "dimension_numbers": numbers, "unique_indices": False, "indices_are_sorted": False}
    return eqn.primitive.bind(*values, **params)
