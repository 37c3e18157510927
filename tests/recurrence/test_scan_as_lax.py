"""What JAX's own tests ask of a scan, asked of rnnjax.scan with a product in the body, so that it is rewritten."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, normal
from jax import lax
from jax.ad_checkpoint import checkpoint_name

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, N = 5, 3, 7
W, C, XS = 0.4 * normal(0, N, N), normal(1, B, N), normal(2, T, B, N)


def both(program):
    """`program(scan)` gives the same for either scan, run eagerly and compiled."""
    expected = program(lax.scan)
    assert_close(program(rnnjax.scan), expected)
    assert_close(jax.jit(lambda: program(rnnjax.scan))(), expected)


def body(w):
    return lambda c, x: (jnp.tanh(c @ w + x), c @ w.T)


def loss_of(scan, c, xs, w):
    last, ys = scan(body(w), c, xs)
    return (jnp.sin(ys) ** 2).sum() + jnp.cos(last).sum()


# ---- derivatives -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_linearized_once_and_applied_twice():
    def program(scan):
        out, pushed = jax.linearize(functools.partial(loss_of, scan), C, XS, W)
        return out, pushed(C, XS, W), pushed(2 * C, XS, -W)

    both(program)


@pytest.mark.slow
def test_a_pullback_is_applied_to_a_batch_of_cotangents():
    def program(scan):
        out, pull = jax.vjp(lambda c, w: scan(body(w), c, XS)[1], C, W)
        rows = normal(5, 2, *out.shape)
        return jax.vmap(pull)(rows), [pull(row) for row in rows]

    both(program)


@pytest.mark.slow
@pytest.mark.parametrize("jacobian", [jax.jacrev, jax.jacfwd, jax.hessian])
def test_jacobians(jacobian):
    small, start = 0.4 * normal(3, 2, 2), normal(4, 2)
    both(
        lambda scan: jacobian(lambda w: scan(lambda c, x: (jnp.tanh(w @ c + x), None), start, normal(5, 3, 2))[0])(
            small
        )
    )


def test_transposed_where_it_is_linear():
    def program(scan):
        (back,) = jax.linear_transpose(lambda xs: scan(lambda c, x: ((c + x) @ W, c @ W), 0 * C, xs)[1], XS)(XS)
        return back

    both(program)


def test_transposed_in_the_carry_and_the_inputs():
    def program(scan):
        return jax.linear_transpose(lambda c, xs: scan(lambda c, x: (c @ W, x @ W - c), c, xs), C, XS)((C, XS))

    both(program)


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    [
        None,
        jax.checkpoint_policies.dots_saveable,
        jax.checkpoint_policies.nothing_saveable,
        jax.checkpoint_policies.everything_saveable,
        jax.checkpoint_policies.save_only_these_names("hidden"),
    ],
)
@pytest.mark.parametrize("around", ["loop", "body"])
def test_checkpoint_policies(policy, around):
    def named(c, x, w):
        hidden = checkpoint_name(jnp.tanh(c @ w + x), "hidden")
        return hidden, jnp.sin(hidden @ w)

    def program(scan):
        def loss(w):
            step = functools.partial(named, w=w)
            if around == "body":
                step = jax.checkpoint(step, policy=policy)
            return scan(step, C, XS)[1].sum()

        return jax.grad(jax.checkpoint(loss, policy=policy) if around == "loop" else loss)(W)

    both(program)


@pytest.mark.slow
def test_integers_have_no_tangents():
    def program(scan):
        def step(c, x):
            h, n = c
            return (jnp.tanh(h @ W + n), n + x[1]), (h, n)

        def loss(h):
            (h, n), (hs, ns) = scan(step, (h, jnp.int32(2)), (XS, jnp.arange(T)))
            return h.sum() + hs.sum() + (ns + n).sum()

        return jax.value_and_grad(loss)(C)

    # The promotion of h @ W + n is of int and float.
    with jax.numpy_dtype_promotion("standard"):
        both(program)


@pytest.mark.slow
def test_a_third_derivative():
    def program(scan):
        def f(s):
            return loss_of(scan, C, s * XS, s * W)

        return jax.grad(jax.grad(jax.grad(f)))(0.7)

    both(program)


# ---- axes with names -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_collectives_in_a_batch():
    """`psum` over the axis of a vmap, beside a product."""

    def program(scan):
        def one(c, xs, w):
            return scan(lambda c, x: (jnp.tanh(lax.psum(c, "i") @ w + x), lax.axis_index("i") * c.sum()), c, xs)

        with jax.numpy_dtype_promotion("standard"):
            rows = jax.vmap(one, in_axes=(0, 1, None), axis_name="i")
            return rows(C, XS, W), jax.grad(lambda w: rows(C, XS, w)[0].sum())(W)

    both(program)


def test_the_size_of_a_named_axis_is_not_cached():
    def step(c, _):
        return c @ jnp.eye(1) * lax.psum(1.0, "i"), None

    def last(size):
        return jax.vmap(lambda c: rnnjax.scan(step, c, None, 2)[0], axis_name="i", axis_size=size)(jnp.ones((size, 1)))

    for size in (2, 3, 2):
        np.testing.assert_allclose(last(size), np.full((size, 1), size**2))


# ---- how it is called ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["jax_enable_checks", "jax_debug_nans", "jax_check_tracer_leaks"])
def test_debugging_settings(setting):
    jax.config.update(setting, True)
    try:
        got = jax.jit(jax.value_and_grad(functools.partial(loss_of, rnnjax.scan), (0, 2)))(C, XS, W)
    finally:
        jax.config.update(setting, False)
    assert_close(got, jax.value_and_grad(functools.partial(loss_of, lax.scan), (0, 2))(C, XS, W))


def test_nan_is_found_where_it_arises():
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        jax.block_until_ready(rnnjax.scan(lambda c, x: (jnp.log(c @ W - 100), None), C, XS))


def test_a_tracer_that_leaks_is_named():
    leaked = []

    def step(c, x):
        leaked.append(c)
        return c @ W + x, None

    rnnjax.scan(step, C, XS)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        leaked[0] + 1


def test_weak_types_of_a_start():
    def step(c, x):
        return c + (x @ W).sum(), x

    got, expected = (scan(step, 0.0, XS)[0] for scan in (rnnjax.scan, lax.scan))
    assert got.aval == expected.aval


@pytest.mark.oracle
@pytest.mark.parametrize("order", [1, 2])
def test_exported_with_its_derivatives(order):
    pytest.importorskip("flatbuffers")
    exported = jax.export.export(jax.jit(functools.partial(loss_of, rnnjax.scan)))(C, XS, W)
    again = jax.export.deserialize(exported.serialize(vjp_order=order))
    f, g = again.call, functools.partial(loss_of, lax.scan)
    assert_close(jax.grad(f, 2)(C, XS, W), jax.grad(g, 2)(C, XS, W))
    if order == 2:
        second = [jax.grad(lambda w, f=f: (jax.grad(f, 2)(C, XS, w) ** 2).sum())(W) for f in (f, g)]
        assert_close(*second)


def test_buffers_that_are_donated():
    c, xs = jnp.array(C), jnp.array(XS)
    got = jax.jit(functools.partial(rnnjax.scan, body(W)), donate_argnums=0)(c, xs)
    assert_close(got, lax.scan(body(W), C, XS))


def test_mutable_arrays_in_a_body():
    def program(scan):
        seen = jax.new_ref(jnp.zeros(()))

        def step(c, x):
            seen[...] += c.sum()
            return jnp.tanh(c @ W + x), None

        return scan(step, C, XS)[0], seen[...]

    assert_close(jax.jit(lambda: program(rnnjax.scan))(), jax.jit(lambda: program(lax.scan))())


def test_names_survive_for_the_profiler():
    def step(c, x):
        with jax.named_scope("the_cell"):
            return jnp.tanh(c @ W + x), None

    text = jax.jit(lambda c: rnnjax.scan(step, c, XS)[0]).lower(C).compile().as_text()
    assert "the_cell" in text


@pytest.mark.slow
def test_within_loops_and_branches():
    def program(scan):
        def inner(c):
            return scan(body(W), c, XS)[0]

        c = lax.fori_loop(0, 3, lambda _, c: inner(c), C)
        c = lax.while_loop(lambda c: jnp.abs(c).sum() > 100, inner, c)
        c = lax.cond(c.sum() > 0, inner, lambda c: c, c)
        return c, lax.map(lambda c: scan(lambda c, x: (jnp.tanh(W @ c + x[0]), None), c, XS)[0], C)

    both(program)
