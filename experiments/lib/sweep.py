"""Runs side by side: learning rates, first weights and more as one axis of vmap, in one compiled program.

`rnnjax.training.fit` trains one model; a sweep trains R of them on the same batches, with a loop of its own.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
import optax
from tqdm import tqdm

import rnnjax
from experiments.lib.optimization import make_optimizer
from experiments.lib.training import Options


def scaled_optimizer(options: Options, rate: Any) -> optax.GradientTransformation:
    """The optimizer of the options with its steps times a rate, which may be traced."""
    return optax.chain(make_optimizer(options), optax.scale(rate))


def make_start(options: Options, init: Callable[[jax.Array], Any], seeds: np.ndarray) -> Callable[[], Any]:
    """`() -> states` of R runs, compiled.

    Args:
      options: with seed and the optimizer.
      init: `key -> params`.
      seeds: which first weights each run begins with `[R]`; the same number, the same weights.
    """
    optimizer = scaled_optimizer(options, 1.0)

    @jax.jit
    def start() -> Any:
        keys = jax.random.split(jax.random.key(options.seed), int(max(seeds)) + 1)
        states = jax.vmap(lambda key: rnnjax.training.init_state(init(key), optimizer, key=key))(keys)
        return jax.tree.map(lambda leaf: leaf[seeds], states)

    return start


def make_update(one_run: Callable[[Any, Any, Any], Any], settings: Any) -> Callable[[Any, Any], Any]:
    """`(states, batches [K, ...]) -> (states, losses [K, R])`, compiled: K updates of each of R runs.

    Args:
      one_run: `(setting, state, batch) -> (state, metrics)`, an update of one run.
      settings: what differs between the runs, a pytree of arrays `[R, ...]`.
    """

    def all_runs(states: Any, batch: Any) -> Any:
        states, metrics = jax.vmap(one_run, in_axes=(0, 0, None))(settings, states, batch)
        return states, metrics.loss

    return jax.jit(functools.partial(jax.lax.scan, all_runs))


def over_rates(
    options: Options, init: Callable[[jax.Array], Any], loss_fn: Callable[..., Any], rates: Sequence[float], seeds: int
) -> tuple[Callable[[], Any], Callable[[Any, Any], Any]]:
    """`make_start` and `make_update` of every rate with each of so many first weights, those of a rate side by side."""

    def one_run(rate: Any, state: Any, batch: Any) -> Any:
        return rnnjax.training.make_train_step(loss_fn, scaled_optimizer(options, rate))(state, batch)

    start = make_start(options, init, np.tile(np.arange(seeds), len(rates)))
    return start, make_update(one_run, np.repeat(np.asarray(rates, np.float32), seeds))


def batches(options: Options, count: int, take: Callable[[np.ndarray], Any]) -> Iterator[Any]:
    """Batches for K updates at a time, the same for every sweep with this seed.

    Args:
      options: with steps, steps_per_call, batch and seed.
      count: examples to draw from, with replacement.
      take: `rows [K, B] -> batches [K, ...]`.
    """
    rng = np.random.default_rng(options.seed)
    for done in range(0, options.steps, options.steps_per_call):
        size = min(options.steps_per_call, options.steps - done)
        yield take(rng.integers(count, size=(size, options.batch)))


def train(
    options: Options, update: Callable[[Any, Any], Any], states: Any, batches: Iterable[Any], *, label: str
) -> tuple[Any, np.ndarray]:
    """The params `[R, ...]` after all batches, as NumPy arrays, and the losses `[steps, R]`, with a progress bar."""
    losses = []
    with tqdm(total=options.steps, desc=label, unit="update", mininterval=0.5) as bar:
        for batch in batches:
            states, some = update(states, batch)
            losses.append(np.asarray(some))
            bar.update(len(some))
            bar.set_postfix_str(f"loss {np.min(losses[-1][-1]):.3g}, best of {some.shape[1]} runs", refresh=False)
    return jax.device_get(states.params), np.concatenate(losses)


def choose_rate(losses: Sequence[float] | np.ndarray, rates: Sequence[float], what: str) -> tuple[int, np.ndarray]:
    """The place of the best learning rate, and the loss of each, the mean over first weights.

    Args:
      losses: of R runs on validation data `[R]`, those of a rate beside each other; what is not finite never wins.
      rates: tried.
      what: that was trained, for the error.

    Raises:
      ValueError: no rate has a finite loss.
    """
    by_rate = np.where(np.isfinite(losses), losses, np.inf).reshape(len(rates), -1).mean(axis=1)
    best = int(np.argmin(by_rate))
    if not np.isfinite(by_rate[best]):
        raise ValueError(
            f"expected a finite loss of {what} at one of the rates, got none; pass a smaller --learning-rate."
        )
    return best, by_rate
