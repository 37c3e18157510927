"""From waves to log-mel frames and back, batches of them, and strings of digits spliced from recordings."""

import inspect
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import librosa
import numpy as np

from experiments.data.fsdd import RATE, Recordings

WINDOW, HOP, FFT, MELS = 400, 100, 512, 40  # samples of a frame (50 ms) and to the next (12.5 ms), and bands
FLOOR = 1e-3  # of a band's magnitude, for the logarithm; a wave has its peak at 1
MIDDLE, SPREAD = -3.0, 2.0  # that a logarithm is scaled by, the same for all, so that nothing is learned from the test
SEED = "rng" if "rng" in inspect.signature(librosa.griffinlim).parameters else "random_state"  # since librosa 1.0
SPECTRUM = {"n_fft": FFT, "hop_length": HOP, "win_length": WINDOW}
FILTERS = librosa.filters.mel(sr=RATE, n_fft=FFT, n_mels=MELS)


def log_mel(wave: np.ndarray) -> np.ndarray:
    """Frames `[T, MELS]` of a wave `[N]` with its peak at 1: logarithms of mel magnitudes, scaled."""
    padded = np.pad(loud(wave), (0, max(0, FFT - len(wave))))
    magnitudes = FILTERS @ np.abs(librosa.stft(padded, **SPECTRUM))
    return ((np.log(FLOOR + magnitudes) - MIDDLE) / SPREAD).T.astype(np.float32)


def to_wave(frames: np.ndarray, seed: int = 0) -> np.ndarray:
    """Makes frames `[T, MELS]` audible: Griffin & Lim 1984 find phases that fit; a wave with its peak at 1."""
    mel = np.maximum(np.exp(frames.T.astype(np.float64) * SPREAD + MIDDLE) - FLOOR, 0)
    magnitudes = librosa.feature.inverse.mel_to_stft(mel, sr=RATE, n_fft=FFT, power=1.0)
    return loud(librosa.griffinlim(magnitudes, n_iter=48, **{SEED: seed}, **SPECTRUM))


def loud(wave: np.ndarray) -> np.ndarray:
    """A wave with its peak at 1."""
    return wave / max(1e-6, np.abs(wave).max(initial=0.0))


class Frames(NamedTuple):
    """N sounds as frames, padded."""

    values: np.ndarray  # [N, T, MELS], zero after the end
    lengths: np.ndarray  # frames of each [N]


def pad(sounds: Sequence[np.ndarray], length: int) -> Frames:
    """Pads frames `[T, MELS]` of sounds to one length; what is longer is cut."""
    values = np.zeros((len(sounds), length, MELS), np.float32)
    for row, sound in enumerate(sounds):
        values[row, : len(sound)] = sound[:length]
    return Frames(values, np.array([min(len(sound), length) for sound in sounds], np.int32))


def warped(frames: Frames, most: int, rng: np.random.Generator) -> Frames:
    """Frames with their bands shifted up or down by as many as `most`, each sound by its own: other vocal tracts."""
    shift = rng.integers(-most, most + 1, size=(len(frames.values), 1, 1))
    bands = np.clip(np.arange(MELS)[None, None] + shift, 0, MELS - 1)
    return frames._replace(values=np.take_along_axis(frames.values, bands, axis=2))


def splice(
    pool: Recordings, strings: Sequence[Sequence[int]], rng: np.random.Generator, gap: float = 0.2
) -> list[np.ndarray]:
    """Splices strings of digits from recordings, of one speaker each; frames `[T, MELS]` of each string.

    Up to so many seconds, and a little noise, lie between the digits, before the first and after the last.
    """
    names, sounds = np.unique(pool.speakers), []
    rows_of = {
        key: np.flatnonzero((pool.speakers == key[0]) & (pool.digits == key[1])) for key in product(names, range(10))
    }
    for string in strings:
        name, parts = rng.choice(names), []
        for digit in string:
            parts += [silence(gap, rng), loud(pool.waves[rng.choice(rows_of[name, digit])])]
        sounds.append(log_mel(np.concatenate([*parts, silence(gap, rng)])))
    return sounds


def silence(longest: float, rng: np.random.Generator) -> np.ndarray:
    """Faint noise `[N]` of up to so many seconds."""
    return 1e-3 * rng.normal(size=rng.integers(1 + round(longest * RATE)))


def random_strings(count: int, shortest: int, longest: int, rng: np.random.Generator) -> list[list[int]]:
    """Strings of random digits of random lengths."""
    return [rng.integers(10, size=rng.integers(shortest, longest + 1)).tolist() for _ in range(count)]
