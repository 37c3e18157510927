"""Training as the experiments share it: options, batches in random order, and the loop with its files."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import rnnjax
from experiments.lib.optimization import make_optimizer


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of everything that is trained; an experiment adds its own, and changes defaults."""

    steps: int = 1000  # updates
    batch: int = 64  # sequences of an update
    optimizer: str = "adam"  # sgd, adam, rmsprop, adagrad, adadelta, nadam or adamw
    learning_rate: float = 0.003  # at its peak
    schedule: str = "linear"  # decay of the learning rate: constant, linear or cosine
    warmup: int = 0  # updates until the peak
    weight_decay: float = 0.0  # of adamw
    b2: float = 0.999  # memory of the second moment of adam, nadam and adamw
    clip_norm: float = 1.0  # bound of the gradient's norm, 0 for none
    clip_value: float = 0.0  # bound of each element of the gradient, 0 for none
    steps_per_call: int = 10  # updates in one compiled call
    evaluate_every: int = 200  # updates between evaluations on held-out data
    seed: int = 0  # of everything random
    smoke: bool = False  # a few updates of a small model, to see that everything works
    out: str = ""  # folder of the run; runs/<name>/<time> by default


def train(
    options: Options,
    init: Callable[[jax.Array], Any],
    loss_fn: Callable[..., rnnjax.losses.SumCount],
    batches: Callable[[int], Any],
    folder: Path,
    *,
    name: str,
    evaluate: Callable[[rnnjax.training.TrainState], dict[str, float]] | None = None,
    patience: int | None = None,
    unit: str = "value",
) -> rnnjax.training.FitResult:
    """Trains one model through `rnnjax.training.fit`, with a progress bar; metrics and a checkpoint in a folder of its own.

    Args:
      options: of the run.
      init: `key -> params`.
      loss_fn: `(params, batch, *, key) -> SumCount`.
      batches: `step -> batch`, such as `shuffled` gives.
      folder: of the run; the model gets folder/name.
      name: of the model, also what the progress bar is announced with.
      evaluate: `state -> {name: value}` on data that is not trained on.
      patience: evaluations without a lower "held_out_loss" after which to stop; `best_params` of the result are those
        of the lowest. The last evaluation counts as one, too.
      unit: what the counts of the loss count; see `rnnjax.training.fit`.

    Raises:
      ValueError: the loss or its gradient was not finite.
    """
    optimizer = make_optimizer(options)
    key_init, key_run = jax.random.split(jax.random.key(options.seed))
    state = rnnjax.training.init_state(init(key_init), optimizer, key=key_run)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(f"{name}: {size:,} parameters", flush=True)
    with rnnjax.training.Checkpoints(folder / name / "checkpoints", config={"name": name}) as checkpoints:
        result = rnnjax.training.fit(
            rnnjax.training.make_train_step(loss_fn, optimizer),
            state,
            batches,
            steps=options.steps,
            steps_per_call=options.steps_per_call,
            evaluate=evaluate,
            evaluate_every=options.evaluate_every if evaluate else None,
            patience=patience,
            checkpoints=checkpoints,
            metrics_file=folder / name / "metrics.jsonl",
            log_every=max(1, options.steps // 1000),
            unit=unit,
        )
    if result.stopped == "interrupted":  # the rest of an experiment makes no sense without this model
        raise KeyboardInterrupt
    if result.stopped == "non_finite":
        raise ValueError(
            f"expected a finite loss of {name}, got NaN or infinity in update {result.bad_step}; use a smaller "
            "--learning-rate."
        )
    return result


def shuffled(arrays: Any, batch: int, seed: int, *, axis: int = 0) -> Callable[[int], Any]:
    """`step -> batch`: every epoch in another order, what is left at its end dropped.

    Args:
      arrays: pytree of arrays with N examples along the axis.
      batch: B; N if there are fewer.
      seed: the same one gives the same order.
      axis: of the examples, in arrays and batches.
    """
    count = jax.tree.leaves(arrays)[0].shape[axis]
    batch = min(batch, count)
    per_epoch = count // batch

    def batches(step: int) -> Any:
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng((seed, epoch)).permutation(count)
        rows = order[place * batch : (place + 1) * batch]
        return jax.tree.map(lambda leaf: np.take(leaf, rows, axis=axis), arrays)

    return batches
