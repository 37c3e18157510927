"""What the cells share: their options, how a `Cell` is made, checks at the door, products in mixed precision."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Activation, Array, Carry, Cell, Initializer, Key
from rnnjax.cells._initializers import constant_by_gate, glorot, orthogonal


class CellOptions(TypedDict, total=False):
    """Options of every constructor of a cell, passed by keyword.

    Attributes:
      w_x_init: initialiser of w_x, called gate by gate for `[F, H]`; Glorot uniform by default.
      w_h_init: initialiser of w_h, called gate by gate for `[H, H]`; orthogonal by default, but Glorot uniform for
        conv_lstm.
      b_init: initialiser of the whole b `[G * H]`, which replaces forget_bias too; by default, and if None, b is zero
        but for a forget bias. `rnnjax.cells.chrono_init` gives long memory.
      use_bias: False for a cell without biases, not even a forget bias: those of its parameters are None.
      activation: elementwise function of the candidate (of the new h, for a simple RNN); `jnp.tanh` by default.
      gate_activation: elementwise function of the gates, where there are any; `jax.nn.sigmoid` by default.
      clip: what activations take is clipped to [-clip, clip], as ONNX has it; None, the default, for no clipping.
      dtype: dtype of the products; that of the weights by default, and if None. Carry and y keep the dtype of the first
        carry, which is float32 unless `initial_carry(batch_shape, jnp.bfloat16)` starts the run.
      param_dtype: dtype of the parameters; float32 by default.
    """

    w_x_init: Initializer
    w_h_init: Initializer
    b_init: Initializer | None
    use_bias: bool
    activation: Activation
    gate_activation: Activation
    clip: float | None
    dtype: Any
    param_dtype: Any


STEP_OPTIONS = ("activation", "gate_activation", "clip", "dtype")  # those that a cell function takes itself


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
    further_biases: Mapping[str, int] | None = None,
    output_size: int | None = None,
    space: tuple[int, ...] | None = None,
    **step_options: Any,
) -> Cell:
    """Makes the `Cell` of a cell function, which every constructor does.

    Args:
      step: the cell function, `<constructor>_cell`.
      params_type: the NamedTuple of its parameters: w_x, w_h and b first, then those of drawn and further_biases.
      carry_type: the NamedTuple of its carry, whose fields are all `[..., H]`, but h `[..., output_size]`.
      gates: the gates in their order, one letter each.
      input_size: F.
      hidden_size: H.
      options: those that the constructor was given.
      biases: initial biases by gate, zero for the others.
      kernel_shape: shape of the convolution kernels, the leading axes of w_x and w_h.
      drawn: further parameters by name: initialiser and shape; each gets a key of its own.
      further_biases: biases beside b, which start from zeros: their sizes by name.
      output_size: P, features of h, which is the output and flows back; H by default.
      space: sizes of axes of the carry between batch and features; inputs have as many, and neither are of the batch
        shape. None where the batch shape has all axes but features.
      **step_options: options of the cell function.
    """
    name = step.__name__.removesuffix("_cell")
    taken = [option for option in STEP_OPTIONS if option in inspect.signature(step).parameters]
    _check_options(name, options, [*(CellOptions.__annotations__.keys() - STEP_OPTIONS), *taken])
    checks.check_positive(name, input_size=input_size, hidden_size=hidden_size)
    output_size = hidden_size if output_size is None else output_size
    checks.check_positive(
        name, output_size=output_size, **{f"kernel_shape[{i}]": n for i, n in enumerate(kernel_shape)}
    )
    param_dtype, use_bias = options.get("param_dtype", jnp.float32), options.get("use_bias", True)
    drawn, further_biases = drawn or {}, further_biases or {}
    sizes = [output_size if field == "h" else hidden_size for field in carry_type._fields]

    def init(key: Key) -> Any:
        key_weights, *keys = jax.random.split(key, 1 + len(drawn)) if drawn else [key]
        shape = input_size, output_size, hidden_size
        weights = _draw_weights(key_weights, shape, kernel_shape, gates, biases or {}, options)
        further: dict[str, Any] = {
            name: draw(k, shape, param_dtype) for k, (name, (draw, shape)) in zip(keys, drawn.items(), strict=True)
        }
        for name, size in further_biases.items():
            further[name] = jnp.zeros((size,), param_dtype) if use_bias else None
        return params_type(*weights, **further)

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> Carry:
        if not isinstance(batch_shape, (tuple, list)):
            raise TypeError(
                f"initial_carry: expected batch_shape to be a tuple of ints, such as (8,), got {batch_shape!r}."
            )
        return carry_type(*[jnp.zeros((*batch_shape, *(space or ()), size), dtype) for size in sizes])

    step_options |= {option: options[option] for option in taken if option in options}  # type: ignore[literal-required]
    apply = functools.partial(step, **{"dtype": None, **step_options})
    return Cell(init, initial_carry, apply, input_size, output_size, 1 if space is None else 1 + len(space))


def _draw_weights(
    key: Key,
    sizes: tuple[int, int, int],
    kernel_shape: tuple[int, ...],
    gates: str,
    biases: Mapping[str, float],
    options: CellOptions,
) -> tuple[Array, Array, Array | None]:
    """Draws w_x `[F, G * H]` and w_h `[P, G * H]` gate by gate, and b `[G * H]` whole; sizes are F, P and H."""
    *rows, hidden_size = sizes
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

    w_x, w_h = map(by_gate, inits, keys, rows)
    if not options.get("use_bias", True):
        return w_x, w_h, None
    return w_x, w_h, b_init(key_b, (len(gates) * hidden_size,), dtype)


def _check_options(constructor: str, options: CellOptions, known: list[str]) -> None:
    """Raises for an option that the cell does not have, and for a clip that is no bound."""
    if unknown := options.keys() - known:
        got = ", ".join(sorted(unknown))
        raise TypeError(
            f"{constructor}: expected the options of its signature or of CellOptions ({', '.join(sorted(known))}), got "
            f"{got}."
        )
    clip = options.get("clip")
    if clip is not None and not clip > 0:
        raise ValueError(f"{constructor}: expected clip to be positive or None, got {clip!r}.")


def check_step(
    cell: str,
    params: Any,
    carry: Any,
    x: Array,
    *,
    gates: int,
    hidden: int | None = None,
    leading: tuple[int, ...] | None = None,
) -> None:
    """Raises unless w_x `[..., F, G * H]`, w_h `[..., P, G * H]`, x `[..., F]` and the carry fit.

    The carry has h `[*leading, P]`, and all else `[*leading, H]`; leading is that of x, and hidden P, by default.
    """
    features, output = params.w_x.shape[-2], params.w_h.shape[-2]
    hidden = output if hidden is None else hidden
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
    for name, leaf in carry._asdict().items():
        expected = (*(x.shape[:-1] if leading is None else leading), output if name == "h" else hidden)
        if leaf.shape != expected:
            raise ValueError(
                f"{cell}: expected a carry of shape {expected} beside x {x.shape}, got {leaf.shape} for {name}; "
                "make it with cell.initial_carry of the batch shape of x."
            )


def cast_product(product: Callable, x: Array, w: Array, out, dtype) -> Array:
    """Computes product(x, w) in `dtype`, accumulated in at least float32, and returns it in dtype `out`."""
    dtype = w.dtype if dtype is None else jnp.dtype(dtype)
    accumulate = jnp.float32 if dtype.itemsize < 4 else dtype
    return product(x.astype(dtype), w.astype(dtype), preferred_element_type=accumulate).astype(out)


def matmul(x: Array, w: Array, out, dtype) -> Array:
    """Computes x @ w, `[..., N]`, in the mixed precision of `cast_product`."""
    return cast_product(jnp.matmul, x, w, out, dtype)


def add_bias(z: Array, b: Array | None) -> Array:
    """Computes z + b in the dtype of z, for z `[..., N]` and b `[N]`; z where there is no b."""
    return z if b is None else z + jnp.broadcast_to(b.astype(z.dtype), z.shape)


def clipped(z: Array, clip: float | None) -> Array:
    """Clips z to [-clip, clip], or not at all."""
    return z if clip is None else jnp.clip(z, -clip, clip)


def masked_h(h: Array, recurrent_mask: Array | None) -> Array:
    """Computes h~ = m * h `[..., H]`, which is h where there is no mask."""
    if recurrent_mask is None:
        return h
    return h * jnp.broadcast_to(recurrent_mask.astype(h.dtype), h.shape)


def preactivations(params: Any, h: Array, x: Array, dtype) -> Array:
    """Computes x @ w_x + h @ w_h + b for all gates at once, `[..., G * H]`."""
    return add_bias(matmul(x, params.w_x, h.dtype, dtype) + matmul(h, params.w_h, h.dtype, dtype), params.b)
