"""The attention decoder as an nnx module."""

from typing import Any

from flax import nnx

from rnnjax._types import Array, Cell
from rnnjax.attention import Attention, Memory
from rnnjax.flax._decoder import force, remember
from rnnjax.flax.nnx._params import nnx_params, unwrap
from rnnjax.seq2seq import DecoderCarry, DecoderOutput, attention_decoder


class AttentionDecoder(nnx.Module):
    """Makes an nnx module of a decoder that looks at a memory at every step: `rnnjax.attention_decoder`.

    Args:
      cell: a `Cell`, whose inputs are those of the decoder and what the options add to them.
      attention: an `Attention`.
      rngs: `nnx.Rngs`.
      **options: of `rnnjax.attention_decoder`.

    Returns:
      A module, called with inputs and a memory for all steps at once; `step` is one step, for decoding.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import AttentionDecoder
      >>> attention = rnnjax.attention.additive_attention(5, 7, 11)  # h has 5 features, the memory 7
      >>> decoder = AttentionDecoder(rnnjax.gru(3 + 7, 5), attention, rngs=nnx.Rngs(0))
      >>> memory = decoder.remember(jnp.ones((2, 4, 7)), seq_lengths=jnp.array([4, 3]))  # [B, S, M]
      >>> out = decoder(jnp.ones((2, 6, 3)), memory)  # [B, T, F]
      >>> out.output.shape, out.weights.shape
      ((2, 6, 12), (2, 6, 4))
      >>> carry, out = decoder.step(decoder.initial_carry(memory), jnp.ones((2, 3)), memory)
      >>> out.output.shape
      (2, 12)
    """

    def __init__(self, cell: Cell, attention: Attention, *, rngs: nnx.Rngs, **options: Any):
        self.attention = attention
        self.decoder = attention_decoder(cell, attention, **options)
        self.params = nnx_params(self.decoder.init(rngs.params()))

    def remember(self, values: Array, *, seq_lengths: Array | None = None, mask: Array | None = None) -> Memory:
        """Makes the memory of a source `[*batch, S, M]`; it has seq_lengths `[*batch]`, or a mask `[*batch, S]`."""
        return remember(self.attention, unwrap(self.params), values, seq_lengths, mask)

    def initial_carry(self, memory: Memory, cell_carry: Any = None) -> DecoderCarry:
        """Makes the carry to start from; that of the cell may be given, such as the last one of an encoder."""
        return self.decoder.initial_carry(memory, cell_carry)

    def step(self, carry: DecoderCarry, inputs: Array | None, memory: Memory) -> tuple[DecoderCarry, DecoderOutput]:
        """Steps the decoder: inputs `[*batch, F]`, or None, to a `DecoderOutput` of `[*batch, ...]`."""
        return self.decoder.step(unwrap(self.params), carry, inputs, memory)

    def __call__(
        self,
        inputs: Array,
        memory: Memory,
        *,
        initial_carry: DecoderCarry | None = None,
        seq_lengths: Array | None = None,
        return_carry: bool = False,
    ) -> Any:
        """Runs the decoder over given inputs (teacher forcing).

        Args:
          inputs: `[*batch, T, F]`.
          memory: what `remember` made.
          initial_carry: a `DecoderCarry`; `initial_carry(memory)` if None.
          seq_lengths: integers `[*batch]`, of the inputs.
          return_carry: whether to return `(carry, out)`.

        Returns:
          A `DecoderOutput` of `[*batch, T, ...]`, or `(carry, out)`.
        """
        return force(self.decoder, unwrap(self.params), inputs, memory, initial_carry, seq_lengths, return_carry)
