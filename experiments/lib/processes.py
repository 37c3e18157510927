"""`--distributed`: several processes, on one machine or on many, that run an experiment together."""

import atexit
import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

HEARTBEAT = 20  # seconds after which a process that does not answer is held to be gone
PATIENCE = 300  # seconds that others wait at the end for the first process, which draws and writes the report
_runs: dict[Path, Path] = {}  # of a process that is not the first: the folder of the run, by the copy it writes into


def join(distributed: str, devices: int) -> None:
    """Joins the other processes, each with so many devices, before anything is computed.

    "auto" asks the cluster (Slurm, Open MPI, mpi4py, Kubernetes, Cloud TPU); "host:port,rank,count" says who runs the
    coordinator, which process this is, and how many there are.
    """
    if devices > 1:
        jax.config.update("jax_num_cpu_devices", devices)
    if not distributed:
        return
    limits = {"heartbeat_timeout_seconds": HEARTBEAT, "shutdown_timeout_seconds": PATIENCE}
    if distributed == "auto":
        jax.distributed.initialize(**limits)
        return
    try:
        address, rank, count = distributed.rsplit(",", 2)
        whole = int(rank), int(count)
    except ValueError:
        whole = 0, 0
    if not 0 <= whole[0] < whole[1]:
        raise ValueError(
            f"expected --distributed to be auto, or host:port,rank,count with rank below count, got {distributed!r}."
        )
    jax.distributed.initialize(address, num_processes=whole[1], process_id=whole[0], **limits)


def is_first() -> bool:
    """Whether this is the process that shows progress and writes the files of the run."""
    return jax.process_index() == 0


def wait(what: str) -> None:
    """Waits until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def agree(text: str) -> str:
    """The text of the first process, which all others get."""
    if jax.process_count() == 1:
        return text
    padded = np.zeros(4096, np.uint8)
    padded[: len(text.encode())] = np.frombuffer(text.encode(), np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(padded)).rstrip(b"\0").decode()


def own_folder(folder: Path) -> Path:
    """Where this process writes: the first into the folder of the run, others into a copy that is not kept."""
    if is_first():
        wait("folder")
        return folder
    copy = Path(tempfile.mkdtemp(prefix="rnnjax-process-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("checkpoints"), dirs_exist_ok=True)
    wait("folder")
    _runs[copy] = folder
    return copy


def shared_folder(folder: Path) -> Path:
    """The folder of the run that a folder of this process stands for: checkpoints and metrics are there."""
    for copy, run in _runs.items():
        if folder.is_relative_to(copy):
            return run / folder.relative_to(copy)
    return folder


@contextlib.contextmanager
def one_voice() -> Iterator[None]:
    """Lets only the first process print and show bars."""
    if is_first():
        yield
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
