"""The convolutional LSTM: an LSTM over images, volumes or signals."""

import functools
from collections.abc import Sequence
from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, serializable
from rnnjax.cells._common import CellOptions, add_bias, cast_product, check_step, clipped, make_cell, masked_h
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
    b: Array | None


class _Window(NamedTuple):
    """How a kernel moves over its input: as `jax.lax.conv_general_dilated` has it, one entry per axis of space."""

    padding: str | Sequence[tuple[int, int]] = "SAME"
    stride: Sequence[int] | None = None  # None: 1 everywhere
    dilation: Sequence[int] | None = None


@jax.named_scope("conv_lstm_cell")
def conv_lstm_cell(
    params: ConvLSTMParams, carry: LSTMCarry, x: Array, *,
    padding: str | Sequence[tuple[int, int]] = "SAME", stride: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None, activation: Activation = jnp.tanh,
    gate_activation: Activation = jax.nn.sigmoid, output_activation: Activation = jnp.tanh, clip: float | None = None,
    recurrent_mask: Array | None = None, dtype=None,
) -> tuple[LSTMCarry, Array]:  # fmt: skip
    """Steps the LSTM whose products are convolutions over space (written (*)).

        i = sigmoid(x (*) W_xi + h (*) W_hi + b_i)      f = sigmoid(x (*) W_xf + h (*) W_hf + b_f)
        g = tanh(x (*) W_xg + h (*) W_hg + b_g)         o = sigmoid(x (*) W_xo + h (*) W_ho + b_o)
        c = f * c + i * g
        h = o * tanh(c)

    Same padding and stride 1, of h always, of x by default; gates in the order i, f, g, o, one bias with the forget
    bias in it; without the peephole terms of the paper, as in common use.
    Reference: Shi et al. 2015, "Convolutional LSTM network: a machine learning approach for precipitation
    nowcasting".

    Args:
      params: `ConvLSTMParams(w_x [*k, F, 4H], w_h [*k, H, 4H], b [4H])`.
      carry: `LSTMCarry(h [..., *state, H], c [..., *state, H])`; state is the size that the convolution of x leaves,
        space itself by default.
      x: `[..., *space, F]`, with as many axes of space as the kernel has: 1, 2 or 3.
      padding: of x: "SAME", "VALID", or pairs `(before, after)`, one per axis of space.
      stride: steps of the kernel over x, one per axis of space; None for 1.
      dilation: distance between the entries of w_x, one per axis of space; None for 1.
      activation, gate_activation, output_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`; the mask is
        `[..., *state, H]`.

    Returns:
      `(LSTMCarry(h [..., *state, H], c [..., *state, H]), y [..., *state, H])`, y = h.

    Examples:
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
    window = _Window(padding, stride, dilation)
    batch, space = x.shape[: x.ndim - rank - 1], x.shape[x.ndim - rank - 1 : -1]
    leading = (*batch, *_size_after(space, params.w_x.shape[:rank], window))
    check_step("conv_lstm_cell", params, carry, x, gates=4, leading=leading)
    h = masked_h(carry.h, recurrent_mask)
    z = _conv(x, params.w_x, window, h.dtype, dtype) + _conv(h, params.w_h, _Window(), h.dtype, dtype)
    z_i, z_f, z_g, z_o = jnp.split(clipped(add_bias(z, params.b), clip), 4, axis=-1)
    c = gate_activation(z_f) * carry.c + gate_activation(z_i) * activation(z_g)
    h = gate_activation(z_o) * output_activation(c)
    return LSTMCarry(h, c), h


def conv_lstm(
    input_size: int, hidden_size: int, *,
    kernel_shape: tuple[int, ...] = (3, 3), padding: str | Sequence[tuple[int, int]] = "SAME",
    stride: Sequence[int] | None = None, dilation: Sequence[int] | None = None, space: tuple[int, ...] | None = None,
    forget_bias: float = 1.0, output_activation: Activation = jnp.tanh, **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `conv_lstm_cell`, the convolutional LSTM.

    The axes of space belong to the batch shape: `initial_carry((B, height, width))`; `unroll` sees to it. A convolution
    that changes the size of space needs to know it: with `space=(height, width)`, the batch shape is `(B,)`.

    Args:
      input_size: F, channels of the input.
      hidden_size: H, channels of the state.
      kernel_shape: k, one entry per axis of space: 1, 2 or 3 of them.
      padding, stride, dilation: of the convolution of x, see `conv_lstm_cell`; that of h keeps its size.
      space: sizes of space in x, one per axis; None if the convolution of x keeps them.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      **options: see `CellOptions`; w_x and w_h are initialised gate by gate as `[*k, F, H]` and `[*k, H, H]`.

    Returns:
      A `Cell` with `ConvLSTMParams` and `LSTMCarry`; x is `[..., *space, F]`, y is `[..., *state, H]`.

    Raises:
      ValueError: a kernel_shape without 1, 2 or 3 positive ints, or another number of entries elsewhere.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> frames = jnp.ones((6, 2, 7, 5, 1))  # [T, B, height, width, F]
      >>> cell = rnnjax.conv_lstm(1, 4)
      >>> rnnjax.unroll(cell, cell.init(jax.random.key(0)), frames)[1].shape
      (6, 2, 7, 5, 4)
      >>> smaller = rnnjax.conv_lstm(1, 4, stride=(2, 2), space=(7, 5))
      >>> rnnjax.unroll(smaller, smaller.init(jax.random.key(0)), frames)[1].shape
      (6, 2, 4, 3, 4)
    """
    if not isinstance(kernel_shape, (tuple, list)) or not 1 <= len(kernel_shape) <= 3:
        raise ValueError(f"conv_lstm: expected kernel_shape with 1, 2 or 3 entries, got {kernel_shape}.")
    window = _Window(padding, stride, dilation)
    for name, value in (*window._asdict().items(), ("space", space)):
        if value is not None and not isinstance(value, str) and len(value) != len(kernel_shape):
            raise ValueError(f"conv_lstm: expected {name} with {len(kernel_shape)} entries, got {value}.")
    return make_cell(
        conv_lstm_cell, ConvLSTMParams, LSTMCarry, "ifgo", input_size, hidden_size, {"w_h_init": glorot, **options},
        biases={"f": forget_bias}, kernel_shape=tuple(kernel_shape), output_activation=output_activation,
        space=None if space is None else _size_after(space, kernel_shape, window), **window._asdict(),
    )  # fmt: skip


