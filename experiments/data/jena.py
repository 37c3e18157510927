"""Weather of the station at Jena, every ten minutes: the full file, the rows of 2024, or generated rows of that shape.

The station stands on the roof of the Max Planck Institute for Biogeochemistry. The full file is the one of Chollet
2017, "Deep learning with Python".
"""

import csv
import gzip
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find, find_local

FEATURES = ("p (mbar)", "T (degC)", "Tpot (K)", "Tdew (degC)", "rh (%)", "VPmax (mbar)", "VPact (mbar)")
FEATURES += ("VPdef (mbar)", "sh (g/kg)", "H2OC (mmol/mol)", "rho (g/m**3)", "wv (m/s)", "max. wv (m/s)", "wd (deg)")
TEMPERATURE = FEATURES.index("T (degC)")
MISSING = -9999.0
ROWS_A_DAY = 144
MINUTES = 10  # from row to row

LICENCE = "Max Planck Institute for Biogeochemistry, Jena; free use with attribution, as commonly stated"
JENA_FULL = DataFile(
    folder="jena_climate",
    name="jena_climate_2009_2016.csv.zip",
    url="https://storage.googleapis.com/tensorflow/tf-keras-datasets/jena_climate_2009_2016.csv.zip",
    sha256="",  # not known here: `load` checks the columns and the number of rows instead
    licence=LICENCE,
)
FULL_ROWS = 420_551

# The station's page gives each half year by itself; a repository keeps these bytes.
JENA_2024 = DataFile(
    folder="jena_partial",
    name="mpi_roof_2024.csv",
    url="https://www.bgc-jena.mpg.de/wetter/weather_data.html",
    sha256="3a412dc1d411244bd0583f99ced81c30a20283fadb7b204e781de9f78878f912",
    licence=LICENCE,
    copy="https://raw.githubusercontent.com/suchitha2403/Wind-Speed-Prediction/"
    "de843304b9a08584d5f2abda87db4a4d2175d709/mpi_roof.csv",
)
JENA_2024_GZIPPED = JENA_2024._replace(
    name="mpi_roof_2024.csv.gz", sha256="88a3700b4ddbc62e3e32efbf632f057e0fd9d4ef4a8583bb60977d601de91c9a"
)


class Weather(NamedTuple):
    """Rows in order of time."""

    times: np.ndarray  # datetime64 in minutes [N], each later than the one before
    values: np.ndarray  # [N, 14] in the units that FEATURES names, nothing missing
    filled: int = 0  # rows in which a missing value was filled from the row before
    dropped: int = 0  # rows left out: not later than one before, or at the beginning with a value missing


def load(data: str, *, days: int = 365, seed: int = 0) -> Weather:
    """Loads rows: "generated", "jena-2024" (19,132), "jena" (420,551), or the path of a file of the station."""
    if data == "generated":
        return generate(days * ROWS_A_DAY, seed)
    if data == "jena-2024":
        path = find_local(JENA_2024_GZIPPED) or find(JENA_2024)
    else:
        path = find(JENA_FULL) if data == "jena" else Path(data)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected --data to be generated, jena-2024, jena or the path of a CSV file, found none at {data!r}."
        )
    weather = parse(read(path), str(path))
    rows = len(weather.times) + weather.dropped
    if data == "jena" and rows != FULL_ROWS:
        raise ValueError(
            f"expected {FULL_ROWS:,} rows in {path}, got {rows:,}; delete it to fetch it again, or pass its path as "
            "--data to use it as it is."
        )
    return weather


def read(path: Path) -> str:
    """Reads a CSV file, gzipped or not, or the one in a zip file."""
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".csv") and "__MACOSX" not in name]
                if len(names) != 1:
                    raise ValueError(f"{len(names)} of them")
                return archive.read(names[0]).decode("latin-1")
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("latin-1")
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, ValueError) as error:
        raise ValueError(
            f"expected {path} to be one CSV file, gzipped or zipped as its name says, got {error}."
        ) from None


