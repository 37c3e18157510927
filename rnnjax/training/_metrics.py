"""Metrics as JSON lines."""

import json
import math
import os
from pathlib import Path
from typing import Any

from rnnjax.data import write_text


class MetricsLog:
    """A file of metrics, one line of JSON per call; a resumed run drops the lines after the step it resumes from.

    Args:
      path: of the file, or None to write nothing.
      step: the step that the run begins at; lines beyond it, and a half-written one, are dropped.

    Examples:
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

    def write(self, **metrics: Any) -> None:
        """Appends one line: arrays `[R]` become lists, and what is not finite null, which JSON has no number for.

        Raises:
          OSError: the line cannot be written.
        """
        if self.path is None:
            return
        line = json.dumps({name: as_json(value) for name, value in metrics.items()}) + "\n"
        try:
            with self.path.open("a") as file:
                file.write(line)
        except OSError as error:
            raise OSError(
                f"expected to write a line of metrics into {self.path}, got an error ({error.strerror}); make room "
                "for it, or pass another file."
            ) from None


def as_json(value: Any) -> Any:
    """Returns a number, a list or anything else of JSON's, with null for numbers that are not finite."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [as_json(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return math.inf  # torn by a kill
