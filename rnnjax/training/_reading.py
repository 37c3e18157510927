"""Reading checkpoints: which one, whether it is whole, and only the leaves that are asked for."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from rnnjax.training._leaves import describe, digest, from_numpy, like_numpy, named_leaves

Which = int | Literal["best"] | None
FORMAT = 2


class Restored(NamedTuple):
    """What was read back.

    Attributes:
      step: of the checkpoint.
      tree: the pytree, like the template, arrays of any shapes `[...]`.
    """

    step: int
    tree: Any


class About(NamedTuple):
    """What a checkpoint says of itself.

    Attributes:
      config: of the run.
      leaves: shape, dtype and SHA-256 of every leaf, by name.
      held_out_loss: at that step, or None if it was not evaluated then.
      format: of the checkpoint.
    """

    config: dict[str, Any]
    leaves: dict[str, list[Any]]
    held_out_loss: float | None
    format: int = FORMAT


class Wanted(NamedTuple):
    """What to read of a checkpoint.

    Attributes:
      template: a pytree of arrays `[...]`, or of `jax.ShapeDtypeStruct`.
      prefix: of the names that the template stands for, such as "state.params"; all of them if it is empty.
    """

    template: Any
    prefix: str = ""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Leaves out what orbax logs meanwhile: tracebacks of errors that are told in a sentence."""
    logger = logging.getLogger("absl")

    def others(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


def steps_in(folder: Path) -> list[int]:
    """Returns the steps of the complete checkpoints of a folder, ascending."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdecimal() and path.is_dir())


def sealed(about: About) -> dict[str, Any]:
    """Returns the description as JSON, with a SHA-256 of its own."""
    return {**about._asdict(), "seal": _seal(about._asdict())}


def read_about(path: Path) -> About:
    """Reads the description of the checkpoint in a folder; raises whatever shows that it is damaged."""
    import orbax.checkpoint as ocp  # import time that only those who save should pay

    with quiet(), ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        plain = reader.restore(path / "about")
    if plain.pop("seal") != _seal(plain):
        raise OSError("its description does not have the SHA-256 that was written with it")
    if plain.get("format") != FORMAT:
        return About(plain["config"], {}, None, format=1)
    return About(**plain)


def read_arrays(path: Path, about: About, wanted: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Reads the arrays of these names, and no others; raises whatever shows that they are damaged."""
    import orbax.checkpoint as ocp

    item = {name: like_numpy(leaf) for name, leaf in wanted.items()}
    with quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        arrays = reader.restore(path / "tree", args=ocp.args.PyTreeRestore(item=item, partial_restore=True))
    for name, array in arrays.items():
        if digest(array) != about.leaves[name][-1]:
            raise OSError(f"its array {name} does not have the SHA-256 that was written with it")
    return arrays


def restore_from(
    folder: Path,
    which: Which,
    *,
    wanted_of: Callable[[About], Wanted],
    check: Callable[[About, Path], None],
    set_aside: Callable[[Path, Exception], None],
) -> Restored | None:
    """Restores one of the checkpoints of a folder, or returns None if it has none.

    Args:
      folder: of the checkpoints.
      which: a step, "best", or None for the newest that can be read.
      wanted_of: what to read of a checkpoint.
      check: `(about, path)`, raises for a checkpoint that must not be read.
      set_aside: `(path, error)`, what to do with a damaged one before the next is tried.

    Raises:
      ValueError: no such step, no readable checkpoint, none with a held-out loss, or leaves that are not those of the
        template.
    """
    steps, damaged = steps_in(folder), []
    check_which(folder, steps, which)

    def skip(path: Path, error: Exception) -> None:
        damaged.append(path)
        set_aside(path, error)

    for step, about in _most_wanted_first(folder, steps, which, skip):
        path = folder / str(step)
        check_format(about, path)
        check(about, path)
        template, prefix = wanted_of(about)
        wanted = named_leaves(template, prefix)
        check_leaves(wanted, prefix, about, path)
        try:
            arrays = read_arrays(path, about, wanted)
        except Exception as error:  # whatever orbax makes of a damaged file
            skip(path, error)
            continue
        leaves = [from_numpy(leaf, arrays[name]) for name, leaf in wanted.items()]
        return Restored(step, jax.tree.unflatten(jax.tree.structure(template), leaves))
    if damaged:
        count = f"{len(damaged)} damaged one{'s' if len(damaged) > 1 else ''}"
        raise ValueError(
            f"expected a readable checkpoint in {folder}, got {count}; take another step, or start again in another "
            "folder."
        )
    if steps and which == "best":
        raise ValueError(
            f"expected a checkpoint with a held_out_loss in {folder}, got none with it; evaluate whenever you save."
        )
    return None


def _most_wanted_first(
    folder: Path, steps: list[int], which: Which, skip: Callable[[Path, Exception], None]
) -> Iterator[tuple[int, About]]:
    """The checkpoints that are asked for, those whose description can be read."""

    def described(chosen: list[int]) -> Iterator[tuple[int, About]]:
        for step in chosen:
            try:
                yield step, read_about(folder / str(step))
            except Exception as error:  # whatever orbax makes of a damaged file
                skip(folder / str(step), error)

    if which != "best":
        yield from described(steps[::-1] if which is None else [which])
        return
    losses = [(about.held_out_loss, step, about) for step, about in described(steps) if about.held_out_loss is not None]
    for _, step, about in sorted(losses, key=lambda entry: entry[:2]):
        yield step, about


# ---- what is refused -----------------------------------------------------------------------------------------


def check_which(folder: Path, steps: list[int], which: Any) -> None:
    """Raises ValueError unless this is None, "best", or one of the steps."""
    if which is None or which == "best":
        return
    if which not in steps:
        there = ", ".join(map(str, steps)) or "of which there are none"
        raise ValueError(f"expected step to be None, 'best', or one in {folder} ({there}), got {which!r}.")


def check_format(about: About, path: Path) -> None:
    """Raises ValueError for a checkpoint of an older version."""
    if about.format != FORMAT:
        raise ValueError(
            f"expected the checkpoint {path} to be of this version of rnnjax, got one of an older version; start a new "
            "run in another folder."
        )


def check_config(expected: Mapping[str, Any], about: About, path: Path, ignore: tuple[str, ...] = ()) -> None:
    """Raises ValueError that names the entries in which two configurations differ."""
    got = about.config
    names = [n for n in sorted({*expected, *got}) if n not in ignore and expected.get(n) != got.get(n)]
    if names:
        differences = ", ".join(f"{n}={expected.get(n)!r} but {got.get(n)!r} there" for n in names)
        raise ValueError(
            f"expected the checkpoint {path} to be of this configuration, got another one ({differences}); resume "
            "with the options it was made with, or start a new run in another folder."
        )


def check_leaves(wanted: Mapping[str, Any], prefix: str, about: About, path: Path) -> None:
    """Raises ValueError that names leaves in which a template and a checkpoint differ."""
    here = {name: describe(leaf) for name, leaf in wanted.items()}
    there = {
        name: entry[:2] for name, entry in about.leaves.items() if f"{name}.".startswith(f"{prefix}." * bool(prefix))
    }
    names = [name for name in sorted({*here, *there}) if here.get(name) != there.get(name)]
    if names:
        shown = "; ".join(f"{name} is {_shown(here.get(name))}, {_shown(there.get(name))} there" for name in names[:3])
        more = f"; and {len(names) - 3} more" if len(names) > 3 else ""
        raise ValueError(
            f"expected the checkpoint {path} to have the leaves of the template, got others ({shown}{more}); make the "
            "template with the options of that run."
        )


def _shown(entry: list[Any] | None) -> str:
    return "missing" if entry is None else f"{entry[1]}{entry[0]}"


def _seal(plain: Mapping[str, Any]) -> str:
    """Computes the SHA-256 of what a checkpoint says of itself."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
