"""Dropout of every kind: of inputs, outputs and recurrent products, and zoneout."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Carry, Cell, Key, Params, serializable
from rnnjax.combinators._common import known_output_size

_NO_RECURRENT_MASK = (
    "dropout: expected a cell whose apply takes recurrent_mask for the h of its carry, got one without; for recurrent "
    "dropout wrap the cells inside, such as stack([dropout(a, ...), dropout(b, ...)])."
)


@serializable
class DropoutCarry(NamedTuple):
    """Carry of a cell wrapped in `dropout`.

    Attributes:
      cell: carry of the cell inside.
      step: steps since the beginning or the last reset, int32 `[*batch_shape]`: which mask comes next.
    """

    cell: Carry
    step: Array


class _Rates(NamedTuple):
    """The rates of one `dropout`; zoneout has one per leaf of the carry."""

    input: float
    output: float
    recurrent: float
    zoneout: Carry


class _Masks(NamedTuple):
    """The masks of one `dropout`, drawn once; None where the rate is zero.

    Attributes:
      input: scaled mask of x, `[*batch, F]`, or `[T, *batch, F]` if not tied.
      output: scaled mask of y, `[*batch, H]`, or `[T, *batch, H]` if not tied.
      recurrent: scaled mask of the h that enters the recurrent products, `[*batch, H]`.
      zoneout: for each leaf of the carry, booleans `[T, *batch, ...]`, true where the old value stays.
    """

    input: Array | None = None
    output: Array | None = None
    recurrent: Array | None = None
    zoneout: Carry | None = None


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
    """Drops parts of what a cell takes, keeps and returns; the masks are drawn here, once, outside any loop.

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
      cell: a `Cell`; for output dropout, one that states its output_size; for recurrent dropout, one whose apply takes
        `recurrent_mask` for the field h of its carry (all of rnnjax.cells); for zoneout, one whose output is the
        field h of its carry.
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
      ValueError: a rate outside [0, 1), a missing shape, or a cell that cannot do what is asked, some of it at the
        first step.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> params, xs = cell.init(jax.random.key(0)), jnp.ones((7, 2, 3))
      >>> noisy = rnnjax.dropout(cell, key=jax.random.key(1), shape=xs.shape, input=0.1, recurrent=0.25)
      >>> _, ys = rnnjax.unroll(noisy, params, xs)
      >>> ys.shape
      (7, 2, 5)
    """
    rates = _check_rates(cell, input, output, recurrent, zoneout)
    if key is not None and (shape is None or len(shape) < 2):
        raise ValueError(f"dropout: expected shape to be that of the inputs xs [T, ..., F], got {shape}.")
    masks = _Masks() if key is None or shape is None else _draw_masks(cell, key, shape, rates, tied)
    rows = () if shape is None else tuple(shape[1 : len(shape) - cell.feature_axes])
    zoned = any(rate > 0 for rate in jax.tree.leaves(rates.zoneout))

    def apply(params: Params, carry: DropoutCarry, x: Array) -> tuple[DropoutCarry, Array]:
        step = carry.step if shape is None else carry.step % shape[0]
        x = _apply_mask(x, masks.input, step, rows, tied)
        new, y = _step(cell, params, carry.cell, x, masks.recurrent)
        if zoned:
            new = _zone_out(carry.cell, new, y, step, rows, masks.zoneout, rates.zoneout)
            y = new.h
        return DropoutCarry(new, carry.step + 1), _apply_mask(y, masks.output, step, rows, tied)

    def initial_carry(batch_shape: tuple[int, ...] = (), dtype=jnp.float32) -> DropoutCarry:
        return DropoutCarry(cell.initial_carry(batch_shape, dtype), jnp.zeros(batch_shape, jnp.int32))

    return cell._replace(initial_carry=initial_carry, apply=apply)


def _check_rates(cell: Cell, input: float, output: float, recurrent: float, zoneout: Any) -> _Rates:
    """Checks the rates at the door; a zoneout that is one number becomes one per leaf of the carry."""
    carry = _carry_shapes(cell)
    of_leaves = zoneout if isinstance(zoneout, tuple) else jax.tree.map(lambda _: zoneout, carry)
    for rate in (input, output, recurrent, *jax.tree.leaves(of_leaves)):
        if not 0 <= rate < 1:
            raise ValueError(f"dropout: expected rates to be probabilities in [0, 1), got {rate}.")
    if jax.tree.structure(of_leaves) != jax.tree.structure(carry):  # type: ignore[operator]
        raise ValueError(f"dropout: expected zoneout to be a float or a carry of rates, got {zoneout}.")
    if recurrent and not hasattr(carry, "h"):
        raise ValueError(_NO_RECURRENT_MASK)
    if (input and not cell.feature_axes) or (output and cell.feature_axes > 1):
        part = "output" if output else "input"
        raise ValueError(f"dropout: expected {part}=0 beside a cell with {cell.feature_axes} axes of features.")
    return _Rates(input, output, recurrent, of_leaves)


def _draw_masks(cell: Cell, key: Key, shape: tuple[int, ...], rates: _Rates, tied: bool) -> _Masks:
    """Draws all masks of a dropout over inputs of this shape."""
    length, *batch = shape[: len(shape) - cell.feature_axes]
    features = shape[len(shape) - cell.feature_axes :]
    key_input, key_output, key_recurrent, key_zoneout = jax.random.split(key, 4)
    over_time = batch if tied else (length, *batch)
    carry = _carry_shapes(cell, tuple(batch))

    def scaled(key: Key, rate: float, *shape: int) -> Array:
        return jax.random.bernoulli(key, 1 - rate, shape).astype(jnp.float32) / (1 - rate)

    masks = _Masks()
    if rates.input:
        masks = masks._replace(input=scaled(key_input, rates.input, *over_time, *features))
    if rates.output:
        size = known_output_size("dropout", cell)
        masks = masks._replace(output=scaled(key_output, rates.output, *over_time, size))
    if rates.recurrent:
        masks = masks._replace(recurrent=scaled(key_recurrent, rates.recurrent, *carry.h.shape))
    if any(rate > 0 for rate in jax.tree.leaves(rates.zoneout)):
        leaves, structure = jax.tree.flatten(carry)
        keys = jax.tree.unflatten(structure, jax.random.split(key_zoneout, len(leaves)))
        stays = jax.tree.map(
            lambda key, rate, leaf: jax.random.bernoulli(key, rate, (length, *leaf.shape)), keys, rates.zoneout, carry
        )
        masks = masks._replace(zoneout=stays)
    return masks


def _step(cell: Cell, params: Params, carry: Carry, x: Array, recurrent_mask: Array | None) -> tuple[Carry, Array]:
    """Steps the cell, with the recurrent mask if there is one."""
    if recurrent_mask is None:
        return cell.apply(params, carry, x)
    _check_mask(recurrent_mask, carry.h)
    try:
        return cell.apply(params, carry, x, recurrent_mask=recurrent_mask)  # type: ignore[call-arg]
    except TypeError as error:
        if "unexpected keyword argument 'recurrent_mask'" not in str(error):
            raise
        raise ValueError(_NO_RECURRENT_MASK) from error


def _mask_at(masks: Array, step: Array, rows: tuple[int, ...]) -> Array:
    """masks[step[b], b] for every row b: masks `[T, *rows, ...]`, step `[*rows]` -> `[*rows, ...]`."""
    if not rows:  # all rows share the masks
        return masks[step]
    if step.shape != rows:
        raise ValueError(
            f"dropout: expected inputs with the batch shape {rows} that the masks were drawn for, got {step.shape}."
        )
    return jnp.take_along_axis(masks, step.reshape(1, *rows, *(1,) * (masks.ndim - 1 - len(rows))), axis=0)[0]


def _apply_mask(x: Array, mask: Array | None, step: Array, rows: tuple[int, ...], tied: bool) -> Array:
    """mask * x, with the mask of this step if masks are not tied."""
    if mask is None:
        return x
    mask = mask if tied else _mask_at(mask, step, rows)
    _check_mask(mask, x)
    return x * jnp.broadcast_to(mask.astype(x.dtype), x.shape)


def _check_mask(mask: Array, x: Array) -> None:
    if mask.ndim > x.ndim or mask.shape != x.shape[x.ndim - mask.ndim :]:
        raise ValueError(f"dropout: expected an array whose last axes are {mask.shape}, as drawn, got {x.shape}.")


def _zone_out(
    old: Carry, new: Carry, y: Array, step: Array, rows: tuple[int, ...], stays: Carry | None, rates: Carry
) -> Carry:
    """z * old + (1 - z) * new, leaf by leaf; z is the expectation where there are no masks."""
    if y is not getattr(new, "h", None):
        raise ValueError(
            "dropout: zoneout needs a cell whose output is the field h of its carry, got one whose output is not; wrap "
            "the cell inside instead."
        )
    if stays is None:
        return jax.tree.map(lambda a, b, z: z * a + (1 - z) * b, old, new, rates)
    return jax.tree.map(lambda a, b, z: jnp.where(_mask_at(z, step, rows), a, b), old, new, stays)


def _carry_shapes(cell: Cell, batch_shape: tuple[int, ...] = ()) -> Carry:
    return jax.eval_shape(functools.partial(cell.initial_carry, batch_shape))