def parse(text: str, source: str) -> Weather:
    """Parses the first fifteen columns: the time and FEATURES; what the station writes beyond them is left out.

    A missing value (-9999) takes that of the row before it, never of one after. Clocks that were set back leave rows
    that are not later than one before; they are left out. Errors name the source.
    """
    lines = csv.reader(text.splitlines())
    header = [name.strip() for name in next(lines, [])]
    if header[:15] != ["Date Time", *FEATURES]:
        got = ", ".join(header[:15]) or "nothing"
        raise ValueError(f"expected {source} to begin with the columns Date Time, {', '.join(FEATURES)}, got {got}.")
    stamps, values = [], []
    for number, line in enumerate(lines, 2):
        try:
            day, month, year, clock = line[0][:2], line[0][3:5], line[0][6:10], line[0][11:]
            stamps.append(np.datetime64(f"{year}-{month}-{day}T{clock}", "m"))
            values.append(np.array(line[1:15], np.float64).reshape(14))
        except (ValueError, IndexError):
            raise ValueError(
                f"expected a time such as 09.06.2024 11:40:00 and 14 numbers in line {number} of {source}, got "
                f"{','.join(line)[:60]!r}."
            ) from None
    if not stamps:
        raise ValueError(f"expected rows below the header of {source}, got none.")
    times, rows = np.array(stamps), np.array(values)
    later = np.concatenate([[True], times[1:] > np.maximum.accumulate(times)[:-1]])
    missing = (rows == MISSING) | ~np.isfinite(rows)
    newest = np.maximum.accumulate(np.where(missing, -1, np.arange(len(rows))[:, None]))  # row with a value
    keep = later & (newest >= 0).all(axis=1)  # nothing known fills a gap at the very beginning
    if not keep.any():
        raise ValueError(f"expected every column of {source} to have a value somewhere, got one without.")
    filled = np.take_along_axis(rows, np.maximum(newest, 0), axis=0)
    return Weather(times[keep], filled[keep], int(missing[keep].any(axis=1).sum()), int((~keep).sum()))


# ---- generated -----------------------------------------------------------------------------------------------


def generate(rows: int, seed: int = 0) -> Weather:
    """Makes weather up: a year's and a day's cycle, and systems that come and go over days.

    The circulation is the smallest that behaves like weather (Lorenz 1984, "Irregularity: a fundamental property of the
    atmosphere"), a westerly flow x that feeds two phases y, z of a wave, with a little noise:

        x' = -y^2 - z^2 - (x - 8)/4,    y' = xy - 4xz - y + 1,    z' = 4xy + xz - z    (a unit of time is 5 days)

    The phase y brings warm air and z clouds, which damp the day's cycle; a third noise is the place's own. Humidity,
    vapour pressures and density follow from temperature, dew point and pressure.
    """
    rng = np.random.default_rng(seed)
    spin_up = 30 * ROWS_A_DAY  # until where it began is forgotten
    step = 1 / (5 * ROWS_A_DAY)
    x, y, z = 1.0 + rng.normal(size=3) * 0.1
    slow = gust = air = 0.0
    path = np.empty((rows + spin_up, 6))
    for row, (n1, n2, n3, n4, n5, n6) in enumerate(rng.normal(size=(rows + spin_up, 6))):
        dx, dy, dz = -y * y - z * z - (x - 8) / 4, x * y - 4 * x * z - y + 1, 4 * x * y + x * z - z
        shake = 0.15 * step**0.5
        x, y, z = x + step * dx + shake * n1, y + step * dy + shake * n2, z + step * dz + shake * n3
        slow += (y - slow) / 60  # air takes ten hours to arrive
        gust += -gust / 12 + 0.3 * n4
        air += -air / 300 + 0.06 * n5
        path[row] = x, slow, z, gust, air, n6
    x, warm, z, gust, air, noise = path[spin_up:].T

    times = np.datetime64("2023-06-01T00:00", "m") + MINUTES * np.arange(rows)
    days = (times - np.datetime64("2023-01-01T00:00", "m")).astype(np.float64) / (24 * 60)
    season = -np.cos(2 * np.pi * (days - 20) / 365.25)  # coldest on the 20th of January
    clear = 1 / (1 + np.exp(2 * z))
    daily = -np.cos(2 * np.pi * (days - 3 / 24))  # coldest at three
    temperature = 9.5 + 9 * season + 3.5 * warm + (1 + (5 + 2 * season) * clear) * daily + air + 0.05 * noise
    gap = 1 + 5 * clear * (1 + 0.6 * daily) + 0.3 * np.abs(gust)
    dew_point = temperature - gap
    pressure = 989 - 5 * z - 2 * (x - 1) + 0.5 * air
    full, vapour = (6.1078 * np.exp(17.08085 * t / (234.175 + t)) for t in (temperature, dew_point))  # Magnus
    east, north = 1.5 + x + 0.4 * gust, -1.2 * warm + 0.4 * gust
    speed = np.hypot(east, north)
    kelvin = temperature + 273.15
    values = [
        *(pressure, temperature, kelvin * (1000 / pressure) ** 0.286, dew_point, 100 * vapour / full),
        *(full, vapour, full - vapour, 622 * vapour / (pressure - 0.378 * vapour), 1000 * vapour / pressure),
        *(1e5 * (pressure - 0.378 * vapour) / (287.05 * kelvin), speed, speed * (1.5 + 0.1 * np.abs(gust))),
        np.degrees(np.arctan2(-east, -north)) % 360,  # where it comes from
    ]
    return Weather(times, np.stack(values, axis=1))
