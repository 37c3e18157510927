"""SIGTERM as an exception that ends a run in order, and a shelter in which no signal cuts a save short."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn


class Terminated(SystemExit):
    """SIGTERM came; where nobody catches this the process exits with 143 = 128 + SIGTERM, as shells name it."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)


class Signals:
    """Raises `Terminated` on SIGTERM while it is entered, in the main thread, and restores the old handlers after.

    Args:
      active: whether to; SIGTERM stays as it was if not.
    """

    def __init__(self, active: bool):
        self._active = active and threading.current_thread() is threading.main_thread()
        self._old: dict[int, Any] = {}
        self._sheltered = False
        self._pending: int | None = None

    def __enter__(self) -> "Signals":
        if self._active:
            self._take(signal.SIGTERM, spare=signal.SIG_IGN)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                self._take(signal.SIGINT, spare=None)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _take(self, number: int, *, spare: Any) -> None:
        old = signal.getsignal(number)
        if old is not None and old is not spare:  # None is a handler of C, which could not be restored
            self._old[number] = old
            signal.signal(number, self._arrived)

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self._sheltered:
            self._pending = number
        elif is_compiling(frame):  # in a thread of XLA, which crashes if the process ends meanwhile: come again
            again = threading.Timer(0.1, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            _raise(number)

    @contextlib.contextmanager
    def sheltered(self) -> Iterator[None]:
        """Holds signals back until what is done inside is done."""
        self._sheltered = True
        try:
            yield
        finally:
            self._sheltered = False
        if self._pending is not None:
            number, self._pending = self._pending, None
            _raise(number)


def is_compiling(frame: FrameType | None) -> bool:
    """Says whether a stack waits for XLA to compile."""
    while frame is not None:
        if frame.f_code.co_filename.endswith(os.path.join("jax", "_src", "compiler.py")):
            return True
        frame = frame.f_back
    return False


def _raise(number: int) -> NoReturn:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
