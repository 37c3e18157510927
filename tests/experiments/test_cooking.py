"""The cook's table: by hand, and learned."""

import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import assert_reproduces, figures_of, smoke_fixture

import rnnjax
from experiments import cooking

pytestmark = pytest.mark.usefixtures("quick_compilation", "standard_promotion")
smoke = smoke_fixture(cooking)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert result["accuracy_by_hand"] == 1.0 and 0.2 < result["accuracy_learned"] <= 1.0
    assert figures_of(folder) == {"weights", "states", "rnn/loss"}


@pytest.mark.slow
def test_smoke_reproduces(smoke, tmp_path):
    assert_reproduces(cooking, smoke, tmp_path)


def test_three_rainy_days_bring_the_dish_back():
    cell, params = cooking.rain_only()
    for dish in np.eye(3, dtype=np.float32):
        carry, hs = rnnjax.unroll(cell, params, jnp.zeros((3, 1)), rnnjax.RNNCarry(jnp.asarray(dish)))
        assert carry.h.tolist() == dish.tolist() and len({int(h.argmax()) for h in hs}) == 3


def test_by_hand_is_the_table():
    assert cooking.table(*cooking.by_hand()) == [
        ["sunny", "apple pie", "burger", "chicken"],
        ["rainy", "burger", "chicken", "apple pie"],
    ]


def test_by_hand_is_exact_for_a_year():
    days = cooking.simulate(365, 7, np.random.default_rng(3))
    cell, params, read = cooking.by_hand()
    _, hs = rnnjax.unroll(cell, params, days.inputs)
    assert hs.sum(-1).tolist() == np.ones((365, 7)).tolist()  # one unit is on
    assert np.array_equal(jnp.matmul(hs, read).argmax(-1), days.dishes)


def test_an_unknown_cell_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="expected --cell to be one of rnn, irnn"):
        cooking.main(cooking.Config(smoke=True, cell="lru", out=str(tmp_path)))
