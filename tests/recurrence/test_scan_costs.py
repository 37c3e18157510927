"""What rnnjax.scan must not cost: memory, traces of eager calls; programs for shapes and platforms not at hand."""

import functools
import gc
import tracemalloc

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_close, normal
from jax import export, lax

import rnnjax

MIB = 2**20
f32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
i32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.int32)


# ---- memory: each is `(scan, *args) -> outputs`, and the shapes of args, weights first ------------------------


def one_hot_rows(scan, u, w, h, ids):
    return scan(lambda h, i: (jnp.tanh(h @ w + jax.nn.one_hot(i, u.shape[0]) @ u), None), h, ids)[0]


def outer_products(scan, u, w, h, xs):
    def f(h, x):
        return jnp.tanh(h @ w + (x[:, :, None] * x[:, None, :32]).reshape(x.shape[0], -1) @ u), None

    return scan(f, h, xs)[0]


def bank_of_weights(scan, bank, h, ids):
    return scan(lambda h, i: (jnp.tanh(h @ bank[i]), None), h, ids)[0]


def convolution_of_inputs(scan, kernel, h, xs):
    def f(h, x):
        image = lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jnp.tanh(h + image.mean()), None

    return scan(f, h, xs)[0]


def embedding(scan, table, w, h, ids):
    return scan(lambda h, i: (jnp.tanh(h @ w + table[i].sum(-1, keepdims=True)), None), h, ids)[0]


def members(scan, u, w, h, xs):
    def one(u, xs):
        return scan(lambda h, x: (jnp.tanh(h @ w + x @ u), None), h, xs)[0]

    return jax.vmap(one)(u, xs)


def loss_of_logits(scan, v, w, h, targets):
    def f(carry, target):
        h, loss = carry
        h = jnp.tanh(h @ w)
        logits = h @ v
        picked = jnp.take_along_axis(logits, target[:, None], 1)[:, 0]
        return (h, loss + (jax.nn.logsumexp(logits, -1) - picked).sum()), None

    return scan(f, (h, jnp.float32(0)), targets)[0][1]


def long_gru(scan, w, u, h, xs):
    def f(h, x):
        z, r = jnp.split(jax.nn.sigmoid(x @ u + h @ w), 2, -1)
        h = z * h + (1 - z) * jnp.tanh(r * h)
        return h, h

    return scan(f, h, xs)


MEMORY = {
    "one_hot_rows": (one_hot_rows, [f32((20000, 32)), f32((32, 32)), f32((16, 32)), i32((200, 16))]),
    "outer_products": (outer_products, [f32((10240, 32)), f32((32, 32)), f32((16, 32)), f32((200, 16, 320))]),
    "bank_of_weights": (bank_of_weights, [f32((8, 512, 512)), f32((16, 512)), i32((100,))]),
    "convolution_of_inputs": (convolution_of_inputs, [f32((3, 3, 1, 16)), f32(()), f32((500, 4, 32, 32, 1))]),
    "embedding": (embedding, [f32((1000, 1024)), f32((64, 64)), f32((16, 64)), i32((20000, 16))]),
    "members": (members, [f32((64, 32, 320)), f32((320, 320)), f32((16, 320)), f32((64, 100, 16, 32))]),
    "loss_of_logits": (loss_of_logits, [f32((64, 20000)), f32((64, 64)), f32((16, 64)), i32((100, 16))]),
    "long_gru": (long_gru, [f32((64, 128)), f32((64, 128)), f32((32, 64)), f32((4000, 32, 64))]),
    "prime_length": (long_gru, [f32((64, 128)), f32((64, 128)), f32((32, 64)), f32((4001, 32, 64))]),
}


def total(outputs):
    return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(outputs))


def gradient(run, shapes):
    floats = tuple(i for i, shape in enumerate(shapes) if shape.dtype == jnp.float32)
    return jax.grad(lambda *args: total(run(*args)), floats)


def forward_mode(run, shapes):
    def slope(*args):
        floats = [arg for arg in args if arg.dtype == jnp.float32]

        def of_floats(*floats):
            given = iter(floats)
            return run(*(next(given) if arg.dtype == jnp.float32 else arg for arg in args))

        return jax.jvp(of_floats, floats, floats)

    return slope


MODES = {"forward": lambda run, shapes: run, "gradient": gradient, "forward_mode": forward_mode}


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", MEMORY)
def test_temporary_memory_is_that_of_lax(name, mode):
    run, shapes = MEMORY[name]

    def temporary(scan):
        program = jax.jit(MODES[mode](functools.partial(run, scan), shapes)).lower(*shapes).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert temporary(rnnjax.scan) <= 1.25 * temporary(lax.scan) + 32 * MIB


# ---- eager calls ---------------------------------------------------------------------------------------------


def repeated(call, times=300):
    """Bytes of Python objects that repeated calls leave behind."""
    for _ in range(times):  # what caches of JAX grow to at first is no leak
        call()
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(times):
        call()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


