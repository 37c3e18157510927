"""The vanishing and the exploding gradient, drawn: how far back a network learns, before training and after it.

    python -m experiments.gradients               about a minute on two CPU cores: the gradient of a simple RNN halves
                                                  every 2.7 steps, that of an LSTM every 7, with chrono biases every 90
    python -m experiments.gradients --cell mgu    another cell in the place of the LSTM where cells are trained

The report follows gradients back through untrained cells, draws the wall in a loss and walks of gradient descent,
trains with and without clipping, and compares Jacobians and gates before and after training.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import rnnjax
from experiments.gradients import descent, figures, flow
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
    clip_seeds: int = 5  # networks for each way of clipping
    steps: int = 1500  # updates of the networks that are looked at
    batch: int = 32  # sequences of an update
    steps_per_call: int = 20  # updates in one compiled call

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)


SMOKE = {"lag": 20, "hidden": 8, "seeds": 2, "scales": (0.9, 1.1), "length": 6, "trained_hidden": 8, "held_out": 32}
SMOKE |= {"clip_steps": 20, "clip_seeds": 1, "steps": 20}


def follow_back(config: Config) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Norms of gradients by lag: of a linear RNN for each scale `[T, W]`, and of untrained cells `[T, S]`."""
    linear = rnnjax.rnn(2 * SYMBOLS, config.hidden, activation=jax.nn.identity)
    powers = np.median(flow.norms_by_seed(config, linear, config.scales), axis=0)
    cells = list(flow.untrained_cells(config).items())[: 2 if config.smoke else None]
    return powers, {name: flow.norms_by_seed(config, cell)[..., 0].T for name, cell in tqdm(cells, desc="cells")}


def train_and_look(config: Config, run: frame.Run, held_out: Batch) -> tuple[figures.Looks, dict[str, Interval]]:
    """Trains the RNN, the GRU and the cell: looks before and after it, and accuracies, by name."""
    looks, accuracies = {}, {}
    for name in (config.cell,) if config.smoke else dict.fromkeys(("rnn", "gru", config.cell)):
        cell = make_cell(name, 2 * SYMBOLS, config.trained_hidden)
        init, loss_fn, right = make_model(cell)
        start = init(jax.random.key(config.seed))
        settings = {"name": name, "batch_axes": Batch(inputs=1, targets=0), "unit": "sequence"}
        result = training.train(config, lambda _, s=start: s, loss_fn, batches_of(config), run.folder, **settings)
        look, params = flow.make_look(config, name, cell, held_out.inputs[:, :64]), result.state.params
        looks[name] = look(start.cell), look(params.cell)
        accuracies[name] = wilson(np.asarray(right(params, held_out)))
    return looks, accuracies


def main(config: Config) -> dict:
    """Measures, trains, draws, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    powers, norms = follow_back(config)
    walks = descent.walk_down(config.seed)
    held_out = held_out_of(config)
    clipped = descent.compare_clipping(config, held_out)
    looks, right = train_and_look(config, run, held_out)
    figures.draw_lags(run.folder, config, powers, norms)
    figures.draw_surface(run.folder, descent.surface(), walks)
    figures.draw_clipping(run.folder, clipped, np.log(SYMBOLS))
    for draw in (figures.draw_learned, figures.draw_spectra, figures.draw_saturation):
        draw(run.folder, looks)

    lives = {name: np.percentile(flow.half_lives(values), [50, 10, 90]) for name, values in norms.items()}
    kept = {name: wilson(np.array([right for _, right in some])) for name, some in clipped.items()}
    headline = {"half_life_rnn": float(lives["RNN, tanh"][0]), "half_life_lstm": float(lives["LSTM, forget bias 1"][0])}
    headline |= {f"accuracy_clip_{n.replace(' ', '_')}": found.mean for n, found in kept.items() if "ReLU" not in n}
    headline |= {f"accuracy_{name}": found.mean for name, found in right.items()}
    slopes = diagnostics.growth_rate(jnp.asarray(powers)).tolist()
    far = {name: np.linalg.norm(np.diff(x.points, axis=1), axis=2).max(axis=1) for name, x in walks.items()}
    values = {
        "slopes": list(zip(config.scales, slopes, np.log(config.scales), strict=True)),
        "lives": {name: (*life, np.median(norms[name][0])) for name, life in lives.items()},
        "walks": {name: (x, far[name][0], wilson(far[name][1:] > 1)) for name, x in walks.items()},
        "arrived": {name: wilson(x.losses[1:, -1] < 0.01) for name, x in walks.items()},
        "clipped": {n: [(*descent.summary(one), right.mean()) for one, right in some] for n, some in clipped.items()},
        "seen": {name: [flow.summary(look) for look in pair] for name, pair in looks.items()},
    }
    symbols = {"symbols": SYMBOLS, "floor": flow.FLOOR, "descent": descent}
    return frame.finish(run, headline, kept=kept, looks=looks, right=right, **symbols, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
