"""What a run shows and writes while it goes: a progress bar, its speed, metrics as JSON lines."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

from rnnjax.data import write_text

SYMBOLS = ("byte", "char", "token", "word")  # units whose losses are log-probabilities, worth a number in bits


class MetricsLog:
    """Metrics as JSON lines, one line a call; a resumed run drops the lines after the step it resumes from.

    Args:
      path: of the file, or None to write nothing.
      step: the step that the run begins at; lines beyond it, and a half-written one, are dropped.

    Example:
      >>> import tempfile, pathlib
      >>> path = pathlib.Path(tempfile.mkdtemp(), "metrics.jsonl")
      >>> MetricsLog(path).write(step=1, loss=0.5)
      >>> path.read_text()
      '{"step": 1, "loss": 0.5}\\n'
    """

    def __init__(self, path: str | os.PathLike | None, step: int = 0):
        self.path = None if path is None else Path(path)
        if self.path is not None and self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step_of(line) <= step]
            write_text(self.path, "".join(line + "\n" for line in kept))

    def write(self, **metrics: float) -> None:
        """Appends one line."""
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(metrics) + "\n")


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # torn by a kill


class Speed:
    """Tokens per second of training: a mean over the last calls, without the first, which compiles.

    Example:
      >>> speed = Speed(clock=iter([0.0, 9.0, 10.0, 11.0]).__next__)
      >>> for tokens in (100, 100, 100):
      ...     speed.add(tokens)
      >>> speed.rate
      100.0
    """

    def __init__(self, clock=time.perf_counter, memory: float = 0.98):
        self._clock, self._memory = clock, memory
        self._last: float = clock()
        self._tokens, self._seconds, self._calls = 0.0, 0.0, 0

    def add(self, tokens: float) -> None:
        """Counts the tokens of a call that has just ended."""
        now = self._clock()
        self._calls += 1
        if self._calls > 1:
            self._tokens = self._memory * self._tokens + tokens
            self._seconds = self._memory * self._seconds + (now - self._last)
        self._last = now

    def pause(self) -> None:
        """Starts the clock again after something else took time."""
        self._last = self._clock()

    @property
    def rate(self) -> float:
        """Tokens per second, 0 before the second call."""
        return self._tokens / self._seconds if self._seconds else 0.0


class _NoBar:
    """Stands in for a bar that nobody sees: every method does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def progress_bar(shown: bool, steps: int, step: int = 0) -> Any:
    """A tqdm bar over steps, which knows the time left, or a stand-in that shows nothing.

    Raises:
      ImportError: tqdm is not installed.

    Example:
      >>> progress_bar(False, steps=3).update(1)
    """
    if not shown:
        return _NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError(
            'fit: expected tqdm for the progress bar, found none; pip install "rnnjax[experiments]" or pass '
            "progress=False."
        ) from None
    return tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True, mininterval=0.5)


def postfix(loss: float, rate: float, unit: str) -> str:
    """The end of the bar: the loss, for SYMBOLS in nats and in bits, and the speed.

    Example:
      >>> postfix(1.3863, 51000.0, "char")
      'loss 1.386, 2.000 bits/char, 51,000 char/s'
      >>> postfix(0.0421, 800.0, "example")
      'loss 0.0421, 800 example/s'
    """
    if unit in SYMBOLS:
        return f"loss {loss:.3f}, {loss / math.log(2):.3f} bits/{unit}, {rate:,.0f} {unit}/s"
    return f"loss {loss:.3g}, {rate:,.0f} {unit}/s"
