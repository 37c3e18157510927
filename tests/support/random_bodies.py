"""Random bodies of loops, of every kind of operation that a rewrite could get wrong."""

from typing import Any, NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
from helpers import normal, weighted_sum
from hypothesis import strategies as st

T, N, M = 3, 5, 2
TIGHT = {"rtol": 1e-8, "atol": 1e-9}


class Weights(NamedTuple):
    """What a random body closes over."""

    w: Any  # [N, N]
    v: Any  # [N, N]
    b: Any  # [N]


class State(NamedTuple):
    """Carry of a random body: floats in a tree with a hole, and a counter."""

    a: Any  # [N]
    nested: Any  # ([M, N], None)
    count: Any  # int32 []


@jax.custom_jvp
def straight_through(x):
    return jnp.round(4 * x) / 4


straight_through.defjvp(lambda primals, tangents: (straight_through(*primals), 0.7 * tangents[0]))


def drawn(impl, n, like):
    """Noise from a key that differs from step to step."""
    return 0.1 * jax.random.normal(jax.random.fold_in(jax.random.key(1, impl=impl), n), like.shape, like.dtype)


def halve_until_small(x):
    """A loop of which only forward mode is known, behind a stop."""
    x = jax.lax.stop_gradient(x)
    return jax.lax.while_loop(lambda v: jnp.abs(v).max() > 0.1, lambda v: v / 2, x)


# Functions of two of the values at hand, the weights and the counter; each gives an [N].
OPS = {
    "matmul": lambda a, b, w, n: a @ w.w,
    "matmul_transposed": lambda a, b, w, n: w.w.T @ a,
    "matmul_of_a_slice": lambda a, b, w, n: a[: N - 1] @ w.v[1:],
    "matmul_of_a_sum": lambda a, b, w, n: a @ (w.w + jnp.tanh(w.v)),
    "matmul_of_both": lambda a, b, w, n: jnp.split(jnp.concatenate([a, b]) @ jnp.concatenate([w.w, w.v]), [N])[0],
    "matmul_of_values": lambda a, b, w, n: jnp.outer(a, b) @ w.b,
    "matmul_of_a_gathered_row": lambda a, b, w, n: a * w.w[n % N],
    "add": lambda a, b, w, n: a - 0.5 * b,
    "add_bias": lambda a, b, w, n: a + w.b,
    "mul": lambda a, b, w, n: a * jnp.sin(b),
    "tanh": lambda a, b, w, n: jnp.tanh(a),
    "where": lambda a, b, w, n: jnp.where(a > 0.1, a, b),
    "cumsum": lambda a, b, w, n: 0.5 * jnp.cumsum(a),
    "roll": lambda a, b, w, n: jnp.roll(a, 1),
    "sort": lambda a, b, w, n: jnp.sort(a),
    "softmax": lambda a, b, w, n: jax.nn.softmax(a) * jnp.max(b),
    "stop_gradient": lambda a, b, w, n: a * jax.lax.stop_gradient(b),
    "cond": lambda a, b, w, n: jax.lax.cond(n % 2 == 0, lambda: a @ w.v, lambda: jnp.tanh(b)),
    "inner_jit": lambda a, b, w, n: jax.jit(lambda a, w: jnp.tanh(a @ w))(a, w.w),
    "inner_checkpoint": lambda a, b, w, n: jax.checkpoint(lambda a, w: jnp.sin(a @ w))(a, w.v),
    "inner_scan": lambda a, b, w, n: jax.lax.scan(lambda c, x: (jnp.tanh(c @ w.w + x), None), a, w.v)[0],
    "add_scalar": lambda a, b, w, n: a + b[0],
    "add_product": lambda a, b, w, n: a + b @ w.b,
    "counter": lambda a, b, w, n: a * jnp.cos(n.astype(a.dtype)),
    "rule_that_is_not_the_derivative": lambda a, b, w, n: straight_through(a) @ w.v,
    "look_up": lambda a, b, w, n: w.v[(10 * a[0]).astype(jnp.int32) % N] * b,
    "one_hot_product": lambda a, b, w, n: jax.nn.one_hot((10 * b[1]).astype(jnp.int32) % N, N, dtype=a.dtype) @ w.w + a,
    "convolution": lambda a, b, w, n: jnp.convolve(a, w.b[:3], mode="same"),
    "threefry_bits": lambda a, b, w, n: a + drawn("threefry2x32", n, a) @ w.w,
    "rbg_bits": lambda a, b, w, n: a + drawn("rbg", n, a) @ w.w,
    "while_in_cond": lambda a, b, w, n: jax.lax.cond(b[0] > 0, halve_until_small, jnp.sin, b) @ w.w + a,
    "scatter": lambda a, b, w, n: a.at[n % N].add(b[0]),
    "outer_then_weights": lambda a, b, w, n: jnp.einsum("i,j,ij->j", a, b, w.w),
}
LEAVES = 5  # values that a body starts with: two of the carry, two of x, one weight
instructions = st.tuples(st.sampled_from(sorted(OPS)), st.integers(0, 99), st.integers(0, 99))
programs = st.tuples(
    st.lists(instructions, min_size=2, max_size=7), st.lists(st.integers(0, 99), min_size=4, max_size=4)
)


