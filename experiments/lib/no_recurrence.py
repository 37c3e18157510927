"""Cells that learn nothing from the order of the steps: what a recurrent one is held against, in its place."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

import rnnjax


class AverageCarry(NamedTuple):
    """Carry of `average`."""

    total: jax.Array  # of the outputs so far [..., H]
    count: jax.Array  # of the steps so far [..., 1]


def _layer(inputs: int, hidden: int):
    """One layer of ReLUs: `key -> (weights [F, H], biases [H])`, and `(params, x [..., F]) -> [..., H]`."""

    def init(key: jax.Array):
        return jax.nn.initializers.he_normal()(key, (inputs, hidden)), jnp.zeros(hidden)

    def apply(params, x: jax.Array) -> jax.Array:
        y = jnp.matmul(x, params[0])
        return jax.nn.relu(y + jnp.broadcast_to(params[1], y.shape))

    return init, apply


def memoryless(inputs: int, hidden: int) -> rnnjax.Cell:
    """Makes a cell that sees the present step only: y_t = relu(W x_t + b)."""
    init, layer = _layer(inputs, hidden)
    return rnnjax.Cell(init, lambda *_, **__: (), lambda params, carry, x: (carry, layer(params, x)), inputs, hidden)


def average(inputs: int, hidden: int) -> rnnjax.Cell:
    """Makes a cell that knows what it saw, but not when: y_t is the mean of relu(W x_s + b) over s up to t."""
    init, layer = _layer(inputs, hidden)

    def initial_carry(batch_shape=(), dtype=jnp.float32):
        return AverageCarry(jnp.zeros((*batch_shape, hidden), dtype), jnp.zeros((*batch_shape, 1), dtype))

    def apply(params, carry, x):
        carry = AverageCarry(carry.total + layer(params, x), carry.count + 1)
        return carry, carry.total / carry.count

    return rnnjax.Cell(init, initial_carry, apply, inputs, hidden)
