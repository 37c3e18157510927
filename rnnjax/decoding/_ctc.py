"""Decoding of connectionist temporal classification: labels from a distribution at every step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from rnnjax import _checks
from rnnjax import _masking as masking
from rnnjax._types import Array, serializable
from rnnjax.decoding._largest import largest
from rnnjax.recurrence import scan


@serializable
class CTCResult(NamedTuple):
    """The best sequences of labels of one source, best first.

    Attributes:
      labels: ids `[K, N]`, blank_id after the end.
      lengths: labels of each, `[K]`.
      log_probs: log-probability of each, `[K]`: -inf where there is no further sequence.
    """

    labels: Array
    lengths: Array
    log_probs: Array


class _Prefixes(NamedTuple):
    """The K best sequences of labels so far."""

    labels: Array  # [K, N]
    lengths: Array  # [K]
    blank: Array  # log-probability of the paths that end with a blank, [K]
    label: Array  # of those that end with the last label, [K]

    @property
    def total(self) -> Array:
        """Log-probability of each, [K]."""
        return jnp.logaddexp(self.blank, self.label)

    @property
    def last(self) -> Array:
        """The last label of each, [K]; that of an empty one is no label, -1."""
        found = jnp.take_along_axis(self.labels, jnp.maximum(self.lengths - 1, 0)[:, None], axis=1)[:, 0]
        return jnp.where(self.lengths > 0, found, -1)


def ctc_beam_search(
    logits: Array, *, length: Array | None = None, blank_id: int = 0, beam_size: int, max_labels: int | None = None
) -> CTCResult:
    """Searches for the most probable sequences of labels of one source, each a sum over the paths that lead to it.

    A path has a label or a blank for each step; it collapses where equal neighbours become one and blanks are dropped.
    Every step extends K prefixes by a label or none, adds up the paths that lead to the same prefix, and keeps the K
    most probable. With K of at least the number of sequences the log-probabilities are exact, `-rnnjax.losses.ctc`;
    else they are at most that. A batch is `jax.vmap` of it.

    Reference: Hannun et al. 2014, "First-pass large vocabulary continuous speech recognition using bi-directional
    recurrent DNNs".

    Args:
      logits: `[T, V]`.
      length: an integer `[]`, in steps, or None for T; what follows, NaN included, changes nothing.
      blank_id: the class that stands for no label.
      beam_size: K.
      max_labels: N, the largest number of labels, T if None.

    Returns:
      `CTCResult(labels [K, N], lengths [K], log_probs [K])`.

    Raises:
      TypeError: logits that are no floating-point array, or lengths that are no integers.
      ValueError: shapes, sizes or a blank that do not fit.

    Examples:
      The best path is blank, blank (0.36), yet label 1 is more probable, by three paths (0.24 + 0.24 + 0.16):

      >>> import jax.numpy as jnp
      >>> result = ctc_beam_search(jnp.log(jnp.array([[0.6, 0.4], [0.6, 0.4]])), beam_size=2)
      >>> result.labels.tolist(), [round(float(p), 2) for p in jnp.exp(result.log_probs)]
      ([[1, 0], [0, 0]], [0.64, 0.36])
    """
    logits, mask = _check("ctc_beam_search", logits, length, blank_id)
    size = logits.shape[0] if max_labels is None else max_labels
    for name, value in (("beam_size", beam_size), ("max_labels", size)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"ctc_beam_search: expected {name} to be a positive int, got {value!r}.")
    dtype = jnp.promote_types(logits.dtype, jnp.float32)
    none = jnp.full(beam_size, -jnp.inf, dtype)
    labels = jnp.full((beam_size, size), blank_id, jnp.int32)
    first = _Prefixes(labels, jnp.zeros(beam_size, jnp.int32), none.at[0].set(0), none)

    def step(prefixes: _Prefixes, now: tuple[Array, Array]) -> tuple[_Prefixes, None]:
        log_probs, inside = now
        after = _advance(prefixes, log_probs, blank_id)
        return jax.tree.map(lambda new, old: jnp.where(inside, new, old), after, prefixes), None

    with jax.named_scope("ctc_beam_search"):
        prefixes, _ = scan(step, first, (jax.nn.log_softmax(logits.astype(dtype)), mask))
    return CTCResult(prefixes.labels, prefixes.lengths, prefixes.total)


def ctc_greedy(logits: Array, *, length: Array | None = None, blank_id: int = 0) -> CTCResult:
    """Collapses the most probable path of one source: the most probable class of each step.

    That is fast, and where a model is sure of itself as good as `ctc_beam_search`. Reference: Graves et al. 2006,
    "Connectionist temporal classification" (best path decoding).

    Args:
      logits: `[T, V]`.
      length: an integer `[]`, in steps, or None for T; what follows, NaN included, changes nothing.
      blank_id: the class that stands for no label.

    Returns:
      `CTCResult(labels [1, T], lengths [1], log_probs [1])`; the log-probability is that of the path alone.

    Raises:
      TypeError, ValueError: as `ctc_beam_search`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> result = ctc_greedy(9 * jax.nn.one_hot(jnp.array([0, 2, 2, 0, 2, 1]), 3))
      >>> result.labels.tolist(), result.lengths.tolist()
      ([[2, 2, 1, 0, 0, 0]], [3])
    """
    logits, mask = _check("ctc_greedy", logits, length, blank_id)
    steps = logits.shape[0]
    log_probs = jax.nn.log_softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    path = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
    before = jnp.concatenate([jnp.full(1, blank_id, jnp.int32), path])[:steps]
    kept = mask & (path != blank_id) & (path != before)
    places = jnp.where(kept, jnp.cumsum(kept) - 1, steps)
    labels = jnp.full(steps, blank_id, jnp.int32).at[places].set(path, mode="drop")
    log_prob = jnp.sum(jnp.where(mask, jnp.max(log_probs, axis=-1), 0))
    return CTCResult(labels[None], jnp.sum(kept, dtype=jnp.int32)[None], log_prob[None])


def _check(where: str, logits: Any, length: Any, blank_id: int) -> tuple[Array, Array]:
    """Returns logits `[T, V]` with zeros after the end, and the mask `[T]`; raises for what does not fit."""
    masking.check_array(where, "logits", logits)
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{where}: expected logits of a floating-point dtype, got {logits.dtype}.")
    if logits.ndim != 2:
        raise ValueError(f"{where}: expected logits [T, V] of one source, got shape {logits.shape}; use jax.vmap.")
    steps, vocabulary_size = logits.shape
    _checks.check_ids(where, "blank_id", blank_id, vocabulary_size)
    length = jnp.asarray(steps) if length is None else length
    mask = masking.length_mask(masking.check_lengths(where, length, steps, ()), steps)
    return masking.select(mask, jnp.asarray(logits), 0), mask


def _advance(prefixes: _Prefixes, log_probs: Array, blank_id: int) -> _Prefixes:
    """The best prefixes after one more step, with log-probabilities `[V]` of its classes."""
    beams, size = prefixes.labels.shape
    ids, last, total = jnp.arange(log_probs.shape[0]), prefixes.last, prefixes.total
    # A label that repeats the last one makes the prefix longer only after a blank.
    longer = jnp.where(ids[None] == last[:, None], prefixes.blank[:, None], total[:, None]) + log_probs[None]
    longer = jnp.where((prefixes.lengths < size)[:, None] & (ids != blank_id)[None], longer, -jnp.inf)
    stay_blank = total + log_probs[blank_id]
    stay_label = jnp.where(last >= 0, prefixes.label + log_probs[last], -jnp.inf)
    # A prefix i that grows into one that is there, j, adds to it.
    grows = _grows_into(prefixes, blank_id)
    to_last = jnp.where(grows, longer[:, last], -jnp.inf)  # [K, K]
    stay_label = jnp.logaddexp(stay_label, jnp.max(to_last, axis=0))
    merged = jnp.zeros(longer.shape, jnp.bool_).at[jnp.arange(beams)[:, None], last[None]].max(grows)
    longer = jnp.where(merged, -jnp.inf, longer)

    label = jnp.concatenate([stay_label, longer.ravel()])
    blank = jnp.concatenate([stay_blank, jnp.full(longer.size, -jnp.inf, longer.dtype)])
    # Of places that nothing fills, those that were empty stay so: no two prefixes with labels are ever the same.
    chosen = largest(jnp.logaddexp(blank, label)[None], beams)[1][0]
    is_longer = chosen >= beams
    grown = jnp.where(is_longer, chosen - beams, 0)
    parent = jnp.where(is_longer, grown // ids.shape[0], chosen)
    lengths, labels = prefixes.lengths[parent], prefixes.labels[parent]
    here = is_longer[:, None] & (jnp.arange(size)[None] == lengths[:, None])
    labels = jnp.where(here, (grown % ids.shape[0])[:, None], labels)
    return _Prefixes(labels, lengths + is_longer.astype(lengths.dtype), blank[chosen], label[chosen])


def _grows_into(prefixes: _Prefixes, blank_id: int) -> Array:
    """Whether prefix i with one more label is prefix j, `[K, K]`."""
    places = jnp.arange(prefixes.labels.shape[1])[None]
    shorter = jnp.where(places == prefixes.lengths[:, None] - 1, blank_id, prefixes.labels)
    same = jnp.all(prefixes.labels[:, None] == shorter[None], axis=-1)
    one_more = prefixes.lengths[:, None] + 1 == prefixes.lengths[None]
    return same & one_more
