"""Attention: where in a source a query looks.

`remember` projects a source once, `attend` asks it at every step. A mechanism is the equation of its energies e_s, one
a source position s; with m_s the values, the rest is common to all:

    a = softmax(e) over the real positions,    context = sum_s a_s m_s

A source is time-major, `[S, ..., M]`; its memory has the batch axes first, `[*batch, S, ...]`. A query has the batch
axes of the memory first, and may have more behind them (beams, say), over which the memory is never copied.
Energies and weights are computed in float32 at least; weights and context have the dtype of the values. A row
without real positions gives zero weights, zero context and zero gradients. NaN behind the mask changes nothing.
Wherever an `Alignment` is taken, None means the first step. Every mechanism raises ValueError for sizes that are not
positive, and its functions ValueError or TypeError for arrays of the wrong shape or dtype.
"""

import math
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import masking
from rnnjax.types import Array, Initializer, Key, Params

glorot = jax.nn.initializers.glorot_uniform()


def bilinear_init(key: Key, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
    """Normal of variance 1 / (D M): q . W m is of order one then, and its softmax not saturated; `[D, M]`."""
    return jax.random.normal(key, shape, dtype) / math.sqrt(math.prod(shape))


class Memory(NamedTuple):
    """What a source is remembered as.

    Attributes:
      keys: the values as the mechanism projects them, once a source, `[*batch, S, A]`.
      values: `[*batch, S, M]`, zero behind the mask.
      mask: booleans `[*batch, S]`, true for real positions.
    """

    keys: Array
    values: Array
    mask: Array


class Alignment(NamedTuple):
    """What attention remembers of the steps before.

    Attributes:
      weights: those of the step before, `[..., S]`, zeros before the first.
      coverage: the sum of the weights of all steps so far, `[..., S]`.
      step: steps done, int32 `[...]`.
    """

    weights: Array
    coverage: Array
    step: Array


class Attention(NamedTuple):
    """An attention mechanism: pure functions.

    Attributes:
      init: `(key) -> params`.
      remember: `(params, values [S, ..., M], *, lengths=None, mask=None) -> Memory`, with integers `lengths [...]`
        or booleans `mask [S, ...]`, not both; neither means that all positions are real.
      attend: `(params, query [*batch, *more, D], memory, alignment=None) -> (context [*batch, *more, M],
        weights [*batch, *more, S])`; the leaves of the alignment have the leading axes of the query.
      energies: `(params, query [*batch, N, D], memory, alignment) -> [*batch, N, S]`, alignment with leaves
        `[*batch, N, ...]` or None; or None for a mechanism that is not a softmax of energies. `local_attention` and
        `monotonic_attention` build on it.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> attention = additive_attention(5, 3, 7)
      >>> params = attention.init(jax.random.key(0))
      >>> memory = attention.remember(params, jnp.ones((4, 2, 3)), lengths=jnp.array([4, 2]))
      >>> context, weights = attention.attend(params, jnp.ones((2, 5)), memory)
      >>> context.shape, weights.round(2).tolist()
      ((2, 3), [[0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]])
    """

    init: Callable[[Key], Params]
    remember: Callable[..., Memory]
    attend: Callable[..., tuple[Array, Array]]
    energies: Callable[..., Array] | None = None


def initial_alignment(memory: Memory, batch_shape: tuple[int, ...] | None = None, dtype=None) -> Alignment:
    """The alignment before the first step: zeros.

    Args:
      memory: a `Memory` of S positions.
      batch_shape: the leading axes of the queries to come; those of the memory if None.
      dtype: dtype of weights and coverage; that of the memory's values if None.

    Returns:
      `Alignment(weights [*batch_shape, S], coverage [*batch_shape, S], step [*batch_shape])`.

    Example:
      >>> import jax.numpy as jnp
      >>> memory = dot_attention().remember((), jnp.ones((3, 2)))
      >>> initial_alignment(memory).weights.tolist()
      [0.0, 0.0, 0.0]
    """
    batch_shape = memory.mask.shape[:-1] if batch_shape is None else tuple(batch_shape)
    zeros = jnp.zeros((*batch_shape, memory.mask.shape[-1]), memory.values.dtype if dtype is None else dtype)
    return Alignment(zeros, zeros, jnp.zeros(batch_shape, jnp.int32))


def advance(alignment: Alignment, weights: Array) -> Alignment:
    """The alignment one step later: weights, coverage + weights, step + 1.

    Args:
      alignment: `Alignment(weights [..., S], coverage [..., S], step [...])`.
      weights: those that `attend` returned, `[..., S]`.

    Returns:
      An `Alignment` of the shapes and dtypes of the one taken.

    Example:
      >>> import jax.numpy as jnp
      >>> memory = dot_attention().remember((), jnp.zeros((2, 3)))
      >>> after = advance(initial_alignment(memory), jnp.array([0.25, 0.75]))
      >>> advance(after, jnp.array([0.5, 0.5])).coverage.tolist()
      [0.75, 1.25]
    """
    return Alignment(
        weights.astype(alignment.weights.dtype),
        alignment.coverage + weights.astype(alignment.coverage.dtype),
        alignment.step + 1,
    )


class AdditiveParams(NamedTuple):
    """Parameters of `additive_attention`.

    Attributes:
      w_q: query weights `[D, A]`.
      w_m: memory weights `[M, A]`.
      b: bias `[A]`.
      v: what sums up the tanh units, `[A]`.
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
    """Energies from a network with one hidden layer.

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
      normalize: whether v has a length g of its own, from 1 / sqrt(A), and the energies an offset r.
      coverage: whether the energies see the sum of the weights so far.
      r_init: where r starts; below zero (Raffel et al. take -4 or so) monotonic attention starts by looking far.
      w_q_init: initialiser of w_q `[D, A]`; b starts from zeros.
      w_m_init: initialiser of w_m `[M, A]`.
      v_init: initialiser of v as a matrix `[A, 1]`.
      w_c_init: initialiser of w_c as a matrix `[A, 1]`.
      param_dtype: dtype of the parameters.

    Returns:
      An `Attention` with `AdditiveParams`; keys are W_m m + b, `[*batch, S, A]`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> attention = additive_attention(5, 3, 7, normalize=True, coverage=True)
      >>> params = attention.init(jax.random.key(0))
      >>> memory = attention.remember(params, jnp.ones((4, 2, 3)))
      >>> alignment = initial_alignment(memory)
      >>> for _ in range(2):
      ...     context, weights = attention.attend(params, jnp.ones((2, 5)), memory, alignment)
      ...     alignment = advance(alignment, weights)
      >>> context.shape, alignment.coverage.sum(axis=-1).tolist()
      ((2, 3), [2.0, 2.0])
    """
    where = "additive_attention"
    _check_positive(where, query_size=query_size, memory_size=memory_size, attention_size=attention_size)

    def init(key: Key) -> AdditiveParams:
        key_q, key_m, key_v, key_c = jax.random.split(key, 4)
        return AdditiveParams(
            w_q=w_q_init(key_q, (query_size, attention_size), param_dtype),
            w_m=w_m_init(key_m, (memory_size, attention_size), param_dtype),
            b=jnp.zeros((attention_size,), param_dtype),
            v=_vector(v_init, key_v, attention_size, param_dtype),
            g=jnp.asarray(attention_size**-0.5, param_dtype) if normalize else None,
            r=jnp.asarray(r_init, param_dtype) if normalize else None,
            w_c=_vector(w_c_init, key_c, attention_size, param_dtype) if coverage else None,
        )

    def energies(params: AdditiveParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        hidden = _hidden(where, query, params.w_q, memory)  # [*batch, N, S, A]
        if params.w_c is not None and alignment is not None:
            hidden = hidden + _outer(alignment.coverage, params.w_c, hidden.dtype)
        if params.g is None or params.r is None:
            return _sum_up(hidden, params.v)
        v = params.v.astype(hidden.dtype)
        v = params.g.astype(v.dtype) * v / jnp.linalg.norm(v)
        scores = _sum_up(hidden, v)
        return scores + jnp.broadcast_to(params.r.astype(v.dtype), scores.shape)

    return _soft(where, init, memory_size, _additive_keys, energies)


def dot_attention() -> Attention:
    """e_s = q . m_s, without parameters.

    Reference: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Returns:
      An `Attention` whose params are `()`; D = M, and keys are the values.

    Example:
      >>> import jax.numpy as jnp
      >>> attention = dot_attention()
      >>> memory = attention.remember((), 9 * jnp.eye(3))
      >>> attention.attend((), jnp.array([0.0, 9.0, 0.0]), memory)[1].round(3).tolist()
      [0.0, 1.0, 0.0]
    """
    return _soft(
        "dot_attention",
        lambda key: (),
        None,
        lambda params, values: values,
        lambda params, query, memory, alignment=None: _dot("dot_attention", query, memory),
    )


class ScaledDotParams(NamedTuple):
    """Parameters of `scaled_dot_attention`.

    Attributes:
      g: scale `[]`.
    """

    g: Array


def scaled_dot_attention(size: int, *, param_dtype=jnp.float32) -> Attention:
    """e_s = g q . m_s, with a learned scale g that starts at 1 / sqrt(size).

    Reference: Vaswani et al. 2017, "Attention is all you need", where g stays as it starts; learned as in Luong's
    code.

    Args:
      size: D and M.
      param_dtype: dtype of g.

    Returns:
      An `Attention` with `ScaledDotParams`; keys are the values.

    Example:
      >>> import jax
      >>> float(scaled_dot_attention(16).init(jax.random.key(0)).g)
      0.25
    """
    where = "scaled_dot_attention"
    _check_positive(where, size=size)

    def energies(params: ScaledDotParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        scores = _dot(where, query, memory)
        return params.g.astype(scores.dtype) * scores

    def init(key: Key) -> ScaledDotParams:
        del key  # nothing is random
        return ScaledDotParams(jnp.asarray(size**-0.5, param_dtype))

    return _soft(where, init, size, lambda params, values: values, energies)


class GeneralParams(NamedTuple):
    """Parameters of `general_attention`.

    Attributes:
      w: `[D, M]`.
    """

    w: Array


def general_attention(
    query_size: int, memory_size: int, *, w_init: Initializer = bilinear_init, param_dtype=jnp.float32
) -> Attention:
    """e_s = q . W m_s.

    Reference: Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Args:
      query_size: D.
      memory_size: M.
      w_init: initialiser of W `[D, M]`; the default keeps energies of order one, whatever the sizes.
      param_dtype: dtype of W.

    Returns:
      An `Attention` with `GeneralParams`; keys are W m, `[*batch, S, D]`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> attention = general_attention(5, 3)
      >>> attention.remember(attention.init(jax.random.key(0)), jnp.ones((4, 2, 3))).keys.shape
      (2, 4, 5)
    """
    where = "general_attention"
    _check_positive(where, query_size=query_size, memory_size=memory_size)
    return _soft(
        where,
        lambda key: GeneralParams(w_init(key, (query_size, memory_size), param_dtype)),
        memory_size,
        lambda params, values: _matmul(values, params.w.T),
        lambda params, query, memory, alignment=None: _dot(where, query, memory),
    )


class ConcatParams(NamedTuple):
    """Parameters of `concat_attention`.

    Attributes:
      w: `[D + M, A]`, the query's rows first.
      v: what sums up the tanh units, `[A]`.
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
    """e_s = v . tanh(W [q; m_s]): additive attention with one matrix and no bias.

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

    Example:
      >>> import jax
      >>> concat_attention(5, 3, 7).init(jax.random.key(0)).w.shape
      (8, 7)
    """
    where = "concat_attention"
    _check_positive(where, query_size=query_size, memory_size=memory_size, attention_size=attention_size)

    def init(key: Key) -> ConcatParams:
        key_w, key_v = jax.random.split(key)
        w = w_init(key_w, (query_size + memory_size, attention_size), param_dtype)
        return ConcatParams(w, _vector(v_init, key_v, attention_size, param_dtype))

    def energies(params: ConcatParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        return _sum_up(_hidden(where, query, params.w[:query_size], memory), params.v)

    return _soft(where, init, memory_size, lambda params, values: _matmul(values, params.w[query_size:]), energies)


class LocationParams(NamedTuple):
    """Parameters of `location_attention`.

    Attributes:
      w_q: query weights `[D, A]`.
      w_m: memory weights `[M, A]`.
      b: bias `[A]`.
      v: what sums up the tanh units, `[A]`.
      w_f: filters `[width, filters]`; row width // 2 meets the position itself.
      u: weights of what the filters find, `[filters, A]`.
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
    """Additive attention that sees where it looked before.

        f_s = sum_k w_f[k] a'_{s + k - width // 2},  a' the weights of the step before, zero outside the source
        e_s = v . tanh(W_q q + W_m m_s + U f_s + b)

    Reference: Chorowski et al. 2015, "Attention-based models for speech recognition"; cumulative: Shen et al. 2018,
    "Natural TTS synthesis by conditioning WaveNet on mel spectrogram predictions" (Tacotron 2), whence the defaults.

    Args:
      query_size: D.
      memory_size: M.
      attention_size: A.
      filters: how many filters.
      width: of the filters, in positions; odd.
      cumulative: whether a' is the sum of the weights of all steps before.
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

    Example:
      >>> import jax
      >>> location_attention(5, 3, 7, filters=2, width=9).init(jax.random.key(0)).w_f.shape
      (9, 2)
    """
    where = "location_attention"
    _check_positive(where, query_size=query_size, memory_size=memory_size, attention_size=attention_size)
    _check_positive(where, filters=filters, width=width)
    if width % 2 == 0:
        raise ValueError(f"{where}: expected an odd width, got {width}; take {width + 1}.")

    def init(key: Key) -> LocationParams:
        key_q, key_m, key_v, key_f, key_u = jax.random.split(key, 5)
        return LocationParams(
            w_q=w_q_init(key_q, (query_size, attention_size), param_dtype),
            w_m=w_m_init(key_m, (memory_size, attention_size), param_dtype),
            b=jnp.zeros((attention_size,), param_dtype),
            v=_vector(v_init, key_v, attention_size, param_dtype),
            w_f=w_f_init(key_f, (width, filters), param_dtype),
            u=u_init(key_u, (filters, attention_size), param_dtype),
        )

    def energies(params: LocationParams, query: Array, memory: Memory, alignment: Alignment | None = None) -> Array:
        hidden = _hidden(where, query, params.w_q, memory)  # [*batch, N, S, A]
        if alignment is not None:  # nothing is found in the zeros before the first step
            before = alignment.coverage if cumulative else alignment.weights
            found = jax.lax.conv_general_dilated(
                before.reshape(-1, before.shape[-1], 1).astype(hidden.dtype),  # [rows, S, 1]
                jnp.expand_dims(params.w_f, 1).astype(hidden.dtype),  # [width, 1, filters]
                window_strides=(1,),
                padding="SAME",
                dimension_numbers=("NWC", "WIO", "NWC"),
            )
            hidden = hidden + _matmul(found, params.u.astype(hidden.dtype)).reshape(hidden.shape)
        return _sum_up(hidden, params.v)

    return _soft(where, init, memory_size, _additive_keys, energies)


class LocalParams(NamedTuple):
    """Parameters of `local_attention`.

    Attributes:
      attention: those of the attention inside.
      w_p: weights of the predicted position `[D, D]`, or None where the position is the step.
      v_p: what sums up its tanh units, `[D]`, or None.
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
    """Attention to the positions within `window` of a position p; with S the number of real positions:

        local-m:  p = step,                               a = softmax(e) over |s - p| <= window
        local-p:  p = S sigmoid(v_p . tanh(W_p q)),       a_s = softmax(e)_s exp(-(s - p)^2 / (2 (window / 2)^2))

    Positions count what is real. Weights of local-p sum to at most one; those of local-m are zero where the window
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

    Example:
      >>> import jax, jax.numpy as jnp
      >>> attention = local_attention(dot_attention(), window=1)
      >>> params = attention.init(jax.random.key(0))
      >>> attention.attend(params, jnp.ones(3), attention.remember(params, jnp.ones((4, 3))))[1].tolist()
      [0.5, 0.5, 0.0, 0.0]
    """
    where = "local_attention"
    energies = _energies_of(where, attention)
    _check_positive(where, window=window)
    if query_size is not None:
        _check_positive(where, query_size=query_size)

    def init(key: Key) -> LocalParams:
        if query_size is None:
            return LocalParams(attention.init(key), None, None)
        key_attention, key_w, key_v = jax.random.split(key, 3)
        return LocalParams(
            attention.init(key_attention),
            w_p_init(key_w, (query_size, query_size), param_dtype),
            _vector(v_p_init, key_v, query_size, param_dtype),
        )

    def weigh(params: LocalParams, query: Array, memory: Memory, alignment: Alignment | None) -> Array:
        scores = energies(params.attention, query, memory, alignment)
        mask = jnp.broadcast_to(jnp.expand_dims(memory.mask, -2), scores.shape)
        positions = jnp.expand_dims(jnp.cumsum(memory.mask, axis=-1, dtype=jnp.int32) - 1, -2)  # [*batch, 1, S]
        if params.w_p is None or params.v_p is None:
            center = jnp.zeros(scores.shape[:-1], jnp.int32) if alignment is None else alignment.step
            return masking.masked_softmax(scores, mask & (jnp.abs(positions - center[..., None]) <= window))
        _check_last(where, "query", query, params.w_p.shape[0], "as query_size has it")
        real = jnp.sum(memory.mask, axis=-1, keepdims=True).astype(scores.dtype)  # [*batch, 1]
        share = jax.nn.sigmoid(_sum_up(_matmul(query, params.w_p), params.v_p)).astype(scores.dtype)  # [*batch, N]
        distance = positions.astype(scores.dtype) - (real * share)[..., None]  # [*batch, N, S]
        weights = masking.masked_softmax(scores, mask & (jnp.abs(distance) <= window))
        return weights * jnp.exp(-2 * (distance / window) ** 2)

    return _attention(where, init, lambda params, *args, **kw: attention.remember(params.attention, *args, **kw), weigh)


def monotonic_attention(
    attention: Attention, *, hard: bool = False, noise: float = 0.0, key: Key | None = None
) -> Attention:
    """Attention that only moves on: from where it looked before, it stops at each position s with probability p_s.

        p_s = sigmoid(e_s), 0 behind the mask
        q_s = (1 - p_{s-1}) q_{s-1} + a'_s        a' the weights of the step before, first one at position 0
        a_s = p_s q_s

    q_s is the probability that s is inspected; a is the expectation of the hard process, and what runs off the end
    stays lost. With hard, a is one at the first real s at or after the position attended before where e_s > 0, and
    zero everywhere if there is none, then and in all later steps.
    Reference: Raffel et al. 2017, "Online and linear-time attention by enforcing monotonic alignments".

    Args:
      attention: one with energies, such as `additive_attention(..., normalize=True, r_init=-4.)`.
      hard: whether to stop wherever e > 0, as at test time; the energies get no gradient.
      noise: standard deviation of what is added to the energies, so that training learns p near 0 or 1.
      key: random key of the noise, folded with row and step; no noise if None.

    Returns:
      An `Attention` with the params and the memory of the one inside, without energies. Its alignment must come from
      the steps before (see `advance`).

    Raises:
      ValueError: an attention without energies, a negative noise.

    Example:
      >>> import jax.numpy as jnp
      >>> attention = monotonic_attention(dot_attention(), hard=True)
      >>> memory = attention.remember((), jnp.array([[-1.0], [1.0], [1.0]]))
      >>> context, weights = attention.attend((), jnp.ones(1), memory)
      >>> weights.tolist()
      [0.0, 1.0, 0.0]
    """
    where = "monotonic_attention"
    energies = _energies_of(where, attention)
    if not noise >= 0:
        raise ValueError(f"{where}: expected a noise of at least 0, got {noise}; it is a standard deviation.")

    def weigh(params: Params, query: Array, memory: Memory, alignment: Alignment | None) -> Array:
        scores = energies(params, query, memory, alignment)
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

    return _attention(where, attention.init, attention.remember, weigh)


def _then(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """The map q -> a q + b of the first, then that of the second."""
    return first[0] * second[0], second[0] * first[1] + second[1]


def _normal(key: Key, step: Array, like: Array) -> Array:
    """N(0, 1) `[*rows, S]` like the energies, drawn anew for each row and step `[*rows]`."""

    def draw(row: Array, step: Array) -> Array:
        return jax.random.normal(jax.random.fold_in(jax.random.fold_in(key, row), step), like.shape[-1:], like.dtype)

    return jax.vmap(draw)(jnp.arange(step.size), step.reshape(-1)).reshape(like.shape)


def _wide(dtype: Any) -> Any:
    return jnp.float32 if jnp.dtype(dtype).itemsize < 4 else dtype


def _matmul(x: Array, w: Array) -> Array:
    """x @ w in the dtype of w, accumulated and returned in at least float32."""
    return jnp.matmul(x.astype(w.dtype), w, preferred_element_type=_wide(w.dtype))


def _vector(init: Initializer, key: Key, size: int, dtype: Any) -> Array:
    """A vector `[size]` from an initialiser that may need a matrix."""
    return init(key, (size, 1), dtype)[:, 0]


def _additive_keys(params: Any, values: Array) -> Array:
    """W_m m + b, `[*batch, S, A]`: the bias here, where it is added once a source."""
    z = _matmul(values, params.w_m)
    return z + jnp.broadcast_to(params.b.astype(z.dtype), z.shape)


def _outer(x: Array, w: Array, dtype: Any) -> Array:
    """x_s w_a, `[..., S, A]`."""
    return x[..., None].astype(dtype) * w.astype(dtype).reshape((1,) * x.ndim + w.shape)


def _sum_up(hidden: Array, v: Array) -> Array:
    """v . tanh(hidden), `[...]`."""
    return jnp.matmul(jnp.tanh(hidden), v.astype(hidden.dtype))


def _hidden(where: str, query: Array, w_q: Array, memory: Memory) -> Array:
    """W_q q + key_s, `[*batch, N, S, A]`, in at least float32."""
    _check_last(where, "query", query, w_q.shape[0], "as query_size has it")
    _check_last(where, "memory.keys", memory.keys, w_q.shape[1], "as this attention's remember makes it")
    dtype = _wide(memory.keys.dtype)
    return jnp.expand_dims(_matmul(query, w_q).astype(dtype), -2) + jnp.expand_dims(memory.keys.astype(dtype), -3)


def _dot(where: str, query: Array, memory: Memory) -> Array:
    """q . key_s, one batched product `[*batch, N, S]`, in at least float32."""
    _check_last(where, "query", query, memory.keys.shape[-1], "as many features as the memory's keys have")
    return _matmul(query, jnp.swapaxes(memory.keys, -1, -2))


def _soft(where: str, init: Callable, memory_size: int | None, keys: Callable, energies: Callable) -> Attention:
    """The attention of these energies: a = softmax(e)."""

    def remember(params: Params, values: Array, *, lengths: Array | None = None, mask: Array | None = None) -> Memory:
        mask = _source_mask(where, values, memory_size, lengths, mask)
        # Zeroed before they are projected: a NaN times a zero gradient would be NaN.
        values = jnp.moveaxis(masking.select(mask, values, 0), 0, -2)
        return Memory(keys(params, values).astype(values.dtype), values, jnp.moveaxis(mask, 0, -1))

    def weigh(params: Params, query: Array, memory: Memory, alignment: Alignment | None) -> Array:
        scores = energies(params, query, memory, alignment)
        return masking.masked_softmax(scores, jnp.broadcast_to(jnp.expand_dims(memory.mask, -2), scores.shape))

    return _attention(where, init, remember, weigh, energies)


def _attention(
    where: str, init: Callable, remember: Callable, weigh: Callable, energies: Callable | None = None
) -> Attention:
    """The attention whose weights are `weigh(params, query [*batch, N, D], memory, alignment) -> [*batch, N, S]`."""

    @jax.named_scope(where)
    def attend(params: Params, query: Array, memory: Memory, alignment: Alignment | None = None) -> tuple[Array, Array]:
        _check_attend(where, query, memory, alignment)
        *batch, size = memory.mask.shape
        lead, values = query.shape[:-1], memory.values
        rows = (*batch, math.prod(lead[len(batch) :]))  # [*batch, N]
        if size == 0:  # there is no maximum of nothing
            weights = jnp.zeros((*rows, 0), values.dtype)
        else:
            if alignment is not None:
                alignment = Alignment(*(leaf.reshape(*rows, *leaf.shape[len(lead) :]) for leaf in alignment))
            query = query.reshape(*rows, query.shape[-1])
            weights = weigh(params, query, memory, alignment).astype(values.dtype)
        context = _matmul(weights, values).astype(values.dtype)
        return context.reshape(*lead, values.shape[-1]), weights.reshape(*lead, size)

    return Attention(init, remember, attend, energies)


def _energies_of(where: str, attention: Attention) -> Callable[..., Array]:
    if attention.energies is None:
        raise ValueError(
            f"{where}: expected an attention with energies, got one without, as local and monotonic attention are; "
            "wrap the attention inside instead."
        )
    return attention.energies


def _check_positive(where: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, numbers.Integral) or size < 1:
            raise ValueError(f"{where}: expected {name} to be a positive int, got {size!r}.")


def _check_last(where: str, name: str, x: Array, size: int, why: str) -> None:
    if x.shape[-1] != size:
        raise ValueError(f"{where}: expected {name} of shape [..., {size}], {why}, got {x.shape}.")


def _check_floating(where: str, name: str, x: Array, shape: str) -> None:
    if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.floating):
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{where}: expected {name} to be an array {shape} of a floating dtype, got {got}.")


def _source_mask(where: str, values: Array, memory_size: int | None, lengths: Any, mask: Any) -> Array:
    """The mask `[S, ...]` of the values `[S, ..., M]`, all of it checked."""
    _check_floating(where, "values", values, "[S, ..., M]")
    if values.ndim < 2:
        raise ValueError(f"{where}: expected values of shape [S, ..., M], got {values.shape}; positions come first.")
    if memory_size is not None:
        _check_last(where, "values", values, memory_size, "as memory_size has it")
    if lengths is None and mask is None:
        return jnp.ones(values.shape[:-1], jnp.bool_)
    if lengths is not None and mask is not None:
        raise ValueError(f"{where}: expected lengths or mask, got both; pass one of them.")
    name, given, kind = ("mask", mask, jnp.bool_) if lengths is None else ("lengths", lengths, jnp.integer)
    given, expected = jnp.asarray(given), values.shape[:-1] if lengths is None else values.shape[1:-1]
    if not jnp.issubdtype(given.dtype, kind):
        raise TypeError(f"{where}: expected {name} of dtype {kind.__name__}, got {given.dtype}; a mask is of bool.")
    if given.shape != expected:
        raise ValueError(
            f"{where}: expected {name} of shape {expected} beside values {values.shape}, got {given.shape}; values are "
            "time-major, [S, ..., M]."
        )
    return given if lengths is None else masking.length_mask(given, values.shape[0])


def _check_attend(where: str, query: Array, memory: Memory, alignment: Alignment | None) -> None:
    _check_floating(where, "query", query, "[*batch, ..., D]")
    *batch, size = memory.mask.shape
    if query.ndim <= len(batch) or query.shape[: len(batch)] != tuple(batch):
        raise ValueError(
            f"{where}: expected query of shape [{', '.join(map(str, [*batch, '...', 'D']))}], the memory's batch axes "
            f"first, got {query.shape}."
        )
    for name, leaf in {} if alignment is None else alignment._asdict().items():
        expected = query.shape[:-1] if name == "step" else (*query.shape[:-1], size)
        if leaf.shape != expected:
            raise ValueError(
                f"{where}: expected alignment.{name} of shape {expected} beside query {query.shape}, got {leaf.shape}; "
                "make it with initial_alignment(memory, query.shape[:-1])."
            )
