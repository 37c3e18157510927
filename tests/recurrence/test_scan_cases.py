"""Bodies that a rewrite could get wrong, each held to jax.lax.scan in values and in derivatives of two orders."""

import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, normal, weighted_sum
from jax import lax

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, F, H = 7, 2, 3, 5
TIGHT = {"rtol": 1e-8, "atol": 1e-9}


def double(seed, *shape):
    with jax.enable_x64(True):
        return normal(seed, *shape, dtype=jnp.float64)


def derivatives(run, *args):
    """Values, gradients, a directional derivative, and the gradient of that; all args are floats."""

    def loss(*args):
        return weighted_sum(run(*args))

    def slope(*args):
        return jax.jvp(loss, args, jax.tree.map(jnp.cos, args))[1]

    every = tuple(range(len(args)))
    return run(*args), jax.grad(loss, every)(*args), slope(*args), jax.grad(slope, every)(*args)


def check(run, *args, orders=2, **tolerance):
    """`run(scan, *args)` is the same under either scan: compiled, and over a batch of all args."""
    tolerance = tolerance or TIGHT

    def all_of(scan, *args):
        return derivatives(functools.partial(run, scan), *args)[: 2 * orders]

    def pair(transform):
        return [jax.jit(transform(functools.partial(all_of, scan)))(*args) for scan in (rnnjax.scan, lax.scan)]

    assert_close(*pair(lambda function: function), **tolerance)
    assert_close(
        *pair(lambda f: lambda *a: jax.vmap(f)(*jax.tree.map(lambda x: jnp.stack([x, 0.5 * x, -x]), a))), **tolerance
    )


# ---- rules that are not the derivative ------------------------------------------------------------------------


@jax.custom_vjp
def reversed_gradient(x):
    return x


reversed_gradient.defvjp(lambda x: (x, None), lambda _, g: (-g,))


@jax.custom_jvp
def straight_through(x):
    return jnp.round(x)


straight_through.defjvp(lambda primals, tangents: (straight_through(*primals), tangents[0]))


@jax.custom_vjp
def cubed(x):
    return x**3


cubed.defvjp(lambda x: (cubed(x), x), lambda x, g: (jnp.sin(x) * g,))


@jax.custom_jvp
def sine(x):
    return jnp.sin(x)


sine.defjvp(lambda primals, tangents: (sine(*primals), 0.3 * sine(primals[0]) * tangents[0]))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [reversed_gradient, straight_through, cubed, sine])
@pytest.mark.parametrize("of", ["input", "carry", "weight", "sum"])
def test_a_rule_that_is_not_the_derivative(rule, of):
    """Only forward over reverse mode where the rule is a custom_vjp, which has no forward mode."""

    def run(scan, w, u, h, xs):
        def f(h, x):
            x, h, v = (rule(a) if of == name else a for name, a in (("input", x), ("carry", h), ("weight", u)))
            z = h @ w + x @ v
            h = jnp.tanh(rule(z) if of == "sum" else z)
            return h, h * 2

        return scan(f, h, xs)

    args = double(0, H, H), double(1, F, H), double(2, B, H), double(3, T, B, F)
    with jax.enable_x64(True):
        if rule in (reversed_gradient, cubed):

            def slope(scan, *args):
                grads = jax.grad(lambda *args: weighted_sum(run(scan, *args)), (0, 1, 2, 3))
                return weighted_sum(grads(*args))

            for scan_of in (
                lambda s: jax.grad(functools.partial(slope, s), (0, 1, 2, 3)),
                lambda s: functools.partial(slope, s),
            ):
                assert_close(jax.jit(scan_of(rnnjax.scan))(*args), jax.jit(scan_of(lax.scan))(*args), **TIGHT)
        else:
            check(run, *args)


# ---- keys ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
@pytest.mark.parametrize("use", ["bernoulli", "normal"])
def test_keys_as_inputs(impl, use):
    keys = jax.random.split(jax.random.key(3, impl=impl), T)

    def run(scan, w, u, h, xs):
        def f(h, now):
            x, key = now
            noise = (
                jax.random.normal(key, x.shape, x.dtype)
                if use == "normal"
                else jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0)
            )
            h = jnp.tanh(h @ w + noise @ u + x @ u)
            return h, noise

        return scan(f, h, (xs, keys))

    with jax.enable_x64(True):
        args = double(0, H, H), double(1, F, H), double(2, B, H), double(3, T, B, F)

        def results(scan):
            return jax.jit(functools.partial(derivatives, functools.partial(run, scan)))(*args)

        assert_close(results(rnnjax.scan), results(lax.scan), **TIGHT)


