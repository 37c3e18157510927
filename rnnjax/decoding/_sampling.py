"""Sampling from a model of the next token, inside one loop.

The model is a step function, closed over its parameters: `(carry, token [K]) -> (carry, logits [K, V])`.
A transform is a function of logits `[..., V]` that shapes the distribution: temperature, top-k, top-p, or a chain.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, Key, StepFn
from rnnjax.decoding._largest import largest
from rnnjax.recurrence import scan

Transform = Callable[[Array], Array]


class SampleResult(NamedTuple):
    """What was sampled.

    Attributes:
      tokens: ids `[K, T]`, pad_id after the end; the prompt and bos are not among them.
      log_probs: log-probability of each token under the model, before any transform, `[K, T]`, 0 after the end.
      lengths: tokens of each row up to and with its eos, `[K]`.
      records: what `record` returned at each step, leaves `[K, T, ...]`, 0 after the end; or None.
    """

    tokens: Array
    log_probs: Array
    lengths: Array
    records: Any = None


class _State(NamedTuple):
    """State of the sampling loop."""

    carry: Carry  # of the model
    token: Array  # to be consumed next, [K]
    done: Array  # whether the row has ended, [K]


def temperature(value: float) -> Transform:
    """logits / value; the limit 0 leaves the most probable token only.

    Args:
      value: below 1 sharpens, above 1 flattens; at least 0.

    Returns:
      A transform of logits `[..., V]`.

    Raises:
      ValueError: a negative value.

    Example:
      >>> import jax.numpy as jnp
      >>> temperature(0.5)(jnp.array([1.0, 2.0])).tolist()
      [2.0, 4.0]
    """
    if not value >= 0:
        raise ValueError(f"temperature: expected a value of at least 0, got {value}.")
    return top_k(1) if value == 0 else lambda logits: logits / value


def top_k(k: int) -> Transform:
    """Keeps the k largest logits, and of equal ones the first; the others become -inf.

    Reference: Fan, Lewis & Dauphin 2018, "Hierarchical neural story generation".

    Args:
      k: how many, at least 1; a k over V keeps all.

    Returns:
      A transform of logits `[..., V]`.

    Raises:
      ValueError: k below 1.

    Example:
      >>> import jax.numpy as jnp
      >>> top_k(2)(jnp.array([1.0, 3.0, 2.0])).tolist()
      [-inf, 3.0, 2.0]
    """
    if k < 1:
        raise ValueError(f"top_k: expected k of at least 1, got {k}.")

    def transform(logits: Array) -> Array:
        _, kept = jax.lax.top_k(logits, min(k, logits.shape[-1]))
        keep = jnp.any(jax.nn.one_hot(kept, logits.shape[-1], dtype=jnp.bool_), axis=-2)
        return jnp.where(keep, logits, -jnp.inf)

    return transform


def top_p(p: float) -> Transform:
    """Keeps the fewest most probable tokens whose probabilities reach p together; the others become -inf.

    Reference: Holtzman et al. 2020, "The curious case of neural text degeneration" (nucleus sampling).

    Args:
      p: in (0, 1]; the most probable token is always kept.

    Returns:
      A transform of logits `[..., V]`.

    Raises:
      ValueError: p outside (0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> top_p(0.6)(jnp.log(jnp.array([0.5, 0.125, 0.375]))).tolist()
      [-0.69..., -inf, -0.98...]
    """
    if not 0 < p <= 1:
        raise ValueError(f"top_p: expected p in (0, 1], got {p}.")

    if p == 1:  # a sum of probabilities may round to 1 before the last of them
        return jax.nn.identity

    def transform(logits: Array) -> Array:
        order = jnp.argsort(logits, axis=-1, descending=True)
        probs = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1)
        before = jnp.cumsum(probs, axis=-1) - probs  # of the tokens ahead of each
        keep_sorted = before < p
        ranks = jnp.argsort(order, axis=-1)
        return jnp.where(jnp.take_along_axis(keep_sorted, ranks, axis=-1), logits, -jnp.inf)

    return transform


def chain(*transforms: Transform) -> Transform:
    """The transforms one after the other, the first first.

    Args:
      *transforms: functions of logits `[..., V]`.

    Returns:
      A transform of logits `[..., V]`.

    Example:
      >>> import jax.numpy as jnp
      >>> chain(top_k(1), temperature(0.5))(jnp.array([1.0, 3.0])).tolist()
      [-inf, 6.0]
    """

    def transform(logits: Array) -> Array:
        for each in transforms:
            logits = each(logits)
        return logits

    return transform


def sample(
    step_fn: StepFn,
    carry: Carry,
    *,
    key: Key,
    bos_id: int | Array,
    eos_id: int | None = None,
    pad_id: int = 0,
    max_steps: int,
    transform: Transform = jax.nn.identity,
    prompt: Array | None = None,
    record: Callable[[Carry], Any] | None = None,
) -> SampleResult:
    """Samples K sequences in one loop: token_t ~ softmax(transform(logits_t)), logits_t from token_{t-1}.

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: the first carry, every leaf `[K, ...]`.
      key: random key; the same key gives the same tokens.
      bos_id: the first token consumed, an int or integers `[K]`.
      eos_id: the token that ends a row, or None for rows that never end.
      pad_id: what fills a row after its end.
      max_steps: T, the number of tokens to sample.
      transform: of the logits, such as `chain(temperature(0.8), top_k(40))`.
      prompt: integers `[P]` or `[P, K]`, consumed after bos_id before anything is sampled; or None.
      record: `carry -> pytree [K, ...]`, of the carry after each step, such as attention weights; or None.

    Returns:
      `SampleResult(tokens [K, T], log_probs [K, T], lengths [K])`.

    Raises:
      ValueError, TypeError: max_steps below 1, an eos_id outside the vocabulary, a prompt of another shape or dtype,
        or a step function whose logits or carry have the wrong shape or dtype.

    Example:
      A model that counts up modulo 5:

      >>> import jax, jax.numpy as jnp, rnnjax
      >>> def count(carry, token):
      ...     return carry, 1e9 * jax.nn.one_hot((token + 1) % 5, 5)
      >>> result = rnnjax.sample(count, jnp.zeros(2), key=jax.random.key(0), bos_id=0, eos_id=4, pad_id=9, max_steps=6)
      >>> result.tokens[0].tolist(), result.lengths.tolist()
      ([1, 2, 3, 4, 9, 9], [4, 4])
    """
    return sample_with_carry(
        step_fn,
        carry,
        key=key,
        bos_id=bos_id,
        eos_id=eos_id,
        pad_id=pad_id,
        max_steps=max_steps,
        transform=transform,
        prompt=prompt,
        record=record,
    )[1]


def sample_with_carry(
    step_fn: StepFn,
    carry: Carry,
    *,
    key: Key,
    bos_id: int | Array,
    eos_id: int | None = None,
    pad_id: int = 0,
    max_steps: int,
    transform: Transform = jax.nn.identity,
    prompt: Array | None = None,
    record: Callable[[Carry], Any] | None = None,
) -> tuple[Carry, SampleResult]:
    """`sample` that also returns the carry, to go on from: with it and the last tokens as bos_id the text continues.

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: the first carry, every leaf `[K, ...]`.
      key: random key.
      bos_id: the first token consumed, an int or integers `[K]`.
      eos_id: the token that ends a row, or None.
      pad_id: what fills a row after its end.
      max_steps: T.
      transform: of the logits.
      prompt: integers `[P]` or `[P, K]`, or None.
      record: `carry -> pytree [K, ...]`, or None.

    Returns:
      `(carry, SampleResult(tokens [K, T], log_probs [K, T], lengths [K]))`; the carry of an ended row is that of its
      last step.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> count = lambda carry, token: (carry + 1, 1e9 * jax.nn.one_hot((token + 1) % 5, 5))
      >>> carry, result = rnnjax.decoding.sample_with_carry(count, jnp.zeros(1), key=jax.random.key(0), bos_id=0, max_steps=3)
      >>> carry.tolist(), result.tokens.tolist()
      ([3.0], [[1, 2, 3]])
    """

    def choose(logits: Array, step_key: Key) -> Array:
        return jax.random.categorical(step_key, transform(logits), axis=-1)

    end = _End(eos_id, pad_id)
    return _decode(
        step_fn, carry, choose, jax.random.split(key, max(max_steps, 1)), bos_id, end, prompt, record, max_steps
    )


def greedy(
    step_fn: StepFn,
    carry: Carry,
    *,
    bos_id: int | Array,
    eos_id: int | None = None,
    pad_id: int = 0,
    max_steps: int,
    prompt: Array | None = None,
    record: Callable[[Carry], Any] | None = None,
) -> SampleResult:
    """The most probable token at every step, of equal ones the first: `sample` at temperature 0.

    Args:
      step_fn: `(carry, token [K]) -> (carry, logits [K, V])`.
      carry: the first carry, every leaf `[K, ...]`.
      bos_id: the first token consumed, an int or integers `[K]`.
      eos_id: the token that ends a row, or None.
      pad_id: what fills a row after its end.
      max_steps: T.
      prompt: integers `[P]` or `[P, K]`, or None.
      record: `carry -> pytree [K, ...]`, or None.

    Returns:
      `SampleResult(tokens [K, T], log_probs [K, T], lengths [K])`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> count = lambda carry, token: (carry, jax.nn.one_hot((token + 1) % 5, 5))
      >>> rnnjax.greedy(count, jnp.zeros(1), bos_id=0, max_steps=4).tokens.tolist()
      [[1, 2, 3, 4]]
    """

    def choose(logits: Array, _: Array) -> Array:
        return largest(logits, 1)[1].reshape(-1)  # jnp.argmax, in a third of its time

    end = _End(eos_id, pad_id)
    return _decode(step_fn, carry, choose, None, bos_id, end, prompt, record, max_steps)[1]


class _End(NamedTuple):
    """How a row ends."""

    eos_id: int | None
    pad_id: int


def _decode(
    step_fn: StepFn,
    carry: Carry,
    choose: Callable[[Array, Any], Array],
    keys: Key | None,
    bos_id: int | Array,
    end: _End,
    prompt: Array | None,
    record: Callable[[Carry], Any] | None,
    max_steps: int,
) -> tuple[Carry, SampleResult]:
    """The loop: `choose(logits [K, V], key) -> ids [K]` once a step."""
    rows = _checks.count_rows("sample", carry)
    if max_steps < 1:
        raise ValueError(f"sample: expected max_steps of at least 1, got {max_steps}.")
    step_fn = _checks.checked("sample", step_fn)
    if end.eos_id is not None:
        vocabulary_size, _ = _checks.logits_of("sample", step_fn, carry, rows)
        _checks.check_ids("sample", "eos_id", end.eos_id, vocabulary_size)
    token = jnp.broadcast_to(jnp.asarray(bos_id, jnp.int32), (rows,))
    if prompt is not None:
        tokens = jnp.concatenate([token[None], _check_prompt(prompt, rows)])
        carry, token = _consume(step_fn, carry, tokens[:-1]), tokens[-1]

    def body(state: _State, key: Any) -> tuple[_State, tuple[Array, Array, Array, Any]]:
        after, logits = step_fn(state.carry, state.token)
        chosen = choose(logits, key).astype(jnp.int32)
        log_prob = jnp.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)
        token = jnp.where(state.done, jnp.int32(end.pad_id), chosen)
        log_prob = jnp.where(state.done, jnp.zeros_like(log_prob), log_prob)
        recorded = None if record is None else masking.select(~state.done, record(after), 0)
        done = state.done if end.eos_id is None else state.done | (chosen == end.eos_id)
        # An ended row keeps its carry and consumes its last token again: the model may not know a padding id.
        carry = masking.select(state.done, state.carry, after)
        return _State(carry, jnp.where(done, state.token, token), done), (token, log_prob, ~state.done, recorded)

    state = _State(carry, token, jnp.zeros((rows,), jnp.bool_))
    with jax.named_scope("sample"):
        state, columns = scan(body, state, keys, length=max_steps)
    tokens, log_probs, inside, records = jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), columns)  # [K, T, ...]
    return state.carry, SampleResult(tokens, log_probs, jnp.sum(inside, axis=-1, dtype=jnp.int32), records)


def _consume(step_fn: StepFn, carry: Carry, tokens: Array) -> Carry:
    """The carry after tokens `[P, K]`."""
    return scan(lambda carry, token: (step_fn(carry, token)[0], None), carry, tokens)[0]


def _check_prompt(prompt: Array, rows: int) -> Array:
    prompt = jnp.asarray(prompt)
    if not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise TypeError(f"sample: expected a prompt of integer ids, got {prompt.dtype}.")
    if prompt.ndim == 1:
        prompt = jnp.broadcast_to(prompt[:, None], (prompt.shape[0], rows))
    if prompt.ndim != 2 or prompt.shape[1] != rows:
        raise ValueError(f"sample: expected a prompt of shape [P] or [P, {rows}], got {prompt.shape}.")
    return prompt.astype(jnp.int32)
