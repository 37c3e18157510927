"""What goes on inside a recurrent network: gradients against the lag, Jacobians of steps, saturated gates.

Functions of any `Cell`, to be looked at in a plot or a log; none of them is needed to train.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rnnjax import _jaxprs as jaxprs
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.recurrence import scan, unroll

# Primitives of jaxprs that saturate, by the names that `activations` gives them.
_SQUASHING = {"logistic": "sigmoid", "tanh": "tanh"}


# ---- gradients through time ----------------------------------------------------------------------------------


class _Nudged(NamedTuple):
    """What a step consumes whose carry is nudged first."""

    x: Any
    nudges: list[Array]  # of the floating leaves of the carry


class GradientNorms(NamedTuple):
    """Norms of the gradient of a loss with respect to the carry of each step.

    Attributes:
      leaves: a carry of norms, a leaf `[T, ...]` for each leaf `[..., H]`: of h and of c apart for an LSTM.
      whole: of the whole carry, `[T, ...]`: of h alone for a simple RNN or a GRU, of h and c together for an LSTM.
    """

    leaves: Carry
    whole: Array


def gradient_norms(
    cell: Cell, params: Params, xs: Any, loss_fn: Any, carry: Carry | None = None, *, lengths: Array | None = None
) -> GradientNorms:
    """How strongly a loss depends on the carry, step by step: the norm of dL / d carry_t.

    norms[t] is that of the carry which step t takes, so the lag to the end of T steps is T - t, from T down to 1. It
    vanishes, stays or explodes with the lag as the products of the Jacobians of the steps do.

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

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(1, 1, activation=jax.nn.identity)
      >>> params = rnnjax.RNNParams(w_x=jnp.ones((1, 1)), w_h=jnp.full((1, 1), 0.5), b=jnp.zeros(1))
      >>> xs = jnp.ones((4, 1))
      >>> rnnjax.diagnostics.gradient_norms(cell, params, xs, lambda carry, ys: ys[-1].sum()).whole.tolist()
      [0.0625, 0.125, 0.25, 0.5]
    """
    first = jax.tree.leaves(xs)[0]
    steps, batch_shape = first.shape[0], first.shape[1:-1]
    start = cell.initial_carry(batch_shape, first.dtype) if carry is None else carry

    def apply(params: Params, carry: Carry, step: _Nudged) -> tuple[Carry, Any]:
        moved = map(jnp.add, _floating(carry), step.nudges)
        return cell.apply(params, _with_floating(carry, list(moved)), step.x)

    def loss(nudges: list[Array]) -> Array:
        nudged = Cell(cell.init, cell.initial_carry, apply)
        return loss_fn(*unroll(nudged, params, _Nudged(xs, nudges), start, lengths=lengths))

    gradients = jax.grad(loss)([jnp.zeros((steps, *leaf.shape), leaf.dtype) for leaf in _floating(start)])

    norms = [_norm(gradient.reshape(steps, *batch_shape, -1)) for gradient in gradients]
    none = jax.tree.map(lambda leaf: jnp.zeros((steps, *batch_shape)), start)
    return GradientNorms(_with_floating(none, norms, like=start), _norm(jnp.stack(norms, axis=-1)))


def _norm(values: Array) -> Array:
    """The norm over the last axis, also where squares are too small or too large for the dtype."""
    top = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    scale = jnp.where((top > 0) & jnp.isfinite(top), top, jnp.ones_like(top))
    return jnp.squeeze(scale, -1) * jnp.sqrt(jnp.sum((values / scale) ** 2, axis=-1))


def _floating(tree: Any) -> list[Array]:
    """The leaves that can have a gradient."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def _with_floating(tree: Any, leaves: list[Array], like: Any = None) -> Any:
    """The tree with other leaves where it, or a tree of its structure, has floating ones."""
    rest = iter(leaves)
    return jax.tree.map(
        lambda leaf, type_of: next(rest) if jnp.issubdtype(type_of.dtype, jnp.floating) else leaf,
        tree,
        tree if like is None else like,
    )