# ---- primitives that are on no list --------------------------------------------------------------------------


def called_back(x):
    return jax.pure_callback(lambda a: np.sin(a), jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")


@jax.custom_batching.custom_vmap
def own_batching(x):
    return 2 * x


@own_batching.def_vmap
def _(axis_size, in_batched, x):
    del axis_size, in_batched
    return 100 * x, True  # on purpose another value


def test_a_callback_of_an_input_before_a_product():
    def run(scan, w, u, h, xs):
        return scan(lambda h, x: (jnp.tanh(h @ w + called_back(lax.stop_gradient(x)) @ u), None), h, xs)

    with jax.enable_x64(True):
        args = double(0, H, H), double(1, F, H), double(2, B, H), double(3, T, B, F)
        got, expected = (
            jax.jit(jax.value_and_grad(lambda *a, s=s: weighted_sum(run(s, *a)), (0, 1, 2)))(*args)
            for s in (rnnjax.scan, lax.scan)
        )
        assert_close(got, expected, **TIGHT)


def test_a_batching_rule_of_its_own_is_not_run():
    def run(scan, w, u, h, xs):
        return scan(lambda h, x: (jnp.tanh(h @ w + own_batching(x) @ u), x @ u), h, xs)

    args = normal(0, H, H), normal(1, F, H), normal(2, B, H), normal(3, T, B, F)
    assert_close(jax.jit(functools.partial(run, rnnjax.scan))(*args), jax.jit(functools.partial(run, lax.scan))(*args))


def test_a_while_loop_in_a_branch_of_an_input():
    """Under vmap, a branch that is not taken runs too: this loop would never end for it."""

    def run(scan, w, u, h, xs):
        def f(h, x):
            x = lax.cond(
                x[0] > 0, lambda x: lax.while_loop(lambda v: v[0] < 10, lambda v: v + jnp.abs(x), x), lambda x: -x, x
            )
            return jnp.tanh(h @ w + x @ u), x @ u

        return scan(f, h, xs)

    args = normal(0, H, H), normal(1, F, H), normal(2, H), normal(3, T, F).at[:, 0].set(jnp.cos(jnp.arange(7.0)))
    assert_close(jax.jit(functools.partial(run, rnnjax.scan))(*args), jax.jit(functools.partial(run, lax.scan))(*args))


# ---- odd shapes and operands ---------------------------------------------------------------------------------


def simple(scan, w, u, h, xs, **options):
    return scan(lambda h, x: (jnp.tanh(h @ w + x @ u), h * 2), h, xs, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("b", "f", "h"), [(2, 0, 5), (2, 3, 0), (0, 3, 5), (0, 0, 0)])
def test_empty_axes(b, f, h):
    with jax.enable_x64(True):
        check(simple, double(0, h, h), double(1, f, h), double(2, b, h), double(3, T, b, f))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"chunk": 3}, {"remat": 2}, {"remat": "sqrt"}, {"remat": "step"}])
@pytest.mark.parametrize(("b", "f", "h"), [(0, 3, 5), (2, 0, 5), (2, 3, 0)])
def test_empty_axes_in_unroll(b, f, h, options):
    params = jnp.zeros((f, h)), jnp.zeros((h, h))
    cell = rnnjax.Cell(
        lambda key: params,
        lambda batch_shape=(), dtype=jnp.float32: jnp.zeros((*batch_shape, h), dtype),
        lambda params, carry, x: (jnp.tanh(x @ params[0] + carry @ params[1]),) * 2,
    )
    carry, ys = rnnjax.unroll(cell, params, jnp.ones((T, b, f)), **options)
    assert ys.shape == (T, b, h) and carry.shape == (b, h)
    gradients = jax.grad(lambda params: rnnjax.unroll(cell, params, jnp.ones((T, b, f)), **options)[1].sum())(params)
    assert [g.shape for g in gradients] == [p.shape for p in params]


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2, 13])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths(length, reverse):
    with jax.enable_x64(True):
        args = double(0, H, H), double(1, F, H), double(2, B, H), double(3, length, B, F)
        check(functools.partial(simple, reverse=reverse), *args)


