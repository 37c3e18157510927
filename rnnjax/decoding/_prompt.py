"""Prompts: tokens that are consumed before anything is decoded. They are never part of a result, nor of its score."""

import jax.numpy as jnp

from rnnjax._types import Array, Carry, StepFn
from rnnjax.recurrence import scan


def read_prompt(where: str, step_fn: StepFn, carry: Carry, token: Array, prompt: Array | None) -> tuple[Carry, Array]:
    """The carry after token `[K]` and all of the prompt but its last tokens `[K]`, which are to be consumed next."""
    if prompt is None:
        return carry, token
    consumed = jnp.concatenate([token[None], _check_prompt(where, prompt, token.shape[0])])
    return _consume(step_fn, carry, consumed[:-1]), consumed[-1]


def _consume(step_fn: StepFn, carry: Carry, tokens: Array) -> Carry:
    """The carry after tokens `[P, K]`."""
    return scan(lambda carry, token: (step_fn(carry, token)[0], None), carry, tokens)[0]


def _check_prompt(where: str, prompt: Array, rows: int) -> Array:
    """The prompt as ids `[P, K]`."""
    prompt = jnp.asarray(prompt)
    if not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise TypeError(f"{where}: expected a prompt of integer ids, got {prompt.dtype}.")
    if prompt.ndim == 1:
        prompt = jnp.broadcast_to(prompt[:, None], (prompt.shape[0], rows))
    if prompt.ndim != 2 or prompt.shape[1] != rows:
        raise ValueError(f"{where}: expected a prompt of shape [P] or [P, {rows}], got {prompt.shape}.")
    return prompt.astype(jnp.int32)
