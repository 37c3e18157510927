"""Jacobians of the steps of a run, their spectra, and Lyapunov exponents."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from rnnjax._types import Array, Carry, Cell, Params, serializable
from rnnjax.diagnostics._floating import carry_dtype, floating, with_floating
from rnnjax.recurrence import scan


@serializable
class JacobianSpectrum(NamedTuple):
    """Growth and decay of perturbations, by the Jacobians of a run.

    Attributes:
      singular_values: of each step, `[T, N]`, largest first: how much one step can stretch a perturbation.
      eigenvalues: of each step, complex `[T, N]`, in no order.
      exponents: Lyapunov exponents of the run, `[N]`, largest first, in 1 / step.
    """

    singular_values: Array
    eigenvalues: Array
    exponents: Array


def step_jacobians(cell: Cell, params: Params, xs: Any, carry: Carry | None = None) -> Array:
    """Computes J_t = d carry_t / d carry_{t-1} along a run, with N numbers in a carry, leaf after leaf (h, then c).

    Written for one sequence; a batch is `jax.vmap` of it.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, F]`.
      carry: the carry to start from, leaves `[H]`; the cell's initial one if None.

    Returns:
      `[T, N, N]`, a row for each number of carry_t.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(3, 5, activation=jax.nn.identity)
      >>> params = cell.init(jax.random.key(0))
      >>> jacobians = rnnjax.diagnostics.step_jacobians(cell, params, jnp.ones((7, 3)))
      >>> bool((jacobians[-1] == params.w_h.T).all())  # a row vector times w_h
      True
    """
    start = cell.initial_carry((), carry_dtype(xs)) if carry is None else carry
    _, before = scan(lambda carry, x: (cell.apply(params, carry, x)[0], carry), start, xs)

    def jacobian(carry: Carry, x: Any) -> Array:
        flat, restore = ravel_pytree(floating(carry))

        def step(flat: Array) -> Array:
            after, _ = cell.apply(params, with_floating(carry, restore(flat)), x)
            return ravel_pytree(floating(after))[0]

        return jax.jacfwd(step)(flat)

    return jax.vmap(jacobian)(before, xs)


def lyapunov_exponents(jacobians: Array) -> Array:
    """Computes the mean growth rates of perturbations: limits of 1/T log of the singular values of J_T ... J_1.

    They are found step by step from Q_t R_t = J_t Q_{t-1} as the mean of log |diag R_t|, since the product itself
    vanishes or overflows. If all are below 0, every perturbation and every gradient vanishes; if the largest is above
    0, the run is chaotic and gradients explode.

    Reference: Benettin et al. 1980, "Lyapunov characteristic exponents"; Engelken, Wolf & Abbott 2023, "Lyapunov
    spectra of chaotic recurrent neural networks".

    Args:
      jacobians: `[T, N, N]`, of `step_jacobians`.

    Returns:
      `[N]`, largest first, in 1 / step; -inf for directions that a step forgets at once.

    Examples:
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
    """Computes singular values and eigenvalues of the Jacobians of a run, and its Lyapunov exponents.

    Reference: Pennington, Schoenholz & Ganguli 2017, "Resurrecting the sigmoid in deep learning through dynamical
    isometry" (singular values of Jacobians).

    Args:
      jacobians: `[T, N, N]`, of `step_jacobians`.

    Returns:
      `JacobianSpectrum(singular_values [T, N], eigenvalues [T, N], exponents [N])`.

    Examples:
      >>> import jax.numpy as jnp
      >>> spectrum = jacobian_spectrum(jnp.array([[[0.0, -2.0], [2.0, 0.0]]]))  # turns, and stretches twice
      >>> spectrum.singular_values.round(4).tolist(), jnp.sort(spectrum.eigenvalues.imag).round(4).tolist()
      ([[2.0, 2.0]], [[-2.0, 2.0]])
    """
    exponents = lyapunov_exponents(jacobians)  # checks the shape
    singular_values = jnp.linalg.svd(jacobians, compute_uv=False)
    return JacobianSpectrum(singular_values, jnp.linalg.eigvals(jacobians), exponents)
