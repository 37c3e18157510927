"""Attention to a window of the source (Luong et al. 2015), over any attention with energies."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Initializer, Key, Params, serializable
from rnnjax.attention._base import Alignment, Attention, Memory
from rnnjax.attention._common import check_last, draw_vector, glorot, matmul, sum_up
from rnnjax.attention._mechanism import energies_of, from_weights


@serializable
class LocalParams(NamedTuple):
    """Parameters of `local_attention`.

    Attributes:
      attention: those of the attention inside.
      w_p: weights of the predicted position `[D, D]`, or None where the position is the step.
      v_p: weights that sum up its tanh units, `[D]`, or None.
    """

    attention: Params
    w_p: Array | None
    v_p: Array | None


def local_attention(
    attention: Attention,
    *,
    window: int,
    query_size: int | None = None,
    w_p_init: Initializer = glorot,
    v_p_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Attention:
    """Makes an attention to the positions within `window` of a position p; with S the number of real positions:

        local-m:  p = step,                               a = softmax(e) over |s - p| <= window
        local-p:  p = S sigmoid(v_p . tanh(W_p q)),       a_s = softmax(e)_s exp(-(s - p)^2 / (2 (window / 2)^2))

    Only real positions are counted. Weights of local-p sum to at most one; those of local-m are zero once the window
    has left the source.
    Reference: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Args:
      attention: one with energies, such as `general_attention`.
      window: the D of the paper, in positions to either side.
      query_size: D, for local-p; None for local-m.
      w_p_init: initialiser of w_p `[D, D]`.
      v_p_init: initialiser of v_p as a matrix `[D, 1]`.
      param_dtype: dtype of w_p and v_p.

    Returns:
      An `Attention` with `LocalParams`, without energies; memory is that of the attention inside.

    Raises:
      ValueError: an attention without energies, a window or query_size that is not positive.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.local_attention(rnnjax.attention.dot_attention(), window=1)
      >>> params = attention.init(jax.random.key(0))
      >>> attention.attend(params, jnp.ones(3), attention.remember(params, jnp.ones((4, 3))))[1].tolist()
      [0.5, 0.5, 0.0, 0.0]
    """
    where = "local_attention"
    energies = energies_of(where, attention)
    checks.check_positive(where, window=window)
    if query_size is not None:
        checks.check_positive(where, query_size=query_size)

    def init(key: Key) -> LocalParams:
        if query_size is None:
            return LocalParams(attention.init(key), None, None)
        key_attention, key_w, key_v = jax.random.split(key, 3)
        return LocalParams(
            attention.init(key_attention),
            w_p_init(key_w, (query_size, query_size), param_dtype),
            draw_vector(v_p_init, key_v, query_size, param_dtype),
        )

    def weigh(params: LocalParams, query: Array, memory: Memory, alignment: Alignment | None) -> Array:
        scores = energies(params.attention, query, memory, alignment)
        mask = jnp.broadcast_to(jnp.expand_dims(memory.mask, -2), scores.shape)
        positions = jnp.expand_dims(jnp.cumsum(memory.mask, axis=-1, dtype=jnp.int32) - 1, -2)  # [*batch, 1, S]
        if params.w_p is None or params.v_p is None:
            center = jnp.zeros(scores.shape[:-1], jnp.int32) if alignment is None else alignment.step
            return masking.masked_softmax(scores, mask & (jnp.abs(positions - center[..., None]) <= window))
        check_last(where, "query", query, params.w_p.shape[0], "as query_size has it")
        real = jnp.sum(memory.mask, axis=-1, keepdims=True).astype(scores.dtype)  # [*batch, 1]
        share = jax.nn.sigmoid(sum_up(matmul(query, params.w_p), params.v_p)).astype(scores.dtype)  # [*batch, N]
        distance = positions.astype(scores.dtype) - (real * share)[..., None]  # [*batch, N, S]
        weights = masking.masked_softmax(scores, mask & (jnp.abs(distance) <= window))
        return weights * jnp.exp(-2 * (distance / window) ** 2)

    def remember(params: LocalParams, values: Array, **padding: Any) -> Memory:
        return attention.remember(params.attention, values, **padding)

    return from_weights(where, init, remember, weigh, memory_size=attention.memory_size)
