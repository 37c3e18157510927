"""The compiled programs that the laws share: as few as possible, and compiled quickly rather than well."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Cell
from rnnjax.recurrence import unroll

# Laws run each program a few times on small arrays, so that nearly all of their time would be that of the compiler.
_QUICK: dict[str, bool | int] = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}


class Results(NamedTuple):
    """What a run gives: `(carry, ys)`, gradients of all floats of params, carry and xs, and what was differentiated."""

    values: Any
    gradients: Any
    total: Any


def quick_jit(function: Callable) -> Callable:
    """jax.jit without optimisations; results are NumPy arrays."""
    compiled = jax.jit(function, compiler_options=_known_options())
    return lambda *args, **kwargs: jax.tree.map(np.asarray, compiled(*args, **kwargs))


@functools.cache
def _known_options() -> dict[str, bool | int]:
    """Those of the compiler's options that this version of it, and the platform, know."""
    known = {}
    for name, value in _QUICK.items():
        try:
            jax.jit(lambda: jnp.int32(0), compiler_options={name: value}).lower().compile()
        except Exception:  # the compiler says what it does not know in many ways
            continue
        known[name] = value
    return known


@functools.lru_cache(maxsize=64)
def drawn_params(cell: Cell) -> Callable:
    """Compiles the cell's init."""
    return quick_jit(cell.init)


@functools.lru_cache(maxsize=64)
def step(cell: Cell) -> Callable:
    """Compiles the cell's apply."""
    return quick_jit(cell.apply)


@functools.lru_cache(maxsize=256)
def values(cell: Cell, run: Callable = unroll, **options: Any) -> Callable:
    """Compiles `(params, xs, carry, **masks) -> (carry, ys)` of a cell."""
    return quick_jit(functools.partial(run, cell, **options))


@functools.lru_cache(maxsize=256)
def results(cell: Cell, run: Callable = unroll, **options: Any) -> Callable:
    """Compiles `(params, xs, carry, **masks) -> Results` of a cell."""

    def differentiated(params: Any, xs: Any, carry: Any, **masks: Any) -> Results:
        def loss(leaves):
            p, x, c = (with_floats(tree, some) for tree, some in zip((params, xs, carry), leaves, strict=True))
            values = run(cell, p, x, c, **masks, **options)
            return _weighted_sum(values), values

        of = [floats(tree) for tree in (params, xs, carry)]
        (total, values), gradients = jax.value_and_grad(loss, has_aux=True)(of)
        return Results(values, gradients, total)

    return quick_jit(differentiated)


@functools.lru_cache(maxsize=64)
def rows(cell: Cell) -> Callable:
    """Compiles a run of one row, mapped over the batch: `(params, xs, carry, lengths, resets) -> (carry, ys)`."""

    def row(params, xs, carry, length, resets):
        return unroll(cell, params, xs, carry, lengths=length, resets=resets)

    return quick_jit(jax.vmap(row, in_axes=(None, 1, 0, 0, 1), out_axes=(0, 1)))


def _weighted_sum(tree: Any) -> Any:
    """A number that depends on every entry of a tree in a way of its own."""
    return sum(
        jnp.sum(leaf * jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)) for leaf in floats(tree)
    )


def is_float(leaf: Any) -> bool:
    """Whether a leaf can be differentiated."""
    return bool(jnp.issubdtype(leaf.dtype, jnp.floating))


def floats(tree: Any) -> list[Any]:
    """The floating leaves of a tree."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def with_floats(tree: Any, leaves: Sequence[Any]) -> Any:
    """The tree with other floating leaves."""
    remaining = iter(leaves)
    return jax.tree.map(lambda leaf: next(remaining) if is_float(leaf) else leaf, tree)