@pytest.mark.slow
def test_an_eager_call_is_traced_once():
    traces = []
    w, h, xs = normal(0, 5, 5), normal(1, 2, 5), normal(2, 7, 2, 5)

    def f(h, x):
        traces.append(1)
        return jnp.tanh(h @ w + x), h

    assert repeated(lambda: rnnjax.scan(f, h, xs)) < 50_000
    assert len(traces) == 1
    reverse, short = rnnjax.scan(f, h, xs, reverse=True), rnnjax.scan(f, h, xs[:3])
    assert len(traces) == 1  # other loops over the same steps
    assert_close(reverse, lax.scan(f, h, xs, reverse=True))
    assert_close(short, lax.scan(f, h, xs[:3]))
    rnnjax.scan(f, h[:1], xs[:, :1])
    assert len(traces) == 2  # another shape


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{}, {"remat": "step"}, {"remat": 2}, {"chunk": 3}, {"lengths": jnp.array([7, 4])}], ids=str
)
def test_an_eager_unroll_is_traced_once(options):
    traces = []
    cell = rnnjax.gru(3, 5)
    params, xs = cell.init(jax.random.key(0)), normal(2, 7, 2, 3)

    def apply(params, carry, x):
        traces.append(1)
        return cell.apply(params, carry, x)

    traced = rnnjax.Cell(cell.init, cell.initial_carry, apply)
    rnnjax.unroll(traced, params, xs, **options)
    once = len(traces)
    assert repeated(lambda: rnnjax.unroll(traced, params, xs, **options), 100) < 50_000
    assert len(traces) == once
    assert_close(rnnjax.unroll(traced, params, xs, **options), rnnjax.unroll(cell, params, xs, **options))


@pytest.mark.slow
def test_programs_are_forgotten_with_the_function():
    from rnnjax.recurrence import _eager as eager

    def call():
        w = jnp.eye(5)
        return rnnjax.scan(lambda h, x: (h @ w, None), jnp.ones((2, 5)), length=3)

    call()
    gc.collect()
    before = len(eager._programs)
    for _ in range(5):
        call()
    gc.collect()
    assert len(eager._programs) <= before


@pytest.mark.slow
def test_closures_over_tracers_are_not_kept():
    """Eager in its arguments, but inside of a transformation."""
    h, xs = normal(1, 2, 5), normal(2, 7, 2, 5)

    def loss(w):
        return rnnjax.scan(lambda h, x: (jnp.tanh(h @ w + x), None), h, xs)[0].sum()

    w = normal(0, 5, 5)
    assert_close(jax.grad(loss)(w), jax.jit(jax.grad(loss))(w))
    assert_close(jax.vmap(loss)(jnp.stack([w, 2 * w])), jnp.stack([loss(w), loss(2 * w)]))


# ---- exported ------------------------------------------------------------------------------------------------

LSTM = rnnjax.lstm(3, 5)
PARAMS = LSTM.init(jax.random.key(0))


def loss_by(scan):
    def loss(params, carry, xs):
        _, ys = scan(lambda carry, x: LSTM.apply(params, carry, x), carry, xs)
        return jnp.mean(ys**2)

    return jax.value_and_grad(loss, (0, 1, 2))


@pytest.mark.slow
@pytest.mark.parametrize("platforms", [["cpu"], ["cpu", "cuda", "tpu"]], ids=str)
@pytest.mark.parametrize("symbols", ["b", "t", "b, t"])
def test_symbolic_shapes_survive(symbols, platforms):
    named = dict(zip(symbols.split(", "), export.symbolic_shape(symbols), strict=True))
    b, t = named.get("b", 2), named.get("t", 7)
    carry = jax.tree.map(lambda leaf: f32((b, *leaf.shape[1:])), LSTM.initial_carry((1,)))
    shapes = jax.tree.map(lambda leaf: f32(leaf.shape), PARAMS), carry, f32((t, b, 3))
    exported = export.export(jax.jit(loss_by(rnnjax.scan)), platforms=platforms)(*shapes)
    args = PARAMS, LSTM.initial_carry((2,)), normal(3, 7, 2, 3)
    assert_close(exported.call(*args), jax.jit(loss_by(lax.scan))(*args))


def test_unroll_takes_symbolic_shapes():
    t, b = export.symbolic_shape("t, b")
    params = jax.tree.map(lambda leaf: f32(leaf.shape), PARAMS)
    exported = export.export(jax.jit(lambda params, xs: rnnjax.unroll(LSTM, params, xs)[1]))(params, f32((t, b, 3)))
    xs = normal(3, 7, 2, 3)
    assert_close(exported.call(PARAMS, xs), rnnjax.unroll(LSTM, PARAMS, xs)[1])


def test_the_platform_that_a_program_is_for_decides():
    """A wide product of the inputs stays in the loop on a CPU and leaves it elsewhere, wherever it is exported."""
    shapes = f32((256, 1024)), f32((1024, 1024)), f32((32, 1024)), f32((7, 32, 256))

    def run(u, w, h, xs):
        return rnnjax.scan(lambda h, x: (jnp.tanh(h @ w + x @ u), None), h, xs)[0]

    def leaves(platforms):
        text = export.export(jax.jit(run), platforms=platforms)(*shapes).mlir_module()
        return "tensor<224x1024xf32>" in text  # 7 * 32 rows at once

    assert [leaves([platform]) for platform in ("cpu", "cuda", "tpu")] == [False, True, True]
    assert leaves(["cpu", "cuda"])
