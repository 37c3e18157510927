"""The attention decoder as a linen module."""

from collections.abc import Mapping
from typing import Any

from flax import linen
from flax.core import FrozenDict

from rnnjax._types import Array, Cell
from rnnjax.attention import Attention, Memory
from rnnjax.flax._decoder import force, remember
from rnnjax.seq2seq import Decoder, DecoderCarry, DecoderOutput, attention_decoder


class AttentionDecoder(linen.Module):
    """Makes a linen module of a decoder that looks at a memory at every step: `rnnjax.attention_decoder`.

    Attributes:
      cell: a `Cell`, whose inputs are those of the decoder and what the options add to them.
      attention: an `Attention`.
      options: of `rnnjax.attention_decoder`, such as `{"query": "current"}`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.flax.linen import AttentionDecoder
      >>> attention = rnnjax.attention.additive_attention(5, 7, 11)  # h has 5 features, the memory 7
      >>> decoder = AttentionDecoder(rnnjax.gru(3 + 7, 5), attention)
      >>> values, inputs = jnp.ones((2, 4, 7)), jnp.ones((2, 6, 3))  # [B, S, M] and [B, T, F]
      >>> out, variables = decoder.init_with_output(jax.random.key(0), inputs, values)
      >>> out.output.shape, out.weights.shape
      ((2, 6, 12), (2, 6, 4))
      >>> memory = decoder.apply(variables, values, method="remember")
      >>> carry = decoder.initial_carry(memory)
      >>> carry, out = decoder.apply(variables, carry, jnp.ones((2, 3)), memory, method="step")
      >>> out.output.shape
      (2, 12)
    """

    cell: Cell
    attention: Attention
    options: Mapping[str, Any] = FrozenDict()

    def setup(self) -> None:
        """Makes the parameters."""
        self.params = self.param("decoder", self.decoder.init)

    @property
    def decoder(self) -> Decoder:
        """The decoder, of pure functions."""
        return attention_decoder(self.cell, self.attention, **self.options)

    def remember(self, values: Array, *, seq_lengths: Array | None = None, mask: Array | None = None) -> Memory:
        """Makes the memory of a source `[*batch, S, M]`; it has seq_lengths `[*batch]`, or a mask `[*batch, S]`."""
        return remember(self.attention, self.params, values, seq_lengths, mask)

    @linen.nowrap
    def initial_carry(self, memory: Memory, cell_carry: Any = None) -> DecoderCarry:
        """Makes the carry to start from; that of the cell may be given, such as the last one of an encoder."""
        return self.decoder.initial_carry(memory, cell_carry)

    def step(self, carry: DecoderCarry, inputs: Array | None, memory: Memory) -> tuple[DecoderCarry, DecoderOutput]:
        """Steps the decoder: inputs `[*batch, F]`, or None, to a `DecoderOutput` of `[*batch, ...]`."""
        return self.decoder.step(self.params, carry, inputs, memory)

    def __call__(
        self,
        inputs: Array,
        values: Array,
        *,
        initial_carry: DecoderCarry | None = None,
        seq_lengths: Array | None = None,
        value_lengths: Array | None = None,
        return_carry: bool = False,
    ) -> Any:
        """Runs the decoder over given inputs (teacher forcing).

        Args:
          inputs: `[*batch, T, F]`.
          values: the source `[*batch, S, M]`.
          initial_carry: a `DecoderCarry`; `initial_carry(memory)` if None.
          seq_lengths: integers `[*batch]`, of the inputs.
          value_lengths: integers `[*batch]`, of the source.
          return_carry: whether to return `(carry, out)`.

        Returns:
          A `DecoderOutput` of `[*batch, T, ...]`, or `(carry, out)`.
        """
        memory = self.remember(values, seq_lengths=value_lengths)
        return force(self.decoder, self.params, inputs, memory, initial_carry, seq_lengths, return_carry)
