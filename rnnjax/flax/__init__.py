"""Cells inside Flax modules, trained by Flax's own tools.

An `nnx.Module` holds parameters with `nnx_params` and takes them out again with `unwrap`; `nnx.Optimizer`, `nnx.jit`,
`nnx.grad`, `nnx.split`, `nnx.state` and checkpoints then work as for any other module. A `linen.Module` needs no
helper: `cell.init` is an initialiser of `self.param`, and the NamedTuple it makes is part of `variables["params"]`:

    >>> import jax, jax.numpy as jnp, optax, rnnjax
    >>> from flax import linen
    >>> from flax.training.train_state import TrainState
    >>> cell = rnnjax.lstm(3, 5)
    >>> class Reader(linen.Module):
    ...     @linen.compact
    ...     def __call__(self, xs):  # [T, B, 3] -> [B, 1]
    ...         carry, _ = rnnjax.unroll(cell, self.param("lstm", cell.init), xs)
    ...         return linen.Dense(1)(carry.h)
    >>> xs = jax.random.normal(jax.random.key(0), (7, 2, 3))
    >>> params = Reader().init(jax.random.key(1), xs)["params"]
    >>> state = TrainState.create(apply_fn=Reader().apply, params=params, tx=optax.sgd(0.1, momentum=0.9))
    >>> gradients = jax.grad(lambda params: jnp.mean(state.apply_fn({"params": params}, xs) ** 2))(state.params)
    >>> state.apply_gradients(grads=gradients).params["lstm"].w_h.shape
    (5, 20)
"""

from rnnjax.flax._nnx import nnx_params, unwrap

__all__ = ["nnx_params", "unwrap"]
