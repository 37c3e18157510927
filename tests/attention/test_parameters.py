"""Where the parameters of attention start, and bad arguments."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from attention_helpers import A, B, D, M, S
from helpers import assert_close, assert_same, normal

import rnnjax
from rnnjax.attention import (
    additive_attention,
    concat_attention,
    dot_attention,
    general_attention,
    initial_alignment,
    local_attention,
    location_attention,
    monotonic_attention,
    next_alignment,
    scaled_dot_attention,
)

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.slow
def test_where_parameters_start():
    params = additive_attention(D, M, A, normalize=True, coverage=True, r_init=-4.0).init(jax.random.key(0))
    assert_close((params.g, params.r), (np.array(A**-0.5), np.array(-4.0)))
    assert not params.b.any() and params.w_c.shape == params.v.shape == (A,)
    for leaf in (params.w_q, params.w_m, params.v, params.w_c):
        assert leaf.any()
    plain = additive_attention(D, M, A).init(jax.random.key(0))
    assert plain.g is None and plain.r is None and plain.w_c is None
    assert not np.array_equal(plain.w_q, additive_attention(D, M, A).init(jax.random.key(1)).w_q)
    assert_close(scaled_dot_attention(M).init(jax.random.key(0)).g, M**-0.5)
    assert local_attention(dot_attention(), window=1).init(jax.random.key(0)).w_p is None
    first = location_attention(D, M, A, filters=3, width=5).init(jax.random.key(0))
    assert first.w_f.shape == (5, 3) and first.u.shape == (3, A)


@pytest.mark.parametrize(
    ("make", "keywords"),
    [
        (functools.partial(additive_attention, D, M, A, coverage=True), ("w_q", "w_m", "v", "w_c")),
        (functools.partial(general_attention, D, M), ("w",)),
        (functools.partial(concat_attention, D, M, A), ("w", "v")),
        (functools.partial(location_attention, D, M, A), ("w_q", "w_m", "v", "w_f", "u")),
        (functools.partial(local_attention, dot_attention(), window=1, query_size=M), ("w_p", "v_p")),
    ],
)
def test_every_initialiser_reaches_its_leaf(make, keywords):
    for number, keyword in enumerate(keywords, 2):
        inits = {f"{keyword}_init": jax.nn.initializers.constant(number)}
        params = make(**inits).init(jax.random.key(0))._asdict()
        filled = [name for name, leaf in params.items() if isinstance(leaf, jax.Array) and bool((leaf == number).all())]
        assert filled == [keyword]


def test_next_alignment_keeps_the_dtype_of_the_alignment():
    memory = dot_attention().remember((), normal(1, S, B, M, dtype=jnp.bfloat16))
    alignment = initial_alignment(memory, dtype=jnp.float32)
    after = next_alignment(alignment, jnp.full((B, S), 0.125, jnp.bfloat16))
    after = next_alignment(after, jnp.full((B, S), 0.5, jnp.bfloat16))
    assert after.weights.dtype == after.coverage.dtype == jnp.float32 and after.step.dtype == jnp.int32
    assert_same((after.weights, after.coverage), (np.full((B, S), 0.5), np.full((B, S), 0.625)))
    assert initial_alignment(memory).weights.dtype == jnp.bfloat16
    assert initial_alignment(memory).weights.shape == (B, S)


@pytest.mark.parametrize("sizes", [(7, 11), (257, 509)])
def test_energies_of_general_attention_begin_of_order_one(sizes):
    """Or its softmax is saturated before anything is learned, and looks at one position for good."""
    attention = rnnjax.attention.general_attention(*sizes)
    params = attention.init(jax.random.key(0))
    memory = attention.remember(params, jax.random.normal(jax.random.key(1), (31, 5, sizes[1])))
    query = jax.random.normal(jax.random.key(2), (5, 3, sizes[0]))
    energies = attention.energies(params, query, memory, None)
    assert 0.5 < float(jnp.std(energies)) < 2


# ---- errors ---------------------------------------------------------------------------------------------------

ADDITIVE = additive_attention(D, M, A)
VALUES, QUERY = np.ones((S, B, M), np.float32), np.ones((B, D), np.float32)


def remembering(**changes):
    arguments = {"values": VALUES, **changes}
    return lambda: ADDITIVE.remember(
        ADDITIVE.init(jax.random.key(0)), jnp.asarray(arguments.pop("values")), **arguments
    )


def attending(query=QUERY, attention=ADDITIVE, **changes):
    def attend():
        params = ADDITIVE.init(jax.random.key(0))
        memory = ADDITIVE.remember(params, jnp.asarray(VALUES))
        alignment = initial_alignment(memory)._replace(**changes) if changes else None
        return attention.attend(params, jnp.asarray(query), memory, alignment)

    return attend


def local_p_attending():
    attention = local_attention(dot_attention(), window=1, query_size=M + 1)
    params = attention.init(jax.random.key(0))
    return attention.attend(params, jnp.ones((B, M)), attention.remember(params, jnp.asarray(VALUES)))


def another_memory_attending():
    memory = dot_attention().remember((), jnp.asarray(VALUES))
    return ADDITIVE.attend(ADDITIVE.init(jax.random.key(0)), jnp.asarray(QUERY), memory)


LOCAL = local_attention(ADDITIVE, window=1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (lambda: additive_attention(0, M, A), ValueError, "additive_attention: expected query_size to be a positive"),
        (lambda: additive_attention(D, 1.5, A), ValueError, "memory_size to be a positive int, got 1.5"),
        (lambda: concat_attention(D, M, True), ValueError, "attention_size to be a positive int, got True"),
        (lambda: general_attention(D, -1), ValueError, "general_attention: .* got -1"),
        (lambda: scaled_dot_attention(0), ValueError, "scaled_dot_attention: expected size"),
        (lambda: location_attention(D, M, A, filters=0), ValueError, "filters to be a positive int, got 0"),
        (lambda: location_attention(D, M, A, width=4), ValueError, "expected an odd width, got 4; take 5"),
        (lambda: local_attention(ADDITIVE, window=0), ValueError, "window to be a positive int, got 0"),
        (lambda: local_attention(ADDITIVE, window=1, query_size=0), ValueError, "local_attention: expected query_size"),
        (lambda: local_attention(LOCAL, window=1), ValueError, "local_attention: expected an attention with energies"),
        (lambda: monotonic_attention(LOCAL), ValueError, "monotonic_attention: expected an attention with energies"),
        (lambda: monotonic_attention(ADDITIVE, noise=-1.0), ValueError, "noise of at least 0, got -1.0"),
        (remembering(values=VALUES[..., 1:]), ValueError, r"values of shape \[..., 11\], as memory_size has it, got"),
        (remembering(values=VALUES[0, 0]), ValueError, r"values of shape \[S, ..., M\], got \(11,\)"),
        (remembering(values=VALUES > 0), TypeError, "values to be an array .* of a floating dtype, got bool"),
        (
            remembering(lengths=jnp.ones(B, int), mask=jnp.ones((S, B), bool)),
            ValueError,
            "expected lengths or mask, got both; pass one",
        ),
        (remembering(lengths=jnp.ones(S, int)), ValueError, r"lengths of shape \(3,\) beside .* got \(7,\)"),
        (remembering(lengths=jnp.ones(B)), TypeError, "lengths of dtype integer, got float32"),
        (remembering(mask=jnp.ones((B, S), bool)), ValueError, r"mask of shape \(7, 3\) beside .* got \(3, 7\)"),
        (remembering(mask=jnp.ones((S, B), int)), TypeError, "mask of dtype bool, got int32"),
        (attending(QUERY[0]), ValueError, r"query of shape \[3, ..., D\], the memory's batch axes first, got \(5,\)"),
        (attending(QUERY[:2]), ValueError, r"query of shape \[3, ..., D\].* got \(2, 5\)"),
        (attending(QUERY[0, 0]), ValueError, r"query of shape \[3, ..., D\].* got \(\)"),
        (attending(QUERY[:, 1:]), ValueError, r"query of shape \[..., 5\], as query_size has it, got \(3, 1, 4\)"),
        (attending(QUERY > 0), TypeError, "query to be an array .* floating dtype, got bool"),
        (attending(attention=dot_attention()), ValueError, r"dot_attention: expected query of shape \[..., 13\]"),
        (attending(attention=general_attention(A, M)), ValueError, r"expected query of shape \[..., 13\]"),
        (another_memory_attending, ValueError, r"memory.keys of shape \[..., 13\], as this attention's remember makes"),
        (attending(weights=jnp.ones((B, S + 1))), ValueError, r"alignment.weights of shape \(3, 7\) .* got \(3, 8\)"),
        (attending(coverage=jnp.ones(S)), ValueError, r"alignment.coverage of shape \(3, 7\) .* initial_alignment"),
        (attending(step=jnp.int32(1)), ValueError, r"alignment.step of shape \(3,\) .* got \(\)"),
        (local_p_attending, ValueError, r"local_attention: expected query of shape \[..., 12\], as query_size has it"),
    ],
)
def test_bad_arguments_are_refused(bad, error, message):
    with pytest.raises(error, match=message):
        bad()
