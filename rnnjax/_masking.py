"""Masks: which steps of a padded batch are real. True means real; a mask `[T, B]` is time-major."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, serializable


@serializable
class SumCount(NamedTuple):
    """A mean that has not been divided yet, so that means over parts combine exactly.

    Attributes:
      sum: sum of the values that count, `[]`.
      count: how many values count, `[]`.

    Examples:
      >>> import jax.numpy as jnp
      >>> parts = SumCount(jnp.float32(3.0), jnp.float32(2.0)), SumCount(jnp.float32(5.0), jnp.float32(2.0))
      >>> float(SumCount.total(parts).mean)
      2.0
    """

    sum: Array
    count: Array  # type: ignore[assignment]  # it hides tuple.count

    @property
    def mean(self) -> Array:
        """sum / count, and 0 where nothing counts; `[]`."""
        return self.sum / jnp.maximum(self.count, 1)

    @staticmethod
    def total(parts: "Sequence[SumCount]") -> "SumCount":
        """Adds up the sums `[]` and the counts `[]` of at least one part."""
        if not parts:
            raise ValueError("SumCount.total: expected at least one SumCount, got none.")
        sums, counts = zip(*parts, strict=True)
        return SumCount(sum(sums), sum(counts))


def length_mask(lengths: Array, num_steps: int) -> Array:
    """Marks the real steps of padded sequences: mask[t, b] = t < lengths[b].

    Args:
      lengths: integers `[...]`, in steps.
      num_steps: T.

    Returns:
      Booleans `[T, ...]`.

    Raises:
      TypeError: lengths of a dtype that is not an integer.

    Examples:
      >>> import jax.numpy as jnp
      >>> length_mask(jnp.array([0, 2, 3]), 3).astype(int).tolist()
      [[0, 1, 1], [0, 1, 1], [0, 0, 1]]
    """
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"length_mask: expected lengths of an integer dtype, in steps, got {lengths.dtype}.")
    steps = jnp.arange(num_steps, dtype=lengths.dtype).reshape((num_steps,) + (1,) * lengths.ndim)
    return steps < jnp.expand_dims(lengths, 0)


def check_lengths(where: str, lengths: Any, num_steps: int, shape: tuple[int, ...], remedy: str = "") -> Array:
    """Returns lengths as integers; raises unless they have this shape, with values in [0, T] where these are known."""
    if not isinstance(lengths, jax.core.Tracer):
        values = np.asarray(lengths)  # not jnp: what it makes while something is traced is not known
        if values.size and values.dtype.kind in "iu" and not (values.min() >= 0 and values.max() <= num_steps):
            raise ValueError(
                f"{where}: expected lengths between 0 and T = {num_steps}, got {values.min()} to {values.max()}"
                f"{remedy}."
            )
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"{where}: expected lengths of an integer dtype, in steps, got {lengths.dtype}.")
    if lengths.shape != shape:
        raise ValueError(f"{where}: expected lengths of shape {shape}, got {lengths.shape}{remedy}.")
    return lengths


def check_array(where: str, name: str, value: Any) -> None:
    """Raises TypeError unless the value is an array of JAX or NumPy."""
    if not isinstance(value, (jax.Array, np.ndarray, np.generic)):
        raise TypeError(f"{where}: expected {name} to be an array, got {type(value).__name__}.")


def check_mask(where: str, name: str, mask: Any, shape: tuple[int, ...]) -> None:
    """Raises unless the mask holds booleans, of a shape that this one begins with."""
    check_array(where, name, mask)
    if mask.dtype != jnp.bool_:
        raise TypeError(f"{where}: expected {name} to hold booleans, true for what counts, got {mask.dtype}.")
    if mask.shape != shape[: mask.ndim]:
        raise ValueError(f"{where}: expected {name} of the shape {shape} or of its leading axes, got {mask.shape}.")


def _broadcast(mask: Array, leaf: Array) -> Array:
    """Broadcasts a mask `[*prefix]` to the shape of a leaf `[*prefix, ...]`."""
    return jnp.broadcast_to(mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim)), leaf.shape)


def select(mask: Array, on_true: Any, on_false: Any) -> Any:
    """Takes, leaf by leaf, on_true where the mask is true and on_false elsewhere.

    Args:
      mask: booleans `[*prefix]`.
      on_true: pytree of arrays `[*prefix, ...]`.
      on_false: pytree of the same structure and shapes, or one Python scalar for all leaves.

    Returns:
      A pytree of the structure, shapes and dtypes of on_true.

    Examples:
      >>> import jax.numpy as jnp
      >>> select(jnp.array([True, False]), jnp.array([[1, 2], [3, 4]]), 0).tolist()
      [[1, 2], [0, 0]]
    """
    if isinstance(on_false, (bool, int, float)):
        fill = on_false
        on_false = jax.tree.map(lambda leaf: jnp.full_like(leaf, fill), on_true)
    return jax.tree.map(lambda a, b: jnp.where(_broadcast(mask, a), a, b), on_true, on_false)


def masked_mean(values: Array, where: Array | None = None) -> SumCount:
    """Sums and counts the values that the mask lets through; NaN elsewhere changes nothing.

    Args:
      values: `[*prefix, ...]`.
      where: booleans `[*prefix]`, or None for all.

    Returns:
      `SumCount(sum [], count [])`; `.mean` divides.

    Raises:
      TypeError: values that are no array, or a mask that holds no booleans.
      ValueError: a mask of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> float(masked_mean(jnp.array([1.0, jnp.nan, 3.0]), jnp.array([True, False, True])).mean)
      2.0
    """
    check_array("masked_mean", "values", values)
    if where is None:
        return SumCount(jnp.sum(values), jnp.asarray(values.size, values.dtype))
    check_mask("masked_mean", "where", where, values.shape)
    weights = _broadcast(where, values)
    return SumCount(jnp.sum(jnp.where(weights, values, jnp.zeros_like(values))), jnp.sum(weights, dtype=values.dtype))


def masked_softmax(logits: Array, where: Array, axis: int = -1) -> Array:
    """Takes the softmax over the entries that the mask lets through: p_i = exp(l_i) / sum_j exp(l_j), j with where_j.

    An empty row gives zeros and a zero gradient; NaN behind the mask changes nothing.

    Args:
      logits: `[..., S]`.
      where: booleans `[..., S]`.
      axis: the axis that sums to one.

    Returns:
      Probabilities `[..., S]`, zero where the mask is false.

    Raises:
      TypeError: logits that are no floating-point array, or a mask that holds no booleans.
      ValueError: a mask of another shape.

    Examples:
      >>> import jax.numpy as jnp
      >>> masked_softmax(jnp.array([[1.0, 1.0, 9.0], [1.0, 2.0, 3.0]]),
      ...                jnp.array([[True, True, False], [False, False, False]])).tolist()
      [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """
    check_array("masked_softmax", "logits", logits)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"masked_softmax: expected logits of a floating-point dtype, got {logits.dtype}.")
    check_mask("masked_softmax", "where", where, logits.shape)
    if where.ndim != logits.ndim:
        raise ValueError(
            f"masked_softmax: expected where of the shape {logits.shape} of the logits, got {where.shape}."
        )
    # The lowest finite number, not -inf: an empty row must not become inf - inf.
    logits = jnp.where(where, logits, jnp.finfo(logits.dtype).min)
    top = jax.lax.stop_gradient(jnp.max(logits, axis=axis, keepdims=True))
    exps = jnp.where(where, jnp.exp(logits - top), jnp.zeros_like(logits))
    total = jnp.sum(exps, axis=axis, keepdims=True)
    return exps / jnp.where(total > 0, total, jnp.ones_like(total))
