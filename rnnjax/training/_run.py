"""A run under way: evaluations, callbacks, checkpoints and early stopping between the calls of the loop."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax.training._checkpoints import Checkpoints
from rnnjax.training._loop import Call, Updates, any_finite, step_of
from rnnjax.training._progress import Report
from rnnjax.training._resuming import Progress
from rnnjax.training._signals import Signals
from rnnjax.training._state import TrainState
from rnnjax.training._stopping import HELD_OUT, after_evaluation

Evaluate = Callable[[TrainState], Mapping[str, Any]]


class Snapshot(NamedTuple):
    """Where a run is, as callbacks see it.

    Attributes:
      step: updates done.
      state: the `TrainState`.
      loss: mean loss of the last step, a float, or an array `[R]` of R models.
    """

    step: int
    state: TrainState
    loss: Any


Callbacks = Sequence[tuple[int, Callable[[Snapshot], None]]]


class Plan(NamedTuple):
    """What happens between the calls; see `fit`."""

    evaluate: Evaluate | None
    evaluate_every: int | None
    patience: int | None
    checkpoints: Checkpoints | None
    checkpoint_every: int | None
    callbacks: Callbacks


class Run:
    """Goes through the updates, and does what the plan says between them.

    Args:
      plan: of the run.
      updates: to do.
      start: where it begins.
      report: that is told of it.
      signals: that saves are sheltered from.

    Attributes:
      evaluation: the last one.
    """

    def __init__(self, plan: Plan, updates: Updates, start: Progress, report: Report, signals: Signals):
        self._plan, self._updates, self._report, self._signals = plan, updates, report, signals
        self._stop, self._best_params = start.stop, start.best_params
        self._saved = step_of(start.state)
        self._evaluated: int | None = None
        self.evaluation: dict[str, Any] = {}

    @property
    def state(self) -> TrainState:
        """The newest state."""
        return self._updates.state

    @property
    def best_params(self) -> Any:
        """Parameters of the lowest held-out loss if there is patience, else those of the state."""
        found = self._best_params is not None and np.isfinite(self._stop.best)
        return self._best_params if found else self.state.params

    def go(self) -> str:
        """Does all updates; returns why they ended."""
        for call in self._updates:
            self._report.call(call)
            self._signals.check()
            self._between(call)
            if self._plan.patience is not None and self._stop.stale >= self._plan.patience:
                return "patience"
        return self._updates.stopped

    def _between(self, call: Call) -> None:
        plan = self._plan
        if plan.evaluate is not None and (call.due(plan.evaluate_every) or call.ended):
            self.evaluate()
            if plan.patience is not None:
                self._stop = after_evaluation(self._stop, self.evaluation, call.step)
                self._best_params = self.state.params if self._stop.stale == 0 else self._best_params
            self._report.pause()
        loss = call.metrics.loss[-1]
        for every, callback in plan.callbacks:
            if call.due(every):
                callback(Snapshot(call.step, self.state, loss if np.ndim(loss) else float(loss)))
                self._report.pause()
        if call.due(plan.checkpoint_every):
            self.save()
            self._report.pause()

    def evaluate(self) -> None:
        """Evaluates the newest state, unless that was done."""
        step = step_of(self.state)
        if self._plan.evaluate is not None and self._evaluated != step:
            self.evaluation, self._evaluated = checked_evaluation(self._plan.evaluate(self.state)), step
            self._report.evaluation(step, self.evaluation)

    def save(self) -> None:
        """Saves the newest state, unless that was done or it is not finite."""
        state, step = jax.block_until_ready(self.state), step_of(self.state)
        if self._plan.checkpoints is None or step == self._saved or not any_finite(state):
            return
        loss = self.evaluation.get(HELD_OUT) if self._evaluated == step else None
        best_params = None if self._plan.patience is None else self.best_params
        with self._signals.sheltered():
            self._plan.checkpoints.save(
                step,
                Progress(state, self._stop, best_params),
                held_out_loss=loss if isinstance(loss, float) else None,  # not of R models
            )
            self._saved = step


def checked_evaluation(returned: Any) -> dict[str, Any]:
    """Returns what `evaluate` returned, numbers as floats; raises unless these are numbers by name."""
    if not isinstance(returned, Mapping):
        raise TypeError(f"fit: expected evaluate to return a dict of numbers by name, got {type(returned).__name__}.")
    evaluation: dict[str, Any] = {}
    for name, value in returned.items():
        if name == "step":
            raise ValueError("fit: expected evaluate to return names other than 'step', which the metrics file has.")
        try:
            evaluation[name] = np.asarray(value, np.float64) if np.ndim(value) else float(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"fit: expected evaluate to return numbers by name, got {type(value).__name__} for {name!r}."
            ) from None
    return evaluation
