"""Parameters of a cell as variables of an nnx.Module, and back."""

import dataclasses
from typing import Any

import jax
from flax import nnx

from rnnjax._types import Params


def nnx_params(params: Params) -> Any:
    """Makes parameters ready to be an attribute of an `nnx.Module`: each array becomes an `nnx.Param` of its own.

    Assign the result to an attribute of the module. The attribute is a NamedTuple like `params`, whose leaves are
    `nnx.Param`, so that paths in `nnx.state` are the names of fields. To replace the parameters, assign
    `nnx_params(...)` again: bare arrays in their place would not be trained.

    Args:
      params: a pytree of arrays `[...]`, as from `cell.init(key)`.

    Returns:
      What `nnx.data` makes of the pytree: a mark that the module removes when the attribute is assigned.

    Raises:
      TypeError: a leaf is an `nnx.Variable` already.

    Examples:
      >>> import jax, jax.numpy as jnp, optax, rnnjax
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import nnx_params, unwrap
      >>> cell = rnnjax.lstm(3, 5)
      >>> class Reader(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.lstm = nnx_params(cell.init(rngs.params()))
      ...         self.out = nnx.Linear(5, 1, rngs=rngs)
      ...     def __call__(self, xs):  # [T, B, 3] -> [B, 1]
      ...         carry, _ = rnnjax.unroll(cell, unwrap(self.lstm), xs)
      ...         return self.out(carry.h)
      >>> reader = Reader(nnx.Rngs(0))
      >>> optimizer = nnx.Optimizer(reader, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)
      >>> @nnx.jit
      ... def step(reader, optimizer, xs):
      ...     loss, gradients = nnx.value_and_grad(lambda reader: jnp.mean(reader(xs) ** 2))(reader)
      ...     optimizer.update(reader, gradients)
      ...     return loss
      >>> xs = jax.random.normal(jax.random.key(0), (7, 2, 3))
      >>> losses = [step(reader, optimizer, xs) for _ in range(3)]
      >>> bool(losses[2] < losses[1] < losses[0])
      True
      >>> sorted(nnx.state(reader)["lstm"])
      ['b', 'w_h', 'w_x']
    """
    for leaf in jax.tree.leaves(params, is_leaf=_is_variable):
        if _is_variable(leaf):
            raise TypeError(
                f"params: expected arrays, got {type(leaf).__name__}; pass what cell.init returned, or unwrap it first."
            )
    return nnx.data(jax.tree.map(nnx.Param, params))


def unwrap(params: Params) -> Params:
    """Reads the arrays out of an attribute that `nnx_params` made, for `cell.apply`, `unroll` and all else.

    Args:
      params: a pytree whose leaves are `nnx.Param` or arrays, `[...]`.

    Returns:
      The same pytree of arrays `[...]`: the NamedTuple that the cell's functions take. Gradients flow through it.

    Raises:
      TypeError: an `nnx.State`, which has no NamedTuples, or the result of `nnx_params` before it was assigned.

    Examples:
      >>> import jax, rnnjax
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import nnx_params, unwrap
      >>> module = nnx.Module()
      >>> module.gru = nnx_params(rnnjax.gru(3, 5).init(jax.random.key(0)))
      >>> type(module.gru.w_x).__name__, unwrap(module.gru).w_x.shape
      ('Param', (3, 15))
    """
    if isinstance(params, nnx.State | dataclasses.Field):
        raise TypeError(
            f"params: expected an attribute of an nnx.Module that was assigned nnx_params(...), got "
            f"{type(params).__name__}; merge a state into its module first (nnx.merge, nnx.update)."
        )
    return jax.tree.map(lambda leaf: leaf[...] if _is_variable(leaf) else leaf, params, is_leaf=_is_variable)


def _is_variable(leaf: Any) -> bool:
    return isinstance(leaf, nnx.Variable)