def test_no_steps():
    args = normal(0, H, H), normal(1, F, H), normal(2, B, H), normal(3, 0, B, F)
    carry, ys = simple(rnnjax.scan, *args)
    assert ys.shape == (0, B, H) and (carry == args[2]).all()


def test_integers_with_a_float_result():
    def run(scan, w, h, bytes_):
        def f(h, x):
            z = lax.dot_general(
                x, jnp.ones((F, H), jnp.int8), (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32
            )
            mixed = lax.dot_general(h, w, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)
            return jnp.tanh(mixed + z), z

        return scan(f, h, bytes_)

    bytes_ = jnp.arange(T * B * F, dtype=jnp.int8).reshape(T, B, F)

    def results(scan):
        return jax.jit(jax.value_and_grad(lambda w, h: weighted_sum(run(scan, w, h, bytes_)), (0, 1)))(
            normal(0, H, H), normal(1, B, H)
        )

    assert_close(results(rnnjax.scan), results(lax.scan))


@pytest.mark.slow
def test_an_operand_that_linearises_to_a_constant():
    def run(scan, w, h, xs):
        def f(h, x):
            return jnp.tanh((0 * h + 1) @ w + x), (h - h) @ w + lax.stop_gradient(h) @ w

        return scan(f, h, xs)

    with jax.enable_x64(True):
        check(run, double(0, H, H), double(1, B, H), double(2, T, B, H))


@jax.tree_util.register_pytree_node_class
class Inspecting:
    """A container that will hold nothing but floats of two axes."""

    def __init__(self, value):
        if not jnp.issubdtype(value.dtype, jnp.floating) or value.ndim not in (2, 3):
            raise AttributeError("not a float of two axes")
        self.value = value

    def tree_flatten(self):
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        made = object.__new__(cls)
        (made.value,) = children
        if hasattr(made.value, "dtype"):
            made.value.astype  # noqa: B018
        return made


def test_a_container_that_inspects_its_leaves():
    def run(scan, w, h, xs):
        return scan(lambda c, x: (Inspecting(jnp.tanh(c.value @ w + x)), Inspecting(c.value * 2)), Inspecting(h), xs)

    args = normal(0, H, H), normal(1, B, H), normal(2, T, B, H)
    got, expected = (jax.jit(functools.partial(run, scan))(*args) for scan in (rnnjax.scan, lax.scan))
    assert_close([got[0].value, got[1].value], [expected[0].value, expected[1].value])


def test_reuse_of_keys_is_not_seen_where_there_is_none():
    def f(h, now):
        x, key = now
        return jnp.tanh(h @ jnp.eye(H) + jax.random.normal(key, x.shape)), None

    with jax.debug_key_reuse(True):
        rnnjax.scan(f, jnp.zeros((B, H)), (jnp.ones((T, B, H)), jax.random.split(jax.random.key(0), T)))


# ---- nested --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 6])
@pytest.mark.parametrize("product", [False, True])
def test_nested_scans_trace_the_body_once(depth, product):
    counts = {}

    def loop(scan, depth, h, w):
        def innermost(h, _):
            counts[scan] = counts.get(scan, 0) + 1
            return (jnp.tanh(h @ w) if product else jnp.sin(h)), None

        body = innermost if depth == 1 else lambda h, _: (loop(scan, depth - 1, h, w), None)
        return scan(body, h, None, length=2)[0]

    h, w = normal(0, B, H), normal(1, H, H)
    got, expected = (jax.jit(functools.partial(loop, scan, depth))(h, w) for scan in (rnnjax.scan, lax.scan))
    assert_close(got, expected)
    assert counts[rnnjax.scan] == counts[lax.scan]


@pytest.mark.slow
def test_scans_in_scans_have_the_derivatives_of_lax():
    def run(scan, w, h, xs):
        def f(h, x):
            inner, ys = scan(lambda g, row: (jnp.tanh(g @ w + row), g.sum(-1)), h, jnp.stack([x, 2 * x]))
            return inner + x, (ys, inner @ w)

        return scan(f, h, xs)

    with jax.enable_x64(True):
        check(run, 0.5 * double(0, H, H), double(1, B, H), double(2, 3, B, H))


# ---- the signature of lax.scan -------------------------------------------------------------------------------


def outcome(call):
    """What a call returns, or the error that it raises."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error)


def step(h, x=None):
    return jnp.tanh(h @ jnp.ones((H, H))), None


CALLS = {
    "length_alone": lambda scan: scan(step, jnp.ones((B, H)), length=3),
    "length_as_an_array": lambda scan: scan(step, jnp.ones((B, H)), length=jnp.array(3)),
    "length_as_numpy": lambda scan: scan(step, jnp.ones((B, H)), None, np.int32(3)),
    "length_traced": lambda scan: jax.jit(lambda n: scan(step, jnp.ones((B, H)), length=n))(3),
    "length_that_disagrees": lambda scan: scan(step, jnp.ones((B, H)), jnp.ones((4, H)), length=3),
    "lengths_that_disagree": lambda scan: scan(step, jnp.ones((B, H)), (jnp.ones((4, H)), jnp.ones((3, H)))),
    "no_length": lambda scan: scan(step, jnp.ones((B, H))),
    "no_axis": lambda scan: scan(step, jnp.ones((B, H)), 1.0),
    "not_callable": lambda scan: scan(3, jnp.ones((B, H)), length=3),
    "not_a_pair": lambda scan: scan(lambda h, x: h, jnp.ones((B, H)), length=3),
    "other_shape": lambda scan: scan(lambda h, x: (jnp.ones((B, H + 1)), None), jnp.ones((B, H)), length=3),
    "other_dtype": lambda scan: scan(lambda h, x: (h.astype(jnp.bfloat16), None), jnp.ones((B, H)), length=3),
    "other_structure": lambda scan: scan(lambda h, x: ((h, h), None), jnp.ones((B, H)), length=3),
    "weak_carry": lambda scan: scan(lambda c, x: (c + jnp.sum(x @ jnp.ones((H, H))), c), 0.0, jnp.ones((4, B, H))),
    "weak_integer": lambda scan: scan(lambda c, x: (c + 1, x @ jnp.ones((H, H))), 0, jnp.ones((4, B, H))),
    "unroll_true": lambda scan: scan(step, jnp.ones((B, H)), length=3, unroll=True),
    "unroll_zero": lambda scan: scan(step, jnp.ones((B, H)), length=3, unroll=0),
    "unroll_negative": lambda scan: scan(step, jnp.ones((B, H)), length=3, unroll=-1),
    "numpy": lambda scan: scan(step, np.ones((B, H), np.float32), np.ones((4, 1))),
    "split_transpose": lambda scan: scan(step, jnp.ones((B, H)), length=3, _split_transpose=True),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_answered_as_by_lax(name):
    got, expected = (outcome(lambda s=s: CALLS[name](s)) for s in (rnnjax.scan, lax.scan))
    if isinstance(expected, tuple) and isinstance(expected[0], type):
        assert got[0] is expected[0]
        assert got[1].splitlines()[0] == expected[1].splitlines()[0]
    else:
        assert_close(got, expected)
        assert [(a.dtype, a.weak_type) for a in jax.tree.leaves(got)] == [
            (a.dtype, a.weak_type) for a in jax.tree.leaves(expected)
        ]


def test_side_effects_happen_once():
    seen = []

    def f(h, x):
        jax.debug.callback(lambda value: seen.append(float(value)), x.sum(), ordered=True)
        return jnp.tanh(h @ jnp.eye(H) + x), None

    jax.block_until_ready(rnnjax.scan(f, jnp.zeros((B, H)), jnp.arange(3.0)[:, None, None] + jnp.zeros((3, B, H))))
    jax.effects_barrier()
    assert seen == [0.0, 10.0, 20.0]


def test_checks_of_checkify_see_into_the_loop():
    from jax.experimental import checkify

    def run(scan, h):
        return scan(lambda h, x: (jnp.log(h @ jnp.eye(H) - 1), None), h, length=3)[0]

    def error(scan):
        return checkify.checkify(functools.partial(run, scan), errors=checkify.float_checks)(jnp.ones((B, H)))[0].get()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (error(rnnjax.scan) is None) == (error(lax.scan) is None)
        assert "nan generated" in error(rnnjax.scan)
