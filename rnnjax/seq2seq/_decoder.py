"""What a decoder is: it writes a sequence, one step at a time, given a source.

Decoders work on vectors, not on tokens: `x` is the embedding of the last token, and logits are projected from
`output`. Closed over parameters and memory, a step becomes a step function for `beam_search`, `greedy` and `sample`;
`teacher_force` runs all steps at once, given the truth.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from rnnjax._types import Array, Carry, Key, Params, serializable
from rnnjax.attention import Alignment


@serializable
class DecoderCarry(NamedTuple):
    """What the next step of a decoder needs to know.

    Attributes:
      cell: the carry of its cell.
      alignment: the `Alignment` of the steps so far, `[..., S]`; None without attention.
      feed: the attentional vector of the step before, `[..., O]`; None without input feeding.
    """

    cell: Carry
    alignment: Alignment | None
    feed: Array | None


@serializable
class DecoderOutput(NamedTuple):
    """The output of one step of a decoder.

    Attributes:
      output: what logits are projected from, `[..., O]`.
      context: what attention read, `[..., M]`; None without attention.
      weights: where attention looked, `[..., S]`; None without attention.
    """

    output: Array
    context: Array | None
    weights: Array | None


class Decoder(NamedTuple):
    """A network that writes a sequence, one step at a time.

    Attributes:
      init: `(key) -> params`.
      initial_carry: `(memory, cell_carry=None, batch_shape=None, dtype=float32) -> DecoderCarry`; the cell starts from
        cell_carry, or from its initial carry.
      step: `(params, carry, x [..., F], memory) -> (carry, DecoderOutput)`; x is None for a decoder that reads
        nothing but the memory.
    """

    init: Callable[[Key], Params]
    initial_carry: Callable[..., DecoderCarry]
    step: Callable[[Params, DecoderCarry, Any, Any], tuple[DecoderCarry, DecoderOutput]]


def join(*parts: Array | None) -> Array:
    """Joins the parts `[..., n]` that are not None along the last axis."""
    present = [part for part in parts if part is not None]
    if not present:
        raise ValueError("decoder: expected x, or a memory that is read at every step, got neither.")
    return present[0] if len(present) == 1 else jnp.concatenate(present, axis=-1)
