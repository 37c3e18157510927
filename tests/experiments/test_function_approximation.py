"""A network that follows functions: the smoke run, the series, and forecasts whose right answer is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import assert_reproduces, figures_of, smoke_fixture

from experiments import function_approximation as fa
from experiments.lib import functions, series

CONFIG = fa.Config(training=200, validation=50, held_out=90, window=7, horizon=31, runs=5, hidden=5)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compilation", "standard_promotion")]
smoke = smoke_fixture(fa)


def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert figures_of(folder) == {"first", "one_step", "free", "growth"}
    assert 0.09 < result["noise_floor"] < 0.12
    for model in ("", "mlp_", "ar_"):  # learned something, and nothing forecasts noise
        assert result["noise_floor"] < result[f"{model}one_step_rmse"] < 0.3


def test_smoke_reproduces(smoke, tmp_path):
    assert_reproduces(fa, smoke, tmp_path)


@pytest.mark.parametrize("name", functions.FUNCTIONS)
def test_functions(name):
    data = fa.generate(name, CONFIG)
    noise = data.observed - data.truth
    assert data.truth.shape == (340,) and data.truth.std() > 0.1
    assert not noise.any() if functions.FUNCTIONS[name].chaotic else 0.08 < noise.std() < 0.12
    assert np.allclose(data.unscale(data.scaled), data.observed, atol=1e-5)
    again, other = fa.generate(name, CONFIG), fa.generate(name, dataclasses.replace(CONFIG, seed=1))
    assert np.array_equal(again.observed, data.observed) and not np.array_equal(other.truth, data.truth)


def test_values_known_by_hand():
    for name in ("sine", "sawtooth", "square"):
        truth = fa.generate(name, CONFIG).truth
        assert np.allclose(truth[25:], truth[:-25]) and np.abs(truth).max() <= 1
    x = fa.generate("logistic", CONFIG).truth
    assert np.allclose(x[1:], 3.9 * x[:-1] * (1 - x[:-1])) and 0 < x.min() < x.max() < 1
    both = functions.two_sines(np.array([0.0, 25.0, 6.25]))
    assert np.allclose(both, [0, 0.5 * np.sin(2 * np.pi * 5**0.5), 0.5 + 0.5 * np.sin(np.pi * 5**0.5 / 2)])


def test_parts_do_not_overlap():
    """Every value forecast belongs to one part, and no window of the training part reaches beyond it."""
    targets = [fa.ends(CONFIG, part) + 1 for part in ("training", "validation", "held_out")]
    assert np.array_equal(np.concatenate(targets), np.arange(7, 340))
    assert [rows[-1] for rows in targets] == [199, 249, 339]
    assert fa.ends(CONFIG, "training")[0] == 6  # the last row of the first window
    starts = fa.starts(CONFIG)
    assert len(starts) == 5 and starts[0] == 249 and starts[-1] + CONFIG.horizon == 339


def test_scale_is_of_the_training_part():
    scaled = fa.generate("sine", CONFIG).scaled
    assert abs(scaled[:200].mean()) < 1e-6 and abs(scaled[:200].std() - 1) < 1e-6


def test_autoregression_continues_what_is_linear():
    """A sine obeys x_{t+1} = 2 cos(w) x_t - x_{t-1}: its free run is the sine itself."""
    t = np.arange(340)
    truth = np.sin(0.31 * t)
    model, _ = fa.fit_autoregression(truth, CONFIG)
    windows = series.windows(truth, fa.starts(CONFIG), CONFIG.window).T.astype(np.float32)
    free = np.asarray(fa.autoregression(CONFIG).run(model, windows))
    expected = np.sin(0.31 * (fa.starts(CONFIG) + 1 + np.arange(31)[:, None]))
    assert free.shape == (31, 5) and np.abs(free - expected).max() < 2e-3


def test_held_out_part_changes_no_fit():
    data = fa.generate("sine", CONFIG).scaled
    other = data.copy()
    other[250:] = np.random.default_rng(0).normal(size=90)
    fits = [fa.fit_autoregression(values, CONFIG) for values in (data, other)]
    assert fits[0][1] == fits[1][1] and np.array_equal(fits[0][0].weights, fits[1][0].weights)


@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_network_eats_its_output(cell):
    """The free run is what the network makes of the window with its own forecasts put behind it, one by one."""
    config = dataclasses.replace(CONFIG, cell=cell, horizon=4)
    model = fa.recurrent(config)
    params = model.init(jax.random.key(0))
    windows = jax.random.normal(jax.random.key(1), (7, 3))
    longer = windows
    for _ in range(4):
        longer = jnp.concatenate([longer, model.forecast(params, longer)[-1:]])
    assert np.allclose(model.run(params, windows), longer[7:], atol=1e-6)


def test_mlp_has_as_many_parameters_and_shifts():
    model = fa.mlp(dataclasses.replace(CONFIG, horizon=3), 46)
    params = model.init(jax.random.key(0))
    assert sum(leaf.size for leaf in params) == 46  # 5 units: 7 * 5 + 5 + 5 + 1
    windows = jax.random.normal(jax.random.key(1), (7, 3))
    free = model.run(params, windows)
    second = model.forecast(params, jnp.concatenate([windows[1:], free[:1]]))
    assert free.shape == (3, 3) and np.allclose(free[1:2], second, atol=1e-6)


def test_scores_of_a_perfect_forecast():
    data = fa.generate("sine", CONFIG)
    rows, after = fa.ends(CONFIG, "held_out") + 1, fa.starts(CONFIG) + 1 + np.arange(31)[:, None]
    forecasts = fa.Forecasts(data, {"rnn": data.truth[rows]}, {"rnn": data.truth[after]}, 0.0)
    found = fa.score(forecasts, CONFIG)
    assert found.one_step["rnn"] == found.floor and found.lasts["rnn"] == 31
    wrong = data.truth[after].copy()
    wrong[4:] += 9.0
    found = fa.score(fa.Forecasts(data, forecasts.one_step, {"rnn": wrong}, 0.0), CONFIG)
    assert found.lasts["rnn"] == 4 and found.free["rnn"] > 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"functions": ("cosine",)}, "--functions to be some of sine"),
        ({"functions": ()}, "got none"),
        ({"cell": "rrn"}, "--cell to be one of rnn"),
        ({"window": 200}, "--window to be between 2 and --training 200"),
        ({"horizon": 91}, "--horizon to be between 1 and --held-out 90"),
    ],
)
def test_wrong_options_are_one_sentence(options, message, tmp_path):
    with pytest.raises(ValueError, match=f"expected .*{message}"):
        fa.main(dataclasses.replace(CONFIG, out=str(tmp_path / "run"), **options))
    assert not (tmp_path / "run").exists()
