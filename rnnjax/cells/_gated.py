"""Gated cells with fewer gates: the LSTM with coupled gates (CIFG) and the minimal gated unit (MGU)."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, Initializer, Key
from rnnjax.cells._common import (
    add_bias,
    bias_at,
    check_sizes,
    check_step,
    glorot,
    init_weights,
    masked_h,
    matmul,
    orthogonal,
    preactivations,
    zero_carry,
    zeros,
)
from rnnjax.cells._gru import GRUCarry
from rnnjax.cells._lstm import LSTMCarry


class CIFGParams(NamedTuple):
    """Parameters of `cifg_lstm_cell`; gates in the order f, g, o.

    Attributes:
      w_x: input weights `[F, 3H]`.
      w_h: recurrent weights `[H, 3H]`.
      b: bias `[3H]`; the forget bias is stored in it.
    """

    w_x: Array
    w_h: Array
    b: Array


@jax.named_scope("cifg_lstm_cell")
def cifg_lstm_cell(
    params: CIFGParams,
    carry: LSTMCarry,
    x: Array,
    *,
    output_activation: Activation = jnp.tanh,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[LSTMCarry, Array]:
    """The LSTM with coupled input and forget gates, i = 1 - f.

        f = sigmoid(x W_xf + h W_hf + b_f)
        g = tanh(x W_xg + h W_hg + b_g)
        o = sigmoid(x W_xo + h W_ho + b_o)
        c = f * c + (1 - f) * g
        h = o * tanh(c)

    Gates in the order f, g, o. One bias, with the forget bias in it.
    Reference: Greff et al. 2017, "LSTM: a search space odyssey" (the variant CIFG).

    Args:
      params: `CIFGParams(w_x [F, 3H], w_h [H, 3H], b [3H])`.
      carry: `LSTMCarry(h [..., H], c [..., H])`.
      x: `[..., F]`.
      output_activation: the function of c in the last line, elementwise.
      recurrent_mask: `[..., H]` or None, see rnnjax.cells.
      dtype: dtype of the products, see rnnjax.cells.

    Returns:
      `(LSTMCarry(h [..., H], c [..., H]), y [..., H])`, y = h.

    Raises:
      ValueError, TypeError: x or carry of the wrong shape or dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> params = CIFGParams(jnp.zeros((2, 3)), jnp.zeros((1, 3)), jnp.zeros(3))
      >>> carry, y = cifg_lstm_cell(params, LSTMCarry(jnp.zeros(1), jnp.full(1, 8.0)), jnp.ones(2))
      >>> carry.c.tolist()
      [4.0]
    """
    check_step("cifg_lstm_cell", params, carry, x, gates=3)
    z = preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype)
    z_f, z_g, z_o = jnp.split(z, 3, axis=-1)
    f = jax.nn.sigmoid(z_f)
    c = f * carry.c + (1 - f) * jnp.tanh(z_g)
    h = jax.nn.sigmoid(z_o) * output_activation(c)
    return LSTMCarry(h, c), h


def cifg_lstm(
    input_size: int,
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    output_activation: Activation = jnp.tanh,
    w_x_init: Initializer = glorot,
    w_h_init: Initializer = orthogonal,
    b_init: Initializer | None = None,
    dtype=None,
    param_dtype=jnp.float32,
) -> Cell:
    """The LSTM with coupled gates `cifg_lstm_cell`, as a `Cell`.

    Args:
      input_size: F.
      hidden_size: H.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      w_x_init: initialiser of w_x, gate by gate `[F, H]`.
      w_h_init: initialiser of w_h, gate by gate `[H, H]`.
      b_init: initialiser of the whole b `[3H]` instead of forget_bias;
        `rnnjax.cells.chrono_init(max_lag, gates="fgo")` for long memory.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `CIFGParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., H]`.

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.cifg_lstm(3, 2).init(jax.random.key(0)).b.tolist()
      [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    """
    check_sizes("cifg_lstm", input_size=input_size, hidden_size=hidden_size)
    b_init = b_init or bias_at(0, 3, forget_bias)
    weights = init_weights(
        input_size, hidden_size, 3, w_x_init=w_x_init, w_h_init=w_h_init, b_init=b_init, dtype=param_dtype
    )

    def init(key: Key) -> CIFGParams:
        return CIFGParams(*weights(key))

    apply = functools.partial(cifg_lstm_cell, output_activation=output_activation, dtype=dtype)
    return Cell(init, zero_carry(LSTMCarry, hidden_size), apply)


class MGUParams(NamedTuple):
    """Parameters of `mgu_cell`; gates in the order f, n.

    Attributes:
      w_x: input weights `[F, 2H]`.
      w_h: recurrent weights `[H, 2H]`.
      b: bias `[2H]`.
    """

    w_x: Array
    w_h: Array
    b: Array


@jax.named_scope("mgu_cell")
def mgu_cell(
    params: MGUParams,
    carry: GRUCarry,
    x: Array,
    *,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[GRUCarry, Array]:
    """The minimal gated unit: one gate that forgets and resets.

        f = sigmoid(x W_xf + h W_hf + b_f)
        n = tanh(x W_xn + (f * h) W_hn + b_n)
        h = f * n + (1 - f) * h

    Gates in the order f, n. One bias.
    Reference: Zhou et al. 2016, "Minimal gated unit for recurrent neural networks".

    Args:
      params: `MGUParams(w_x [F, 2H], w_h [H, 2H], b [2H])`.
      carry: `GRUCarry(h [..., H])`.
      x: `[..., F]`.
      recurrent_mask: `[..., H]` or None, see rnnjax.cells.
      dtype: dtype of the products, see rnnjax.cells.

    Returns:
      `(GRUCarry(h [..., H]), y [..., H])`, y = h.

    Raises:
      ValueError, TypeError: x or carry of the wrong shape or dtype.

    Example:
      >>> import jax.numpy as jnp
      >>> params = MGUParams(jnp.zeros((2, 2)), jnp.zeros((1, 2)), jnp.zeros(2))
      >>> carry, y = mgu_cell(params, GRUCarry(jnp.full(1, 8.0)), jnp.ones(2))
      >>> y.tolist()
      [4.0]
    """
    hidden = params.w_h.shape[0]
    check_step("mgu_cell", params, carry, x, gates=2)
    h = masked_h(carry.h, recurrent_mask)
    z_f, z_n = jnp.split(add_bias(matmul(x, params.w_x, h.dtype, dtype), params.b), 2, axis=-1)
    f = jax.nn.sigmoid(z_f + matmul(h, params.w_h[:, :hidden], h.dtype, dtype))
    n = jnp.tanh(z_n + matmul(f * h, params.w_h[:, hidden:], h.dtype, dtype))
    h = f * n + (1 - f) * carry.h
    return GRUCarry(h), h


def mgu(
    input_size: int,
    hidden_size: int,
    *,
    w_x_init: Initializer = glorot,
    w_h_init: Initializer = orthogonal,
    b_init: Initializer = zeros,
    dtype=None,
    param_dtype=jnp.float32,
) -> Cell:
    """The minimal gated unit `mgu_cell`, as a `Cell`.

    Args:
      input_size: F.
      hidden_size: H.
      w_x_init: initialiser of w_x, gate by gate `[F, H]`.
      w_h_init: initialiser of w_h, gate by gate `[H, H]`.
      b_init: initialiser of the whole b `[2H]`.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `MGUParams` and `GRUCarry`; x is `[..., F]`, y is `[..., H]`.

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.mgu(3, 5).init(jax.random.key(0)).w_x.shape
      (3, 10)
    """
    check_sizes("mgu", input_size=input_size, hidden_size=hidden_size)
    weights = init_weights(
        input_size, hidden_size, 2, w_x_init=w_x_init, w_h_init=w_h_init, b_init=b_init, dtype=param_dtype
    )

    def init(key: Key) -> MGUParams:
        return MGUParams(*weights(key))

    return Cell(init, zero_carry(GRUCarry, hidden_size), functools.partial(mgu_cell, dtype=dtype))
