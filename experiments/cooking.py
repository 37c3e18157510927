"""Weather and yesterday's dish decide today's: a recurrent network with weights set by hand, and the same one learned.

    python -m experiments.cooking                 about half a minute on two CPU cores: the table reproduced without
                                                  an error by hand, and learned by a simple RNN to 100 %
    python -m experiments.cooking --cell gru      learned by another cell

The cook makes apple pie, a burger or chicken. On a sunny day there is no time: yesterday's dish again. On a rainy day
it is the next one in the list, and after the last the first. So the dish d_t is a linear recurrence whose matrix the
weather chooses, the identity or the cyclic permutation P:

    d_t = d_{t-1}   (sunny)        d_t = P d_{t-1}   (rainy)

With rain only, that is a simple RNN without a nonlinearity, d_t = W_h d_{t-1} with W_h = P, and P^3 = 1. The weather
takes a product of two inputs, which a ReLU makes of a sum: with units for "this dish, and sunny" and "this dish, and
rainy", h_t = relu(W_h h_{t-1} + W_x x_t - 1) is one only where the dish and the weather say so.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import experiment, plots, report
from experiments.lib.cells import make_cell
from experiments.lib.training import Options, train

NAME = "cooking"
DISHES = ("apple pie", "burger", "chicken")
WEATHER = ("sunny", "rainy")
NEXT = np.roll(np.eye(3, dtype=np.float32), 1, axis=1)  # P, for rows: dish @ NEXT is the next dish


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a run."""

    cell: str = "rnn"  # that learns: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 16  # units of it
    days: int = 20  # of a training sequence
    held_out_days: int = 200  # of a held-out sequence
    held_out: int = 500  # held-out sequences
    steps: int = 2000
    learning_rate: float = 0.01


SMOKE = {"steps": 40, "held_out": 20, "held_out_days": 30}


class Days(NamedTuple):
    """What happened on T days of B sequences.

    Attributes:
      inputs: the weather, one-hot, and the dish of the day before the first, one-hot, on the first day `[T, B, 5]`.
      dishes: ids `[T, B]`.
    """

    inputs: np.ndarray
    dishes: np.ndarray


def simulate(days: int, count: int, rng: np.random.Generator) -> Days:
    """Random weather, and what the cook makes of it."""
    rainy, first = rng.integers(2, size=(days, count)), rng.integers(3, size=count)
    dishes = (first + np.cumsum(rainy, axis=0)) % 3
    began = np.zeros((days, count, 3))
    began[0] = np.eye(3)[first]
    return Days(np.concatenate([np.eye(2)[rainy], began], axis=-1).astype(np.float32), dishes)


# ---- by hand -------------------------------------------------------------------------------------------------


def rain_only() -> tuple[rnnjax.Cell, rnnjax.RNNParams]:
    """A linear network without inputs that matter: h_t = h_{t-1} P."""
    cell = rnnjax.rnn(1, 3, activation=jax.nn.identity)
    return cell, rnnjax.RNNParams(w_x=jnp.zeros((1, 3)), w_h=jnp.asarray(NEXT), b=jnp.zeros(3))


def by_hand() -> tuple[rnnjax.Cell, rnnjax.RNNParams, jax.Array]:
    """The network with weather: six units, (dish, sunny) and (dish, rainy), and weights `[6, 3]` that read the dish."""
    same, either = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    w_h = np.block([[same, NEXT], [same, NEXT]])  # whichever unit of yesterday's dish is on
    w_x = np.zeros((5, 6), np.float32)
    w_x[0, :3] = w_x[1, 3:] = 1.0  # the weather says which half counts
    w_x[2:] = np.block([[same, NEXT]])  # and the day before the first counts as yesterday
    cell = rnnjax.rnn(5, 6, activation=jax.nn.relu)
    params = rnnjax.RNNParams(w_x=jnp.asarray(w_x), w_h=jnp.asarray(w_h), b=jnp.full(6, -1.0))
    return cell, params, jnp.asarray(np.concatenate([either, either]))


def table(cell: rnnjax.Cell, params, read: jax.Array) -> list[list[str]]:
    """What the network makes of each weather and each dish of yesterday."""
    rows = []
    for weather, name in enumerate(WEATHER):
        inputs = jnp.concatenate([jnp.tile(jnp.eye(2)[weather], (3, 1)), jnp.eye(3)], axis=-1)
        _, h = cell.apply(params, cell.initial_carry((3,)), inputs)
        rows.append([name, *(DISHES[i] for i in jnp.argmax(jnp.matmul(h, read), axis=-1))])
    return rows


# ---- learned -------------------------------------------------------------------------------------------------


class Params(NamedTuple):
    """Parameters of the network that learns.

    Attributes:
      cell: of the cell.
      w_y: output weights `[H, 3]`.
      b_y: output bias `[3]`.
    """

    cell: NamedTuple
    w_y: jax.Array
    b_y: jax.Array


def make_model(config: Config):
    """`key -> params`, and `(params, inputs [T, B, 5]) -> (logits [T, B, 3], states [T, B, H])`."""
    cell = make_cell(config.cell, 5, config.hidden)

    def init(key):
        key_cell, key_y = jax.random.split(key)
        w_y = jax.nn.initializers.glorot_uniform()(key_y, (config.hidden, 3))
        return Params(cell.init(key_cell), w_y, jnp.zeros(3))

    def apply(params, inputs):
        _, hs = rnnjax.unroll(cell, params.cell, inputs)
        return jnp.matmul(hs, params.w_y) + params.b_y[None, None], hs

    return init, apply


