"""All steps of a decoder at once, given the truth."""

from typing import Any

import jax.numpy as jnp

from rnnjax._types import Array, Cell, Params
from rnnjax.recurrence import unroll
from rnnjax.seq2seq._decoder import Decoder, DecoderCarry, DecoderOutput


def teacher_force(
    decoder: Decoder,
    params: Params,
    memory: Any,
    xs: Array,
    carry: DecoderCarry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    remat: Any = None,
    chunk: int | None = None,
) -> tuple[DecoderCarry, DecoderOutput]:
    """Runs all steps of a decoder that reads the truth: x_t is the embedding of the true token t - 1.

    Reference: Williams & Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks".

    Args:
      decoder: a `Decoder`.
      params: its parameters.
      memory: of the source, with the batch axes of xs.
      xs: `[T, B, F]`, of which the first is the embedding of bos. For a decoder without inputs, `[T, B, 0]`.
      carry: to start from; `decoder.initial_carry(memory)` if None.
      lengths: integers `[B]`, number of targets of each row, eos included; or None.
      mask: booleans `[T, B]` instead of lengths; or None.
      remat: as in `unroll`.
      chunk: as in `unroll`.

    Returns:
      `(carry, DecoderOutput)`, each field stacked, `[T, B, ...]`, zero beyond the lengths: project `output` for all
      steps at once; `weights` are the alignment.

    Raises:
      ValueError, TypeError: as `unroll`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.dot_attention()
      >>> decoder = rnnjax.attention_decoder(rnnjax.gru(3, 5), attention, query="current")
      >>> params = decoder.init(jax.random.key(0))
      >>> memory = attention.remember(params.attention, jnp.ones((4, 2, 5)))
      >>> _, out = rnnjax.teacher_force(decoder, params, memory, jnp.ones((6, 2, 3)))
      >>> out.output.shape, out.weights.shape
      ((6, 2, 10), (6, 2, 4))
    """
    xs = jnp.asarray(xs)
    if carry is None:
        carry = decoder.initial_carry(memory, None, xs.shape[1:-1], xs.dtype)

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> DecoderCarry:
        return carry  # of this batch, whatever its cell starts from

    def apply(params: Params, carry: DecoderCarry, x: Array) -> tuple[DecoderCarry, DecoderOutput]:
        return decoder.step(params, carry, x, memory)

    as_cell = Cell(decoder.init, initial_carry, apply)
    return unroll(as_cell, params, xs, carry, lengths=lengths, mask=mask, remat=remat, chunk=chunk)
