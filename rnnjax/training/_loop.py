"""The loop over compiled calls, and the way back when a loss is not finite."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Params
from rnnjax.training._batches import Batches
from rnnjax.training._devices import Places, places_of
from rnnjax.training._state import TrainState
from rnnjax.training._step import Metrics

Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


class Call(NamedTuple):
    """What one compiled call did: the updates `previous + 1` to `step`, K of them.

    Attributes:
      previous: updates done before it.
      step: updates done after it.
      metrics: of each update, NumPy arrays `[K]`, or `[K, R]` for R models.
      ended: whether no call follows.
    """

    previous: int
    step: int
    metrics: Metrics
    ended: bool

    def due(self, every: int | None) -> bool:
        """Says whether something that happens every so many steps happens after this call."""
        return every is not None and (self.step // every > self.previous // every or self.ended)


class Updates:
    """Iterates over the calls of a compiled step; what it has reached outlives an interrupt.

    Args:
      step_fn: `(state, batch) -> (state, metrics)`.
      state: to start from.
      batches: to learn from.
      steps: updates in all.
      steps_per_call: updates in one compiled call.
      compiler_options: as `jax.jit` takes them.

    Attributes:
      state: the newest state.
      stopped: why the calls ended: "steps", "data" or "non_finite".
      bad_step: the number of the update whose loss or gradient was not finite, or None.
    """

    def __init__(
        self,
        step_fn: Step,
        state: TrainState,
        batches: Batches,
        *,
        steps: int,
        steps_per_call: int,
        compiler_options: Mapping[str, Any] | None,
    ):
        self.state, self.stopped = state, "steps"
        self.bad_step: int | None = None
        self._batches, self._steps, self._stacked = batches, steps, steps_per_call > 1
        compiled = _compiled if _hashable(step_fn) else _compiled.__wrapped__
        options = tuple((compiler_options or {}).items())
        self._compiled = functools.partial(compiled, step_fn, options=options, places=places_of(state))

    def __iter__(self) -> Iterator[Call]:
        run = self._compiled(stacked=self._stacked)
        step, earlier = step_of(self.state), self.state
        group = self._batches.group(step)
        if group is None and step == 0:
            raise ValueError("fit: expected at least one batch, got none; was the iterator used up before?")
        while group is not None:
            before = self.state
            self.state, metrics = run(before, group.batch)
            following = self._batches.group(step + group.size)  # while the device computes
            metrics = jax.tree.map(np.asarray if self._stacked else lambda leaf: np.asarray(leaf)[None], metrics)
            bad_step = self._bad_step(step, metrics, ended=following is None)
            if bad_step is not None:
                self.stopped, self.bad_step = "non_finite", bad_step
                self._go_back((before, earlier), bad_step)
                return
            # An update may have poisoned the parameters of `before` unseen, so the state before it is kept, too.
            earlier, previous, step = before, step, step + group.size
            self._batches.forget(previous)
            yield Call(previous, step, metrics, ended=following is None)
            group = following
        self.stopped = "steps" if step >= self._steps else "data"

    def _bad_step(self, step: int, metrics: Metrics, *, ended: bool) -> int | None:
        """Returns the number of the first update whose loss or gradient is finite for no model, or None."""
        finite = np.asarray(np.isfinite(metrics.loss) & np.isfinite(metrics.grad_norm))
        alive = np.asarray(finite.reshape(finite.shape[0], -1).any(axis=1))  # [K]
        if not alive.all():
            return step + int(np.argmin(alive)) + 1
        poisoned = ended and not any_finite(self.state)  # which no loss would show
        return step + len(alive) if poisoned else None

    def _go_back(self, starts: tuple[TrainState, TrainState], bad_step: int) -> None:
        """Finds the last state before bad_step with finite parameters, step by step from the latest such start."""
        one = self._compiled(stacked=False)
        self.state = next((start for start in starts if any_finite(start)), starts[-1])
        while step_of(self.state) < bad_step - 1:
            state, _ = one(self.state, self._batches.again(step_of(self.state)))
            if not any_finite(state):
                return
            self.state = state


@functools.lru_cache(maxsize=8)  # so that a second run of the same step does not compile it again
def _compiled(step_fn: Step, *, stacked: bool, options: tuple[tuple[str, Any], ...], places: Places | None) -> Step:
    """Returns the checked step, or a loop over stacked batches of it, compiled; the state stays where it is."""
    one = checked(step_fn)
    many = _over_batches(one) if stacked else one
    return jax.jit(many, compiler_options=dict(options), out_shardings=None if places is None else places.of_outcome())


def _hashable(step_fn: Any) -> bool:
    try:
        hash(step_fn)
    except TypeError:
        return False
    return True


def checked(step_fn: Step) -> Step:
    """Returns the step, which raises TypeError unless it returns a state and metrics."""

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        returned = step_fn(state, batch)
        if (
            type(returned) is not tuple
            or len(returned) != 2
            or not isinstance(returned[0], TrainState)
            or not isinstance(returned[1], Metrics)
        ):
            raise TypeError(
                f"fit: expected step_fn to return (TrainState, Metrics), got {type(returned).__name__}; make it with "
                "make_train_step."
            )
        return returned

    return step


def _over_batches(step_fn: Step) -> Step:
    """Makes a loop over stacked batches `[K, ...]` of a step."""

    def many(state: TrainState, batches: Any) -> tuple[TrainState, Metrics]:
        # Not rnnjax.scan: nothing is differentiated through a loop over updates.
        return jax.lax.scan(step_fn, state, batches)

    return many


def step_of(state: TrainState) -> int:
    """Counts the updates done, the same for all models of a state."""
    step = state.step.addressable_data(0) if isinstance(state.step, jax.Array) else state.step
    return int(np.asarray(step).flat[0])


def any_finite(state: TrainState) -> bool:
    """Says whether the parameters of a state, or of one of its models, are all finite."""
    return bool(_any_finite(state.params, models=np.ndim(state.step)))


@functools.partial(jax.jit, static_argnames="models")
def _any_finite(params: Params, *, models: int) -> Array:
    numbers = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    finite = [jnp.all(jnp.isfinite(leaf), axis=tuple(range(models, leaf.ndim))) for leaf in numbers]
    return jnp.any(functools.reduce(jnp.logical_and, finite, jnp.array(True)))
