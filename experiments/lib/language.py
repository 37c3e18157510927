"""A model of the next token: its loss over streams, its evaluation, its samples."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from experiments.lib import report


class LanguageModel(NamedTuple):
    """A model of the next token as pure functions."""

    init: Callable[..., Any]  # key -> params
    initial_carry: Callable[..., Any]  # (batch_shape, dtype) -> carry
    logits: Callable[..., Any]  # (params, carry, ids [T, B], *, key) -> (carry, logits [T, B, V]); key for dropout
    step: Callable[..., Any]  # (params, carry, ids [B]) -> (carry, logits [B, V])


class Stream(NamedTuple):
    """What passes from window to window of B streams."""

    cell: Any  # carry of the layers [B, ...]
    smooth_loss: jax.Array  # s = 0.999 s + 0.001 (mean loss of a window), as min-char-rnn has it [B], so that it splits


def first_stream(model: LanguageModel, batch: int, size: int) -> Stream:
    """The stream before the first window; the smoothed loss begins with that of a uniform guess among `size` tokens."""
    return Stream(model.initial_carry((batch,)), jnp.full(batch, math.log(size), jnp.float32))


def make_loss(model: LanguageModel, *, dropout: bool = False):
    """`(params, stream, window, *, key) -> (stream, SumCount)`: cross-entropy of the next token, in nats."""

    def loss_fn(params, stream, window, *, key):
        fresh = model.initial_carry(window.starts.shape, stream.smooth_loss.dtype)
        carry = jax.tree.map(
            lambda new, old: jnp.where(jnp.expand_dims(window.starts, range(1, new.ndim)), new, old), fresh, stream.cell
        )
        carry, logits = model.logits(params, carry, window.inputs, key=key if dropout else None)
        parts = rnnjax.losses.get_loss("cross_entropy")(logits, window.targets)
        return Stream(carry, 0.999 * stream.smooth_loss + 0.001 * parts.mean), parts

    return loss_fn


def make_nats(model: LanguageModel, ids: np.ndarray, *, batch: int = 32, steps: int = 128):
    """`params -> nats [M - 1]`: -log P of all tokens but the first, in pieces side by side, each from a fresh carry."""
    windows = rnnjax.data.padded_windows(ids, batch_size=batch, steps=steps)  # [N, T, B]

    @jax.jit
    def all_windows(params):
        def window(carry, ids):
            carry, logits = model.logits(params, carry, ids.inputs)
            return carry, optax.softmax_cross_entropy_with_integer_labels(logits, ids.targets)

        return jax.lax.scan(window, model.initial_carry((batch,)), windows)[1]

    def in_order(values):  # [N, T, B] to piece after piece
        return np.asarray(values).transpose(2, 0, 1).ravel()

    there = in_order(windows.mask)
    return lambda params: in_order(all_windows(params))[there]


def make_evaluate(nats: Callable[[Any], np.ndarray]):
    """`state -> {"held_out_loss", "held_out_bits"}`, means of what `make_nats` measures."""

    def evaluate(state):
        loss = float(nats(state.params).mean(dtype=np.float64))
        return {"held_out_loss": loss, "held_out_bits": loss / math.log(2)}

    return evaluate


def make_sampler(step: Callable[..., Any], length: int, constraints: Sequence[Any] = ()):
    """`(params, carry, first id, key, prompt=None) -> ids [length]`, one compiled loop; carry of one row.

    The step is that of a `LanguageModel`, `(params, carry, ids [B]) -> (carry, logits [B, V])`.
    """

    @jax.jit
    def sampler(params, carry, first, key, prompt=None):
        options = {"max_steps": length, "constraints": constraints, "prompt": prompt}
        return rnnjax.sample(functools.partial(step, params), carry, key=key, bos_id=first, **options).tokens[0]

    return sampler


def restore(out: str, name: str, config_type: type, make_model: Callable[[Any, int], LanguageModel]):
    """Opens a run: its folder, options, vocabulary, model, and the parameters of its newest checkpoint."""
    folder = report.find_run(out, name)
    config, vocabulary = (
        report.read_config(folder, config_type),
        rnnjax.data.Vocabulary.load(folder / "vocabulary.json"),
    )
    model = make_model(config, len(vocabulary.symbols))
    like = jax.eval_shape(model.init, jax.random.key(0))
    return folder, config, vocabulary, model, rnnjax.training.restore_params(folder / "checkpoints", like).tree
