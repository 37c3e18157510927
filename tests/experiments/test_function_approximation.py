"""A network that follows functions: the smoke run, the series, and forecasts whose right answer is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.function_approximation import __main__ as fa
from experiments.function_approximation import functions, models

CONFIG = fa.Config(training=200, validation=50, held_out=90, window=7, horizon=31, runs=5, hidden=5)
pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(fa)


@pytest.mark.slow
def test_smoke_leaves_its_files_and_a_resumed_run_the_same(smoke):
    folder, result = smoke
    assert figures_of(folder) == {"one_step", "free", "growth"}
    assert 0.09 < result["noise_floor"] < 0.12
    for model in ("", "mlp_", "ar_"):  # learned something, and nothing forecasts noise
        assert result["noise_floor"] < result[f"{model}one_step_rmse"] < 0.3
    text = (folder / "report.md").read_text()
    assert fa.main(smoke_config(fa, folder, resume=True)) == result  # nothing is trained again
    assert (folder / "report.md").read_text() == text


@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_functions(name):
    data = functions.generate(name, CONFIG)
    noise = data.observed - data.truth
    assert data.truth.shape == (340,) and data.truth.std() > 0.1
    assert not noise.any() if functions.FUNCTIONS[name].chaotic else 0.08 < noise.std() < 0.12
    assert np.allclose(data.unscale(data.scaled), data.observed, atol=1e-5)
    again, other = (functions.generate(name, dataclasses.replace(CONFIG, seed=seed)) for seed in (0, 1))
    assert np.array_equal(again.observed, data.observed) and not np.array_equal(other.truth, data.truth)


def test_values_known_by_hand():
    for name in ("sine", "sawtooth", "square"):
        truth = functions.generate(name, CONFIG).truth
        assert np.allclose(truth[25:], truth[:-25]) and np.abs(truth).max() <= 1
    x = functions.generate("logistic", CONFIG).truth
    assert np.allclose(x[1:], 3.9 * x[:-1] * (1 - x[:-1])) and 0 < x.min() < x.max() < 1
    both = functions.two_sines(np.array([0.0, 25.0, 6.25]))
    assert np.allclose(both, [0, 0.5 * np.sin(2 * np.pi * 5**0.5), 0.5 + 0.5 * np.sin(np.pi * 5**0.5 / 2)])


def test_parts_do_not_overlap():
    """Every value forecast belongs to one part, and no window of the training part reaches beyond it."""
    parts = functions.targets(CONFIG)
    assert np.array_equal(np.concatenate(parts), np.arange(7, 340))
    assert [rows[-1] for rows in parts] == [199, 249, 339]
    pairs = functions.examples(np.arange(340), parts[0], CONFIG)
    assert pairs[0].tolist() == [*range(8)] and pairs.shape == (193, 8)
    free = functions.free_targets(CONFIG)
    assert free.shape == (31, 5) and free[0, 0] == 250 and free[-1, -1] == 339


def test_scale_is_of_the_training_part():
    scaled = functions.generate("sine", CONFIG).scaled
    assert abs(scaled[:200].mean()) < 1e-6 and abs(scaled[:200].std() - 1) < 1e-6


def test_autoregression_continues_what_is_linear():
    """A sine obeys x_{t+1} = 2 cos(w) x_t - x_{t-1}: its free run is the sine itself."""
    truth, after = np.sin(0.31 * np.arange(340)), functions.free_targets(CONFIG)
    params, _ = models.fit_autoregression(truth, CONFIG)
    windows = functions.examples(truth, after[0], CONFIG)[:, :-1].T.astype(np.float32)
    free = np.asarray(models.autoregression(CONFIG).run(params, windows))
    assert free.shape == (31, 5) and np.abs(free - np.sin(0.31 * after)).max() < 2e-3


def test_held_out_part_changes_no_fit():
    data = functions.generate("sine", CONFIG).scaled
    other = data.copy()
    other[250:] = np.random.default_rng(0).normal(size=90)
    fits = [models.fit_autoregression(values, CONFIG) for values in (data, other)]
    assert fits[0][1] == fits[1][1] and np.array_equal(fits[0][0].weights, fits[1][0].weights)


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_network_eats_its_output(cell):
    """The free run is what the network makes of the window with its own forecasts put behind it, one by one."""
    config = dataclasses.replace(CONFIG, cell=cell, horizon=4)
    model = models.recurrent(config)
    params = model.init(jax.random.key(0))
    windows = jax.random.normal(jax.random.key(1), (7, 3))
    longer = windows
    for _ in range(4):
        longer = jnp.concatenate([longer, model.forecast(params, longer)[-1:]])
    assert np.allclose(model.run(params, windows), longer[7:], atol=1e-6)


def test_mlp_has_as_many_parameters_and_shifts():
    model = models.mlp(dataclasses.replace(CONFIG, horizon=3), 46)
    params = model.init(jax.random.key(0))
    assert sum(leaf.size for leaf in params) == 46  # 5 units: 7 * 5 + 5 + 5 + 1
    windows = jax.random.normal(jax.random.key(1), (7, 3))
    free = model.run(params, windows)
    second = model.forecast(params, jnp.concatenate([windows[1:], free[:1]]))
    assert free.shape == (3, 3) and np.allclose(free[1:2], second, atol=1e-6)


def test_scores_of_the_function_itself_are_the_noise():
    data, after = functions.generate("sine", CONFIG), functions.free_targets(CONFIG)
    held_out = functions.targets(CONFIG)[2]
    perfect = fa.Forecast(data.truth[held_out], data.truth[after])
    found, noise = fa.score(data, perfect, CONFIG), data.observed - data.truth
    assert np.isclose(found.one_step, np.sqrt(np.mean(noise[held_out] ** 2))) and found.lasts == 31
    wrong = perfect.free.copy()
    wrong[4:] += 9.0
    found = fa.score(data, perfect._replace(free=wrong), CONFIG)
    assert found.lasts == 4 and found.free > 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"functions": ("cosine",)}, "--functions to be some of sine"),
        ({"functions": ()}, "got none"),
        ({"cell": "rrn"}, "--cell to be one of rnn"),
        ({"window": 200}, "--window from 2 and below --training 200"),
        ({"horizon": 91}, "--horizon from 1 to --held-out 90"),
        ({"runs": 0}, "--runs from 1"),
    ],
)
def test_wrong_options_are_one_sentence(options, message, tmp_path):
    with pytest.raises(ValueError, match=f"expected .*{message}"):
        fa.main(dataclasses.replace(CONFIG, out=str(tmp_path / "run"), **options))
    assert not (tmp_path / "run").exists()
