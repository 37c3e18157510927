"""What is converted: layers with their parameters; and what a cell is, read off its `apply`."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _checks as checks
from rnnjax import cells
from rnnjax._types import Bidirectional, Cell, Layers

Layer = Cell | tuple[Cell, Cell]


class Network(NamedTuple):
    """A recurrent network that came from elsewhere.

    It runs over time as `rnnjax.unroll_layers(layers, params, xs, **options)`, or as an encoder,
    `rnnjax.encoder(layers, **options)`; layers of cells alone also step as `rnnjax.stack(layers)`, with these params.

    Attributes:
      layers: cells, or pairs of cells for both directions, from the one that sees the inputs on.
      params: `Layers`, with `Bidirectional` for a pair.
      options: further options of `unroll_layers` that give the same outputs, such as a merge of both directions.
    """

    layers: tuple[Layer, ...]
    params: Layers
    options: Mapping[str, Any] = {}


class Kind(NamedTuple):
    """What a cell of the library is."""

    name: str  # of its constructor, such as "lstm"
    options: Mapping[str, Any]  # of the cell function, defaults among them


def network(parts: Sequence[Any], options: Mapping[str, Any] | None = None) -> Network:
    """A network of `(cell, params)` for each layer, or of a pair of them for both directions."""
    layers: list[Layer] = []
    params: list[Any] = []
    for part in parts:
        if isinstance(part[0], Cell):
            layers.append(part[0])
            params.append(part[1])
        else:
            (forward, forward_params), (backward, backward_params) = part
            layers.append((forward, backward))
            params.append(Bidirectional(forward_params, backward_params))
    return Network(tuple(layers), Layers(tuple(params)), options or {})


def parts_of(where: str, layers: Cell | Sequence[Layer], params: Any) -> list[list[tuple[Cell, Any]]]:
    """Of each layer, the `(cell, params)` of its one or two directions; a Cell is a network of one layer."""
    if isinstance(layers, Cell):
        layers, params = [layers], Layers((params,))
    layers = checks.check_layers(where, layers)
    if not isinstance(params, Layers) or len(params.layers) != len(layers):
        got = f"{len(params.layers)} layers" if isinstance(params, Layers) else type(params).__name__
        raise TypeError(f"{where}: expected params to be Layers of {len(layers)} layers, got {got}.")
    pairs = zip(layers, params.layers, strict=True)
    return [[(layer, p)] if isinstance(layer, Cell) else list(zip(layer, p, strict=True)) for layer, p in pairs]


def kind_of(where: str, cell: Cell) -> Kind:
    """Reads off its apply what a cell is; raises TypeError for one that is not of rnnjax.cells."""
    apply = cell.apply
    name = getattr(apply.func, "__name__", "") if isinstance(apply, functools.partial) else ""
    if not isinstance(apply, functools.partial) or getattr(cells, name, None) is not apply.func:
        raise TypeError(
            f"{where}: expected cells made by constructors of rnnjax.cells, got another one; convert the cells inside, "
            "and do on the other side what combinators do here."
        )
    defaults = inspect.signature(apply.func).parameters.values()
    options = {p.name: p.default for p in defaults if p.kind is p.KEYWORD_ONLY} | apply.keywords
    return Kind(name.removesuffix("_cell"), {k: v for k, v in options.items() if k not in ("dtype", "recurrent_mask")})


def require(where: str, kind: Kind, **expected: Any) -> None:
    """Raises ValueError unless the options of a cell are those that the other framework has."""
    for name, value in expected.items():
        got = kind.options[name]
        if got is not value and got != value:
            shown, found = (getattr(x, "__name__", x) for x in (value, got))
            raise ValueError(
                f"{where}: expected a {kind.name} with {name}={shown}, got {found}; there is no other there."
            )


def unknown_kind(where: str, kind: Kind, known: Sequence[str]) -> Exception:
    """The error for a cell that the other framework does not have."""
    return ValueError(f"{where}: expected cells of {', '.join(known)}, got {kind.name}; there is no such cell there.")


def array(value: Any) -> Any:
    """An array of NumPy, JAX or PyTorch as one of NumPy, in its dtype; one that is traced stays as it is."""
    if isinstance(value, jax.core.Tracer):
        return value
    if hasattr(value, "detach"):  # a tensor of PyTorch, whose bfloat16 NumPy does not read
        value = value.detach().cpu()
        return np.asarray(value.float()).astype(jnp.bfloat16) if "bfloat16" in str(value.dtype) else np.asarray(value)
    return np.asarray(value)


def named(functions: Mapping[str, Callable], where: str, function: Callable) -> str:
    """The name that another framework gives an activation."""
    for name, known in functions.items():
        if known is function:
            return name
    got = getattr(function, "__name__", repr(function))
    raise ValueError(f"{where}: expected an activation among {', '.join(functions)}, got {got}.")
