"""The climate experiment: what may be known when, naive forecasts, every network, and a smoke run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.climate import __main__ as climate
from experiments.climate import models
from experiments.climate.task import look, naive, prepare, split
from experiments.data import jena

SMOKE = dataclasses.replace(climate.Config(), **climate.SMOKE)
pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(climate)


# ---- what is forecast from what ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weather():
    return jena.generate(40 * jena.ROWS_A_DAY, seed=3)


@pytest.mark.parametrize("inputs", ["few", "all"])
def test_changing_the_future_changes_no_input(weather, inputs):
    config = dataclasses.replace(SMOKE, inputs=inputs)
    task = prepare(weather, config)
    end = task.ends["test"][0][3]
    changed = weather.values.copy()
    changed[end + 1 :] += 7.0
    other = prepare(weather._replace(values=changed), config)
    before, after = (look(t, np.array([end]), config) for t in (task, other))
    np.testing.assert_array_equal(before.inputs, after.inputs)
    np.testing.assert_array_equal(before.base, after.base)
    np.testing.assert_array_equal(before.unit, after.unit)
    np.testing.assert_allclose(after.truth - before.truth, 7.0)
    changed[end] += 7.0  # and the last row of the window does change them
    now = look(prepare(weather._replace(values=changed), config), np.array([end]), config)
    assert not np.array_equal(now.inputs, before.inputs) and not np.array_equal(now.base, before.base)


def test_scales_are_those_of_rows_before_the_test(weather):
    task, rows = prepare(weather, SMOKE), int(0.8 * len(weather.times))
    changed = weather.values.copy()
    changed[rows:] = 5 * changed[rows:] + 3
    other = prepare(weather._replace(values=changed), SMOKE)
    np.testing.assert_array_equal(task.scalars[:rows], other.scalars[:rows])
    np.testing.assert_array_equal(task.spread, other.spread)
    assert task.degrees == other.degrees == weather.values[:rows, jena.TEMPERATURE].std()


def test_parts_share_no_row(weather):
    config = dataclasses.replace(SMOKE, blocks=3)
    reach = config.horizons[-1]

    def touched(ends):
        rows = np.zeros(len(weather.times), bool)
        for end in ends:
            rows[end - config.window + 1 : end + reach + 1] = True
        return rows

    ends, cut = split(weather.times, config)
    test, everything = touched(ends["test"][0]), touched(ends["all"][0])
    assert not test[:cut].any() and not everything[cut:].any() and everything[:cut].all()
    for training, validation in zip(ends["training"], ends["validation"], strict=True):
        assert len(training) > 500 and len(validation) > 50
        assert not np.any(touched(training) & touched(validation)) and not np.any(touched(training) & test)
        assert not touched(validation)[cut:].any()
    blocks = np.sum([touched(validation) for validation in ends["validation"]], axis=0)
    assert blocks.max() == 1 and blocks[:cut].mean() > 0.99  # each row is validation once
    late = weather.times.copy()
    late[1000:] += np.timedelta64(10, "m")  # a row is missing
    kept = split(late, config)[0]["all"][0]
    assert not np.any((kept >= 1000 - reach) & (kept - config.window + 1 < 1000)) and len(kept) > 0


def test_naive_forecasts_and_the_base_by_hand():
    """The row of the day plus a thousand for each day, which is a trend."""
    rows = np.arange(40 * 144)
    times = np.datetime64("2024-01-01T00:00", "m") + 10 * rows
    values = np.random.default_rng(0).normal(size=(len(rows), 14)) + 5
    values[:, jena.TEMPERATURE] = rows % 144 + 1000 * (rows // 144)
    task = prepare(jena.Weather(times, values), SMOKE)
    ends = np.array([10 * 144 + 50])
    config = dataclasses.replace(SMOKE, horizons=(1, 100, 144, 200))
    forecast = naive(task, ends, config)
    assert forecast["last value"].tolist() == [[10050] * 4]
    assert forecast["same time yesterday"].tolist() == [[9051, 10006, 10050, 9106]]
    config = dataclasses.replace(SMOKE, horizons=(6, 36, 90, 144, 150))
    base = look(task, np.array([11 * 144 - 1]), config).base  # in the last row of a day
    change = [6 - 144 + 1000 - 6 / 0.144, 36 - 144 + 1000 - 36 / 0.144, 90 - 144 + 1000 - 90 / 0.144, 0]
    np.testing.assert_allclose(base, 10143 + np.array([[*change, change[0]]]))


def test_every_horizon_has_its_own_choice():
    errors = [np.array([[1.0, 9.0], [1.0, 9.0]]), np.array([[2.0, 3.0], [0.5, 3.0]])]
    tests = [np.array([[10.0, 11.0]]), np.array([[20.0, 21.0]])]
    fitted = models.choose(errors, tests, ["first", "second"])
    assert fitted.test.tolist() == [[10, 21]] and fitted.note == "second"
    assert fitted.validation.tolist() == [[1, 3], [1, 3]]


def test_ridge_finds_a_linear_law(weather):
    task = prepare(weather, SMOKE)
    model = models.fit_ridge(task, SMOKE)
    truth = look(task, task.ends["test"][0], SMOKE).truth
    last = naive(task, task.ends["test"][0], SMOKE)["last value"]
    assert np.abs(model.test - truth)[:, 2].mean() < 0.8 * np.abs(last - truth)[:, 2].mean()  # six hours ahead


@pytest.mark.parametrize("name", models.NETWORKS)
def test_every_network_reads_all_of_the_window(name):
    init, apply = models.make_rnn(name, dataclasses.replace(SMOKE, cell="simple_gru"), 3)
    apply = jax.jit(apply)
    params = init(jax.random.key(0))
    params = params._replace(w_y=jnp.ones_like(params.w_y))
    xs = jax.random.normal(jax.random.key(1), (7, 5, 3))
    out = apply(params, xs)
    assert out.shape == (5, 5)
    moved = apply(params, xs.at[0, 2].add(1.0)) - out
    assert np.all(np.abs(moved[2]) > 0) and not np.any(np.delete(moved, 2, axis=0))
    noisy = [apply(params, xs, jax.random.key(seed)) for seed in (2, 2, 3)]
    assert np.array_equal(noisy[0], noisy[1]) and not np.array_equal(noisy[0], noisy[2])


# ---- the whole -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_smoke_leaves_its_files_and_a_resumed_run_the_same(smoke):
    folder, result = smoke
    assert all(0.3 < result[f"{name}mae_celsius"] < 8 for name in ("", "baseline_", "linear_", "mlp_"))
    text = (folder / "report.md").read_text()
    assert "The weather is generated" in text and f"| mae_celsius | {result['mae_celsius']} |" in text
    assert figures_of(folder) == {"horizons", "errors", "forecasts"}
    assert climate.main(smoke_config(climate, folder, resume=True)) == result  # nothing is trained again
    assert (folder / "report.md").read_text() == text


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cell": "grue"}, "--cell"),
        ({"window": 200}, "--window"),
        ({"stride": 5}, "--stride"),
        ({"horizons": (36, 6)}, "--horizons"),
        ({"networks": ("gru", "mlp")}, "--networks"),
        ({"days": 10}, "rows for windows"),
    ],
)
def test_bad_options_are_one_sentence(options, expected, tmp_path):
    with pytest.raises(ValueError, match=expected) as error:
        climate.main(smoke_config(climate, tmp_path, **options))
    assert "\n" not in str(error.value)
