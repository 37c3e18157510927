"""A cell inside a linen.Module, whose `init` is an initialiser of `self.param`; and Flax's serialisation."""

import jax
import jax.numpy as jnp
import optax
import pytest
from cell_table import TABLE
from flax import linen, serialization
from flax.training.train_state import TrainState
from helpers import assert_close, assert_same, normal, random_params

import rnnjax

T, B, F, H = 7, 2, 3, 5
CELL = rnnjax.stack([rnnjax.rnn(F, H), rnnjax.gru(H, H, reset_after=False)])  # nested tuples, and a b_h of None
XS = normal(1, T, B, F)
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("standard_promotion", "quick_compilation")


class Reader(linen.Module):
    """The smallest module around a cell."""

    @linen.compact
    def __call__(self, xs):
        _, ys = rnnjax.unroll(CELL, self.param("rnn", CELL.init), xs)
        return linen.Dense(1)(ys)


INIT = jax.jit(Reader().init)


class Step(linen.Module):
    """One step of a cell, for the loops of linen."""

    @linen.compact
    def __call__(self, carry, x):
        return CELL.apply(self.param("rnn", CELL.init), carry, x)


@jax.jit
def train_step(state):
    gradients = jax.grad(lambda params: jnp.mean((state.apply_fn({"params": params}, XS) - 1) ** 2))(state.params)
    return state.apply_gradients(grads=gradients)


@pytest.fixture(scope="module")
def trained(standard_promotion, quick_compilation):
    """A train state after three updates."""
    params = INIT(KEY, XS)["params"]
    state = TrainState.create(apply_fn=Reader().apply, params=params, tx=optax.adam(1e-2))
    for _ in range(3):
        state = train_step(state)
    return state


@pytest.mark.slow
def test_a_train_state_trains_it_as_it_trains_the_bare_parameters(trained):
    start = INIT(KEY, XS)["params"]
    assert isinstance(start["rnn"], rnnjax.Layers)

    def loss(params):
        _, ys = rnnjax.unroll(CELL, params["rnn"], XS)
        return jnp.mean((linen.Dense(1).apply({"params": params["Dense_0"]}, ys) - 1) ** 2)

    params, optimizer = start, optax.adam(1e-2)
    opt_state = optimizer.init(params)
    for _ in range(3):
        updates, opt_state = optimizer.update(jax.jit(jax.grad(loss))(params), opt_state)
        params = optax.apply_updates(params, updates)
    assert_close(trained.params, params)
    moved = jax.tree.map(lambda a, b: jnp.max(jnp.abs(a - b)), params, start)
    assert min(jax.tree.leaves(moved)) > 1e-3


@pytest.mark.slow
def test_a_whole_train_state_survives_as_bytes(trained):
    fresh = jax.tree.map(jnp.zeros_like, trained)
    read = serialization.from_bytes(fresh, serialization.to_bytes(trained))
    assert jax.tree.structure(read) == jax.tree.structure(trained)
    assert_same(read, trained)


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_carry_of_every_cell_survive_as_bytes(name):
    cell = TABLE[name].cell
    values = random_params(cell), cell.initial_carry((B,))
    empty = jax.tree.map(jnp.zeros_like, values)
    read = serialization.from_bytes(empty, serialization.to_bytes(values))
    assert jax.tree.structure(read) == jax.tree.structure(values)
    assert_same(read, values)


@pytest.mark.slow
def test_the_loop_of_linen_runs_the_cell():
    loop = linen.scan(Step, variable_broadcast="params", split_rngs={"params": False})()
    variables = loop.init(KEY, CELL.initial_carry((B,)), XS)
    got = loop.apply(variables, CELL.initial_carry((B,)), XS)
    assert_close(got, rnnjax.unroll(CELL, variables["params"]["rnn"], XS))


@pytest.mark.slow
def test_an_ensemble_under_vmap_draws_each_member_anew():
    members = linen.vmap(Reader, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, axis_size=3)()
    variables = jax.jit(members.init)(KEY, XS)
    w_h = variables["params"]["rnn"].layers[0].w_h
    assert w_h.shape == (3, H, H) and not jnp.allclose(w_h[0], w_h[1])
    one = jax.tree.map(lambda leaf: leaf[1], variables)
    assert_close(members.apply(variables, XS)[1], Reader().apply(one, XS))


@pytest.mark.slow
def test_parameters_of_another_size_are_refused():
    variables = INIT(KEY, XS)
    variables["params"]["rnn"] = rnnjax.stack([rnnjax.rnn(F, 11), rnnjax.gru(11, H, reset_after=False)]).init(KEY)
    with pytest.raises(Exception, match=r'parameter "rnn".* \(3, 5\).* \(3, 11\)'):
        Reader().apply(variables, XS)
