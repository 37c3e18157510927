"""Training as experiments share it: shuffled batches, chunks, runs side by side."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from experiments.lib import sweep, training
from experiments.lib.pairs import Pairs

pytestmark = pytest.mark.usefixtures("standard_promotion")

# ---- batches -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def numbered():
    """23 pairs, of which each consists of its own number."""
    numbers = np.arange(23)
    return Pairs(np.tile(numbers[:, None], 5), numbers, np.tile(numbers[:, None], 6), numbers)


def test_batches_keep_what_belongs_together(numbered):
    batches = training.shuffled(numbered, 7, seed=3)
    for step in range(10):
        batch = batches(step)
        assert batch.sources.shape == (7, 5) and batch.targets.shape == (7, 6)
        for array in batch:
            assert np.array_equal(array.reshape(7, -1)[:, 0], batch.source_lengths)
    rows = training.shuffled(numbered.sources.T, 7, seed=3, axis=1)(2)
    assert np.array_equal(rows, training.shuffled(numbered, 7, seed=3)(2).sources.T)


def test_an_epoch_shows_an_example_at_most_once_and_each_has_its_order(numbered):
    batches = training.shuffled(numbered.source_lengths, 7, seed=3)
    epochs = [[row for n in range(3) for row in batches(3 * epoch + n)] for epoch in range(40)]
    assert all(len(set(epoch)) == 21 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 40
    assert set().union(*epochs) == set(range(23))  # what an epoch leaves out, another one shows


def test_batches_are_a_function_of_the_step_alone(numbered):
    straight = [training.shuffled(numbered, 7, seed=3)(step).sources for step in range(31)]
    batches = training.shuffled(numbered, 7, seed=3)
    for step in np.random.default_rng(0).permutation(np.repeat(np.arange(31), 2)):
        assert np.array_equal(batches(step).sources, straight[step])
    other = training.shuffled(numbered, 7, seed=4)
    assert not any(np.array_equal(other(step).sources, straight[step]) for step in range(31))


def test_a_batch_that_is_written_to_leaves_the_data_alone(numbered):
    batches = training.shuffled(numbered, 29, seed=3)  # more than there are
    before = batches(0).sources.copy()
    assert len(before) == 23
    batches(0).sources[:] = -1
    assert np.array_equal(batches(0).sources, before)


# ---- chunks --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 5, 6, 13])
def test_chunks_give_what_the_whole_gives_in_calls_of_one_shape(count):
    shapes = []

    def double(numbers):
        shapes.append(numbers["xs"].shape)
        return 2 * numbers["xs"].T

    xs = np.random.default_rng(0).random((3, count))
    assert np.array_equal(training.in_chunks(double, {"xs": xs}, size=5, axis=1), 2 * xs.T)
    assert set(shapes) == {(3, 5 if count > 1 else 1)}


# ---- runs side by side ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_of_a_sweep_is_the_run_by_itself_and_is_resumed(tmp_path):
    options = training.Options(steps=7, batch=3, steps_per_call=2, checkpoint_every=2, learning_rate=1.0)
    xs = np.random.default_rng(0).random(11).astype(np.float32)

    def init(key):
        return jax.random.normal(key, (2,))

    def loss_fn(params, batch, *, key):
        return rnnjax.losses.masked_mean((params[0] * batch - params[1] * 0.3) ** 2)

    rates, seeds = (0.1, 0.01), 2
    drawn = sweep.batches(options, len(xs), lambda rows: xs[rows])
    start, update = sweep.over_rates(options, init, loss_fn, rates, seeds)
    params, losses = sweep.train(options, update, start(), drawn, tmp_path / "all", batch_axes=0)
    assert losses.shape == (7, 4) and params.shape == (4, 2)
    for run in range(4):
        optimizer = sweep.scaled_optimizer(options, rates[run // 2])
        state = jax.tree.map(lambda leaf, run=run: leaf[run], start())
        step = rnnjax.training.make_train_step(loss_fn, optimizer)
        for number in range(7):
            state, metrics = step(state, jnp.asarray(drawn(number)))
            assert float(metrics.loss) == pytest.approx(losses[number, run], rel=1e-5)
        np.testing.assert_allclose(state.params, params[run], rtol=1e-5)
    resumed = training.Options(**{**vars(options), "resume": True})

    def nothing(step):
        raise AssertionError("a complete sweep is trained again")

    with pytest.raises(ValueError, match="expected --devices of at most 1, got 2"):
        sweep.train(training.Options(devices=2), update, start(), drawn, tmp_path / "two", batch_axes=0)
    again, same = sweep.train(resumed, update, start(), nothing, tmp_path / "all", batch_axes=0)
    assert np.array_equal(again, params) and np.array_equal(same, losses)


def test_the_rate_with_the_lowest_mean_wins_and_what_is_not_finite_never():
    losses = [0.1, np.nan, 2.0, 4.0, 5.0, 0.5]  # of three rates, two first weights each
    place, by_rate = sweep.choose_rate(losses, (0.1, 0.2, 0.3), "a model")
    assert place == 2 and by_rate.tolist() == [np.inf, 3.0, 2.75]
    with pytest.raises(ValueError, match="finite loss of a model at one of the rates, got none"):
        sweep.choose_rate([np.nan, np.inf], (0.1, 0.2), "a model")
