"""Weather and yesterday's dish decide today's: a recurrent network with weights set by hand, and the same one learned.

python -m experiments.cooking                 about half a minute on two CPU cores: the table reproduced without
                                              an error by hand, and learned by a simple RNN to 100 %
python -m experiments.cooking --cell gru      learned by another cell
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import frame, plots, training
from experiments.lib.cells import make_cell
from experiments.lib.readout import make_readout

DISHES = ("apple pie", "burger", "chicken")
WEATHER = ("sunny", "rainy")
SAME = np.eye(3, dtype=np.float32)
NEXT = np.roll(SAME, 1, axis=1)  # P, for rows: dish @ NEXT is the next dish


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    cell: str = "rnn"  # that learns: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 16  # units of it
    days: int = 20  # of a training sequence
    held_out_days: int = 200  # of a held-out sequence
    held_out: int = 500  # held-out sequences
    steps: int = 2000  # updates
    learning_rate: float = 0.01  # at its peak


SMOKE = {"steps": 40, "held_out": 20, "held_out_days": 30}


class Days(NamedTuple):
    """What happened on T days of B sequences."""

    inputs: np.ndarray  # the weather, one-hot, and on the first day the dish of the day before, one-hot [T, B, 5]
    dishes: np.ndarray  # ids [T, B]


def simulate(days: int, count: int, rng: np.random.Generator) -> Days:
    """Draws weather, and what the cook makes of it."""
    rainy, first = rng.integers(2, size=(days, count)), rng.integers(3, size=count)
    dishes = (first + np.cumsum(rainy, axis=0)) % 3
    began = np.zeros((days, count, 3))
    began[0] = SAME[first]
    return Days(np.concatenate([np.eye(2)[rainy], began], axis=-1).astype(np.float32), dishes)


def rain_only() -> tuple[rnnjax.Cell, rnnjax.RNNParams]:
    """Makes a linear network without inputs that matter: h_t = h_{t-1} P."""
    params = rnnjax.RNNParams(w_x=jnp.zeros((1, 3)), w_h=jnp.asarray(NEXT), b=jnp.zeros(3))
    return rnnjax.rnn(1, 3, activation=jax.nn.identity), params


def by_hand() -> tuple[rnnjax.Cell, rnnjax.RNNParams, jax.Array]:
    """Makes the network of six units, (dish, sunny) and (dish, rainy), and weights `[6, 3]` that read the dish."""
    w_h = np.block([[SAME, NEXT], [SAME, NEXT]])  # whichever unit of yesterday's dish is on
    w_x = np.zeros((5, 6), np.float32)
    w_x[0, :3] = w_x[1, 3:] = 1.0  # the weather says which half counts
    w_x[2:] = np.block([[SAME, NEXT]])  # and the day before the first counts as yesterday
    params = rnnjax.RNNParams(w_x=jnp.asarray(w_x), w_h=jnp.asarray(w_h), b=jnp.full(6, -1.0))
    return rnnjax.rnn(5, 6, activation=jax.nn.relu), params, jnp.asarray(np.concatenate([SAME, SAME]))


def table(cell: rnnjax.Cell, params: rnnjax.RNNParams, read: jax.Array) -> dict[str, list[str]]:
    """Asks the network for the dish after each dish of yesterday, by weather."""
    rows = {}
    for weather, name in enumerate(WEATHER):
        inputs = jnp.concatenate([jnp.tile(jnp.eye(2)[weather], (3, 1)), jnp.eye(3)], axis=-1)
        _, h = cell.apply(params, cell.initial_carry((3,)), inputs)
        rows[name] = [DISHES[i] for i in jnp.argmax(jnp.matmul(h, read), axis=-1)]
    return rows


def learn(config: Config, folder: Path, held_out: Days):
    """Trains on random weather; the result of training, and the states and logits of the held-out days."""
    cell = make_cell(config.cell, 5, config.hidden)
    init, apply = make_readout(cell, 3)
    cross_entropy, forward = rnnjax.losses.get_loss("cross_entropy"), jax.jit(apply)

    def loss_fn(params, batch, *, key):
        return cross_entropy(apply(params, batch.inputs), batch.dishes)

    def evaluate(state):
        logits = forward(state.params, held_out.inputs)
        return {"held_out_loss": float(cross_entropy(logits, held_out.dishes).mean)}

    def batches(step):
        return simulate(config.days, config.batch, np.random.default_rng((config.seed, step)))

    settings = {"evaluate": evaluate, "batch_axes": 1, "unit": "day"}
    result = training.train(config, init, loss_fn, batches, folder, **settings)
    params = result.state.params
    return result, rnnjax.unroll(cell, params.cell, held_out.inputs)[1], forward(params, held_out.inputs)


def draw_states(folder: Path, states: np.ndarray, dishes: np.ndarray, w_y: np.ndarray) -> None:
    """Draws states.png: states `[T, B, H]` in the plane that output weights `[H, 3]` look at, a colour per dish."""
    plane = np.linalg.svd(w_y - w_y.mean(axis=1, keepdims=True), full_matrices=False)[0][:, :2]
    points, dish_of = states.reshape(-1, states.shape[-1])[-3000:] @ plane, dishes.reshape(-1)[-3000:]
    title, x, y = "Where the learned network keeps the dish", "first direction that is read", "second direction"
    with plots.figure(folder / "states.png", title=title, x=x, y=y) as axes:
        for dish, name in enumerate(DISHES):
            axes.scatter(*points[dish_of == dish].T, s=9, alpha=0.4, color=plots.COLOURS[dish], label=name)
        plots.legend_beside(axes, "today's dish")


def main(config: Config) -> dict:
    """Checks the network made by hand, trains one, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    held_out = simulate(config.held_out_days, config.held_out, np.random.default_rng(config.seed + 10**6))
    linear, linear_params = rain_only()
    _, week = rnnjax.unroll(linear, linear_params, jnp.zeros((7, 1)), rnnjax.RNNCarry(jnp.eye(3)[0]))
    cell, params, read = by_hand()
    _, hs = rnnjax.unroll(cell, params, held_out.inputs)
    result, states, logits = learn(config, run.folder, held_out)

    draw_states(run.folder, np.asarray(states), held_out.dishes, np.asarray(result.state.params.w_y))
    plots.run_losses(run.folder, title="Learning the table", y="loss (nats per day)")
    answers = {"accuracy_by_hand": jnp.matmul(hs, read), "accuracy_learned": logits}
    headline = {name: float(np.mean(np.argmax(y, axis=-1) == held_out.dishes)) for name, y in answers.items()}
    headline["updates"] = result.step
    values = {
        "week": [DISHES[i] for i in np.argmax(week, axis=-1)],
        "table": table(cell, params, read),
        "units": [f"{dish}, {weather}" for weather in WEATHER for dish in DISHES],
        "weights": jax.tree.map(lambda leaf: leaf.astype(int).tolist(), params),
    }
    return frame.finish(run, headline, dishes=DISHES, inputs=[*WEATHER, *DISHES], found=headline, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
