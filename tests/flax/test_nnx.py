"""Parameters of cells as variables of an nnx.Module: trained, split, mapped and saved by Flax's own tools."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from cell_table import TABLE
from flax import nnx
from helpers import assert_close, assert_same, normal

import rnnjax
from rnnjax.flax.nnx import nnx_params, unwrap

T, B, F, H = 7, 2, 3, 5
CELL = rnnjax.stack([rnnjax.rnn(F, H), rnnjax.gru(H, H, reset_after=False)])  # nested tuples, and a b_h of None
XS = normal(1, T, B, F)
KEY = jax.random.key(0)
pytestmark = pytest.mark.usefixtures("standard_promotion")


class Reader(nnx.Module):
    """The smallest module around a cell."""

    def __init__(self, rngs: nnx.Rngs):
        self.rnn = nnx_params(CELL.init(rngs.params()))
        self.out = nnx.Linear(H, 1, rngs=rngs)

    def __call__(self, xs):
        _, ys = rnnjax.unroll(CELL, unwrap(self.rnn), xs)
        return self.out(ys)


def squares(reader):
    return jnp.mean((reader(XS) - 1) ** 2)


@nnx.jit
def train_step(reader, optimizer):
    loss, gradients = nnx.value_and_grad(squares)(reader)
    optimizer.update(reader, gradients)
    return loss


@pytest.fixture(scope="module")
def trained(standard_promotion):
    """A reader after three updates."""
    reader = Reader(nnx.Rngs(0))
    optimizer = nnx.Optimizer(reader, optax.adam(1e-2), wrt=nnx.Param)
    for _ in range(3):
        train_step(reader, optimizer)
    return reader


@pytest.mark.slow
def test_an_optimizer_trains_it_as_it_trains_the_bare_parameters(trained):
    start = Reader(nnx.Rngs(0))
    params = unwrap(start.rnn), unwrap(start.out.kernel), unwrap(start.out.bias)

    def loss(params):
        _, ys = rnnjax.unroll(CELL, params[0], XS)
        return jnp.mean((ys @ params[1] + params[2].reshape(1, 1, 1) - 1) ** 2)

    optimizer = optax.adam(1e-2)
    opt_state = optimizer.init(params)
    for _ in range(3):
        updates, opt_state = optimizer.update(jax.jit(jax.grad(loss))(params), opt_state)
        params = optax.apply_updates(params, updates)
    assert_close((unwrap(trained.rnn), trained.out.kernel[...], trained.out.bias[...]), params)
    assert not np.allclose(unwrap(trained.rnn).layers[0].w_h, unwrap(start.rnn).layers[0].w_h, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", TABLE)
def test_the_parameters_of_every_cell_come_back(name):
    params = TABLE[name].cell.init(KEY)
    module = nnx.Module()
    module.rnn = nnx_params(params)
    assert jax.tree.structure(unwrap(module.rnn)) == jax.tree.structure(params)
    assert_same(unwrap(module.rnn), params)
    assert len(jax.tree.leaves(nnx.state(module, nnx.Param))) == len(jax.tree.leaves(params))
    assert_same(unwrap(nnx.merge(*nnx.split(module)).rnn), params)


@pytest.mark.slow
def test_paths_are_the_names_of_fields(trained):
    paths = {path for path, _ in nnx.to_flat_state(nnx.state(trained))}
    assert ("rnn", "layers", 0, "w_x") in paths and ("rnn", "layers", 1, "b_h") not in paths


def test_split_merge_update_and_clone_keep_the_values(trained):
    copy = Reader(nnx.Rngs(5))
    assert not np.allclose(copy(XS), trained(XS))
    nnx.update(copy, nnx.state(trained))
    for other in (copy, nnx.merge(*nnx.split(trained)), nnx.clone(trained)):
        assert isinstance(other.rnn, rnnjax.Layers)
        assert_same(other(XS), trained(XS))


@pytest.mark.filterwarnings("ignore:Sharding info not provided")  # by orbax before 0.12
def test_a_checkpoint_restores_into_a_module_without_values(trained, tmp_path):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "reader", nnx.state(trained))
        checkpointer.wait_until_finished()
        graph, shapes = nnx.split(nnx.eval_shape(lambda: Reader(nnx.Rngs(1))))
        restored = nnx.merge(graph, checkpointer.restore(tmp_path / "reader", shapes))
    assert_same(restored(XS), trained(XS))


@pytest.mark.slow
def test_an_ensemble_under_vmap():
    @nnx.jit
    @nnx.split_rngs(splits=3)
    @nnx.vmap
    def make(rngs):
        return Reader(rngs)

    readers = make(nnx.Rngs(0))
    assert unwrap(readers.rnn).layers[0].w_x.shape == (3, F, H)
    ys = nnx.vmap(lambda reader, xs: reader(xs), in_axes=(0, None))(readers, XS)
    one = nnx.clone(readers)
    nnx.update(one, jax.tree.map(lambda leaf: leaf[1], nnx.state(readers, nnx.Param)))
    assert_close(ys[1], one(XS))


def test_other_kinds_of_trees_are_named(trained):
    with pytest.raises(TypeError, match=r"params: expected arrays, got Param"):
        nnx_params(trained.rnn)
    with pytest.raises(TypeError, match=r"params: expected an attribute .* got State"):
        unwrap(nnx.state(trained)["rnn"])
    with pytest.raises(TypeError, match=r"params: expected an attribute .* got Field"):
        unwrap(nnx_params(CELL.init(KEY)))
