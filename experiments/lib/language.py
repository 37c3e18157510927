"""What experiments with a model of the next token share: loss over streams, evaluation, sampling."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax

# What is minimised, and what the smoothed loss is of: a function of the SumCount of a window.
OBJECTIVES = {"mean": lambda parts: parts.mean, "sum": lambda parts: parts.sum}


class LanguageModel(NamedTuple):
    """A model of the next token as pure functions.

    Attributes:
      init: `key -> params`.
      initial_carry: `(batch_shape, dtype) -> carry`.
      logits: `(params, carry, ids [T, B], *, key) -> (carry, logits [T, B, V])`; key None for no dropout.
      step: `(params, carry, ids [B]) -> (carry, logits [B, V])`.
    """

    init: Callable[..., Any]
    initial_carry: Callable[..., Any]
    logits: Callable[..., Any]
    step: Callable[..., Any]


def make_evaluate(model: LanguageModel, ids: np.ndarray):
    """`state -> {"held_out_loss", "held_out_bits"}` over every character but the first, the carry passed on."""
    windows = rnnjax.data.padded_windows(ids, batch_size=32, steps=128)

    @jax.jit
    def parts(params):
        def window(carry, batch):
            carry, logits = model.logits(params, carry, batch.inputs)
            return carry, rnnjax.losses.get_loss("cross_entropy")(logits, batch.targets, where=batch.mask)

        _, sums = jax.lax.scan(window, model.initial_carry((32,)), windows)
        return rnnjax.losses.SumCount(sums.sum.sum(), sums.count.sum())

    def evaluate(state):
        loss = float(parts(state.params).mean)
        return {"held_out_loss": loss, "held_out_bits": loss / math.log(2)}

    return evaluate


def make_sampler(model: LanguageModel, length: int, temperature: float):
    """`(params, carry, first id, key, prompt=None) -> ids [length]`, one compiled loop; carry of one row."""

    @jax.jit
    def sampler(params, carry, first, key, prompt=None):
        def step_fn(carry, token):
            return model.step(params, carry, token)

        return rnnjax.sample(
            step_fn,
            carry,
            key=key,
            bos_id=first,
            max_steps=length,
            transform=rnnjax.decoding.temperature(temperature),
            prompt=prompt,
        ).tokens[0]

    return sampler


class Stream(NamedTuple):
    """What passes from window to window.

    Attributes:
      cell: carry of the layers.
      smooth_loss: s = 0.999 s + 0.001 loss, as min-char-rnn has it, `[]`.
    """

    cell: rnnjax.Layers
    smooth_loss: jax.Array


def make_loss(model: LanguageModel, batch_size: int, objective, *, dropout: bool = False):
    """`(params, stream, window, *, key) -> (stream, SumCount)`: cross-entropy of the next character, in nats."""

    def loss_fn(params, stream, window, *, key):
        fresh = model.initial_carry((batch_size,), stream.smooth_loss.dtype)
        carry = rnnjax.select(window.starts, fresh, stream.cell)
        carry, logits = model.logits(params, carry, window.inputs, key=key if dropout else None)
        parts = rnnjax.losses.get_loss("cross_entropy")(logits, window.targets)
        return Stream(carry, 0.999 * stream.smooth_loss + 0.001 * objective(parts)), parts

    return loss_fn
