"""Constraints: functions that shape the distribution of the next token, or forbid some tokens.

    constraint(tokens [K, T], step [], logits [K, V]) -> logits [K, V]

with the tokens chosen so far (neither bos nor a prompt is among them; pad_id fills them from `step` on), how many these
are, and the logits of the next. `sample`, `greedy` and `beam_search` apply constraints in the order in which they are
given, so that each sees what those before it left. A logit of -inf forbids its token.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from rnnjax import _checks
from rnnjax._types import Array

Constraint = Callable[[Array, Array, Array], Array]


def ban_tokens(ids: Array) -> Constraint:
    """Forbids tokens.

    Args:
      ids: integers `[N]`.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      TypeError: ids that are not integers `[N]`.
      ValueError: at the first step, ids outside the vocabulary.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> forbid = rnnjax.decoding.ban_tokens([0, 3])
      >>> forbid(jnp.zeros((1, 5), int), 0, jnp.array([[1.0, 2.0, 3.0, 4.0]])).tolist()
      [[-inf, 2.0, 3.0, -inf]]
    """
    ids = _check_vector("ban_tokens", "ids", ids)

    def constraint(tokens: Array, step: Array, logits: Array) -> Array:
        _checks.check_ids("ban_tokens", "ids", ids, logits.shape[-1])
        xp = jnp if isinstance(ids, jax.core.Tracer) else np  # where ids are known, a constant outside the loop
        banned = xp.isin(xp.arange(logits.shape[-1]), ids)
        return jnp.where(banned[None], -jnp.inf, logits)

    return constraint


def ban_sequences(sequences: Sequence[Array]) -> Constraint:
    """Forbids every token that would complete one of these sequences, so that none of them ever appears.

    Only tokens that are decoded count: a sequence that a prompt begins is not recognised.

    Args:
      sequences: integers `[n]` each, of any lengths n of at least 1; those of one token are what `ban_tokens` forbids.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      TypeError: sequences that are not a sequence of integers `[n]`.
      ValueError: an empty one; at the first step, ids outside the vocabulary.

    Examples:
      After 2 1 neither 1 nor, since 2 1 0 is banned, 0:

      >>> import jax.numpy as jnp, rnnjax
      >>> forbid = rnnjax.decoding.ban_sequences([[2, 1, 0], [1, 1], [2, 2]])
      >>> forbid(jnp.array([[2, 1, 0, 0]]), 2, jnp.array([[7.0, 8.0, 9.0]])).tolist()
      [[-inf, -inf, 9.0]]
    """
    if not isinstance(sequences, (Sequence, np.ndarray, jax.Array)):
        raise TypeError(f"ban_sequences: expected a sequence of integers [n] each, got {type(sequences).__name__}.")
    banned = [_check_vector("ban_sequences", f"sequences[{i}]", ids) for i, ids in enumerate(sequences)]
    for number, ids in enumerate(banned):
        if not ids.size:
            raise ValueError(f"ban_sequences: expected at least one token in each, got none in sequences[{number}].")

    def constraint(tokens: Array, step: Array, logits: Array) -> Array:
        for number, ids in enumerate(banned):
            _checks.check_ids("ban_sequences", f"sequences[{number}]", ids, logits.shape[-1])
        if not banned:
            return logits
        return jnp.where(_completes_one_of(banned, tokens, step, logits.shape[-1]), -jnp.inf, logits)

    return constraint


def min_length(n: int, eos_id: int) -> Constraint:
    """Forbids an end before the n-th token.

    Args:
      n: the smallest number of tokens, eos counted.
      eos_id: the token that ends a sequence.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      ValueError: n or eos_id that are not integers of at least 0; at the first step, an eos_id outside the vocabulary.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> tokens, logits = jnp.zeros((1, 5), int), jnp.array([[1.0, 2.0]])
      >>> constraint = rnnjax.decoding.min_length(3, eos_id=0)
      >>> constraint(tokens, 1, logits).tolist(), constraint(tokens, 2, logits).tolist()
      ([[-inf, 2.0]], [[1.0, 2.0]])
    """
    _check_integer("min_length", "n", n, 0)
    _check_integer("min_length", "eos_id", eos_id, 0)

    def constraint(tokens: Array, step: Array, logits: Array) -> Array:
        _checks.check_ids("min_length", "eos_id", eos_id, logits.shape[-1])
        is_end = jnp.arange(logits.shape[-1]) == eos_id
        return jnp.where(is_end[None] & (step + 1 < n), -jnp.inf, logits)

    return constraint


def force_prefix(tokens: Array) -> Constraint:
    """Makes every sequence begin with given tokens, by forbidding all others.

    They are part of the result, of its log-probabilities and of its score, unlike the `prompt` of a decoder, which
    counts nowhere. A sequence ends at an eos among them.

    Args:
      tokens: integers `[P]`, P at most T.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      TypeError: tokens that are not integers `[P]`.
      ValueError: at the first step, tokens outside the vocabulary, or more of them than T.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> constraint = rnnjax.decoding.force_prefix([2, 0])
      >>> constraint(jnp.zeros((1, 5), int), 0, jnp.array([[1.0, 2.0, 3.0]])).tolist()
      [[-inf, -inf, 3.0]]
    """
    prefix = _check_vector("force_prefix", "tokens", tokens)
    count = prefix.shape[0]

    def constraint(tokens: Array, step: Array, logits: Array) -> Array:
        _checks.check_ids("force_prefix", "tokens", prefix, logits.shape[-1])
        if count > tokens.shape[1]:
            raise ValueError(f"force_prefix: expected at most T = {tokens.shape[1]} tokens, got {count}.")
        if not count:
            return logits
        forced = jnp.asarray(prefix, jnp.int32)[jnp.minimum(step, count - 1)]
        others = jnp.arange(logits.shape[-1]) != forced
        return jnp.where(others[None] & (step < count), -jnp.inf, logits)

    return constraint


def no_repeat_ngram(n: int) -> Constraint:
    """Forbids every token that would complete n tokens in a row which the sequence already contains.

    Reference: Paulus, Xiong & Socher 2018, "A deep reinforced model for abstractive summarization".

    Args:
      n: at least 1; with 1 no token appears twice.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      ValueError: an n that is not a positive integer.

    Examples:
      After 1 2 1 another 2 would repeat 1 2:

      >>> import jax.numpy as jnp, rnnjax
      >>> constraint = rnnjax.decoding.no_repeat_ngram(2)
      >>> constraint(jnp.array([[1, 2, 1, 0, 0]]), 3, jnp.array([[7.0, 8.0, 9.0]])).tolist()
      [[7.0, 8.0, -inf]]
    """
    _check_integer("no_repeat_ngram", "n", n, 1)

    def constraint(tokens: Array, step: Array, logits: Array) -> Array:
        if n > tokens.shape[1]:
            return logits
        return jnp.where(_completes_ngram(tokens, step, n, logits.shape[-1]), -jnp.inf, logits)

    return constraint


def keep_top_k(k: int) -> Constraint:
    """Keeps the k largest logits, the first of equal ones, and forbids the others.

    Reference: Fan, Lewis & Dauphin 2018, "Hierarchical neural story generation".

    Args:
      k: how many, at least 1; a k over V keeps all.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      ValueError: a k that is not a positive integer.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> rnnjax.decoding.keep_top_k(2)(jnp.zeros((1, 5), int), 0, jnp.array([[1.0, 3.0, 2.0]])).tolist()
      [[-inf, 3.0, 2.0]]
    """
    _check_integer("keep_top_k", "k", k, 1)

    def constraint(tokens: Array, step: Array, logits: Array) -> Array:
        _, kept = lax.top_k(logits, min(k, logits.shape[-1]))
        keep = jnp.any(jax.nn.one_hot(kept, logits.shape[-1], dtype=jnp.bool_), axis=-2)
        return jnp.where(keep, logits, -jnp.inf)

    return constraint


def keep_top_p(p: float) -> Constraint:
    """Keeps the fewest most probable tokens whose probabilities add up to at least p, and forbids the others.

    Reference: Holtzman et al. 2020, "The curious case of neural text degeneration" (nucleus sampling).

    Args:
      p: in (0, 1]; the most probable token is always kept.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      ValueError: p outside (0, 1].

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> logits = jnp.log(jnp.array([[0.5, 0.125, 0.375]]))
      >>> rnnjax.decoding.keep_top_p(0.6)(jnp.zeros((1, 5), int), 0, logits).tolist()
      [[-0.69..., -inf, -0.98...]]
    """
    if not 0 < p <= 1:
        raise ValueError(f"keep_top_p: expected p in (0, 1], got {p}.")

    def constraint(tokens: Array, step: Array, logits: Array) -> Array:
        if p == 1:  # a sum of probabilities may round to 1 before the last of them
            return logits
        order = jnp.argsort(logits, axis=-1, descending=True)
        probs = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1)
        before = jnp.cumsum(probs, axis=-1) - probs  # of the tokens ahead of each
        keep_sorted = before < p
        ranks = jnp.argsort(order, axis=-1)
        return jnp.where(jnp.take_along_axis(keep_sorted, ranks, axis=-1), logits, -jnp.inf)

    return constraint


def at_temperature(value: float) -> Constraint:
    """Divides logits by a temperature; 0, its limit, leaves the most probable token alone.

    Reference: Ackley, Hinton & Sejnowski 1985, "A learning algorithm for Boltzmann machines".

    Args:
      value: below 1 sharpens, above 1 flattens; at least 0.

    Returns:
      A constraint, `(tokens [K, T], step [], logits [K, V]) -> logits [K, V]`.

    Raises:
      ValueError: a negative value.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> rnnjax.decoding.at_temperature(0.5)(jnp.zeros((1, 5), int), 0, jnp.array([[1.0, 2.0]])).tolist()
      [[2.0, 4.0]]
    """
    if not value >= 0:
        raise ValueError(f"at_temperature: expected a value of at least 0, got {value}.")
    return keep_top_k(1) if value == 0 else lambda tokens, step, logits: logits / value


def check_constraints(where: str, constraints: Sequence[Constraint]) -> tuple[Constraint, ...]:
    """The constraints as a tuple; raises unless they are a sequence of functions."""
    if not isinstance(constraints, Sequence) or not all(callable(each) for each in constraints):
        raise TypeError(f"{where}: expected constraints to be a sequence of functions, got {constraints!r}.")
    return tuple(constraints)


def constrain(where: str, constraints: Sequence[Constraint], tokens: Array, step: Array, logits: Array) -> Array:
    """Logits `[K, V]` after all constraints; raises where one of them returns another shape or dtype."""
    for number, constraint in enumerate(constraints):
        constrained = constraint(tokens, step, logits)
        if jnp.shape(constrained) != logits.shape or jnp.result_type(constrained) != logits.dtype:
            raise ValueError(
                f"{where}: expected constraints[{number}] to return logits of shape {logits.shape} and dtype "
                f"{logits.dtype}, as it got them, got {jnp.shape(constrained)} and {jnp.result_type(constrained)}."
            )
        logits = constrained
    return logits


def _completes_ngram(tokens: Array, step: Array, n: int, vocabulary_size: int) -> Array:
    """Which tokens would end an n-gram that each row `[K, T]` has among its first `step` tokens, `[K, V]`."""
    rows, steps = tokens.shape
    ends = jnp.arange(n - 1, steps)  # of the n-grams
    seen = jnp.broadcast_to((ends < step)[None], (rows, ends.shape[0]))
    for back in range(1, n):
        last = lax.dynamic_slice_in_dim(tokens, jnp.maximum(step - back, 0), 1, axis=1)
        seen &= tokens[:, n - 1 - back : steps - back] == last
    at = jnp.broadcast_to(jnp.arange(rows)[:, None], seen.shape)
    return jnp.zeros((rows, vocabulary_size), jnp.bool_).at[at, tokens[:, n - 1 :]].max(seen)


def _completes_one_of(sequences: list[Array], tokens: Array, step: Array, vocabulary_size: int) -> Array:
    """Which tokens would end one of the sequences after the first `step` tokens of each row `[K, T]`, `[K, V]`."""
    before = max(ids.shape[0] for ids in sequences) - 1
    # All but the last token of each, `[N, before]`, aligned to the right; any token fits what is missing on the left.
    heads = jnp.stack([jnp.pad(ids[:-1].astype(np.int32), (before + 1 - ids.shape[0], 0)) for ids in sequences])
    missing = np.arange(before) < np.array([[before + 1 - ids.shape[0]] for ids in sequences])
    places = step - before + jnp.arange(before)
    recent = jnp.take(tokens, jnp.maximum(places, 0), axis=1)  # [K, before]
    fits = missing[None] | ((recent[:, None] == heads[None]) & (places >= 0)[None, None])
    last = jnp.stack([jnp.asarray(ids[-1], jnp.int32) for ids in sequences])
    complete = jnp.all(fits, axis=-1)  # [K, N]
    return jnp.zeros((tokens.shape[0], vocabulary_size), jnp.bool_).at[:, last].max(complete)


def _check_vector(where: str, name: str, ids: Any) -> Any:
    """Integer ids `[N]`: a NumPy array where their values are known."""
    if not isinstance(ids, jax.core.Tracer):
        ids = np.asarray(ids)
        ids = ids if ids.size else ids.astype(np.int32)
    if ids.ndim != 1 or not jnp.issubdtype(ids.dtype, jnp.integer):
        raise TypeError(f"{where}: expected {name} to be integers [N], got {ids.dtype} of shape {ids.shape}.")
    return ids


def _check_integer(where: str, name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ValueError(f"{where}: expected {name} to be an integer of at least {least}, got {value!r}.")
