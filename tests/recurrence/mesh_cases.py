"""Loops on eight devices: run by test_meshes.py in a process of its own, which has them."""

import functools
import re
from typing import Any

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, normal
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from random_bodies import TIGHT, batched, batched_arguments, check_random, runner

import rnnjax
from experiments.benchmarks.hlo import Program
from rnnjax.recurrence._rewrite import targets

T, B, F, H, S, A = 7, 24, 16, 32, 5, 16


def attention_decoder(scan, params, init, xs):
    """Additive attention over a memory [B, S, A], in the loop."""
    cell, (memory, h) = rnnjax.gru(F + A, H), init

    def step(h, x):
        scores = jnp.einsum("bsa,ba->bs", memory, jnp.tanh(h @ params["query"]))
        context = jnp.einsum("bs,bsa->ba", jax.nn.softmax(scores), memory)
        carry, y = cell.apply(params["cell"], rnnjax.GRUCarry(h), jnp.concatenate([x, context], -1))
        return carry.h, y

    return scan(step, h, xs)


def of_cell(cell):
    return lambda scan, params, init, xs: scan(lambda carry, x: cell.apply(params, carry, x), init, xs)


@functools.cache
def case(name) -> tuple[Any, Any, Any, Any]:
    """A loop `(scan, params, init, xs) -> (carry, ys)`, and its arguments."""
    xs, key = normal(5, T, B, F), jax.random.key(0)
    if name == "attention":
        params = {"cell": rnnjax.gru(F + A, H).init(key), "query": 0.3 * normal(6, H, A)}
        return attention_decoder, params, (normal(7, B, S, A), jnp.zeros((B, H))), xs
    cells = {
        "lstm": rnnjax.lstm(F, H),
        "gru": rnnjax.gru(F, H),
        "rnn": rnnjax.rnn(F, H),
        "layers": rnnjax.stack([rnnjax.lstm(F, H), rnnjax.lstm(H, H)]),
    }
    return of_cell(cells[name]), cells[name].init(key), cells[name].initial_carry((B,)), xs


def loss_of(loop, scan):
    return lambda params, init, xs: (loop(scan, params, init, xs)[1] ** 2).mean()


@functools.cache
def on_one_device(name):
    """The loss of a loop under lax.scan, and its gradients."""
    loop, *args = case(name)
    return jax.jit(jax.value_and_grad(loss_of(loop, lax.scan), (0, 1, 2)))(*args)


def on_mesh(kind, params, init, xs):
    """The mesh, and the arguments with the batch split over it."""
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Explicit if kind == "explicit" else AxisType.Auto,))

    def put(tree, spec):
        return jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, spec)), tree)

    return mesh, (put(params, P()), put(init, P("batch")), put(xs, P(None, "batch")))


NAMES = ["lstm", "gru", "rnn", "layers", "attention"]
every_loop = pytest.mark.parametrize("name", NAMES)
every_mesh = pytest.mark.parametrize("kind", ["auto", "explicit"])


@every_mesh
@every_loop
@pytest.mark.usefixtures("all_optimizations")
def test_a_split_batch_changes_nothing_and_costs_what_it_does_under_lax(name, kind):
    loop, *args = case(name)
    mesh, sharded = on_mesh(kind, *args)
    expected = on_one_device(name)
    forward, gradient = (lambda f: f, expected[0]), (lambda f: jax.value_and_grad(f, (0, 1, 2)), expected)
    for transform, expected in (forward, gradient):
        with jax.set_mesh(mesh):
            ours, plain = (
                jax.jit(transform(loss_of(loop, s))).lower(*sharded).compile() for s in (rnnjax.scan, lax.scan)
            )
            assert_close(ours(*sharded), expected)
        programs = Program(ours.as_text()), Program(plain.as_text())
        products, in_plain = (program.multiply_adds() for program in programs)
        assert 0 < products <= 1.1 * in_plain
        moved, moved_in_plain = (sum(program.collectives(in_loops=True).values()) for program in programs)
        assert moved <= 1.1 * moved_in_plain
        gathered, in_plain = (program.collectives().get("all-gather", 0) for program in programs)
        assert gathered <= in_plain
        temporary, in_plain = (compiled.memory_analysis().temp_size_in_bytes for compiled in (ours, plain))
        assert temporary <= 1.25 * in_plain


@every_mesh
def test_second_derivatives(kind):
    loop, *args = case("lstm")
    mesh, sharded = on_mesh(kind, *args)

    def slope(scan):
        loss = loss_of(loop, scan)
        return jax.grad(lambda params, init, xs: jax.jvp(loss, (params, init, xs), (params, init, xs))[1], (0, 2))

    expected = jax.jit(slope(lax.scan))(*args)
    with jax.set_mesh(mesh):
        assert_close(jax.jit(slope(rnnjax.scan))(*sharded), expected)


