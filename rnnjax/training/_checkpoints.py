"""Checkpoints over orbax: atomic, rotated, checked against corruption and against another configuration."""

import json
import math
import os
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from rnnjax.training import _reading as reading
from rnnjax.training._leaves import describe, digest, named_leaves, to_numpy
from rnnjax.training._processes import wait
from rnnjax.training._reading import About, Restored, Wanted, Which


class Checkpoints:
    """A folder of checkpoints, one sub-folder per step, whose arrays have readable names: `state.params.w_x`.

    A checkpoint is written beside the others and renamed when it is complete, so that a run killed at any moment leaves
    those before it whole. Each array carries its SHA-256: a damaged checkpoint is named in a warning, moved aside, and
    skipped for the one before it. A folder that holds checkpoints of another configuration is never written to.

    Args:
      folder: made if missing.
      config: a JSON-able description of the run. Checkpoints of another one are refused.
      keep: how many to keep: the newest, and besides them the one with the lowest held-out loss.

    Raises:
      OSError: the folder cannot be made or written.
      ValueError: keep is not positive.

    Examples:
      >>> import tempfile, jax.numpy as jnp
      >>> from rnnjax.training import Checkpoints
      >>> with Checkpoints(tempfile.mkdtemp(), config={"hidden": 3}, keep=2) as checkpoints:
      ...     for step, loss in ((10, 0.5), (20, 0.7), (30, 0.8), (40, 0.6)):
      ...         checkpoints.save(step, {"w": jnp.full(3, step)}, held_out_loss=loss)
      ...     newest, best = (checkpoints.restore({"w": jnp.zeros(3, int)}, step=step) for step in (None, "best"))
      ...     checkpoints.steps(), newest.step, best.tree["w"].tolist()
      ([10, 30, 40], 40, [10, 10, 10])
    """

    def __init__(self, folder: str | os.PathLike, *, config: Mapping[str, Any] | None = None, keep: int = 3):
        import orbax.checkpoint as ocp  # import time that only those who save should pay

        if keep < 1:
            raise ValueError(f"Checkpoints: expected keep to be positive, got {keep}.")
        self.folder = Path(folder).absolute()
        self.config = json.loads(json.dumps(config or {}))
        self._keep, self._ours = keep, False
        self._ignored: tuple[str, ...] = ()
        self._losses: dict[int, float] = {}  # infinite where none is known
        make_folder(self.folder)
        self._warn_of_half_written()
        options = ocp.CheckpointManagerOptions(enable_async_checkpointing=False, cleanup_tmp_directories=True)
        handlers = {"tree": ocp.StandardCheckpointHandler(), "about": ocp.JsonCheckpointHandler()}
        self._args = ocp.args
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_names=tuple(handlers), item_handlers=handlers
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, error: Any, *_: Any) -> None:
        if error is None or not issubclass(error, ConnectionError):  # orbax would wait for the process that is gone
            self.close()

    def close(self) -> None:
        """Lets go of the folder."""
        self._manager.close()

    def steps(self) -> list[int]:
        """Returns the steps of the complete checkpoints, ascending."""
        return reading.steps_in(self.folder)

    def save(self, step: int, tree: Any, *, held_out_loss: float | None = None) -> None:
        """Writes a pytree as the checkpoint of this step; one already there stays.

        Args:
          step: its number.
          tree: pytree of arrays `[...]` and random keys; of a `TrainState`, `restore_params` reads params alone.
          held_out_loss: of these parameters, which `restore(..., step="best")` goes by; None if it is not known.

        Raises:
          OSError: it cannot be written, for one because the disk is full; those before it stay.
          ValueError: the folder holds checkpoints of another configuration.
        """
        if step in self.steps():
            return
        self._refuse_another_run()
        named = named_leaves(tree)
        arrays = {name: to_numpy(leaf) for name, leaf in named.items()}
        leaves = {name: [*describe(leaf), digest(arrays[name])] for name, leaf in named.items()}
        loss = None if held_out_loss is None or not math.isfinite(held_out_loss) else float(held_out_loss)
        about = About(self.config, leaves, loss)
        items = self._args.Composite(
            tree=self._args.StandardSave(arrays), about=self._args.JsonSave(reading.sealed(about))
        )
        try:
            with reading.quiet():
                self._manager.save(step, args=items, force=True)
        except Exception as error:  # whatever orbax makes of a full disk
            for half in self.folder.glob(f"{step}.*tmp*"):
                shutil.rmtree(half, ignore_errors=True)
            raise OSError(
                f"expected to write the checkpoint of step {step} into {self.folder}, got an error "
                f"({_reason(error)}); those before it are whole: make room, or pass another folder, and resume."
            ) from None
        self._losses[step] = math.inf if loss is None else loss
        self._rotate()

    def restore(self, template: Any, *, step: Which = None, ignore: tuple[str, ...] = ()) -> Restored | None:
        """Reads a checkpoint, or returns None if there is none.

        Args:
          template: a pytree like all that was saved, arrays `[...]` of the same shapes and dtypes, or
            `jax.eval_shape` of what makes it.
          step: which one: None for the newest that can be read, a step, or "best" for the lowest held-out loss.
          ignore: entries of the configuration that may differ.

        Returns:
          `Restored(step, tree)`, or None.

        Raises:
          ValueError: the checkpoint is of another configuration or has other leaves, there is none of that step or
            with a held-out loss, or none is readable.
        """
        return self._restore(lambda about: Wanted(template), step, ignore)

    def _restore(self, wanted_of: Callable[[About], Wanted], step: Which, ignore: tuple[str, ...]) -> Restored | None:
        def check(about: About, path: Path) -> None:
            reading.check_config(self.config, about, path, ignore)
            self._ignored = tuple({*self._ignored, *ignore})

        return reading.restore_from(self.folder, step, wanted_of=wanted_of, check=check, set_aside=self._set_aside)

    def _refuse_another_run(self) -> None:
        """Raises ValueError if the newest readable checkpoint is of another configuration."""
        for step in [] if self._ours else reversed(self.steps()):
            path = self.folder / str(step)
            try:
                about = reading.read_about(path)
            except Exception:  # a damaged one, which whoever reads it is told of
                continue
            reading.check_format(about, path)
            reading.check_config(self.config, about, path, self._ignored)
            break
        self._ours = True

    def _rotate(self) -> None:
        """Deletes all but the newest and the best."""
        steps = self.steps()
        for step in steps:
            if step not in self._losses:
                try:
                    loss = reading.read_about(self.folder / str(step)).held_out_loss
                except Exception:  # a damaged one, which is not the best
                    loss = None
                self._losses[step] = math.inf if loss is None else loss
        best = min(steps, key=self._losses.__getitem__)
        for step in steps[: -self._keep]:
            if step != best or math.isinf(self._losses[best]):
                self._manager.delete(step)
                del self._losses[step]

    def _set_aside(self, path: Path, error: Exception) -> None:
        """Names a damaged checkpoint and moves it out of the way of the one that will be written again."""
        aside = path.with_name(f"damaged-{path.name}")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"damaged-{path.name}-{number}")
        wait("damage seen by all")
        if jax.process_index() == 0:
            os.replace(path, aside)
        wait("damage set aside")
        self._losses.pop(int(path.name), None)
        self._manager.reload()
        warn_of_damage(path, error, f" and kept as {aside.name}")

    def _warn_of_half_written(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and ".orbax-checkpoint-tmp" in path.name:
                warnings.warn(
                    f"the checkpoint {path} is half-written; it is skipped for the one before it.",
                    RuntimeWarning,
                    stacklevel=3,
                )


def warn_of_damage(path: Path, error: Exception, and_kept: str = "") -> None:
    """Warns of a damaged checkpoint that is skipped."""
    warnings.warn(
        f"the checkpoint {path} is damaged ({_reason(error)}); it is skipped for the one before it{and_kept}.",
        RuntimeWarning,
        stacklevel=6,
    )


def make_folder(folder: Path) -> None:
    """Makes a folder and checks that it can be written.

    Args:
      folder: to make, with those above it.

    Raises:
      OSError: it cannot be made or written; says what to do.

    Examples:
      >>> import pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp(), "runs", "first")
      >>> make_folder(folder)
      >>> folder.is_dir()
      True
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"expected a folder that can be written, got {folder} ({error.strerror}); pass another one."
        ) from None


def _reason(error: Exception) -> str:
    """Says in a few words what an error is about: the system's, where it names one."""
    text = str(error).strip()
    code = re.search(r"os_error_code='(\d+)'", text)  # of tensorstore
    if code:
        return os.strerror(int(code[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return text.splitlines()[0][:200] if text else type(error).__name__
