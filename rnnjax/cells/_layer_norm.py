"""LSTM and GRU with layer normalisation inside the recurrence (Ba, Kiros & Hinton 2016)."""

from typing import NamedTuple, Unpack

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, Initializer, serializable
from rnnjax.cells._common import CellOptions, add_bias, check_step, clipped, make_cell, masked_h, matmul
from rnnjax.cells._gru import GRUCarry
from rnnjax.cells._initializers import ones
from rnnjax.cells._lstm import LSTMCarry


def _norm(z: Array, scale: Array, epsilon: float) -> Array:
    """Computes LN(z; scale) = scale * (z - mean(z)) / sqrt(var(z) + epsilon), over the last axis of z `[..., N]`."""
    return jax.nn.standardize(z, axis=-1, epsilon=epsilon) * jnp.broadcast_to(scale.astype(z.dtype), z.shape)


@serializable
class LayerNormLSTMParams(NamedTuple):
    """Parameters of `layer_norm_lstm_cell`; gates in the order i, f, g, o.

    Attributes:
      w_x: input weights `[F, 4H]`.
      w_h: recurrent weights `[H, 4H]`.
      b: bias `[4H]`; the forget bias is stored in it.
      scale_x: gain of the normalised input product `[4H]`.
      scale_h: gain of the normalised recurrent product `[4H]`.
      scale_c: gain of the normalised cell state `[H]`.
      b_c: bias of the normalised cell state `[H]`.
    """

    w_x: Array
    w_h: Array
    b: Array | None
    scale_x: Array
    scale_h: Array
    scale_c: Array
    b_c: Array | None


@jax.named_scope("layer_norm_lstm_cell")
def layer_norm_lstm_cell(
    params: LayerNormLSTMParams, carry: LSTMCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid,
    output_activation: Activation = jnp.tanh, clip: float | None = None,
    epsilon: float = 1e-5, recurrent_mask: Array | None = None, dtype=None,
) -> tuple[LSTMCarry, Array]:  # fmt: skip
    """Steps the LSTM with layer normalisation of both products and of the cell state.

        [i, f, g, o] = LN(x W_x; s_x) + LN(h W_h; s_h) + b
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(LN(c; s_c) + b_c)

    LN normalises over all 4H entries of a product, as the paper writes it, with an epsilon of 1e-5; its two additive
    terms are the one bias b, with the forget bias in it. Gates in the order i, f, g, o.
    Reference: Ba, Kiros & Hinton 2016, "Layer normalization", supplementary material.

    Args:
      params: `LayerNormLSTMParams(w_x [F, 4H], w_h [H, 4H], b [4H], scale_x [4H], scale_h [4H], scale_c [H],
        b_c [H])`.
      carry, x: `LSTMCarry(h [..., H], c [..., H])` and `[..., F]`; c is the state before normalisation.
      epsilon: added to the variance.
      activation, gate_activation, output_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(LSTMCarry(h [..., H], c [..., H]), y [..., H])`, y = h.

    Examples:
      Scaling the input of a normalised cell changes nothing:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.layer_norm_lstm(3, 5)
      >>> params, x = cell.init(jax.random.key(0)), jnp.array([1.0, -2.0, 3.0])
      >>> _, y = cell.apply(params, cell.initial_carry(), x)
      >>> _, y_scaled = cell.apply(params, cell.initial_carry(), 10 * x)
      >>> bool(jnp.allclose(y, y_scaled, atol=1e-4))
      True
    """
    check_step("layer_norm_lstm_cell", params, carry, x, gates=4)
    h = masked_h(carry.h, recurrent_mask)
    z_x = _norm(matmul(x, params.w_x, h.dtype, dtype), params.scale_x, epsilon)
    z_h = _norm(matmul(h, params.w_h, h.dtype, dtype), params.scale_h, epsilon)
    z_i, z_f, z_g, z_o = jnp.split(clipped(add_bias(z_x + z_h, params.b), clip), 4, axis=-1)
    c = gate_activation(z_f) * carry.c + gate_activation(z_i) * activation(z_g)
    h = gate_activation(z_o) * output_activation(add_bias(_norm(c, params.scale_c, epsilon), params.b_c))
    return LSTMCarry(h, c), h


