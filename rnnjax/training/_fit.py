"""`fit`: the loop around a training step."""

import numbers
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from rnnjax._types import Params
from rnnjax.training._batches import Batches, Source
from rnnjax.training._checkpoints import Checkpoints
from rnnjax.training._leaves import to_numpy
from rnnjax.training._loop import Step, Updates, step_of
from rnnjax.training._processes import explained
from rnnjax.training._progress import Report
from rnnjax.training._resuming import Progress, first_progress, restore_progress
from rnnjax.training._run import Callbacks, Evaluate, Plan, Run
from rnnjax.training._signals import Signals, Terminated
from rnnjax.training._state import TrainState


class FitResult(NamedTuple):
    """How a run ended.

    Attributes:
      state: the last `TrainState`; after a loss that was not finite, the last good one.
      step: updates done.
      stopped: "steps", "data" if there were fewer batches, "patience", "non_finite" or "interrupted".
      bad_step: the number of the step whose loss or gradient was not finite, or None.
      best_params: parameters of the lowest held-out loss if there was `patience`, else those of the state.
      metrics: the last evaluation.
      seconds: wall time.
    """

    state: TrainState
    step: int
    stopped: str
    bad_step: int | None
    best_params: Params
    metrics: dict[str, Any]
    seconds: float


def fit(
    step_fn: Step,
    state: TrainState,
    batches: Source,
    *,
    steps: int,
    steps_per_call: int = 1,
    evaluate: Evaluate | None = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int | None = None,
    resume: bool | Progress | None = False,
    callbacks: Callbacks = (),
    metrics_file: str | os.PathLike | None = None,
    log_every: int = 1,
    progress: bool = True,
    unit: str = "value",
    compiler_options: Mapping[str, Any] | None = None,
) -> FitResult:
    """Trains until `steps` updates are done, batches run out, early stopping says so, or a loss is not finite.

    The step is compiled once, also for several calls with the same function. Everything that happens every so many
    steps happens at the first call boundary at or after them and at the end, so intervals are best multiples of
    steps_per_call.

    Ctrl-C ends a run as "interrupted", and with checkpoints saves one of that moment. So does SIGTERM, which a process
    gets when its machine is preempted; the process then exits with 143. Both wait for a save or for a compilation.

    On a mesh, state and batches are where `shard` put them, and the state stays there. Of several processes, all call
    fit alike; the first shows progress and writes the metrics. When one of them ends or is interrupted, so do the
    others, and the run goes on from the newest checkpoint, with as many processes as there are then.

    R models train side by side with `jax.vmap(step_fn, in_axes=(0, None))` and a state whose leaves have a leading axis
    of R, such as `jax.vmap` of `init_state` makes. Their metrics are lists in the metrics file, the bar shows the best
    of them, and the run goes on as long as one of them is finite.

    Args:
      step_fn: of `make_train_step`, or any `(state, batch) -> (state, Metrics)`.
      state: to start from.
      batches: a function of the step, `step -> batch`, which can begin anywhere; or an iterable of batches, drawn one
        after the other: a resumed run draws as many as updates were done, and drops them. A batch is a pytree of arrays
        `[...]` of the same shapes for every step.
      steps: updates in all.
      steps_per_call: updates in one compiled call, for steps so short that calling them costs.
      evaluate: `state -> {name: value}` on held-out data, numbers `[]` or arrays `[R]`; with `patience`, one name is
        "held_out_loss".
      evaluate_every: steps between evaluations; there is one at the end in any case.
      patience: stop after so many evaluations without a lower "held_out_loss"; None for never.
      checkpoints: where to save, or None. Its folder must be empty unless the run is resumed.
      checkpoint_every: steps between checkpoints; there is one at the end in any case. A checkpoint holds the
        "held_out_loss" of its step if that was evaluated, so that the best one can be found.
      resume: True to go on from the newest readable checkpoint, if there is one; or what `restore_progress` returned,
        for callers that need to know the step first: then the checkpoint is read only once.
      callbacks: pairs `(every, call)`: `call(Snapshot)` every so many steps.
      metrics_file: JSON lines of step, loss, grad_norm, tokens_per_second, aux of the loss, and evaluations.
      log_every: steps between lines of it.
      progress: whether to show evaluations and a bar with loss, aux, speed and time left; plain lines without tqdm.
      unit: what the counts of the loss count, for the bar; of "byte", "char", "token" and "word", whose losses are
        nats, it shows bits, too.
      compiler_options: of the compiled step, as `jax.jit` takes them.

    Returns:
      A `FitResult`.

    Raises:
      ConnectionError: another process is gone.
      OSError: the metrics file or a checkpoint cannot be written.
      TypeError: an argument, or what a callback returned, is of another kind.
      ValueError: intervals or steps that are not positive, patience without "held_out_loss", no batch at all, or a
        folder with checkpoints of another run.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.losses import masked_mean
      >>> from rnnjax.training import fit, init_state, make_train_step
      >>> optimizer = optax.sgd(0.25)
      >>> step = make_train_step(lambda params, batch, *, key: masked_mean((params - batch) ** 2), optimizer)
      >>> state = init_state(jnp.zeros(()), optimizer, key=jax.random.key(0))
      >>> result = fit(step, state, lambda step: jnp.array([2.0, 2.0]), steps=4, progress=False)
      >>> float(result.state.params), result.stopped
      (1.875, 'steps')
      >>> fit(step, state, [jnp.array([2.0, 2.0])] * 3, steps=4, progress=False).stopped  # an iterable of 3 batches
      'data'
    """
    began = time.perf_counter()
    intervals = {"steps": steps, "steps_per_call": steps_per_call, "log_every": log_every, "patience": patience}
    intervals |= {"evaluate_every": evaluate_every, "checkpoint_every": checkpoint_every}
    plan = Plan(evaluate, evaluate_every, patience, checkpoints, checkpoint_every, callbacks)
    _check(step_fn, state, intervals, plan)
    start = _start(state, resume, checkpoints, patience=patience)
    step = step_of(start.state)
    updates = Updates(
        step_fn,
        start.state,
        Batches(batches, step=step, steps=steps, steps_per_call=steps_per_call),
        steps=steps,
        steps_per_call=steps_per_call,
        compiler_options=compiler_options,
    )
    tells, alone = jax.process_index() == 0, jax.process_count() == 1
    metrics_file, progress = metrics_file if tells else None, progress and tells
    report = Report(metrics_file=metrics_file, log_every=log_every, shown=progress, step=step, steps=steps, unit=unit)
    with Signals(active=alone and checkpoints is not None) as signals, explained(checkpoints):
        run, stopped = Run(plan, updates, start, report, signals), "interrupted"
        try:
            stopped = run.go()
        except KeyboardInterrupt:
            if not alone:
                raise
            signals.clear()
        except Terminated:
            signals.clear()
            run.save()
            raise
        finally:
            report.close()
        run.save()
        run.evaluate()
    seconds = time.perf_counter() - began
    return FitResult(run.state, step_of(run.state), stopped, updates.bad_step, run.best_params, run.evaluation, seconds)


