"""Long short-term memory, and its form with peepholes."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Activation, Array, Cell, Initializer, Key
from rnnjax.cells._common import (
    bias_at,
    check_sizes,
    check_step,
    glorot,
    init_weights,
    masked_h,
    orthogonal,
    preactivations,
    zero_carry,
    zeros,
)


class LSTMParams(NamedTuple):
    """Parameters of `lstm_cell`; gates in the order i, f, g, o.

    Attributes:
      w_x: input weights `[F, 4H]`.
      w_h: recurrent weights `[H, 4H]`.
      b: bias `[4H]`; the forget bias is stored in it.
    """

    w_x: Array
    w_h: Array
    b: Array


class LSTMCarry(NamedTuple):
    """Carry of the LSTM cells.

    Attributes:
      h: hidden state, which is also the output, `[..., H]`.
      c: cell state `[..., H]`.
    """

    h: Array
    c: Array


@jax.named_scope("lstm_cell")
def lstm_cell(
    params: LSTMParams,
    carry: LSTMCarry,
    x: Array,
    *,
    output_activation: Activation = jnp.tanh,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[LSTMCarry, Array]:
    """Long short-term memory with a forget gate.

        i = sigmoid(x W_xi + h W_hi + b_i)      f = sigmoid(x W_xf + h W_hf + b_f)
        g = tanh(x W_xg + h W_hg + b_g)         o = sigmoid(x W_xo + h W_ho + b_o)
        c = f * c + i * g
        h = o * tanh(c)

    Gates in the order i, f, g, o, in one matrix. One bias; the forget bias is stored in it, nothing is added
    here. With `output_activation=jax.nn.identity` the last line is h = o * c, as some course notes write it.
    Reference: Hochreiter & Schmidhuber 1997, "Long short-term memory"; the forget gate is that of Gers,
    Schmidhuber & Cummins 2000, "Learning to forget".

    Args:
      params: `LSTMParams(w_x [F, 4H], w_h [H, 4H], b [4H])`.
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
      With all parameters zero, every gate is 1/2 and g = 0, so that c is halved:

      >>> import jax.numpy as jnp
      >>> params = LSTMParams(jnp.zeros((2, 4)), jnp.zeros((1, 4)), jnp.zeros(4))
      >>> carry, y = lstm_cell(params, LSTMCarry(jnp.zeros(1), jnp.full(1, 8.0)), jnp.ones(2))
      >>> carry.c.tolist()
      [4.0]
    """
    check_step("lstm_cell", params, carry, x, gates=4)
    z = preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype)
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    c = jax.nn.sigmoid(z_f) * carry.c + jax.nn.sigmoid(z_i) * jnp.tanh(z_g)
    h = jax.nn.sigmoid(z_o) * output_activation(c)
    return LSTMCarry(h, c), h


def lstm(
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
    """Long short-term memory `lstm_cell`, as a `Cell`.

    Args:
      input_size: F.
      hidden_size: H.
      forget_bias: the initial b_f (Jozefowicz et al. 2015 advise 1); the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      w_x_init: initialiser of w_x, gate by gate `[F, H]`.
      w_h_init: initialiser of w_h, gate by gate `[H, H]`.
      b_init: initialiser of the whole b `[4H]` instead of forget_bias; `rnnjax.cells.chrono_init(max_lag)` for long
        memory.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `LSTMParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., H]`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((7, 2, 3)))
      >>> ys.shape, carry.c.shape
      ((7, 2, 5), (2, 5))
    """
    check_sizes("lstm", input_size=input_size, hidden_size=hidden_size)

    b_init = b_init or bias_at(1, 4, forget_bias)
    weights = init_weights(
        input_size, hidden_size, 4, w_x_init=w_x_init, w_h_init=w_h_init, b_init=b_init, dtype=param_dtype
    )

    def init(key: Key) -> LSTMParams:
        return LSTMParams(*weights(key))

    apply = functools.partial(lstm_cell, output_activation=output_activation, dtype=dtype)
    return Cell(init, zero_carry(LSTMCarry, hidden_size), apply)


class PeepholeLSTMParams(NamedTuple):
    """Parameters of `peephole_lstm_cell`; gates in the order i, f, g, o, peepholes in the order i, f, o.

    Attributes:
      w_x: input weights `[F, 4H]`.
      w_h: recurrent weights `[H, 4H]`.
      b: bias `[4H]`; the forget bias is stored in it.
      w_c: peepholes `[3, H]`.
    """

    w_x: Array
    w_h: Array
    b: Array
    w_c: Array


@jax.named_scope("peephole_lstm_cell")
def peephole_lstm_cell(
    params: PeepholeLSTMParams,
    carry: LSTMCarry,
    x: Array,
    *,
    output_activation: Activation = jnp.tanh,
    recurrent_mask: Array | None = None,
    dtype=None,
) -> tuple[LSTMCarry, Array]:
    """The LSTM whose gates look at the cell: i and f at the old c, o at the new one.

        i = sigmoid(x W_xi + h W_hi + p_i * c_{t-1} + b_i)
        f = sigmoid(x W_xf + h W_hf + p_f * c_{t-1} + b_f)
        g = tanh(x W_xg + h W_hg + b_g)
        c_t = f * c_{t-1} + i * g
        o = sigmoid(x W_xo + h W_ho + p_o * c_t + b_o)
        h = o * tanh(c_t)

    Gates in the order i, f, g, o; peepholes in the order i, f, o. One bias, with the forget bias in it.
    Reference: Gers & Schmidhuber 2000, "Recurrent nets that time and count".

    Args:
      params: `PeepholeLSTMParams(w_x [F, 4H], w_h [H, 4H], b [4H], w_c [3, H])`.
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
      >>> params = PeepholeLSTMParams(jnp.zeros((2, 4)), jnp.zeros((1, 4)), jnp.zeros(4), jnp.zeros((3, 1)))
      >>> carry, y = peephole_lstm_cell(params, LSTMCarry(jnp.zeros(1), jnp.full(1, 8.0)), jnp.ones(2))
      >>> carry.c.tolist()
      [4.0]
    """
    check_step("peephole_lstm_cell", params, carry, x, gates=4)
    z = preactivations(params, masked_h(carry.h, recurrent_mask), x, dtype)
    z_i, z_f, z_g, z_o = jnp.split(z, 4, axis=-1)
    p_i, p_f, p_o = (jnp.broadcast_to(p.astype(z.dtype), carry.c.shape) for p in params.w_c)
    i = jax.nn.sigmoid(z_i + p_i * carry.c)
    f = jax.nn.sigmoid(z_f + p_f * carry.c)
    c = f * carry.c + i * jnp.tanh(z_g)
    h = jax.nn.sigmoid(z_o + p_o * c) * output_activation(c)
    return LSTMCarry(h, c), h


def peephole_lstm(
    input_size: int,
    hidden_size: int,
    *,
    forget_bias: float = 1.0,
    output_activation: Activation = jnp.tanh,
    w_x_init: Initializer = glorot,
    w_h_init: Initializer = orthogonal,
    w_c_init: Initializer = zeros,
    b_init: Initializer | None = None,
    dtype=None,
    param_dtype=jnp.float32,
) -> Cell:
    """The LSTM with peepholes `peephole_lstm_cell`, as a `Cell`.

    Args:
      input_size: F.
      hidden_size: H.
      forget_bias: the initial b_f; the other biases start from zero.
      output_activation: the function of c in h = o * tanh(c).
      w_x_init: initialiser of w_x, gate by gate `[F, H]`.
      w_h_init: initialiser of w_h, gate by gate `[H, H]`.
      w_c_init: initialiser of the peepholes `[3, H]`; from zeros, the cell starts as an LSTM.
      b_init: initialiser of the whole b `[4H]` instead of forget_bias.
      dtype: dtype of the products.
      param_dtype: dtype of the parameters.

    Returns:
      A `Cell` with `PeepholeLSTMParams` and `LSTMCarry`; x is `[..., F]`, y is `[..., H]`.

    Example:
      >>> import jax, rnnjax
      >>> rnnjax.peephole_lstm(3, 5).init(jax.random.key(0)).w_c.shape
      (3, 5)
    """
    base = lstm(
        input_size,
        hidden_size,
        forget_bias=forget_bias,
        w_x_init=w_x_init,
        w_h_init=w_h_init,
        b_init=b_init,
        param_dtype=param_dtype,
    )

    def init(key: Key) -> PeepholeLSTMParams:
        key_base, key_c = jax.random.split(key)
        w_x, w_h, b = base.init(key_base)
        return PeepholeLSTMParams(w_x, w_h, b, w_c_init(key_c, (3, hidden_size), param_dtype))

    apply = functools.partial(peephole_lstm_cell, output_activation=output_activation, dtype=dtype)
    return Cell(init, base.initial_carry, apply)
