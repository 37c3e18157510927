"""One update of the parameters, from a loss that returns a `SumCount`, so that a masked mean is exact."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from rnnjax._masking import SumCount
from rnnjax._types import Array, Carry, serializable
from rnnjax.data import PaddedWindows, Window
from rnnjax.training._state import TrainState, check_optimizer

Objective = Callable[[SumCount], Array]
Aux = Mapping[str, Any]
RESERVED = ("step", "loss", "count", "grad_norm", "tokens_per_second")

serializable(PaddedWindows)  # here, since rnnjax.data needs NumPy only
serializable(Window)


@serializable
class Metrics(NamedTuple):
    """What one step reports.

    Attributes:
      loss: mean loss of the batch before the update, `[]`.
      count: how many elements the mean is over, `[]`.
      grad_norm: norm of the gradient before clipping, `[]`.
      aux: what the loss function reports beside its loss, numbers `[]` by name.
    """

    loss: Array
    count: Array  # type: ignore[assignment]  # it hides tuple.count
    grad_norm: Array
    aux: Mapping[str, Array] = {}


def mean_objective(parts: SumCount) -> Array:
    """Takes the mean of the loss, `[]`: what is minimised unless said otherwise."""
    return parts.mean


def make_train_step(
    loss_fn: Callable[..., Any],
    optimizer: optax.GradientTransformation,
    *,
    objective: Objective = mean_objective,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
    """Makes the function that updates a state from one batch.

    A stream is a state with a carry: its batches are windows, and the carry of each passes on to the next as a
    constant, so that gradients are truncated between windows (Williams & Peng 1990, "An efficient gradient-based
    algorithm for on-line training of recurrent network trajectories").

    Args:
      loss_fn: `(params, batch, *, key) -> answer`, or `(params, carry, batch, *, key) -> (carry, answer)` for a state
        with a carry. The answer is `SumCount(sum [], count [])`, or `(SumCount, aux)` with numbers `[]` by name to
        report; one of them may be a SumCount itself, whose mean is reported.
      optimizer: an optax gradient transformation.
      objective: what is minimised, a function of the SumCount, such as `lambda parts: jnp.sqrt(parts.mean)`.

    Returns:
      `(state, batch) -> (state, metrics)`, pure; `fit` compiles it. It raises TypeError or ValueError if loss_fn
      returns something else.

    Raises:
      TypeError: an optimizer that is not one.

    Examples:
      >>> import jax, jax.numpy as jnp, optax
      >>> from rnnjax.losses import masked_mean
      >>> from rnnjax.training import init_state
      >>> def loss_fn(params, batch, *, key):
      ...     errors = jnp.abs(params - batch)
      ...     return masked_mean(errors**2), {"largest_error": errors.max()}
      >>> step = make_train_step(loss_fn, optax.sgd(0.25))
      >>> state = init_state(jnp.zeros(()), optax.sgd(0.25), key=jax.random.key(0))
      >>> state, metrics = step(state, jnp.array([2.0, 2.0]))
      >>> float(state.params), float(metrics.loss), float(metrics.aux["largest_error"])
      (1.0, 4.0, 2.0)

      A stream, whose carry is a running mean of what came before:

      >>> def stream_loss(params, carry, batch, *, key):
      ...     carry = 0.5 * carry + batch
      ...     return carry, masked_mean((params - carry) ** 2)
      >>> step = make_train_step(stream_loss, optax.sgd(0.25))
      >>> state = init_state(jnp.zeros(()), optax.sgd(0.25), key=jax.random.key(0), carry=jnp.zeros(1))
      >>> state, metrics = step(state, jnp.array([2.0]))
      >>> float(state.params), state.carry.tolist()
      (1.0, [2.0])
    """
    check_optimizer("make_train_step", optimizer)

    def step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
        key = jax.random.fold_in(state.key, state.step)

        def loss(params: Any) -> tuple[Array, tuple[Carry, SumCount, Aux]]:
            if state.carry is None:
                carry, answer = None, loss_fn(params, batch, key=key)
            else:
                carry, answer = split_carry(state.carry, loss_fn(params, state.carry, batch, key=key))
            parts, aux = split_answer(answer)
            return objective(parts), (carry, parts, aux)

        gradient, (carry, parts, aux) = jax.grad(loss, has_aux=True)(state.params)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = Metrics(parts.mean, parts.count, optax.tree.norm(gradient), reported(aux))
        return TrainState(state.step + 1, params, opt_state, state.key, carry), metrics

    return step


# ---- what a loss function returned ---------------------------------------------------------------------------


def split_carry(carry: Carry, returned: Any) -> tuple[Carry, Any]:
    """Splits what a loss function with a carry returned; raises unless it is a carry like the one given, and more."""
    if isinstance(returned, SumCount) or not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            f"expected loss_fn to return (carry, SumCount(sum, count)) since the state has a carry, got "
            f"{_described(returned)}."
        )
    before, after = _shapes(carry), _shapes(returned[0])
    same = str(jax.tree.structure(carry)) == str(jax.tree.structure(returned[0]))
    if not same or jax.tree.leaves(before) != jax.tree.leaves(after):
        raise ValueError(f"expected loss_fn to return a carry of {before}, like that of the state, got {after}.")
    return returned


def split_answer(answer: Any) -> tuple[SumCount, Aux]:
    """Splits a SumCount, or a pair of it with numbers by name; raises unless it is one of them."""
    if isinstance(answer, SumCount):
        return answer, {}
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[0], SumCount):
        raise TypeError(
            f"expected loss_fn to return a SumCount(sum, count), or (SumCount, aux), got {_described(answer)}; "
            "masked_mean makes one of the losses of all elements."
        )
    parts, aux = answer
    if not isinstance(aux, Mapping) or not all(isinstance(name, str) for name in aux):
        raise TypeError(f"expected aux of loss_fn to be a dict of numbers by name, got {_described(aux)}.")
    for name, value in aux.items():
        if name in RESERVED:
            raise ValueError(f"expected aux of loss_fn without the names {', '.join(RESERVED)}, got {name!r}.")
        shape = jnp.shape(value.sum if isinstance(value, SumCount) else value)
        if shape != ():
            raise ValueError(f"expected {name!r} of aux to be a number [], got shape {shape}.")
    return parts, aux


def reported(aux: Aux) -> dict[str, Array]:
    """Returns aux with the means of its SumCounts in their place."""
    return {name: value.mean if isinstance(value, SumCount) else jnp.asarray(value) for name, value in aux.items()}


def _described(value: Any) -> str:
    """Names the type of a value, and of what is in it if it is a tuple."""
    if type(value) is tuple:
        return f"({', '.join(type(entry).__name__ for entry in value)})"
    return type(value).__name__


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree)
