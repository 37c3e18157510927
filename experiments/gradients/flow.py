"""How gradients flow in a cell: their norms by lag, the Jacobians of its steps, and its gates."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.gradients.latch import SYMBOLS
from experiments.lib.cells import make_cell
from rnnjax import diagnostics

FLOOR = 1e-35  # below it a float32 gradient loses digits, and is then zero
GATES = {"lstm": ("forget gate f", "input gate i", "output gate o"), "gru": ("reset gate r", "update gate u")}


def untrained_cells(config: Any) -> dict[str, rnnjax.Cell]:
    """Makes the cells of the figure by what they are called there."""
    make = functools.partial(make_cell, input_size=2 * SYMBOLS, hidden_size=config.hidden)
    return {
        "RNN, tanh": make("rnn"),
        "LSTM, forget bias 1": make("lstm"),
        "RNN, ReLU": make("rnn", activation=jax.nn.relu),
        "RNN, ReLU, $W_h = 1$": make("irnn"),
        "GRU": make("gru"),
        "LSTM, forget bias 0": make("lstm", forget_bias=0.0),
        "LSTM, chrono": make("lstm", max_lag=config.lag),
    }


def projection(key: jax.Array, size: int) -> jax.Array:
    """Draws a direction: the loss is what the last output has of it."""
    direction = jax.random.normal(key, (size,))
    return direction / jnp.linalg.norm(direction)


def norms_by_seed(config: Any, cell: rnnjax.Cell, scales: Sequence[float] = (1.0,)) -> np.ndarray:
    """Norms `[S, T, W]`, a network and an input for each of S seeds, its recurrent weights times each of W scales."""
    key_cell, key_x, key_loss = jax.random.split(jax.random.key(config.seed), 3)
    params = jax.vmap(cell.init)(jax.random.split(key_cell, config.seeds))
    inputs = jax.random.normal(key_x, (config.seeds, config.lag, 2 * SYMBOLS))
    directions = jax.vmap(lambda key: projection(key, config.hidden))(jax.random.split(key_loss, config.seeds))

    def one(params, xs, direction, scale):
        params = params._replace(w_h=params.w_h * scale)
        return diagnostics.gradient_norms(cell, params, xs, lambda carry, ys: jnp.vdot(ys[-1], direction)).whole

    scaled = jax.vmap(one, (None, None, None, 0), 1)
    return np.asarray(jax.jit(jax.vmap(scaled, (0, 0, 0, None)))(params, inputs, directions, jnp.asarray(scales)))


def half_lives(norms: np.ndarray) -> np.ndarray:
    """Half-lives of norms, time on axis 0, from where they can be told from rounding."""
    norms = jnp.asarray(np.where(norms > FLOOR, norms, 0.0), jnp.float32)
    return np.asarray(jax.jit(diagnostics.half_life)(norms))


class Look(NamedTuple):
    """What is seen in a network, before training or after it."""

    norms: np.ndarray  # of the gradient, by lag, for each of B sequences [T, B]
    spectrum: diagnostics.JacobianSpectrum  # of the Jacobians of 8 of them, leaves [8, ...]
    gates: dict[str, diagnostics.Saturation]  # by name, shares of the steps at which each unit is low, and high [H]


def make_look(config: Any, name: str, cell: rnnjax.Cell, inputs: np.ndarray):
    """Makes `params of the cell -> Look`, on inputs `[T, B, 8]`."""
    units = config.trained_hidden
    direction = projection(jax.random.key(config.seed), units)

    @jax.jit
    def measure(params):
        norms = diagnostics.gradient_norms(cell, params, inputs, lambda _, ys: jnp.sum(jnp.matmul(ys[-1], direction)))
        jacobians = jax.vmap(functools.partial(diagnostics.step_jacobians, cell, params), 1)(inputs[:, :8])
        return norms.whole, jacobians, diagnostics.activations(cell, params, inputs)

    def look(params):
        norms, jacobians, found = measure(params)
        sigmoids = [found[key] for key in sorted(found) if key.startswith("sigmoid")]
        parts = [values[..., i : i + units] for values in sigmoids for i in range(0, values.shape[-1], units)]
        names = GATES.get(name, [f"gate {i + 1}" for i in range(len(parts))])
        gates = {gate: diagnostics.saturation(part) for gate, part in zip(names, parts, strict=True)}
        if name == "rnn":
            gates["state h"] = diagnostics.saturation(found["tanh_0"], bounds=(-1.0, 1.0))
        spectrum = jax.jit(jax.vmap(diagnostics.jacobian_spectrum))(jacobians)
        return jax.device_get(Look(norms, spectrum, gates))

    return look


def summary(look: Look) -> dict[str, float]:
    """Numbers of a look for the report: medians and means over its sequences."""
    spectrum = look.spectrum
    return {
        "kept": np.median(look.norms[0] / look.norms[-1]),  # at the longest lag over that at lag 1
        "exponent": spectrum.exponents[:, 0].mean(),
        "exponents": spectrum.exponents[:, :4].mean(),
        "stretch": spectrum.singular_values[..., 0].mean(),
        "radius": np.abs(spectrum.eigenvalues).max(axis=-1).mean(),
    }
