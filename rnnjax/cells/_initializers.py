"""Initialisers of weights and biases: the defaults of the cells, and those that jax.nn.initializers lacks."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from rnnjax._types import Array, Initializer, Key

glorot = jax.nn.initializers.glorot_uniform()
ones = jax.nn.initializers.ones
zeros = jax.nn.initializers.zeros


def orthogonal(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
    """jax.nn.initializers.orthogonal, one matrix after the other under vmap.

    jaxlib before 0.11 lets batched QR decompositions of one program wait for each other forever on a CPU of few cores.
    """
    return jax.custom_batching.sequential_vmap(lambda key: jax.nn.initializers.orthogonal()(key, shape, dtype))(key)


def constant_by_gate(gates: str, values: Mapping[str, float]) -> Initializer:
    """Initialises biases `[G * H]` with one value per gate, zero for a gate without one."""

    def init(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        del key  # nothing is random
        of_gates = [jnp.full(shape[0] // len(gates), values.get(gate, 0.0), dtype) for gate in gates]
        return jnp.concatenate(of_gates)

    return init


def identity_init(scale: float = 1.0) -> Initializer:
    """Makes w_h = scale * I, the recurrent weights of the ReLU RNN (IRNN).

    Reference: Le, Jaitly & Hinton 2015, "A simple way to initialize recurrent networks of rectified linear
    units".

    Args:
      scale: the diagonal, `[]`.

    Returns:
      An initialiser of square matrices `[H, H]`; it raises ValueError for any other shape.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> irnn = rnnjax.rnn(2, 3, activation=jax.nn.relu, w_h_init=rnnjax.cells.identity_init())
      >>> irnn.init(jax.random.key(0)).w_h.tolist()
      [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """

    def init(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        del key  # nothing is random
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"identity_init expects a square matrix [H, H], got {shape}; use it for w_h.")
        return scale * jnp.eye(shape[0], dtype=dtype)

    return init


def chrono_init(max_lag: float, gates: str = "ifgo") -> Initializer:
    """Spreads the memory of the units over lags from 1 to max_lag steps, by their biases.

    With u ~ log(Uniform(1, max_lag - 1)), drawn once per unit:

        b_f = u      (a forget gate "f" keeps about exp(u) steps)
        b_i = -u     (an input gate "i" lets in what the forget gate lets out)
        b_u = -u     (an update gate "u" of h = u * cand + (1 - u) * h)
        0 for every other gate

    Reference: Tallec & Ollivier 2018, "Can recurrent neural networks warp time?".

    Args:
      max_lag: the longest lag expected, in steps; more than 2.
      gates: the gates of the bias vector in their order, one letter each: "ifgo" for the LSTM and its peephole
        and layer-norm forms, "fgo" for the coupled-gate LSTM, "run" for the GRU, "un" for the simplified GRU.

    Returns:
      An initialiser of bias vectors `[len(gates) * H]`.

    Raises:
      ValueError: max_lag of 2 or less; from the initialiser, a bias that does not have these gates.

    Examples:
      >>> import jax, rnnjax
      >>> cell = rnnjax.lstm(2, 3, b_init=rnnjax.cells.chrono_init(max_lag=700))
      >>> b_i, b_f, b_g, b_o = cell.init(jax.random.key(0)).b.reshape(4, 3)
      >>> bool((b_i == -b_f).all()), bool((b_f >= 0).all()), b_g.tolist()
      (True, True, [0.0, 0.0, 0.0])
    """
    if not max_lag > 2:
        raise ValueError(
            f"chrono_init expects max_lag > 2 steps, got {max_lag}; pass the longest lag to be remembered."
        )
    signs = [{"f": 1.0, "i": -1.0, "u": -1.0}.get(gate, 0.0) for gate in gates]

    def init(key: Key, shape: tuple[int, ...], dtype=jnp.float32) -> Array:
        if len(shape) != 1 or shape[0] % len(gates):
            raise ValueError(
                f"chrono_init(gates={gates!r}) expects a bias of {len(gates)} gates [{len(gates)} * H], got shape "
                f"{shape}; pass the gates of this cell."
            )
        u = jnp.log(jax.random.uniform(key, (shape[0] // len(gates),), dtype, 1.0, max_lag - 1.0))
        return jnp.concatenate([sign * u if sign else jnp.zeros_like(u) for sign in signs])

    return init
