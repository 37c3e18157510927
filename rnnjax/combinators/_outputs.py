"""What is done to the output of a cell, and does not flow back into its recurrence: projection, normalisation."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Initializer, Key, Params, serializable
from rnnjax.combinators._common import check_output, check_size, known_output_size

glorot = jax.nn.initializers.glorot_uniform()


@serializable
class ProjectedParams(NamedTuple):
    """Parameters of `projected`.

    Attributes:
      cell: parameters of the cell inside.
      w: projection `[H, N]`.
      b: bias `[N]`.
    """

    cell: Params
    w: Array
    b: Array


def projected(cell: Cell, size: int, *, w_init: Initializer = glorot, param_dtype=jnp.float32) -> Cell:
    """Projects the output of a cell linearly: y = cell's y W + b.

    Args:
      cell: a `Cell` with outputs `[..., H]`, H its output_size.
      size: N, features of the projected output.
      w_init: initialiser of W `[H, N]`; b starts from zeros.
      param_dtype: dtype of W and b.

    Returns:
      A `Cell` with `ProjectedParams` and the carry of the cell; y is `[..., N]`.

    Raises:
      ValueError: a size that is not positive, or a cell that does not state its output_size, or states a wrong one.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.projected(rnnjax.lstm(3, 5), 2)
      >>> _, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 7, 3)))
      >>> ys.shape
      (4, 7, 2)
    """
    check_size("projected", "size", size)
    hidden = known_output_size("projected", cell)

    def init(key: Key) -> ProjectedParams:
        key_cell, key_w = jax.random.split(key)
        b = jnp.zeros((size,), param_dtype)
        return ProjectedParams(cell.init(key_cell), w_init(key_w, (hidden, size), param_dtype), b)

    def apply(params: ProjectedParams, carry: Carry, x: Any) -> tuple[Carry, Array]:
        carry, y = cell.apply(params.cell, carry, x)
        check_output("projected", y, hidden)
        z = jnp.matmul(y, params.w.astype(y.dtype))
        return carry, z + jnp.broadcast_to(params.b.astype(z.dtype), z.shape)

    return Cell(init, cell.initial_carry, apply, cell.input_size, size, cell.feature_axes)


@serializable
class LayerNormParams(NamedTuple):
    """Parameters of `layer_norm`.

    Attributes:
      cell: parameters of the cell inside.
      scale: gain `[H]`.
      b: bias `[H]`.
    """

    cell: Params
    scale: Array
    b: Array


def layer_norm(cell: Cell, *, epsilon: float = 1e-5, param_dtype=jnp.float32) -> Cell:
    """Normalises the features of a cell's output z: y = scale * (z - mean(z)) / sqrt(var(z) + epsilon) + b.

    What flows back into the recurrence is not normalised; `layer_norm_lstm` and `layer_norm_gru` do that.
    Reference: Ba, Kiros & Hinton 2016, "Layer normalization".

    Args:
      cell: a `Cell` with outputs `[..., H]`, H its output_size.
      epsilon: added to the variance.
      param_dtype: dtype of scale and b.

    Returns:
      A `Cell` with `LayerNormParams` and the carry of the cell; y is `[..., H]`.

    Raises:
      ValueError: a cell that does not state its output_size, or states a wrong one.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.layer_norm(rnnjax.lstm(3, 5))
      >>> _, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 7, 3)))
      >>> bool(jnp.allclose(ys.mean(-1), 0.0, atol=1e-5))
      True
    """
    hidden = known_output_size("layer_norm", cell)

    def init(key: Key) -> LayerNormParams:
        return LayerNormParams(cell.init(key), jnp.ones((hidden,), param_dtype), jnp.zeros((hidden,), param_dtype))

    def apply(params: LayerNormParams, carry: Carry, x: Any) -> tuple[Carry, Array]:
        carry, y = cell.apply(params.cell, carry, x)
        check_output("layer_norm", y, hidden)
        z = jax.nn.standardize(y, axis=-1, epsilon=epsilon)
        scale, b = (jnp.broadcast_to(p.astype(z.dtype), z.shape) for p in (params.scale, params.b))
        return carry, z * scale + b

    return Cell(init, cell.initial_carry, apply, cell.input_size, hidden, cell.feature_axes)