def _check(step_fn: Any, state: Any, intervals: Mapping[str, int | None], plan: Plan) -> None:
    """Raises TypeError or ValueError that names the argument of `fit` that is of another kind, or out of bounds."""
    if not isinstance(state, TrainState):
        raise TypeError(f"fit: expected state to be a TrainState, got {type(state).__name__}; init_state makes one.")
    if np.ndim(state.step) > 1 or np.unique(to_numpy(state.step)).size != 1:
        raise ValueError(f"fit: expected the step of the state, [] or the same for all models [R], got {state.step}.")
    for name, function in (("step_fn", step_fn), ("evaluate", plan.evaluate)):
        if not callable(function) and (name == "step_fn" or function is not None):
            raise TypeError(f"fit: expected {name} to be a function, got {type(function).__name__}.")
    for name, value in intervals.items():
        if value is not None and value < 1:
            raise ValueError(f"fit: expected {name} to be positive, got {value}.")
    for pair in plan.callbacks:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"fit: expected callbacks to be pairs (every, call), got {type(pair).__name__}.")
        if not isinstance(pair[0], numbers.Integral) or not callable(pair[1]):
            kinds = ", ".join(type(entry).__name__ for entry in pair)
            raise TypeError(f"fit: expected callbacks to be pairs (every, call), got ({kinds}).")
        if pair[0] < 1:
            raise ValueError(f"fit: expected intervals of callbacks to be positive, got {pair[0]}.")
    if plan.patience is not None and (plan.evaluate is None or plan.evaluate_every is None):
        raise ValueError("fit: expected evaluate and evaluate_every beside patience, got none.")


def _start(
    state: TrainState, resume: bool | Progress | None, checkpoints: Checkpoints | None, *, patience: int | None
) -> Progress:
    """Returns where the run begins; raises ValueError if the folder of the checkpoints holds another run."""
    folder, found = (None, []) if checkpoints is None else (checkpoints.folder, checkpoints.steps())
    start = first_progress(state, with_best=False)
    if isinstance(resume, Progress):
        start = resume
        if found and found[-1] > step_of(start.state):
            raise ValueError(
                f"fit: expected to resume from the newest checkpoint in {folder}, step {found[-1]}, got step "
                f"{step_of(start.state)}; save into another folder."
            )
    elif resume:
        if checkpoints is None:
            raise ValueError("fit: expected checkpoints to resume from, got none.")
        start = restore_progress(checkpoints, state) or start
    elif found:
        raise ValueError(
            f"fit: expected an empty folder for a new run, got {folder} with checkpoints of steps "
            f"{', '.join(map(str, found))}; pass resume=True to go on with that run, or another folder."
        )
    if patience is None:
        return start._replace(best_params=None)
    return start._replace(best_params=start.state.params) if start.best_params is None else start
