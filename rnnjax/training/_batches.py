"""Batches by step: of a function of it, or drawn from an iterable, and stacked for several updates in one call."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

Source = Callable[[int], Any] | Iterable[Any]


class Group(NamedTuple):
    """The batches of one compiled call.

    Attributes:
      size: updates of the call, K.
      batch: a pytree of arrays `[K, ...]`; without a leading axis if there is one update per call.
    """

    size: int
    batch: Any


class Batches:
    """Gives the batches of a run in order, and those of the last calls a second time.

    Args:
      source: a function of the step, or an iterable.
      step: of the first batch that is asked for; the batches of an iterable before it are drawn and dropped.
      steps: of the run.
      steps_per_call: updates in one compiled call.
    """

    def __init__(self, source: Source, *, step: int, steps: int, steps_per_call: int):
        check_source(source)
        self._function = source if callable(source) else None
        self._iterator = None if callable(source) else iter(source)
        self._steps, self._steps_per_call = steps, steps_per_call
        self._kept: dict[int, Any] = {}  # of an iterable, what may be asked for again
        self._drawn = 0
        while self._iterator is not None and self._drawn < step and self._draw() is not None:
            self._kept.clear()

    def group(self, step: int) -> Group | None:
        """Returns the batches of the call that begins at a step, which ends at a multiple of steps_per_call.

        Returns:
          A `Group`, or None if there are no more.

        Raises:
          ValueError: batches of different shapes, which cannot be stacked.
        """
        size = min(self._steps_per_call - step % self._steps_per_call, self._steps - step)
        found: list[Any] = []
        while len(found) < size:
            batch = self._at(step + len(found))
            if batch is None:
                break
            found.append(batch)
        if not found:
            return None
        if self._steps_per_call == 1:
            return Group(1, found[0])
        try:
            return Group(len(found), jax.tree.map(_stacked, *found))
        except ValueError:
            shapes = [jax.tree.map(np.shape, batch) for batch in found]
            other = next((shape for shape in shapes if shape != shapes[0]), shapes[0])
            raise ValueError(
                f"fit: expected batches of one structure and shape for steps_per_call={self._steps_per_call}, got "
                f"{shapes[0]} and {other}; drop what is left at the end of an epoch, or pass steps_per_call=1."
            ) from None

    def again(self, step: int) -> Any:
        """Returns a batch of the last calls."""
        return self._function(step) if self._function is not None else self._kept[step]

    def forget(self, step: int) -> None:
        """Forgets the batches before a step."""
        self._kept = {number: batch for number, batch in self._kept.items() if number >= step}

    def _at(self, step: int) -> Any:
        if self._function is None:
            return self._draw()
        batch = self._function(step)
        if batch is None or isinstance(batch, Iterator):
            raise TypeError(
                f"fit: expected batches(step) to return a batch, a pytree of arrays, got {type(batch).__name__}."
            )
        return batch

    def _draw(self) -> Any:
        """Draws the next batch of the iterable, or None."""
        assert self._iterator is not None
        batch = next(self._iterator, None)
        if batch is not None:
            self._kept[self._drawn] = batch
            self._drawn += 1
        return batch


def _stacked(*leaves: Any) -> Any:
    """Stacks leaves, on their devices and split as they are if they are on a mesh."""
    if not isinstance(leaves[0], jax.Array):
        return np.stack(leaves)
    stacked, sharding = jnp.stack(leaves), leaves[0].sharding
    if isinstance(sharding, NamedSharding):
        return jax.device_put(stacked, NamedSharding(sharding.mesh, PartitionSpec(None, *sharding.spec)))
    return stacked


def check_source(source: Any) -> None:
    """Raises TypeError unless this is a function of the step or an iterable of batches."""
    if inspect.isgeneratorfunction(source):
        raise TypeError(
            "fit: expected batches to be a function of the step or an iterable, got a generator function; call it, and "
            "pass the generator that it returns."
        )
    if callable(source):
        return
    if hasattr(source, "_fields") or isinstance(source, (Mapping, str, bytes)):
        raise TypeError(
            f"fit: expected batches to be a function of the step or an iterable of batches, got one {_name(source)}; "
            "pass a function that returns the batch of a step."
        )
    if not isinstance(source, Iterable):
        raise TypeError(
            f"fit: expected batches to be a function of the step or an iterable of batches, got {_name(source)}."
        )


def _name(source: Any) -> str:
    return type(source).__name__
