"""Several models of the next token as one."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Carry, StepFn


def ensemble(step_fns: Sequence[StepFn], *, weights: Sequence[float] | None = None, average: str = "log") -> StepFn:
    """Combines several models of the same vocabulary into one step function.

        average="log":  logits = sum_m w_m log softmax(logits^m)           the geometric mean, not normalised
        average="prob": logits = log sum_m w_m softmax(logits^m)           the mean of the distributions

    Reference: Sutskever, Vinyals & Le 2014, "Sequence to sequence learning with neural networks" (ensembles of LSTMs).

    Args:
      step_fns: M functions `(carry, token [K]) -> (carry, logits [K, V])`.
      weights: M positive numbers, scaled to sum to one; equal if None.
      average: "log" or "prob".

    Returns:
      A step function whose carry is the tuple of the M carries.

    Raises:
      ValueError: no step function, weights that do not fit, or an unknown average; at the first step, models whose
        logits differ in shape.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> models = [lambda carry, token, p=p: (carry, jnp.log(jnp.array([[p, 1 - p]]))) for p in (0.5, 0.25)]
      >>> step_fn = rnnjax.decoding.ensemble(models, average="prob")
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
