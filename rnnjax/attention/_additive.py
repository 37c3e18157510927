"""Energies from a network with one hidden layer: additive attention (Bahdanau et al. 2014) and Luong's concat."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Array, Initializer, Key, serializable
from rnnjax.attention._base import Alignment, Attention, Memory
from rnnjax.attention._common import additive_keys, draw_vector, glorot, hidden_sums, matmul, sum_up
from rnnjax.attention._mechanism import from_energies


@serializable
class AdditiveParams(NamedTuple):
    """Parameters of `additive_attention`.

    Attributes:
      w_q: query weights `[D, A]`.
      w_m: memory weights `[M, A]`.
      b: bias `[A]`.
      v: weights that sum up the tanh units, `[A]`.
      g: length of v, `[]`, if normalised, else None.
      r: offset of the energies, `[]`, if normalised, else None.
      w_c: coverage weights `[A]`, or None without coverage.
    """

    w_q: Array
    w_m: Array
    b: Array
    v: Array
    g: Array | None
    r: Array | None
    w_c: Array | None


def additive_attention(
    query_size: int,
    memory_size: int,
    attention_size: int,
    *,
    normalize: bool = False,
    coverage: bool = False,
    r_init: float = 0.0,
    w_q_init: Initializer = glorot,
    w_m_init: Initializer = glorot,
    v_init: Initializer = glorot,
    w_c_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Attention:
    """Makes an attention whose energies come from a network with one hidden layer.

        e_s = v . tanh(W_q q + W_m m_s + b)
        e_s = g v / |v| . tanh(W_q q + W_m m_s + b) + r            with normalize
        e_s = v . tanh(W_q q + W_m m_s + b + w_c coverage_s)       with coverage; both may be true

    Reference: Bahdanau, Cho & Bengio 2014, "Neural machine translation by jointly learning to align and translate";
    normalize: Salimans & Kingma 2016, "Weight normalization", with the r of Raffel et al. 2017, which matters to
    `monotonic_attention` only; coverage: See, Liu & Manning 2017, "Get to the point".

    Args:
      query_size: D.
      memory_size: M.
      attention_size: A.
      normalize: whether v gets a separate length g, which starts at 1 / sqrt(A), and the energies an offset r.
      coverage: whether the energies see the sum of the weights so far.
      r_init: where r starts; below zero (Raffel et al. take about -4) monotonic attention starts by looking far.
      w_q_init: initialiser of w_q `[D, A]`; b starts from zeros.
      w_m_init: initialiser of w_m `[M, A]`.
      v_init: initialiser of v as a matrix `[A, 1]`.
      w_c_init: initialiser of w_c as a matrix `[A, 1]`.
      param_dtype: dtype of the parameters.

    Returns:
      An `Attention` with `AdditiveParams`; keys are W_m m + b, `[*batch, S, A]`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.additive_attention(5, 3, 7, normalize=True, coverage=True)
      >>> params = attention.init(jax.random.key(0))
      >>> memory = attention.remember(params, jnp.ones((4, 2, 3)))
      >>> alignment = rnnjax.attention.initial_alignment(memory)
      >>> for _ in range(2):
      ...     context, weights = attention.attend(params, jnp.ones((2, 5)), memory, alignment)
      ...     alignment = rnnjax.attention.next_alignment(alignment, weights)
      >>> context.shape, alignment.coverage.sum(axis=-1).tolist()
      ((2, 3), [2.0, 2.0])
    """
    where = "additive_attention"
    checks.check_positive(where, query_size=query_size, memory_size=memory_size, attention_size=attention_size)

    def init(key: Key) -> AdditiveParams:
        key_q, key_m, key_v, key_c = jax.random.split(key, 4)
        return AdditiveParams(
            w_q=w_q_init(key_q, (query_size, attention_size), param_dtype),
            w_m=w_m_init(key_m, (memory_size, attention_size), param_dtype),
            b=jnp.zeros((attention_size,), param_dtype),
            v=draw_vector(v_init, key_v, attention_size, param_dtype),
            g=jnp.asarray(attention_size**-0.5, param_dtype) if normalize else None,
            r=jnp.asarray(r_init, param_dtype) if normalize else None,
            w_c=draw_vector(w_c_init, key_c, attention_size, param_dtype) if coverage else None,
        )

    def energies(params: AdditiveParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        hidden = hidden_sums(where, query, params.w_q, memory)  # [*batch, N, S, A]
        if params.w_c is not None and alignment is not None:
            hidden = hidden + _outer(alignment.coverage, params.w_c, hidden.dtype)
        if params.g is None or params.r is None:
            return sum_up(hidden, params.v)
        v = params.v.astype(hidden.dtype)
        v = params.g.astype(v.dtype) * v / jnp.linalg.norm(v)
        scores = sum_up(hidden, v)
        return scores + jnp.broadcast_to(params.r.astype(v.dtype), scores.shape)

    return from_energies(where, init, memory_size, additive_keys, energies)


@serializable
class ConcatParams(NamedTuple):
    """Parameters of `concat_attention`.

    Attributes:
      w: `[D + M, A]`, the query's rows first.
      v: weights that sum up the tanh units, `[A]`.
    """

    w: Array
    v: Array


def concat_attention(
    query_size: int,
    memory_size: int,
    attention_size: int,
    *,
    w_init: Initializer = glorot,
    v_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Attention:
    """Makes additive attention with one matrix and no bias: e_s = v . tanh(W [q; m_s]).

    Reference: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Args:
      query_size: D.
      memory_size: M.
      attention_size: A.
      w_init: initialiser of W `[D + M, A]`.
      v_init: initialiser of v as a matrix `[A, 1]`.
      param_dtype: dtype of the parameters.

    Returns:
      An `Attention` with `ConcatParams`; keys are the m half of W [q; m], `[*batch, S, A]`.

    Examples:
      >>> import jax, rnnjax
      >>> rnnjax.attention.concat_attention(5, 3, 7).init(jax.random.key(0)).w.shape
      (8, 7)
    """
    where = "concat_attention"
    checks.check_positive(where, query_size=query_size, memory_size=memory_size, attention_size=attention_size)

    def init(key: Key) -> ConcatParams:
        key_w, key_v = jax.random.split(key)
        w = w_init(key_w, (query_size + memory_size, attention_size), param_dtype)
        return ConcatParams(w, draw_vector(v_init, key_v, attention_size, param_dtype))

    def energies(params: ConcatParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        return sum_up(hidden_sums(where, query, params.w[:query_size], memory), params.v)

    return from_energies(
        where, init, memory_size, lambda params, values: matmul(values, params.w[query_size:]), energies
    )


def _outer(x: Array, w: Array, dtype: Any) -> Array:
    """x_s w_a, `[..., S, A]`."""
    return x[..., None].astype(dtype) * w.astype(dtype).reshape((1,) * x.ndim + w.shape)
