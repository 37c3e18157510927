"""Recurrence for Flax: `rnnjax.flax.nnx` and `rnnjax.flax.linen`, thin shells over the pure functions."""

from rnnjax.flax import linen, nnx

__all__ = ["linen", "nnx"]
