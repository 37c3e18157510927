"""The weather of Jena: the station's file, and generated weather."""

import gzip
import urllib.request
import zipfile

import numpy as np
import pytest

from experiments.data import jena

HEADER = ",".join(["Date Time", *jena.FEATURES])


def line(clock, first, more=""):
    return f"{clock}," + ",".join(str(first + column) for column in range(14)) + more


def station(*lines, header=HEADER):
    return "\n".join([header, *lines]) + "\n"


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
