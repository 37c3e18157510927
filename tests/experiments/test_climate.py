"""The climate experiment: the station's file, what may be known when, naive forecasts, and the whole of a smoke run."""

import dataclasses
import gzip
import urllib.request
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import assert_reproduces, figures_of, smoke_fixture

from experiments import climate
from experiments.data import jena

HEADER = ",".join(["Date Time", *jena.FEATURES])
SMOKE = dataclasses.replace(climate.Config(), **climate.SMOKE)
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_compilation", "standard_promotion")]
smoke = smoke_fixture(climate)


def line(clock, first, more=""):
    return f"{clock}," + ",".join(str(first + column) for column in range(14)) + more


def station(*lines, header=HEADER):
    return "\n".join([header, *lines]) + "\n"


# ---- the file ------------------------------------------------------------------------------------------------


def test_both_files_of_the_station_are_read():
    quoted = ",".join(f'"{name}"' for name in HEADER.split(","))  # as the full file writes it
    old = jena.parse(station(line("31.12.2009 23:50:00", 1.5), line("01.01.2010 00:00:00", 2), header=quoted), "a file")
    more = HEADER + ",rain (mm),PAR (µmol/m²/s)"  # as the file of 2024 does, with columns that are not used
    new = jena.parse(station(line("31.12.2009 23:50:00", 1.5, ",7,-9999"), line("01.01.2010 00:00:00", 2, ",7,7"),
                             header=more), "a file")  # fmt: skip
    for weather in (old, new):
        assert weather.times.astype(str).tolist() == ["2009-12-31T23:50", "2010-01-01T00:00"]
        np.testing.assert_array_equal(weather.values, [np.arange(14) + 1.5, np.arange(14) + 2.0])
        assert (weather.filled, weather.dropped) == (0, 0)


def test_missing_values_come_from_the_past_and_rows_out_of_order_are_dropped():
    gap = "01.01.2010 00:20:00," + ",".join(["3", "-9999", *"345678901234"])
    weather = jena.parse(
        station(
            gap.replace("00:20", "00:00"),  # nothing before it: dropped, not filled from the future
            line("01.01.2010 00:10:00", 10),
            gap,
            line("01.01.2010 00:10:00", 20),  # a clock set back
            line("01.01.2010 00:30:00", 30),
        ),
        "a file",
    )
    assert weather.values[:, 1].tolist() == [11, 11, 31] and weather.values[:, 0].tolist() == [10, 3, 30]
    assert (weather.filled, weather.dropped) == (1, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "begin with the columns Date Time"),
        ("a,b\n1,2\n", "begin with the columns Date Time"),
        (HEADER, "rows below the header"),
        (station("01.01.2010 00:10:00,1,2"), "14 numbers in line 2"),
        (station(line("1st of May", 1)), "14 numbers in line 2"),
        (station(line("01.01.2010 00:10:00", 1).replace("2,3", "2,x")), "14 numbers in line 2"),
        (station(line("01.01.2010 00:10:00", -9999)), "every column"),
    ],
)
def test_other_files_are_refused(text, expected):
    with pytest.raises(ValueError, match=expected):
        jena.parse(text, "a file")


def test_zipped_gzipped_and_plain_files(tmp_path):
    text = station(line("01.01.2010 00:10:00", 1), line("01.01.2010 00:20:00", 2), header=HEADER + ",SWDR (W/m²)")
    raw = text.encode("latin-1")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", raw)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(raw))
    (tmp_path / "a.csv").write_bytes(raw)
    for name in ("a.zip", "a.csv.gz", "a.csv"):
        assert len(jena.load(str(tmp_path / name)).times) == 2
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="zipped as its name says"):
        jena.load(str(tmp_path / "b.zip"))


