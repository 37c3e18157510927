"""`--devices`: the state of a run and its batches on a mesh, so that an unchanged step is data parallel."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import rnnjax

Batches = Callable[[int], Any]


def make_mesh(options: Any) -> Mesh | None:
    """The devices of all processes that share a batch, so many of each; None if there is one alone."""
    here = len(jax.local_devices())
    if options.devices > here:
        raise ValueError(f"expected --devices of at most {here}, got {options.devices}.")
    if options.devices == jax.process_count() == 1:
        return None
    by_process = [[d for d in jax.devices() if d.process_index == p] for p in range(jax.process_count())]
    return Mesh([device for devices in by_process for device in devices[: options.devices]], ("data",))


def place(options: Any, state: Any, batches: Batches, batch_axes: Any) -> tuple[Any, Batches]:
    """Puts the state on the devices, and each batch when it is asked for.

    Runs side by side, states with a leading axis `[R, ...]`, are split among the devices if R is a multiple of their
    number; they then need not wait for each other. Else each batch is split along `batch_axes`, an int for all leaves
    or a pytree of them that begins like a batch, None for what has no batch axis; a carry `[B, ...]` is split as well.
    """
    mesh = make_mesh(options)
    if mesh is None:
        return state, batches
    runs = state.step.size
    if runs > 1 and runs % mesh.size == 0:
        return _share(state, mesh, P("data")), lambda step: _share(batches(step), mesh, P())
    if batch_axes is None:
        raise ValueError(f"expected one device, got {mesh.size}: there is nothing to split in this experiment.")
    if options.batch % mesh.size:
        what = f" or the {runs} runs side by side" if runs > 1 else ""
        raise ValueError(f"expected --batch to be a multiple of the {mesh.size} devices{what}, got {options.batch}.")
    specs = jax.tree.map(_spec, batch_axes, is_leaf=lambda axis: axis is None)
    everywhere = rnnjax.training.TrainState(*[P()] * len(state))
    return (
        _share(state, mesh, everywhere._replace(carry=P("data"))),
        lambda step: _share(batches(step), mesh, specs),
    )


def share_runs(options: Any, tree: Any, runs: int) -> Any:
    """Puts what so many runs side by side begin from, arrays `[R, ...]`, on the devices, some runs on each."""
    mesh = make_mesh(options)
    if mesh is None:
        return tree
    if runs % mesh.size:
        raise ValueError(f"expected as many runs side by side as make a multiple of {mesh.size} devices, got {runs}.")
    return _share(tree, mesh, P("data"))


def _spec(axis: int | None) -> P:
    return P() if axis is None else P(*[None] * axis, "data")


def _share(tree: Any, mesh: Mesh, specs: Any) -> Any:
    """Puts on the mesh what every process has whole: each passes its own rows of what is split."""
    whole = jax.tree.broadcast(specs, tree, is_leaf=lambda spec: isinstance(spec, P))
    return rnnjax.training.shard(jax.tree.map(_rows, tree, whole), mesh, specs)


def _rows(leaf: Any, spec: P) -> Any:
    """The rows of this process."""
    count, axes = jax.process_count(), tuple(spec)
    if count == 1 or "data" not in axes:
        return leaf
    before = (slice(None),) * axes.index("data")
    size = leaf.shape[len(before)] // count
    return leaf[(*before, slice(jax.process_index() * size, (jax.process_index() + 1) * size))]
