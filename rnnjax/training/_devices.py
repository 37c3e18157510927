"""Pytrees on a mesh of devices, of one process or of several: put there, kept there, and taken back."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rnnjax._types import Array, Cell
from rnnjax.training._leaves import is_key, to_numpy

EVERYWHERE = PartitionSpec()


def shard(tree: Any, mesh: Mesh, specs: Any = EVERYWHERE) -> Any:
    """Puts a pytree on a mesh, each leaf split as its spec says. What takes it then runs on all devices of the mesh.

    A training step needs no change to be data parallel: with its state on every device and its batch split, XLA gives
    each device its share of the work and adds up the gradients once an update (Xu et al. 2021, "GSPMD: general and
    scalable parallelization for ML computation graphs"). Numbers are those of one device, to rounding, noise included.

    Of several processes, each passes its own share of what is split over them, and the same of what is not.

    Args:
      tree: pytree of arrays `[...]` and random keys, of NumPy or JAX.
      mesh: of devices, such as `Mesh(jax.devices(), ("data",))`.
      specs: a `PartitionSpec` for all leaves, or a pytree of them that begins like the tree: `P("data")` splits
        `[B, ...]`, `P(None, "data")` splits `[T, B, ...]`, `P()` splits nothing.

    Returns:
      The tree, of `jax.Array`s.

    Raises:
      ValueError: a leaf has no such axis, or its length is no multiple of the number of devices.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from jax.sharding import Mesh, PartitionSpec as P
      >>> from rnnjax.losses import masked_mean
      >>> from rnnjax.training import init_state, make_train_step, shard
      >>> mesh = Mesh(jax.devices(), ("data",))
      >>> optimizer = optax.sgd(0.25)
      >>> step = make_train_step(lambda params, batch, *, key: masked_mean((params - batch) ** 2), optimizer)
      >>> state = shard(init_state(jnp.zeros(()), optimizer, key=jax.random.key(0)), mesh)
      >>> batch = shard(jnp.full(2 * jax.device_count(), 2.0), mesh, P("data"))
      >>> state, metrics = jax.jit(step)(state, batch)
      >>> float(state.params), float(metrics.loss)
      (1.0, 4.0)
    """
    whole = jax.tree.broadcast(specs, tree, is_leaf=lambda spec: isinstance(spec, PartitionSpec))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf, spec: _put(leaf, _checked(path, leaf, NamedSharding(mesh, spec))), tree, whole
    )


def gather(tree: Any) -> Any:
    """Takes a pytree off its mesh: each process gets all of it on one device, and runs there what takes it.

    Args:
      tree: pytree of arrays `[...]` and random keys; leaves that are on no mesh stay as they are.

    Returns:
      The tree, of `jax.Array`s on one device.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from jax.sharding import Mesh, PartitionSpec as P
      >>> split = shard(jnp.arange(2 * jax.device_count()), Mesh(jax.devices(), ("data",)), P("data"))
      >>> gather(split)[:2].tolist()
      [0, 1]
    """

    def off(leaf: Any) -> Any:
        if not isinstance(getattr(leaf, "sharding", None), NamedSharding):
            return leaf
        array = jnp.asarray(to_numpy(leaf))
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf)) if is_key(leaf) else array

    return jax.tree.map(off, tree)


def _put(leaf: Any, sharding: NamedSharding) -> Array:
    """Puts a leaf, or this process's share of it, on a mesh."""
    if is_key(leaf):
        return jax.random.wrap_key_data(_put(jax.random.key_data(leaf), sharding), impl=jax.random.key_impl(leaf))
    if jax.process_count() == 1 or not getattr(leaf, "is_fully_addressable", True):
        return jax.device_put(leaf, sharding)
    return jax.make_array_from_process_local_data(sharding, np.asarray(leaf))


def _checked(path: Any, leaf: Any, sharding: NamedSharding) -> NamedSharding:
    """Returns the sharding; raises ValueError unless it divides the share of the leaf that this process has."""
    shape, here = np.shape(leaf), sharding.mesh.local_mesh.shape
    for axis, names in enumerate(sharding.spec):
        names = () if names is None else names if isinstance(names, tuple) else (names,)
        devices = math.prod(here[name] for name in names)
        if axis >= len(shape) or shape[axis] % devices:
            name = jax.tree_util.keystr(path, simple=True, separator=".") or "leaf"
            raise ValueError(
                f"shard: expected axis {axis} of {name} to be a multiple of {devices} devices, got shape {shape}; "
                "choose another batch size, mesh or PartitionSpec."
            )
    return sharding


# ---- units ---------------------------------------------------------------------------------------------------


def unit_specs(tree: Any, mesh: Mesh, *, axis: str = "model") -> Any:
    """Says how parameters too large for a device are split: matrices `[..., I, O]` by rows, over their inputs I.

    By rows and not by columns, since the gates lie beside each other in one matrix `[H, 4H]`: eight devices that have
    an eighth of its columns each have no gate in common, and exchange all of them at every step (of an LSTM 17
    transfers a step forward, 6 more backward). Use it with `split_units`.

    Args:
      tree: parameters, or a whole `TrainState`, of arrays `[...]` or `jax.ShapeDtypeStruct`s.
      mesh: of devices.
      axis: of the mesh, over whose devices the rows are split.

    Returns:
      A pytree of `PartitionSpec`s like the tree, for `shard`: `P("model", None)` for matrices whose rows are a multiple
      of the number of devices, `P()` for all else.

    Examples:
      >>> import jax, rnnjax
      >>> from jax.sharding import Mesh, PartitionSpec as P
      >>> params = rnnjax.lstm(8, 16).init(jax.random.key(0))
      >>> specs = unit_specs(params, Mesh(jax.devices(), ("model",)))
      >>> specs.w_h == P("model", None), specs.b == P()
      (True, True)
    """

    def spec_of(leaf: Any) -> PartitionSpec:
        shape = np.shape(leaf)
        if len(shape) < 2 or shape[-2] % mesh.shape[axis]:
            return EVERYWHERE
        return PartitionSpec(*[None] * (len(shape) - 2), axis, None)

    return jax.tree.map(spec_of, tree)


def split_units(cell: Cell, mesh: Mesh, *, axis: str = "model") -> Cell:
    """Makes a cell whose products are split over devices, and whose carry and outputs every one of them has.

    For parameters that `shard` has put where `unit_specs` says: each device multiplies its rows, one sum over the
    devices ends the products of a step, of `[B, 4H]` in an LSTM, and each does the rest for itself. A backward step
    gathers the gradient of h once, `[B, H]`. A GRU also mixes h with its candidate, and XLA sends its gates around for
    that: its values are right, its steps slower.

    Args:
      cell: a `Cell`.
      mesh: of devices.
      axis: of the mesh, over which the parameters are split; others may split the batch.

    Returns:
      A `Cell` of the same values.

    Raises:
      ValueError: the mesh has no such axis.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from jax.sharding import Mesh
      >>> mesh, cell = Mesh(jax.devices(), ("model",)), rnnjax.lstm(8, 16)
      >>> params = cell.init(jax.random.key(0))
      >>> split = shard(params, mesh, unit_specs(params, mesh))
      >>> _, ys = rnnjax.unroll(split_units(cell, mesh), split, jnp.ones((5, 2, 8)))
      >>> bool(jnp.allclose(ys, rnnjax.unroll(cell, params, jnp.ones((5, 2, 8)))[1], atol=1e-6))
      True
    """
    if axis not in mesh.shape:
        raise ValueError(f"split_units: expected axis to be one of {', '.join(mesh.shape)}, got {axis!r}.")

    def whole(leaf: Array) -> Array:
        spec = PartitionSpec(*[PartitionSpec.UNCONSTRAINED] * (leaf.ndim - 1), None) if leaf.ndim else EVERYWHERE
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, spec))

    def apply(params: Any, carry: Any, x: Array) -> tuple[Any, Array]:
        return jax.tree.map(whole, cell.apply(params, carry, x))

    return cell._replace(apply=apply)


# ---- where a state stays -------------------------------------------------------------------------------------


class Places(NamedTuple):
    """Where the leaves of a state on a mesh are; those that are on none are None."""

    shardings: tuple[NamedSharding | None, ...]
    structure: Any

    def of_outcome(self) -> Any:
        """Returns where state and metrics of an update go: the one stays, the others are everywhere."""
        mesh = next(sharding.mesh for sharding in self.shardings if sharding is not None)
        return jax.tree.unflatten(self.structure, self.shardings), NamedSharding(mesh, EVERYWHERE)


def places_of(state: Any) -> Places | None:
    """Returns where a state is, or None if none of it is on a mesh."""
    leaves, structure = jax.tree.flatten(state)
    shardings = [getattr(leaf, "sharding", None) for leaf in leaves]
    named = tuple(sharding if isinstance(sharding, NamedSharding) else None for sharding in shardings)
    return Places(named, structure) if any(named) else None
