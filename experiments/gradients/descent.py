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

# On the loss surface: a walk that meets the wall, how many others, updates, the learning rate, the bound of clipping.
START, STARTS, STEPS, RATE, BOUND = (5.4, -1.8), 500, 200, 0.5, 0.2
WALL = 0.622  # it runs along b = 0.5 - 0.622 w, where h_0 is a fixed point: so does the grid, or the picture has teeth
# In networks: the learning rate, the bounds of clipping, scales of the first recurrent weights, of tanh and of ReLU.
CLIP_RATE, BY_VALUE, BY_NORM, SCALE, RELU_SCALE = 0.1, 0.1, 1.0, 1.5, 2.0


class Record(NamedTuple):
    """A descent of S updates."""

    points: Any  # params before each update, leaves [S, ...]
    losses: jax.Array  # there [S]
    norms: jax.Array  # of the gradients there, before clipping [S]
    params: Any  # at the end; the last good ones once a loss or a gradient is not finite


def descend(loss_fn: Any, optimizer: optax.GradientTransformation, params: Any, batches: Any) -> Record:
    """Makes an update for each of the batches, leaves `[S, ...]`."""
    update = rnnjax.training.make_train_step(loss_fn, optimizer)

    def body(carry, batch):
        state, good = carry
        after, metrics = update(state, batch)
        good &= jnp.isfinite(metrics.loss) & jnp.isfinite(metrics.grad_norm)
        after = jax.tree.map(functools.partial(jnp.where, good), after, state)
        return (after, good), (state.params, metrics.loss, metrics.grad_norm)

    state = rnnjax.training.init_state(params, optimizer, key=jax.random.key(0))
    (state, _), passed = jax.lax.scan(body, (state, jnp.array(True)), batches)
    return Record(*passed, state.params)


def summary(record: Record) -> tuple[int, float]:
    """Counts the updates whose loss and gradient are finite, and finds the largest norm among them."""
    finite = np.isfinite(record.losses + record.norms)
    return int(finite.sum()), float(record.norms.max(where=finite, initial=0.0))


# ---- the loss surface ----------------------------------------------------------------------------------------


def unit_loss(point: tuple[jax.Array, jax.Array], batch: Any = None, *, key: Any = None) -> rnnjax.losses.SumCount:
    """(h_50 - 0.7)^2 of h_t = sigmoid(w h_{t-1} + b) from h_0 = sigmoid(0.5), at a point (w, b)."""
    cell = rnnjax.rnn(1, 1, activation=jax.nn.sigmoid)
    weights = rnnjax.RNNParams(w_x=jnp.zeros((1, 1)), w_h=point[0].reshape(1, 1), b=point[1].reshape(1))
    start = rnnjax.RNNCarry(jax.nn.sigmoid(jnp.full(1, 0.5)))
    carry, _ = rnnjax.unroll(cell, weights, jnp.zeros((50, 1)), start)
    return rnnjax.losses.masked_mean((carry.h - 0.7) ** 2)


def surface() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Computes w, b and the loss on a grid `[600, 120]` that follows the wall."""
    w, across = np.meshgrid(np.linspace(2.5, 8.0, 120), np.linspace(-3.2, 8.2, 600))
    b = across - WALL * w
    losses = jax.jit(jax.vmap(lambda *point: unit_loss(point).sum))(jnp.asarray(w.ravel()), jnp.asarray(b.ravel()))
    return w, b, np.asarray(losses).reshape(w.shape)


@jax.jit
def walk(starts: jax.Array, bound: float) -> Record:
    """Goes down from each of N starts `[N, 2]`: points `[N, S, 2]`, losses and norms `[N, S]`."""
    optimizer = optax.chain(optax.clip_by_global_norm(bound), optax.sgd(RATE))
    record = jax.vmap(lambda start: descend(unit_loss, optimizer, tuple(start), jnp.zeros(STEPS)))(starts)
    return record._replace(points=jnp.stack(record.points, axis=-1))


def walk_down(seed: int) -> dict[str, Record]:
    """Goes down without clipping and with it, from START first, and then from points that are drawn."""
    starts = np.random.default_rng(seed).uniform((3.0, -4.0), (8.0, 0.0), (STARTS, 2))
    starts = jnp.asarray(np.concatenate([[START], starts]), jnp.float32)
    ways = {"without clipping": np.inf, "clipped by norm": BOUND}
    return {name: jax.device_get(walk(starts, bound)) for name, bound in ways.items()}


# ---- clipping ------------------------------------------------------------------------------------------------


def compare_clipping(config: Any, held_out: Batch) -> dict[str, list[tuple[Record, np.ndarray]]]:
    """Trains the same networks on the same batches each way: records, and which held-out sequences are right `[N]`."""

    @functools.cache  # one program for all bounds
    def make(activation, scale):
        weights = jax.nn.initializers.orthogonal(scale)
        cell = make_cell("rnn", 2 * SYMBOLS, config.trained_hidden, activation=activation, w_h_init=weights)
        init, loss_fn, right = make_model(cell)

        @jax.jit
        def train(params, batches, value, norm):
            clips = optax.clip(value), optax.clip_by_global_norm(norm)
            record = descend(loss_fn, optax.chain(*clips, optax.sgd(CLIP_RATE)), params, batches)
            return record._replace(points=None)

        return init, train, right

    tanh, relu = (jnp.tanh, SCALE), (jax.nn.relu, RELU_SCALE)
    ways = {"none": (tanh, np.inf, np.inf), "by value": (tanh, BY_VALUE, np.inf), "by norm": (tanh, np.inf, BY_NORM)}
    ways |= {} if config.smoke else {"none, ReLU": (relu, np.inf, np.inf)}
    found = {name: [] for name in ways}
    for name, (network, *bounds) in tqdm(ways.items(), desc="ways of clipping"):
        init, train, right = make(*network)
        for number in range(config.clip_seeds if network == tanh else 1):
            key, _ = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), number))
            batches = map(batches_of(config, number), range(config.clip_steps))
            record = jax.device_get(train(init(key), jax.tree.map(lambda *leaves: np.stack(leaves), *batches), *bounds))
            found[name].append((record, np.asarray(right(record.params, held_out))))
    return found
