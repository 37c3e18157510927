"""Gradients by lag: how strongly a loss depends on the carry of each step, and how fast that fades."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks as checks
from rnnjax._types import Array, Carry, Cell, Params, serializable
from rnnjax.diagnostics._floating import carry_dtype, floating, with_floating
from rnnjax.recurrence import unroll


class _Nudged(NamedTuple):
    """What a step consumes if its carry is nudged first."""

    x: Any
    nudges: list[Array]  # of the floating leaves of the carry


@serializable
class GradientNorms(NamedTuple):
    """Norms of the gradient of a loss with respect to the carry of each step.

    Attributes:
      leaves: a carry of norms, one leaf `[T, ...]` per leaf `[..., H]`: h and c separately for an LSTM.
      whole: norms of the whole carry, `[T, ...]`: of h for a simple RNN or a GRU, of h and c together for an LSTM.
    """

    leaves: Carry
    whole: Array


def gradient_norms(
    cell: Cell, params: Params, xs: Any, loss_fn: Any, carry: Carry | None = None, *, lengths: Array | None = None
) -> GradientNorms:
    """Measures how strongly a loss depends on the carry, step by step: the norm of dL / d carry_t.

    norms[t] belongs to the carry that step t takes, so the lag to the end of T steps is T - t, from T down to 1. It
    vanishes, stays or explodes with the lag as the products of the steps' Jacobians do.

    Reference: Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with gradient descent is difficult";
    Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks".

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`.
      loss_fn: `(carry, ys [T, ..., H]) -> []`, of the last carry and the outputs. A sum over rows of a batch gives the
        norms of each row's own loss.
      carry: the carry to start from; the cell's initial one if None.
      lengths: integers `[B]`, in steps, or None: the norms of skipped steps are 0.

    Returns:
      `GradientNorms(leaves, whole)`, norms `[T, ...]`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(1, 1, activation=jax.nn.identity)
      >>> params = rnnjax.RNNParams(w_x=jnp.ones((1, 1)), w_h=jnp.full((1, 1), 0.5), b=jnp.zeros(1))
      >>> xs = jnp.ones((4, 1))
      >>> rnnjax.diagnostics.gradient_norms(cell, params, xs, lambda carry, ys: ys[-1].sum()).whole.tolist()
      [0.0625, 0.125, 0.25, 0.5]
    """
    first = jax.tree.leaves(xs)[0]
    steps, batch_shape = first.shape[0], checks.batch_shape_of(cell, xs, time=True)
    start = cell.initial_carry(batch_shape, carry_dtype(xs)) if carry is None else carry

    def apply(params: Params, carry: Carry, step: _Nudged) -> tuple[Carry, Any]:
        moved = map(jnp.add, floating(carry), step.nudges)
        return cell.apply(params, with_floating(carry, list(moved)), step.x)

    def loss(nudges: list[Array]) -> Array:
        nudged = cell._replace(apply=apply)
        return loss_fn(*unroll(nudged, params, _Nudged(xs, nudges), start, lengths=lengths))

    gradients = jax.grad(loss)([jnp.zeros((steps, *leaf.shape), leaf.dtype) for leaf in floating(start)])

    norms = [_norm(gradient.reshape(steps, *batch_shape, -1)) for gradient in gradients]
    none = jax.tree.map(lambda leaf: jnp.zeros((steps, *batch_shape)), start)
    return GradientNorms(with_floating(none, norms, like=start), _norm(jnp.stack(norms, axis=-1)))


def growth_rate(norms: Array) -> Array:
    """Fits the rate k at which a gradient grows with the lag: log norm = a + k lag, by least squares.

    Args:
      norms: `[T, ...]`, from the longest lag to the shortest, as `gradient_norms` gives them; zeros and norms that are
        not finite are left out.

    Returns:
      k `[...]`, in 1 / step: below 0 the gradient vanishes, above 0 it explodes; 0 with fewer than two norms to fit.

    Examples:
      >>> import jax.numpy as jnp
      >>> round(float(growth_rate(jnp.array([0.125, 0.25, 0.5]))), 4)  # log 1/2
      -0.6931
    """
    lags = jnp.arange(norms.shape[0], 0, -1, dtype=norms.dtype).reshape(-1, *[1] * (norms.ndim - 1))
    lags, counts = jnp.broadcast_to(lags, norms.shape), jnp.isfinite(norms) & (norms > 0)
    logs = jnp.log(jnp.where(counts, norms, jnp.ones_like(norms)))

    def mean(values: Array) -> Array:
        total = jnp.sum(jnp.where(counts, values, jnp.zeros_like(values)), axis=0, keepdims=True)
        return total / jnp.maximum(jnp.sum(counts, axis=0, keepdims=True, dtype=norms.dtype), 1)

    centred = lags - mean(lags)
    variance = mean(centred**2)
    return (mean(centred * logs) / jnp.where(variance > 0, variance, jnp.ones_like(variance)))[0]


def half_life(norms: Array) -> Array:
    """Returns the number of steps in which a gradient halves: -log 2 / k, with k the `growth_rate`.

    Args:
      norms: `[T, ...]`, from the longest lag to the shortest, as `gradient_norms` gives them.

    Returns:
      Steps `[...]`; infinite where the norm does not fall with the lag.

    Examples:
      >>> import jax.numpy as jnp
      >>> norms = jnp.array([[0.0625, 1.0], [0.125, 1.0], [0.25, 1.0], [0.5, 1.0]])  # [T, B]
      >>> [round(steps, 4) for steps in half_life(norms).tolist()]
      [1.0, inf]
    """
    rate = growth_rate(norms)
    return jnp.where(rate < 0, -math.log(2) / jnp.where(rate < 0, rate, -jnp.ones_like(rate)), jnp.inf)


def _norm(values: Array) -> Array:
    """The norm over the last axis, also where squares are too small or too large for the dtype."""
    top = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    scale = jnp.where((top > 0) & jnp.isfinite(top), top, jnp.ones_like(top))
    return jnp.squeeze(scale, -1) * jnp.sqrt(jnp.sum((values / scale) ** 2, axis=-1))
