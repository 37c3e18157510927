"""An `Attention` made of its energies or of its weights, with the checks at the door."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array, Params
from rnnjax.attention._base import Alignment, Attention, Memory
from rnnjax.attention._common import check_floating, check_last, matmul


def from_energies(where: str, init: Callable, memory_size: int | None, keys: Callable, energies: Callable) -> Attention:
    """The attention of these energies, a = softmax(e); memory_size is None where values are as wide as the query."""

    def remember(params: Params, values: Array, *, lengths: Array | None = None, mask: Array | None = None) -> Memory:
        mask = _source_mask(where, values, memory_size, lengths, mask)
        # Zeroed before they are projected: a NaN times a zero gradient would be NaN.
        values = jnp.moveaxis(masking.select(mask, values, 0), 0, -2)
        return Memory(keys(params, values).astype(values.dtype), values, jnp.moveaxis(mask, 0, -1))

    def weigh(params: Params, query: Array, memory: Memory, alignment: Alignment | None) -> Array:
        scores = energies(params, query, memory, alignment)
        return masking.masked_softmax(scores, jnp.broadcast_to(jnp.expand_dims(memory.mask, -2), scores.shape))

    return from_weights(where, init, remember, weigh, energies, memory_size)


def from_weights(
    where: str,
    init: Callable,
    remember: Callable,
    weigh: Callable,
    energies: Callable | None = None,
    memory_size: int | None = None,
) -> Attention:
    """The attention whose weights are `weigh(params, query [*batch, N, D], memory, alignment) -> [*batch, N, S]`."""

    @jax.named_scope(where)
    def attend(params: Params, query: Array, memory: Memory, alignment: Alignment | None = None) -> tuple[Array, Array]:
        _check_attend(where, query, memory, alignment)
        *batch, size = memory.mask.shape
        lead, values = query.shape[:-1], memory.values
        rows = (*batch, math.prod(lead[len(batch) :]))  # [*batch, N]
        if size == 0:  # there is no maximum of nothing
            weights = jnp.zeros((*rows, 0), values.dtype)
        else:
            if alignment is not None:
                alignment = Alignment(*(leaf.reshape(*rows, *leaf.shape[len(lead) :]) for leaf in alignment))
            query = query.reshape(*rows, query.shape[-1])
            weights = weigh(params, query, memory, alignment).astype(values.dtype)
        context = matmul(weights, values).astype(values.dtype)
        return context.reshape(*lead, values.shape[-1]), weights.reshape(*lead, size)

    return Attention(init, remember, attend, energies, memory_size)


def energies_of(where: str, attention: Attention) -> Callable[..., Array]:
    """The energies that another mechanism builds on; raises ValueError if there are none."""
    if attention.energies is None:
        raise ValueError(
            f"{where}: expected an attention with energies, got one without, as local and monotonic attention are; "
            "wrap the attention inside instead."
        )
    return attention.energies


def _source_mask(where: str, values: Array, memory_size: int | None, lengths: Any, mask: Any) -> Array:
    """The mask `[S, ...]` of the values `[S, ..., M]`, all of it checked."""
    check_floating(where, "values", values, "[S, ..., M]")
    if values.ndim < 2:
        raise ValueError(f"{where}: expected values of shape [S, ..., M], got {values.shape}; positions come first.")
    if memory_size is not None:
        check_last(where, "values", values, memory_size, "as memory_size has it")
    if lengths is None and mask is None:
        return jnp.ones(values.shape[:-1], jnp.bool_)
    if lengths is not None and mask is not None:
        raise ValueError(f"{where}: expected lengths or mask, got both; pass one of them.")
    name, given, kind = ("mask", mask, jnp.bool_) if lengths is None else ("lengths", lengths, jnp.integer)
    given, expected = jnp.asarray(given), values.shape[:-1] if lengths is None else values.shape[1:-1]
    if not jnp.issubdtype(given.dtype, kind):
        wanted = "bool" if lengths is None else "integer"
        raise TypeError(f"{where}: expected {name} of dtype {wanted}, got {given.dtype}; a mask is of bool.")
    if given.shape != expected:
        raise ValueError(
            f"{where}: expected {name} of shape {expected} beside values {values.shape}, got {given.shape}; values are "
            "time-major, [S, ..., M]."
        )
    return given if lengths is None else masking.length_mask(given, values.shape[0])


def _check_attend(where: str, query: Array, memory: Memory, alignment: Alignment | None) -> None:
    """Raises unless query `[*batch, ..., D]` and the leaves of the alignment have the axes of the memory."""
    check_floating(where, "query", query, "[*batch, ..., D]")
    *batch, size = memory.mask.shape
    if query.ndim <= len(batch) or query.shape[: len(batch)] != tuple(batch):
        raise ValueError(
            f"{where}: expected query of shape [{', '.join(map(str, [*batch, '...', 'D']))}], the memory's batch axes "
            f"first, got {query.shape}."
        )
    for name, leaf in {} if alignment is None else alignment._asdict().items():
        expected = query.shape[:-1] if name == "step" else (*query.shape[:-1], size)
        if leaf.shape != expected:
            raise ValueError(
                f"{where}: expected alignment.{name} of shape {expected} beside query {query.shape}, got {leaf.shape}; "
                "make it with initial_alignment(memory, query.shape[:-1])."
            )
