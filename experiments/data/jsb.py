"""Chorales in four parts as rows of chords: Bach's 382 of Boulanger-Lewandowski's split, or generated ones.

Reference: Boulanger-Lewandowski, Bengio & Vincent 2012, "Modeling temporal dependencies in high-dimensional sequences:
application to polyphonic music generation and transcription", whose split and 88 notes these are. Their notes lie an
octave higher than they are sung.
"""

import functools
import itertools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.data._find import DataFile, find, find_local, read_unzipped

LOWEST, NOTES = 21, 88  # MIDI number of the lowest note of a piano, and how many there are
PARTS = ("train", "valid", "test")

COMMIT = "9a7f733ddb4ed91f48da64ac7f0f621c34aadd4d"
REPOSITORY = "https://raw.githubusercontent.com/czhuang/JSB-Chorales-dataset"
JSB = DataFile(
    folder="jsb_chorales",
    name="jsb-chorales-quarter.json",
    url=f"{REPOSITORY}/master/jsb-chorales-quarter.json",
    sha256="2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91",
    licence="music by J. S. Bach, public domain; the encoding comes without a licence",
    copy=f"{REPOSITORY}/{COMMIT}/jsb-chorales-quarter.json",
)
JSB_GZIPPED = JSB._replace(
    name="jsb-chorales-quarter.json.gz", sha256="fa54dc09f753b2b76d7a9619e8752da012ec122028889fbf183623b7cf301976"
)


class Chorales(NamedTuple):
    """Chorales of each part as piano rolls `[T, 88]`, booleans: which notes sound in each step."""

    train: list[np.ndarray]
    valid: list[np.ndarray]
    test: list[np.ndarray]


def load(data: str, *, count: int = 240, seed: int = 0) -> Chorales:
    """Loads "generated" chorales, half of the count to train on; "jsb", a step a quarter note; or such a JSON file."""
    if data == "generated":
        rolls = [generate(np.random.default_rng((seed, number))) for number in range(count)]
        return Chorales(rolls[: count // 2], rolls[count // 2 : 3 * count // 4], rolls[3 * count // 4 :])
    path = (find_local(JSB_GZIPPED) or find(JSB)) if data == "jsb" else Path(data)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected --data to be generated, jsb or the path of a JSON file, found none at {data!r}."
        )
    return parse(read_unzipped(path), str(path))


def parse(text: str, source: str) -> Chorales:
    """Parses `{"train": [[[60, 64, 67], ...], ...], "valid": ..., "test": ...}`, MIDI numbers."""
    try:
        parts = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"expected {source} to be JSON, got something else in line {error.lineno}: {error.msg}."
        ) from None
    if not isinstance(parts, dict) or not all(isinstance(parts.get(part), list) and parts[part] for part in PARTS):
        raise ValueError(f"expected {source} to have chorales under {', '.join(PARTS)}, got none under one of them.")

    def read(part: str, number: int, chorale: Any) -> np.ndarray:
        where = f"chorale {number} of {part!r} in {source}"
        if not isinstance(chorale, list) or len(chorale) < 2:
            raise ValueError(f"expected two chords or more in {where}, got {str(chorale)[:60]}.")
        roll = np.zeros((len(chorale), NOTES), bool)
        for step, chord in enumerate(chorale):
            if not isinstance(chord, list) or not all(
                type(note) is int and LOWEST <= note < LOWEST + NOTES for note in chord
            ):
                raise ValueError(
                    f"expected MIDI numbers from {LOWEST} to {LOWEST + NOTES - 1} in step {step} of {where}, got "
                    f"{str(chord)[:60]}."
                )
            roll[step, np.array(chord, int) - LOWEST] = True
        return roll

    return Chorales(*([read(part, number, each) for number, each in enumerate(parts[part])] for part in PARTS))


# ---- generated -----------------------------------------------------------------------------------------------

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
FOLLOWS = ((1, 3, 4, 5), (4, 6), (5, 3), (0, 1, 4), (0, 5), (1, 3), (0,))  # degrees after each degree
CADENCES = ((1, 4, 0), (3, 4, 0), (3, 0, 4), (1, 4, 5))  # perfect, perfect, half, deceptive
RANGES = ((53, 72), (60, 79), (67, 84), (72, 91))  # of bass, tenor, alto and soprano, an octave up as in the file
PHRASE = 8  # chords


def generate(rng: np.random.Generator) -> np.ndarray:
    """Composes a chorale in four parts `[T, 88]`: three to five phrases in one key, each with a cadence.

    The last cadence is perfect. Chords are triads on the degrees of the scale, in minor with the raised leading note in
    the dominant. The bass has the root; the others move as little as possible, without parallel fifths and octaves
    where that can be.
    """
    tonic, scale = int(rng.integers(12)), SCALES[str(rng.choice(list(SCALES)))]
    phrases, steps = int(rng.integers(3, 6)), []
    voices = np.array([sum(limits) / 2 for limits in RANGES])
    for phrase in range(phrases):
        degrees, cadence = [0], CADENCES[rng.integers(2 if phrase == phrases - 1 else 4)]
        while len(degrees) < PHRASE - len(cadence):
            degrees.append(int(rng.choice(FOLLOWS[degrees[-1]])))
        for degree in (*degrees, *cadence):
            chord = [(tonic + scale[(degree + third) % 7]) % 12 for third in (0, 2, 4)]
            if degree in (4, 6):
                leading = (tonic + scale[6]) % 12
                chord = [(tonic + 11) % 12 if note == leading else note for note in chord]
            choices = voicings(tuple(chord))
            cost = np.abs(choices - voices).sum(axis=1) + 12 * parallels(voices, choices)
            voices = choices[np.argmin(cost + rng.uniform(0, 3, len(cost)))]
            steps.append(voices)
        steps.append(voices)  # the last chord of a phrase is held
    roll = np.zeros((len(steps), NOTES), bool)
    roll[np.arange(len(steps))[:, None], np.array(steps) - LOWEST] = True
    return roll


@functools.cache
def voicings(chord: tuple[int, ...]) -> np.ndarray:
    """All ways `[M, 4]` to sing a triad, root first: bass on the root, voices not crossed, no note of it left out."""
    places = [[note for note in range(low, high) if note % 12 in chord] for low, high in RANGES]
    places[0] = [note for note in places[0] if note % 12 == chord[0]]
    ways = [w for w in itertools.product(*places) if list(w) == sorted({*w}) and {n % 12 for n in w} == {*chord}]
    return np.array(ways)


def parallels(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Counts pairs of voices that move in parallel fifths or octaves, from voices `[4]` to each of `[M, 4]`; `[M]`."""
    low, high = np.triu_indices(4, 1)
    was, now = (before[high] - before[low]) % 12, (after[:, high] - after[:, low]) % 12
    return ((was == now) & np.isin(now, (0, 7)) & (after[:, low] != before[low])).sum(axis=1)
