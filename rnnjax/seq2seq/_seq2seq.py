"""Encoders, decoders, and bridges between them.

An encoder reads a source `[S, B, F]`; a decoder writes, a step at a time, what the source makes probable. Decoders work
on vectors, not on tokens: `x` is what the last token is embedded as, and `output` is what logits are projected from.
Their step closes over parameters and memory to a step function for `beam_search`, `greedy` and `sample`; all steps at
once, given the truth, are `teacher_force`.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Bidirectional, Carry, Cell, Initializer, Key, Layers, Params
from rnnjax.attention import Alignment, Attention, Memory, advance, initial_alignment
from rnnjax.recurrence import MERGES, bidirectional, unroll

glorot = jax.nn.initializers.glorot_uniform()


# ---- encoders ------------------------------------------------------------------------------------------------


class Encoder(NamedTuple):
    """What reads a source.

    Attributes:
      init: `(key) -> params`, `Layers(layers)`.
      apply: `(params, xs [S, ..., F], *, lengths=None, mask=None) -> (carries, ys [S, ..., M])`; the carries are
        `Layers(layers)`, of a bidirectional layer `Bidirectional(forward, backward)`, each after its last real step.
    """

    init: Callable[[Key], Params]
    apply: Callable[..., tuple[Layers, Array]]


def encoder(layers: Sequence[Cell | tuple[Cell, Cell]], *, merge: str = "concat", reverse: bool = False) -> Encoder:
    """Layers that read a source, each all of it before the next: cells, or pairs of cells for both directions.

    References: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks" (layers; reversed
    sources); Bahdanau, Cho & Bengio 2014, "Neural machine translation by jointly learning to align and translate" (both
    directions).

    Args:
      layers: L cells, or pairs `(forward, backward)`, the first that which sees the source.
      merge: "concat", "sum", "mean" or "product" of the two directions' outputs.
      reverse: read from the last real position to the first: a reversed source, whose outputs keep their positions.
        For layers of one cell; a pair reads both ways.

    Returns:
      An `Encoder`.

    Raises:
      ValueError: no layer, one that is neither a cell nor a pair, an unknown merge, or a reversed pair.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> encoder = rnnjax.encoder([(rnnjax.gru(3, 5), rnnjax.gru(3, 5)), rnnjax.lstm(10, 7)])
      >>> params = encoder.init(jax.random.key(0))
      >>> carries, ys = encoder.apply(params, jnp.ones((4, 2, 3)), lengths=jnp.array([4, 1]))
      >>> ys.shape, carries.layers[0].backward.h.shape, carries.layers[1].c.shape
      ((4, 2, 7), (2, 5), (2, 7))
    """
    if isinstance(layers, Cell):  # which is a tuple too
        raise ValueError("encoder: expected layers to be cells or pairs of cells, got a Cell; put it in a list.")
    layers = tuple(layers)
    if not layers:
        raise ValueError("encoder: expected at least one layer, got none.")
    for layer in layers:
        cells = layer if isinstance(layer, (tuple, list)) and not isinstance(layer, Cell) else (layer, layer)
        if len(cells) != 2 or not all(isinstance(cell, Cell) for cell in cells):
            raise ValueError(f"encoder: expected layers to be cells or pairs of cells, got {type(layer).__name__}.")
    if merge not in MERGES:
        raise ValueError(f"encoder: expected merge to be one of {', '.join(MERGES)}, got {merge!r}.")
    if reverse and any(not isinstance(layer, Cell) for layer in layers):
        raise ValueError("encoder: expected layers of one cell beside reverse=True, got a pair, which reads both ways.")

    def init(key: Key) -> Layers:
        params: list[Any] = []
        for layer, layer_key in zip(layers, jax.random.split(key, len(layers)), strict=True):
            if isinstance(layer, Cell):
                params.append(layer.init(layer_key))
            else:
                keys = jax.random.split(layer_key)
                params.append(Bidirectional(layer[0].init(keys[0]), layer[1].init(keys[1])))
        return Layers(tuple(params))

    def apply(
        params: Layers, xs: Array, *, lengths: Array | None = None, mask: Array | None = None
    ) -> tuple[Layers, Array]:
        carries: list[Any] = []
        for layer, layer_params in zip(layers, params.layers, strict=True):
            if isinstance(layer, Cell):
                carry, xs = unroll(layer, layer_params, xs, lengths=lengths, mask=mask, reverse=reverse)
            else:
                carry, xs = bidirectional(*layer, layer_params, xs, lengths=lengths, mask=mask, merge=merge)
            carries.append(carry)
        return Layers(tuple(carries)), xs

    return Encoder(init, apply)


# ---- bridges -------------------------------------------------------------------------------------------------


class BridgeParams(NamedTuple):
    """Parameters of `bridge`.

    Attributes:
      w: weights `[N, C]`, of N source features and C features of the carry in all.
      b: bias `[C]`.
    """

    w: Array
    b: Array


class Bridge(NamedTuple):
    """From what an encoder ends with to what a decoder begins with.

    Attributes:
      init: `(key) -> params`.
      apply: `(params, source) -> carry`, leaves `[..., n]` to leaves `[..., c]`.
    """

    init: Callable[[Key], Params]
    apply: Callable[[Params, Any], Carry]


def bridge(
    source: Any,
    target: Carry,
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
    w_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Bridge:
    """carry = activation([all features of the source] W + b), cut into the leaves of the carry.

    The source is any pytree: the carries of an encoder of other cells and sizes, one of its layers, or a single vector
    (a class, a feature, the mean of an image's regions), which makes one to many. Where encoder and decoder have the
    same cells, no bridge is needed: pass the carry on. References: Bahdanau, Cho & Bengio 2014 (s_0 = tanh(W_s h_1));
    Xu et al. 2015, "Show, attend and tell" (c_0, h_0 from the mean of the regions).

    Args:
      source: a pytree of vectors `[n]` like what will come, such as `cell.initial_carry()`.
      target: the decoder's carry without batch axes, `cell.initial_carry()`; leaves `[c]`.
      activation: tanh, as Bahdanau; `jax.nn.identity` for an affine map.
      w_init: initialiser of w.
      param_dtype: dtype of the parameters.

    Returns:
      A `Bridge`.

    Raises:
      ValueError: leaves that are not vectors of floats.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> from_vector = rnnjax.seq2seq.bridge(jnp.zeros(7), cell.initial_carry())
      >>> carry = from_vector.apply(from_vector.init(jax.random.key(0)), jnp.ones((2, 7)))
      >>> carry.h.shape, carry.c.shape
      ((2, 5), (2, 5))
    """
    sizes, targets = _vector_sizes("source", source), _vector_sizes("target", target)
    structure = jax.tree.structure(target)

    def init(key: Key) -> BridgeParams:
        return BridgeParams(w_init(key, (sum(sizes), sum(targets)), param_dtype), jnp.zeros(sum(targets), param_dtype))

    def apply(params: BridgeParams, source: Any) -> Carry:
        leaves = jax.tree.leaves(source)
        if [jnp.shape(leaf)[-1:] for leaf in leaves] != [(size,) for size in sizes]:
            raise ValueError(
                f"bridge: expected a source whose leaves have {sizes} features, got shapes "
                f"{[jnp.shape(leaf) for leaf in leaves]}."
            )
        z = jnp.matmul(jnp.concatenate(leaves, axis=-1), params.w)
        z = activation(z + jnp.broadcast_to(params.b, z.shape))
        ends = [sum(targets[: i + 1]) for i in range(len(targets) - 1)]
        return jax.tree.unflatten(structure, jnp.split(z, ends, axis=-1))

    return Bridge(init, apply)


def _vector_sizes(name: str, tree: Any) -> list[int]:
    leaves = jax.tree.leaves(tree)
    if not leaves or any(jnp.ndim(leaf) != 1 or not jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in leaves):
        raise ValueError(
            f"bridge: expected {name} to be vectors of floats without batch axes, as of cell.initial_carry(), got "
            f"{jax.tree.map(jnp.shape, tree)}."
        )
    return [leaf.shape[0] for leaf in leaves]


# ---- decoders ------------------------------------------------------------------------------------------------


class DecoderCarry(NamedTuple):
    """What the next step of a decoder needs.

    Attributes:
      cell: the carry of its cell.
      alignment: the `Alignment` of the steps before, `[..., S]`: the weights of this step, and coverage; or None.
      feed: the attentional vector of the step before, `[..., O]`, with input feeding; or None.
    """

    cell: Carry
    alignment: Alignment | None
    feed: Array | None


class DecoderOutput(NamedTuple):
    """What one step of a decoder makes.

    Attributes:
      output: what logits are projected from, `[..., O]`.
      context: what attention brought, `[..., M]`, or None.
      weights: where it looked, `[..., S]`, or None.
    """

    output: Array
    context: Array | None
    weights: Array | None


class Decoder(NamedTuple):
    """What writes a sequence, a step at a time.

    Attributes:
      init: `(key) -> params`.
      initial_carry: `(memory, cell_carry=None, batch_shape=None, dtype=float32) -> DecoderCarry`; the cell starts from
        cell_carry, or from its initial carry.
      step: `(params, carry, x [..., F], memory) -> (carry, DecoderOutput)`; x is None where nothing but the memory is
        read.
    """

    init: Callable[[Key], Params]
    initial_carry: Callable[..., DecoderCarry]
    step: Callable[[Params, DecoderCarry, Any, Any], tuple[DecoderCarry, DecoderOutput]]


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
    attentional: tuple[int, int] | None = None,
    input_feeding: bool = False,
    w_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Decoder:
    """A cell that looks at a memory at every step.

        query="previous":  context_t = attend(h_{t-1});       y_t = cell([x_t; context_t])     Bahdanau 2014
        query="current":   y_t = cell(x_t);                   context_t = attend(y_t)          Luong 2015
        output_t = [y_t; context_t],   or with attentional   tanh([y_t; context_t] W_c)        Luong 2015, eq. 5
        input feeding: the cell also reads output_{t-1}, zeros at first                        Luong 2015, 3.3

    With query="previous", an LSTM, no x and the outputs of a bidirectional encoder as the memory, this is the one-step
    attention and post-attention LSTM of many a course. The memory may be anything of shape `[S, ..., M]`: the regions
    of an image make it Show, Attend and Tell (Xu et al. 2015).

    References: Bahdanau, Cho & Bengio 2014, "Neural machine translation by jointly learning to align and translate";
    Luong, Pham & Manning 2015, "Effective approaches to attention-based neural machine translation".

    Args:
      cell: a `Cell` whose input size is that of x, plus M with query="previous", plus O with input feeding, in the
        order x, context, feed.
      attention: an `Attention`; its query size is that of h with query="previous", of y with "current".
      query: "previous" or "current".
      query_of: the query of a cell's carry, `carry -> [..., D]`, for "previous"; None for the h of the carry, or of
        the top layer's.
      attentional: sizes `(H + M, O)` of the attentional vector, or None for output = [y; context].
      input_feeding: whether the cell reads the attentional vector of the step before.
      w_init: initialiser of w_c.
      param_dtype: dtype of w_c.

    Returns:
      A `Decoder`; its memory is that of `attention.remember(params.attention, ys)`, made once a source.

    Raises:
      ValueError: an unknown query, input feeding without attentional sizes, query_of beside "current", or at the first
        step a carry without h.

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
    if input_feeding and attentional is None:
        raise ValueError("attention_decoder: expected attentional sizes (H + M, O) beside input_feeding, got None.")
    if query == "current" and query_of is not None:
        raise ValueError("attention_decoder: expected query_of beside query='previous' only; 'current' asks with y.")
    get_query = query_of or _top_h

    def init(key: Key) -> AttentionDecoderParams:
        key_cell, key_attention, key_w = jax.random.split(key, 3)
        w_c = None if attentional is None else w_init(key_w, attentional, param_dtype)
        return AttentionDecoderParams(cell.init(key_cell), attention.init(key_attention), w_c)

    def initial_carry(
        memory: Memory, cell_carry: Carry | None = None, batch_shape: tuple[int, ...] | None = None, dtype=jnp.float32
    ) -> DecoderCarry:
        batch_shape = memory.mask.shape[:-1] if batch_shape is None else tuple(batch_shape)
        start = cell.initial_carry(batch_shape, dtype) if cell_carry is None else cell_carry
        feed = jnp.zeros((*batch_shape, attentional[1]), dtype) if input_feeding and attentional else None
        return DecoderCarry(start, initial_alignment(memory, batch_shape, dtype), feed)

    def step(
        params: AttentionDecoderParams, carry: DecoderCarry, x: Array | None, memory: Memory
    ) -> tuple[DecoderCarry, DecoderOutput]:
        def look(at: Array) -> tuple[Array, Array]:
            return attention.attend(params.attention, at, memory, carry.alignment)

        if query == "previous":
            context, weights = look(get_query(carry.cell))
            cell_carry, y = cell.apply(params.cell, carry.cell, _join(x, context, carry.feed))
        else:
            cell_carry, y = cell.apply(params.cell, carry.cell, _join(x, carry.feed))
            context, weights = look(y)
        output = _join(y, context)
        if params.w_c is not None:
            output = jnp.tanh(jnp.matmul(output, params.w_c))
        alignment = None if carry.alignment is None else advance(carry.alignment, weights)
        feed = None if carry.feed is None else output.astype(carry.feed.dtype)
        return DecoderCarry(cell_carry, alignment, feed), DecoderOutput(output, context, weights)

    return Decoder(init, initial_carry, step)


def vector_decoder(cell: Cell, *, every_step: bool = False) -> Decoder:
    """A cell that knows the source from its first carry only, or also from one vector at every step.

        y_t = cell(x_t)              Sutskever 2014; the carry comes from the encoder, or over a `bridge`
        y_t = cell([x_t; memory])    Cho 2014, with every_step

    References: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks"; Cho et al. 2014,
    "Learning phrase representations using RNN encoder-decoder for statistical machine translation".

    Args:
      cell: a `Cell` whose input size is that of x, plus M with every_step.
      every_step: whether the memory, a vector `[..., M]`, is part of every input.

    Returns:
      A `Decoder` whose memory is a vector `[..., M]`, or None; its output is y.

    Example:
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
            joined = _join(x)
        else:
            axes = jax.tree.leaves(carry.cell)[0].shape[:-1]  # more than those of the memory, where there are beams
            assert memory is not None
            joined = _join(x, jnp.broadcast_to(_lift(memory, len(axes)), (*axes, memory.shape[-1])))
        cell_carry, y = cell.apply(params, carry.cell, joined)
        return DecoderCarry(cell_carry, None, None), DecoderOutput(y, None, None)

    return Decoder(cell.init, initial_carry, step)


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
    """All steps of a decoder that reads the truth: x_t is what the true token t - 1 is embedded as.

    Reference: Williams & Zipser 1989, "A learning algorithm for continually running fully recurrent neural networks".

    Args:
      decoder: a `Decoder`.
      params: its parameters.
      memory: of the source, batched as xs are.
      xs: `[T, B, F]`: the first is that of bos. For a decoder without inputs, `[T, B, 0]`.
      carry: to start from; `decoder.initial_carry(memory)` if None.
      lengths: integers `[B]`, targets of each row, eos counted; or None.
      mask: booleans `[T, B]` instead of lengths; or None.
      remat: as in `unroll`.
      chunk: as in `unroll`.

    Returns:
      `(carry, DecoderOutput)`, each field stacked, `[T, B, ...]`, zero behind the lengths: project `output` for all
      steps at once, and draw `weights` as the alignment.

    Raises:
      ValueError, TypeError: as `unroll`.

    Example:
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


def source_coverage(carry: DecoderCarry, memory: Memory) -> Array:
    """The attention that each source position has got so far, 1 at padded ones: for `beam_search(coverage=...)`.

    Args:
      carry: of a decoder with attention, alignment `[..., K, S]`.
      memory: the `Memory`, mask `[..., S]`.

    Returns:
      `[..., K, S]`.

    Raises:
      ValueError: a decoder without attention.

    Example:
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


def _top_h(carry: Carry) -> Array:
    """The h of a carry, or of its top layer's."""
    while isinstance(carry, Layers):
        carry = carry.layers[-1]
    if not hasattr(carry, "h"):
        raise ValueError(
            f"attention_decoder: expected a carry with a field h, got {type(carry).__name__}; pass query_of."
        )
    return carry.h


def _join(*parts: Array | None) -> Array:
    """Parts `[..., n]`, those that there are, joined along the last axis."""
    there = [part for part in parts if part is not None]
    if not there:
        raise ValueError("decoder: expected x, or a memory that is read at every step, got neither.")
    return there[0] if len(there) == 1 else jnp.concatenate(there, axis=-1)


def _lift(x: Array, axes: int) -> Array:
    """x `[*batch, M]` with as many axes before the last as needed, `[*batch, 1..., M]`."""
    return x.reshape(*x.shape[:-1], *(1,) * (axes - (x.ndim - 1)), x.shape[-1])
