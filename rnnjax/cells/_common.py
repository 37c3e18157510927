"""What the cells share: their options, how a `Cell` is made, checks at the door, products in mixed precision."""

import functools
import numbers
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Initializer, Key
from rnnjax.cells._initializers import constant_by_gate, glorot, orthogonal


class CellOptions(TypedDict, total=False):
    """Options of every constructor of a cell, passed by keyword.

    Attributes:
      w_x_init: initialiser of w_x, called gate by gate for `[F, H]`; Glorot uniform by default.
      w_h_init: initialiser of w_h, called gate by gate for `[H, H]`; orthogonal by default, but Glorot uniform for
        conv_lstm.
      b_init: initialiser of the whole b `[G * H]`, which replaces forget_bias too; by default, and if None, b is zero
        but for a forget bias. `rnnjax.cells.chrono_init` gives long memory.
      dtype: dtype of the products; that of the weights by default, and if None. Carry and y keep the dtype of the first
        carry, which is float32 unless `initial_carry(batch_shape, jnp.bfloat16)` starts the run.
      param_dtype: dtype of the parameters; float32 by default.
    """

    w_x_init: Initializer
    w_h_init: Initializer
    b_init: Initializer | None
    dtype: Any
    param_dtype: Any


def make_cell(
    step: Callable,
    params_type: Callable[..., Any],
    carry_type: Any,
    gates: str,
    input_size: int,
    hidden_size: int,
    options: CellOptions,
    *,
    biases: Mapping[str, float] | None = None,
    kernel_shape: tuple[int, ...] = (),
    drawn: Mapping[str, tuple[Initializer, tuple[int, ...]]] | None = None,
    zero: Mapping[str, tuple[int, ...]] | None = None,
    **step_options: Any,
) -> Cell:
    """Makes the `Cell` of a cell function, which every constructor does.

    Args:
      step: the cell function, `<constructor>_cell`.
      params_type: the NamedTuple of its parameters: w_x, w_h and b first, then those of drawn and zero.
      carry_type: the NamedTuple of its carry, whose fields are all `[..., H]`.
      gates: the gates in their order, one letter each.
      input_size: F.
      hidden_size: H.
      options: those that the constructor was given.
      biases: initial biases by gate, zero for the others.
      kernel_shape: shape of the convolution kernels, the leading axes of w_x and w_h.
      drawn: further parameters by name: initialiser and shape; each gets a key of its own.
      zero: further parameters by name that start from zeros: their shapes.
      **step_options: options of the cell function.
    """
    name = step.__name__.removesuffix("_cell")
    if unknown := set(options) - set(CellOptions.__annotations__):
        known, got = ", ".join(CellOptions.__annotations__), ", ".join(sorted(unknown))
        raise TypeError(f"{name}: expected the options of its signature or of CellOptions ({known}), got {got}.")
    _check_sizes(name, input_size=input_size, hidden_size=hidden_size)
    _check_sizes(name, **{f"kernel_shape[{i}]": size for i, size in enumerate(kernel_shape)})
    param_dtype = options.get("param_dtype", jnp.float32)
    drawn, zero = drawn or {}, zero or {}

    def init(key: Key) -> Any:
        key_weights, *keys = jax.random.split(key, 1 + len(drawn)) if drawn else [key]
        weights = _draw_weights(key_weights, (input_size, hidden_size), kernel_shape, gates, biases or {}, options)
        further = {
            name: draw(k, shape, param_dtype) for k, (name, (draw, shape)) in zip(keys, drawn.items(), strict=True)
        }
        return params_type(*weights, **further, **{name: jnp.zeros(shape, param_dtype) for name, shape in zero.items()})

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> Carry:
        if not isinstance(batch_shape, (tuple, list)):
            raise TypeError(
                f"initial_carry: expected batch_shape to be a tuple of ints, such as (8,), got {batch_shape!r}."
            )
        return carry_type(*[jnp.zeros((*batch_shape, hidden_size), dtype)] * len(carry_type._fields))

    apply = functools.partial(step, **step_options, dtype=options.get("dtype"))
    return Cell(init, initial_carry, apply, input_size, hidden_size)


def _draw_weights(
    key: Key,
    sizes: tuple[int, int],
    kernel_shape: tuple[int, ...],
    gates: str,
    biases: Mapping[str, float],
    options: CellOptions,
) -> tuple[Array, Array, Array]:
    """Draws w_x `[F, G * H]` and w_h `[H, G * H]` gate by gate, and b `[G * H]` whole; sizes are F and H."""
    hidden_size = sizes[1]
    dtype = options.get("param_dtype", jnp.float32)
    # Drawn in float32 at least: there is no QR decomposition, which orthogonal weights take, in half precision.
    draw_dtype = jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype
    inits = options.get("w_x_init", glorot), options.get("w_h_init", orthogonal)
    b_init = options.get("b_init") or constant_by_gate(gates, biases)
    *keys, key_b = jax.random.split(key, 3)

    def by_gate(init: Initializer, key: Key, rows: int) -> Array:
        shape = (*kernel_shape, rows, hidden_size)
        blocks = [init(k, shape, draw_dtype) for k in jax.random.split(key, len(gates))]
        return jnp.concatenate(blocks, axis=-1).astype(dtype)

    w_x, w_h = map(by_gate, inits, keys, sizes)
    return w_x, w_h, b_init(key_b, (len(gates) * hidden_size,), dtype)


def _check_sizes(constructor: str, **sizes: int) -> None:
    """Raises ValueError unless every size is a positive int."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"{constructor}: expected {name} to be a positive int, got {size!r}.")


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
    """Computes product(x, w) in `dtype`, accumulated in at least float32, and returns it in dtype `out`."""
    dtype = w.dtype if dtype is None else jnp.dtype(dtype)
    accumulate = jnp.float32 if dtype.itemsize < 4 else dtype
    return product(x.astype(dtype), w.astype(dtype), preferred_element_type=accumulate).astype(out)


def matmul(x: Array, w: Array, out, dtype) -> Array:
    """Computes x @ w, `[..., N]`, in the mixed precision of `cast_product`."""
    return cast_product(jnp.matmul, x, w, out, dtype)


def add_bias(z: Array, b: Array) -> Array:
    """Computes z + b in the dtype of z, for z `[..., N]` and b `[N]`."""
    return z + jnp.broadcast_to(b.astype(z.dtype), z.shape)


def masked_h(h: Array, recurrent_mask: Array | None) -> Array:
    """Computes h~ = m * h `[..., H]`, which is h where there is no mask."""
    if recurrent_mask is None:
        return h
    return h * jnp.broadcast_to(recurrent_mask.astype(h.dtype), h.shape)


def preactivations(params: Any, h: Array, x: Array, dtype) -> Array:
    """Computes x @ w_x + h @ w_h + b for all gates at once, `[..., G * H]`."""
    return add_bias(matmul(x, params.w_x, h.dtype, dtype) + matmul(h, params.w_h, h.dtype, dtype), params.b)
