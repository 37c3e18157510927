"""The vanishing and the exploding gradient, drawn: how far back a network learns, before training and after it.

    python -m experiments.gradients               about a minute on two CPU cores: the gradient of a simple RNN halves
                                                  every 2.7 steps, that of an LSTM every 7, with chrono biases every 90
    python -m experiments.gradients --cell mgu    another cell in the place of the LSTM where cells are trained

What a loss at the end of a sequence says about a state k steps before is a product of k Jacobians of steps,

    dL/dh_{T-k} = dL/dh_T J_T J_{T-1} ... J_{T-k+1},     J_t = dh_t / dh_{t-1},

so that it falls or grows by a factor a step. Without a nonlinearity J is W_h itself: with W_h = w Q and Q orthogonal
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
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import rnnjax
from experiments.lib import experiment, plots, report
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.optimization import make_optimizer
from experiments.lib.readout import Params, make_readout
from experiments.lib.training import Options, train
from rnnjax import diagnostics

NAME = "gradients"
SYMBOLS = 4  # to remember, and as many that distract
RELU_SCALE = 2.0  # of its orthogonal recurrent weights where a ReLU RNN is to explode
FLOOR = 1e-35  # below it a float32 gradient loses digits, and is then zero
GATES = {"lstm": ("forget gate f", "input gate i", "output gate o"), "gru": ("reset gate r", "update gate u")}
half_life = jax.jit(diagnostics.half_life)


@dataclasses.dataclass(frozen=True)
class Config(Options):
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
    steps: int = 1500
    batch: int = 32
    steps_per_call: int = 20


SMOKE = {"lag": 20, "hidden": 8, "seeds": 2, "scales": (0.9, 1.1), "length": 6, "trained_hidden": 8, "held_out": 32}
SMOKE |= {"clip_steps": 20, "clip_seeds": 1, "descent_steps": 20, "starts": 5, "steps": 20}


# ---- gradients against the lag -------------------------------------------------------------------------------


def untrained_cells(config: Config) -> dict[str, rnnjax.Cell]:
    """The cells of the figure by what they are called there."""
    make = functools.partial(make_cell, input_size=2 * SYMBOLS, hidden_size=config.hidden)
    cells = {"RNN, tanh": make("rnn"), "LSTM, forget bias 1": make("lstm")}
    if config.smoke:
        return cells
    return cells | {
        "RNN, ReLU": make("rnn", activation=jax.nn.relu),
        "RNN, ReLU, $W_h = 1$": make("irnn"),
        "GRU": make("gru"),
        "LSTM, forget bias 0": make("lstm", forget_bias=0.0),
        "LSTM, chrono": make("lstm", max_lag=config.lag),
    }


def projection(key: jax.Array, size: int) -> jax.Array:
    """A random direction: the loss is what the last output has of it."""
    direction = jax.random.normal(key, (size,))
    return direction / jnp.linalg.norm(direction)


def norms_by_seed(config: Config, cell: rnnjax.Cell, scales=(1.0,)) -> np.ndarray:
    """Norms `[S, T, W]`, a network and an input for each of S seeds, its recurrent weights times each of W scales."""

    key_cell, key_x, key_loss = jax.random.split(jax.random.key(config.seed), 3)
    params = jax.vmap(cell.init)(jax.random.split(key_cell, config.seeds))
    inputs = jax.random.normal(key_x, (config.seeds, config.lag, 2 * SYMBOLS))
    directions = jax.vmap(lambda key: projection(key, config.hidden))(jax.random.split(key_loss, config.seeds))

    def one(params, xs, direction, scale):
        params = params._replace(w_h=params.w_h * scale)
        return diagnostics.gradient_norms(cell, params, xs, lambda carry, ys: jnp.vdot(ys[-1], direction)).whole

    scaled = jax.vmap(one, (None, None, None, 0), 1)
    return np.asarray(jax.jit(jax.vmap(scaled, (0, 0, 0, None)))(params, inputs, directions, jnp.asarray(scales)))


def half_lives(norms: np.ndarray) -> np.ndarray:
    """Half-lives of norms, time on axis 0, from where they can be told from rounding."""
    return np.asarray(half_life(jnp.asarray(np.where(norms > FLOOR, norms, 0.0), jnp.float32)))


def follow_back(config: Config, run: experiment.Run) -> tuple[dict, dict[str, str]]:
    """The norms of untrained networks: headline, and a section of the report."""
    linear = rnnjax.rnn(2 * SYMBOLS, config.hidden, activation=jax.nn.identity)
    powers = np.median(norms_by_seed(config, linear, config.scales), axis=0)  # [T, W]
    cells = untrained_cells(config)
    norms = {name: norms_by_seed(config, cell)[..., 0].T for name, cell in tqdm(cells.items(), desc="cells")}  # [T, S]
    draw_lags(config, run, powers, norms)
    lives = {name: np.percentile(half_lives(values), [50, 10, 90]) for name, values in norms.items()}
    slopes = diagnostics.growth_rate(jnp.asarray(powers)).tolist()
    error = max(abs(s - np.log(w)) for s, w in zip(slopes, config.scales, strict=True))
    rows = [(f"w = {w}", f"{s:+.5f}", f"{np.log(w):+.5f}") for w, s in zip(config.scales, slopes, strict=True)]
    rnn, lstm = float(lives["RNN, tanh"][0]), float(lives["LSTM, forget bias 1"][0])
    slowest = max(lives, key=lambda name: lives[name][0])
    text = (
        f"{config.hidden} untrained units with the library's own initialisation (recurrent weights orthogonal, input "
        f"weights Glorot), {2 * SYMBOLS} inputs that are independent and normal, loss = the last output along a random "
        "direction of length one. The norm of its gradient with respect to the carry (h; h and c of an LSTM) that the "
        f"network had 1 to {config.lag} steps before its end, in {config.seeds} networks. A half-life is log 2 over "
        f"the slope of the log norm against the lag, where the norm is above {FLOOR:g}; the median over networks, and "
        "their 10th and 90th percentile.\n\n"
        + report.grid(
            ["network", "half-life (steps)", "10 %", "90 %", f"norm at lag {config.lag}, median"],
            [(name, *(f"{x:.1f}" for x in lives[name]), below(norms[name][0])) for name in lives],
        )
        + f"\n\nThe LSTM with forget bias 1 keeps a gradient {lstm / rnn:.1f} times as long as the tanh RNN. That is "
        f"the start of training, and f = sigmoid(1) = 0.73 there, a half-life of 2.2 steps for a unit that stays at "
        f"it; the longest here is that of {slowest}.\n\nWithout a nonlinearity the log norm must change by log w a "
        f"step; the largest difference is {error:.0e}.\n\n"
        + report.grid(["W_h = w Q", "slope, measured (1/step)", "log w"], rows)
        + "\n\n![gradient norm against the lag](lags.png)"
    )
    return {"half_life_rnn": rnn, "half_life_lstm": lstm}, {"Before training: the gradient against the lag": text}


def below(norms: np.ndarray) -> str:
    """The median in words, which float32 cannot hold when it is too small."""
    median = np.median(norms)
    return f"{median:.1e}" if median > FLOOR else f"under {FLOOR:g}"


# ---- the loss surface ----------------------------------------------------------------------------------------


class Unit(NamedTuple):
    """The parameters of a network of one unit.

    Attributes:
      w: recurrent weight `[]`.
      b: bias `[]`.
    """

    w: jax.Array
    b: jax.Array


START, DESCENT_RATE, DESCENT_BOUND, GOOD = (5.4, -1.8), 0.5, 0.2, 0.01
WALL = 0.622  # it runs along b = 0.5 - 0.622 w, where h_0 is a fixed point: so does the grid, or the picture has teeth


def unit_loss(params: Unit, batch=None, *, key=None) -> rnnjax.losses.SumCount:
    """(h_50 - 0.7)^2 of h_t = sigmoid(w h_{t-1} + b) from h_0 = sigmoid(0.5), as in Pascanu et al. 2013."""
    del batch, key
    cell = rnnjax.rnn(1, 1, activation=jax.nn.sigmoid)
    weights = rnnjax.RNNParams(w_x=jnp.zeros((1, 1)), w_h=params.w.reshape(1, 1), b=params.b.reshape(1))
    start = rnnjax.RNNCarry(jax.nn.sigmoid(jnp.full(1, 0.5)))
    carry, _ = rnnjax.unroll(cell, weights, jnp.zeros((50, 1)), start)
    return rnnjax.losses.masked_mean((carry.h - 0.7) ** 2)


def descend(starts: np.ndarray, steps: int, bound: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradient descent from each of N starts `[N, 2]`: points `[N, S, 2]`, losses and gradient norms there `[N, S]`."""
    optimizer = rnnjax.training.get_optimizer("sgd", DESCENT_RATE, clip_norm=bound)
    update = rnnjax.training.make_train_step(unit_loss, optimizer)

    def body(state, _):
        after, metrics = update(state, None)
        return after, (jnp.stack(state.params), metrics.loss, metrics.grad_norm)

    def one(start):
        state = rnnjax.training.init_state(Unit(start[0], start[1]), optimizer, key=jax.random.key(0))
        return jax.lax.scan(body, state, length=steps)[1]

    return tuple(map(np.asarray, jax.jit(jax.vmap(one))(jnp.asarray(starts, jnp.float32))))


