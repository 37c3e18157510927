"""Plain gradient descent, recorded: over a loss with a wall, and in recurrent networks whose gradients explode."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import rnnjax
from experiments.gradients.latch import SYMBOLS, Batch, batches_of, make_model
from experiments.lib.cells import make_cell

START, RATE, BOUND = (5.4, -1.8), 0.5, 0.2  # on the loss surface
WALL = 0.622  # it runs along b = 0.5 - 0.622 w, where h_0 is a fixed point: so does the grid, or the picture has teeth
RELU_SCALE = 2.0  # of its orthogonal recurrent weights where a ReLU RNN is to explode


class Record(NamedTuple):
    """A descent of S updates."""

    points: Any  # params before each update, leaves `[S, ...]`; None where they are not kept
    losses: jax.Array  # there `[S]`
    norms: jax.Array  # of the gradients there, before clipping `[S]`
    params: Any  # at the end; the last good ones once a loss or a gradient is not finite


def descend(loss_fn: Any, optimizer: optax.GradientTransformation, params: Any, batches: Any, *, keep: bool) -> Record:
    """Makes an update for each of the batches, leaves `[S, ...]`."""
    update = rnnjax.training.make_train_step(loss_fn, optimizer)

    def body(carry, batch):
        state, good = carry
        after, metrics = update(state, batch)
        good &= jnp.isfinite(metrics.loss) & jnp.isfinite(metrics.grad_norm)
        after = jax.tree.map(functools.partial(jnp.where, good), after, state)
        return (after, good), (state.params if keep else None, metrics.loss, metrics.grad_norm)

    state = rnnjax.training.init_state(params, optimizer, key=jax.random.key(0))
    (state, _), passed = jax.lax.scan(body, (state, jnp.array(True)), batches)
    return Record(*passed, state.params)


# ---- the loss surface ----------------------------------------------------------------------------------------


class Unit(NamedTuple):
    """The recurrent weight and the bias of a network of one unit, `[]` each."""

    w: jax.Array
    b: jax.Array


def unit_loss(params: Unit, batch: Any = None, *, key: Any = None) -> rnnjax.losses.SumCount:
    """(h_50 - 0.7)^2 of h_t = sigmoid(w h_{t-1} + b) from h_0 = sigmoid(0.5), as in Pascanu et al. 2013."""
    del batch, key
    cell = rnnjax.rnn(1, 1, activation=jax.nn.sigmoid)
    weights = rnnjax.RNNParams(w_x=jnp.zeros((1, 1)), w_h=params.w.reshape(1, 1), b=params.b.reshape(1))
    start = rnnjax.RNNCarry(jax.nn.sigmoid(jnp.full(1, 0.5)))
    carry, _ = rnnjax.unroll(cell, weights, jnp.zeros((50, 1)), start)
    return rnnjax.losses.masked_mean((carry.h - 0.7) ** 2)


def surface(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes w, b and the loss on a grid `[rows, 120]` that follows the wall."""
    w, across = np.meshgrid(np.linspace(2.5, 8.0, 120), np.linspace(-3.2, 8.2, rows))
    grid = Unit(w, across - WALL * w)
    losses = jax.jit(jax.vmap(lambda unit: unit_loss(unit).sum))(Unit(*(jnp.asarray(x.ravel()) for x in grid)))
    return *grid, np.asarray(losses).reshape(w.shape)


@functools.partial(jax.jit, static_argnames="steps")
def walk(starts: jax.Array, steps: int, bound: float) -> Record:
    """Goes down from each of N starts `[N, 2]`: points `[N, S, 2]`, losses and norms `[N, S]`."""
    optimizer = optax.chain(optax.clip_by_global_norm(bound), optax.sgd(RATE))

    def one(start):
        return descend(unit_loss, optimizer, Unit(*start), jnp.zeros(steps), keep=True)

    record = jax.vmap(one)(starts)
    return record._replace(points=jnp.stack(record.points, axis=-1))


# ---- clipping ------------------------------------------------------------------------------------------------


def compare_clipping(config: Any, held_out: Batch) -> dict[str, list[tuple[Record, np.ndarray]]]:
    """Trains the same networks on the same batches with clipping and without, and a ReLU RNN without.

    Returns:
      For each way its records, each with what held-out sequences are right `[N]`.
    """
    bounds = {
        "none": (np.inf, np.inf),
        "by value": (config.value_bound, np.inf),
        "by norm": (np.inf, config.norm_bound),
    }
    bounds |= {} if config.smoke else {"none, ReLU": (np.inf, np.inf)}

    @functools.cache  # one program for all bounds
    def make(relu):
        weights = jax.nn.initializers.orthogonal(RELU_SCALE if relu else config.clip_scale)
        activation = jax.nn.relu if relu else jnp.tanh
        cell = make_cell("rnn", 2 * SYMBOLS, config.trained_hidden, activation=activation, w_h_init=weights)
        init, loss_fn, right = make_model(cell, config.trained_hidden)

        @jax.jit
        def train(params, batches, value, norm):
            clips = optax.clip(value), optax.clip_by_global_norm(norm)
            return descend(loss_fn, optax.chain(*clips, optax.sgd(config.clip_rate)), params, batches, keep=False)

        return init, train, right

    found = {name: [] for name in bounds}
    for name, bound in tqdm(bounds.items(), desc="ways of clipping"):
        init, train, right = make("ReLU" in name)
        for number in range(1 if "ReLU" in name else config.clip_seeds):
            key, _ = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), number))
            batches = map(batches_of(config, number), range(config.clip_steps))
            batches = jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
            record = jax.device_get(train(init(key), batches, *bound))
            found[name].append((record, np.asarray(right(record.params, held_out))))
    return found


def summary(record: Record) -> tuple[int, float]:
    """Counts the updates whose loss and gradient are finite, and finds the largest norm among them."""
    finite = np.isfinite(record.losses + record.norms)
    return int(finite.sum()), float(record.norms.max(where=finite, initial=0.0))
