"""A decoder that knows the source as one vector."""

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.seq2seq._decoder import Decoder, DecoderCarry, DecoderOutput, join


def vector_decoder(cell: Cell, *, every_step: bool = False) -> Decoder:
    """Makes a decoder of a cell that knows the source from its first carry, or also from a vector at every step.

        y_t = cell(x_t)              Sutskever 2014; the carry comes from the encoder, or over a `bridge`
        y_t = cell([x_t; memory])    Cho 2014, with every_step

    References: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks"; Cho et al. 2014,
    "Learning phrase representations using RNN encoder-decoder for statistical machine translation".

    Args:
      cell: a `Cell` whose input size is that of x, plus M with every_step.
      every_step: whether the memory, a vector `[..., M]`, is part of every input.

    Returns:
      A `Decoder` whose memory is a vector `[..., M]`, or None; its output is y.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> decoder = rnnjax.seq2seq.vector_decoder(rnnjax.gru(3, 5))
      >>> carry = decoder.initial_carry(None, cell_carry=rnnjax.GRUCarry(jnp.ones((2, 5))))
      >>> carry, out = decoder.step(decoder.init(jax.random.key(0)), carry, jnp.ones((2, 3)), None)
      >>> out.output.shape
      (2, 5)
    """

    def initial_carry(
        memory: Array | None,
        cell_carry: Carry | None = None,
        batch_shape: tuple[int, ...] | None = None,
        dtype=jnp.float32,
    ) -> DecoderCarry:
        if cell_carry is None:
            if batch_shape is None:
                batch_shape = () if memory is None else memory.shape[:-1]
            cell_carry = cell.initial_carry(tuple(batch_shape), dtype)
        return DecoderCarry(cell_carry, None, None)

    def step(
        params: Params, carry: DecoderCarry, x: Array | None, memory: Array | None
    ) -> tuple[DecoderCarry, DecoderOutput]:
        if every_step and memory is None:
            raise ValueError("vector_decoder: expected a memory [..., M] with every_step, got None.")
        if not every_step:
            joined = join(x)
        else:
            axes = jax.tree.leaves(carry.cell)[0].shape[:-1]  # more than those of the memory, where there are beams
            assert memory is not None
            joined = join(x, jnp.broadcast_to(_lift(memory, len(axes)), (*axes, memory.shape[-1])))
        cell_carry, y = cell.apply(params, carry.cell, joined)
        return DecoderCarry(cell_carry, None, None), DecoderOutput(y, None, None)

    return Decoder(cell.init, initial_carry, step)


def _lift(x: Array, axes: int) -> Array:
    """x `[*batch, M]` with as many axes of one before the last as it takes, `[*batch, 1..., M]`."""
    return x.reshape(*x.shape[:-1], *(1,) * (axes - (x.ndim - 1)), x.shape[-1])
