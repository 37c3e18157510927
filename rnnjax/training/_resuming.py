"""What a checkpoint of `fit` holds, and how it is read back: to go on, or the parameters alone."""

import os
from pathlib import Path
from typing import NamedTuple

from rnnjax._types import Params
from rnnjax.training._checkpoints import Checkpoints, warn_of_damage
from rnnjax.training._reading import About, Restored, Wanted, Which, restore_from
from rnnjax.training._state import TrainState
from rnnjax.training._stopping import EarlyStop, first_stop


class Progress(NamedTuple):
    """What a checkpoint of `fit` holds.

    Attributes:
      state: the `TrainState`.
      stop: what early stopping remembers.
      best_params: parameters of the lowest held-out loss if there is `patience`, else None.
    """

    state: TrainState
    stop: EarlyStop
    best_params: Params | None


def restore_progress(checkpoints: Checkpoints, state: TrainState, *, step: Which = None) -> Progress | None:
    """Reads a checkpoint of a `fit`; passed to `fit` as `resume`, it is where the run goes on.

    Args:
      checkpoints: where it was saved.
      state: a state of the same run, for its structure and shapes `[...]`.
      step: which one: None for the newest that can be read, a step, or "best" for the lowest held-out loss.

    Returns:
      `Progress(state, stop, best_params)`, or None if there is no checkpoint.

    Raises:
      ValueError: the checkpoint is of another configuration or has other leaves, or there is none of that step.

    Examples:
      >>> import tempfile, jax, jax.numpy as jnp, optax
      >>> from rnnjax.training import init_state
      >>> state = init_state(jnp.zeros(3), optax.sgd(0.1), key=jax.random.key(0))
      >>> with Checkpoints(tempfile.mkdtemp()) as checkpoints:
      ...     restore_progress(checkpoints, state) is None
      True
    """

    def wanted_of(about: About) -> Wanted:
        return Wanted(first_progress(state, with_best=_has(about, "best_params")))

    restored = checkpoints._restore(wanted_of, step, ())
    return None if restored is None else restored.tree


def first_progress(state: TrainState, *, with_best: bool) -> Progress:
    """Returns the progress of a run before its first step."""
    return Progress(state, first_stop(), state.params if with_best else None)


def restore_params(
    source: Checkpoints | str | os.PathLike, template: Params, *, step: Which = None, ignore: tuple[str, ...] = ()
) -> Restored:
    """Reads the parameters of a trained model, and nothing else of its checkpoint.

    Args:
      source: the folder of the checkpoints of a `fit`, or of `TrainState`s that a loop of your own saved, which is only
        read and may be in use; or its `Checkpoints`, whose configuration is then compared.
      template: parameters of the same shapes `[...]` and dtypes, or `jax.eval_shape` of what makes them.
      step: which checkpoint: None for the newest that can be read, of which a run with patience gives its
        `best_params`, as `FitResult` does; a step; or "best" for the lowest held-out loss.
      ignore: entries of the configuration that may differ.

    Returns:
      `Restored(step, tree)`: the step of the checkpoint and the parameters, like the template.

    Raises:
      ValueError: there is no checkpoint, none of that step, or one with other parameters or of another configuration.

    Examples:
      >>> import tempfile, jax, jax.numpy as jnp, optax
      >>> from rnnjax.losses import masked_mean
      >>> from rnnjax.training import Checkpoints, fit, init_state, make_train_step
      >>> step = make_train_step(lambda params, batch, *, key: masked_mean((params - batch) ** 2), optax.sgd(0.25))
      >>> state = init_state(jnp.zeros(()), optax.sgd(0.25), key=jax.random.key(0))
      >>> folder = tempfile.mkdtemp()
      >>> with Checkpoints(folder) as checkpoints:
      ...     _ = fit(step, state, lambda step: jnp.array([2.0]), steps=4, checkpoints=checkpoints, progress=False)
      >>> restored = restore_params(folder, jnp.zeros(()))
      >>> restored.step, float(restored.tree)
      (4, 1.875)
    """

    def wanted_of(about: About) -> Wanted:
        places = ("best_params",) * (step is None) + ("state.params", "params")
        prefix = next((place for place in places if _has(about, place)), None)
        if prefix is None:
            raise ValueError(
                f"restore_params: expected a checkpoint of fit or of a TrainState in {folder}, got one without params; "
                "read it with Checkpoints.restore and a template of all that was saved."
            )
        return Wanted(template, prefix)

    if isinstance(source, Checkpoints):
        folder = source.folder
        restored = source._restore(wanted_of, step, ignore)
    else:
        folder = Path(source).absolute()
        restored = restore_from(
            folder, step, wanted_of=wanted_of, check=lambda about, path: None, set_aside=warn_of_damage
        )
    if restored is None:
        raise ValueError(f"restore_params: expected a checkpoint in {folder}, found none; train first.")
    return restored


def _has(about: About, prefix: str) -> bool:
    """Says whether a checkpoint has leaves below a name."""
    return any(f"{name}.".startswith(f"{prefix}.") for name in about.leaves)
