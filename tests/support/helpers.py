"""What the tests of cells, combinators and loops share: random trees, comparisons, and a reader of jaxprs."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import _jaxprs as jaxprs
from rnnjax.recurrence._rewrite import lower, targets


def normal(seed: int, *shape: int, dtype=jnp.float32):
    """A standard normal array; the same for the same seed and shape."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)


def noisy(tree: Any, seed: int = 0) -> Any:
    """The tree with noise on every entry of every floating leaf, so that zeros and ones are tested too."""
    rng = np.random.default_rng(seed)

    def add(leaf):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return leaf + jnp.asarray(0.4 * rng.standard_normal(leaf.shape), leaf.dtype)

    return jax.tree.map(add, tree)


def random_params(cell: rnnjax.Cell, seed: int = 0, dtype=jnp.float32) -> Any:
    """Parameters of a cell with every entry of every leaf drawn, biases and scales included."""
    shapes = jax.eval_shape(cell.init, jax.random.key(0))
    return noisy(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, dtype), shapes), seed)


def assert_close(got: Any, expected: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    """Same structure, same shapes, close values; NaN is close to nothing."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        name = jax.tree_util.keystr(path)
        assert a.shape == b.shape, f"{name}: {a.shape} is not {b.shape}"
        np.testing.assert_allclose(a, b, rtol, atol, equal_nan=False, err_msg=name)


def assert_same(got: Any, expected: Any) -> None:
    """Leaf by leaf the same values, to the last bit."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def weighted_sum(tree: Any):
    """A number that depends on every entry of every floating leaf in a way of its own."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return sum(
        jnp.sum(leaf * jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype) + 1).reshape(leaf.shape)) for leaf in leaves
    )


def values_and_gradients(run, *args):
    """`run(*args)`, and the gradients of the weighted sum of it in all args, compiled."""

    def loss(args):
        values = run(*args)
        return weighted_sum(values), values

    gradients, values = jax.jit(jax.grad(loss, has_aux=True, allow_int=True))(args)
    return values, jax.tree.map(lambda g: None if g.dtype == jax.dtypes.float0 else g, gradients)


def lowered_jaxpr(function: Callable, *args: Any, platform: str = "cpu", devices: int = 1) -> Any:
    """The jaxpr of a function with its loops as they are lowered for a platform and so many devices."""
    closed = jax.make_jaxpr(function)(*args)
    jaxpr, target = jaxprs.with_consts_as_inputs(closed), targets.Target(platform, devices)
    consts, leaves = list(closed.consts), jax.tree.leaves(args)
    return jax.make_jaxpr(lambda *values: lower.as_lowered(jaxpr, values, target))(*consts, *leaves)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a jaxpr and of the jaxprs inside it."""
    for equation in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        yield equation
        for inner in inner_jaxprs(equation):
            yield from equations(inner)


def inner_jaxprs(equation: Any) -> Iterator[Any]:
    """The jaxprs among the parameters of an equation: loop bodies, branches, compiled calls."""
    for value in equation.params.values():
        for item in value if isinstance(value, (tuple, list)) else [value]:
            if hasattr(item, "eqns") or hasattr(item, "jaxpr"):
                yield item


LOOPS = ("scan", "rnnjax_scan")


def loop_bodies(jaxpr: Any) -> list[Any]:
    """The bodies of all scans, at any depth."""
    return [e.params["jaxpr"] for e in equations(jaxpr) if e.primitive.name in LOOPS]


def carried(scan: Any) -> list[Any]:
    """What a scan carries out; beside it are its stacked outputs, which have an axis of time more than in the body."""
    inside = getattr(scan.params["jaxpr"], "jaxpr", scan.params["jaxpr"]).outvars
    return [out for out, var in zip(scan.outvars, inside, strict=True) if out.aval.shape == var.aval.shape]


def random_draws(jaxpr: Any) -> int:
    """How many equations draw random bits."""
    return sum(e.primitive.name in ("random_bits", "threefry2x32") for e in equations(jaxpr))


class EchoCarry(NamedTuple):
    """Carry of `echo`: the last input `[..., F]`."""

    h: Any


def echo(features: int) -> rnnjax.Cell:
    """A cell whose output is its input, so that what is done to either can be seen."""

    def initial_carry(batch_shape=(), dtype=jnp.float32):
        return EchoCarry(jnp.zeros((*batch_shape, features), dtype))

    def apply(params, carry, x):
        return EchoCarry(x), x

    return rnnjax.Cell(lambda key: (), initial_carry, apply, features, features)
