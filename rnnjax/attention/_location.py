"""Attention that sees where it looked before (Chorowski et al. 2015)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Array, Initializer, Key, serializable
from rnnjax.attention._base import Alignment, Attention, Memory
from rnnjax.attention._common import additive_keys, draw_vector, glorot, hidden_sums, matmul, sum_up
from rnnjax.attention._mechanism import from_energies


@serializable
class LocationParams(NamedTuple):
    """Parameters of `location_attention`.

    Attributes:
      w_q: query weights `[D, A]`.
      w_m: memory weights `[M, A]`.
      b: bias `[A]`.
      v: weights that sum up the tanh units, `[A]`.
      w_f: filters `[width, filters]`; row width // 2 meets the position itself.
      u: weights of the filters' outputs, `[filters, A]`.
    """

    w_q: Array
    w_m: Array
    b: Array
    v: Array
    w_f: Array
    u: Array


def location_attention(
    query_size: int,
    memory_size: int,
    attention_size: int,
    *,
    filters: int = 32,
    width: int = 31,
    cumulative: bool = False,
    w_q_init: Initializer = glorot,
    w_m_init: Initializer = glorot,
    v_init: Initializer = glorot,
    w_f_init: Initializer = glorot,
    u_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Attention:
    """Makes additive attention that sees where it looked before.

        f_s = sum_k w_f[k] a'_{s + k - width // 2},  a' the weights of the step before, zero outside the source
        e_s = v . tanh(W_q q + W_m m_s + U f_s + b)

    Reference: Chorowski et al. 2015, "Attention-based models for speech recognition"; cumulative: Shen et al. 2018,
    "Natural TTS synthesis by conditioning WaveNet on mel spectrogram predictions" (Tacotron 2), which has the defaults.

    Args:
      query_size: D.
      memory_size: M.
      attention_size: A.
      filters: number of filters.
      width: width of the filters in positions; odd.
      cumulative: whether a' is the sum of the weights of all steps so far.
      w_q_init: initialiser of w_q `[D, A]`; b starts from zeros.
      w_m_init: initialiser of w_m `[M, A]`.
      v_init: initialiser of v as a matrix `[A, 1]`.
      w_f_init: initialiser of w_f `[width, filters]`.
      u_init: initialiser of u `[filters, A]`.
      param_dtype: dtype of the parameters.

    Returns:
      An `Attention` with `LocationParams`; keys are W_m m + b, `[*batch, S, A]`.

    Raises:
      ValueError: sizes that are not positive, an even width.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.attention.location_attention(5, 3, 7, filters=2, width=9).init(jax.random.key(0)).w_f.shape
      (9, 2)
    """
    where = "location_attention"
    checks.check_positive(where, query_size=query_size, memory_size=memory_size, attention_size=attention_size)
    checks.check_positive(where, filters=filters, width=width)
    if width % 2 == 0:
        raise ValueError(f"{where}: expected an odd width, got {width}; take {width + 1}.")

    def init(key: Key) -> LocationParams:
        key_q, key_m, key_v, key_f, key_u = jax.random.split(key, 5)
        return LocationParams(
            w_q=w_q_init(key_q, (query_size, attention_size), param_dtype),
            w_m=w_m_init(key_m, (memory_size, attention_size), param_dtype),
            b=jnp.zeros((attention_size,), param_dtype),
            v=draw_vector(v_init, key_v, attention_size, param_dtype),
            w_f=w_f_init(key_f, (width, filters), param_dtype),
            u=u_init(key_u, (filters, attention_size), param_dtype),
        )

    def energies(params: LocationParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        hidden = hidden_sums(where, query, params.w_q, memory)  # [*batch, N, S, A]
        if alignment is not None:  # nothing is found in the zeros before the first step
            before = alignment.coverage if cumulative else alignment.weights
            found = jax.lax.conv_general_dilated(
                before.reshape(-1, before.shape[-1], 1).astype(hidden.dtype),  # [rows, S, 1]
                jnp.expand_dims(params.w_f, 1).astype(hidden.dtype),  # [width, 1, filters]
                window_strides=(1,),
                padding="SAME",
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
            hidden = hidden + matmul(found, params.u.astype(hidden.dtype)).reshape(hidden.shape)
        return sum_up(hidden, params.v)

    return from_energies(where, init, memory_size, additive_keys, energies)