def growth_rate(norms: Array) -> Array:
    """The rate k at which a gradient grows with the lag: log norm = a + k lag fits best, by least squares.

    Args:
      norms: `[T, ...]`, from the longest lag to the shortest, as `gradient_norms` gives them; what is zero or not
        finite is left out.

    Returns:
      k `[...]`, in 1 / step: below 0 it vanishes, above 0 it explodes; 0 where there are no two norms to fit.

    Example:
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
    """The number of steps in which a gradient halves: -log 2 / k, with k the `growth_rate`.

    Args:
      norms: `[T, ...]`, from the longest lag to the shortest, as `gradient_norms` gives them.

    Returns:
      Steps `[...]`; infinite where the norm does not fall with the lag.

    Example:
      >>> import jax.numpy as jnp
      >>> norms = jnp.array([[0.0625, 1.0], [0.125, 1.0], [0.25, 1.0], [0.5, 1.0]])  # [T, B]
      >>> [round(steps, 4) for steps in half_life(norms).tolist()]
      [1.0, inf]
    """
    rate = growth_rate(norms)
    return jnp.where(rate < 0, -math.log(2) / jnp.where(rate < 0, rate, -jnp.ones_like(rate)), jnp.inf)


# ---- Jacobians of steps --------------------------------------------------------------------------------------


class JacobianSpectrum(NamedTuple):
    """What the Jacobians of a run say about growth and decay.

    Attributes:
      singular_values: of each step, `[T, N]`, largest first: how much one step can stretch a perturbation.
      eigenvalues: of each step, complex `[T, N]`, in no order.
      exponents: Lyapunov exponents of the run, `[N]`, largest first, in 1 / step.
    """

    singular_values: Array
    eigenvalues: Array
    exponents: Array


def step_jacobians(cell: Cell, params: Params, xs: Any, carry: Carry | None = None) -> Array:
    """J_t = d carry_t / d carry_{t-1} along a run, with N numbers in a carry, leaf after leaf (h, then c).

    Written for one sequence; a batch is `jax.vmap` of it.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, F]`.
      carry: the carry to start from, leaves `[H]`; the cell's initial one if None.

    Returns:
      `[T, N, N]`, rows are of carry_t.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(3, 5, activation=jax.nn.identity)
      >>> params = cell.init(jax.random.key(0))
      >>> jacobians = rnnjax.diagnostics.step_jacobians(cell, params, jnp.ones((7, 3)))
      >>> bool((jacobians[-1] == params.w_h.T).all())  # a row vector times w_h
      True
    """
    start = cell.initial_carry((), jax.tree.leaves(xs)[0].dtype) if carry is None else carry
    _, before = scan(lambda carry, x: (cell.apply(params, carry, x)[0], carry), start, xs)

    def jacobian(carry: Carry, x: Any) -> Array:
        flat, restore = ravel_pytree(_floating(carry))

        def step(flat: Array) -> Array:
            after, _ = cell.apply(params, _with_floating(carry, restore(flat)), x)
            return ravel_pytree(_floating(after))[0]

        return jax.jacfwd(step)(flat)

    return jax.vmap(jacobian)(before, xs)


def lyapunov_exponents(jacobians: Array) -> Array:
    """Mean growth rates of perturbations over a run: limits of 1/T log of the singular values of J_T ... J_1.

    Found step by step from Q_t R_t = J_t Q_{t-1} as the mean of log |diag R_t|, since the product itself vanishes or
    overflows. All below 0: every perturbation, and every gradient, vanishes; the largest above 0: chaos, gradients
    explode.

    Reference: Benettin et al. 1980, "Lyapunov characteristic exponents"; Engelken, Wolf & Abbott 2023, "Lyapunov
    spectra of chaotic recurrent neural networks".

    Args:
      jacobians: `[T, N, N]`, of `step_jacobians`.

    Returns:
      `[N]`, largest first, in 1 / step; -inf for directions that a step forgets at once.

    Example:
      >>> import jax.numpy as jnp
      >>> jacobians = jnp.tile(jnp.diag(jnp.array([0.5, 2.0])), (11, 1, 1))
      >>> [round(x, 4) for x in lyapunov_exponents(jacobians).tolist()]  # log 2 and log 1/2
      [0.6931, -0.6931]
    """
    if jacobians.ndim != 3 or jacobians.shape[1] != jacobians.shape[2]:
        raise ValueError(f"lyapunov_exponents: expected jacobians of shape [T, N, N], got {jacobians.shape}.")

    def body(q: Array, jacobian: Array) -> tuple[Array, Array]:
        q, r = jnp.linalg.qr(jnp.matmul(jacobian, q))
        return q, jnp.log(jnp.abs(jnp.diagonal(r)))

    _, logs = scan(body, jnp.eye(jacobians.shape[1], dtype=jacobians.dtype), jacobians)
    return jnp.sort(jnp.mean(logs, axis=0))[::-1]


def jacobian_spectrum(jacobians: Array) -> JacobianSpectrum:
    """Singular values and eigenvalues of the Jacobians of a run, and its Lyapunov exponents.

    Reference: Pennington, Schoenholz & Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical
    isometry" (singular values of Jacobians).

    Args:
      jacobians: `[T, N, N]`, of `step_jacobians`.

    Returns:
      `JacobianSpectrum(singular_values [T, N], eigenvalues [T, N], exponents [N])`.

    Example:
      >>> import jax.numpy as jnp
      >>> spectrum = jacobian_spectrum(jnp.array([[[0.0, -2.0], [2.0, 0.0]]]))  # turns, and stretches twice
      >>> spectrum.singular_values.round(4).tolist(), jnp.sort(spectrum.eigenvalues.imag).round(4).tolist()
      ([[2.0, 2.0]], [[-2.0, 2.0]])
    """
    exponents = lyapunov_exponents(jacobians)  # checks the shape
    singular_values = jnp.linalg.svd(jacobians, compute_uv=False)
    return JacobianSpectrum(singular_values, jnp.linalg.eigvals(jacobians), exponents)


# ---- saturation ----------------------------------------------------------------------------------------------


class Saturation(NamedTuple):
    """How often each unit lies at an end of its range.

    Attributes:
      low: share of the values near the lower end, `[H]`, from 0 to 1.
      high: share of the values near the upper end, `[H]`.
    """

    low: Array
    high: Array


def activations(cell: Cell, params: Params, xs: Any, carry: Carry | None = None) -> dict[str, Array]:
    """Every sigmoid and tanh of a cell over a run: its gates and candidates, without a change to the cell.

    They are found in the program of `cell.apply`, at its top level: those inside a loop or a branch of the cell's own
    are not.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`.
      carry: the carry to start from, or None.

    Returns:
      Values `[T, ..., H]` by name, "sigmoid_0", "tanh_0", "sigmoid_1" ..., numbered as the cell computes them: for
      `lstm` sigmoid_0 is f, sigmoid_1 i, tanh_0 g, sigmoid_2 o and tanh_1 tanh(c); for `gru` sigmoid_0 holds r and u.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> found = rnnjax.diagnostics.activations(cell, params, jnp.ones((7, 2, 3)))
      >>> {name: values.shape for name, values in sorted(found.items())}
      {'sigmoid_0': (7, 2, 5), 'sigmoid_1': (7, 2, 5), 'sigmoid_2': (7, 2, 5), 'tanh_0': (7, 2, 5), 'tanh_1': (7, 2, 5)}
    """

    def apply(params: Params, carry: Carry, x: Any) -> tuple[Carry, dict[str, Array]]:
        flat, structure = jax.tree.flatten((params, carry, x))
        jaxpr, consts = jaxprs.trace(
            lambda *leaves: jax.tree.leaves(cell.apply(*jax.tree.unflatten(structure, leaves))),
            list(map(jax.typeof, flat)),
        )
        jaxpr = jaxprs.inline(jaxpr, jaxprs.CALLS)
        found: dict[str, Array] = {}
        counts = dict.fromkeys(_SQUASHING.values(), 0)

        def note(eqn: Any, values: Any) -> None:
            name = _SQUASHING.get(eqn.primitive.name)
            if name is not None:
                found[f"{name}_{counts[name]}"] = eqn.primitive.bind(*values, **eqn.params)
                counts[name] += 1

        outs = jaxprs.evaluate(jaxpr, [*consts, *flat], note)
        leaves, structure = jax.tree.flatten(carry)
        return jax.tree.unflatten(structure, outs[: len(leaves)]), found

    return unroll(Cell(cell.init, cell.initial_carry, apply), params, xs, carry)[1]


def saturation(values: Array, *, bounds: tuple[float, float] = (0.0, 1.0), margin: float = 0.1) -> Saturation:
    """How often each unit lies within a margin of an end of its range.

        low  = mean [v < a + margin (b - a)],    high = mean [v > b - margin (b - a)]

    Reference: Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks".

    Args:
      values: `[..., H]`, such as a gate of `activations`.
      bounds: a and b: (0, 1) for a sigmoid, (-1, 1) for tanh.
      margin: share of the range.

    Returns:
      `Saturation(low [H], high [H])`.

    Example:
      >>> import jax.numpy as jnp
      >>> gate = jnp.array([[0.05, 0.5], [0.02, 0.95], [0.99, 0.5], [0.5, 0.5]])
      >>> low, high = saturation(gate)
      >>> low.tolist(), high.tolist()
      ([0.5, 0.0], [0.25, 0.25])
    """
    low, high = bounds
    if not low < high or not 0 < margin < 0.5:
        raise ValueError(
            f"saturation: expected bounds in order and a margin between 0 and 0.5, got {bounds} and {margin}."
        )
    edge = margin * (high - low)
    axes = tuple(range(values.ndim - 1))
    return Saturation(jnp.mean(values < low + edge, axis=axes), jnp.mean(values > high - edge, axis=axes))
