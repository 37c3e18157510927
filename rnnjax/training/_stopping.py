"""When to stop early: after so many evaluations without a lower held-out loss."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

HELD_OUT = "held_out_loss"


class EarlyStop(NamedTuple):
    """What early stopping remembers.

    Attributes:
      best: the lowest held-out loss so far, float32 `[]`.
      best_step: the step of it, int32 `[]`.
      stale: evaluations since then, int32 `[]`.
    """

    best: Any
    best_step: Any
    stale: Any


def first_stop() -> EarlyStop:
    """Returns what is remembered before the first evaluation."""
    return EarlyStop(np.float32(np.inf), np.int32(0), np.int32(0))


def after_evaluation(stop: EarlyStop, evaluation: Mapping[str, Any], step: int) -> EarlyStop:
    """Counts an evaluation; `best_step` is this step if its held-out loss is the lowest."""
    if HELD_OUT not in evaluation:
        raise ValueError(
            f"fit: expected evaluate to return {HELD_OUT!r} for patience, got {', '.join(evaluation) or 'nothing'}."
        )
    loss = evaluation[HELD_OUT]
    if np.ndim(loss):
        raise ValueError(
            f"fit: expected {HELD_OUT!r} to be one number for patience, got shape {np.shape(loss)}; take the lowest."
        )
    if loss < stop.best:
        return EarlyStop(np.float32(loss), np.int32(step), np.int32(0))
    return stop._replace(stale=np.int32(stop.stale + 1))
