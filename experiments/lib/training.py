"""Training as all experiments share it: options, shuffled batches, the loop with its files, prediction in chunks."""

import dataclasses
import functools
import math
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

import rnnjax
from experiments.lib import devices, frame, processes
from experiments.lib.optimization import make_optimizer
from rnnjax.training import gather

MEAN = operator.attrgetter("mean")  # of the SumCount of a loss


@dataclasses.dataclass(frozen=True)
class Options(frame.Config):
    """Options of everything that is trained; an experiment adds its own, and changes defaults."""

    steps: int = 1000  # updates
    batch: int = 64  # sequences of an update
    optimizer: str = "adam"  # sgd, adam, rmsprop, adagrad, adadelta, nadam or adamw
    learning_rate: float = 0.003  # at its peak
    schedule: str = "linear"  # decay of the learning rate: constant, linear, cosine or exponential
    warmup: int = 0  # updates until the peak
    weight_decay: float = 0.0  # of adamw
    b2: float = 0.999  # memory of the second moment of adam, nadam and adamw
    clip_norm: float = 1.0  # bound of the gradient's norm, 0 for none
    clip_value: float = 0.0  # bound of each element of the gradient, 0 for none
    steps_per_call: int = 10  # updates in one compiled call
    evaluate_every: int = 200  # updates between evaluations on held-out data
    checkpoint_every: int = 500  # updates between checkpoints

    free: ClassVar[frozenset[str]] = frame.Config.free | {"checkpoint_every"}

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        if not self.learning_rate > 0:
            raise ValueError(f"expected --learning-rate above 0, got {self.learning_rate}.")
        for name in ("steps", "batch", "steps_per_call", "evaluate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"expected --{name.replace('_', '-')} from 1, got {getattr(self, name)}.")
        make_optimizer(self)  # which knows the names of optimizers and schedules


def train(
    options: Options, init, loss_fn, batches, folder, *, name="", carry=None, objective=MEAN, **more
) -> rnnjax.training.FitResult:
    """Trains one model, on `--resume` from its newest checkpoint; `more` is of `fit`.

    `init` is `key -> params`; `batches` is `step -> batch`; loss_fn and objective are as `make_train_step` takes them.
    With a name, the model has its files in folder/name. A carry is that of recurrent streams before the first update,
    the batch on axis 0.
    """
    optimizer = make_optimizer(options)
    key_init, key_run = jax.random.split(jax.random.key(options.seed))
    state = rnnjax.training.init_state(init(key_init), optimizer, key=key_run, carry=carry)
    step = rnnjax.training.make_train_step(loss_fn, optimizer, objective=objective)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(f"{f'{name}: ' if name else ''}{size:,} parameters, in {folder / name}", flush=True)
    return fit(options, step, state, batches, folder / name, **more)


def fit(
    options: Options, step, state, batches, folder: Path, *, batch_axes=None, patience=None, callbacks=(), **more
) -> rnnjax.training.FitResult:
    """Calls `rnnjax.training.fit`, whose settings are `more`, with the options of the run and files in a folder.

    On `--resume` it goes on from the newest checkpoint; a model that was trained to its end is not trained again.
    Patience is how many evaluations without a lower "held_out_loss" are borne. Callbacks `(every, call)` get a
    `Snapshot` also before the first update. By default the metrics have about a thousand lines. What is interrupted
    raises KeyboardInterrupt, as the rest of an experiment makes no sense without this model.

    `batch_axes` is what `--devices` split, see `devices.place`. Only updates run on all of them: evaluations, callbacks
    and the caller get a state on one.
    """
    settings = {"log_every": max(1, options.steps // 1000), "unit": "value"} | more
    settings["evaluate_every"] = options.evaluate_every if settings.get("evaluate") else None
    state, batches = devices.place(options, state, batches, batch_axes)
    if (evaluate := settings.get("evaluate")) is not None:
        settings["evaluate"] = lambda state: evaluate(gather(state))
    callbacks = [(every, functools.partial(_call_off_the_mesh, call)) for every, call in callbacks]
    folder = processes.shared_folder(folder)
    with rnnjax.training.Checkpoints(folder / "checkpoints") as checkpoints:
        saved = rnnjax.training.restore_progress(checkpoints, state) if options.resume else None
        ended = saved is not None and patience is not None and saved.stop.stale >= patience
        for _, call in callbacks if saved is None else ():
            call(rnnjax.training.Snapshot(0, state, math.nan))
        result = rnnjax.training.fit(
            step,
            state,
            batches,
            steps=int(saved.state.step.max()) if ended else options.steps,
            steps_per_call=options.steps_per_call,
            patience=patience,
            checkpoints=checkpoints,
            checkpoint_every=options.checkpoint_every,
            resume=saved or options.resume,
            callbacks=callbacks,
            metrics_file=folder / "metrics.jsonl",
            **settings,
        )
    if result.stopped == "interrupted":
        raise KeyboardInterrupt
    if result.stopped == "non_finite":
        raise ValueError(
            f"expected a finite loss, got NaN or infinity in update {result.bad_step}; the last good state is in "
            f"{folder}/checkpoints: use a smaller --learning-rate, or clip the gradient."
        )
    stopped = "patience" if ended else result.stopped
    return result._replace(state=gather(result.state), best_params=gather(result.best_params), stopped=stopped)


def _call_off_the_mesh(call: Callable, snapshot: rnnjax.training.Snapshot) -> None:
    call(snapshot._replace(state=gather(snapshot.state)))


def shuffled(arrays: Any, batch: int, seed: int, *, axis: int = 0) -> Callable[[int], Any]:
    """Makes `step -> batch`, so that a run resumes anywhere: every epoch in another order, what is left over dropped.

    >>> batches = shuffled(np.arange(7), batch=3, seed=0)
    >>> batches(0).tolist(), batches(1).tolist(), batches(2).tolist()
    ([2, 4, 3], [6, 5, 0], [1, 3, 6])
    """
    count = jax.tree.leaves(arrays)[0].shape[axis]
    batch = min(batch, count)
    per_epoch = count // batch

    @functools.lru_cache(maxsize=2)  # one permutation per epoch, not one per update
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng((seed, epoch)).permutation(count)

    def batches(step: int) -> Any:
        epoch, place = divmod(int(step), per_epoch)
        rows = order(epoch)[place * batch : (place + 1) * batch]
        return jax.tree.map(lambda leaf: np.take(leaf, rows, axis=axis), arrays)

    return batches


def in_chunks(function: Callable, *arrays: Any, size: int = 256, axis: int = 0, out_axis: int = 0) -> Any:
    """Applies a compiled function to N examples, so many at a time, with the same shapes in every call.

    Arguments and results are pytrees of arrays with the examples along an axis; a single example remains one.

    >>> in_chunks(lambda xs: (xs + 1, xs.sum(axis=1)), np.arange(10).reshape(5, 2), size=2)[1].tolist()
    [1, 5, 9, 13, 17]
    """
    count = jax.tree.leaves(arrays)[0].shape[axis]
    size, found = size if count > 1 else 1, []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)
        found.append(jax.device_get(function(*jax.tree.map(lambda leaf: np.take(leaf, rows, axis), arrays))))  # noqa: B023
    return jax.tree.map(lambda *parts: np.concatenate(parts, out_axis).take(np.arange(count), out_axis), *found)
