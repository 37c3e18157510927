"""What a run shows: a progress bar with the loss, the speed and the time left, and evaluations above it."""

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from rnnjax.training._loop import Call
from rnnjax.training._metrics import MetricsLog
from rnnjax.training._step import Metrics

SYMBOLS = ("byte", "char", "token", "word")  # units whose losses are log-probabilities, worth a number in bits


class Report:
    """Tells the metrics file and the terminal how a run goes.

    Args:
      metrics_file: of JSON lines, or None.
      log_every: steps between its lines.
      shown: whether the terminal is told.
      step: the run begins at.
      steps: it ends at.
      unit: what the counts of the loss count.
    """

    def __init__(
        self, *, metrics_file: str | os.PathLike | None, log_every: int, shown: bool, step: int, steps: int, unit: str
    ):
        self._log, self._log_every, self._unit = MetricsLog(metrics_file, step), log_every, unit
        self._shown, self._bar, self._speed = shown, open_bar(shown, steps, step), Speed()

    def call(self, call: Call) -> None:
        """Writes the lines of a call, and moves the bar."""
        metrics = call.metrics
        self._speed.add(float(metrics.count.sum()) / metrics.count[0].size)  # of one model
        arrays = {"loss": metrics.loss, "grad_norm": metrics.grad_norm, **metrics.aux}
        numbers = {name: array.tolist() for name, array in arrays.items()}
        rate = round(self._speed.rate) or None
        for i, step in enumerate(range(call.previous + 1, call.step + 1)):
            if step % self._log_every == 0:
                these = {name: values[i] for name, values in numbers.items()}
                self._log.write(step=step, **these, tokens_per_second=rate)
        if self._shown:
            self._bar.set_postfix_str(postfix(last_of(metrics), self._speed.rate, self._unit), refresh=False)
            self._bar.update(call.step - call.previous)

    def evaluation(self, step: int, evaluation: Mapping[str, Any]) -> None:
        """Writes the line of an evaluation, and shows it above the bar."""
        self._log.write(step=step, **evaluation)
        self._bar.write(f"step {step:,}: " + ", ".join(f"{name} {shown(value)}" for name, value in evaluation.items()))

    def pause(self) -> None:
        """Leaves what was done since the last call out of the speed."""
        self._speed.pause()

    def close(self) -> None:
        """Ends the bar."""
        self._bar.close()


class Speed:
    """Elements per second of training: a mean over the last calls, without the first, which compiles.

    Examples:
      >>> speed = Speed(clock=iter([0.0, 9.0, 10.0, 11.0]).__next__)
      >>> for tokens in (100, 100, 100):
      ...     speed.add(tokens)
      >>> speed.rate
      100.0
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, memory: float = 0.98):
        self._clock, self._memory = clock, memory
        self._last: float = clock()
        self._tokens, self._seconds, self._calls = 0.0, 0.0, 0

    def add(self, tokens: float) -> None:
        """Counts the elements of a call that has just ended."""
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
        """Elements per second, 0 before the second call."""
        return self._tokens / self._seconds if self._seconds else 0.0


def last_of(metrics: Metrics) -> Metrics:
    """Returns the metrics of the last update of a call, arrays `[]` or `[R]`."""
    aux = {name: array[-1] for name, array in metrics.aux.items()}
    return Metrics(metrics.loss[-1], metrics.count[-1], metrics.grad_norm[-1], aux)


def postfix(metrics: Metrics, rate: float, unit: str) -> str:
    """Writes the end of the bar: the loss, for SYMBOLS in nats and in bits, aux, and the speed once it is known.

    Of R models it is the loss and aux of the best.

    Examples:
      >>> postfix(Metrics(np.float32(1.3863), 1, 1, {"accuracy": np.float32(0.25)}), 51000.0, "char")
      'loss 1.386, 2.000 bits/char, accuracy 0.25, 51,000 char/s'
      >>> postfix(Metrics(np.array([np.nan, 0.0421]), 1, 1), 0.0, "example")
      'loss 0.0421, best of 2'
    """
    losses = np.where(np.isfinite(metrics.loss), metrics.loss, np.inf).ravel()
    best = int(np.argmin(losses))
    parts = [f"loss {losses[best]:.3f}" if unit in SYMBOLS else f"loss {losses[best]:.3g}"]
    parts += [f"{losses[best] / math.log(2):.3f} bits/{unit}"] if unit in SYMBOLS else []
    parts += [f"best of {len(losses)}"] if np.ndim(metrics.loss) else []
    parts += [f"{name} {np.ravel(value)[best]:.3g}" for name, value in metrics.aux.items()]
    parts += [f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s"] if rate else []
    return ", ".join(parts)


def shown(value: Any) -> str:
    """Writes a number, or the range of several.

    Examples:
      >>> shown(0.98765), shown([2.0, 0.5, 1.0])
      ('0.9877', '0.5 to 2')
    """
    return f"{np.min(value):.4g} to {np.max(value):.4g}" if np.ndim(value) else f"{value:.4g}"


# ---- bars ----------------------------------------------------------------------------------------------------


def open_bar(shown: bool, steps: int, step: int = 0) -> Any:
    """Opens a bar of tqdm, lines where that is not installed, or what shows nothing.

    Examples:
      >>> open_bar(False, steps=3).update(1)
    """
    if not shown:
        return NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        return Lines(steps, step)
    # Steps per second are left out: the speed that counts stands in the postfix, without what evaluations take.
    form = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
    return tqdm(total=steps, initial=step, bar_format=form, dynamic_ncols=True, mininterval=0.5)


class NoBar:
    """Stands in for a bar that nobody sees: every method does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


class Lines:
    """Shows a plain line now and then, with the methods of a bar of tqdm.

    Args:
      steps: the run ends at.
      step: it begins at.
      clock: in seconds.
      every: seconds between two lines.
    """

    def __init__(self, steps: int, step: int = 0, clock: Callable[[], float] = time.perf_counter, every: float = 10.0):
        self._steps, self._step, self._first = steps, step, step
        self._clock, self._every = clock, every
        self._began = self._last = clock()
        self._postfix, self._printed = "", step

    def set_postfix_str(self, s: str, refresh: bool) -> None:
        """Sets the end of the next line."""
        self._postfix = s

    def update(self, n: int) -> None:
        """Counts n steps; prints a line if it is time for one."""
        self._step += n
        if self._clock() - self._last >= self._every:
            self._print()

    def write(self, s: str) -> None:
        """Prints a line of its own."""
        print(s, flush=True)

    def close(self) -> None:
        """Prints the last line."""
        if self._step > self._printed:
            self._print()

    def _print(self) -> None:
        self._last, self._printed = self._clock(), self._step
        left = (self._last - self._began) / (self._step - self._first) * (self._steps - self._step)
        end = f", about {left:.0f} s left" if self._step < self._steps else ""
        print(f"step {self._step:,}/{self._steps:,}: {self._postfix}{end}", file=sys.stderr, flush=True)
