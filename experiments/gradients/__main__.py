"""The vanishing and the exploding gradient, drawn: how far back a network learns, before training and after it.

    python -m experiments.gradients               about a minute on two CPU cores: the gradient of a simple RNN halves
                                                  every 2.7 steps, that of an LSTM every 7, with chrono biases every 90
    python -m experiments.gradients --cell mgu    another cell in the place of the LSTM where cells are trained

What a loss at the end of a sequence says about a state k steps before is a product of k Jacobians of steps,

    dL/dh_{T-k} = dL/dh_T J_T J_{T-1} ... J_{T-k+1},     J_t = dh_t / dh_{t-1},

so that it falls or grows by a factor per step. Without a nonlinearity J is W_h itself: with W_h = w Q and Q orthogonal
the norm is w^k to the letter. The simple RNN has J_t = diag(1 - h_t^2) W_h; the cell state of an LSTM has the forget
gate, diag(f_t), and what comes through the gates. Where products explode the loss has walls, and one step of gradient
descent that touches one undoes a hundred; clipping bounds that step:

    by value: g_j = clip(g_j, -v, v)              by norm: g = g min(1, n / |g|)

References: Bengio, Simard & Frasconi 1994, "Learning long-term dependencies with gradient descent is difficult";
Pascanu, Mikolov & Bengio 2013, "On the difficulty of training recurrent neural networks" (the wall, clipping by norm);
Tallec & Ollivier 2018, "Can recurrent neural networks warp time?" (chrono); Karpathy, Johnson & Fei-Fei 2015,
"Visualizing and understanding recurrent networks" (saturated gates).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import rnnjax
from experiments.gradients import descent, figures, flow
from experiments.gradients.flow import Look
from experiments.gradients.latch import SYMBOLS, Batch, batches_of, held_out_of, make_model
from experiments.lib import frame, training
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.intervals import Interval, wilson
from rnnjax import diagnostics


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    cell: str = "lstm"  # looked at before and after training, beside rnn and gru: mgu, simple_gru, peephole_lstm, ...
    lag: int = 200  # steps that gradients are followed back over
    hidden: int = 64  # units of the networks that are not trained
    seeds: int = 20  # networks of a curve
    scales: tuple[float, ...] = (0.9, 0.97, 1.0, 1.03, 1.1)  # w of W_h = w Q
    length: int = 30  # steps that the trained networks remember over
    trained_hidden: int = 32  # units of those
    held_out: int = 512  # sequences that are not trained on
    clip_steps: int = 1000  # updates by plain gradient descent, with and without clipping
    clip_rate: float = 0.1  # learning rate of those
    clip_scale: float = 1.5  # of the orthogonal recurrent weights that they begin with
    norm_bound: float = 1.0  # n of clipping by norm
    value_bound: float = 0.1  # v of clipping by value
    clip_seeds: int = 5  # networks for each way of clipping
    descent_steps: int = 200  # updates on the loss surface
    starts: int = 500  # points that they begin from
    steps: int = 1500  # updates of the networks that are looked at
    batch: int = 32  # sequences of an update
    steps_per_call: int = 20  # updates in one compiled call

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)


SMOKE = {"lag": 20, "hidden": 8, "seeds": 2, "scales": (0.9, 1.1), "length": 6, "trained_hidden": 8, "held_out": 32}
SMOKE |= {"clip_steps": 20, "clip_seeds": 1, "descent_steps": 20, "starts": 5, "steps": 20}


def follow_back(config: Config) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Norms of gradients by lag: of a linear RNN for each scale `[T, W]`, and of untrained cells `[T, S]`."""
    linear = rnnjax.rnn(2 * SYMBOLS, config.hidden, activation=jax.nn.identity)
    powers = np.median(flow.norms_by_seed(config, linear, config.scales), axis=0)
    cells = list(flow.untrained_cells(config).items())[: 2 if config.smoke else None]
    return powers, {name: flow.norms_by_seed(config, cell)[..., 0].T for name, cell in tqdm(cells, desc="cells")}


