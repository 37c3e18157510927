"""Checkpoints over orbax: atomic, rotated, checked against corruption and against another configuration."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np


class Restored(NamedTuple):
    """What was read back.

    Attributes:
      step: of the checkpoint.
      tree: the pytree, like the template, arrays of any shapes `[...]`.
    """

    step: int
    tree: Any


class Checkpoints:
    """A folder of checkpoints, one sub-folder a step.

    A checkpoint is written beside and renamed when complete, so that a run killed at any moment leaves the ones
    before it whole. Each carries a SHA-256 of its arrays: one that was damaged is named in a warning, moved
    aside, and skipped for the one before it.

    Args:
      folder: made if missing.
      config: a JSON-able description of the run. A checkpoint of another one is refused.
      keep: how many to keep, the newest.

    Raises:
      OSError: the folder cannot be made or written.

    Example:
      >>> import tempfile, jax.numpy as jnp
      >>> from rnnjax.training import Checkpoints
      >>> with Checkpoints(tempfile.mkdtemp(), config={"hidden": 3}, keep=2) as checkpoints:
      ...     for step in (10, 20, 30):
      ...         checkpoints.save(step, {"w": jnp.full(3, step)})
      ...     restored = checkpoints.restore({"w": jnp.zeros(3, int)})
      ...     checkpoints.steps(), restored.step, restored.tree["w"].tolist()
      ([20, 30], 30, [30, 30, 30])
    """

    def __init__(self, folder: str | os.PathLike, *, config: Mapping[str, Any] | None = None, keep: int = 3):
        import orbax.checkpoint as ocp  # a second of import time that only those who save should pay

        logging.getLogger("absl").setLevel(logging.ERROR)
        self.folder = Path(folder).absolute()
        self.config = json.loads(json.dumps(config or {}))
        make_folder(self.folder)
        self._warn_of_half_written()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False, cleanup_tmp_directories=True
        )
        self._ocp = ocp
        handlers = {"tree": ocp.StandardCheckpointHandler(), "about": ocp.JsonCheckpointHandler()}
        self._manager = ocp.CheckpointManager(
            self.folder, options=options, item_names=tuple(handlers), item_handlers=handlers
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.close()

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, tree: Any) -> None:
        """Writes a pytree of arrays and random keys as the checkpoint of this step; one already there stays."""
        if step in self._manager.all_steps():
            return
        plain = jax.tree.map(_to_numpy, tree)
        about = {"config": self.config, "sha256": _digest(plain), "leaves": _shapes(tree)}
        about["seal"] = _seal(about)
        args = self._ocp.args
        self._manager.save(
            step,
            args=args.Composite(tree=args.StandardSave(_listed(plain)), about=args.JsonSave(about)),
            force=True,
        )

    def restore(self, template: Any, *, ignore: tuple[str, ...] = ()) -> Restored | None:
        """The newest checkpoint that can be read, or None if there is none.

        Args:
          template: a pytree like the one saved; arrays `[...]` of the same shapes and dtypes.
          ignore: entries of the configuration that may differ.

        Returns:
          `Restored(step, tree)`, or None.

        Raises:
          ValueError: the newest readable checkpoint is of another configuration, or no checkpoint is readable.
        """
        plain = jax.tree.map(_to_numpy, template)
        found = self.steps()
        for step in reversed(found):
            path = self.folder / str(step)
            try:
                about = self._read(step, about=self._ocp.args.JsonRestore()).about
                if about.pop("seal") != _seal(about):
                    raise OSError("its description does not have the SHA-256 that was written with it")
                config, digest, leaves = about["config"], about["sha256"], about["leaves"]
            except Exception as error:  # whatever orbax makes of a damaged file
                self._set_aside(path, error)
                continue
            check_config(self.config, config, str(path), ignore)
            wanted = _shapes(template)
            if leaves != wanted:
                raise ValueError(f"expected the checkpoint {path} to have the leaves {wanted}, got {leaves}.")
            try:
                arrays = self._read(step, tree=self._ocp.args.StandardRestore(_listed(plain))).tree
                tree = jax.tree.unflatten(jax.tree.structure(plain), list(arrays.values()))
                if _digest(tree) != digest:
                    raise OSError("its arrays do not have the SHA-256 that was written with them")
            except Exception as error:
                self._set_aside(path, error)
                continue
            return Restored(step, jax.tree.map(_from_numpy, template, tree))
        if found:
            raise ValueError(
                f"Checkpoints: expected a readable checkpoint in {self.folder}, got {len(found)} damaged ones; start "
                "again in another folder."
            )
        return None

    def _read(self, step: int, **args: Any) -> Any:
        return self._manager.restore(step, args=self._ocp.args.Composite(**args))

    def _set_aside(self, path: Path, error: Exception) -> None:
        """Names a damaged checkpoint and moves it out of the way of the one that will be written again."""
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        aside = path.with_name(f"damaged-{path.name}")
        number = 1
        while aside.exists():
            number += 1
            aside = path.with_name(f"damaged-{path.name}-{number}")
        os.replace(path, aside)
        self._manager.reload()
        warnings.warn(
            f"the checkpoint {path} is damaged ({reason}); it is skipped for the one before it and kept as "
            f"{aside.name}.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _warn_of_half_written(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and ".orbax-checkpoint-tmp" in path.name:
                warnings.warn(
                    f"the checkpoint {path} is half-written; it is skipped for the one before it.",
                    RuntimeWarning,
                    stacklevel=3,
                )


def make_folder(folder: Path) -> None:
    """Makes a folder and checks that it can be written; OSError says what to do."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OSError(
            f"expected a folder that can be written, got {folder} ({error.strerror}); pass another one."
        ) from None


def check_config(expected: Mapping[str, Any], got: Mapping[str, Any], where: str, ignore: tuple[str, ...] = ()) -> None:
    """Raises ValueError that names the entries in which two configurations differ."""
    names = [n for n in sorted({*expected, *got}) if n not in ignore and expected.get(n) != got.get(n)]
    if names:
        differences = ", ".join(f"{n}={expected.get(n)!r} but {got.get(n)!r} there" for n in names)
        raise ValueError(
            f"expected the checkpoint {where} to be of this configuration, got another one ({differences}); resume "
            "with the options it was made with, or start a new run."
        )


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _to_numpy(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _from_numpy(template: Any, leaf: np.ndarray) -> Any:
    array = jax.numpy.asarray(leaf)
    return jax.random.wrap_key_data(array, impl=jax.random.key_impl(template)) if _is_key(template) else array


def _listed(tree: Any) -> dict[str, np.ndarray]:
    """The leaves by number: orbax then needs to know nothing of the containers."""
    return {f"{i:05d}": leaf for i, leaf in enumerate(jax.tree.leaves(tree))}


def _shapes(tree: Any) -> dict:
    """Path, shape and dtype of every leaf."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): [list(np.shape(leaf)), str(leaf.dtype)] for path, leaf in paths}


def _seal(about: dict) -> str:
    """SHA-256 of what a checkpoint says of itself."""
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def _digest(tree: Any) -> str:
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()