def test_full_file_is_known_by_its_rows(tmp_path, monkeypatch):
    """Its checksum is not known here, so the parser checks."""
    folder = tmp_path / "jena_climate"
    folder.mkdir()
    with zipfile.ZipFile(folder / "jena_climate_2009_2016.csv.zip", "w") as archive:
        archive.writestr(
            "jena_climate_2009_2016.csv", station(*(line(f"01.01.2009 00:{m}:00", m) for m in (10, 20, 30)))
        )
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"expected 420,551 rows in .*, got 3"):
        jena.load("jena")
    monkeypatch.setattr(jena, "FULL_ROWS", 3)
    assert jena.load("jena").values[:, 0].tolist() == [10, 20, 30]


def test_without_a_network_or_a_copy_one_sentence_says_what_to_do(tmp_path, monkeypatch):
    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    for data, name in (("jena", "jena_climate_2009_2016.csv.zip"), ("jena-2024", "mpi_roof_2024.csv")):
        with pytest.raises(FileNotFoundError, match=f"no network.*put it at .*{name}"):
            jena.load(data)
    with pytest.raises(FileNotFoundError, match="generated, jena-2024, jena or the path"):
        jena.load(str(tmp_path / "none.csv"))


# ---- generated -----------------------------------------------------------------------------------------------


def test_generated_weather_is_plausible():
    weather = jena.generate(365 * jena.ROWS_A_DAY, seed=1)
    column = dict(zip(jena.FEATURES, weather.values.T, strict=True))
    assert np.all(np.diff(weather.times) == np.timedelta64(10, "m")) and np.isfinite(weather.values).all()
    temperature = column["T (degC)"].reshape(365, 144)
    assert temperature[:60].mean() - temperature[200:260].mean() > 8  # summer and winter
    day = temperature.mean(axis=0)
    assert day.argmax() // 6 in range(13, 18) and np.ptp(day) > 3  # the afternoon
    daily = temperature.mean(axis=1)
    anomaly = daily - np.convolve(np.pad(daily, 15, mode="edge"), np.ones(31) / 31, mode="valid")
    assert 0.3 < np.corrcoef(anomaly[:-1], anomaly[1:])[0, 1] < 0.95  # systems of several days
    assert column["rh (%)"].min() > 0 and column["rh (%)"].max() <= 100
    assert np.all((column["wd (deg)"] >= 0) & (column["wd (deg)"] < 360))
    assert np.all(column["Tdew (degC)"] < column["T (degC)"]) and np.all(column["max. wv (m/s)"] >= column["wv (m/s)"])
    np.testing.assert_array_equal(jena.generate(500, seed=1).values, weather.values[:500])
    assert not np.array_equal(jena.generate(500, seed=2).values, weather.values[:500])


# ---- what is forecast from what ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weather():
    return jena.generate(40 * jena.ROWS_A_DAY, seed=3)


@pytest.mark.parametrize("inputs", ["few", "all"])
def test_changing_the_future_changes_no_input(weather, inputs):
    config = dataclasses.replace(SMOKE, inputs=inputs)
    task = climate.prepare(weather, config)
    end = task.ends["test"][0][3]
    changed = weather.values.copy()
    changed[end + 1 :] += 7.0
    other = climate.prepare(weather._replace(values=changed), config)
    before, after = (climate.look(t, np.array([end]), config) for t in (task, other))
    np.testing.assert_array_equal(before.inputs, after.inputs)
    np.testing.assert_array_equal(before.base, after.base)
    np.testing.assert_array_equal(before.unit, after.unit)
    np.testing.assert_allclose(after.truth - before.truth, 7.0)
    changed[end] += 7.0  # and the last row of the window does change them
    now = climate.look(climate.prepare(weather._replace(values=changed), config), np.array([end]), config)
    assert not np.array_equal(now.inputs, before.inputs) and not np.array_equal(now.base, before.base)


def test_scales_are_those_of_rows_before_the_test(weather):
    task, rows = climate.prepare(weather, SMOKE), int(0.8 * len(weather.times))
    changed = weather.values.copy()
    changed[rows:] = 5 * changed[rows:] + 3
    other = climate.prepare(weather._replace(values=changed), SMOKE)
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

    ends, cut = climate.split(weather.times, config)
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
    kept = climate.split(late, config)[0]["all"][0]
    assert not np.any((kept >= 1000 - reach) & (kept - config.window + 1 < 1000)) and len(kept) > 0


