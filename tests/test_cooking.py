"""The cook's table: by hand, and learned."""

import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from experiments import cooking

pytestmark = pytest.mark.usefixtures("standard_promotion")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cooking")
    return folder, cooking.main(cooking.Config(smoke=True, out=str(folder)))


def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert result["accuracy_by_hand"] == 1.0 and 0.2 < result["accuracy_learned"] <= 1.0
    for name in ("weights.png", "states.png", "rnn/loss.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in (folder / "report.md").read_text()


def test_report_is_the_same_twice(smoke, tmp_path):
    cooking.main(cooking.Config(smoke=True, out=str(tmp_path)))
    assert (tmp_path / "report.md").read_bytes() == (smoke[0] / "report.md").read_bytes()


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
