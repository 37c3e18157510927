"""Training on eight devices by sharded arrays alone: run by test_devices.py in a process of its own, which has them."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, normal, random_params
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import rnnjax
from experiments.benchmarks.hlo import Program
from rnnjax.training import (
    Checkpoints,
    TrainState,
    fit,
    gather,
    init_state,
    make_train_step,
    shard,
    split_units,
    unit_specs,
)

pytestmark = pytest.mark.usefixtures("standard_promotion")
T, B, F, H = 13, 64, 16, 32
ADAM = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(0.01))
LAYERS = [rnnjax.lstm(F, H), rnnjax.gru(H, H)]


class Batch(NamedTuple):
    """Padded sequences."""

    xs: np.ndarray  # [T, B, F]
    lengths: np.ndarray  # [B]


SPECS = Batch(P(None, "data"), P("data"))


def mesh_of(count, *names):
    shape = (count,) if len(names) < 2 else (2, count // 2)
    return Mesh(np.reshape(jax.devices()[:count], shape), names or ("data",))


def batches(step):
    rng = np.random.default_rng(step)
    return Batch(rng.normal(size=(T, B, F)).astype(np.float32), rng.integers(0, T + 1, B))  # lengths of 0 and of T


def padded_loss(params, batch, *, key):
    """Masked, so that devices have different counts, with noise on the inputs; the layers read what came before."""
    kept = jax.random.bernoulli(key, 0.8, batch.xs.shape)
    xs = jnp.where(kept, batch.xs, 0)
    _, ys = rnnjax.unroll_layers(LAYERS, params, xs, lengths=batch.lengths)
    errors = (ys[:-1, :, :F] - batch.xs[1:]) ** 2
    where = rnnjax.losses.length_mask(batch.lengths - 1, T - 1)
    return rnnjax.losses.masked_mean(errors.mean(axis=-1), where), {"largest": jnp.abs(ys).max()}


def stream_loss(params, carry, xs, *, key):
    carry, ys = rnnjax.unroll(LAYERS[0], params, xs, carry)
    return carry, rnnjax.losses.masked_mean((ys[..., :F] - xs) ** 2)


PADDED = make_train_step(padded_loss, ADAM)
STREAM = make_train_step(stream_loss, ADAM)


@functools.cache
def first_state():
    return init_state(rnnjax.encoder(LAYERS).init(jax.random.key(1)), ADAM, key=jax.random.key(2))


def losses_of(step_fn, state, batches, updates=5):
    """The losses of some updates, the norms of their gradients, and the state after them."""
    step, found = jax.jit(step_fn), []
    for number in range(updates):
        state, metrics = step(state, batches(number))
        found.append((metrics.loss, metrics.grad_norm, metrics.aux))
    return found, state


def test_updates_are_those_of_one_device():
    mesh = mesh_of(8)
    expected, one = losses_of(PADDED, first_state(), batches)
    found, state = losses_of(PADDED, shard(first_state(), mesh), lambda step: shard(batches(step), mesh, SPECS))
    assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert_close(gather(state).params, one.params)
    assert state.params.layers[0].w_x.sharding.mesh.size == 8


def test_a_stream_is_that_of_one_device():
    mesh, cell = mesh_of(8), LAYERS[0]
    params, carry = random_params(cell), cell.initial_carry((B,))
    first = init_state(params, ADAM, key=jax.random.key(2), carry=carry)
    everywhere = TrainState(P(), P(), P(), P(), P("data"))
    expected, one = losses_of(STREAM, first, lambda step: batches(step).xs)
    found, state = losses_of(
        STREAM, shard(first, mesh, everywhere), lambda step: shard(batches(step).xs, mesh, P(None, "data"))
    )
    assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert_close(gather(state).carry, one.carry)
    assert state.carry.h.addressable_data(0).shape == (B // 8, H)


CELLS = {"rnn": rnnjax.rnn, "gru": rnnjax.gru, "lstm": rnnjax.lstm, "peephole_lstm": rnnjax.peephole_lstm}
CELLS["gru_reset_after"] = functools.partial(rnnjax.gru, reset_after=True)
VECTORS = {"gru": 1, "gru_reset_after": 1, "peephole_lstm": 3}  # [H] whose gradients a CPU sums up in the loop


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.usefixtures("all_optimizations")
def test_each_device_does_an_eighth_of_the_work_and_gathers_nothing(name):
    """By P(None, "data") of the inputs alone: parameters are where they were, on one device."""
    cell = CELLS[name](F, H)

    def update(state, xs):
        def loss_fn(params, xs, *, key):
            return rnnjax.losses.masked_mean((rnnjax.unroll(cell, params, xs)[1][..., :F] - xs) ** 2)

        return make_train_step(loss_fn, ADAM)(state, xs)

    state, xs = init_state(random_params(cell), ADAM, key=jax.random.key(2)), batches(0).xs
    split = shard(xs, mesh_of(8), P(None, "data"))
    one, eight = (jax.jit(update).lower(state, some).compile() for some in (xs, split))
    assert_close(eight(state, split)[1], one(state, xs)[1], rtol=1e-5, atol=1e-6)
    alone, shared = (Program(compiled.as_text()) for compiled in (one, eight))
    assert alone.multiply_adds() >= 6 * shared.multiply_adds() > 0
    assert one.cost_analysis()["flops"] >= 6 * eight.cost_analysis()["flops"]
    assert set(shared.collectives()) == {"all-reduce"}
    in_loops = 4 * T * H * VECTORS.get(name, 0)
    assert shared.collectives(in_loops=True).get("all-reduce", 0) == in_loops
    gradients = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
    assert gradients <= shared.collectives()["all-reduce"] <= gradients + in_loops + 64


@pytest.mark.parametrize("steps_per_call", [1, 3])
def test_fit_keeps_a_state_where_it_is(steps_per_call, tmp_path):
    traces, mesh = [], mesh_of(8)

    def step(state, batch):
        traces.append(1)
        return PADDED(state, batch)

    options = {"steps": 7, "steps_per_call": steps_per_call, "progress": False}
    expected = fit(PADDED, first_state(), batches, **options)
    with Checkpoints(tmp_path) as checkpoints:
        found = fit(
            step,
            shard(first_state(), mesh),
            lambda step: shard(batches(step), mesh, SPECS),
            checkpoints=checkpoints,
            **options,
        )
    assert_close(gather(found.state).params, expected.state.params)
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(found.state))
    assert len(traces) == 1


def test_a_carry_stays_where_it_was_put():
    """XLA would leave it split like the batch that it comes of."""
    mesh, cell = mesh_of(8), LAYERS[0]
    first = init_state(random_params(cell), ADAM, key=jax.random.key(2), carry=cell.initial_carry((B,)))
    options = {"steps": 3, "progress": False}
    expected = fit(STREAM, first, lambda step: batches(step).xs, **options).state
    found = fit(
        STREAM, shard(first, mesh), lambda step: shard(batches(step).xs, mesh, P(None, "data")), **options
    ).state
    assert found.carry.h.sharding.is_fully_replicated
    assert_close(gather(found).carry, expected.carry)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_checkpoint_is_restored_on_other_devices(count, tmp_path):
    expected = fit(PADDED, first_state(), batches, steps=6, progress=False)
    eight, fewer = mesh_of(8), mesh_of(count)
    with Checkpoints(tmp_path) as checkpoints:
        on_eight = {"progress": False, "checkpoints": checkpoints}
        fit(PADDED, shard(first_state(), eight), lambda step: shard(batches(step), eight, SPECS), steps=4, **on_eight)
        found = fit(
            PADDED,
            shard(first_state(), fewer),
            lambda step: shard(batches(step), fewer, SPECS),
            steps=6,
            resume=True,
            **on_eight,
        )
    assert found.state.params.layers[0].w_h.sharding.device_set == set(jax.devices()[:count])
    assert_close(gather(found.state).params, expected.state.params)


@pytest.mark.usefixtures("all_optimizations")
def test_runs_side_by_side_do_not_wait_for_each_other():
    mesh = mesh_of(8)
    keys = jax.random.split(jax.random.key(3), 16)
    states = jax.vmap(lambda key: init_state(rnnjax.encoder(LAYERS).init(key), ADAM, key=key))(keys)
    update = jax.vmap(PADDED, in_axes=(0, None))
    expected, _ = losses_of(update, states, batches, updates=2)
    split = shard(states, mesh, P("data"))
    found, _ = losses_of(update, split, lambda step: shard(batches(step), mesh), updates=2)
    assert_close(found, expected, rtol=1e-5, atol=1e-6)
    program = Program(jax.jit(update).lower(split, shard(batches(0), mesh)).compile().as_text())
    assert not program.collectives()


def test_what_cannot_be_split_is_one_sentence():
    batch = Batch(normal(1, T, 12, F), np.ones(12, int))
    with pytest.raises(ValueError, match=r"axis 1 of xs to be a multiple of 8 devices, got shape \(13, 12, 16\)"):
        shard(batch, mesh_of(8), SPECS)
    with pytest.raises(ValueError, match=r"axis 1 of leaf to be a multiple of 4 devices, got shape \(12,\)"):
        shard(batch.lengths, mesh_of(8, "a", "data"), P(None, "data"))


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_are_split_and_gathered(impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 16)
    split = shard(keys, mesh_of(8), P("data"))
    assert split.addressable_data(0).shape == (2,) and split.dtype == keys.dtype
    back = gather(split)
    assert (jax.random.key_data(back) == jax.random.key_data(keys)).all() and len(back.devices()) == 1


# ---- units ---------------------------------------------------------------------------------------------------


def units_task(name, mesh=None):
    """An update of a cell with its units split over "model", the batch over "data" if there is that axis."""
    cell = CELLS[name](F, H)
    inner = cell if mesh is None else split_units(cell, mesh)

    def loss_fn(params, xs, *, key):
        _, ys = rnnjax.unroll(inner, params, xs)
        return rnnjax.losses.masked_mean((ys[..., :F] - xs) ** 2)

    return make_train_step(loss_fn, ADAM), init_state(random_params(cell), ADAM, key=jax.random.key(2))


@pytest.mark.parametrize("names", [("model",), ("data", "model")])
@pytest.mark.parametrize("name", CELLS)
def test_split_units_are_one_device(name, names):
    mesh = mesh_of(8, *names)
    _, one = losses_of(*units_task(name), lambda step: batches(step).xs)
    step, state = units_task(name, mesh)
    split = P(None, "data") if len(names) == 2 else P()
    state = shard(state, mesh, unit_specs(state, mesh))
    found = fit(step, state, lambda step: shard(batches(step).xs, mesh, split), steps=5, progress=False)
    assert_close(gather(found.state).params, one.params)
    for leaf in (found.state.params.w_h, found.state.opt_state[1][0].mu.w_x):
        rows = leaf.addressable_data(0).shape[0]
        assert rows == leaf.shape[0] // mesh.shape["model"]


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.usefixtures("all_optimizations")
def test_split_units_meet_twice_a_step(name):
    """A sum ends a step, a gathering ends a backward step, and nothing is sent from one device to another."""
    mesh = mesh_of(8, "model")
    step, state = units_task(name, mesh)
    split, xs = shard(state, mesh, unit_specs(state, mesh)), shard(batches(0).xs, mesh)
    places = jax.tree.map(lambda leaf: leaf.sharding, split)
    program = Program(jax.jit(step, out_shardings=(places, None)).lower(split, xs).compile().as_text())
    alone = Program(jax.jit(units_task(name)[0]).lower(state, batches(0).xs).compile().as_text())
    assert alone.multiply_adds() >= 7.9 * program.multiply_adds() > 0
    moves = program.moves(in_loops=True)
    if name.startswith("gru"):  # h is also mixed with its candidate, by units, for which gates are sent around
        assert moves["all-reduce"] == T and moves["collective-permute"] <= 28 * T
    else:
        assert moves == {"all-reduce": T, "all-gather": T}


@pytest.mark.usefixtures("all_optimizations")
def test_columns_of_gates_would_be_sent_around():
    """Why `unit_specs` splits rows: eight devices that have columns each exchange pieces of gates at every step."""
    mesh, cell = mesh_of(8, "model"), rnnjax.lstm(F, H)
    specs = rnnjax.LSTMParams(P(None, "model"), P(None, "model"), P("model"))
    args = shard(random_params(cell), mesh, specs), shard(batches(0).xs, mesh)
    program = Program(jax.jit(lambda params, xs: rnnjax.unroll(cell, params, xs)[1]).lower(*args).compile().as_text())
    assert program.moves(in_loops=True)["collective-permute"] >= 10 * T


def test_an_axis_that_the_mesh_has_not():
    with pytest.raises(ValueError, match="expected axis to be one of data, got 'model'"):
        split_units(rnnjax.lstm(F, H), mesh_of(8))
