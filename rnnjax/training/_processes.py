"""What several processes have to agree on: who writes, and what it means that one of them is gone."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import multihost_utils


@contextlib.contextmanager
def explained(checkpoints: Any) -> Iterator[None]:
    """Says in one sentence what an error of the runtime means where several processes work together."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        reason = str(error).strip().splitlines()[0][:300]
        rest = "start again"
        if checkpoints is not None and (steps := checkpoints.steps()):
            rest = f"resume from step {steps[-1]} in {checkpoints.folder}, with as many processes as there are"
        raise ConnectionError(
            f"fit: expected all {jax.process_count()} processes to do every update, got an error of one of them or of "
            f"the connection ({reason}); end those that still run, and {rest}."
        ) from None


def wait(what: str) -> None:
    """Waits until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)
