"""Functions to programs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from rnnjax._types import Params
from rnnjax.export._names import named, named_parts, unnamed
from rnnjax.export._program import Program, make_program

PLATFORMS = ("cpu", "cuda", "tpu")


def export_function(
    function: Callable[..., Any],
    params: Params,
    *args: Any,
    shapes: Sequence[Any] | None = None,
    inline_params: bool = False,
    platforms: Sequence[str] = PLATFORMS,
    metadata: Mapping[str, Any] | None = None,
) -> Program:
    """Exports a function of parameters and other arguments, such as an encoder, a decoder's step or a whole search.

    Args:
      function: `(params, *args) -> results`, pure, and free of Python's ifs on symbolic sizes.
      params: its parameters, a tree of arrays.
      *args: examples of its other arguments, trees of arrays or of `jax.ShapeDtypeStruct`.
      shapes: for each of args a shape with symbolic sizes for all of its leaves, such as "batch, ..." or
        "time, batch, ...", or a tree of such shapes, as `jax.export.symbolic_args_specs` takes them; the dots stand for
        the sizes of the example. None for the sizes of the examples, all of them fixed. A symbolic size is 1 or more.
      inline_params: make the parameters constants of the program, which then takes none.
      platforms: those that it may run on, of "cpu", "cuda", "rocm", "tpu".
      metadata: notes to save with it, as JSON holds them.

    Returns:
      A `Program`. Each of its arguments, and each part of a plain tuple that is returned, is an array or a dict of
      arrays by dotted names.

    Raises:
      ValueError, TypeError: another number of shapes than of args, parameters that are no arrays, or unknown platforms;
        and what JAX raises for a function that cannot be exported, for one since it depends on a symbolic size.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> encoder = rnnjax.encoder([(rnnjax.gru(3, 5), rnnjax.gru(3, 5)), rnnjax.lstm(10, 7)])
      >>> params = encoder.init(jax.random.key(0))
      >>> def read(params, xs, lengths):
      ...     return encoder.apply(params, xs, lengths=lengths)
      >>> examples = jnp.zeros((1, 1, 3)), jnp.ones(1, jnp.int32)
      >>> program = rnnjax.export.export_function(read, params, *examples, shapes=("time, batch, ...", "batch"))
      >>> carries, ys = program.call(jnp.ones((4, 2, 3)), jnp.array([4, 1]))
      >>> ys.shape, sorted(carries)
      ((4, 2, 7), ['layers.0.backward.h', 'layers.0.forward.h', 'layers.1.c', 'layers.1.h'])
    """
    platforms = tuple(platforms)
    if not platforms or not {*platforms} <= {*PLATFORMS, "rocm"}:
        got = ", ".join(platforms) or "none"
        raise ValueError(f"export: expected platforms among {', '.join(PLATFORMS)} and rocm, got {got}.")
    if shapes is not None and len(shapes) != len(args):
        raise ValueError(f"export: expected one shape for each of {len(args)} args, got {len(shapes)} shapes.")
    _check_arrays(params)
    examples = jax.tree.map(_spec, args)
    specs = examples if shapes is None else export.symbolic_args_specs(examples, tuple(shapes))
    beside = () if inline_params else params

    def program(given: Any, *named_args: Any) -> Any:
        own = params if inline_params else unnamed(params, given)
        return named_parts("export", function(own, *map(unnamed, args, named_args)))

    program.__name__ = getattr(function, "__name__", "program")  # which errors of JAX and profiles show
    by_name = [named("export", tree) for tree in (jax.tree.map(_spec, beside), *specs)]
    exported = export.export(jax.jit(program), platforms=platforms)(*by_name)
    return make_program(exported, named("export", beside), None, metadata or {})


def _spec(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype alone: a program is for one device, wherever the parameters are now."""
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _check_arrays(params: Params) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = getattr(leaf, "dtype", None)
        if dtype is None or jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
            name, got = jax.tree_util.keystr(path), type(leaf).__name__ if dtype is None else dtype
            raise TypeError(
                f"export: expected the leaves of params to be arrays of numbers, got {got} at params{name}; keep what "
                "else a function needs in its closure."
            )