def _conv(x: Array, kernel: Array, window: _Window, out, dtype) -> Array:
    """Convolves x `[..., *space, C]` with kernel `[*k, C, N]`: `[..., *state, N]`."""
    rank = kernel.ndim - 2
    space = "DHW"[3 - rank :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    product = functools.partial(
        jax.lax.conv_general_dilated, window_strides=window.stride or (1,) * rank, padding=window.padding,
        rhs_dilation=window.dilation, dimension_numbers=layout,
    )  # fmt: skip
    batch = x.shape[: x.ndim - rank - 1]
    z = cast_product(product, x.reshape(-1, *x.shape[len(batch) :]), kernel, out, dtype)
    return z.reshape(*batch, *z.shape[1:])


def _size_after(space: Sequence[int], kernel_shape: Sequence[int], window: _Window) -> tuple[int, ...]:
    """The sizes that a convolution leaves of space."""
    if window == _Window():
        return tuple(space)
    stride, dilation = (entry or (1,) * len(space) for entry in (window.stride, window.dilation))
    reach = [1 + d * (k - 1) for k, d in zip(kernel_shape, dilation, strict=True)]
    pads = window.padding
    if isinstance(pads, str):
        pads = jax.lax.padtype_to_pads(space, reach, stride, pads)
    entries = zip(space, reach, stride, pads, strict=True)
    return tuple(max(0, (n + before + after - r) // s + 1) for n, r, s, (before, after) in entries)
