"""Bridges from what an encoder ends with to what a decoder starts from."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Initializer, Key, Params, serializable

glorot = jax.nn.initializers.glorot_uniform()


@serializable
class BridgeParams(NamedTuple):
    """Parameters of `bridge`.

    Attributes:
      w: weights `[N, C]`, with N features in the source and C in the carry, all leaves together.
      b: bias `[C]`.
    """

    w: Array
    b: Array


class Bridge(NamedTuple):
    """A map from what an encoder ends with to what a decoder starts from.

    Attributes:
      init: `(key) -> params`.
      apply: `(params, source) -> carry`, from leaves `[..., n]` to leaves `[..., c]`.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Any], Carry]


def bridge(
    source: Any,
    target: Carry,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    w_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Bridge:
    """Makes a bridge: carry = activation([all features of the source] W + b), cut into the leaves of the carry.

    The source is any pytree: the carries of an encoder of other cells and sizes, one of its layers, or a single vector
    (a class, a feature, the mean of an image's regions), for one-to-many models. Encoders and decoders of the same
    cells need no bridge: pass the carry on. References: Bahdanau, Cho & Bengio 2014 (s_0 = tanh(W_s h_1));
    Xu et al. 2015, "Show, attend and tell" (c_0, h_0 from the mean of the regions).

    Args:
      source: a pytree of vectors `[n]` like those to come, such as `cell.initial_carry()`.
      target: the decoder's carry without batch axes, `cell.initial_carry()`; leaves `[c]`.
      activation: tanh, as Bahdanau; `jax.nn.identity` for an affine map.
      w_init: initialiser of w.
      param_dtype: dtype of the parameters.

    Returns:
      A `Bridge`.

    Raises:
      ValueError: leaves that are not vectors of floats.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> from_vector = rnnjax.seq2seq.bridge(jnp.zeros(7), cell.initial_carry())
      >>> carry = from_vector.apply(from_vector.init(jax.random.key(0)), jnp.ones((2, 7)))
      >>> carry.h.shape, carry.c.shape
      ((2, 5), (2, 5))
    """
    sizes, targets = _vector_sizes("source", source), _vector_sizes("target", target)
    structure = jax.tree.structure(target)

    def init(key: Key) -> BridgeParams:
        return BridgeParams(w_init(key, (sum(sizes), sum(targets)), param_dtype), jnp.zeros(sum(targets), param_dtype))

    def apply(params: BridgeParams, source: Any) -> Carry:
        leaves = jax.tree.leaves(source)
        if [jnp.shape(leaf)[-1:] for leaf in leaves] != [(size,) for size in sizes]:
            raise ValueError(
                f"bridge: expected a source whose leaves have {sizes} features, got shapes "
                f"{[jnp.shape(leaf) for leaf in leaves]}."
            )
        z = jnp.matmul(jnp.concatenate(leaves, axis=-1), params.w)
        z = activation(z + jnp.broadcast_to(params.b, z.shape))
        ends = [sum(targets[: i + 1]) for i in range(len(targets) - 1)]
        return jax.tree.unflatten(structure, jnp.split(z, ends, axis=-1))

    return Bridge(init, apply)


def _vector_sizes(name: str, tree: Any) -> list[int]:
    leaves = jax.tree.leaves(tree)
    if not leaves or any(jnp.ndim(leaf) != 1 or not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise ValueError(
            f"bridge: expected {name} to be vectors of floats without batch axes, as of cell.initial_carry(), got "
            f"{jax.tree.map(jnp.shape, tree)}."
        )
    return [leaf.shape[0] for leaf in leaves]
