"""Long sequences cut into batches of windows. NumPy only."""

from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """A piece of B streams, for a step of truncated backpropagation through time.

    Attributes:
      inputs: ids `[T, B]`.
      targets: ids `[T, B]`: the one after each input.
      starts: booleans `[B]`: true where the carry of a stream must start afresh.
    """

    inputs: np.ndarray
    targets: np.ndarray
    starts: np.ndarray


class Streams(NamedTuple):
    """A text as B contiguous streams, read window after window, so that a carry can pass from one to the next.

    The ids are cut into B equal parts. Window n of an epoch has steps n * T to n * T + T - 1 of every part, and as
    targets the ids one step later; what is left at the end of the parts is dropped. `window(step)` is a function of the
    step alone, so that a run can resume anywhere.

    Attributes:
      ids: `[N]`.
      batch_size: B.
      steps: T.
      restart_every: windows after which a stream starts afresh, a few streams at a time; 0 for only at the beginning of
        an epoch. A model that never starts afresh in training may do poorly from a fresh carry.

    Examples:
      >>> import numpy as np
      >>> streams = make_streams(np.arange(10), batch_size=2, steps=2)
      >>> streams.windows, streams.window(1).inputs.T.tolist(), streams.window(1).targets.T.tolist()
      (2, [[2, 3], [7, 8]], [[3, 4], [8, 9]])
      >>> streams.window(2).starts.tolist()  # the next epoch
      [True, True]
    """

    ids: np.ndarray
    batch_size: int
    steps: int
    restart_every: int = 0

    @property
    def windows(self) -> int:
        """Counts the windows of an epoch."""
        return (len(self.ids) // self.batch_size - 1) // self.steps

    def window(self, step: int) -> Window:
        """Cuts out the window of this step, `Window(inputs [T, B], targets [T, B], starts [B])`, epoch after epoch."""
        part = len(self.ids) // self.batch_size
        n = step % self.windows
        rows = self.ids[: part * self.batch_size].reshape(self.batch_size, part)
        piece = rows[:, n * self.steps : (n + 1) * self.steps + 1].T  # [T + 1, B]
        starts = np.full(self.batch_size, n == 0)
        if self.restart_every:
            offsets = np.arange(self.batch_size) * self.restart_every // self.batch_size
            starts |= (step + offsets) % self.restart_every == 0
        return Window(piece[:-1], piece[1:], starts)


def make_streams(ids: np.ndarray, *, batch_size: int, steps: int, restart_every: int = 0) -> Streams:
    """Makes `Streams` of a text.

    Args:
      ids: `[N]`.
      batch_size: B.
      steps: T.
      restart_every: windows after which a stream starts afresh, or 0.

    Returns:
      `Streams(ids, batch_size, steps, restart_every)`.

    Raises:
      ValueError: sizes that are not positive, ids that are not `[N]`, or fewer of them than one window takes.

    Examples:
      >>> import numpy as np
      >>> make_streams(np.arange(5), batch_size=2, steps=3)
      Traceback (most recent call last):
      ...
      ValueError: make_streams: expected at least 8 ids for 2 streams of 3 steps and a target, got 5; ...
    """
    ids = np.asarray(ids)
    if ids.ndim != 1:
        raise ValueError(f"make_streams: expected ids of shape [N], got {ids.shape}.")
    if batch_size < 1 or steps < 1 or restart_every < 0:
        raise ValueError(
            f"make_streams: expected positive sizes, got batch_size={batch_size}, steps={steps} and "
            f"restart_every={restart_every}."
        )
    if len(ids) < batch_size * (steps + 1):
        raise ValueError(
            f"make_streams: expected at least {batch_size * (steps + 1)} ids for {batch_size} streams of {steps} steps "
            f"and a target, got {len(ids)}; use a longer text, fewer streams or shorter windows."
        )
    return Streams(ids, batch_size, steps, restart_every)


class PaddedWindows(NamedTuple):
    """All windows of B streams, the last ones padded, so that every id but the first is a target exactly once.

    Attributes:
      inputs: ids `[N, T, B]`.
      targets: ids `[N, T, B]`.
      mask: booleans `[N, T, B]`: false where the target is padding.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mask: np.ndarray


def padded_windows(ids: np.ndarray, *, batch_size: int, steps: int) -> PaddedWindows:
    """Cuts a text into windows that leave nothing out, to evaluate on B streams that each pass their carry on.

    Args:
      ids: `[M]`, at least two.
      batch_size: B.
      steps: T.

    Returns:
      `PaddedWindows(inputs [N, T, B], targets [N, T, B], mask [N, T, B])`.

    Raises:
      ValueError: sizes that are not positive, or fewer than two ids.

    Examples:
      >>> import numpy as np
      >>> windows = padded_windows(np.arange(6), batch_size=2, steps=2)
      >>> windows.inputs[:, :, 1].tolist(), windows.targets[windows.mask].tolist()
      ([[3, 4], [0, 0]], [1, 4, 2, 5, 3])
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or len(ids) < 2:
        raise ValueError(f"padded_windows: expected at least two ids [M], got shape {ids.shape}; use a longer text.")
    if batch_size < 1 or steps < 1:
        raise ValueError(f"padded_windows: expected positive sizes, got batch_size={batch_size} and steps={steps}.")
    targets = len(ids) - 1
    part = -(-targets // batch_size)
    count = -(-part // steps)

    def windows(values: np.ndarray) -> np.ndarray:
        rows = np.pad(values, (0, part * batch_size - targets)).reshape(batch_size, part)
        padded = np.pad(rows, ((0, 0), (0, count * steps - part)))
        return np.ascontiguousarray(padded.reshape(batch_size, count, steps).transpose(1, 2, 0))

    return PaddedWindows(windows(ids[:-1]), windows(ids[1:]), windows(np.ones(targets, bool)))
