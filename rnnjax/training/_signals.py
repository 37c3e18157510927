"""Signals that end a run in order: SIGTERM as an exception, and a shelter in which none cuts a save short."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any


class Terminated(SystemExit):
    """SIGTERM came; where nobody catches this the process exits with 143 = 128 + SIGTERM, as shells name it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Signals:
    """Raises `Terminated` on SIGTERM and KeyboardInterrupt on Ctrl-C, when that does no harm, while it is entered.

    A signal that comes at another time, or whose exception is swallowed, as in a callback of the garbage collector, is
    raised by the next `check`. Only the main thread is told of signals; the old handlers are restored at the end.

    Args:
      active: whether to; signals stay as they were if not.
    """

    def __init__(self, active: bool):
        self._active = active and threading.current_thread() is threading.main_thread()
        self._old: dict[int, Any] = {}
        self._sheltered = False
        self._pending: int | None = None

    def __enter__(self) -> "Signals":
        if self._active:
            term = signal.getsignal(signal.SIGTERM)
            if term is not None and term is not signal.SIG_IGN:  # None is a handler of C, which could not be restored
                self._old[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._arrived)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._old[signal.SIGINT] = signal.signal(signal.SIGINT, self._arrived)
        return self

    def __exit__(self, error: Any, *_: Any) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        if error is None:
            self.check()

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self._pending = number
        if not self._sheltered and not is_compiling(frame):
            self.check()

    def check(self) -> None:
        """Raises what is pending."""
        if self._pending is not None:
            raise Terminated if self._pending == signal.SIGTERM else KeyboardInterrupt

    def clear(self) -> None:
        """Takes note that what was pending has been raised and caught."""
        self._pending = None

    @contextlib.contextmanager
    def sheltered(self) -> Iterator[None]:
        """Holds signals back until what is done inside is done."""
        self._sheltered = True
        try:
            yield
        finally:
            self._sheltered = False
        self.check()


def is_compiling(frame: FrameType | None) -> bool:
    """Says whether a stack waits for XLA to compile: in another thread, which crashes if the process ends meanwhile."""
    while frame is not None:
        if frame.f_code.co_filename.endswith(os.path.join("jax", "_src", "compiler.py")):
            return True
        frame = frame.f_back
    return False
