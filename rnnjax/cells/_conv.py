"""The convolutional LSTM: an LSTM over images, volumes or signals."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, Initializer, Key
from rnnjax.cells._common import (
    add_bias,
    bias_at,
    cast_product,
    check_sizes,
    check_step,
    glorot,
    init_weights,
    masked_h,
    zero_carry,
)
from rnnjax.cells._lstm import LSTMCarry


class ConvLSTMParams(NamedTuple):
    """Parameters of `conv_lstm_cell`; gates in the order i, f, g, o; `*k` is the shape of the kernel.

    Attributes:
      w_x: input kernels `[*k, F, 4H]`.
      w_h: recurrent kernels `[*k, H, 4H]`.
      b: bias `[4H]`; the forget bias is stored in it.
    """

    w_x: Array
    w_h: Array
    b: Array


def _conv(x: Array, kernel: Array, out, dtype) -> Array:
    """x `[..., *space, C]` convolved with kernel `[*k, C, N]`, same padding, stride 1: `[..., *space, N]`."""
    rank = kernel.ndim - 2
    space = "DHW"[3 - rank :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    product = functools.partial(
        jax.lax.conv_general_dilated, window_strides=(1,) * rank, padding="SAME", dimension_numbers=layout
    )
    batch = x.shape[: x.ndim - rank - 1]
    flat = x.reshape(-1, *x.shape[len(batch) :])
    return cast_product(product, flat, kernel, out, dtype).reshape(*x.shape[:-1], kernel.shape[-1])


@jax.named_scope("conv_lstm_cell")
def conv_lstm_cell(
    params: ConvLSTMParams,
    carry: LSTMCarry,
    x: Array,
    *,
    output_activation: Activation = jnp.tanh,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[LSTMCarry, Array]:
    """The LSTM whose products are convolutions over space (written (*)).

        i = sigmoid(x (*) W_xi + h (*) W_hi + b_i)      f = sigmoid(x (*) W_xf + h (*) W_hf + b_f)
        g = tanh(x (*) W_xg + h (*) W_hg + b_g)         o = sigmoid(x (*) W_xo + h (*) W_ho + b_o)
        c = f * c + i * g
        h = o * tanh(c)

    Same padding, stride 1, gates in the order i, f, g, o, one bias with the forget bias in it; without the
    peephole terms of the paper, as in common use.
    Reference: Shi et al. 2015, "Convolutional LSTM network: a machine learning approach for precipitation
    nowcasting".

    Args:
      params: `ConvLSTMParams(w_x [*k, F, 4H], w_h [*k, H, 4H], b [4H])`.
      carry: `LSTMCarry(h [..., *space, H], c [..., *space, H])`.
      x: `[..., *space, F]`, with as many axes of space as the kernel has: 1, 2 or 3.
      output_activation: the function of c in the last line, elementwise.
      recurrent_mask: `[..., *space, H]` or None, see rnnjax.cells.
      dtype: dtype of the products, see rnnjax.cells.

    Returns:
      `(LSTMCarry(h [..., *space, H], c [..., *space, H]), y [..., *space, H])`, y = h.

    Raises:
      ValueError, TypeError: x or carry of the wrong shape or dtype.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.conv_lstm(1, 4, kernel_shape=(3, 3))
      >>> params, x = cell.init(jax.random.key(0)), jnp.ones((2, 7, 5, 1))
      >>> carry, y = conv_lstm_cell(params, cell.initial_carry((2, 7, 5)), x)
      >>> y.shape
      (2, 7, 5, 4)
    """
    rank = params.w_x.ndim - 2
    if x.ndim < rank + 1:
        raise ValueError(
            f"conv_lstm_cell: expected x of shape [..., *space, F] with {rank} axes of space, got {x.shape}."
        )
    check_step("conv_lstm_cell", params, carry, x, gates=4)
    h = masked_h(carry.h, recurrent_mask)
    z = add_bias(_conv(x, params.w_x, h.dtype, dtype) + _conv(h, params.w_h, h.dtype, dtype), params.b)
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(z_f) * carry.c + jax.nn.sigmoid(z_i) * jnp.tanh(z_g)
    h = jax.nn.sigmoid(z_o) * output_activation(c)
    return LSTMCarry(h, c), h


def conv_lstm(
    input_size: int,
    hidden_size: int,
    *,
    kernel_shape: tuple[int, ...] = (3, 3),
    forget_bias: float = 1.0,
    output_activation: Activation = jnp.tanh,
    w_x_init: Initializer = glorot,
    w_h_init: Initializer = glorot,
    b_init: Initializer | None = None,
    dtype=None,
    param_dtype=jnp.float32,
) -> Cell:
    """The convolutional LSTM `conv_lstm_cell`, as a `Cell`.

    The axes of space belong to the batch shape: `initial_carry((B, height, width))`; `unroll` sees to it.

    Args:
      input_size: F, channels of the input.
      hidden_size: H, channels of the state.
      kernel_shape: k, one entry an axis of space: 1, 2 or 3 of them.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      w_x_init: initialiser of w_x, gate by gate `[*k, F, H]`.
      w_h_init: initialiser of w_h, gate by gate `[*k, H, H]`.
      b_init: initialiser of the whole b `[4H]` instead of forget_bias.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `ConvLSTMParams` and `LSTMCarry`; x is `[..., *space, F]`, y is `[..., *space, H]`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.conv_lstm(1, 4)
      >>> frames = jnp.ones((6, 2, 7, 5, 1))  # [T, B, height, width, F]
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), frames)
      >>> ys.shape
      (6, 2, 7, 5, 4)
    """
    check_sizes("conv_lstm", input_size=input_size, hidden_size=hidden_size)
    if not isinstance(kernel_shape, (tuple, list)) or not 1 <= len(kernel_shape) <= 3:
        raise ValueError(f"conv_lstm: expected kernel_shape with 1, 2 or 3 entries, got {kernel_shape}.")
    check_sizes("conv_lstm", **{f"kernel_shape[{i}]": size for i, size in enumerate(kernel_shape)})
    weights = init_weights(
        input_size,
        hidden_size,
        4,
        w_x_init=w_x_init,
        w_h_init=w_h_init,
        b_init=b_init or bias_at(1, 4, forget_bias),
        dtype=param_dtype,
        kernel_shape=tuple(kernel_shape),
    )

    def init(key: Key) -> ConvLSTMParams:
        return ConvLSTMParams(*weights(key))

    apply = functools.partial(conv_lstm_cell, output_activation=output_activation, dtype=dtype)
    return Cell(init, zero_carry(LSTMCarry, hidden_size), apply)