def walk_down(config: Config) -> dict[str, descent.Record]:
    """Gradient descent on the loss surface, from the start that is drawn and from many others."""
    starts = np.random.default_rng(config.seed).uniform((3.0, -4.0), (8.0, 0.0), (config.starts, 2))
    starts = np.concatenate([[descent.START], starts])
    ways = {"without clipping": np.inf, "clipped by norm": descent.BOUND}
    return {name: jax.device_get(descent.walk(starts, config.descent_steps, bound)) for name, bound in ways.items()}


def train_and_look(config: Config, run: frame.Run, held_out: Batch) -> dict[str, tuple[Look, Look, Interval]]:
    """Trains the RNN, the GRU and the cell: looks before and after it, and accuracy, by name."""
    found = {}
    for name in (config.cell,) if config.smoke else dict.fromkeys(("rnn", "gru", config.cell)):
        cell = make_cell(name, 2 * SYMBOLS, config.trained_hidden)
        init, loss_fn, right = make_model(cell, config.trained_hidden)
        start = init(jax.random.key(config.seed))
        settings = {"name": name, "batch_axes": Batch(inputs=1, targets=0), "unit": "sequence"}
        result = training.train(
            config, lambda key, start=start: start, loss_fn, batches_of(config), run.folder, **settings
        )
        look, params = flow.make_look(config, name, cell, held_out.inputs[:, :64]), result.state.params
        found[name] = look(start.cell), look(params.cell), wilson(np.asarray(right(params, held_out)))
    return found


def main(config: Config) -> dict:
    """Measures, trains, draws, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    powers, norms = follow_back(config)
    walks = walk_down(config)
    held_out = held_out_of(config)
    clipped = descent.compare_clipping(config, held_out)
    looks = train_and_look(config, run, held_out)
    figures.draw_lags(run.folder, config, powers, norms)
    figures.draw_surface(run.folder, descent.surface(40 if config.smoke else 600), walks)
    figures.draw_clipping(run.folder, clipped, np.log(SYMBOLS))
    for draw in (figures.draw_learned, figures.draw_spectra, figures.draw_saturation):
        draw(run.folder, {name: look[:2] for name, look in looks.items()})

    lives = {name: np.percentile(flow.half_lives(values), [50, 10, 90]) for name, values in norms.items()}
    kept = {name: wilson(np.array([right for _, right in some])) for name, some in clipped.items()}
    headline = {"half_life_rnn": float(lives["RNN, tanh"][0]), "half_life_lstm": float(lives["LSTM, forget bias 1"][0])}
    headline |= {f"accuracy_clip_{n.replace(' ', '_')}": found.mean for n, found in kept.items() if "ReLU" not in n}
    headline |= {f"accuracy_{name}": right.mean for name, (_, _, right) in looks.items()}
    slopes = diagnostics.growth_rate(jnp.asarray(powers)).tolist()
    far = {name: np.linalg.norm(np.diff(x.points, axis=1), axis=2).max(axis=1) for name, x in walks.items()}
    values = {
        "slopes": list(zip(config.scales, slopes, np.log(config.scales), strict=True)),
        "lives": {name: (*life, np.median(norms[name][0])) for name, life in lives.items()},
        "walks": {name: (x, far[name], wilson(far[name][1:] > 1)) for name, x in walks.items()},
        "arrived": {name: wilson(x.losses[1:, -1] < 0.01) for name, x in walks.items()},
        "clipped": {name: ([descent.summary(one) for one, _ in some], some) for name, some in clipped.items()},
        "looks": {name: [(look, flow.summary(look)) for look in pair] for name, (*pair, _) in looks.items()},
        "right": {name: right for name, (_, _, right) in looks.items()},
        "constants": {"floor": flow.FLOOR, "symbols": SYMBOLS, "relu": descent.RELU_SCALE}
        | {"start": descent.START, "rate": descent.RATE, "bound": descent.BOUND},
    }
    return frame.finish(run, headline, kept=kept, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
