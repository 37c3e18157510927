"""Layers over time: cells, and pairs of cells that read in both directions, each layer after the one below."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Array, Bidirectional, Carry, Cell, Key, Layers
from rnnjax.recurrence._call import Call, Options, Steps, check_carry, check_inputs, check_options, swap_time
from rnnjax.recurrence._loop import run_loop
from rnnjax.recurrence._scan import scan


def concatenate_features(forward: Array, backward: Array) -> Array:
    """Joins the outputs of two directions, `[T, ..., H]` each, along their features."""
    return jnp.concatenate([forward, backward], axis=-1)


def unroll_layers(
    layers: Sequence[Cell | tuple[Cell, Cell]],
    params: Layers,
    xs: Any,
    carry: Layers | None = None,
    *,
    key: Key | None = None,
    dropout: float = 0.0,
    merge: Callable[[Array, Array], Array] = concatenate_features,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    time_major: bool = True,
    remat: Literal["step", "sqrt"] | int | None = None,
    chunk: int | None = None,
    method: str = "auto",
) -> tuple[Layers, Any]:
    """Runs layer after layer, each over all of time; a layer is a cell, or a pair of cells for both directions.

        y^0 = xs,    y^l = unroll(cell_l, y^{l-1}),    or of a pair    y^l_t = merge(forward y^l_t, backward y^l_t)

    Of cells alone, these are the values of `unroll(stack(cells), ...)`; here each layer sees all of its inputs at
    once, so that its input product is one large product. Every row of a pair is read as if it were alone and
    unpadded. Resets mark where a new sequence begins, for both directions: the backward run starts afresh at the
    last step of each sequence. Dropout, between layers only, draws a fresh mask for every step, outside the loops.

    References: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks"; Zaremba, Sutskever & Vinyals
    2014, "Recurrent neural network regularization" (dropout between layers).

    Args:
      layers: L layers, each a `Cell` or a pair of them, `(forward, backward)`. The first takes F features, every
        other one the outputs of the layer below.
      params: `Layers`, with `Bidirectional(forward, backward)` for a pair: `encoder(layers).init(key)`, or of cells
        alone `stack(cells).init(key)`.
      xs: inputs `[T, ..., F]`; `[B, T, ..., F]` if not time_major.
      carry: `Layers` of carries to start from, with `Bidirectional(forward, backward)` for a pair; None for the
        initial carry of all layers, of one, or of one direction; `encoder(layers).initial_carry((B,))` makes it.
      key: random key of the dropout; None means no dropout (evaluation).
      dropout: probability that an output of a layer is dropped on its way to the next, in [0, 1).
      merge: function of the outputs of the two directions, `[T, ..., H]` each, such as `jnp.add`; by default their
        features are concatenated.
      lengths: integers `[B]`, or None; this and all that follows is as in `unroll`.
      mask: booleans `[T, B]`, or None.
      resets: booleans `[T, B]`, or None.
      reverse: run from the last step to the first; for layers of one cell only, since a pair reads both ways.
      time_major: False for batch first.
      remat: what the backward pass recomputes.
      chunk: number of steps per block.
      method: the engine of the loops.

    Returns:
      `(carries, ys)`: `Layers` of the carries after the last real step of each run, with `Bidirectional(forward,
      backward)` for a pair, whose backward run ends at the first step; and the outputs of the last layer
      `[T, ..., H]`, at skipped steps zero, or for a pair merge(0, 0).

    Raises:
      ValueError, TypeError: as `unroll`; layers that are neither cells nor pairs or do not fit the one below, params
        or carries of other layers, a dropout outside [0, 1), a merge that is no function or returns another shape, or
        a reversed pair.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> layers = [(rnnjax.lstm(3, 5), rnnjax.gru(3, 5)), rnnjax.lstm(5, 7)]
      >>> params = rnnjax.encoder(layers).init(jax.random.key(0))
      >>> carries, ys = rnnjax.unroll_layers(
      ...     layers, params, jnp.ones((4, 2, 3)), merge=jnp.add, key=jax.random.key(1), dropout=0.5
      ... )
      >>> ys.shape, carries.layers[0].backward.h.shape, carries.layers[1].c.shape
      ((4, 2, 7), (2, 5), (2, 7))
    """
    layers = checks.check_layers(
        "unroll_layers", layers, merge=merge, reverse=reverse, concatenated=merge is concatenate_features
    )
    if not 0 <= dropout < 1:
        raise ValueError(f"unroll_layers: expected dropout to be a probability in [0, 1), got {dropout}.")
    if carry is None:
        carry = Layers((None,) * len(layers))
    _check_entries("params", params, layers, "make them with encoder(layers).init(key)")
    _check_entries("carry", carry, layers, "pass on the carries that unroll_layers returned, or None")
    options = check_options("unroll_layers", reverse, remat, chunk, method)
    call = check_inputs("unroll_layers", checks.first_cell(layers), xs, lengths, mask, resets, time_major)
    # Where sequences end is the same for all layers.
    ends = None if all(isinstance(layer, Cell) for layer in layers) else _ends(call.steps)

    carries: list[Any] = []
    for number, layer in enumerate(layers):
        if number and dropout and key is not None:
            call = _with_x(call, _drop(jax.random.fold_in(key, number), dropout, call.steps.x))
        before, layer_params, name = carry.layers[number], params.layers[number], f"carry.layers[{number}]"
        if isinstance(layer, Cell):
            after, ys = _run(layer, layer_params, before, call, options, name)
        else:
            after, ys = _run_pair(layer, layer_params, before, call, ends, merge, options, name)
        carries.append(after)
        call = _with_x(call, ys)
    return Layers(tuple(carries)), ys if time_major else swap_time(ys)


def _run(cell: Cell, params: Any, carry: Any, call: Call, options: Options, name: str) -> tuple[Carry, Any]:
    """One cell over all of time, from a carry that is checked first."""
    return run_loop(cell, params, check_carry("unroll_layers", cell, call, carry, name), call, options)


def _run_pair(
    pair: tuple[Cell, Cell],
    params: Bidirectional,
    carry: Bidirectional | None,
    call: Call,
    ends: Array | None,
    merge: Callable[[Array, Array], Array],
    options: Options,
    name: str,
) -> tuple[Bidirectional, Array]:
    """Two cells over the same inputs, one in each direction; for the backward one, resets are at the `ends`."""
    carry = carry or Bidirectional(None, None)
    backward_call = call._replace(steps=call.steps._replace(reset=ends))
    backward_options = options._replace(reverse=True)
    forward, ys_forward = _run(pair[0], params.forward, carry.forward, call, options, f"{name}.forward")
    backward, ys_backward = _run(
        pair[1], params.backward, carry.backward, backward_call, backward_options, f"{name}.backward"
    )
    ys = merge(ys_forward, ys_backward)
    leading = (call.length, *call.batch_shape)
    if not hasattr(ys, "shape") or ys.shape[: len(leading)] != leading:
        got = getattr(ys, "shape", type(ys).__name__)
        raise ValueError(
            f"unroll_layers: expected merge to return an array with the leading axes {leading}, got {got}."
        )
    return Bidirectional(forward, backward), ys


def _with_x(call: Call, x: Any) -> Call:
    """The call of the next layer: other inputs, the same masks and resets."""
    return call._replace(steps=call.steps._replace(x=x))


def _drop(key: Key, rate: float, ys: Array) -> Array:
    """ys with entries set to zero with this probability, and the others scaled to the same mean."""
    kept = jax.random.bernoulli(key, 1 - rate, ys.shape)
    return jnp.where(kept, ys / (1 - rate), jnp.zeros_like(ys))


def _ends(steps: Steps) -> Array | None:
    """Where sequences end, given where they begin: true at `[t]` if the next real step is a reset; `[T, ...]`."""
    if steps.reset is None:
        return None
    mask = jnp.ones_like(steps.reset) if steps.keep is None else steps.keep
    rank = max(steps.reset.ndim, mask.ndim)
    resets, mask = jnp.broadcast_arrays(
        *(flags.reshape(flags.shape + (1,) * (rank - flags.ndim)) for flags in (steps.reset, mask))
    )
    return scan(_one_step_back, jnp.zeros(resets.shape[1:], jnp.bool_), (mask, resets), reverse=True)[1]


def _one_step_back(next_is_reset: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
    """Whether the next real step is a reset, seen from the step before and from this one."""
    real, reset = step
    return jnp.where(real, reset, next_is_reset), next_is_reset


def _check_entries(name: str, tree: Any, layers: tuple, remedy: str) -> None:
    """Raises unless params or carries are `Layers` with one entry per layer, `Bidirectional` for a pair."""
    if not isinstance(tree, Layers):
        raise TypeError(f"unroll_layers: expected {name} to be Layers, got {type(tree).__name__}; {remedy}.")
    if len(tree.layers) != len(layers):
        raise ValueError(
            f"unroll_layers: expected {name} of as many layers as there are cells or pairs, {len(layers)}, got "
            f"{len(tree.layers)}; {remedy}."
        )
    for number, (layer, entry) in enumerate(zip(layers, tree.layers, strict=True)):
        is_missing = entry is None and name == "carry"
        if not (isinstance(layer, Cell) or isinstance(entry, Bidirectional) or is_missing):
            raise TypeError(
                f"unroll_layers: expected {name}.layers[{number}], of a pair, to be Bidirectional(forward, backward), "
                f"got {type(entry).__name__}; {remedy}."
            )