def random_body(program):
    """A body `(weights) -> f` that runs the instructions and picks its next carry and y among the values."""
    code, picks = program

    def close(weights):
        def f(carry, x):
            values = [carry.a, carry.nested[0][1], x["now"], x["more"][0].sum(0), weights.b]
            for name, i, j in code:
                # Newer values are likelier, so that a body is deep rather than wide.
                a, b = (values[-1 - k % min(len(values), 4)] for k in (i, j))
                values.append(OPS[name](a, b, weights, carry.count))
            first, second, third, out = (values[-1 - k % len(values)] for k in picks)
            nested = jnp.stack([jnp.tanh(second), jnp.tanh(third)])
            carry = State(first / (1 + jnp.abs(first)), (nested, None), carry.count + 1)
            return carry, {"out": out, "count": carry.count, "nothing": None}

        return f

    close.is_smooth = "rule_that_is_not_the_derivative" not in [name for name, _, _ in code]
    return close


def random_arguments(seed=0, length=T):
    with jax.enable_x64(True):
        weights = Weights(
            *(0.6 * normal(seed + i, *s, dtype=jnp.float64) for i, s in enumerate([(N, N), (N, N), (N,)]))
        )
        init = State(
            normal(seed + 3, N, dtype=jnp.float64), (normal(seed + 4, M, N, dtype=jnp.float64), None), jnp.int32(3)
        )
        now, more = normal(seed + 5, length, N, dtype=jnp.float64), normal(seed + 6, length, M, N, dtype=jnp.float64)
        return weights, init, {"now": now, "more": (more, None)}


def check_random(examples, check):
    """Runs check(program, reverse) over random programs, in double precision."""

    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(programs, st.booleans())
    def holds(program, reverse):
        with jax.enable_x64(True):
            check(random_body(program), reverse)

    holds()


def runner(scan, body, reverse):
    return lambda weights, init, xs: scan(body(weights), init, xs, reverse=reverse)


def float_loss(scan, body, reverse):
    """A scalar function of `(weights, a, now)`, all floats, and a point and a direction for it."""
    weights, init, xs = random_arguments()

    def loss(weights, a, now):
        return weighted_sum(runner(scan, body, reverse)(weights, init._replace(a=a), {**xs, "now": now}))

    point = (weights, init.a, xs["now"])
    other_weights, other_init, other_xs = random_arguments(seed=20)
    return loss, point, (other_weights, other_init.a, other_xs["now"])


def batched(body):
    """The body for rows of a batch `[B, ...]`; a carry keeps some of the one before, and thereby its type."""

    def close(weights):
        def f(carry, x):
            new, y = jax.vmap(body(weights))(carry, x)
            return jax.tree.map(lambda new, old: new + (old / 10 if old.dtype == float else 0 * old), new, carry), y

        return f

    return close


def batched_arguments(rows, length=T):
    """Arguments of a batched body: weights, init `[B, ...]`, xs `[T, B, ...]`."""
    with jax.enable_x64(True):
        weights, *_ = random_arguments(length=length)
        members = [random_arguments(seed=10 * i, length=length)[1:] for i in range(rows)]
        init = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(init for init, _ in members))
        return weights, init, jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *(xs for _, xs in members))
