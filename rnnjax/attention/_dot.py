"""Energies that are products: dot and general attention (Luong et al. 2015), and the scaled one."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Array, Initializer, Key, serializable
from rnnjax.attention._base import Alignment, Attention, Memory
from rnnjax.attention._common import check_last, matmul
from rnnjax.attention._mechanism import from_energies


def dot_attention() -> Attention:
    """Makes an attention without parameters: e_s = q . m_s.

    Reference: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Returns:
      An `Attention` whose params are `()`; D = M, and keys are the values, `[*batch, S, M]`.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.dot_attention()
      >>> memory = attention.remember((), 9 * jnp.eye(3))
      >>> attention.attend((), jnp.array([0.0, 9.0, 0.0]), memory)[1].round(3).tolist()
      [0.0, 1.0, 0.0]
    """
    return from_energies(
        "dot_attention",
        lambda key: (),
        None,
        lambda params, values: values,
        lambda params, query, memory, alignment=None: _dot("dot_attention", query, memory),
    )


@serializable
class ScaledDotParams(NamedTuple):
    """Parameters of `scaled_dot_attention`.

    Attributes:
      g: scale `[]`.
    """

    g: Array


def scaled_dot_attention(size: int, *, param_dtype=jnp.float32) -> Attention:
    """Makes dot attention with a learned scale g that starts at 1 / sqrt(size): e_s = g q . m_s.

    Reference: Vaswani et al. 2017, "Attention is all you need", where g is fixed; learned as in Luong's code.

    Args:
      size: features of queries `[..., D]` and of values `[S, ..., M]`, D = M.
      param_dtype: dtype of g `[]`.

    Returns:
      An `Attention` with `ScaledDotParams`; keys are the values, `[*batch, S, M]`.

    Examples:
      >>> import jax, rnnjax
      >>> float(rnnjax.attention.scaled_dot_attention(16).init(jax.random.key(0)).g)
      0.25
    """
    where = "scaled_dot_attention"
    checks.check_positive(where, size=size)

    def energies(params: ScaledDotParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        scores = _dot(where, query, memory)
        return params.g.astype(scores.dtype) * scores

    def init(key: Key) -> ScaledDotParams:
        del key  # nothing is random
        return ScaledDotParams(jnp.asarray(size**-0.5, param_dtype))

    return from_energies(where, init, size, lambda params, values: values, energies)


@serializable
class GeneralParams(NamedTuple):
    """Parameters of `general_attention`.

    Attributes:
      w: `[D, M]`.
    """

    w: Array


def bilinear_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Draws `[D, M]` of variance 1 / (D M), so that q . W m is of order one and its softmax not saturated."""
    return jax.random.normal(key, shape, dtype) / math.sqrt(math.prod(shape))


def general_attention(
    query_size: int, memory_size: int, *, w_init: Initializer = bilinear_init, param_dtype=jnp.float32
) -> Attention:
    """Makes an attention of bilinear energies: e_s = q . W m_s.

    Reference: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Args:
      query_size: D.
      memory_size: M.
      w_init: initialiser of W `[D, M]`; the default keeps energies of order one, whatever the sizes.
      param_dtype: dtype of W.

    Returns:
      An `Attention` with `GeneralParams`; keys are W m, `[*batch, S, D]`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.general_attention(5, 3)
      >>> attention.remember(attention.init(jax.random.key(0)), jnp.ones((4, 2, 3))).keys.shape
      (2, 4, 5)
    """
    where = "general_attention"
    checks.check_positive(where, query_size=query_size, memory_size=memory_size)
    return from_energies(
        where,
        lambda key: GeneralParams(w_init(key, (query_size, memory_size), param_dtype)),
        memory_size,
        lambda params, values: matmul(values, params.w.T),
        lambda params, query, memory, alignment=None: _dot(where, query, memory),
    )


def _dot(where: str, query: Array, memory: Memory) -> Array:
    """q . key_s, one batched product `[*batch, N, S]`, in at least float32."""
    check_last(where, "query", query, memory.keys.shape[-1], "as many features as the memory's keys have")
    return matmul(query, jnp.swapaxes(memory.keys, -1, -2))
