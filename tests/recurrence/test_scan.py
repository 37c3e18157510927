"""rnnjax.scan is jax.lax.scan is a Python loop: values, derivatives of every kind, and edges."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, normal, values_and_gradients, weighted_sum
from random_bodies import (
    TIGHT,
    M,
    N,
    State,
    T,
    batched,
    batched_arguments,
    check_random,
    float_loss,
    random_arguments,
    runner,
)

import rnnjax
from rnnjax.recurrence._rewrite import targets

pytestmark = pytest.mark.usefixtures("quick_compilation")


def python_scan(f, init, xs, length=None, reverse=False, unroll=1):
    """The loop that a scan is."""
    del unroll  # changes nothing
    length = jax.tree.leaves(xs)[0].shape[0] if jax.tree.leaves(xs) else length
    carry, ys = init, {}
    for t in reversed(range(length)) if reverse else range(length):
        carry, ys[t] = f(carry, jax.tree.map(lambda leaf, t=t: leaf[t], xs))
    return carry, jax.tree.map(lambda *rows: jnp.stack(rows), *(ys[t] for t in range(length)))


# ---- random bodies -------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_random_bodies_have_the_values_and_gradients_of_lax_scan():
    def check(body, reverse):
        args = random_arguments()
        got, by_lax = (values_and_gradients(runner(scan, body, reverse), *args) for scan in (rnnjax.scan, jax.lax.scan))
        assert_close(got, by_lax, **TIGHT)
        assert_close(got[0], runner(python_scan, body, reverse)(*args), **TIGHT)

    check_random(6, check)


@pytest.mark.slow
def test_random_bodies_have_directional_and_second_derivatives():
    def check(body, reverse):
        def derivatives(scan):
            loss, point, direction = float_loss(scan, body, reverse)

            def slope(*point):
                return jax.jvp(loss, point, direction)[1]

            def all_of_them(*point):
                backward = jax.grad(loss, (0, 1, 2))
                return slope(*point), jax.grad(slope, (0, 1, 2))(*point), jax.jvp(backward, point, direction)[1]

            return jax.jit(all_of_them)(*point)

        # Where a rule is not the derivative, orders do not commute, and a scan differs from a Python loop.
        expected = derivatives(python_scan if body.is_smooth else jax.lax.scan)
        got = derivatives(rnnjax.scan)
        assert_close(got, expected, **TIGHT)
        if body.is_smooth:
            assert_close(got[1], got[2], rtol=1e-7, atol=1e-8)  # the Hessian is symmetric

    check_random(3, check)


@pytest.mark.slow
def test_random_bodies_under_vmap():
    def check(body, reverse):
        weights, init, xs = random_arguments()
        rows = jnp.linspace(0.5, 1.5, 7)

        def one(scale, a, scan):
            scaled = jax.tree.map(lambda leaf: leaf * scale, weights)  # weights of its own for each row
            return runner(scan, body, reverse)(scaled, init._replace(a=a), xs)

        starts = normal(30, 7, N, dtype=jnp.float64)

        def gradients(scan):
            return jax.grad(lambda r, a: weighted_sum(jax.vmap(lambda r, a: one(r, a, scan))(r, a)), (0, 1))(
                rows, starts
            )

        values = jax.jit(jax.vmap(lambda r, a: one(r, a, rnnjax.scan)))(rows, starts)
        assert_close(values, jax.jit(jax.vmap(lambda r, a: one(r, a, python_scan)))(rows, starts), **TIGHT)
        assert_close(jax.jit(lambda: gradients(rnnjax.scan))(), jax.jit(lambda: gradients(python_scan))(), **TIGHT)

    check_random(2, check)


@pytest.mark.slow
def test_random_bodies_of_symbolic_sizes():
    """Exported for any T and any batch, a loop is the one that is compiled for the sizes that come."""

    def check(body, reverse):
        args = batched_arguments(7)
        steps, rows = jax.export.symbolic_shape("t, b")

        def derivatives(scan):
            loop = runner(scan, batched(body), reverse)
            return lambda weights, a, init, xs: jax.value_and_grad(
                lambda weights, a: weighted_sum(loop(weights, init._replace(a=a), xs)), (0, 1)
            )(weights, a)

        def shapes(tree, *leading):
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*leading, *x.shape[len(leading) :]), x.dtype), tree)

        weights, init, xs = args
        point = weights, init.a, init, xs
        symbolic = shapes(weights), shapes(init.a, rows), shapes(init, rows), shapes(xs, steps, rows)
        by_lax, ours = (
            jax.export.export(jax.jit(derivatives(scan)))(*symbolic).call for scan in (jax.lax.scan, rnnjax.scan)
        )
        assert_close(jax.jit(ours)(*point), jax.jit(by_lax)(*point), **TIGHT)

    check_random(3, check)


# ---- bodies that a rewrite could get wrong -------------------------------------------------------------------
# Each is `weights -> f(carry [N], x [N]) -> (carry [N], y)`.


def second_use_of_a_weight(w):
    return lambda c, x: (jnp.tanh(c @ w.w + x @ w.w), c @ w.w.T)


def carry_passed_through(w):
    return lambda c, x: (c, c * (x @ w.w))


def carry_from_x_only(w):
    return lambda c, x: (x @ w.w, c)


def outputs_that_are_constants(w):
    return lambda c, x: (jnp.tanh(c @ w.w), (w.b, w.v @ w.b, None, x))


def weight_updated_by_the_carry(w):
    def f(c, x):
        fast = w.w + jnp.outer(c, x)
        return jnp.tanh(c @ fast), jnp.trace(fast)

    return f


def a_weight_made_of_less(w):
    return lambda c, x: (jnp.tanh(c @ jnp.outer(w.b, jnp.sin(w.b))), jnp.outer(x, w.b) @ w.b)


def sums_of_products(w):
    def f(c, x):
        z = x @ w.v + c @ w.w + (w.b + (c * c) @ w.v) + jnp.ones_like(c)
        first, second = jnp.split(z, [2])
        return jnp.tanh(z) * z[0], (first * second[:2], z[1:3] * x[1:3])

    return f


def scalars_in_sums(w):
    """A scalar of the inputs, of the weights, of the carry, beside a product, and products that are scalars."""

    def f(c, x):
        scalar = c @ w.b + x[0] + w.b[1]
        z = c @ w.w + x[0] * x[1] + w.b.sum() + x @ w.b + scalar
        return jnp.tanh(z), (c @ w.b) + x

    return f


def biases_of_one_row(w):
    """b [1, N] is broadcast by the sum."""

    def f(c, x):
        rows = jnp.stack([c, x])
        z = rows @ w.w + w.b[None] + x[None] @ w.v
        return jnp.tanh(z[0]), (z[:, :2] * z[:, 2:4], rows)

    return f


def one_sum_read_twice(w):
    def f(c, x):
        b = (c * c) @ w.v
        a = c @ w.w
        return jnp.tanh(a + x @ w.v), (jnp.sin(a - x @ w.v), a + b)

    return f


def products_of_inputs_only(w):
    def f(c, x):
        z = x @ w.w + w.b
        return c * jnp.tanh(z) + z @ w.v, z[:2]

    return f


def products_of_products_of_inputs(w):
    def f(c, x):
        deep = jnp.tanh(x @ w.v) @ w.w[:, : N - 1]
        return jnp.tanh(c @ w.w + x @ w.v), (deep @ w.b[1:], jnp.split(c[:-1] @ w.w[1:] + deep @ w.v[1:], [2]))

    return f


def looked_up_rows(w):
    def f(c, x):
        row = w.v[(10 * x[0]).astype(jnp.int32) % N]
        return jnp.tanh(c @ w.w + row), row * c

    return f


def weights_on_the_left(w):
    return lambda c, x: (jnp.tanh(w.w @ c + w.v @ x + w.b), jnp.stack([c, x]) @ w.w.T)


def convolutions(w):
    def f(c, x):
        def convolve(a, kernel):
            return jax.lax.conv_general_dilated(a[None, None], kernel[:3, None, :3], (1,), "SAME")[0]

        z = convolve(c, w.w) + convolve(x, w.v)
        return jnp.tanh(z.sum(0)) + w.b, z

    return f


def a_tangent_that_is_lost(w):
    return lambda c, x: (jax.lax.stop_gradient(c @ w.w) + x, c @ w.v)


def products_of_several_axes(w):
    def f(c, x):
        tensor = jnp.einsum("i,jk->ijk", c, w.w)
        return jnp.tanh(jnp.einsum("ijk,k,ij->j", tensor, x, w.v)), jnp.einsum("ijk->k", tensor)

    return f


def weight_behind_a_carry_branch(w):
    return lambda c, x: (jnp.where(c.sum() > 0, jnp.tanh(c @ w.w), c @ w.v + x), c.sum() > 0)


def a_while_loop_inside(w):
    def halve(c):
        return jax.lax.fori_loop(0, 2, lambda i, c: 0.5 * (c @ w.w) + i * w.b, c)

    return lambda c, x: (jnp.tanh(halve(c) + x), c)


@jax.custom_vjp
def gated(c, weight):
    return c @ weight


gated.defvjp(lambda c, weight: (c @ weight, (c, weight)), lambda r, g: (3 * (r[1] @ g), 5 * jnp.outer(r[0], g)))


def a_custom_vjp_inside(w):
    return lambda c, x: (jnp.tanh(gated(c, w.w) + x), gated(x, w.v))


@jax.custom_jvp
def clipped(z):
    return jnp.clip(z, -1, 1)


clipped.defjvp(lambda primals, tangents: (clipped(*primals), 0.3 * tangents[0]))


def a_custom_jvp_inside(w):
    return lambda c, x: (clipped(c @ w.w + x), clipped(x @ w.v))


def a_scan_inside(w):
    def f(c, x):
        inner, ys = rnnjax.scan(lambda d, row: (jnp.tanh(d @ w.w + row), d.sum()), c, w.v)
        return inner + x, ys

    return f


def a_random_draw_inside(w):
    def f(c, x):
        noise = jax.random.normal(jax.random.key(3), c.shape, c.dtype)
        return jnp.tanh(c @ w.w + noise), noise * x

    return f


def a_callback_inside(w):
    def f(c, x):
        jax.debug.callback(lambda value: None, c.sum())
        return jnp.tanh(c @ w.w + x), c

    return f


def a_checkpointed_body(w):
    return jax.checkpoint(lambda c, x: (jnp.tanh(c @ w.w + x @ w.v), c * w.b))


BODIES = [
    second_use_of_a_weight,
    carry_passed_through,
    carry_from_x_only,
    outputs_that_are_constants,
    weight_updated_by_the_carry,
    a_weight_made_of_less,
    sums_of_products,
    scalars_in_sums,
    biases_of_one_row,
    one_sum_read_twice,
    products_of_inputs_only,
    products_of_products_of_inputs,
    looked_up_rows,
    weights_on_the_left,
    convolutions,
    a_tangent_that_is_lost,
    products_of_several_axes,
    weight_behind_a_carry_branch,
    a_while_loop_inside,
    a_custom_vjp_inside,
    a_custom_jvp_inside,
    a_scan_inside,
    a_random_draw_inside,
    a_callback_inside,
    a_checkpointed_body,
]


# Which products of the inputs leave the loop, and for how many steps at once, depends on the device and the sizes;
# right is any choice.
CHOICES = {
    "as_pays": {},
    "none": {"pays": lambda eqn, target: False},
    "all": {"pays": lambda eqn, target: True},
    "narrow": {"pays": lambda eqn, target: eqn.outvars[0].aval.shape == (N - 1,)},
    "wide": {"pays": lambda eqn, target: eqn.outvars[0].aval.shape != (N - 1,)},
    "in_blocks": {"block_size": lambda *args: 1},
    "as_on_a_gpu": {"GPUS": ("cpu",), "pays": lambda eqn, target: True},
    "as_on_a_gpu_in_blocks": {"GPUS": ("cpu",), "block_size": lambda *args: 1},
}


SLOW = [pytest.param(choice, marks=pytest.mark.slow) for choice in CHOICES if choice != "all"]


@pytest.mark.parametrize("choice", ["all", *SLOW])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_body_has_the_values_and_gradients_of_lax_scan(body, choice, monkeypatch):
    for name, value in CHOICES[choice].items():
        monkeypatch.setattr(targets, name, value)
    with jax.enable_x64(True):
        weights, init, xs = random_arguments()
        args = (weights, init.a, xs["now"])
        got, expected = (values_and_gradients(runner(scan, body, True), *args) for scan in (rnnjax.scan, jax.lax.scan))
        assert_close(got, expected, **TIGHT)
        assert any(abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(got[1]))


@pytest.mark.slow
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_body_has_the_other_derivatives_of_lax_scan(body):
    """Forward mode, each row of a batch, and the second derivative along a direction."""
    with jax.enable_x64(True):
        weights, init, xs = random_arguments()
        point = (weights, init.a, xs["now"])
        direction = jax.tree.map(lambda leaf: jnp.cos(leaf + 1), point)
        rows = jax.tree.map(lambda leaf: jnp.stack([leaf, 0.5 * leaf]), point)

        def derivatives(scan):
            def loss(*args):
                return weighted_sum(runner(scan, body, False)(*args))

            forward = jax.jvp(runner(scan, body, False), point, direction)[1] if body is not a_custom_vjp_inside else ()
            floats = [leaf for leaf in jax.tree.leaves(forward) if leaf.dtype != jax.dtypes.float0]
            gradient = jax.grad(loss, (0, 1, 2))
            if body in (a_custom_vjp_inside, a_callback_inside):
                return floats, jax.vmap(gradient)(*rows), ()
            return floats, jax.vmap(gradient)(*rows), jax.jvp(gradient, point, direction)[1]

        got, expected = (jax.jit(lambda s=s: derivatives(s))() for s in (rnnjax.scan, jax.lax.scan))
        assert_close(got, expected, **TIGHT)


# ---- options and edges ---------------------------------------------------------------------------------------


def matmul_body(weights):
    def f(carry, x):
        a = jnp.tanh(carry.a @ weights.w + x["now"] @ weights.v + weights.b)
        return State(a, (carry.nested[0] * x["more"][0], None), carry.count * 2), (a, carry.count)

    return f


@pytest.mark.parametrize(("unroll", "reverse"), [(2, True), (11, False)])
def test_unrolled_steps_change_nothing(unroll, reverse):
    with jax.enable_x64(True):
        args = random_arguments()
        got = values_and_gradients(
            lambda weights, init, xs: rnnjax.scan(matmul_body(weights), init, xs, reverse=reverse, unroll=unroll),
            *args,
        )
        assert_close(got, values_and_gradients(runner(python_scan, matmul_body, reverse), *args), **TIGHT)


def test_options_are_positional_too():
    with jax.enable_x64(True):
        weights, init, xs = random_arguments()
        got = rnnjax.scan(matmul_body(weights), init, xs, T, True, 2)
        assert_close(got, python_scan(matmul_body(weights), init, xs, reverse=True), **TIGHT)


@pytest.mark.parametrize("reverse", [False, True])
def test_length_without_inputs(reverse):
    w = 0.5 * normal(0, N, N)

    def run(scan, w, c):
        return scan(lambda c, x: (jnp.tanh(c @ w), (c, x)), c, None, length=T, reverse=reverse)

    got = values_and_gradients(lambda *args: run(rnnjax.scan, *args), w, normal(1, N))
    assert_close(got, values_and_gradients(lambda *args: run(python_scan, *args), w, normal(1, N)))
    assert got[0][1][1] is None


@pytest.mark.parametrize("reverse", [False, True])
def test_no_steps_return_the_carry_and_empty_outputs(reverse):
    weights, init, xs = random_arguments(length=0)
    run = runner(rnnjax.scan, matmul_body, reverse)
    with jax.enable_x64(True):
        values, gradients = values_and_gradients(run, weights, init, xs)
        assert_close(values, (init, (jnp.zeros((0, N)), jnp.zeros((0,), jnp.int32))), rtol=0, atol=0)
        assert not any(leaf.any() for leaf in jax.tree.leaves(gradients[0]))
        assert_close(gradients[1].a, jax.grad(weighted_sum)(init.a))


def test_integer_and_boolean_carries():
    xs = jnp.arange(11, dtype=jnp.int32) * 7 % 5

    def f(carry, x):
        total, seen, largest = carry
        return (total + x, seen | (x == 2), jnp.maximum(largest, x)), total * x

    init = (jnp.int32(3), jnp.bool_(False), jnp.int32(-1))
    got, expected = rnnjax.scan(f, init, xs), python_scan(f, init, xs)
    assert_close(got, expected)
    assert [leaf.dtype for leaf in jax.tree.leaves(got)] == [leaf.dtype for leaf in jax.tree.leaves(expected)]


def test_random_keys_are_carried():
    def f(key, x):
        key, now = jax.random.split(key)
        return key, x + jax.random.normal(now, (N,))

    xs = normal(0, T, N)
    key, ys = rnnjax.scan(f, jax.random.key(0), xs)
    expected_key, expected = python_scan(f, jax.random.key(0), xs)
    assert_close((jax.random.key_data(key), ys), (jax.random.key_data(expected_key), expected))


def test_arrays_of_numpy_under_transformations():
    """vmap and jvp wrap them as they are, and a custom derivative takes none of them while jit traces."""
    xs, w = np.asarray(normal(0, T, M, N)), np.asarray(normal(1, N, N))

    def run(scan, xs, w):
        return scan(lambda c, x: (jnp.tanh(c @ w + x),) * 2, jnp.zeros(N), xs)

    transforms = {
        "vmap over xs": lambda run: jax.vmap(lambda x: run(x, w), 1)(xs),
        "vmap over what is closed over": lambda run: jax.vmap(run, (1, None))(xs, w),
        "jvp": lambda run: jax.jvp(lambda x, w: run(x[:, 0], w), (xs, w), (xs, w)),
    }
    for transform in transforms.values():
        got = jax.jit(lambda t=transform: t(functools.partial(run, rnnjax.scan)))()
        assert_close(got, transform(functools.partial(run, jax.lax.scan)))


def test_python_scalars_start_a_carry():
    total, totals = rnnjax.scan(lambda total, x: (total + x, total), 0.0, jnp.array([1.5, 2.0, 4.0]))
    assert (float(total), totals.tolist()) == (7.5, [0.0, 1.5, 3.5])


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_weights_keep_their_dtype_in_the_gradient(dtype):
    def run(scan, w, xs):
        def f(c, x):
            z = jnp.matmul(c.astype(dtype), w, preferred_element_type=jnp.float32)
            return jnp.tanh(z + x), z

        return scan(f, normal(1, M, N), xs)

    args = (normal(2, N, N, dtype=dtype), normal(3, T, M, N))
    got, expected = (values_and_gradients(lambda *a, s=s: run(s, *a), *args) for s in (rnnjax.scan, jax.lax.scan))
    assert got[1][0].dtype == dtype
    assert_close(got, expected, rtol=3e-2, atol=3e-2)


@pytest.mark.slow
def test_scan_sees_a_scan_transformed_twice():
    """grad of vmap of jit of grad: transformations in any order."""
    with jax.enable_x64(True):
        weights, init, xs = random_arguments()

        def penalty(scan):
            def loss(a, w):
                return weighted_sum(scan(matmul_body(weights._replace(w=w)), init._replace(a=a), xs))

            rows = jnp.stack([init.a, 2 * init.a])
            slopes = jax.vmap(jax.jit(jax.grad(loss)), in_axes=(0, None))
            return jax.grad(lambda w: (slopes(rows, w) ** 2).sum())(weights.w)

        assert_close(penalty(rnnjax.scan), penalty(python_scan), **TIGHT)


ERRORS = {
    "inputs_of_two_lengths": lambda scan: scan(lambda c, x: (c, x), 0.0, (jnp.ones(3), jnp.ones(5))),
    "length_that_differs": lambda scan: scan(lambda c, x: (c, x), 0.0, jnp.ones(3), length=5),
    "no_length": lambda scan: scan(lambda c, x: (c, x), 0.0, None),
    "carry_changes_shape": lambda scan: scan(lambda c, x: (jnp.stack([c, c]), x), jnp.ones(3), jnp.ones(5)),
    "carry_changes_dtype": lambda scan: scan(lambda c, x: (c.astype(jnp.int32), x), jnp.ones(3), jnp.ones(5)),
    "carry_changes_structure": lambda scan: scan(lambda c, x: ((c, c), x), jnp.ones(3), jnp.ones(5)),
    "no_pair_returned": lambda scan: scan(lambda c, x: c, jnp.ones(3), jnp.ones(5)),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_those_of_lax_scan(name):
    with pytest.raises((ValueError, TypeError)) as expected:
        ERRORS[name](jax.lax.scan)
    with pytest.raises(expected.type):
        ERRORS[name](rnnjax.scan)
