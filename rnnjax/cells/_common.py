"""What the cells share: checks at the door, products in mixed precision, initialisation gate by gate."""

import numbers
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Initializer, Key

glorot = jax.nn.initializers.glorot_uniform()
zeros = jax.nn.initializers.zeros
ones = jax.nn.initializers.ones


def orthogonal(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """jax.nn.initializers.orthogonal, one matrix after the other under vmap.

    jaxlib before 0.11 lets batched QR decompositions of one program wait for each other forever on a CPU of few cores.
    """
    return jax.custom_batching.sequential_vmap(lambda key: jax.nn.initializers.orthogonal()(key, shape, dtype))(key)


def check_sizes(cell: str, **sizes: int) -> None:
    """Raises ValueError unless every size is a positive int."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"{cell}: expected {name} to be a positive int, got {size!r}.")


def check_step(cell: str, params: Any, carry: Any, x: Array, *, gates: int) -> None:
    """Raises unless w_x `[..., F, G * H]`, w_h `[..., H, G * H]`, x `[..., F]` and the carry `[..., H]` fit."""
    features, hidden = params.w_x.shape[-2], params.w_h.shape[-2]
    if not params.w_x.shape[-1] == params.w_h.shape[-1] == gates * hidden:
        raise ValueError(
            f"{cell}: expected w_x and w_h with {gates} x {hidden} columns, got shapes {params.w_x.shape} and "
            f"{params.w_h.shape}; pass the params that the init of this cell makes."
        )
    if not hasattr(x, "dtype"):
        raise TypeError(f"{cell}: expected x to be an array [..., {features}], got {type(x).__name__}.")
    if jnp.ndim(x) < 1 or x.shape[-1] != features:
        raise ValueError(
            f"{cell}: expected x of shape [..., {features}], as the parameters have it, got {jnp.shape(x)}; "
            "the last axis of x is features."
        )
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise TypeError(f"{cell}: expected x of a floating dtype, got {x.dtype}; embed or one-hot encode ids first.")
    expected = (*x.shape[:-1], hidden)
    for name, leaf in carry._asdict().items():
        if leaf.shape != expected:
            raise ValueError(
                f"{cell}: expected a carry of shape {expected} beside x {x.shape}, got {leaf.shape} for {name}; "
                "make it with cell.initial_carry(x.shape[:-1])."
            )


def cast_product(product: Callable, x: Array, w: Array, out, dtype) -> Array:
    """product(x, w) with operands in `dtype`, accumulated in at least float32, returned in dtype `out`."""
    dtype = w.dtype if dtype is None else jnp.dtype(dtype)
    accumulate = jnp.float32 if dtype.itemsize < 4 else dtype
    return product(x.astype(dtype), w.astype(dtype), preferred_element_type=accumulate).astype(out)


def matmul(x: Array, w: Array, out, dtype) -> Array:
    """x @ w, `[..., N]`, in the mixed precision of `cast_product`."""
    return cast_product(jnp.matmul, x, w, out, dtype)


def add_bias(z: Array, b: Array) -> Array:
    """z + b in the dtype of z, for z `[..., N]` and b `[N]`."""
    return z + jnp.broadcast_to(b.astype(z.dtype), z.shape)


def masked_h(h: Array, recurrent_mask: Array | None) -> Array:
    """h~ = m * h, and h where there is no mask; `[..., H]`."""
    if recurrent_mask is None:
        return h
    return h * jnp.broadcast_to(recurrent_mask.astype(h.dtype), h.shape)


def preactivations(params: Any, h: Array, x: Array, dtype) -> Array:
    """x @ w_x + h @ w_h + b for all gates at once, `[..., G * H]`."""
    return add_bias(matmul(x, params.w_x, h.dtype, dtype) + matmul(h, params.w_h, h.dtype, dtype), params.b)


def zero_carry(carry_type: Any, hidden_size: int) -> Callable:
    """The `initial_carry` of a cell whose carry is a NamedTuple of arrays `[*batch_shape, H]`: zeros."""

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32):
        if not isinstance(batch_shape, (tuple, list)):
            raise TypeError(
                f"initial_carry: expected batch_shape to be a tuple of ints, such as (8,), got {batch_shape!r}."
            )
        zero = jnp.zeros((*batch_shape, hidden_size), dtype)
        return carry_type(*[zero] * len(carry_type._fields))

    return initial_carry


def init_weights(
    input_size: int,
    hidden_size: int,
    gates: int,
    *,
    w_x_init: Initializer,
    w_h_init: Initializer,
    b_init: Initializer,
    dtype,
    kernel_shape: tuple[int, ...] = (),
) -> Callable[[Key], tuple[Array, Array, Array]]:
    """A function of a key that draws w_x `[F, G * H]` and w_h `[H, G * H]` gate by gate and b `[G * H]` whole."""

    # Drawn in float32 at least: there is no QR decomposition, which orthogonal weights take, in half precision.
    draw_dtype = jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype

    def init(key: Key) -> tuple[Array, Array, Array]:
        key_x, key_h, key_b = jax.random.split(key, 3)

        def by_gate(init, key, rows):
            shape = (*kernel_shape, rows, hidden_size)
            blocks = [init(k, shape, draw_dtype) for k in jax.random.split(key, gates)]
            return jnp.concatenate(blocks, axis=-1).astype(dtype)

        w_x = by_gate(w_x_init, key_x, input_size)
        w_h = by_gate(w_h_init, key_h, hidden_size)
        return w_x, w_h, b_init(key_b, (gates * hidden_size,), dtype)

    return init


def bias_at(gate: int, gates: int, value: float) -> Initializer:
    """An initialiser of biases `[G * H]`: `value` for one gate, zero for the others."""

    def init(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        del key  # nothing is random
        return jnp.zeros((gates, shape[0] // gates), dtype).at[gate].set(value).reshape(shape)

    return init
