"""Training: state, steps, and the loop around them.

A loss function returns a `SumCount`, so that a mean over a masked or streamed batch is exact:

    train step:  loss_fn(params, batch, *, key) -> SumCount
    tbptt step:  loss_fn(params, carry, batch, *, key) -> (carry, SumCount)

Batches are a function of the step, `batches(step) -> pytree of arrays`, so that a run can begin again anywhere.
"""

import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from rnnjax._masking import SumCount
from rnnjax._types import Array, Carry, Key, Params
from rnnjax.training._checkpoints import Checkpoints
from rnnjax.training._reporting import MetricsLog, Speed, postfix, progress_bar

Objective = Callable[[SumCount], Array]


class TrainState(NamedTuple):
    """What training changes. The carry of a recurrent stream lives beside it, not in it.

    Attributes:
      step: updates done, int32 `[]`.
      params: parameters.
      opt_state: state of the optimizer.
      key: random key of the run; each step folds its number into it.
    """

    step: Array
    params: Params
    opt_state: Any
    key: Key


class Metrics(NamedTuple):
    """What one step reports.

    Attributes:
      loss: mean loss of the batch before the update, `[]`.
      count: how many elements the mean is over, `[]`.
      grad_norm: norm of the gradient before clipping, `[]`.
    """

    loss: Array
    count: Array  # type: ignore[assignment]  # it hides tuple.count
    grad_norm: Array


def init_state(params: Params, optimizer: optax.GradientTransformation, *, key: Key) -> TrainState:
    """The state before the first step.

    Args:
      params: pytree of arrays `[...]`.
      optimizer: an optax gradient transformation.
      key: random key of the run.

    Returns:
      A `TrainState`.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> int(init_state(jnp.zeros(3), optax.sgd(0.1), key=jax.random.key(0)).step)
      0
    """
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(params), key)


def mean_objective(parts: SumCount) -> Array:
    """The mean of the loss, `[]`: what is minimised unless said otherwise."""
    return parts.mean