def surface(config: Config, run: experiment.Run) -> tuple[dict, dict[str, str]]:
    """The wall and the paths over it: a section of the report."""
    w, across = np.meshgrid(np.linspace(2.5, 8.0, 120), np.linspace(-3.2, 8.2, 40 if config.smoke else 600))
    grid = w, across - WALL * w
    losses = jax.jit(jax.vmap(lambda w, b: unit_loss(Unit(w, b)).sum))(*(jnp.asarray(a.ravel()) for a in grid))
    starts = np.random.default_rng(config.seed).uniform((3.0, -4.0), (8.0, 0.0), (config.starts, 2))
    paths, rows = {}, []
    for name, bound in (("without clipping", None), ("clipped by norm", DESCENT_BOUND)):
        points, values, norms = descend(np.concatenate([[START], starts]), config.descent_steps, bound)
        paths[name] = points[0], values[0]
        longest = np.linalg.norm(np.diff(points, axis=1), axis=2).max(axis=1)
        shares = np.mean(longest[1:] > 1), np.mean(values[1:, -1] < GOOD)
        one = f"{norms[0].max():.1f}", f"{longest[0]:.2f}", f"{values[0, -1]:.4f}"
        rows.append((name, *one, *(f"{share:.0%}" for share in shares)))
    draw_surface(run, *grid, np.asarray(losses).reshape(w.shape), paths)
    text = (
        f"One unit, h_t = sigmoid(w h_(t-1) + b), 50 steps from h_0 = sigmoid(0.5), loss (h_50 - 0.7)^2. Gradient "
        f"descent at a rate of {DESCENT_RATE}, {config.descent_steps} updates, as it is and with the norm of the "
        f"gradient bounded by {DESCENT_BOUND}. The path that is drawn begins at w = {START[0]}, b = {START[1]}, chosen "
        f"to meet the wall; how common that is say {config.starts} starts, uniform with w from 3 to 8 and b from -4 to "
        f"0: the shares that make a step longer than 1, and that end below a loss of {GOOD}.\n\n"
        + report.grid(
            ["", "largest gradient norm", "longest step", "loss at the end", "starts thrown", f"starts below {GOOD}"],
            rows,
        )
        + "\n\n![loss surface, and paths of gradient descent](surface.png)"
    )
    return {}, {"The wall": text}


