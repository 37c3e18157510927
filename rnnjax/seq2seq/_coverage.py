"""How much attention each position of a source has received: the coverage of `rnnjax.decoding.with_coverage`."""

import jax.numpy as jnp

from rnnjax._types import Array
from rnnjax.attention import Memory
from rnnjax.seq2seq._decoder import DecoderCarry


def source_coverage(carry: DecoderCarry, memory: Memory) -> Array:
    """Returns the attention that each source position has received so far, and 1 at padded positions.

    Args:
      carry: of a decoder with attention, alignment `[..., K, S]`.
      memory: the `Memory`, mask `[..., S]`.

    Returns:
      `[..., K, S]`.

    Raises:
      ValueError: a decoder without attention.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> memory = rnnjax.attention.dot_attention().remember((), jnp.ones((3, 5)), lengths=jnp.array(2))
      >>> decoder = rnnjax.attention_decoder(rnnjax.gru(3, 5), rnnjax.attention.dot_attention(), query="current")
      >>> rnnjax.seq2seq.source_coverage(decoder.initial_carry(memory, batch_shape=(1,)), memory).tolist()
      [[0.0, 0.0, 1.0]]
    """
    if carry.alignment is None:
        raise ValueError("source_coverage: expected the carry of a decoder with attention, got one without alignment.")
    coverage = carry.alignment.coverage
    mask = memory.mask.reshape(memory.mask.shape[:-1] + (1,) * (coverage.ndim - memory.mask.ndim) + coverage.shape[-1:])
    return jnp.where(jnp.broadcast_to(mask, coverage.shape), coverage, jnp.ones_like(coverage))
