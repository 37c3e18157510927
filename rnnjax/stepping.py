"""Step functions, `(carry, token [K]) -> (carry, logits [K, V])`: checks of what they return, and ensembles of them."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax.scan import scan
from rnnjax.types import Array, Carry, StepFn


def ensemble(step_fns: Sequence[StepFn], *, weights: Sequence[float] | None = None, average: str = "log") -> StepFn:
    """Several models of the same vocabulary as one.

        average="log":  logits = sum_m w_m log softmax(logits^m)           the geometric mean, not normalised
        average="prob": logits = log sum_m w_m softmax(logits^m)           the mean of the distributions

    Reference: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks" (ensembles of LSTMs).

    Args:
      step_fns: M functions `(carry, token [K]) -> (carry, logits [K, V])`.
      weights: M positive numbers, made to sum to one; equal if None.
      average: "log" or "prob".

    Returns:
      A step function whose carry is the tuple of the M carries.

    Raises:
      ValueError: no step function, weights that do not fit, or an unknown average; at the first step, models whose
        logits differ in shape.

    Example:
      >>> import jax.numpy as jnp, rnnjax
      >>> models = [lambda carry, token, p=p: (carry, jnp.log(jnp.array([[p, 1 - p]]))) for p in (0.5, 0.25)]
      >>> step_fn = rnnjax.ensemble(models, average="prob")
      >>> carry, logits = step_fn((jnp.zeros(1), jnp.zeros(1)), jnp.zeros(1, int))
      >>> jnp.exp(logits).tolist()
      [[0.375, 0.625]]
    """
    step_fns = tuple(step_fns)
    if not step_fns:
        raise ValueError("ensemble: expected at least one step function, got none.")
    shares = np.ones(len(step_fns)) if weights is None else np.asarray(weights, float)
    if shares.shape != (len(step_fns),) or not (shares > 0).all():
        raise ValueError(f"ensemble: expected {len(step_fns)} positive weights, got {weights}.")
    if average not in ("log", "prob"):
        raise ValueError(f"ensemble: expected average to be 'log' or 'prob', got {average!r}.")
    shares = (shares / shares.sum()).tolist()

    def step_fn(carries: Carry, token: Array) -> tuple[Carry, Array]:
        after, log_probs = [], []
        for model, carry in zip(step_fns, carries, strict=True):
            carry, logits = model(carry, token)
            after.append(carry)
            log_probs.append(jax.nn.log_softmax(logits, axis=-1))
        if len({each.shape for each in log_probs}) > 1:
            raise ValueError(f"ensemble: expected logits of one shape, got {[each.shape for each in log_probs]}.")
        stacked = jnp.stack(log_probs)  # [M, K, V]
        share = jnp.asarray(shares, stacked.dtype).reshape(-1, 1, 1)
        if average == "log":
            return tuple(after), jnp.sum(stacked * share, axis=0)
        return tuple(after), jax.nn.logsumexp(stacked + jnp.log(share), axis=0)

    return step_fn


def count_rows(where: str, carry: Carry) -> int:
    """K of a carry whose leaves are all `[K, ...]`."""
    leaves = jax.tree.leaves(carry)
    if not leaves or any(jnp.ndim(leaf) < 1 for leaf in leaves):
        raise ValueError(f"{where}: expected a carry whose leaves have a leading axis of K rows, got none.")
    return jnp.shape(leaves[0])[0]


def checked(where: str, step_fn: StepFn) -> StepFn:
    """The same step function, which raises unless it returns a carry like the one it got and logits `[K, V]`."""

    def step(carry: Carry, token: Array) -> tuple[Carry, Array]:
        after, logits = step_fn(carry, token)
        if logits.ndim != 2 or logits.shape[0] != token.shape[0]:
            raise ValueError(
                f"{where}: expected step_fn to return logits of shape [{token.shape[0]}, V], got {logits.shape}."
            )
        before, returned = _shapes(carry), _shapes(after)
        if before != returned:
            raise ValueError(f"{where}: expected step_fn to return a carry of {before}, got {returned}.")
        return after, logits

    return step


def check_ids(where: str, name: str, ids: Any, vocabulary_size: int) -> None:
    """Raises for ids outside the vocabulary, where their values are known."""
    if isinstance(ids, jax.core.Tracer):
        return
    values = np.asarray(ids)
    if values.size and not (values.min() >= 0 and values.max() < vocabulary_size):
        raise ValueError(
            f"{where}: expected {name} from 0 to {vocabulary_size - 1}, ids of the {vocabulary_size} logits, got "
            f"{values.min()} to {values.max()}."
        )


def check_tokens(where: str, name: str, tokens: Any, shape: tuple[int | str, int | str]) -> Array:
    """tokens as an array of integer ids; raises unless it has the shape, such as ("T", 3), in which T may be any."""
    tokens = jnp.asarray(tokens)
    if tokens.ndim != 2 or any(n not in ("T", size) for n, size in zip(shape, tokens.shape, strict=True)):
        raise ValueError(f"{where}: expected {name} of shape [{shape[0]}, {shape[1]}], got {tokens.shape}.")
    if not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise TypeError(f"{where}: expected {name} of integer ids, got {tokens.dtype}.")
    return tokens


def logits_of(where: str, step_fn: StepFn, carry: Carry, rows: int) -> tuple[int, Any]:
    """V and the dtype for log-probabilities, at least float32; checks what a step returns, without running it."""
    _, logits = jax.eval_shape(checked(where, step_fn), carry, jax.ShapeDtypeStruct((rows,), jnp.int32))
    return logits.shape[1], jnp.float64 if logits.dtype == jnp.float64 else jnp.float32


def consume(step_fn: StepFn, carry: Carry, tokens: Array) -> Carry:
    """The carry after tokens `[P, K]`."""
    return scan(lambda carry, token: (step_fn(carry, token)[0], None), carry, tokens)[0]


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), tree)
