"""Files of programs: an `.npz`, which NumPy reads wherever JAX is installed."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from rnnjax.export._program import Program, make_program


def save(path: str | os.PathLike, program: Program) -> None:
    """Writes a program, its parameters, its first carry and its metadata as one file, atomically.

    The file is an `.npz`: `program` holds the bytes of `jax.export`, `params/<name>` and `carry/<name>` the arrays, and
    `about` the rest as JSON. An array of a dtype that NumPy does not have, such as bfloat16, is there as raw bytes, to
    be viewed as the dtype that the program takes.

    Args:
      path: of the file, by custom `<name>.npz`.
      program: what `export_step`, `export_sequence`, `export_function` or `load` returned.

    Raises:
      OSError: it cannot be written.
      ImportError: flatbuffers, by which JAX serialises programs, is not installed.
      TypeError: metadata that JSON does not hold.

    Examples:
      >>> import tempfile, jax, jax.numpy as jnp, numpy as np, rnnjax
      >>> cell = rnnjax.gru(3, 5)
      >>> program = rnnjax.export.export_step(cell, cell.init(jax.random.key(0)), metadata={"task": "echo"})
      >>> path = tempfile.mkdtemp() + "/step.npz"
      >>> rnnjax.export.save(path, program)
      >>> sorted(np.load(path))
      ['about', 'carry/h', 'params/b', 'params/b_h', 'params/w_h', 'params/w_x', 'program']
    """
    path = Path(path)
    about = {"jax": jax.__version__, "has_carry": program.first_carry is not None, "metadata": program.metadata}
    arrays: dict[str, Any] = {
        "about": np.array(json.dumps(about)),
        "program": np.frombuffer(program.exported.serialize(), np.uint8),
        **_entries("params", program.params),
        **_entries("carry", program.first_carry),
    }
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
    os.replace(temporary, path)


def load(path: str | os.PathLike) -> Program:
    """Reads a program. Trust its file: a program may run whatever JAX can run.

    Args:
      path: of a file that `save` wrote.

    Returns:
      The `Program`, its parameters on the default device.

    Raises:
      OSError: there is no such file.
      ValueError: it is no such file, or this version of JAX does not read what that version wrote.

    Examples:
      >>> import tempfile, jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(3, 5)
      >>> path = tempfile.mkdtemp() + "/step.npz"
      >>> rnnjax.export.save(path, rnnjax.export.export_step(cell, cell.init(jax.random.key(0))))
      >>> program = rnnjax.export.load(path)
      >>> carry, y = program.call(program.initial_carry(2), jnp.ones((2, 3)))
      >>> y.shape
      (2, 5)
    """
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"load: expected a file that rnnjax.export.save wrote, got {path}, which is no .npz.")
        file.seek(0)
        arrays = dict(np.load(file))
    if not {"about", "program"} <= {*arrays}:
        raise ValueError(f"load: expected a file that rnnjax.export.save wrote, got {path}, an .npz of other arrays.")
    about = json.loads(str(arrays["about"]))
    try:
        exported = export.deserialize(bytearray(arrays["program"].tobytes()))
        if about["jax"] != jax.__version__:
            exported.mlir_module()  # reads the operations too, as the first call would
    except Exception as error:  # whatever JAX makes of another version
        raise ValueError(
            f"load: expected a program that jax {jax.__version__} reads, got one of jax {about['jax']} in {path} "
            f"({str(error).splitlines()[0]}); export it again, from the checkpoint, with a version as old as this one."
        ) from None
    (params, *args), _ = jax.tree.unflatten(exported.in_tree, exported.in_avals)
    carry = _read(arrays, "carry", args[0]) if about["has_carry"] else None
    params = jax.tree.map(jnp.asarray, _read(arrays, "params", params))
    return make_program(exported, params, carry, about["metadata"])


def _entries(prefix: str, tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree, by the names that they have in the file."""
    leaves = {f"{prefix}/{name}": leaf for name, leaf in tree.items()} if isinstance(tree, dict) else {prefix: tree}
    return {name: np.asarray(leaf) for name, leaf in leaves.items() if leaf is not None}


def _read(arrays: dict[str, np.ndarray], prefix: str, like: Any) -> Any:
    """The tree whose arrays are in the file, with the dtypes that the program takes."""
    if isinstance(like, dict):
        return {name: arrays[f"{prefix}/{name}"].view(leaf.dtype) for name, leaf in like.items()}
    return arrays[prefix].view(like.dtype)
