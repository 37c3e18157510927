"""Music that was composed, as a MIDI file and as sound."""

from pathlib import Path

import mido
import numpy as np

from experiments.data.jsb import LOWEST

RATE = 16_000  # samples a second
PARTIALS = (1.0, 0.5, 0.25, 0.12)  # loudness of the overtones
ATTACK, FADE = 0.02, 0.08  # seconds


def held(roll: np.ndarray) -> list[tuple[int, int, int]]:
    """Notes of a roll `[T, 88]` as (MIDI number, first step, steps); one in neighbouring steps is held.

    >>> roll = np.zeros((3, 88), bool)
    >>> roll[0, 0] = roll[1, 0] = roll[2, 3] = True
    >>> held(roll)
    [(21, 0, 2), (24, 2, 1)]
    """
    edges = np.diff(np.pad(roll.astype(int), ((1, 1), (0, 0))), axis=0).T  # [88, T + 1]
    found = [
        (LOWEST + note, int(on), int(off - on))
        for note, row in enumerate(edges)
        for on, off in zip(np.flatnonzero(row > 0), np.flatnonzero(row < 0), strict=True)
    ]
    return sorted(found, key=lambda note: note[1:] + note[:1])


def write_midi(path: Path, roll: np.ndarray, seconds: float) -> None:
    """Writes a roll `[T, 88]` as a MIDI file, so many seconds a step, a step being a quarter note."""
    file = mido.MidiFile(ticks_per_beat=480)
    notes = held(roll)
    events = [(480 * on, "note_on", note) for note, on, _ in notes]
    events += [(480 * (on + steps), "note_off", note) for note, on, steps in notes]
    now, track = 0, mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=round(seconds * 1e6))])
    for tick, kind, note in sorted(events):  # by name: what ends in a moment does so before what begins in it
        track.append(mido.Message(kind, note=note, velocity=64, time=tick - now))
        now = tick
    file.tracks.append(track)
    file.save(path)


def synthesize(roll: np.ndarray, seconds: float) -> np.ndarray:
    """Plays a roll `[T, 88]` on sines with overtones, `[N]` samples of RATE a second, so many seconds a step."""
    signal = np.zeros(round((len(roll) * seconds + FADE) * RATE))
    for note, on, steps in held(roll):
        begin, times = round(on * seconds * RATE), np.arange(round((steps * seconds + FADE) * RATE)) / RATE
        pitch = 440.0 * 2 ** ((note - 69) / 12)
        wave = sum(loud * np.sin(2 * np.pi * pitch * (k + 1) * times) for k, loud in enumerate(PARTIALS))
        rise, fall = times / ATTACK, (times[-1] - times) / FADE
        envelope = np.minimum(1.0, np.minimum(rise, fall)) * np.exp(-times / 2)
        room = min(len(times), len(signal) - begin)
        signal[begin : begin + room] += (wave * envelope)[:room]
    return signal
