"""Spoken digits, each with its speaker: the Free Spoken Digit Dataset, or generated ones.

Jackson et al., "Free spoken digit dataset": 10 digits by 6 speakers, 50 times each, 8 kHz. By its authors' split the
first five of the 50 are the test.
"""

import io
import re
import tarfile
import wave
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find, find_local

RATE = 8000  # samples a second
REPOSITORY = "https://github.com/Jakobovski/free-spoken-digit-dataset"
LICENCE = "CC BY-SA 4.0 (Zohar Jackson et al., Free Spoken Digit Dataset)"
FSDD = DataFile(
    folder="fsdd",
    name="free-spoken-digit-dataset.tar.gz",
    url=f"{REPOSITORY}/archive/refs/tags/v1.0.10.tar.gz",
    sha256="",  # archives are packed anew now and then: `load` counts the recordings, `parse` checks each
    licence=LICENCE,
    copy=f"{REPOSITORY}/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.tar.gz",
)
FSDD_RECORDINGS = FSDD._replace(  # its folder of recordings alone
    name="fsdd_recordings.tar.gz", sha256="8a4b9094856b7e5090ec1ab3233452e255892c4bb35d27ddbc2222e72bdca756"
)
COUNT = 3000
NAME = re.compile(r"(?:.*/)?(\d)_([a-z]\w*?)_(\d+)\.wav")
LONGEST = 1 << 20  # bytes of a recording, a minute: a larger one is no digit


class Recordings(NamedTuple):
    """N recordings of single digits, in order of speaker, digit and index."""

    waves: list[np.ndarray]  # samples between -1 and 1
    digits: np.ndarray  # [N]
    speakers: np.ndarray  # names [N]
    indices: np.ndarray  # which one of a speaker and digit it is [N]

    def take(self, rows: np.ndarray) -> "Recordings":
        """Some of them: of row numbers `[M]`, or where booleans `[N]` are true."""
        rows = np.arange(len(self.waves))[rows]
        return Recordings([self.waves[row] for row in rows], self.digits[rows], self.speakers[rows], self.indices[rows])


def load(data: str, *, count: int = 50, seed: int = 0) -> Recordings:
    """Loads "generated" recordings, so many of each speaker and digit; "fsdd"; or the path of such a tar file."""
    if data == "generated":
        return generate(count, seed)
    path = (find_local(FSDD_RECORDINGS) or find(FSDD)) if data == "fsdd" else Path(data)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected --data to be generated, fsdd or the path of a tar file, found none at {data!r}."
        )
    recordings = parse(path.read_bytes(), str(path))
    if data == "fsdd" and len(recordings.waves) != COUNT:
        raise ValueError(
            f"expected {COUNT:,} recordings in {path}, got {len(recordings.waves):,}; delete it to fetch it again, or "
            "pass its path as --data to use it as it is."
        )
    return recordings


def parse(content: bytes, source: str) -> Recordings:
    """Reads the files digit_speaker_index.wav of a tar file, in memory; what is named otherwise is left out."""
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:
                name = NAME.fullmatch(member.name)
                if name is None or not member.isfile():
                    continue
                if member.size > LONGEST:
                    raise ValueError(f"expected {member.name} in {source} to be one digit, got {member.size:,} bytes.")
                file = archive.extractfile(member)
                key = name[2], int(name[1]), int(name[3])
                found[key] = read_wave(file.read() if file else b"", f"{member.name} in {source}")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"expected {source} to be a tar file, perhaps gzipped, got {str(error).splitlines()[0]}."
        ) from None
    if not found:
        raise ValueError(f"expected files such as 7_jackson_32.wav in {source}, got none.")
    return collect(found)


def collect(found: dict[tuple[str, int, int], np.ndarray]) -> Recordings:
    """Puts waves by (speaker, digit, index) in order."""
    speakers, digits, indices = zip(*sorted(found), strict=True)
    return Recordings([found[key] for key in sorted(found)], np.array(digits), np.array(speakers), np.array(indices))


def read_wave(content: bytes, source: str) -> np.ndarray:
    """Reads samples `[N]` between -1 and 1 of a WAV file: one channel, 16 bits, 8 kHz."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            got = file.getnchannels(), 8 * file.getsampwidth(), file.getframerate()
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2" if got[1] == 16 else "u1")
    except (wave.Error, EOFError) as error:
        raise ValueError(f"expected {source} to be a WAV file, got {error or 'its end'}.") from None
    if got != (1, 16, RATE) or not len(samples):
        raise ValueError(
            f"expected {source} to have one channel of 16 bits at {RATE} Hz, got {got[0]} of {got[1]} at {got[2]} Hz "
            f"and {len(samples)} samples."
        )
    return samples.astype(np.float32) / 32768


# ---- generated -----------------------------------------------------------------------------------------------

SOUNDS = {"i": (280, 2250), "e": (400, 1950), "a": (750, 1250), "o": (450, 850), "u": (310, 900), "r": (420, 1400)}
SAID = ("iero", "uan", "tu", "sri", "oor", "aie", "sis", "eaen", "eit", "naie")  # s and t hiss, n hums


def generate(count: int, seed: int = 0, speakers: int = 6) -> Recordings:
    """Makes digits up: each a row of sounds, a sound being two tones, its formants, on the hum of the speaker's pitch.

    A speaker has a pitch, a length of the vocal tract that scales the formants, and a speed; each recording varies them
    a little, and has noise.
    """
    found = {}
    for number in range(speakers):
        rng = np.random.default_rng((seed, number))
        pitch, tract, speed = rng.uniform(90, 220), rng.uniform(0.85, 1.18), rng.uniform(0.8, 1.25)
        for digit, said in enumerate(SAID):
            for index in range(count):
                own = rng.normal(1, 0.05, 3) * (pitch, tract, speed)
                found[f"speaker{number}", digit, index] = say(said, *own, rng)
    return collect(found)


def say(said: str, pitch: float, tract: float, speed: float, rng: np.random.Generator) -> np.ndarray:
    """Samples `[N]` of a row of sounds, each about a tenth of a second, their tones gliding from one to the next."""
    lengths = (rng.uniform(0.07, 0.12, len(said)) / speed * RATE).astype(int)
    places, times = np.cumsum(lengths) - lengths / 2, np.arange(lengths.sum())
    tones = np.array([SOUNDS.get(sound, (250, 1500)) for sound in said]) * tract
    hiss, hum = (np.interp(times, places, [float(s in which) for s in said]) for which in ("st", "n"))
    voiced = np.sin(np.pi * pitch * times / RATE) ** 2  # opens and closes at the pitch
    formants = sum(
        loud * np.sin(2 * np.pi * np.cumsum(np.interp(times, places, tones[:, k])) / RATE)
        for k, loud in ((0, 0.5), (1, 0.3))
    )
    edge = np.minimum(1, np.minimum(times, times[::-1]) / 200)
    noise = rng.normal(size=len(times))
    signal = (1 - hiss) * (1 - 0.6 * hum) * voiced * formants + 0.25 * hiss * np.diff(noise, prepend=0) + 0.005 * noise
    return (0.6 * edge * signal).astype(np.float32)