# ---- training ------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    """Sequences that begin with a symbol to remember.

    Attributes:
      inputs: one-hot `[T, B, 8]`: one of four symbols first, then four others at random.
      targets: the first symbol `[B]`.
    """

    inputs: np.ndarray
    targets: np.ndarray


def latch(rng: np.random.Generator, count: int, length: int) -> Batch:
    """Sequences of T = length steps, after the latch of Bengio et al. 1994."""
    ids = rng.integers(SYMBOLS, 2 * SYMBOLS, size=(length, count))
    ids[0] = rng.integers(SYMBOLS, size=count)
    return Batch(np.eye(2 * SYMBOLS, dtype=np.float32)[ids], ids[0])


def make_model(cell: rnnjax.Cell, hidden: int):
    """`key -> params`, and `(params, inputs [T, B, 8]) -> logits [B, 4]`."""
    init, apply = make_readout(cell, hidden, SYMBOLS)
    return init, jax.jit(lambda params, inputs: apply(params, inputs)[-1])


def make_loss(apply):
    """`(params, batch, *, key) -> SumCount`, in nats a sequence."""

    def loss_fn(params, batch, *, key):
        del key
        return rnnjax.losses.get_loss("cross_entropy")(apply(params, batch.inputs), batch.targets)

    return loss_fn


def batches_of(config: Config, number: int = 0):
    """`step -> Batch`, fresh sequences for every step, and others for every number."""
    return lambda step: latch(np.random.default_rng((config.seed, 0, number, step)), config.batch, config.length)


def held_out_of(config: Config) -> Batch:
    return latch(np.random.default_rng((config.seed, 1)), config.held_out, config.length)


def accuracy(apply, params: Params, batch: Batch) -> float:
    """Share of the sequences whose first symbol is named."""
    return float(np.mean(np.argmax(apply(params, batch.inputs), axis=-1) == batch.targets))


class Descent(NamedTuple):
    """A network trained with clipping or without.

    Attributes:
      result: of `rnnjax.training.fit`, which stops where a loss is not finite.
      losses: of each update, in nats.
      norms: of the gradient before it is clipped.
      accuracy: on held-out sequences.
    """

    result: rnnjax.training.FitResult
    losses: np.ndarray
    norms: np.ndarray
    accuracy: float


def train_clipped(config: Config, run: experiment.Run, name: str, value: float, norm: float) -> list[Descent]:
    """Networks whose gradients explode, trained by plain gradient descent with a bound on values or on the norm."""
    relu = "ReLU" in name
    weights = jax.nn.initializers.orthogonal(RELU_SCALE if relu else config.clip_scale)
    activation = jax.nn.relu if relu else jnp.tanh
    cell = make_cell("rnn", 2 * SYMBOLS, config.trained_hidden, activation=activation, w_h_init=weights)
    init, apply = make_model(cell, config.trained_hidden)
    plain = {"optimizer": "sgd", "learning_rate": config.clip_rate, "schedule": "constant"}
    optimizer = make_optimizer(dataclasses.replace(config, **plain, clip_value=value, clip_norm=norm))
    update, descents = rnnjax.training.make_train_step(make_loss(apply), optimizer), []
    for number in range(1 if relu else config.clip_seeds):
        key_init, key_run = jax.random.split(jax.random.fold_in(jax.random.key(config.seed), number))
        folder = run.folder / "clipping" / f"{name.replace(', ', '_').replace(' ', '_')}_{number}"
        folder.mkdir(parents=True)
        print(f"clipping {name}, network {number + 1}", flush=True)
        result = rnnjax.training.fit(  # itself, since a run that diverges is a result here
            update,
            rnnjax.training.init_state(init(key_init), optimizer, key=key_run),
            batches_of(config, number),
            steps=config.clip_steps,
            steps_per_call=1 if relu else config.steps_per_call,  # of a call that fails no loss is written
            metrics_file=folder / "metrics.jsonl",
            unit="sequence",
        )
        if result.stopped == "interrupted":
            raise KeyboardInterrupt
        lines = [line for line in report.read_metrics(folder / "metrics.jsonl") if "loss" in line]
        losses, norms = (np.array([line[key] for line in lines]) for key in ("loss", "grad_norm"))
        right = accuracy(apply, result.state.params, held_out_of(config))
        descents.append(Descent(result, losses, norms, right))
    return descents


def compare_clipping(config: Config, run: experiment.Run) -> tuple[dict, dict[str, str]]:
    """The same networks with clipping and without: headline, and a section of the report."""
    bounds = {"none": (0.0, 0.0), "by value": (config.value_bound, 0.0), "by norm": (0.0, config.norm_bound)}
    ways = bounds if config.smoke else bounds | {"none, ReLU": (0.0, 0.0)}
    runs = {name: train_clipped(config, run, name, *bound) for name, bound in ways.items()}
    draw_clipping(config, run, runs)
    means = {name: float(np.mean([one.accuracy for one in some])) for name, some in runs.items()}
    rows = [
        (
            name,
            f"{sum(one.result.stopped == 'steps' for one in some)} of {len(some)}",
            f"{np.concatenate([one.norms for one in some]).max(initial=0.0):.3g}",
            ", ".join(f"{one.accuracy:.1%}" for one in some),
            f"{means[name]:.1%}",
        )
        for name, some in runs.items()
    ]
    diverged = [
        f"With clipping {name}, the loss or its gradient is not finite in update {one.result.bad_step}."
        for name, some in runs.items()
        for one in some
        if one.result.bad_step is not None
    ]
    text = (
        f"A tanh RNN of {config.trained_hidden} units whose recurrent weights begin {config.clip_scale} times an "
        f"orthogonal matrix, and plain gradient descent at a rate of {config.clip_rate}. It is to name the first of "
        f"{config.length} symbols; {SYMBOLS} are possible, so chance is {1 / SYMBOLS:.0%} and {np.log(SYMBOLS):.3f} "
        f"nats. {config.clip_seeds} networks, {config.clip_steps:,} updates, the same batches each way: without "
        f"clipping, with every element of the gradient bounded by {config.value_bound}, with its norm bounded by "
        f"{config.norm_bound}; and one ReLU RNN that begins with {RELU_SCALE} times an orthogonal matrix, without "
        f"clipping. {config.held_out} held-out sequences.\n\n"
        + report.grid(["clipping", "ran to the end", "largest gradient norm", "held-out accuracy", "mean"], rows)
        + "\n\n"
        + " ".join([f"Most often right is clipping {max(means, key=means.get)}.", *diverged])
        + "\n\n![training with and without clipping](clipping.png)"
    )
    return {f"accuracy_clip_{name.replace(' ', '_')}": means[name] for name in bounds}, {"Clipping": text}


# ---- before and after training -------------------------------------------------------------------------------


class Look(NamedTuple):
    """What is seen in a network.

    Attributes:
      norms: of the gradient, by lag, for each of B sequences `[T, B]`.
      spectrum: of the Jacobians of 8 of them, leaves `[8, ...]`.
      gates: values `[T, B, H]` by name.
      bounds: of the values.
    """

    norms: np.ndarray
    spectrum: diagnostics.JacobianSpectrum
    gates: dict[str, np.ndarray]
    bounds: tuple[float, float]


def make_look(config: Config, name: str, cell: rnnjax.Cell, inputs: np.ndarray):
    """`params of the cell -> Look`, on inputs `[T, B, 8]`."""
    direction = projection(jax.random.key(config.seed), config.trained_hidden)

    @jax.jit
    def measure(params):
        loss = lambda carry, ys: jnp.sum(jnp.matmul(ys[-1], direction))  # noqa: E731
        norms = diagnostics.gradient_norms(cell, params, inputs, loss).whole
        jacobians = jax.vmap(functools.partial(diagnostics.step_jacobians, cell, params), 1)(inputs[:, :8])
        return norms, jacobians, diagnostics.activations(cell, params, inputs)

    spectra = jax.jit(jax.vmap(diagnostics.jacobian_spectrum))

    def look(params):
        norms, jacobians, found = measure(params)
        sigmoids = [np.asarray(found[key]) for key in sorted(found) if key.startswith("sigmoid")]
        units = config.trained_hidden
        parts = [v[..., i : i + units] for v in sigmoids for i in range(0, v.shape[-1], units)]
        if not parts:
            gates, bounds = {"state h": np.asarray(found["tanh_0"])} if "tanh_0" in found else {}, (-1.0, 1.0)
        else:
            names = GATES.get(name, [f"gate {i + 1}" for i in range(len(parts))])
            gates, bounds = dict(zip(names, parts, strict=True)), (0.0, 1.0)
        return Look(np.asarray(norms), jax.tree.map(np.asarray, spectra(jacobians)), gates, bounds)

    return look


def train_and_look(config: Config, run: experiment.Run) -> tuple[dict, dict[str, str]]:
    """Trains the RNN, the GRU and the cell; headline, and a section of the report."""
    names = (config.cell,) if config.smoke else tuple(dict.fromkeys(("rnn", "gru", config.cell)))
    held_out, headline, looks, rows = held_out_of(config), {}, {}, []
    for name in names:
        cell = make_cell(name, 2 * SYMBOLS, config.trained_hidden)
        init, apply = make_model(cell, config.trained_hidden)
        start = init(jax.random.key(config.seed))
        loss_fn, batches = make_loss(apply), batches_of(config)
        result = train(config, lambda key, start=start: start, loss_fn, batches, run.folder, name=name, unit="sequence")
        look = make_look(config, name, cell, jnp.asarray(held_out.inputs[:, :64]))
        looks[name] = look(start.cell), look(result.state.params.cell)
        headline[f"accuracy_{name}"] = right = accuracy(apply, result.state.params, held_out)
        for when, seen in zip(("before", "after"), looks[name], strict=True):
            first = seen.spectrum.exponents[:, 0].mean()
            stretch = seen.spectrum.singular_values
            rows.append(
                [
                    f"{name}, {when}",
                    f"{kept(seen):.2g}",
                    f"{first:+.3f}",
                    f"{seen.spectrum.exponents[:, :4].mean():+.3f}",
                    f"{stretch[..., 0].mean():.2f}",
                    f"{np.abs(seen.spectrum.eigenvalues).max(axis=-1).mean():.2f}",
                    f"{right:.2%}" if when == "after" else "",
                ]
            )
    draw_learned(config, run, looks)
    draw_spectra(run, looks)
    draw_stretches(run, looks)
    draw_saturation(run, looks)
    text = (
        f"{config.trained_hidden} units, {config.length} steps to remember the first of {config.length} symbols over, "
        f"{config.steps} updates of {config.batch} fresh sequences by {config.optimizer}, the norm of the gradient "
        f"bounded by {config.clip_norm}. {config.held_out} held-out sequences; chance is {1 / SYMBOLS:.0%}. The "
        "gradient is of the last output along a random direction, the median over 64 held-out sequences; "
        "exponents, singular values and eigenvalues: of the Jacobians of steps, means over 8 of these.\n\n"
        + report.grid(
            [
                "network",
                f"gradient at lag {config.length} over that at 1",
                "largest Lyapunov exponent (1/step)",
                "mean of the four largest",
                "largest singular value",
                "spectral radius",
                "held-out accuracy",
            ],
            rows,
        )
        + "\n\n"
        + " ".join(
            f"In the {name}, what lasts longest of a perturbation {fading(before)} before training, and "
            f"{fading(after)} after."
            for name, (before, after) in looks.items()
        )
        + "\n\n![gradients before and after training](learned.png)\n\n![eigenvalues of Jacobians](eigenvalues.png)\n\n"
        "![singular values of Jacobians](singular_values.png)\n\n"
        "Saturated is a value within a tenth of its range of an end of it; the share of the steps is that over "
        "all held-out steps, the mean over units.\n\n"
        + report.grid(["network", "values", "low, before", "high, before", "low, after", "high, after"], shares(looks))
        + "\n\n![saturation](saturation.png)"
    )
    return headline, {"Before and after training": text}


def kept(look: Look) -> float:
    """The gradient at the longest lag over that at lag 1, the median over sequences."""
    return float(np.median(look.norms[0] / look.norms[-1]))


def fading(look: Look) -> str:
    """The largest Lyapunov exponent in words."""
    exponent = look.spectrum.exponents[:, 0].mean()
    return f"halves every {-np.log(2) / exponent:.1f} steps" if exponent < 0 else "does not fade"


def saturation_of(look: Look, gate: str) -> diagnostics.Saturation:
    return diagnostics.saturation(jnp.asarray(look.gates[gate]), bounds=look.bounds)


def shares(looks: dict[str, tuple[Look, Look]]) -> list[tuple]:
    """Shares of saturated values, a row for each gate."""
    return [
        (name, gate, *(f"{share.mean():.1%}" for look in pair for share in saturation_of(look, gate)))
        for name, pair in looks.items()
        for gate in pair[0].gates
    ]


# ---- figures -------------------------------------------------------------------------------------------------


def draw_lags(config: Config, run: experiment.Run, powers: np.ndarray, norms: dict[str, np.ndarray]) -> None:
    """Norms against the lag: of powers of a matrix, with what must be, and of cells, with a band over seeds."""
    lags = np.arange(config.lag, 0, -1)
    with plots.panels(run.folder / "lags.png", columns=2, size=(15.0, 4.8)) as axes:
        linear, cells = axes[0]
        for i, scale in enumerate(config.scales):
            linear.plot(lags, powers[:, i], color=plots.COLOURS[i % 6], linewidth=3, label=f"w = {scale}")
            linear.plot(lags, scale ** lags.astype(float), ":", color="white", linewidth=1.5)
        linear.set(title="a linear RNN, W = w Q, Q orthogonal", ylabel="norm of dL/dh (no unit)")
        linear.plot([], [], ":", color="grey", linewidth=1.5, label="inside: $w^{lag}$")
        plots.legend_beside(linear)
        styles = ("-", "--", "-.", ":", (0, (1, 1)), (0, (5, 1)), (0, (3, 1, 1, 1)))
        order = sorted(norms, key=lambda name: -np.median(half_lives(norms[name])))
        for name, colour, style in zip(order, plots.COLOURS, styles, strict=False):
            low, middle, high = np.percentile(norms[name], [10, 50, 90], axis=1)
            cells.plot(lags, np.maximum(middle, 1e-300), color=colour, linestyle=style, label=name)
            cells.fill_between(lags, np.maximum(low, 1e-300), np.maximum(high, 1e-300), color=colour, alpha=0.2)
        cells.set(title=f"cells, untrained: median and 80 % of {config.seeds} networks")
        cells.set(ylim=(1e-12, 3), ylabel="norm of dL/d(carry) (no unit)")
        plots.legend_beside(cells)
        for axis in axes[0]:
            axis.set(yscale="log", xlabel="lag to the loss (steps)", xlim=(0, config.lag))


def draw_surface(run: experiment.Run, w: np.ndarray, b: np.ndarray, losses: np.ndarray, paths: dict) -> None:
    """The wall in three dimensions, from above with the paths, and the losses along them."""
    colours = {"without clipping": plots.COLOURS[1], "clipped by norm": plots.COLOURS[5]}
    with plots.panels(run.folder / "surface.png", columns=3, size=(16.5, 5.0)) as axes:
        canvas, place = axes[0, 0].figure, axes[0, 0].get_subplotspec()
        axes[0, 0].remove()
        solid = canvas.add_subplot(place, projection="3d")
        near = np.abs(b[:, 0] + WALL * w[:, 0] - 0.5) < 2
        solid.plot_surface(w[near], b[near], losses[near], cmap="cividis", rcount=250, ccount=40, antialiased=False)
        solid.view_init(elev=35, azim=-120)
        solid.set_box_aspect(None, zoom=0.9)
        solid.set(title="the wall", xlabel="w (no unit)", ylabel="b (no unit)", zlabel="loss (no unit)")
        above, along = axes[0, 1:]
        image = above.pcolormesh(w, b, losses, cmap="cividis", shading="gouraud", rasterized=True)
        canvas.colorbar(image, ax=above, label="loss (no unit)", shrink=0.8)
        for (name, (points, values)), style in zip(paths.items(), ("--", "-"), strict=True):
            above.plot(*points.T, style, color=colours[name], marker=".", markersize=4, linewidth=1.2, label=name)
            above.plot(*points[-1], "*", color=colours[name], markersize=16, markeredgecolor="white", clip_on=False)
            along.plot(values, style, color=colours[name], marker=".", linewidth=0.8, label=name)
        above.plot(*START, "o", color="white", markersize=8)
        above.set(title="gradient descent, from the circle to the stars", xlabel="w (no unit)", ylabel="b (no unit)")
        above.set(xlim=(2.5, 7.5), ylim=(-4.2, 1.8))
        above.grid(visible=False)
        along.set(title="loss along the way", xlabel="update", ylabel="loss (no unit)", yscale="log")
        along.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)


def draw_clipping(config: Config, run: experiment.Run, runs: dict[str, list[Descent]]) -> None:
    """Losses and gradient norms, a running median of each network; a cross where a run diverged."""
    width = max(1, config.clip_steps // 50)
    with plots.panels(run.folder / "clipping.png", columns=2, size=(14.5, 4.6)) as axes:
        for key, axis in zip(("losses", "norms"), axes[0], strict=True):
            ways = zip(runs.items(), plots.COLOURS[1:], ("-", "--", ":", "-."), strict=False)
            for (name, some), colour, style in ways:
                for one in some:
                    values, bad = getattr(one, key), one.result.bad_step
                    label = f"clipping {name}" if one is some[0] else None
                    if bad is None:
                        smooth = np.median(np.lib.stride_tricks.sliding_window_view(values, width), axis=1)
                        steps = np.arange(width, len(values) + 1)
                        axis.plot(steps, smooth, style, color=colour, linewidth=1.5, label=label)
                    else:
                        label = f"{label}:\nnot finite in update {bad}" if label else None
                        steps = np.arange(1, len(values) + 1)
                        axis.plot(steps, values, style, color=colour)
                        axis.plot(steps[-1:], values[-1:], "X", color=colour, markersize=13, label=label, zorder=5)
            axis.set(xlabel="update", yscale="log")
        axes[0, 0].axhline(np.log(SYMBOLS), color=plots.COLOURS[6], linewidth=1)
        axes[0, 0].text(config.clip_steps, 1.1 * np.log(SYMBOLS), "chance", ha="right", va="bottom")
        axes[0, 0].set(title=f"loss, median over {width} updates", ylabel="loss (nats a sequence)")
        axes[0, 1].set(title="gradient before it is clipped, likewise", ylabel="norm of the gradient (no unit)")
        plots.legend_beside(axes[0, 1])


def draw_learned(config: Config, run: experiment.Run, looks: dict[str, tuple[Look, Look]]) -> None:
    """Norms against the lag before and after training."""
    lags = np.arange(config.length, 0, -1)
    with plots.figure(
        run.folder / "learned.png",
        title="What training does to the gradient",
        x="lag to the loss (steps)",
        y="norm of dL/d(carry) (no unit)",
        size=(8.6, 4.6),
    ) as axes:
        for (name, pair), colour in zip(looks.items(), plots.COLOURS, strict=False):
            for when, style, look in zip(("before", "after"), ("--", "-"), pair, strict=True):
                low, middle, high = np.percentile(look.norms, [10, 50, 90], axis=1)
                axes.plot(lags, middle, style, color=colour, label=f"{name}, {when}")
                axes.fill_between(lags, low, high, color=colour, alpha=0.15)
        axes.set(yscale="log", xlim=(0, config.length))
        plots.legend_beside(axes)


def draw_spectra(run: experiment.Run, looks: dict[str, tuple[Look, Look]]) -> None:
    """Eigenvalues in the complex plane with the unit circle, before and after training."""
    circle = np.exp(2j * np.pi * np.linspace(0, 1, 200))
    sizes = [np.abs(look.spectrum.eigenvalues) for pair in looks.values() for look in pair]
    reach = max(1.2, *(1.05 * np.percentile(size, 99.5) for size in sizes))
    size = (1.0 + 3.9 * len(looks), 7.6)
    with plots.panels(run.folder / "eigenvalues.png", rows=2, columns=len(looks), size=size) as axes:
        for column, (name, pair) in zip(axes.T, looks.items(), strict=True):
            for axis, when, colour, look in zip(column, ("before", "after"), plots.COLOURS, pair, strict=False):
                values = look.spectrum.eigenvalues[:2].ravel()
                axis.scatter(values.real, values.imag, s=5, alpha=0.35, color=colour, linewidths=0)
                axis.plot(circle.real, circle.imag, color=plots.COLOURS[6], linewidth=1.2)
                axis.set(title=f"{name}, {when} training", aspect="equal", xlim=(-reach, reach), ylim=(-reach, reach))
        for axis in axes[:, 0]:
            axis.set_ylabel("imaginary part")
        for axis in axes[1]:
            axis.set_xlabel("real part of an eigenvalue")


def draw_stretches(run: experiment.Run, looks: dict[str, tuple[Look, Look]]) -> None:
    """Histograms of singular values, before and after training."""
    with plots.panels(run.folder / "singular_values.png", columns=len(looks), size=(1 + 4.5 * len(looks), 3.8)) as axes:
        for axis, (name, pair) in zip(axes[0], looks.items(), strict=True):  # the first bin takes all below it
            bins = np.geomspace(1e-3, 10, 60)
            for when, colour, style, look in zip(("before", "after"), plots.COLOURS, ("--", "-"), pair, strict=False):
                values = np.clip(look.spectrum.singular_values.ravel(), bins[0], bins[-1])
                weights = np.full(values.size, 1 / values.size)
                axis.hist(values, bins, weights=weights, histtype="step", color=colour, ls=style, lw=2, label=when)
            axis.axvline(1, color=plots.COLOURS[6], linewidth=1.2)
            axis.set(title=name, xscale="log", xlabel="singular value of a step's Jacobian")
        axes[0, 0].set_ylabel("share of the values")
        plots.legend_beside(axes[0, -1], "training")


def draw_saturation(run: experiment.Run, looks: dict[str, tuple[Look, Look]]) -> None:
    """A point for each unit: the shares of the steps at which it is high, and low."""
    gates = [(name, pair, gate) for name, pair in looks.items() for gate in pair[0].gates]
    if not gates:  # such as a ReLU RNN alone
        return
    columns = min(3, len(gates))
    rows = -(-len(gates) // columns)
    size = (2.0 + 3.6 * columns, 3.9 * rows)
    with plots.panels(run.folder / "saturation.png", rows=rows, columns=columns, size=size) as axes:
        for axis, (name, pair, gate) in zip(axes.flat, gates, strict=False):
            for when, marker, colour, look in zip(("before", "after"), "ox", plots.COLOURS, pair, strict=False):
                low, high = saturation_of(look, gate)
                axis.scatter(high, low, s=60, marker=marker, color=colour, alpha=0.7, label=when, clip_on=False)
            axis.plot([0, 1], [1, 0], color=plots.COLOURS[6], linewidth=1)
            axis.set(title=f"{name}: {gate}", aspect="equal", xlim=(0, 1), ylim=(0, 1))
            axis.set(xlabel="share of steps high", ylabel="share of steps low")
        for axis in axes.flat[len(gates) :]:
            axis.remove()
        plots.legend_beside(axes[0, columns - 1], "training")


def main(config: Config) -> dict:
    """Measures, trains, draws, writes the report, and returns the headline numbers."""
    check_cell_name(config.cell)
    run = experiment.begin(NAME, config, SMOKE)
    headline, sections = {}, {}
    for part in (follow_back, surface, compare_clipping, train_and_look):
        numbers, texts = part(run.config, run)
        headline, sections = headline | numbers, sections | texts
    return experiment.finish(run, title="Vanishing and exploding gradients", headline=headline, sections=sections)


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
