"""The cook's table: by hand, and learned."""

import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

import rnnjax
from experiments import cooking

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(cooking)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert result["accuracy_by_hand"] == 1.0 and 0.2 < result["accuracy_learned"] <= 1.0
    assert figures_of(folder) == {"states", "loss"}
    text = (folder / "report.md").read_text()
    assert "| rainy | burger | chicken | apple pie |" in text and "every bias is\n-1:" in text
    assert "| apple pie, sunny | 1 | 0 | 0 | 0 | 1 | 0 |" in text  # recurrent
    assert "| rainy | 0 | 0 | 0 | 1 | 1 | 1 |" in text  # input


def test_three_rainy_days_bring_the_dish_back():
    cell, params = cooking.rain_only()
    for dish in np.eye(3, dtype=np.float32):
        carry, hs = rnnjax.unroll(cell, params, jnp.zeros((3, 1)), rnnjax.RNNCarry(jnp.asarray(dish)))
        assert carry.h.tolist() == dish.tolist() and len({int(h.argmax()) for h in hs}) == 3


def test_by_hand_is_the_table():
    sunny, rainy = ["apple pie", "burger", "chicken"], ["burger", "chicken", "apple pie"]
    assert cooking.table(*cooking.by_hand()) == {"sunny": sunny, "rainy": rainy}


def test_by_hand_is_exact_for_a_year():
    days = cooking.simulate(365, 7, np.random.default_rng(3))
    cell, params, read = cooking.by_hand()
    _, hs = rnnjax.unroll(cell, params, days.inputs)
    assert hs.sum(-1).tolist() == np.ones((365, 7)).tolist()  # one unit is on
    assert np.array_equal(jnp.matmul(hs, read).argmax(-1), days.dishes)


def test_an_unknown_cell_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="expected --cell to be one of rnn, irnn"):
        cooking.main(smoke_config(cooking, tmp_path, cell="lru"))
