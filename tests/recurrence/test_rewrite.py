"""What rnnjax.scan does to a body: what leaves the loop, where gradients are summed, and what is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import (
    assert_close,
    carried,
    equations,
    loop_bodies,
    lowered_jaxpr,
    normal,
    random_params,
    values_and_gradients,
    weighted_sum,
)

import rnnjax
from rnnjax import _jaxprs as jaxprs
from rnnjax.recurrence._rewrite import entry, fallback, lower, residuals, split, targets

T, B, F, H = 11, 2, 3, 5


def lstm_body(params):
    """An LSTM as a user writes it: [B, H] in and out."""
    w_x, w_h, b = params

    def f(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(x @ w_x + h @ w_h + b[None], 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return f


PARAMS = (normal(0, F, 4 * H), normal(1, H, 4 * H), normal(2, 4 * H))
INIT = (normal(3, B, H), normal(4, B, H))
XS = normal(5, T, B, F)


def run(scan, params, init, xs):
    return scan(lstm_body(params), init, xs)


def gradient_jaxpr(scan, body=run, args=(PARAMS, INIT, XS)):
    """The jaxpr of the gradients of a scan in all its arguments, as it is lowered for a CPU."""

    def loss(*args):
        return weighted_sum(body(scan, *args))

    return lowered_jaxpr(jax.grad(loss, tuple(range(len(args)))), *args)


def products_in(jaxpr):
    return [e for e in equations(jaxpr) if e.primitive.name == "dot_general"]


def carried_shapes(jaxpr):
    """The shapes of what any scan carries, by scan."""
    return [[var.aval.shape for var in carried(e)] for e in equations(jaxpr) if e.primitive.name == "scan"]


# ---- gradients of weights ------------------------------------------------------------------------------------


def test_no_loop_sums_up_the_gradient_of_a_weight():
    plain, rewritten = (carried_shapes(gradient_jaxpr(scan)) for scan in (jax.lax.scan, rnnjax.scan))
    weights = {PARAMS[0].shape, PARAMS[1].shape, PARAMS[2].shape}
    assert any(weights & set(shapes) for shapes in plain)  # or the test shows nothing
    assert not any(weights & set(shapes) for shapes in rewritten)


def test_the_backward_loop_holds_one_product():
    bodies = loop_bodies(gradient_jaxpr(rnnjax.scan))
    assert [len(products_in(body)) for body in bodies] == [1, 1]  # h @ w_h, and what goes back through it


def test_the_backward_product_reads_its_weight_as_it_lies():
    """dz [B, 4H] times a [4H, H] that was laid out before the loop, contracted over its first axis."""
    (backward,) = products_in(loop_bodies(gradient_jaxpr(rnnjax.scan))[1])
    assert backward.invars[1].aval.shape == (4 * H, H)
    assert backward.params["dimension_numbers"] == (((1,), (0,)), ((), ()))


def test_a_sum_of_products_takes_one_tap():
    """What the backward loop emits is one [B, 4H] a step for z = x w_x + h w_h + b, not one for each addend."""
    (backward,) = [e for e in equations(gradient_jaxpr(rnnjax.scan)) if e.primitive.name == "scan"][1:]
    emitted = [var.aval.shape for var in backward.outvars[len(carried(backward)) :]]
    assert emitted == [(T, B, 4 * H)]


def test_gradients_that_nobody_asks_for_are_not_computed():
    def loss(init):
        return weighted_sum(run(rnnjax.scan, PARAMS, init, XS))

    jaxpr = lowered_jaxpr(jax.grad(loss), INIT)
    (backward,) = [e for e in equations(jaxpr) if e.primitive.name == "scan"][1:]
    assert len(backward.outvars) == len(carried(backward)) == 2


# ---- blocks of steps -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", [2, 3, 6])
def test_blocks_change_nothing(size, reverse, monkeypatch):
    monkeypatch.setattr(targets, "block_size", lambda *args: size)
    xs = normal(7, 6, B, F)

    def run_in(scan, params, init, xs):
        return scan(lstm_body(params), init, xs, reverse=reverse)

    def results(scan):
        return values_and_gradients(functools.partial(run_in, scan), PARAMS, INIT, xs)

    assert_close(results(rnnjax.scan), results(jax.lax.scan), rtol=1e-4, atol=1e-5)
    point, direction = (PARAMS, INIT, xs), jax.tree.map(jnp.sin, (PARAMS, INIT, xs))
    forward = [jax.jvp(functools.partial(run_in, s), point, direction)[1] for s in (rnnjax.scan, jax.lax.scan)]
    assert_close(*forward, rtol=1e-4, atol=1e-5)


def stacked_shapes(jaxpr):
    """The shapes of all that any scan stacks up."""
    scans = [e for e in equations(jaxpr) if e.primitive.name == "scan"]
    return {var.aval.shape for e in scans for var in e.outvars[len(carried(e)) :]}


def test_in_blocks_no_cotangents_of_all_steps_are_stacked(monkeypatch):
    gates = (6, B, 4 * H)
    args = PARAMS, INIT, normal(7, 6, B, F)
    assert gates in stacked_shapes(gradient_jaxpr(rnnjax.scan, args=args))
    monkeypatch.setattr(targets, "block_size", lambda *args: 2)
    shapes = stacked_shapes(gradient_jaxpr(rnnjax.scan, args=args))
    assert (2, B, 4 * H) in shapes and gates not in shapes and (3, *gates[1:]) not in shapes


def test_how_many_steps_a_block_has():
    """Blocks where all steps at once would not fit into memory that is kept, and blocks do."""
    mib, cpu, gpu = 2**20, targets.Target("cpu", 1), targets.Target("cuda", 1)

    def size(target, length, extra, loop, weights=0):
        return targets.block_size(target, length, extra, loop, weights)

    assert size(cpu, 100, mib // 100, mib // 10) == 100  # small
    assert size(cpu, 512, mib // 33, mib // 30) in (64, 128) and size(gpu, 512, mib // 33, mib // 30) == 512
    assert size(cpu, 509, mib // 33, mib // 30) == 509  # a prime: no blocks of one size
    assert size(cpu, 1000, mib // 100, mib // 10) == 1000  # what has to be kept is too large already
    assert size(cpu, 512, mib // 33, mib // 30, weights=16 * mib) == 512  # the weights leave no room
    for target in (cpu, gpu):
        assert size(target, 1000, mib, mib) == 10  # the largest divisor within 16 MiB
        assert size(target, 1009, mib, mib) == 0 and size(target, 1000, 10 * mib, mib) == 0  # not at once
        assert size(target, 4, 10 * mib, mib) == 0 and size(target, 4, 4 * mib, 0) == 4


def test_sizes_that_are_symbols():
    """What cannot be compared must not grow beyond what is there anyway."""
    b, t = jax.export.symbolic_shape("b, t")
    gpu = targets.Target("cuda", 1)
    assert targets.block_size(gpu, t, 8 * b, 8 * b, 0) is t
    assert targets.block_size(gpu, t, 9 * b, 8 * b, 0) == 0
    assert targets.block_size(gpu, 100, 8 * b, 9 * b, 0) == 100


# ---- what leaves the loop ------------------------------------------------------------------------------------


def test_products_of_the_inputs_are_computed_for_all_steps_by_gate():
    jaxpr = lowered_jaxpr(functools.partial(run, rnnjax.scan), PARAMS, INIT, XS)
    (body,) = loop_bodies(jaxpr)
    assert [e.invars[0].aval.shape for e in products_in(body)] == [(B, H)]
    outside = [e for e in products_in(jaxpr) if e not in products_in(body)]
    assert sorted(e.outvars[0].aval.shape for e in outside if e.invars[0].aval.shape != (B, H)) == [(T * B, H)] * 4
    scanned = [var.aval.shape for var in body.jaxpr.invars if var.aval.shape == (B, H)]
    assert len(scanned) == 2 + 4  # h and c, and one array a gate


def test_invariant_work_is_done_once():
    def body(scan, w, c, xs):
        def f(c, x):
            joined = jnp.concatenate([w, jnp.tanh(w)], axis=1).T[:H] @ jnp.eye(H)
            return jnp.tanh(c @ joined + x), None

        return scan(f, c, xs)

    args = (normal(0, H, H), normal(1, B, H), normal(2, T, B, H))
    jaxpr = jax.make_jaxpr(functools.partial(body, rnnjax.scan))(*args)
    (inside,) = loop_bodies(jaxpr)
    assert [e.primitive.name for e in equations(inside)] == ["dot_general", "add", "tanh"]


def test_elementwise_functions_of_the_inputs_stay_in_the_loop():
    def body(scan, w, c, xs):
        return scan(lambda c, x: (jnp.tanh(c @ w + jnp.sin(x)), None), c, xs)

    args = (normal(0, H, H), normal(1, B, H), normal(2, T, B, H))
    (inside,) = loop_bodies(jax.make_jaxpr(functools.partial(body, rnnjax.scan))(*args))
    assert "sin" in [e.primitive.name for e in equations(inside)]


def test_broadcasts_of_parameters_stay_in_the_loop():
    def body(scan, w, b, c, xs):
        return scan(lambda c, x: (jnp.tanh(c @ w + jnp.broadcast_to(b, c.shape)), x), c, xs)

    args = (normal(0, H, H), normal(1, H), normal(2, B, H), normal(3, T, B))
    (inside,) = loop_bodies(jax.make_jaxpr(functools.partial(body, rnnjax.scan))(*args))
    assert "broadcast_in_dim" in [e.primitive.name for e in equations(inside)]


def product(rows, columns, terms):
    """The equation of a product of so many rows, columns and terms."""
    args = jax.ShapeDtypeStruct((rows, terms), jnp.float32), jax.ShapeDtypeStruct((terms, columns), jnp.float32)
    return jax.make_jaxpr(jnp.dot)(*args).jaxpr.eqns[0]


def test_which_products_of_the_inputs_leave_the_loop():
    cpu, mesh, gpu = targets.Target("cpu", 1), targets.Target("cpu", 8), targets.Target("cuda", 1)
    assert targets.pays(product(1, 2048, 512), cpu)  # bound by reading the weight
    assert targets.pays(product(32, 512, 128), cpu)  # on one core in the loop
    assert not targets.pays(product(32, 1024, 256), cpu)  # on both in the loop
    assert not targets.pays(product(32, 512, 128), mesh)  # each device has one core
    assert targets.pays(product(32, 1024, 256), gpu)


def test_a_body_without_products_is_left_to_lax():
    jaxpr = jax.make_jaxpr(lambda c, xs: rnnjax.scan(lambda c, x: (c + x, c * x), c, xs))(
        0.5 * jnp.ones(3), XS[..., 0, :]
    )
    assert [e.primitive.name for e in jaxpr.jaxpr.eqns if e.primitive.name != "mul"][-1] == "scan"
    assert "rnnjax_scan" not in [e.primitive.name for e in equations(jaxpr)]


def test_a_body_with_effects_is_left_to_lax():
    def f(c, x):
        jax.debug.print("{}", c.sum())
        return jnp.tanh(c @ PARAMS[1][:, :H] + x @ PARAMS[0][:, :H]), None

    jaxpr = jax.make_jaxpr(lambda c, xs: rnnjax.scan(f, c, xs))(INIT[0], XS)
    assert "rnnjax_scan" not in [e.primitive.name for e in equations(jaxpr)]


def test_disable_jit_runs_python_step_by_step():
    """A debugger sees arrays, as under lax.scan."""
    seen = []

    def f(c, x):
        seen.append(not isinstance(c, jax.core.Tracer))
        return jnp.tanh(c @ PARAMS[1][:, :H]), None

    with jax.disable_jit():
        rnnjax.scan(f, INIT[0], XS)
    assert seen[-1]


# ---- what fails ----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("part", ["entry", "residuals", "lowering"])
def test_a_rewrite_that_fails_is_a_plain_scan(part, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("a failure of the rewrite")

    monkeypatch.delenv("RNNJAX_STRICT")
    where, name = {"entry": (entry, "_bind"), "residuals": (split, "_choose"), "lowering": (lower, "make_plan")}[part]
    monkeypatch.setattr(where, name, fail)
    before = fallback.failures[part, "RuntimeError"]
    got, expected = (
        values_and_gradients(functools.partial(run, s), PARAMS, INIT, XS) for s in (rnnjax.scan, jax.lax.scan)
    )
    assert_close(got, expected)
    assert fallback.failures[part, "RuntimeError"] > before


def test_the_tests_see_a_rewrite_that_fails(monkeypatch):
    monkeypatch.setattr(lower, "make_plan", lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        jax.jit(functools.partial(run, rnnjax.scan))(PARAMS, INIT, XS)


# ---- what is kept --------------------------------------------------------------------------------------------


def kept_by(function, n_free, *args):
    """Names of the primitives that make what is kept to compute the outputs of a function; `in` for an input."""
    jaxpr, _ = jaxprs.trace(lambda *args: jax.tree.leaves(function(*args)), [jax.typeof(arg) for arg in args])
    kept = residuals.cheapest_to_keep(jaxpr, set(jaxpr.invars[:n_free]), (), jaxprs.variables(jaxpr.outvars))
    made_by = {var: eqn.primitive.name for eqn in jaxpr.eqns for var in eqn.outvars}
    return sorted(made_by.get(var, "in") for var in kept)


def test_one_value_is_kept_for_many_that_follow_from_it():
    a, w = normal(0, B, H), normal(1, H, H)

    def many(w, a):
        h = jnp.tanh(a @ w)
        return jnp.sin(h), jnp.cos(h), jnp.exp(h)

    assert kept_by(many, 1, w, a) == ["tanh"]  # after what all have in common


def test_the_smaller_side_is_kept():
    a, w = normal(0, B, H), normal(1, H, H)
    assert kept_by(lambda w, a: jnp.tanh(a @ w).sum(1) ** 2, 1, w, a) == ["integer_pow"]
    assert kept_by(lambda w, a: jnp.broadcast_to(a[:, :1], (B, H)) * 2, 1, w, a) == ["slice"]


def test_products_are_not_done_again():
    a, w = normal(0, B, 1), normal(1, 1, H)
    assert kept_by(lambda w, a: a @ w, 1, w, a) == ["dot_general"]  # although a is smaller


def test_nothing_is_kept_for_what_follows_from_the_inputs():
    a, w = normal(0, B, H), normal(1, H, H)
    assert kept_by(lambda w, x, a: jnp.tanh(x) + 1, 2, w, a, a) == []


@pytest.mark.parametrize(
    ("cell", "floats"),
    [
        # per hidden unit and step: gates i, f, g, o; c; h
        (rnnjax.lstm(F, H), 6),
        # r, u, n; h W_n; h
        (rnnjax.gru(F, H), 5),
        # the new h; the old one
        (rnnjax.rnn(F, H), 2),
    ],
    ids=["lstm", "gru", "rnn"],
)
def test_a_step_keeps_the_gates_and_the_carry(cell, floats):
    params = random_params(cell)

    def loss(params, xs):
        def step(carry, x):
            return cell.apply(params, carry, x)

        return weighted_sum(rnnjax.scan(step, cell.initial_carry((B,)), xs)[0])  # only the carry, no ys

    jaxpr = jax.make_jaxpr(jax.grad(loss))(params, XS)
    forward, _ = (e for e in equations(jaxpr) if e.primitive.name == "rnnjax_scan")
    kept = [var.aval for var in forward.outvars[len(carried(forward)) :]]
    ys = 1 if any(True for _ in kept) else 0  # lax.scan keeps the unused y until it is compiled
    assert sum(aval.size for aval in kept) <= (floats + ys) * T * B * H


# ---- other people's loops ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_flax_cell_scanned_by_hand():
    nn = pytest.importorskip("flax.linen")
    cell = nn.LSTMCell(H)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        carry = cell.initialize_carry(jax.random.key(0), (B, F))
        params = cell.init(jax.random.key(1), carry, XS[0])

        def unrolled(scan, params, xs):
            return scan(lambda carry, x: cell.apply(params, carry, x), carry, xs)

        got, expected = (
            values_and_gradients(functools.partial(unrolled, scan), params, XS) for scan in (rnnjax.scan, jax.lax.scan)
        )
        assert_close(got, expected)
        shapes = carried_shapes(gradient_jaxpr(rnnjax.scan, unrolled, (params, XS)))
    assert not [shape for loop in shapes for shape in loop if shape == (H, H)]


@pytest.mark.oracle
def test_a_haiku_core_scanned_by_hand():
    hk = pytest.importorskip("haiku")
    core = hk.without_apply_rng(hk.transform(lambda x, state: hk.LSTM(H)(x, state)))
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        state = hk.LSTMState(*INIT)
        params = core.init(jax.random.key(1), XS[0], state)

        def unrolled(scan, params, xs):
            def step(state, x):
                y, state = core.apply(params, x, state)
                return state, y

            return scan(step, state, xs)

        got, expected = (
            values_and_gradients(functools.partial(unrolled, scan), params, XS) for scan in (rnnjax.scan, jax.lax.scan)
        )
        assert_close(got, expected)
        shapes = carried_shapes(gradient_jaxpr(rnnjax.scan, unrolled, (params, XS)))
    assert not [shape for loop in shapes for shape in loop if shape == (F + H, 4 * H)]


# ---- compiled as users compile -------------------------------------------------------------------------------


@pytest.mark.slow
def test_optimised_programs_agree_in_single_precision():
    """The other tests of scan compile without most optimisations; these sizes run on both cores."""
    params = tuple(0.1 * normal(i, *shape) for i, shape in enumerate([(67, 4 * 97), (97, 4 * 97), (4 * 97,)]))
    init, xs = (jnp.zeros((13, 97)), jnp.zeros((13, 97))), normal(5, 31, 13, 67)
    got, expected = (
        values_and_gradients(functools.partial(run, scan), params, init, xs) for scan in (rnnjax.scan, jax.lax.scan)
    )
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5 * float(abs(b).max()))
