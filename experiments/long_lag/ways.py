"""How far ways to learn reach on the adding problem: cells, first biases and gradients, short lags first."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import rnnjax
from experiments.lib import sweep
from experiments.lib.cells import make_cell
from experiments.lib.readout import make_readout
from experiments.long_lag.lags import SOLVED, TRAIN, VALIDATION, adding, make_loss, rng_of
from rnnjax.data import read_text, write_text

CALL = 50  # updates in one compiled call, after which a lag may be solved


class Way(NamedTuple):
    """A way to learn."""

    cell: str
    biases: str = "usual"  # that it begins with; or "chrono", "no forget gate", "forget 0"
    gradient: str = "full"  # or "cell state", or a number of steps


WAYS = {
    "RNN (tanh)": Way("rnn"),
    "RNN (ReLU, identity)": Way("irnn"),
    "GRU": Way("gru"),
    "GRU, chrono": Way("gru", "chrono"),
    "LSTM, forget bias 0": Way("lstm", "forget 0"),
    "LSTM, forget bias 1": Way("lstm"),
    "LSTM, chrono": Way("lstm", "chrono"),
    "LSTM, chrono, gradient of 50 steps": Way("lstm", "chrono", "50"),
    "LSTM, chrono, gradient of 1997": Way("lstm", "chrono", "cell state"),
    "LSTM and gradient of 1997": Way("lstm", "no forget gate", "cell state"),
}


def cell_state_only(cell: rnnjax.Cell) -> rnnjax.Cell:
    """The gradient of 1997: errors flow back in time through the cell state c alone, not through h."""

    def apply(params, carry, x):
        return cell.apply(params, carry._replace(h=jax.lax.stop_gradient(carry.h)), x)

    return cell._replace(apply=apply)


def original_biases(key, shape, dtype=jnp.float32):
    """No forget gate, f = 1, and input gates that begin closed, as in 1997."""
    return jnp.repeat(jnp.array([-5.0, 20.0, 0.0, 0.0], dtype), shape[0] // 4)


def make_way(way: Way, hidden: int, lag: int):
    """Makes `init` and `apply` of a way, as `make_readout` does."""
    options = {"chrono": {"max_lag": max(lag, 3)}, "forget 0": {"forget_bias": 0.0}}
    options |= {"no forget gate": {"b_init": original_biases}, "usual": {}}
    cell, unroll = make_cell(way.cell, 2, hidden, **options[way.biases]), rnnjax.unroll
    if way.gradient == "cell state":
        cell = cell_state_only(cell)
    elif way.gradient != "full":
        unroll = functools.partial(rnnjax.tbptt, steps=int(way.gradient))
    return make_readout(cell, 1, unroll=unroll)


class Attempt(NamedTuple):
    """An attempt at the adding problem of a lag."""

    lag: int
    updates: int | None  # until it was solved; None if it was not
    mse: float  # the lowest


@functools.cache
def make_updates(config: Any, way: Way):
    """Makes `params -> states` and `(states, batches, validation) -> (states, losses)`, for each learning rate."""
    options = dataclasses.replace(config, learning_rate=1.0, schedule="constant")
    init, apply = make_way(way, config.lag_hidden, 3)
    loss_fn, optimizer = make_loss(apply), sweep.scaled_optimizer(options, 1.0)
    _, update = sweep.over_rates(options, init, loss_fn, config.lag_rates, seeds=1)

    def start(params):
        state = rnnjax.training.init_state(params, optimizer, key=jax.random.key(0))
        return jax.tree.map(lambda leaf: jnp.stack([leaf] * len(config.lag_rates)), state)

    @jax.jit
    def updates(states, batches, validation):
        states, _ = jax.lax.scan(update, states, batches)
        return states, jax.vmap(lambda state: loss_fn(state.params, validation).mean)(states)

    return start, updates


def attempt(config: Any, name: str, lag: int) -> Attempt:
    """Trains a way with every learning rate until one of them solves the lag, or all updates are done."""
    start, updates = make_updates(config, WAYS[name]._replace(biases="usual"))  # one program, whatever it begins with
    states = start(make_way(WAYS[name], config.lag_hidden, lag)[0](jax.random.key(config.seed)))
    validation, lowest = adding(rng_of(config, VALIDATION, lag), 256, lag), np.inf
    for step in tqdm(range(0, config.lag_steps, CALL), desc=f"{name}, T = {lag}", unit="call"):
        batches = [adding(rng_of(config, TRAIN, lag, step + i), config.batch, lag) for i in range(CALL)]
        states, losses = updates(states, jax.tree.map(lambda *leaves: np.stack(leaves), *batches), validation)
        lowest = min(lowest, float(np.nan_to_num(losses, nan=np.inf).min()))
        if lowest < SOLVED:
            return Attempt(lag, step + CALL, lowest)
    return Attempt(lag, None, lowest)


def study(config: Any, folder: Path) -> dict[str, list[Attempt]]:
    """Attempts one lag after the other until one is not solved, each way; on `--resume` those that are missing."""
    path = folder / "ways.json"
    found = json.loads(read_text(path)) if config.resume and path.exists() else {}
    for name in config.ways:
        tried = found.setdefault(name, [])
        for lag in config.lags[len(tried) :]:
            if tried and tried[-1][1] is None:
                break
            tried.append(attempt(config, name, lag))
            write_text(path, json.dumps(found))
    return {name: [Attempt(*each) for each in tried] for name, tried in found.items()}
