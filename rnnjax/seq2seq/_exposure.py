"""What a decoder reads while it learns: the truth, or its own output.

Works on step functions, `(carry, token [B]) -> (carry, logits [B, V])`, closed over parameters and memory.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax import _masking as masking
from rnnjax._masking import SumCount
from rnnjax._types import Array, Carry, Key, StepFn, serializable
from rnnjax.losses import get_loss
from rnnjax.recurrence import scan


@serializable
class ScheduledResult(NamedTuple):
    """A run that read the truth at some steps and its own samples at others.

    Attributes:
      logits: of each step, `[T, B, V]`.
      inputs: the tokens that were read, `[T, B]`.
    """

    logits: Array
    inputs: Array


def scheduled_sampling(
    step_fn: StepFn,
    carry: Carry,
    tokens: Array,
    *,
    key: Key,
    truth: float | Array,
    greedy: bool = False,
) -> ScheduledResult:
    """Reads the true token with probability epsilon at each step of each row, otherwise one drawn from its own logits.

        x_t = true_t with probability epsilon, otherwise ~ softmax(logits_{t-1});      x_0 = true_0, which is bos

    No gradient passes through what was drawn. `truth=1.` is teacher forcing, `truth=0.` is free running.

    Reference: Bengio et al. 2015, "Scheduled sampling for sequence prediction with recurrent neural networks".

    Args:
      step_fn: `(carry, token [B]) -> (carry, logits [B, V])`.
      carry: the first carry, leaves `[B, ...]`.
      tokens: what teacher forcing would read, `[T, B]`: bos and all targets but the last.
      key: random key.
      truth: epsilon in [0, 1], a number or an array `[]`, such as `inverse_sigmoid_teacher_decay(1000.)(state.step)`.
      greedy: whether its own token is the most probable one rather than a sample.

    Returns:
      `ScheduledResult(logits [T, B, V], inputs [T, B])`.

    Raises:
      ValueError, TypeError: tokens of another shape or dtype, a truth outside [0, 1], or a step function that returns
        wrong shapes.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> count = lambda carry, token: (carry, 1e9 * jax.nn.one_hot((token + 1) % 5, 5))
      >>> tokens = jnp.array([[0], [4], [4]])
      >>> for truth in (1.0, 0.0):
      ...     result = rnnjax.seq2seq.scheduled_sampling(
      ...         count, jnp.zeros(1), tokens, key=jax.random.key(0), truth=truth
      ...     )
      ...     print(result.inputs[:, 0].tolist())
      [0, 4, 4]
      [0, 1, 2]
    """
    rows = _checks.count_rows("scheduled_sampling", carry)
    tokens = _checks.check_tokens("scheduled_sampling", "tokens", tokens, ("T", rows))
    if jnp.ndim(truth) != 0:
        raise ValueError(f"scheduled_sampling: expected truth to be a number, got shape {jnp.shape(truth)}.")
    if not isinstance(truth, jax.core.Tracer) and not 0 <= float(truth) <= 1:
        raise ValueError(f"scheduled_sampling: expected truth in [0, 1], got {float(truth)}.")
    step_fn, tokens = _checks.checked("scheduled_sampling", step_fn), tokens.astype(jnp.int32)
    key_coin, key_draw = jax.random.split(key)
    reads_truth = jax.random.uniform(key_coin, tokens.shape) < jnp.asarray(truth, jnp.float32)
    reads_truth = reads_truth.at[:1].set(True)

    def body(state: tuple[Carry, Array], now: tuple[Array, Array, Key]):
        (carry, own), (true, is_true, draw_key) = state, now
        token = jnp.where(is_true, true, own)
        carry, logits = step_fn(carry, token)
        still = jax.lax.stop_gradient(logits)
        own = jnp.argmax(still, axis=-1) if greedy else jax.random.categorical(draw_key, still, axis=-1)
        return (carry, own.astype(jnp.int32)), (logits, token)

    draws = jax.random.split(key_draw, tokens.shape[0])
    with jax.named_scope("scheduled_sampling"):
        _, (logits, inputs) = scan(body, (carry, jnp.zeros((rows,), jnp.int32)), (tokens, reads_truth, draws))
    return ScheduledResult(logits, inputs)


@serializable
class ExposureBias(NamedTuple):
    """The loss by position, given the truth before it and given samples before it.

    Attributes:
      truth: `SumCount` of -log P(y_t | y_<t), sum and count `[T]`.
      own: `SumCount` of -log P(y_t | own tokens before t), sum and count `[T]`.
    """

    truth: SumCount
    own: SumCount


def exposure_bias(
    step_fn: StepFn,
    carry: Carry,
    targets: Array,
    *,
    lengths: Array,
    bos_id: int,
    key: Key,
    greedy: bool = False,
) -> ExposureBias:
    """Measures what it costs to continue from samples instead of the truth, position by position.

    References: Bengio et al. 2015; Ranzato et al. 2016, "Sequence level training with recurrent neural networks", which
    gave exposure bias its name.

    Args:
      step_fn: `(carry, token [B]) -> (carry, logits [B, V])`.
      carry: the first carry, leaves `[B, ...]`.
      targets: ids `[T, B]`, eos among them.
      lengths: targets of each row, eos counted, `[B]`.
      bos_id: the first token that is read.
      key: random key of the samples.
      greedy: whether the model's own tokens are the most probable ones rather than samples.

    Returns:
      `ExposureBias(truth, own)`; the gap at position t is `own.mean[t] - truth.mean[t]`, in nats, 0 at t = 0.

    Raises:
      ValueError, TypeError: targets or lengths of another shape or dtype, lengths over T, or as `scheduled_sampling`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> likes_order = lambda carry, token: (carry, 5.0 * jax.nn.one_hot((token + 1) % 5, 5))
      >>> targets, lengths = jnp.array([[1, 1], [2, 2], [3, 3]]), jnp.array([3, 2])
      >>> bias = rnnjax.seq2seq.exposure_bias(
      ...     likes_order, jnp.zeros(2), targets, lengths=lengths, bos_id=0, key=jax.random.key(0), greedy=True
      ... )
      >>> (bias.own.mean - bias.truth.mean).tolist(), bias.truth.count.tolist()
      ([0.0, 0.0, 0.0], [2.0, 2.0, 1.0])
    """
    rows = _checks.count_rows("exposure_bias", carry)
    targets = _checks.check_tokens("exposure_bias", "targets", targets, ("T", rows))
    lengths = masking.check_lengths("exposure_bias", lengths, targets.shape[0], (rows,))
    bos = jnp.full_like(targets[:1], bos_id)
    read = jnp.concatenate([bos, targets[:-1]])[: targets.shape[0]]
    mask = masking.length_mask(lengths, targets.shape[0])  # [T, B]

    def by_position(truth: float) -> SumCount:
        result = scheduled_sampling(step_fn, carry, read, key=key, truth=truth, greedy=greedy)
        values = jnp.where(mask, get_loss("cross_entropy").values(result.logits, jnp.where(mask, targets, 0)), 0)
        return SumCount(jnp.sum(values, axis=1), jnp.sum(mask, axis=1, dtype=values.dtype))

    return ExposureBias(by_position(1.0), by_position(0.0))