def make_train_step(
    loss_fn: Callable[..., SumCount],
    optimizer: optax.GradientTransformation,
    *,
    objective: Objective = mean_objective,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """One update of the parameters from one batch.

    Args:
      loss_fn: `(params, batch, *, key) -> SumCount(sum [], count [])`.
      optimizer: an optax gradient transformation.
      objective: what is minimised, a function of the SumCount, such as `lambda parts: jnp.sqrt(parts.mean)`.

    Returns:
      `(state, batch) -> (state, metrics)`, pure; `fit` compiles it.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.losses import masked_mean
      >>> loss_fn = lambda params, batch, *, key: masked_mean((params - batch) ** 2)
      >>> step = make_train_step(loss_fn, optax.sgd(0.25))
      >>> state = init_state(jnp.zeros(()), optax.sgd(0.25), key=jax.random.key(0))
      >>> state, metrics = step(state, jnp.array([2.0, 2.0]))
      >>> float(state.params), float(metrics.loss)
      (1.0, 4.0)
    """
    tbptt_step = make_tbptt_step(
        lambda params, carry, batch, *, key: (carry, loss_fn(params, batch, key=key)),
        optimizer,
        objective=objective,
    )

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        state, _, metrics = tbptt_step(state, None, batch)
        return state, metrics

    return step


def make_tbptt_step(
    loss_fn: Callable[..., tuple[Carry, SumCount]],
    optimizer: optax.GradientTransformation,
    *,
    objective: Objective = mean_objective,
) -> Callable[[TrainState, Carry, Any], tuple[TrainState, Carry, Metrics]]:
    """One update from one window of a stream; the carry passes on to the next window as a constant.

    Args:
      loss_fn: `(params, carry, batch, *, key) -> (carry, SumCount(sum [], count []))`.
      optimizer: an optax gradient transformation.
      objective: what is minimised, a function of the SumCount.

    Returns:
      `(state, carry, batch) -> (state, carry, metrics)`, pure; `fit` compiles it.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.losses import masked_mean
      >>> def loss_fn(params, carry, batch, *, key):
      ...     carry = 0.5 * carry + batch
      ...     return carry, masked_mean((params - carry) ** 2)
      >>> step = make_tbptt_step(loss_fn, optax.sgd(0.25))
      >>> state = init_state(jnp.zeros(()), optax.sgd(0.25), key=jax.random.key(0))
      >>> state, carry, metrics = step(state, jnp.zeros(1), jnp.array([2.0]))
      >>> float(state.params), carry.tolist()
      (1.0, [2.0])
    """

    def step(state: TrainState, carry: Carry, batch: Any) -> tuple[TrainState, Carry, Metrics]:
        key = jax.random.fold_in(state.key, state.step)

        def loss(params: Params) -> tuple[Array, tuple[Carry, SumCount]]:
            after, parts = loss_fn(params, carry, batch, key=key)
            if not isinstance(parts, SumCount):
                raise TypeError(f"expected loss_fn to return a SumCount(sum, count), got {type(parts).__name__}.")
            return objective(parts), (after, parts)

        gradient, (after, parts) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = Metrics(parts.mean, parts.count, optax.tree.norm(gradient))
        return TrainState(state.step + 1, params, opt_state, state.key), after, metrics

    return step


# ---- the loop ------------------------------------------------------------------------------------------------


class Snapshot(NamedTuple):
    """Where a run is, as callbacks see it.

    Attributes:
      step: updates done.
      state: the `TrainState`.
      carry: the carry beside it, or None.
      loss: mean loss of the last step.
    """

    step: int
    state: TrainState
    carry: Carry
    loss: float


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


class Progress(NamedTuple):
    """What a checkpoint of `fit` holds.

    Attributes:
      state: the `TrainState`.
      carry: the carry beside it, or None.
      stop: what early stopping remembers.
      best_params: parameters of the lowest held-out loss if there is `patience`, else None.
    """

    state: TrainState
    carry: Carry
    stop: EarlyStop
    best_params: Params | None


def restore_progress(
    checkpoints: Checkpoints, state: TrainState, carry: Carry = None, *, early_stop: bool = False
) -> Progress | None:
    """The newest readable checkpoint of a `fit`, or None.

    Args:
      checkpoints: where it was saved.
      state: a state of the same run, for its structure and shapes `[...]`.
      carry: a carry of the same run, likewise.
      early_stop: whether the run had `patience`.

    Returns:
      `Progress(state, carry, stop, best_params)`, or None.

    Raises:
      ValueError: the checkpoint is of another configuration.

    Example:
      >>> import tempfile, jax, jax.numpy as jnp, optax
      >>> state = init_state(jnp.zeros(3), optax.sgd(0.1), key=jax.random.key(0))
      >>> with Checkpoints(tempfile.mkdtemp()) as checkpoints:
      ...     restore_progress(checkpoints, state) is None
      True
    """
    template = _first_progress(state, carry, early_stop)
    restored = checkpoints.restore(template)
    return None if restored is None else restored.tree


def _first_progress(state: TrainState, carry: Carry, early_stop: bool) -> Progress:
    stop = EarlyStop(np.float32(np.inf), np.int32(0), np.int32(0))
    return Progress(state, carry, stop, state.params if early_stop else None)


class FitResult(NamedTuple):
    """How a run ended.

    Attributes:
      state: the last `TrainState`; after a loss that was not finite, the last good one.
      carry: the carry beside it, or None.
      step: updates done.
      stopped: "steps", "patience", "non_finite" or "interrupted".
      bad_step: the number of the step whose loss or gradient was not finite, or None.
      best_params: parameters of the lowest held-out loss if there was `patience`, else those of the state.
      metrics: the last evaluation.
      seconds: wall time.
    """

    state: TrainState
    carry: Carry
    step: int
    stopped: str
    bad_step: int | None
    best_params: Params
    metrics: dict[str, float]
    seconds: float


def fit(
    step_fn: Callable[..., Any],
    state: TrainState,
    batches: Callable[[int], Any],
    *,
    steps: int,
    carry: Carry = None,
    steps_per_call: int = 1,
    evaluate: Callable[[TrainState], Mapping[str, float]] | None = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    checkpoints: Checkpoints | None = None,
    checkpoint_every: int | None = None,
    resume: bool = False,
    callbacks: Sequence[tuple[int, Callable[[Snapshot], None]]] = (),
    metrics_file: str | os.PathLike | None = None,
    log_every: int = 1,
    progress: bool = True,
    unit: str = "token",
    compiler_options: Mapping[str, Any] | None = None,
) -> FitResult:
    """Trains until `steps` updates are done, early stopping says so, or a loss is not finite.

    The step is compiled once. Everything that happens every so many steps happens at the first call boundary at or
    after them, so intervals are best multiples of steps_per_call.

    Args:
      step_fn: of `make_train_step`, or with a carry of `make_tbptt_step`.
      state: to start from.
      batches: `step -> batch`, a pytree of arrays `[...]` of the same shapes for every step.
      steps: updates in all.
      carry: the first carry of a stream, or None.
      steps_per_call: updates in one compiled call, for steps so short that calling them costs.
      evaluate: `state -> {name: value}` on held-out data; with `patience`, one name is "held_out_loss".
      evaluate_every: steps between evaluations; there is one at the end in any case.
      patience: stop after so many evaluations without a lower "held_out_loss"; None for never.
      checkpoints: where to save, or None.
      checkpoint_every: steps between checkpoints; there is one at the end in any case.
      resume: go on from the newest readable checkpoint, if there is one.
      callbacks: pairs `(every, call)`: `call(Snapshot)` every so many steps.
      metrics_file: JSON lines of step, loss, grad_norm, tokens_per_second and evaluations.
      log_every: steps between lines of it.
      progress: whether to show a bar with loss, speed and time left; it takes tqdm.
      unit: what the counts of the loss count, for the bar: with "byte", "char", "token" and "word" it shows bits, too.
      compiler_options: of the compiled step, as `jax.jit` takes them.

    Returns:
      A `FitResult`.

    Raises:
      ValueError: intervals or steps that are not positive, patience without "held_out_loss", or a checkpoint of
        another configuration.

    Example:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.losses import masked_mean
      >>> optimizer = optax.sgd(0.25)
      >>> step = make_train_step(lambda params, batch, *, key: masked_mean((params - batch) ** 2), optimizer)
      >>> state = init_state(jnp.zeros(()), optimizer, key=jax.random.key(0))
      >>> result = fit(step, state, lambda step: jnp.array([2.0, 2.0]), steps=4, progress=False)
      >>> float(result.state.params), result.stopped
      (1.875, 'steps')
    """
    positive = {"steps": steps, "steps_per_call": steps_per_call, "log_every": log_every, "patience": patience}
    positive |= {"evaluate_every": evaluate_every, "checkpoint_every": checkpoint_every}
    for name, value in positive.items():
        if value is not None and value < 1:
            raise ValueError(f"fit: expected {name} to be positive, got {value}.")
    for every, _ in callbacks:
        if every < 1:
            raise ValueError(f"fit: expected intervals of callbacks to be positive, got {every}.")
    if patience is not None and (evaluate is None or evaluate_every is None):
        raise ValueError("fit: expected evaluate and evaluate_every beside patience, got none.")
    run = _compiled(step_fn, carry is not None, steps_per_call > 1, compiler_options)
    start = _first_progress(state, carry, early_stop=patience is not None)
    if resume and checkpoints is not None:
        start = restore_progress(checkpoints, state, carry, early_stop=patience is not None) or start
    state, carry, stop, best_params = start
    began, step, stopped, bad_step = time.perf_counter(), int(state.step), "steps", None
    first_step = step
    evaluation: dict[str, float] = {}
    log, bar, speed = MetricsLog(metrics_file, step), progress_bar(progress, steps, step), Speed()
    earlier = (state, carry)  # before the call before, should that one have poisoned the parameters unseen

    def save() -> None:
        if checkpoints is not None and _all_finite(state.params):
            checkpoints.save(step, Progress(state, carry, stop, best_params))

    batch = _stacked(batches, step, steps, steps_per_call) if step < steps else None
    try:
        while step < steps:
            size = _call_size(step, steps, steps_per_call)
            before = (state, carry)
            state, carry, metrics = run(state, carry, batch)
            if step + size < steps:  # while the device computes
                batch = _stacked(batches, step + size, steps, steps_per_call)
            metrics = jax.tree.map(lambda leaf: np.atleast_1d(np.asarray(leaf)), metrics)
            finite = np.isfinite(metrics.loss) & np.isfinite(metrics.grad_norm)
            poisoned = finite.all() and step + size == steps and not _all_finite(state.params)  # no loss would show it
            if not finite.all() or poisoned:
                stopped, bad_step = "non_finite", steps if poisoned else step + int(np.argmin(finite)) + 1
                one = _compiled(step_fn, carry is not None, False, compiler_options)
                state, carry = _replay(one, batches, (before, earlier), bad_step)
                step = int(state.step)
                break
            earlier, previous, step = before, step, step + size
            speed.add(float(metrics.count.sum()))
            due = functools.partial(_due, previous=previous, step=step, steps=steps)
            for i in range(size):
                if (previous + i + 1) % log_every == 0:
                    loss, norm = float(metrics.loss[i]), float(metrics.grad_norm[i])
                    log.write(step=previous + i + 1, loss=loss, grad_norm=norm, tokens_per_second=round(speed.rate))
            bar.update(size)
            bar.set_postfix_str(postfix(float(metrics.loss[-1]), speed.rate, unit), refresh=False)
            if due(evaluate_every) and evaluate is not None:
                evaluation = _evaluated(evaluate, state)
                log.write(step=step, **evaluation)
                if patience is not None:
                    stop, best_params = _update_stop(stop, evaluation, step, best_params, state.params)
                speed.pause()
            for every, call in callbacks:
                if due(every):
                    call(Snapshot(step, state, carry, float(metrics.loss[-1])))
                    speed.pause()
            if due(checkpoint_every):
                save()
                speed.pause()
            if patience is not None and stop.stale >= patience:
                stopped = "patience"
                break
    except KeyboardInterrupt:
        stopped = "interrupted"
        state, carry = jax.block_until_ready((state, carry))
        step = int(state.step)
    finally:
        bar.close()
    if step > first_step:
        save()
    if evaluate is not None and (not evaluation or stopped != "steps"):
        evaluation = _evaluated(evaluate, state)
        log.write(step=step, **evaluation)
    if best_params is None or not np.isfinite(stop.best):
        best_params = state.params
    seconds = time.perf_counter() - began
    return FitResult(state, carry, step, stopped, bad_step, best_params, evaluation, seconds)


def _due(every: int | None, *, previous: int, step: int, steps: int) -> bool:
    """Whether something that happens every so many steps happens at this call boundary."""
    return every is not None and (step // every > previous // every or step == steps)


def _call_size(step: int, steps: int, steps_per_call: int) -> int:
    """Steps of the next call: up to the next multiple of steps_per_call, wherever a run was resumed."""
    return min(steps_per_call - step % steps_per_call, steps - step)


def _stacked(batches: Callable[[int], Any], step: int, steps: int, steps_per_call: int) -> Any:
    """The batches of the next call, stacked in front if steps_per_call is more than 1."""
    if steps_per_call == 1:
        return batches(step)
    group = [batches(s) for s in range(step, step + _call_size(step, steps, steps_per_call))]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *group)


def _compiled(
    step_fn: Callable, with_carry: bool, stacked: bool, compiler_options: Mapping[str, Any] | None
) -> Callable:
    """`(state, carry, batch) -> (state, carry, metrics)`: one step, or a loop over stacked batches."""

    def one(state: TrainState, carry: Carry, batch: Any) -> Any:
        if with_carry:
            return step_fn(state, carry, batch)
        state, metrics = step_fn(state, batch)
        return state, None, metrics

    def many(state: TrainState, carry: Carry, batches: Any) -> tuple[TrainState, Carry, Metrics]:
        def body(pair, batch):
            state, carry, metrics = one(pair[0], pair[1], batch)
            return (state, carry), metrics

        # Not rnnjax.scan: nothing is differentiated through a loop over updates.
        (state, carry), metrics = jax.lax.scan(body, (state, carry), batches)
        return state, carry, metrics

    return jax.jit(many if stacked else one, compiler_options=dict(compiler_options or {}))


def _replay(
    one: Callable[..., Any],
    batches: Callable[[int], Any],
    starts: Sequence[tuple[TrainState, Carry]],
    bad_step: int,
) -> tuple[TrainState, Carry]:
    """The last state before bad_step with finite parameters, found again step by step from the latest such start."""
    good = next((start for start in starts if _all_finite(start[0].params)), starts[-1])
    while int(good[0].step) < bad_step - 1:
        state, carry, _ = one(*good, batches(int(good[0].step)))
        if not _all_finite(state.params):
            break
        good = state, carry
    return good


def _all_finite(tree: Any) -> bool:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in leaves)


def _evaluated(evaluate: Callable[[TrainState], Mapping[str, float]], state: TrainState) -> dict[str, float]:
    return {name: float(value) for name, value in evaluate(state).items()}


def _update_stop(
    stop: EarlyStop, evaluation: Mapping[str, float], step: int, best_params: Params, params: Params
) -> tuple[EarlyStop, Params]:
    if "held_out_loss" not in evaluation:
        raise ValueError(
            f"fit: expected evaluate to return 'held_out_loss' for patience, got {', '.join(evaluation) or 'nothing'}."
        )
    loss = evaluation["held_out_loss"]
    if loss < stop.best:
        return EarlyStop(np.float32(loss), np.int32(step), np.int32(0)), params
    return stop._replace(stale=np.int32(stop.stale + 1)), best_params