def layer_norm_lstm(
    input_size: int, hidden_size: int, *,
    forget_bias: float = 1.0, output_activation: Activation = jnp.tanh, epsilon: float = 1e-5,
    scale_init: Initializer = ones, **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `layer_norm_lstm_cell`, the LSTM with layer normalisation.

    Args:
      input_size: F.
      hidden_size: H.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of LN(c) in h = o * tanh(LN(c)).
      epsilon: added to the variance.
      scale_init: initialiser of the three gains.
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag)` for long memory.

    Returns:
      A `Cell` with `LayerNormLSTMParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.layer_norm_lstm(3, 5).init(jax.random.key(0)).scale_x.shape
      (20,)
    """
    shapes = {"scale_x": (4 * hidden_size,), "scale_h": (4 * hidden_size,), "scale_c": (hidden_size,)}
    return make_cell(
        layer_norm_lstm_cell, LayerNormLSTMParams, LSTMCarry, "ifgo", input_size, hidden_size, options,
        biases={"f": forget_bias}, drawn={name: (scale_init, shape) for name, shape in shapes.items()},
        further_biases={"b_c": hidden_size}, output_activation=output_activation, epsilon=epsilon,
    )  # fmt: skip


@serializable
class LayerNormGRUParams(NamedTuple):
    """Parameters of `layer_norm_gru_cell`; gates in the order r, u, n.

    Attributes:
      w_x: input weights `[F, 3H]`.
      w_h: recurrent weights `[H, 3H]`.
      b: bias `[3H]`.
      scale_x: gain of the normalised input products `[3H]`.
      scale_h: gain of the normalised recurrent products `[3H]`.
    """

    w_x: Array
    w_h: Array
    b: Array | None  # the additive terms of LN in one
    scale_x: Array
    scale_h: Array


@jax.named_scope("layer_norm_gru_cell")
def layer_norm_gru_cell(
    params: LayerNormGRUParams, carry: GRUCarry, x: Array, *,
    activation: Activation = jnp.tanh, gate_activation: Activation = jax.nn.sigmoid, clip: float | None = None,
    epsilon: float = 1e-5, recurrent_mask: Array | None = None, dtype=None,
) -> tuple[GRUCarry, Array]:  # fmt: skip
    """Steps the GRU with layer normalisation of its products.

        [r, u] = sigmoid(LN(x W_x[r, u]; s_x) + LN(h W_h[r, u]; s_h) + b[r, u])
        n = tanh(LN(x W_xn; s_xn) + r * LN(h W_hn; s_hn) + b_n)
        h = u * n + (1 - u) * h

    LN normalises the 2H entries of the two gates together and the H entries of the candidate apart, as the
    paper writes it, with an epsilon of 1e-5; its additive terms are the one bias b. Gates in the order r, u, n.
    Reference: Ba, Kiros & Hinton 2016, "Layer normalization", supplementary material.

    Args:
      params: `LayerNormGRUParams(w_x [F, 3H], w_h [H, 3H], b [3H], scale_x [3H], scale_h [3H])`.
      carry, x: `GRUCarry(h [..., H])` and `[..., F]`.
      epsilon: added to the variance.
      activation, gate_activation, clip, recurrent_mask, dtype: see `rnnjax.cells`.

    Returns:
      `(GRUCarry(h [..., H]), y [..., H])`, y = h.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.layer_norm_gru(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> carry, y = layer_norm_gru_cell(params, cell.initial_carry((2,)), jnp.ones((2, 3)))
      >>> y.shape
      (2, 5)
    """
    hidden = params.w_h.shape[0]
    check_step("layer_norm_gru_cell", params, carry, x, gates=3)
    h = masked_h(carry.h, recurrent_mask)
    z_x, z_h = matmul(x, params.w_x, h.dtype, dtype), matmul(h, params.w_h, h.dtype, dtype)
    gates, candidate = slice(None, 2 * hidden), slice(2 * hidden, None)
    b_gates, b_n = (None, None) if params.b is None else (params.b[gates], params.b[candidate])
    z = _norm(z_x[..., gates], params.scale_x[gates], epsilon) + _norm(z_h[..., gates], params.scale_h[gates], epsilon)
    r, u = jnp.split(gate_activation(clipped(add_bias(z, b_gates), clip)), 2, axis=-1)
    n_x = add_bias(_norm(z_x[..., candidate], params.scale_x[candidate], epsilon), b_n)
    n = activation(clipped(n_x + r * _norm(z_h[..., candidate], params.scale_h[candidate], epsilon), clip))
    h = u * n + (1 - u) * carry.h
    return GRUCarry(h), h


def layer_norm_gru(
    input_size: int, hidden_size: int, *,
    epsilon: float = 1e-5, scale_init: Initializer = ones, **options: Unpack[CellOptions],
) -> Cell:  # fmt: skip
    """Makes a `Cell` of `layer_norm_gru_cell`, the GRU with layer normalisation.

    Args:
      input_size: F.
      hidden_size: H.
      epsilon: added to the variance.
      scale_init: initialiser of both gains.
      **options: see `CellOptions`; `b_init=rnnjax.cells.chrono_init(max_lag, "run")` for long memory.

    Returns:
      A `Cell` with `LayerNormGRUParams` and `GRUCarry`; x is `[..., F]`, y is `[..., H]`.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.layer_norm_gru(3, 5).init(jax.random.key(0)).scale_h.shape
      (15,)
    """
    scale = (scale_init, (3 * hidden_size,))
    return make_cell(
        layer_norm_gru_cell, LayerNormGRUParams, GRUCarry, "run", input_size, hidden_size, options,
        drawn={"scale_x": scale, "scale_h": scale}, epsilon=epsilon,
    )  # fmt: skip
