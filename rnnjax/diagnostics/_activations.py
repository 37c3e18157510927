"""Gates and candidates of a cell over a run, and how often they saturate."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _jaxprs as jaxprs
from rnnjax._types import Array, Carry, Cell, Params, serializable
from rnnjax.recurrence import unroll

# Primitives of jaxprs that saturate, by the names that `activations` gives them.
_SQUASHING = {"logistic": "sigmoid", "tanh": "tanh"}


@serializable
class Saturation(NamedTuple):
    """How often each unit is at an end of its range.

    Attributes:
      low: share of the values near the lower end, `[H]`, from 0 to 1.
      high: share of the values near the upper end, `[H]`.
    """

    low: Array
    high: Array


def activations(cell: Cell, params: Params, xs: Any, carry: Carry | None = None) -> dict[str, Array]:
    """Collects every sigmoid and tanh of a cell over a run: its gates and candidates, without a change to the cell.

    They are found in the program of `cell.apply`, at its top level: those inside a loop or a branch of a cell are not.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`.
      carry: the carry to start from, or None.

    Returns:
      Values `[T, ..., H]` by name, "sigmoid_0", "tanh_0", "sigmoid_1" ..., numbered as the cell computes them: for
      `lstm` sigmoid_0 is f, sigmoid_1 i, tanh_0 g, sigmoid_2 o and tanh_1 tanh(c); for `gru` sigmoid_0 has r and u.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> found = rnnjax.diagnostics.activations(cell, params, jnp.ones((7, 2, 3)))
      >>> {name: values.shape for name, values in sorted(found.items())}
      {'sigmoid_0': (7, 2, 5), 'sigmoid_1': (7, 2, 5), 'sigmoid_2': (7, 2, 5), 'tanh_0': (7, 2, 5), 'tanh_1': (7, 2, 5)}
    """

    def apply(params: Params, carry: Carry, x: Any) -> tuple[Carry, dict[str, Array]]:
        flat, structure = jax.tree.flatten((params, carry, x))
        jaxpr, consts = jaxprs.trace(
            lambda *leaves: jax.tree.leaves(cell.apply(*jax.tree.unflatten(structure, leaves))),
            list(map(jax.typeof, flat)),
        )
        jaxpr = jaxprs.inline(jaxpr, jaxprs.CALLS)
        found: dict[str, Array] = {}
        counts = dict.fromkeys(_SQUASHING.values(), 0)

        def note(eqn: Any, values: Any) -> None:
            name = _SQUASHING.get(eqn.primitive.name)
            if name is not None:
                found[f"{name}_{counts[name]}"] = eqn.primitive.bind(*values, **eqn.params)
                counts[name] += 1

        outs = jaxprs.evaluate(jaxpr, [*consts, *flat], note)
        leaves, structure = jax.tree.flatten(carry)
        return jax.tree.unflatten(structure, outs[: len(leaves)]), found

    return unroll(cell._replace(apply=apply), params, xs, carry)[1]


def saturation(values: Array, *, bounds: tuple[float, float] = (0.0, 1.0), margin: float = 0.1) -> Saturation:
    """Counts how often each unit is within a margin of an end of its range.

        low  = mean [v < a + margin (b - a)],    high = mean [v > b - margin (b - a)]

    Reference: Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks".

    Args:
      values: `[..., H]`, such as a gate of `activations`.
      bounds: a and b: (0, 1) for a sigmoid, (-1, 1) for tanh.
      margin: share of the range.

    Returns:
      `Saturation(low [H], high [H])`.

    Examples:
      >>> import jax.numpy as jnp
      >>> gate = jnp.array([[0.05, 0.5], [0.02, 0.95], [0.99, 0.5], [0.5, 0.5]])
      >>> low, high = saturation(gate)
      >>> low.tolist(), high.tolist()
      ([0.5, 0.0], [0.25, 0.25])
    """
    low, high = bounds
    if not low < high or not 0 < margin < 0.5:
        raise ValueError(
            f"saturation: expected bounds in order and a margin between 0 and 0.5, got {bounds} and {margin}."
        )
    edge = margin * (high - low)
    axes = tuple(range(values.ndim - 1))
    return Saturation(jnp.mean(values < low + edge, axis=axes), jnp.mean(values > high - edge, axis=axes))