def ten_losses(loop, params, init, xs):
    """The losses of ten updates."""
    optimizer = optax.adagrad(0.1)

    def update(state, init, xs):
        params, opt_state = state
        loss, gradients = jax.value_and_grad(loss_of(loop, rnnjax.scan))(params, init, xs)
        updates, opt_state = optimizer.update(gradients, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    state, update_now, found = (params, optimizer.init(params)), jax.jit(update), []
    for _ in range(10):
        state, loss = update_now(state, init, xs)
        found.append(float(loss))
    return found


@functools.cache
def ten_losses_on_one_device(name):
    """The same for a case."""
    return ten_losses(*case(name))


@every_mesh
@every_loop
def test_ten_updates_are_those_of_one_device(name, kind):
    loop, *args = case(name)
    mesh, sharded = on_mesh(kind, *args)
    expected = ten_losses_on_one_device(name)
    with jax.set_mesh(mesh):
        got = ten_losses(loop, *sharded)
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert expected[-1] < expected[0]


@every_loop
def test_shards_with_the_default_check(name):
    """`jax.shard_map` follows which values vary over which axes, through the loop and its derivative."""
    loop, *args = case(name)
    mesh, _ = on_mesh("auto", *args)

    def share(*args):
        return lax.pmean(loss_of(loop, rnnjax.scan)(*args), "batch")

    specs = P(), P("batch"), P(None, "batch")
    whole = jax.shard_map(share, mesh=mesh, in_specs=specs, out_specs=P())
    got = jax.jit(jax.value_and_grad(whole, (0, 1, 2)))(*args)
    assert_close(got, on_one_device(name))


def test_units_split_over_devices():
    """Each device holds some columns of the weights, and gathers the state at every step."""
    mesh, _ = on_mesh("auto", {}, {}, {})
    params, xs = rnnjax.rnn(F, H).init(jax.random.key(0)), normal(5, T, B, F)

    def share(scan, params, xs):
        def step(h, x):
            whole = lax.all_gather(h, "batch", axis=1, tiled=True)
            h = jnp.tanh(whole @ params.w_h + x @ params.w_x + params.b[None])
            return h, h

        h = lax.pcast(jnp.zeros((B, H // 8)), "batch", to="varying")
        return lax.psum((scan(step, h, xs)[1] ** 2).sum(), "batch")

    columns = type(params)(P(None, "batch"), P(None, "batch"), P("batch"))

    def gradient(scan):
        whole = jax.shard_map(functools.partial(share, scan), mesh=mesh, in_specs=(columns, P()), out_specs=P())
        return jax.jit(jax.value_and_grad(whole, (0, 1)))(params, xs)

    assert_close(gradient(rnnjax.scan), gradient(lax.scan))
    cell = rnnjax.rnn(F, H)

    def on_one(params, xs):
        return (rnnjax.unroll(cell, params, xs, cell.initial_carry((B,)))[1] ** 2).sum()

    assert_close(gradient(rnnjax.scan), jax.value_and_grad(on_one, (0, 1))(params, xs))


def test_vmap_over_a_mesh_axis():
    loop, *args = case("gru")
    mesh, _ = on_mesh("auto", *args)
    members = jax.tree.map(lambda leaf: jnp.stack([leaf * (1 + 0.1 * i) for i in range(8)]), args[0])

    def losses(scan, members):
        return jax.vmap(lambda p: jax.value_and_grad(loss_of(loop, scan))(p, *args[1:]), spmd_axis_name="batch")(
            members
        )

    expected = jax.jit(functools.partial(losses, lax.scan))(members)
    with jax.set_mesh(mesh):
        split = jax.tree.map(lambda leaf: jax.device_put(leaf, NamedSharding(mesh, P("batch"))), members)
        assert_close(jax.jit(functools.partial(losses, rnnjax.scan))(split), expected)


@pytest.mark.parametrize("kind", ["auto", "explicit", "shard_map"])
def test_random_bodies(kind, monkeypatch):
    """As on a mesh of accelerators: what may leave the loop leaves it."""
    monkeypatch.setattr(targets, "pays", lambda eqn, target: True)

    def check(body, reverse):
        args = batched_arguments(8)
        mesh, sharded = on_mesh("auto" if kind == "shard_map" else kind, *args)

        def derivatives(scan):
            def loss(weights, a, init, xs):
                outs = runner(scan, batched(body), reverse)(weights, init._replace(a=a), xs)
                total = sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(outs) if leaf.dtype == float)
                return lax.psum(total, "batch") if kind == "shard_map" else total

            specs = P(), P("batch"), P("batch"), P(None, "batch")
            whole = jax.shard_map(loss, mesh=mesh, in_specs=specs, out_specs=P()) if kind == "shard_map" else loss
            return jax.jit(jax.value_and_grad(whole, (0, 1)))

        def outcome(scan):
            weights, init, xs = sharded
            return derivatives(scan)(weights, init.a, init, xs)

        with jax.set_mesh(mesh):
            try:
                expected = outcome(lax.scan)
            except Exception as error:  # JAX wants to be told more about shardings or varying axes
                hypothesis.assume(not re.search("shard|manual axis|pvary", str(error)))
                raise
            assert_close(outcome(rnnjax.scan), expected, **TIGHT)

    check_random(4, check)


@every_mesh
def test_blocks_of_steps(kind, monkeypatch):
    monkeypatch.setattr(targets, "pays", lambda eqn, target: True)
    monkeypatch.setattr(targets, "block_size", lambda *args: 1)
    loop, *args = case("lstm")
    mesh, sharded = on_mesh(kind, *args)
    with jax.set_mesh(mesh):
        assert_close(
            jax.jit(jax.value_and_grad(loss_of(loop, rnnjax.scan), (0, 1, 2)))(*sharded), on_one_device("lstm")
        )
