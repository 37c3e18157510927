"""Combinators: functions from Cell to Cell."""

import functools
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, Cell, Initializer, Key, Layers, Params

glorot = jax.nn.initializers.glorot_uniform()


def stack(cells: Sequence[Cell]) -> Cell:
    """Layers: each cell takes the output of the one below, within one step.

        y^0 = x,    carry^l, y^l = cell_l(params^l, carry^l, y^{l-1}),    y = y^L

    Reference: Graves 2013, "Generating sequences with recurrent neural networks".

    Args:
      cells: L cells; the first takes F features, each other the H of the one below.

    Returns:
      A `Cell` with params and carry `Layers(layers)`; x is `[..., F]`, y that of the last cell, `[..., H]`.

    Raises:
      ValueError: no cells.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.stack([rnnjax.lstm(3, 5), rnnjax.gru(5, 7)])
      >>> carry, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 2, 3)))
      >>> ys.shape, carry.layers[0].c.shape
      ((4, 2, 7), (2, 5))
    """
    cells = tuple(cells)
    if not cells:
        raise ValueError("stack: expected at least one cell, got none.")

    def init(key: Key) -> Layers:
        keys = jax.random.split(key, len(cells))
        return Layers(tuple(cell.init(k) for cell, k in zip(cells, keys, strict=True)))

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> Layers:
        return Layers(tuple(cell.initial_carry(batch_shape, dtype) for cell in cells))

    def apply(params: Layers, carry: Layers, x: Any) -> tuple[Layers, Any]:
        carries, y = [], x
        for cell, layer_params, layer_carry in zip(cells, params.layers, carry.layers, strict=True):
            layer_carry, y = cell.apply(layer_params, layer_carry, y)
            carries.append(layer_carry)
        return Layers(tuple(carries)), y

    return Cell(init, initial_carry, apply)