def test_naive_forecasts_and_the_base_by_hand():
    """The row of the day plus a thousand for each day, which is a trend."""
    rows = np.arange(40 * 144)
    times = np.datetime64("2024-01-01T00:00", "m") + 10 * rows
    values = np.random.default_rng(0).normal(size=(len(rows), 14)) + 5
    values[:, jena.TEMPERATURE] = rows % 144 + 1000 * (rows // 144)
    task = climate.prepare(jena.Weather(times, values), SMOKE)
    ends = np.array([10 * 144 + 50])
    config = dataclasses.replace(SMOKE, horizons=(1, 100, 144, 200))
    forecast = climate.naive(task, ends, config)
    assert forecast["last value"].tolist() == [[10050] * 4]
    assert forecast["same time yesterday"].tolist() == [[9051, 10006, 10050, 9106]]
    config = dataclasses.replace(SMOKE, horizons=(6, 36, 90, 144, 150))
    base = climate.look(task, np.array([11 * 144 - 1]), config).base  # in the last row of a day
    change = [6 - 144 + 1000 - 6 / 0.144, 36 - 144 + 1000 - 36 / 0.144, 90 - 144 + 1000 - 90 / 0.144, 0]
    np.testing.assert_allclose(base, 10143 + np.array([[*change, change[0]]]))


def test_every_horizon_has_its_own_choice():
    errors = [np.array([[1.0, 9.0], [1.0, 9.0]]), np.array([[2.0, 3.0], [0.5, 3.0]])]
    tests = [np.array([[10.0, 11.0]]), np.array([[20.0, 21.0]])]
    fitted = climate.choose(errors, tests, ["first", "second"])
    assert fitted.test.tolist() == [[10, 21]] and fitted.note == "second"
    assert fitted.validation.tolist() == [[1, 3], [1, 3]]


def test_ridge_finds_a_linear_law(weather):
    task = climate.prepare(weather, SMOKE)
    model = climate.fit_ridge(task, SMOKE)
    truth = climate.look(task, task.ends["test"][0], SMOKE).truth
    naive = climate.naive(task, task.ends["test"][0], SMOKE)["last value"]
    assert np.abs(model.test - truth)[:, 2].mean() < 0.8 * np.abs(naive - truth)[:, 2].mean()  # six hours ahead


@pytest.mark.parametrize("name", climate.Config.networks)
def test_every_network_reads_all_of_the_window(name):
    config = dataclasses.replace(SMOKE, networks=(name,), cell="simple_gru")
    ((_, variant),) = climate.variants(config).items()
    init, apply = climate.make_rnn(variant, config, 3)
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


def test_smoke_leaves_report_and_figures(smoke):
    folder, result = smoke
    assert all(0.3 < result[f"{name}mae_celsius"] < 8 for name in ("", "baseline_", "linear_", "mlp_"))
    text = (folder / "report.md").read_text()
    assert "The weather is generated" in text and str(result["mae_celsius"]) in text
    better = result["mae_celsius"] < result["baseline_mae_celsius"]
    assert (" Better than last value" if better else "Not better than last value").strip() in text
    assert figures_of(folder) == {"horizons", "errors", "forecasts"}


def test_smoke_reproduces(smoke, tmp_path):
    assert_reproduces(climate, smoke, tmp_path)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"cell": "grue"}, "--cell"),
        ({"inputs": "some"}, "--inputs"),
        ({"window": 200}, "--window"),
        ({"stride": 5}, "--stride"),
        ({"horizons": (36, 6)}, "--horizons"),
        ({"networks": ("gru", "mlp")}, "--networks"),
        ({"days": 10}, "rows for windows"),
    ],
)
def test_bad_options_are_one_sentence(options, expected, tmp_path):
    with pytest.raises(ValueError, match=expected) as error:
        climate.main(climate.Config(**options, out=str(tmp_path)))
    assert "\n" not in str(error.value)
