"""The convolutional LSTM: an LSTM over images, volumes or signals."""

import functools
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, serializable
from rnnjax.cells._common import CellOptions, add_bias, cast_product, check_step, make_cell, masked_h
from rnnjax.cells._initializers import glorot
from rnnjax.cells._lstm import LSTMCarry


@serializable
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
    """Convolves x `[..., *space, C]` with kernel `[*k, C, N]`, same padding, stride 1: `[..., *space, N]`."""
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
    params: ConvLSTMParams, carry: LSTMCarry, x: Array, *,
    output_activation: Activation = jnp.tanh, recurrent_mask: Array | None = None, dtype=None,
) -> tuple[LSTMCarry, Array]:  # fmt: skip
    """Steps the LSTM whose products are convolutions over space (written (*)).

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
      output_activation, recurrent_mask, dtype: see `rnnjax.cells`; the mask is `[..., *space, H]`.

    Returns:
      `(LSTMCarry(h [..., *space, H], c [..., *space, H]), y [..., *space, H])`, y = h.

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
    input_size: int, hidden_size: int, *,
    kernel_shape: tuple[int, ...] = (3, 3), forget_bias: float = 1.0, output_activation: Activation = jnp.tanh,
    **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `conv_lstm_cell`, the convolutional LSTM.

    The axes of space belong to the batch shape: `initial_carry((B, height, width))`; `unroll` sees to it.

    Args:
      input_size: F, channels of the input.
      hidden_size: H, channels of the state.
      kernel_shape: k, one entry per axis of space: 1, 2 or 3 of them.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      **options: see `CellOptions`; w_x and w_h are initialised gate by gate as `[*k, F, H]` and `[*k, H, H]`.

    Returns:
      A `Cell` with `ConvLSTMParams` and `LSTMCarry`; x is `[..., *space, F]`, y is `[..., *space, H]`.

    Raises:
      ValueError: a kernel_shape without 1, 2 or 3 positive ints.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.conv_lstm(1, 4)
      >>> frames = jnp.ones((6, 2, 7, 5, 1))  # [T, B, height, width, F]
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), frames)
      >>> ys.shape
      (6, 2, 7, 5, 4)
    """
    if not isinstance(kernel_shape, (tuple, list)) or not 1 <= len(kernel_shape) <= 3:
        raise ValueError(f"conv_lstm: expected kernel_shape with 1, 2 or 3 entries, got {kernel_shape}.")
    return make_cell(
        conv_lstm_cell, ConvLSTMParams, LSTMCarry, "ifgo", input_size, hidden_size, {"w_h_init": glorot, **options},
        biases={"f": forget_bias}, kernel_shape=tuple(kernel_shape), output_activation=output_activation,
    )  # fmt: skip
