"""Encoders: layers with their parameters, which read a source `[S, ..., F]`."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Bidirectional, Cell, Key, Layers, Params
from rnnjax.recurrence import unroll_layers


class Encoder(NamedTuple):
    """Layers that read a source.

    Attributes:
      init: `(key) -> params`, `Layers(layers)`, with `Bidirectional(forward, backward)` for a pair.
      apply: `(params, xs [S, ..., F], carry=None, **options) -> (carries, ys [S, ..., M])`: `unroll_layers` of these
        layers, with all of its options, such as lengths, mask, key and dropout.
      initial_carry: `(batch_shape=(), dtype=float32) -> carries`, for a stream that is read window by window; None for
        an encoder of your own that has none.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., tuple[Layers, Any]]
    initial_carry: Callable[..., Layers] | None = None


def encoder(layers: Sequence[Cell | tuple[Cell, Cell]], **options: Any) -> Encoder:
    """Makes an encoder of layers, each a cell or a pair of cells for both directions, bottom layer first.

    Each layer reads all of its inputs before the next one begins: `apply` is `unroll_layers`. References: Sutskever,
    Vinyals & Le 2014, "Sequence to sequence learning with neural networks" (layers; reversed sources); Bahdanau, Cho &
    Bengio 2014, "Neural machine translation by jointly learning to align and translate" (both directions).

    Args:
      layers: L layers, each a `Cell` or a pair of them, `(forward, backward)`.
      **options: of `unroll_layers`, for every call that does not give them itself: `merge=jnp.add` for the outputs of
        pairs, `dropout=0.2` between layers, `reverse=True` to read from the last real position to the first (a
        reversed source, whose outputs keep their positions).

    Returns:
      An `Encoder`.

    Raises:
      ValueError, TypeError: no layer, one that is neither a cell nor a pair or does not fit the one below, an option
        that `unroll_layers` does not have, a merge that is no function, or a reversed pair.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> encoder = rnnjax.encoder([(rnnjax.gru(3, 5), rnnjax.gru(3, 5)), rnnjax.lstm(10, 7)])
      >>> params = encoder.init(jax.random.key(0))
      >>> carries, ys = encoder.apply(params, jnp.ones((4, 2, 3)), lengths=jnp.array([4, 1]))
      >>> ys.shape, carries.layers[0].backward.h.shape, carries.layers[1].c.shape
      ((4, 2, 7), (2, 5), (2, 7))
    """
    checked = {name: options[name] for name in ("merge", "reverse") if name in options}
    layers = checks.check_layers("encoder", layers, **checked)
    inspect.signature(unroll_layers).bind_partial(layers, **options)  # raises TypeError for an unknown option

    def init(key: Key) -> Layers:
        params: list[Any] = []
        for layer, layer_key in zip(layers, jax.random.split(key, len(layers)), strict=True):
            if isinstance(layer, Cell):
                params.append(layer.init(layer_key))
            else:
                keys = jax.random.split(layer_key)
                params.append(Bidirectional(layer[0].init(keys[0]), layer[1].init(keys[1])))
        return Layers(tuple(params))

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> Layers:
        def first(layer: Cell | tuple[Cell, Cell]) -> Any:
            if isinstance(layer, Cell):
                return layer.initial_carry(batch_shape, dtype)
            return Bidirectional(*[cell.initial_carry(batch_shape, dtype) for cell in layer])

        return Layers(tuple(map(first, layers)))

    return Encoder(init, functools.partial(unroll_layers, layers, **options), initial_carry)
