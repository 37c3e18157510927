"""The five types as five functions that differ in what they do with two calls of `rnnjax.unroll`.

    carry, hs = rnnjax.unroll(cell, params, xs, carry)        the last carry, and the output of every step

Each takes inputs `[S, B, F]` and what was written before each step, one-hot `[T, B, V]`, and gives logits `[T, B, V]`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

import rnnjax

MARK = 0  # the symbol that begins and ends what is written


class Cells(NamedTuple):
    """The cells of a model."""

    reader: rnnjax.Cell
    writer: rnnjax.Cell  # of the types that write


class Params(NamedTuple):
    """Parameters of a model."""

    reader: NamedTuple
    writer: NamedTuple
    w_y: jax.Array  # [H, V]
    b_y: jax.Array  # [V]


def init(cells: Cells, key: jax.Array) -> Params:
    """Draws parameters; the writer reads what it writes, so its inputs are as many as the symbols, V."""
    keys, size = jax.random.split(key, 3), cells.writer.input_size
    w_y = jax.nn.initializers.glorot_uniform()(keys[2], (cells.writer.output_size, size))
    return Params(cells.reader.init(keys[0]), cells.writer.init(keys[1]), w_y, jnp.zeros(size))


def logits(params: Params, hs: jax.Array) -> jax.Array:
    """Logits `[..., V]` of outputs `[..., H]`."""
    found = jnp.matmul(hs, params.w_y)
    return found + jnp.broadcast_to(params.b_y, found.shape)


def one_to_one(cells, params, inputs, before):
    """One vector in, one answer out: a single step."""
    _, hs = rnnjax.unroll(cells.reader, params.reader, inputs)
    return logits(params, hs)


def one_to_many(cells, params, inputs, before):
    """One vector in, a sequence out: the carry after a single step is where the writer begins."""
    carry, _ = rnnjax.unroll(cells.reader, params.reader, inputs)
    _, hs = rnnjax.unroll(cells.writer, params.writer, before, carry)
    return logits(params, hs)


def many_to_one(cells, params, inputs, before):
    """A sequence in, one answer out: only the last output counts."""
    _, hs = rnnjax.unroll(cells.reader, params.reader, inputs)
    return logits(params, hs[-1:])


def aligned(cells, params, inputs, before):
    """A sequence in, an answer at each of its steps: every output counts."""
    _, hs = rnnjax.unroll(cells.reader, params.reader, inputs)
    return logits(params, hs)


def encoder_decoder(cells, params, inputs, before):
    """A sequence in, another out once all is read: the last carry is where the writer begins."""
    carry, _ = rnnjax.unroll(cells.reader, params.reader, inputs)
    _, hs = rnnjax.unroll(cells.writer, params.writer, before, carry)
    return logits(params, hs)


def write(cells, params, inputs, steps):
    """Writes answers `[T, B]` of so many steps, where nobody says what comes before: the most probable symbols."""
    carry, _ = rnnjax.unroll(cells.reader, params.reader, inputs)

    def step(carry, symbol):
        carry, h = cells.writer.apply(params.writer, carry, jax.nn.one_hot(symbol, cells.writer.input_size))
        return carry, logits(params, h)

    return rnnjax.greedy(step, carry, bos_id=MARK, eos_id=MARK, pad_id=MARK, max_steps=steps).tokens.T


WRITERS: tuple[Callable, ...] = (one_to_many, encoder_decoder)


def remembering(cell: rnnjax.Cell, share: float | jax.Array) -> rnnjax.Cell:
    """Makes the cell that carries on this share of its carry: 1 is the cell itself, 0 one without recurrence."""

    def apply(params, carry, x):
        return cell.apply(params, jax.tree.map(lambda leaf: share * leaf, carry), x)

    return cell._replace(apply=apply)
