"""A decoder that looks at a memory at every step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Initializer, Key, Layers, Params, serializable
from rnnjax.attention import Attention, Memory, initial_alignment, next_alignment
from rnnjax.seq2seq._decoder import Decoder, DecoderCarry, DecoderOutput, join

glorot = jax.nn.initializers.glorot_uniform()
PARTS = {"both": "[y; context]", "y": "y", "context": "context"}


@serializable
class AttentionDecoderParams(NamedTuple):
    """Parameters of `attention_decoder`.

    Attributes:
      cell: of the cell.
      attention: of the mechanism.
      w_c: weights of the attentional vector, `[H + M, O]` for both parts, or None.
      b_c: its bias `[O]`, or None.
    """

    cell: Params
    attention: Params
    w_c: Array | None
    b_c: Array | None = None


def attention_decoder(
    cell: Cell,
    attention: Attention,
    *,
    query: str = "previous",
    query_of: Callable[[Carry], Array] | None = None,
    output: str = "both",
    attentional_size: int | None = None,
    attentional_activation: Callable[[Array], Array] = jnp.tanh,
    attentional_bias: bool = False,
    input_feeding: bool = False,
    w_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Decoder:
    """Makes a decoder of a cell that looks at a memory at every step.

        query="previous":  context_t = attend(h_{t-1});       y_t = cell([x_t; context_t])     Bahdanau 2014
        query="current":   y_t = cell(x_t);                   context_t = attend(y_t)          Luong 2015
        output_t = z_t,  or with attentional_size   act(z_t W_c + b_c)                         Luong 2015, eq. 5
        z_t = [y_t; context_t],  or y_t or context_t alone;  act = tanh and no b_c by default
        input feeding: the cell also reads output_{t-1}, which starts from zeros               Luong 2015, 3.3

    With query="previous", an LSTM, no x and the outputs of a bidirectional encoder as the memory, this is the one-step
    attention and post-attention LSTM known from course notes. The memory may be anything of shape `[S, ..., M]`: with
    the regions of an image it is Show, Attend and Tell (Xu et al. 2015). TensorFlow's AttentionWrapper is
    query="current" with input feeding: its attention_layer_size is attentional_size with `jax.nn.identity`, and where
    that is None, output="context".

    References: Bahdanau, Cho & Bengio 2014, "Neural machine translation by jointly learning to align and translate";
    Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Args:
      cell: a `Cell` whose input size is that of x, plus M with query="previous", plus O with input feeding, in the
        order x, context, feed.
      attention: an `Attention`; its query is h with query="previous", y with "current".
      query: "previous" or "current".
      query_of: what to ask with, given the cell's carry, `carry -> [..., D]`, for "previous"; None for the h of the
        carry, or of its top layer.
      output: what z is, "both", "y" or "context".
      attentional_size: O, features of the attentional vector, or None for output = z, whose features then are O.
      attentional_activation: act, such as `jnp.tanh`, or `jax.nn.identity` for a linear layer.
      attentional_bias: whether there is a b_c, which starts from zeros.
      input_feeding: whether the cell reads the output of the step before. With it or an attentional size, the cell must
        declare its output size H; M is the memory size of the attention, or of `dot_attention`, which declares none,
        the size of the query.
      w_init: initialiser of w_c `[Z, O]`, Z the features of z.
      param_dtype: dtype of w_c and b_c.

    Returns:
      A `Decoder`; its memory is that of `attention.remember(params.attention, ys)`, made once per source.

    Raises:
      ValueError: an unknown query or output, query_of beside "current", an attentional size that is not positive, a
        bias or an activation without it, it or input feeding beside a cell without output_size, or at the first step a
        carry without h or a context of another size.
      TypeError: an activation that is not a function.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> attention = rnnjax.attention.additive_attention(5, 7, 11)  # h has 5 features, the memory 7
      >>> decoder = rnnjax.attention_decoder(rnnjax.gru(3 + 7, 5), attention)
      >>> params = decoder.init(jax.random.key(0))
      >>> memory = attention.remember(params.attention, jnp.ones((4, 2, 7)), lengths=jnp.array([4, 3]))
      >>> carry, out = decoder.step(params, decoder.initial_carry(memory), jnp.ones((2, 3)), memory)
      >>> out.output.shape, out.weights.shape, float(out.weights[1, 3])
      ((2, 12), (2, 4), 0.0)

      One that feeds the context alone back to its cell, as AttentionWrapper does:

      >>> feeding = {"query": "current", "output": "context", "input_feeding": True}
      >>> decoder = rnnjax.attention_decoder(rnnjax.gru(3 + 7, 5), attention, **feeding)
      >>> carry, out = decoder.step(params, decoder.initial_carry(memory), jnp.ones((2, 3)), memory)
      >>> carry.feed.shape, bool((carry.feed == out.context).all())
      ((2, 7), True)
    """
    if query not in ("previous", "current"):
        raise ValueError(f"attention_decoder: expected query to be 'previous' or 'current', got {query!r}.")
    if output not in PARTS:
        raise ValueError(f"attention_decoder: expected output to be one of {tuple(PARTS)}, got {output!r}.")
    if query == "current" and query_of is not None:
        raise ValueError("attention_decoder: expected query_of beside query='previous' only; 'current' asks with y.")
    _check_attentional(attentional_size, attentional_activation, attentional_bias)
    get_query = query_of or _top_h
    size = None  # of z, where it must be known
    if attentional_size is not None or input_feeding:
        of_y = 0 if output == "context" else _output_size(cell)
        asks_with = None if query == "current" else get_query
        size = of_y + (0 if output == "y" else _memory_size(cell, attention, asks_with))

    def init(key: Key) -> AttentionDecoderParams:
        key_cell, key_attention, key_w = jax.random.split(key, 3)
        w_c = None if attentional_size is None else w_init(key_w, (size, attentional_size), param_dtype)
        b_c = jnp.zeros((attentional_size,), param_dtype) if attentional_bias else None
        return AttentionDecoderParams(cell.init(key_cell), attention.init(key_attention), w_c, b_c)

    def initial_carry(
        memory: Memory, cell_carry: Carry | None = None, batch_shape: tuple[int, ...] | None = None, dtype=jnp.float32
    ) -> DecoderCarry:
        batch_shape = memory.mask.shape[:-1] if batch_shape is None else tuple(batch_shape)
        start = cell.initial_carry(batch_shape, dtype) if cell_carry is None else cell_carry
        feed = jnp.zeros((*batch_shape, attentional_size or size), dtype) if input_feeding else None
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
        vector = join(None if output == "context" else y, None if output == "y" else context)
        if size is not None and vector.shape[-1] != size:
            raise ValueError(
                f"attention_decoder: expected {PARTS[output]} of {size} features, as cell.output_size and "
                f"attention.memory_size declare them, got y of {y.shape[-1]} and context of {context.shape[-1]}."
            )
        if params.w_c is not None:
            vector = jnp.matmul(vector, params.w_c)
            if params.b_c is not None:
                vector = vector + jnp.broadcast_to(params.b_c, vector.shape)
            vector = attentional_activation(vector)
        alignment = None if carry.alignment is None else next_alignment(carry.alignment, weights)
        feed = None if carry.feed is None else vector.astype(carry.feed.dtype)
        return DecoderCarry(cell_carry, alignment, feed), DecoderOutput(vector, context, weights)

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


def _check_attentional(size: int | None, activation: Callable, bias: bool) -> None:
    """Raises unless the size is a positive int or None, and what else the layer has comes with a size."""
    if not callable(activation):
        raise TypeError(
            f"attention_decoder: expected attentional_activation to be a function such as jnp.tanh, got {activation!r}."
        )
    if size is None:
        if bias or activation is not jnp.tanh:
            raise ValueError(
                "attention_decoder: expected attentional_size beside attentional_bias and attentional_activation, got "
                "None."
            )
    elif isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"attention_decoder: expected attentional_size to be a positive int, got {size!r}.")


def _output_size(cell: Cell) -> int:
    """H, as the cell declares it."""
    if cell.output_size is None:
        raise ValueError(
            "attention_decoder: expected a cell with an output_size beside attentional_size or input_feeding, got None;"
            " declare it, as in Cell(init, initial_carry, apply, output_size=H)."
        )
    return cell.output_size


def _memory_size(cell: Cell, attention: Attention, get_query: Callable[[Carry], Array] | None) -> int:
    """M, as the attention declares it; where it declares none, query and memory have the same size."""
    if attention.memory_size is not None:
        return attention.memory_size
    if get_query is None:
        return _output_size(cell)
    return jax.eval_shape(lambda: get_query(cell.initial_carry())).shape[-1]
