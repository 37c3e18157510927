"""Sounds of experiments, as files that browsers play."""

from pathlib import Path

import numpy as np
from scipy.io import wavfile


def write_wav(path: Path, signal: np.ndarray, rate: int) -> None:
    """Writes a signal `[N]` of so many samples a second as a WAV file: one channel, 16 bits, its peak at 0.9."""
    peak = np.abs(signal).max(initial=1e-9)
    wavfile.write(path, rate, np.round(signal / peak * 0.9 * 32767).astype(np.int16))