def residual(cell: Cell) -> Cell:
    """y = x + cell's y: a path around the cell.

    Reference: He et al. 2016, "Deep residual learning for image recognition"; between recurrent layers as in Wu
    et al. 2016, "Google's neural machine translation system".

    Args:
      cell: a `Cell` whose output has as many features as its input.

    Returns:
      A `Cell` with the same params and carry; x and y are `[..., F]`.

    Raises:
      ValueError: at the first step, if the cell's output has another shape than x.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.residual(rnnjax.gru(3, 3))
      >>> _, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 2, 3)))
      >>> ys.shape
      (4, 2, 3)
    """

    def apply(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        carry, y = cell.apply(params, carry, x)
        if y.shape != x.shape:
            raise ValueError(
                f"residual: expected the cell's output to have the shape of x {x.shape}, got {y.shape}; give the "
                "cell as many hidden as input features, or wrap it in projected first."
            )
        return carry, x.astype(y.dtype) + y

    return Cell(cell.init, cell.initial_carry, apply)


class ProjectedParams(NamedTuple):
    """Parameters of `projected`.

    Attributes:
      cell: parameters of the cell inside.
      w: projection `[H, N]`.
      b: bias `[N]`.
    """

    cell: Params
    w: Array
    b: Array


def projected(
    cell: Cell,
    size: int,
    *,
    hidden_size: int | None = None,
    w_init: Initializer = glorot,
    param_dtype=jnp.float32,
) -> Cell:
    """y = cell's y W + b: a linear projection of the output, which does not flow back into the recurrence.

    Args:
      cell: a `Cell` with outputs `[..., H]`.
      size: N, features of the projected output.
      hidden_size: H; read off the cell's carry (its last field named h) if None.
      w_init: initialiser of W `[H, N]`; b starts from zeros.
      param_dtype: dtype of W and b.

    Returns:
      A `Cell` with `ProjectedParams` and the carry of the cell; y is `[..., N]`.

    Raises:
      ValueError: a size that is not positive, or an H that cannot be read off the cell.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.projected(rnnjax.lstm(3, 5), 2)
      >>> _, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 7, 3)))
      >>> ys.shape
      (4, 7, 2)
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"projected: expected size to be a positive int, got {size!r}.")
    hidden = _output_size("projected", cell, hidden_size)

    def init(key: Key) -> ProjectedParams:
        key_cell, key_w = jax.random.split(key)
        b = jnp.zeros((size,), param_dtype)
        return ProjectedParams(cell.init(key_cell), w_init(key_w, (hidden, size), param_dtype), b)

    def apply(params: ProjectedParams, carry: Carry, x: Any) -> tuple[Carry, Array]:
        carry, y = cell.apply(params.cell, carry, x)
        _check_output("projected", y, hidden)
        z = jnp.matmul(y, params.w.astype(y.dtype))
        return carry, z + jnp.broadcast_to(params.b.astype(z.dtype), z.shape)

    return Cell(init, cell.initial_carry, apply)


class LayerNormParams(NamedTuple):
    """Parameters of `layer_norm`.

    Attributes:
      cell: parameters of the cell inside.
      scale: gain `[H]`.
      b: bias `[H]`.
    """

    cell: Params
    scale: Array
    b: Array


def layer_norm(cell: Cell, *, hidden_size: int | None = None, param_dtype=jnp.float32) -> Cell:
    """y = scale * (z - mean(z)) / sqrt(var(z) + 1e-5) + b, z the cell's output: its features are normalised.

    What flows back into the recurrence is not normalised; `layer_norm_lstm` and `layer_norm_gru` do that.
    Reference: Ba, Kiros & Hinton 2016, "Layer normalization".

    Args:
      cell: a `Cell` with outputs `[..., H]`.
      hidden_size: H; read off the cell's carry (its last field named h) if None.
      param_dtype: dtype of scale and b.

    Returns:
      A `Cell` with `LayerNormParams` and the carry of the cell; y is `[..., H]`.

    Raises:
      ValueError: an H that cannot be read off the cell.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.layer_norm(rnnjax.lstm(3, 5))
      >>> _, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 7, 3)))
      >>> bool(jnp.allclose(ys.mean(-1), 0.0, atol=1e-5))
      True
    """
    hidden = _output_size("layer_norm", cell, hidden_size)

    def init(key: Key) -> LayerNormParams:
        return LayerNormParams(cell.init(key), jnp.ones((hidden,), param_dtype), jnp.zeros((hidden,), param_dtype))

    def apply(params: LayerNormParams, carry: Carry, x: Any) -> tuple[Carry, Array]:
        carry, y = cell.apply(params.cell, carry, x)
        _check_output("layer_norm", y, hidden)
        z = jax.nn.standardize(y, axis=-1, epsilon=1e-5)
        scale, b = (jnp.broadcast_to(p.astype(z.dtype), z.shape) for p in (params.scale, params.b))
        return carry, z * scale + b

    return Cell(init, cell.initial_carry, apply)


class ResetInput(NamedTuple):
    """Input of a cell wrapped in `reset_on`.

    Attributes:
      x: what the cell inside takes, `[..., F]`.
      reset: booleans `[...]`, with any number of the batch axes of x.
    """

    x: Any
    reset: Array


def reset_on(cell: Cell) -> Cell:
    """A cell that starts afresh where its input says so: the carry is set to the initial one before x is consumed.

    `unroll(cell, ..., resets=resets)` is `unroll(reset_on(cell), params, ResetInput(xs, resets))`; the wrapped
    form is for loops of your own, such as an actor that steps through episodes.

    Args:
      cell: a `Cell`.

    Returns:
      A `Cell` with the same params, carry and output, whose input is `ResetInput(x [..., F], reset [...])`.

    Raises:
      TypeError: at the first step, if the input is no `ResetInput` or its reset is not boolean.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.reset_on(rnnjax.rnn(1, 1, activation=lambda z: z))
      >>> params = rnnjax.RNNParams(jnp.ones((1, 1)), jnp.ones((1, 1)), jnp.zeros(1))
      >>> xs = rnnjax.combinators.ResetInput(jnp.ones((4, 1)), jnp.array([False, False, True, False]))
      >>> rnnjax.unroll(cell, params, xs)[1][:, 0].tolist()
      [1.0, 2.0, 1.0, 2.0]
    """

    def apply(params: Params, carry: Carry, x: ResetInput) -> tuple[Carry, Any]:
        if not isinstance(x, ResetInput) or x.reset.dtype != jnp.bool_:
            got = f"a reset of dtype {x.reset.dtype}" if isinstance(x, ResetInput) else type(x).__name__
            raise TypeError(f"reset_on: expected the input to be ResetInput(x, reset) with a boolean reset, got {got}.")
        batch_shape = jax.tree.leaves(x.x)[0].shape[:-1]
        initial = jax.tree.map(lambda a, b: a.astype(b.dtype), cell.initial_carry(batch_shape), carry)
        return cell.apply(params, masking.select(x.reset, initial, carry), x.x)

    return Cell(cell.init, cell.initial_carry, apply)


class DropoutCarry(NamedTuple):
    """Carry of a cell wrapped in `dropout`.

    Attributes:
      cell: carry of the cell inside.
      step: steps since the beginning or the last reset, int32 `[*batch_shape]`: which mask comes next.
    """

    cell: Carry
    step: Array


class DropoutMasks(NamedTuple):
    """The masks of one `dropout`, drawn once; None where the rate is zero.

    Attributes:
      input: scaled mask of x, `[*batch, F]`, or `[T, *batch, F]` if not tied.
      output: scaled mask of y, `[*batch, H]`, or `[T, *batch, H]` if not tied.
      recurrent: scaled mask of the h that enters the recurrent products, `[*batch, H]`.
      zoneout: for each leaf of the carry, booleans `[T, *batch, ...]`, true where the old value stays.
    """

    input: Array | None
    output: Array | None
    recurrent: Array | None
    zoneout: Carry | None


def dropout(
    cell: Cell,
    *,
    key: Key | None,
    shape: tuple[int, ...] | None = None,
    input: float = 0.0,
    output: float = 0.0,
    recurrent: float = 0.0,
    zoneout: Any = 0.0,
    tied: bool = True,
) -> Cell:
    """Dropout of every kind that a recurrent cell knows; the masks are drawn here, once, outside any loop.

        x' = m_x * x                                     input
        h~ = m_h * h in every recurrent product          recurrent, one mask for all steps
        carry_t = z_t * carry_{t-1} + (1 - z_t) * new    zoneout, a fresh z_t for every step
        y' = m_y * y                                     output; between layers if the cell is one of a stack

    m = Bernoulli(1 - rate) / (1 - rate) is inverted dropout, so the cell without it is the one for evaluation;
    only zoneout needs `key=None` then, which puts the expectation of z_t in its place. Rates are
    probabilities of dropping (of staying, for zoneout). Build the wrapped cell inside the function that you
    differentiate, with that step's key; parameters are those of the cell itself.
    Reference: Gal & Ghahramani 2016, "A theoretically grounded application of dropout in recurrent neural
    networks" (tied masks); Zaremba et al. 2014 (fresh masks for input and output); Krueger et al. 2017,
    "Zoneout".

    Args:
      cell: a `Cell`; for recurrent dropout, one whose apply takes `recurrent_mask` (all of rnnjax.cells); for
        zoneout, one whose output is the field h of its carry.
      key: random key, or None for evaluation.
      shape: shape of the inputs xs that it is to run over, `[T, ..., F]`. With `[T, F]` all rows share a mask.
      input: rate for x.
      output: rate for y.
      recurrent: rate for the h in recurrent products.
      zoneout: rate for the carry, or a carry of rates, such as `LSTMCarry(h=0.05, c=0.5)`.
      tied: whether the masks of input and output are the same for all steps.

    Returns:
      A `Cell` with the params of the cell and `DropoutCarry`; x is `[..., F]`, y is `[..., H]`. A run over more
      than T steps begins again with the first mask.

    Raises:
      ValueError: a rate outside [0, 1), a missing shape, or a cell that cannot do what is asked.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((7, 2, 3))
      >>> noisy = rnnjax.dropout(cell, key=jax.random.key(1), shape=xs.shape, input=0.1, recurrent=0.25)
      >>> _, ys = rnnjax.unroll(noisy, params, xs)
      >>> ys.shape
      (7, 2, 5)
    """
    rates = zoneout if isinstance(zoneout, tuple) else jax.tree.map(lambda _: zoneout, _carry_shapes(cell))
    for rate in (input, output, recurrent, *jax.tree.leaves(rates)):
        if not 0 <= rate < 1:
            raise ValueError(f"dropout: expected rates to be probabilities in [0, 1), got {rate}.")
    if jax.tree.structure(rates) != jax.tree.structure(_carry_shapes(cell)):  # type: ignore[operator]
        raise ValueError(f"dropout: expected zoneout to be a float or a carry of rates, got {zoneout}.")
    if recurrent and "recurrent_mask" not in inspect.signature(cell.apply).parameters:
        raise ValueError(
            "dropout: expected a cell whose apply takes recurrent_mask, got one without; for recurrent dropout wrap "
            "the cells inside, such as stack([dropout(a, ...), dropout(b, ...)])."
        )
    if key is not None and (shape is None or len(shape) < 2):
        raise ValueError(f"dropout: expected shape to be that of the inputs xs [T, ..., F], got {shape}.")

    masks = DropoutMasks(None, None, None, None)
    if key is not None and shape is not None:
        masks = _draw_masks(cell, key, shape, input, output, recurrent, rates, tied)
    zoneout_on = any(rate > 0 for rate in jax.tree.leaves(rates))

    def apply(params: Params, carry: DropoutCarry, x: Array) -> tuple[DropoutCarry, Array]:
        step = carry.step if shape is None else carry.step % shape[0]
        recurrent_mask = {}
        if masks.recurrent is not None:
            _check_mask(masks.recurrent, carry.cell.h)
            recurrent_mask = {"recurrent_mask": masks.recurrent}
        new, y = cell.apply(params, carry.cell, _apply_mask(x, masks.input, step, tied), **recurrent_mask)
        if zoneout_on:
            if y is not getattr(new, "h", None):
                raise ValueError(
                    "dropout: zoneout needs a cell whose output is the field h of its carry, got one whose output "
                    "is not; wrap the cell inside instead."
                )
            new = _zone_out(carry.cell, new, step, masks.zoneout, rates)
            y = new.h
        return DropoutCarry(new, carry.step + 1), _apply_mask(y, masks.output, step, tied)

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> DropoutCarry:
        return DropoutCarry(cell.initial_carry(batch_shape, dtype), jnp.zeros(batch_shape, jnp.int32))

    return Cell(cell.init, initial_carry, apply)


def _draw_masks(
    cell: Cell,
    key: Key,
    shape: tuple[int, ...],
    input: float,
    output: float,
    recurrent: float,
    rates: Any,
    tied: bool,
) -> DropoutMasks:
    """All masks of a dropout over inputs of this shape."""
    length, *batch, features = shape
    key_input, key_output, key_recurrent, key_zoneout = jax.random.split(key, 4)
    over_time = batch if tied else (length, *batch)

    def scaled(key: Key, rate: float, mask_shape) -> Array | None:
        if not rate:
            return None
        return jax.random.bernoulli(key, 1 - rate, tuple(mask_shape)).astype(jnp.float32) / (1 - rate)

    hidden = _output_size("dropout", cell, None) if output or recurrent else 0
    state, structure = jax.tree.flatten(_carry_shapes(cell, tuple(batch)))
    zoneout = None
    if any(rate > 0 for rate in jax.tree.leaves(rates)):
        keys = jax.random.split(key_zoneout, len(state))
        stays = [
            jax.random.bernoulli(k, rate, (length, *leaf.shape))
            for k, rate, leaf in zip(keys, jax.tree.leaves(rates), state, strict=True)
        ]
        zoneout = jax.tree.unflatten(structure, stays)
    return DropoutMasks(
        input=scaled(key_input, input, (*over_time, features)),
        output=scaled(key_output, output, (*over_time, hidden)),
        recurrent=scaled(key_recurrent, recurrent, (*batch, hidden)),
        zoneout=zoneout,
    )


def _mask_at(masks: Array, step: Array) -> Array:
    """masks[step[b], b] for every row b: masks `[T, *batch, N]`, step `[*batch']` -> `[*batch', N]`."""
    rows = masks.shape[1:-1]
    if not rows:  # all rows share the masks
        return masks[step]
    if step.shape != rows:
        raise ValueError(
            f"dropout: expected inputs with the batch shape {rows} that the masks were drawn for, got {step.shape}."
        )
    return jnp.take_along_axis(masks, step.reshape(1, *rows, 1), axis=0)[0]


def _apply_mask(x: Array, mask: Array | None, step: Array, tied: bool) -> Array:
    """mask * x, with the mask of this step if masks are not tied."""
    if mask is None:
        return x
    mask = mask if tied else _mask_at(mask, step)
    _check_mask(mask, x)
    return x * jnp.broadcast_to(mask.astype(x.dtype), x.shape)


def _check_mask(mask: Array, x: Array) -> None:
    if mask.ndim > x.ndim or mask.shape != x.shape[x.ndim - mask.ndim :]:
        raise ValueError(f"dropout: expected an array whose last axes are {mask.shape}, as drawn, got {x.shape}.")


def _zone_out(old: Carry, new: Carry, step: Array, stays: Carry | None, rates: Any) -> Carry:
    """z * old + (1 - z) * new, leaf by leaf; z is the expectation where there are no masks."""
    if stays is None:
        return jax.tree.map(lambda a, b, z: z * a + (1 - z) * b, old, new, rates)
    return jax.tree.map(lambda a, b, z: jnp.where(_mask_at(z, step), a, b), old, new, stays)


def _carry_shapes(cell: Cell, batch_shape: tuple[int, ...] = ()) -> Carry:
    return jax.eval_shape(functools.partial(cell.initial_carry, batch_shape))


def _output_size(where: str, cell: Cell, given: int | None) -> int:
    """Features of the cell's output: given, or those of the last field h of its carry."""
    if given is not None:
        return given
    leaves = jax.tree_util.tree_leaves_with_path(_carry_shapes(cell))
    sizes = [leaf.shape[-1] for path, leaf in leaves if jax.tree_util.keystr(path).endswith(".h")]
    if not sizes:
        raise ValueError(f"{where}: expected a cell whose carry has a field h, got none; pass hidden_size.")
    return sizes[-1]


def _check_output(where: str, y: Array, hidden: int) -> None:
    if y.shape[-1] != hidden:
        raise ValueError(
            f"{where}: expected a cell with {hidden} output features, got {y.shape[-1]}; pass hidden_size."
        )
