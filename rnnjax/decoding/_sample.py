"""Sampling and greedy decoding, inside one loop.

The model is a step function, closed over its parameters: `(carry, token [K]) -> (carry, logits [K, V])`.
Constraints shape the distribution: temperature, top-k, top-p, bans and others, in the order in which they are given.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from rnnjax import _checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, Key, StepFn, serializable
from rnnjax.decoding._constraints import Constraint, check_constraints, constrain
from rnnjax.decoding._largest import largest
from rnnjax.decoding._prompt import read_prompt
from rnnjax.recurrence import scan


@serializable
class SampleResult(NamedTuple):
    """What was decoded.

    Attributes:
      tokens: ids `[K, T]`, pad_id after the end; the prompt and bos are not among them.
      log_probs: log-probability of each token under the model, without constraints, `[K, T]`, 0 after the end.
      lengths: tokens of each row up to and with its eos, `[K]`.
      carry: the last carry, leaves `[K, ...]`, of an ended row that of its last step; with it and the last tokens as
        bos_id the rows go on.
      records: what `record` returned at each step, leaves `[K, T, ...]`, 0 after the end; or None.
    """

    tokens: Array
    log_probs: Array
    lengths: Array
    carry: Carry
    records: Any = None


class _Task(NamedTuple):
    """What stays the same during decoding."""

    where: str  # the caller, which errors name
    step_fn: StepFn
    choose: Callable[[Array, Any], Array]  # (constrained logits [K, V], key) -> ids [K]
    constraints: Sequence[Constraint]
    eos_id: int | None
    pad_id: int
    record: Callable[[Carry], Any] | None


class _State(NamedTuple):
    """State of the loop."""

    carry: Carry  # of the model
    token: Array  # to be consumed next, [K]
    done: Array  # whether the row has ended, [K]
    tokens: Array | None  # chosen so far, [K, T], kept for constraints only


class _Column(NamedTuple):
    """What a step adds to the result."""

    token: Array  # [K]
    log_prob: Array  # [K]
    inside: Array  # whether the row had not ended before, [K]
    record: Any  # leaves [K, ...], or None


def sample(
    step_fn: StepFn,
    carry: Carry,
    *,
    key: Key,
    bos_id: int | Array,
    eos_id: int | None = None,
    pad_id: int = 0,
    max_steps: int,
    constraints: Sequence[Constraint] = (),
    prompt: Array | None = None,
    record: Callable[[Carry], Any] | None = None,
) -> SampleResult:
    """Samples K sequences in one loop: token_t ~ softmax(constrained logits_t), logits_t from token_{t-1}.

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: the first carry, every leaf `[K, ...]`; K may be 1, as in `cell.initial_carry((1,))`.
      key: random key; the same key gives the same tokens.
      bos_id: the first token consumed, an int or integers `[K]`.
      eos_id: the token that ends a row, or None for rows that never end.
      pad_id: what fills a row after its end.
      max_steps: T, the number of tokens to sample.
      constraints: functions `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`, applied in order, such as
        `[at_temperature(0.8), keep_top_k(40)]`. Where they forbid every token, id 0 is taken.
      prompt: integers `[P]` or `[P, K]`, consumed after bos_id before anything is sampled, and not part of the result;
        or None. `force_prefix` samples tokens that are.
      record: `carry -> pytree [K, ...]`, of the carry after each step, such as attention weights; or None.

    Returns:
      `SampleResult(tokens [K, T], log_probs [K, T], lengths [K], carry, records)`.

    Raises:
      ValueError, TypeError: max_steps below 1, an eos_id outside the vocabulary, a prompt of another shape or dtype,
        or a step function or a constraint that returns a wrong shape or dtype.

    Examples:
      A model that counts up modulo 5:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> def count(carry, token):
      ...     return carry, 1e9 * jax.nn.one_hot((token + 1) % 5, 5)
      >>> result = rnnjax.sample(count, jnp.zeros(2), key=jax.random.key(0), bos_id=0, eos_id=4, pad_id=9, max_steps=6)
      >>> result.tokens[0].tolist(), result.lengths.tolist()
      ([1, 2, 3, 4, 9, 9], [4, 4])
    """

    def choose(logits: Array, step_key: Key) -> Array:
        return jax.random.categorical(step_key, logits, axis=-1)

    constraints = check_constraints("sample", constraints)
    task = _Task("sample", _checks.checked("sample", step_fn), choose, constraints, eos_id, pad_id, record)
    return _decode(task, carry, key, bos_id, prompt, max_steps)


def greedy(
    step_fn: StepFn,
    carry: Carry,
    *,
    bos_id: int | Array,
    eos_id: int | None = None,
    pad_id: int = 0,
    max_steps: int,
    constraints: Sequence[Constraint] = (),
    prompt: Array | None = None,
    record: Callable[[Carry], Any] | None = None,
) -> SampleResult:
    """Takes the most probable token at every step, of equal ones the first: `sample` at temperature 0.

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: the first carry, every leaf `[K, ...]`; K may be 1, as in `cell.initial_carry((1,))`.
      bos_id: the first token consumed, an int or integers `[K]`.
      eos_id: the token that ends a row, or None.
      pad_id: what fills a row after its end.
      max_steps: T.
      constraints: functions `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`, applied in order. Where they
        forbid every token, id 0 is taken.
      prompt: integers `[P]` or `[P, K]`, consumed after bos_id before anything is chosen; or None.
      record: `carry -> pytree [K, ...]`, of the carry after each step; or None.

    Returns:
      `SampleResult(tokens [K, T], log_probs [K, T], lengths [K], carry, records)`.

    Raises:
      ValueError, TypeError: as `sample`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> count = lambda carry, token: (carry + 1, jax.nn.one_hot((token + 1) % 5, 5))
      >>> result = rnnjax.greedy(count, jnp.zeros(1), bos_id=0, max_steps=4)
      >>> result.tokens.tolist(), result.carry.tolist()
      ([[1, 2, 3, 4]], [4.0])
    """

    def choose(logits: Array, _: Any) -> Array:
        return largest(logits, 1)[1].reshape(-1)  # jnp.argmax, in a third of its time

    constraints = check_constraints("greedy", constraints)
    task = _Task("greedy", _checks.checked("greedy", step_fn), choose, constraints, eos_id, pad_id, record)
    return _decode(task, carry, None, bos_id, prompt, max_steps)


def _decode(
    task: _Task, carry: Carry, key: Key | None, bos_id: int | Array, prompt: Array | None, max_steps: int
) -> SampleResult:
    """Consumes bos and prompt, then chooses T tokens, with T keys unless key is None."""
    rows = _checks.count_rows(task.where, carry)
    if max_steps < 1:
        raise ValueError(f"{task.where}: expected max_steps of at least 1, got {max_steps}.")
    if task.eos_id is not None:
        vocabulary_size, _ = _checks.logits_of(task.where, task.step_fn, carry, rows)
        _checks.check_ids(task.where, "eos_id", task.eos_id, vocabulary_size)
    token = jnp.broadcast_to(jnp.asarray(bos_id, jnp.int32), (rows,))
    carry, token = read_prompt(task.where, task.step_fn, carry, token, prompt)
    tokens = jnp.full((rows, max_steps), task.pad_id, jnp.int32) if task.constraints else None
    steps = jnp.arange(max_steps, dtype=jnp.int32) if task.constraints else None
    keys = None if key is None else jax.random.split(key, max_steps)
    state = _State(carry, token, jnp.zeros((rows,), jnp.bool_), tokens)
    with jax.named_scope("sample"):
        state, columns = scan(functools.partial(_step, task), state, (steps, keys), length=max_steps)
    columns = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), columns)  # [K, T, ...]
    lengths = jnp.sum(columns.inside, axis=-1, dtype=jnp.int32)
    return SampleResult(columns.token, columns.log_prob, lengths, state.carry, columns.record)


def _step(task: _Task, state: _State, now: tuple[Any, Any]) -> tuple[_State, _Column]:
    """Chooses a token for each row; `now` is the number of tokens so far, kept for constraints only, and a key."""
    step, key = now
    after, logits = task.step_fn(state.carry, state.token)
    constrained = logits
    if state.tokens is not None:
        constrained = constrain(task.where, task.constraints, state.tokens, step, logits)
    chosen = task.choose(constrained, key).astype(jnp.int32)
    log_prob = jnp.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)
    token = jnp.where(state.done, jnp.int32(task.pad_id), chosen)
    log_prob = jnp.where(state.done, jnp.zeros_like(log_prob), log_prob)
    record = None if task.record is None else masking.select(~state.done, task.record(after), 0)
    tokens = state.tokens
    if tokens is not None:
        tokens = lax.dynamic_update_index_in_dim(tokens, token, step, axis=1)
    done = state.done if task.eos_id is None else state.done | (chosen == task.eos_id)
    # An ended row keeps its carry and consumes its last token again: the model may not know a padding id.
    carry = masking.select(state.done, state.carry, after)
    column = _Column(token, log_prob, ~state.done, record)
    return _State(carry, jnp.where(done, state.token, token), done, tokens), column
