"""What the tests of attention share: every mechanism beside its twin in NumPy, and mechanisms at work."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from helpers import normal, random_params

from rnnjax.attention import (
    Alignment,
    additive_attention,
    concat_attention,
    dot_attention,
    general_attention,
    local_attention,
    location_attention,
    monotonic_attention,
    scaled_dot_attention,
)

S, B, D, M, A, K = 7, 3, 5, 11, 13, 2
WINDOW = 2
LENGTHS = (7, 4, 2)


# ---- the twins: one query, one source without padding, one position after the other ---------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def additive_energies(p, q, m, before):
    v = p.v if p.g is None else p.g * p.v / np.sqrt(np.sum(p.v**2))
    r = 0 if p.r is None else p.r
    w_c = np.zeros_like(p.b) if p.w_c is None else p.w_c
    return [v @ np.tanh(q @ p.w_q + m[s] @ p.w_m + p.b + w_c * before.coverage[s]) + r for s in range(len(m))]


def dot_energies(p, q, m, before):
    return [q @ m[s] for s in range(len(m))]


def scaled_dot_energies(p, q, m, before):
    return [p.g * (q @ m[s]) for s in range(len(m))]


def general_energies(p, q, m, before):
    return [q @ (p.w @ m[s]) for s in range(len(m))]


def concat_energies(p, q, m, before):
    return [p.v @ np.tanh(np.concatenate([q, m[s]]) @ p.w) for s in range(len(m))]


def location_energies(p, q, m, before, cumulative=False):
    weights, half, energies = before.coverage if cumulative else before.weights, len(p.w_f) // 2, []
    for s in range(len(m)):
        f = sum(p.w_f[k] * weights[s + k - half] for k in range(len(p.w_f)) if 0 <= s + k - half < len(m))
        energies.append(p.v @ np.tanh(q @ p.w_q + m[s] @ p.w_m + f @ p.u + p.b))
    return energies


def softmax(energies, among):
    total = sum(math.exp(energies[s]) for s in among)
    return [math.exp(energies[s]) / total if s in among else 0 for s in range(len(energies))]


def soft(energies, p, q, m, before):
    return softmax(energies(p, q, m, before), range(len(m)))


def local_m(energies, p, q, m, before):
    return softmax(energies(p.attention, q, m, before), [s for s in range(len(m)) if abs(s - before.step) <= WINDOW])


def local_p(energies, p, q, m, before):
    center = len(m) * sigmoid(p.v_p @ np.tanh(q @ p.w_p))
    weights = softmax(energies(p.attention, q, m, before), [s for s in range(len(m)) if abs(s - center) <= WINDOW])
    return [weights[s] * math.exp(-((s - center) ** 2) / (2 * (WINDOW / 2) ** 2)) for s in range(len(m))]


def biased(energies):
    """The energies of the attention inside plus an offset."""
    return lambda p, q, m, before: [e + p.r for e in energies(p.attention, q, m, before)]


def monotonic(energies, p, q, m, before):
    stop, inspected, weights = sigmoid(np.array(energies(p, q, m, before))), 0, []
    for s in range(len(m)):
        inspected = (1 - stop[s - 1]) * inspected if s else 0
        inspected += before.weights[s] if before.step else s == 0
        weights.append(stop[s] * inspected)
    return weights


def hard(energies, p, q, m, before):
    start = list(before.weights > 0).index(True) if before.step and before.weights.any() else 0
    lost = before.step and not before.weights.any()
    stops = [s for s in range(start, len(m)) if energies(p, q, m, before)[s] > 0]
    return [float(not lost and s in stops[:1]) for s in range(len(m))]


# ---- the table ------------------------------------------------------------------------------------------------


class Mechanism(NamedTuple):
    """A constructor with parameters of a dtype, the twin of its weights and of its energies, and its query size."""

    make: Any
    weights: Any
    energies: Any
    query_size: int = D


def additive(**options):
    return functools.partial(additive_attention, D, M, A, **options)


def location(**options):
    return functools.partial(location_attention, D, M, A, filters=3, width=5, **options)


def with_additive(wrap, **options):
    return lambda param_dtype=jnp.float32: wrap(additive(**options)(param_dtype=param_dtype))


def monotonic_over_general(param_dtype=jnp.float32, **options):
    inside = general_attention(D, M, param_dtype=param_dtype)
    return monotonic_attention(inside, r_init=-0.5, param_dtype=param_dtype, **options)


def local_p_over_general(param_dtype=jnp.float32):
    inside = general_attention(D, M, param_dtype=param_dtype)
    return local_attention(inside, window=WINDOW, query_size=D, param_dtype=param_dtype)


cumulative_energies = functools.partial(location_energies, cumulative=True)
MECHANISMS = {
    "additive": Mechanism(additive(), soft, additive_energies),
    "additive_normalized": Mechanism(additive(normalize=True), soft, additive_energies),
    "additive_coverage": Mechanism(additive(normalize=True, coverage=True), soft, additive_energies),
    "dot": Mechanism(lambda param_dtype=None: dot_attention(), soft, dot_energies, M),
    "scaled_dot": Mechanism(functools.partial(scaled_dot_attention, M), soft, scaled_dot_energies, M),
    "general": Mechanism(functools.partial(general_attention, D, M), soft, general_energies),
    "concat": Mechanism(functools.partial(concat_attention, D, M, A), soft, concat_energies),
    "location": Mechanism(location(), soft, location_energies),
    "location_cumulative": Mechanism(location(cumulative=True), soft, cumulative_energies),
    "local_m": Mechanism(
        with_additive(functools.partial(local_attention, window=WINDOW), coverage=True), local_m, additive_energies
    ),
    "local_p": Mechanism(local_p_over_general, local_p, general_energies),
    "monotonic": Mechanism(with_additive(monotonic_attention, normalize=True), monotonic, additive_energies),
    "monotonic_biased": Mechanism(monotonic_over_general, monotonic, biased(general_energies)),
    "monotonic_biased_hard": Mechanism(
        functools.partial(monotonic_over_general, hard=True), hard, biased(general_energies)
    ),
    "monotonic_hard": Mechanism(
        with_additive(functools.partial(monotonic_attention, hard=True)), hard, additive_energies
    ),
}


class Case(NamedTuple):
    """One mechanism at work: batch axes `batch` for the memory, `more` behind them for queries and alignment."""

    attention: Any
    params: Any
    values: Any  # [S, *batch, M]
    query: Any  # [*batch, *more, D]
    alignment: Any  # of several steps ago for some rows, of the first step for others


def case(mechanism, batch=(B,), more=(), dtype=jnp.float32, lengths=None):
    attention = mechanism.make(param_dtype=dtype)
    rows = (*batch, *more)
    rng = np.random.default_rng(5)
    weights = rng.uniform(0.1, 1, (*rows, S))
    if lengths is not None:
        weights = weights * (np.arange(S) < np.reshape(lengths, (*batch, *(1 for _ in more), 1)))
    if mechanism.weights is hard:
        weights = weights == weights.max(-1, keepdims=True)
    else:
        weights = weights / weights.sum(-1, keepdims=True)
    step = np.resize([1, 0, 4, 2, 3], rows)
    coverage = weights * np.expand_dims(step, -1) * rng.uniform(0.5, 1.5, (*rows, S))
    return Case(
        attention,
        random_params(attention, seed=1, dtype=dtype),
        normal(2, S, *batch, M, dtype=dtype),
        normal(3, *rows, mechanism.query_size, dtype=dtype),
        Alignment(jnp.asarray(weights, dtype), jnp.asarray(coverage, dtype), jnp.asarray(step, jnp.int32)),
    )


@functools.partial(jax.jit, static_argnums=0)
def run(attention, params, values, query, alignment=None, **padding):
    return attention.attend(params, query, attention.remember(params, values, **padding), alignment)


def row(tree, *index):
    return jax.tree.map(lambda leaf: leaf[index], tree)
