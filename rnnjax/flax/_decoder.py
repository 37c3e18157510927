"""The attention decoder in Flax's layout, time after the batch axes."""

from typing import Any

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Params
from rnnjax.attention import Attention, Memory
from rnnjax.flax._sequences import as_floats, time_first
from rnnjax.seq2seq import Decoder, DecoderCarry, teacher_force


def remember(attention: Attention, params: Params, values: Array, lengths: Array | None, mask: Array | None) -> Memory:
    """The memory of a source `[*batch, S, M]`."""
    values = jnp.moveaxis(as_floats(values), -2, 0)
    return attention.remember(params.attention, values, lengths=lengths, mask=time_first(mask, time_major=False))


def force(
    decoder: Decoder,
    params: Params,
    inputs: Array,
    memory: Memory,
    carry: DecoderCarry | None,
    lengths: Array | None,
    return_carry: bool,
) -> Any:
    """Runs a decoder over given inputs `[*batch, T, F]`: its outputs, or `(carry, outputs)`."""
    xs = jnp.moveaxis(as_floats(inputs), -2, 0)
    carry, out = teacher_force(decoder, params, memory, xs, carry=carry, lengths=lengths)
    out = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2), out)
    return (carry, out) if return_carry else out
