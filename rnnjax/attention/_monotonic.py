"""Attention that only moves on (Raffel et al. 2017), over any attention with energies."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Key, Params, serializable
from rnnjax.attention._base import Alignment, Attention, Memory
from rnnjax.attention._mechanism import energies_of, from_weights


@serializable
class MonotonicParams(NamedTuple):
    """Parameters of `monotonic_attention` with an offset of its own.

    Attributes:
      attention: those of the attention inside.
      r: offset of the energies, `[]`.
    """

    attention: Params
    r: Array


def monotonic_attention(
    attention: Attention,
    *,
    r_init: float | None = None,
    hard: bool = False,
    noise: float = 0.0,
    key: Key | None = None,
    param_dtype=jnp.float32,
) -> Attention:
    """Makes an attention that only moves on: from where it looked before, it stops at position s with probability p_s.

        p_s = sigmoid(e_s + r), 0 behind the mask
        q_s = (1 - p_{s-1}) q_{s-1} + a'_s        a' the weights of the step before; at the first step all at position 0
        a_s = p_s q_s

    q_s is the probability that s is inspected; a is the expectation of the hard process, and mass that runs off the
    end stays lost. With hard, a is one at the first real s with e_s + r > 0, from the position attended before onwards;
    if there is none, a is zero everywhere, in this step and in all later ones.
    Reference: Raffel et al. 2017, "Online and linear-time attention by enforcing monotonic alignments".

    Args:
      attention: one with energies, such as `additive_attention(..., normalize=True, r_init=-4.)`, which has the gain g
        and the offset r of the paper; or one that has no r, such as `general_attention`, beside an r_init.
      r_init: where a learned offset r starts: below zero, p is small at first, and attention looks far. TensorFlow's
        score_bias_init. None for no r but that of the attention inside.
      hard: whether to stop wherever e + r > 0, as at test time; the energies get no gradient.
      noise: standard deviation of noise added to the energies, so that training learns p near 0 or 1.
      key: random key of the noise, folded with row and step; no noise if None.
      param_dtype: dtype of r.

    Returns:
      An `Attention` with the memory and the params of the one inside, the latter in `MonotonicParams` beside an r_init,
      without energies. Its alignment must come from the steps before (see `next_alignment`).

    Raises:
      ValueError: an attention without energies, a negative noise.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.monotonic_attention(rnnjax.attention.dot_attention(), hard=True)
      >>> memory = attention.remember((), jnp.array([[-1.0], [1.0], [1.0]]))
      >>> context, weights = attention.attend((), jnp.ones(1), memory)
      >>> weights.tolist()
      [0.0, 1.0, 0.0]
      >>> biased = rnnjax.attention.monotonic_attention(rnnjax.attention.dot_attention(), r_init=-4.0)
      >>> params = biased.init(jax.random.key(0))
      >>> float(params.r), biased.attend(params, jnp.ones(1), memory)[1].round(3).tolist()
      (-4.0, [0.007..., 0.047..., 0.045...])
    """
    where = "monotonic_attention"
    energies = energies_of(where, attention)
    biased = r_init is not None
    if not noise >= 0:
        raise ValueError(f"{where}: expected a noise of at least 0, got {noise}; it is a standard deviation.")

    def init(key: Key) -> Params:
        inside = attention.init(key)
        return MonotonicParams(inside, jnp.asarray(r_init, param_dtype)) if biased else inside

    def remember(params: Params, values: Array, **padding: Any) -> Memory:
        return attention.remember(params.attention if biased else params, values, **padding)

    def weigh(params: Params, query: Array, memory: Memory, alignment: Alignment | None) -> Array:
        scores = energies(params.attention if biased else params, query, memory, alignment)
        if biased:
            scores = scores + jnp.broadcast_to(params.r.astype(scores.dtype), scores.shape)
        mask = jnp.broadcast_to(jnp.expand_dims(memory.mask, -2), scores.shape)
        step = jnp.zeros(scores.shape[:-1], jnp.int32) if alignment is None else alignment.step
        if noise > 0 and key is not None:
            scores = scores + noise * _normal(key, step, scores)
        before = jnp.broadcast_to(jnp.arange(scores.shape[-1]) == 0, scores.shape).astype(scores.dtype)
        if alignment is not None:
            before = jnp.where(step[..., None] == 0, before, alignment.weights.astype(scores.dtype))
        if hard:
            reached = jnp.cumsum(before > 0, axis=-1, dtype=jnp.int32) > 0
            stops = mask & reached & (scores > 0)
            return (stops & (jnp.cumsum(stops, axis=-1, dtype=jnp.int32) == 1)).astype(scores.dtype)
        scores = jnp.where(mask, scores, 0)  # the first of two: gradients of what is behind the mask stay finite
        stop = jnp.where(mask, jax.nn.sigmoid(scores), 0)
        stay = jnp.where(mask, jax.nn.sigmoid(-scores), 1)  # 1 - stop, exact where stop is close to 1
        stay = jnp.concatenate([jnp.zeros_like(stay[..., :1]), stay[..., :-1]], axis=-1)
        _, inspected = jax.lax.associative_scan(_then, (stay, before), axis=scores.ndim - 1)
        return stop * inspected

    return from_weights(where, init, remember, weigh, memory_size=attention.memory_size)


def _then(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """The map q -> a q + b of the first, then that of the second."""
    return first[0] * second[0], second[0] * first[1] + second[1]


def _normal(key: Key, step: Array, like: Array) -> Array:
    """N(0, 1) `[*rows, S]` like the energies, drawn anew for each row and step `[*rows]`."""

    def draw(row: Array, step: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, row), step), like.shape[-1:], like.dtype)

    return jax.vmap(draw)(jnp.arange(step.size), step.reshape(-1)).reshape(like.shape)