def learn(config: Config, run: experiment.Run, held_out: Days):
    """Trains on random weather; the result of training, and the logits and states of the held-out days."""
    init, apply = make_model(config)

    def loss_fn(params, batch, *, key):
        del key
        return rnnjax.losses.get_loss("cross_entropy")(apply(params, batch.inputs)[0], batch.dishes)

    forward = jax.jit(apply)

    def evaluate(state):
        logits, _ = forward(state.params, held_out.inputs)
        loss = rnnjax.losses.get_loss("cross_entropy")(logits, held_out.dishes)
        return {"held_out_loss": float(loss.mean), "accuracy": accuracy(logits, held_out)}

    def batches(step):
        return simulate(config.days, config.batch, np.random.default_rng((config.seed, step)))

    result = train(config, init, loss_fn, batches, run.folder, name=config.cell, evaluate=evaluate, unit="day")
    return result, *forward(result.state.params, held_out.inputs)


def accuracy(logits: jax.Array, days: Days) -> float:
    """Share of the days whose dish is right."""
    return float(np.mean(np.argmax(logits, axis=-1) == days.dishes))


def main(config: Config) -> dict:
    """Checks the network made by hand, trains one, writes the report, and returns the headline numbers."""
    run = experiment.begin(NAME, config, SMOKE)
    config = run.config
    held_out = simulate(config.held_out_days, config.held_out, np.random.default_rng(config.seed + 10**6))

    linear, linear_params = rain_only()
    _, week = rnnjax.unroll(linear, linear_params, jnp.zeros((7, 1)), rnnjax.RNNCarry(jnp.eye(3)[0]))
    cell, params, read = by_hand()
    _, hs = rnnjax.unroll(cell, params, held_out.inputs)
    result, logits, states = learn(config, run, held_out)

    draw_weights(run, params)
    draw_states(run, np.asarray(states), held_out.dishes, np.asarray(result.state.params.w_y))
    plots.run_losses(run.folder / config.cell, title="Learning the table", y="loss (nats a day)")
    headline = {
        "accuracy_by_hand": accuracy(jnp.matmul(hs, read), held_out),
        "accuracy_learned": accuracy(logits, held_out),
        "updates": result.step,
    }
    sections = {
        "A rainy week": "h_t = P h_{t-1} from apple pie: " + ", ".join(DISHES[i] for i in np.argmax(week, axis=-1)),
        "By hand": report.grid(["yesterday:", *DISHES], table(cell, params, read))
        + f"\n\nOver {config.held_out} sequences of {config.held_out_days} days of random weather, "
        f"{headline['accuracy_by_hand']:.2%} of the dishes are right.\n\n![weights by hand](weights.png)",
        "Learned": f"A network of {config.hidden} units ({config.cell}), trained on sequences of {config.days} days, "
        f"has {headline['accuracy_learned']:.2%} of the dishes of {config.held_out_days} days right; chance is "
        f"33.33%.\n\n![states](states.png)\n\n![loss against updates]({config.cell}/loss.png)",
    }
    return experiment.finish(run, title="What is cooking?", headline=headline, sections=sections)


def draw_weights(run: experiment.Run, params: rnnjax.RNNParams) -> None:
    """The matrices made by hand."""
    units = [f"{dish}, {weather}" for weather in WEATHER for dish in DISHES]
    rows = {"w_h": units, "w_x": [*WEATHER, *(f"first: {dish}" for dish in DISHES)]}
    with plots.panels(run.folder / "weights.png", columns=2, size=(12.0, 5.4)) as axes:
        for axis, (name, labels) in zip(axes[0], rows.items(), strict=True):
            weights = np.asarray(getattr(params, name))
            axis.imshow(weights, cmap="Blues", vmin=0, vmax=2)
            for (row, column), weight in np.ndenumerate(weights):
                axis.text(column, row, f"{weight:.0f}", ha="center", va="center")
            axis.set_xticks(range(6), units, rotation=45, ha="right")
            axis.set_yticks(range(len(labels)), labels)
            axis.set(xlabel="unit of today")
            axis.grid(visible=False)
        axes[0, 0].set(title="recurrent weights", ylabel="unit of yesterday")
        axes[0, 1].set(title="input weights (every bias is -1)", ylabel="input of today")


def draw_states(run: experiment.Run, states: np.ndarray, dishes: np.ndarray, w_y: np.ndarray) -> None:
    """Hidden states `[T, B, H]` in the plane that the output weights `[H, 3]` look at, a colour for each dish."""
    plane = np.linalg.svd(w_y - w_y.mean(axis=1, keepdims=True), full_matrices=False)[0][:, :2]
    points, dish_of = states.reshape(-1, states.shape[-1])[-3000:] @ plane, dishes.reshape(-1)[-3000:]
    with plots.figure(
        run.folder / "states.png",
        title="Where the learned network keeps the dish",
        x="state along the first direction read (no unit)",
        y="state along the second (no unit)",
    ) as axes:
        for dish, name in enumerate(DISHES):
            axes.scatter(*points[dish_of == dish].T, s=9, alpha=0.4, color=plots.COLOURS[dish], label=name)
        plots.legend_beside(axes, "today's dish")


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
