"""A decoder that looks at a memory at every step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Initializer, Key, Layers, Params, serializable
from rnnjax.attention import Attention, Memory, initial_alignment, next_alignment
from rnnjax.seq2seq._decoder import Decoder, DecoderCarry, DecoderOutput, join

glorot = jax.nn.initializers.glorot_uniform()


@serializable
class AttentionDecoderParams(NamedTuple):
    """Parameters of `attention_decoder`.

    Attributes:
      cell: of the cell.
      attention: of the mechanism.
      w_c: weights of the attentional vector `[H + M, O]`, or None.
    """

    cell: Params
    attention: Params
    w_c: Array | None


def attention_decoder(
    cell: Cell,
    attention: Attention,
    *,
    query: str = "previous",
    query_of: Callable[[Carry], Array] | None = None,
    attentional_size: int | None = None,
    input_feeding: bool = False,
    w_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Decoder:
    """Makes a decoder of a cell that looks at a memory at every step.

        query="previous":  context_t = attend(h_{t-1});       y_t = cell([x_t; context_t])     Bahdanau 2014
        query="current":   y_t = cell(x_t);                   context_t = attend(y_t)          Luong 2015
        output_t = [y_t; context_t],   or with attentional_size   tanh([y_t; context_t] W_c)   Luong 2015, eq. 5
        input feeding: the cell also reads output_{t-1}, which starts from zeros               Luong 2015, 3.3

    With query="previous", an LSTM, no x and the outputs of a bidirectional encoder as the memory, this is the one-step
    attention and post-attention LSTM known from course notes. The memory may be anything of shape `[S, ..., M]`: with
    the regions of an image it is Show, Attend and Tell (Xu et al. 2015).

    References: Bahdanau, Cho & Bengio 2014, "Neural machine translation by jointly learning to align and translate";
    Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Args:
      cell: a `Cell` whose input size is that of x, plus M with query="previous", plus O with input feeding, in the
        order x, context, feed.
      attention: an `Attention`; its query is h with query="previous", y with "current".
      query: "previous" or "current".
      query_of: what to ask with, given the cell's carry, `carry -> [..., D]`, for "previous"; None for the h of the
        carry, or of its top layer.
      attentional_size: O, features of the attentional vector, or None for output = [y; context]. The cell must
        declare its output size H; M is the memory size of the attention, or of `dot_attention`, which declares none,
        the size of the query.
      input_feeding: whether the cell reads the attentional vector of the step before.
      w_init: initialiser of w_c.
      param_dtype: dtype of w_c.

    Returns:
      A `Decoder`; its memory is that of `attention.remember(params.attention, ys)`, made once per source.

    Raises:
      ValueError: an unknown query, query_of beside "current", an attentional size that is not positive or beside a cell
        without output_size, input feeding without it, or at the first step a carry without h or a context of another
        size.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.additive_attention(5, 7, 11)  # h has 5 features, the memory 7
      >>> decoder = rnnjax.attention_decoder(rnnjax.gru(3 + 7, 5), attention)
      >>> params = decoder.init(jax.random.key(0))
      >>> memory = attention.remember(params.attention, jnp.ones((4, 2, 7)), lengths=jnp.array([4, 3]))
      >>> carry, out = decoder.step(params, decoder.initial_carry(memory), jnp.ones((2, 3)), memory)
      >>> out.output.shape, out.weights.shape, float(out.weights[1, 3])
      ((2, 12), (2, 4), 0.0)
    """
    if query not in ("previous", "current"):
        raise ValueError(f"attention_decoder: expected query to be 'previous' or 'current', got {query!r}.")
    if input_feeding and attentional_size is None:
        raise ValueError("attention_decoder: expected attentional_size beside input_feeding, got None.")
    if query == "current" and query_of is not None:
        raise ValueError("attention_decoder: expected query_of beside query='previous' only; 'current' asks with y.")
    get_query = query_of or _top_h
    joined_size = 0  # H + M
    if attentional_size is not None:
        _check_size(attentional_size)
        joined_size = _output_size(cell) + _memory_size(cell, attention, None if query == "current" else get_query)

    def init(key: Key) -> AttentionDecoderParams:
        key_cell, key_attention, key_w = jax.random.split(key, 3)
        w_c = None if attentional_size is None else w_init(key_w, (joined_size, attentional_size), param_dtype)
        return AttentionDecoderParams(cell.init(key_cell), attention.init(key_attention), w_c)

    def initial_carry(
        memory: Memory, cell_carry: Carry | None = None, batch_shape: tuple[int, ...] | None = None, dtype=jnp.float32
    ) -> DecoderCarry:
        batch_shape = memory.mask.shape[:-1] if batch_shape is None else tuple(batch_shape)
        start = cell.initial_carry(batch_shape, dtype) if cell_carry is None else cell_carry
        feed = jnp.zeros((*batch_shape, attentional_size), dtype) if input_feeding and attentional_size else None
        return DecoderCarry(start, initial_alignment(memory, batch_shape, dtype), feed)

    def step(
        params: AttentionDecoderParams, carry: DecoderCarry, x: Array | None, memory: Memory
    ) -> tuple[DecoderCarry, DecoderOutput]:
        def look(at: Array) -> tuple[Array, Array]:
            return attention.attend(params.attention, at, memory, carry.alignment)

        if query == "previous":
            context, weights = look(get_query(carry.cell))
            cell_carry, y = cell.apply(params.cell, carry.cell, join(x, context, carry.feed))
        else:
            cell_carry, y = cell.apply(params.cell, carry.cell, join(x, carry.feed))
            context, weights = look(y)
        output = join(y, context)
        if params.w_c is not None:
            if output.shape[-1] != params.w_c.shape[0]:
                raise ValueError(
                    f"attention_decoder: expected [y; context] of {params.w_c.shape[0]} features, as cell.output_size "
                    f"and attention.memory_size declare them, got {y.shape[-1]} + {context.shape[-1]}."
                )
            output = jnp.tanh(jnp.matmul(output, params.w_c))
        alignment = None if carry.alignment is None else next_alignment(carry.alignment, weights)
        feed = None if carry.feed is None else output.astype(carry.feed.dtype)
        return DecoderCarry(cell_carry, alignment, feed), DecoderOutput(output, context, weights)

    return Decoder(init, initial_carry, step)


def _top_h(carry: Carry) -> Array:
    """The h of a carry, or of its top layer's."""
    while isinstance(carry, Layers):
        carry = carry.layers[-1]
    if not hasattr(carry, "h"):
        raise ValueError(
            f"attention_decoder: expected a carry with a field h, got {type(carry).__name__}; pass query_of."
        )
    return carry.h


def _check_size(attentional_size: int) -> None:
    if isinstance(attentional_size, bool) or not isinstance(attentional_size, int) or attentional_size < 1:
        raise ValueError(
            f"attention_decoder: expected attentional_size to be a positive int, got {attentional_size!r}."
        )


def _output_size(cell: Cell) -> int:
    """H, as the cell declares it."""
    if cell.output_size is None:
        raise ValueError(
            "attention_decoder: expected a cell with an output_size beside attentional_size, got None; declare it, as "
            "in Cell(init, initial_carry, apply, output_size=H)."
        )
    return cell.output_size


def _memory_size(cell: Cell, attention: Attention, get_query: Callable[[Carry], Array] | None) -> int:
    """M, as the attention declares it; where it declares none, query and memory have the same size."""
    if attention.memory_size is not None:
        return attention.memory_size
    if get_query is None:
        return _output_size(cell)
    return jax.eval_shape(lambda: get_query(cell.initial_carry())).shape[-1]
