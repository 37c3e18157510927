"""Tomorrow's temperature from five days of weather: recurrent networks against naive forecasts, a linear model, an MLP.

    python -m experiments.climate --data jena-2024    about 5 minutes on two CPU cores: the station at Jena, June to
                                                      October 2024; 24 hours ahead a mean absolute error of 2.49 or 2.52
                                                      degrees (seed 0, 1), the naive forecast 2.66, a linear model 2.54
    python -m experiments.climate                     generated weather, nothing to download: 1.0 degrees, the naive
                                                      forecast 2.5, a linear model 1.3
    python -m experiments.climate --data jena         2009 to 2016, 420,551 rows

A window of 720 rows of ten minutes at a stride of 3 is 240 inputs over 120 hours. Summer's weather is not autumn's, so
a window is read against itself: its mean day (the mean at each time of the day) is taken away, and what is left divided
by the standard deviation s in the window, feature by feature. Temperature T is forecast as

    T(t) + d_n + s g_n(h_t),    h_t the last state of a cell that ran over the window up to row t

with d_n the mean change over n rows from this time of the day on, on the window's earlier days, less its trend; it is
zero for 24 hours, where both naive forecasts, last value and same time yesterday, are g = 0. Wind is two components.
Every model, the linear one too, gets the same inputs and forecasts the same g. The last fifth of the rows is the test.
The rest is cut into blocks, and of the networks trained side by side three leave out each: on the blocks left out the
number of updates is chosen, none included, and the forecast of the test is the mean of all of theirs.

References: Gal & Ghahramani 2016, recurrent dropout; Kim et al. 2022, "Reversible instance normalization", for windows
normalised by themselves; Krogh & Vedelsby 1995, "Neural network ensembles, cross validation", for the mean of networks
that leave out a part each.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.dates import ConciseDateFormatter

import rnnjax
from experiments.data import jena
from experiments.data.jena import ROWS_A_DAY, TEMPERATURE
from experiments.lib import experiment, intervals, plots, report, series
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.training import Options, train

NAME = "climate"
NAIVE = ("last value", "same time yesterday")
PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
FEW = (0, TEMPERATURE)  # pressure and temperature: few weights for few days


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a run."""

    data: str = "generated"  # generated, jena-2024, jena (2009 to 2016), or the path of a CSV file of the station
    days: int = 133  # of generated weather, as many as there are of 2024
    inputs: str = "few"  # few (pressure, temperature, wind) or all (14 features); the time of the day in any case
    cell: str = "gru"  # of the stacked, the bidirectional and the dropped-out network
    networks: tuple[str, ...] = ("rnn", "gru", "lstm", "stacked", "bidirectional", "dropout")  # which to train
    hidden: int = 16  # units of a layer
    blocks: int = 4  # that the rows before the test are cut into; each network of as many leaves one out
    members: int = 3  # networks for each block left out, from first weights of their own
    batch: int = 32  # windows of an update of each
    dropout: float = 0.2  # of the last state and between layers; of the recurrence where it is dropped out
    window: int = 720  # rows looked back on, whole days of 144
    stride: int = 3  # rows from one input to the next
    horizons: tuple[int, ...] = (6, 18, 36, 72, 144)  # rows ahead, rising; the last is the one that counts
    steps: int = 320  # at most; fewer where validation says so
    schedule: str = "constant"
    evaluate_every: int = 40


SMOKE = {
    "networks": ("rnn",),
    "days": 40,
    "window": 288,
    "stride": 24,
    "hidden": 5,
    "blocks": 2,
    "members": 2,
    "steps": 20,
    "evaluate_every": 10,
}


class Part(NamedTuple):
    """Windows and what follows them.

    Attributes:
      inputs: `[M, T, F]`.
      base: the forecast of g = 0, degrees `[M, K]`.
      unit: what g counts in, degrees `[M, K]`.
      truth: degrees `[M, K]`.
    """

    inputs: np.ndarray
    base: np.ndarray
    unit: np.ndarray
    truth: np.ndarray

    @property
    def targets(self) -> np.ndarray:
        """g as it should have been `[M, K]`."""
        return ((self.truth - self.base) / self.unit).astype(np.float32)

    def celsius(self, g: np.ndarray) -> np.ndarray:
        """The forecast `[..., M, K]` that g makes."""
        return self.base + self.unit * g


class Task(NamedTuple):
    """A series and its split.

    Attributes:
      times: of the rows `[N]`.
      celsius: temperature `[N]`.
      scalars: features read against the window's mean day, temperature first, scaled `[N, D]`.
      plain: wind, scaled, and sine and cosine of the time of the day `[N, E]`.
      steps: standard deviation of their change from one input to the next, before the test `[D]`.
      degrees: of one unit of the scaled temperature.
      ends: last rows of the windows, see `split`.
      spread: standard deviation of g before the test `[K]`.
    """

    times: np.ndarray
    celsius: np.ndarray
    scalars: np.ndarray
    plain: np.ndarray
    steps: np.ndarray
    degrees: float
    ends: dict[str, list[np.ndarray]]
    spread: np.ndarray


# ---- data ----------------------------------------------------------------------------------------------------


def split(times: np.ndarray, config: Config) -> tuple[dict[str, list[np.ndarray]], int]:
    """Last rows of the windows of each part, and how many rows lie before the test, which is the last fifth.

    "training" and "validation" have an entry for each block: the windows that share no row with it, neither in inputs
    nor in what is forecast, and those that lie within it. "test" has one entry, within the last fifth, and "all" one,
    before it. So no row serves two parts.
    """
    count, reach, before = len(times), config.horizons[-1], config.window - 1
    rows = np.arange(before, count - reach)
    took = times[rows + reach] - times[rows - before]
    rows = rows[took == np.timedelta64((before + reach) * jena.MINUTES, "m")]  # no clock stood still
    first, last, cut = rows - before, rows + reach, int(0.8 * count)
    edges = [cut * block // config.blocks for block in range(config.blocks + 1)]
    pairs = list(itertools.pairwise(edges))
    ends = {
        "training": [rows[(last < cut) & ((last < begin) | (first >= end))] for begin, end in pairs],
        "validation": [rows[(first >= begin) & (last < end)][::6] for begin, end in pairs],  # judged every hour
        "test": [rows[first >= cut][::6]],
        "all": [rows[last < cut]],
    }
    if not all(len(some) for part in ends.values() for some in part):
        raise ValueError(
            f"expected more rows for windows of {config.window} rows and a forecast of {reach} in each of "
            f"{config.blocks} blocks and the test, got {count:,}; use more data or fewer --blocks."
        )
    return ends, cut


def prepare(weather: jena.Weather, config: Config) -> Task:
    """Splits, and scales the features by the rows before the test."""
    ends, known = split(weather.times, config)
    values = weather.values
    columns = FEW if config.inputs == "few" else range(11)
    columns = [TEMPERATURE, *(c for c in columns if c != TEMPERATURE)]
    scale = series.fit_scale(values[:known, columns])
    angle = np.radians(values[:, 13])
    wind = np.stack([f(angle) * values[:, c] for c in (11, 12) for f in (np.cos, np.sin)], axis=1)
    wind = wind[:, : 2 if config.inputs == "few" else 4]  # also of the gusts
    day = 2 * np.pi * ((weather.times - weather.times.astype("datetime64[D]")) / np.timedelta64(1, "D"))
    plain = np.concatenate(
        [series.fit_scale(wind[:known]).apply(wind), np.stack([np.sin(day), np.cos(day)], axis=1)], axis=1
    )
    scalars = scale.apply(values[:, columns])
    task = Task(
        times=weather.times,
        celsius=values[:, TEMPERATURE],
        scalars=scalars,
        steps=(scalars[config.stride : known] - scalars[: known - config.stride]).std(axis=0),
        plain=plain.astype(np.float32),
        degrees=float(scale.std[0]),
        ends=ends,
        spread=np.ones(len(config.horizons)),
    )
    some = ends["all"][0][:: max(1, len(ends["all"][0]) // 5000)]
    return task._replace(spread=look(task, some, config).targets.std(axis=0))


def look(task: Task, ends: np.ndarray, config: Config) -> Part:
    """The windows that end at these rows; nothing after a window's end enters its inputs, base or unit."""
    length, per_day = config.window // config.stride, ROWS_A_DAY // config.stride
    values = series.windows(task.scalars, ends, length, config.stride)  # [M, T, D]
    days = values.reshape(len(ends), -1, per_day, values.shape[-1])
    mean_day = days.mean(axis=1, keepdims=True)
    anomaly = (days - mean_day).reshape(values.shape)
    spread = values.std(axis=1, keepdims=True) + 0.1  # a quiet window is not blown up
    cycle = np.broadcast_to(mean_day - mean_day.mean(axis=2, keepdims=True), days.shape).reshape(values.shape)
    inputs = [
        anomaly / spread,
        cycle[..., :1] / spread[..., :1],  # of temperature
        np.diff(values, axis=1, prepend=values[:, :1]) / task.steps,
        series.windows(task.plain, ends, length, config.stride),
    ]
    # What changed after this time on the window's earlier days, less its trend, so that a day changes nothing.
    rows = series.windows(task.celsius, ends, config.window)
    ahead = np.array(config.horizons)
    later = np.append((ahead - 1) % ROWS_A_DAY + 1, ROWS_A_DAY)
    starts = np.arange(-1 - ROWS_A_DAY, -config.window, -ROWS_A_DAY)
    change = (rows[:, starts[:, None] + later] - rows[:, starts, None]).mean(axis=1)
    base = rows[:, -1:] + change[:, :-1] - later[:-1] / ROWS_A_DAY * change[:, -1:]
    unit = spread[:, 0, :1] * task.degrees * task.spread[None]
    return Part(np.concatenate(inputs, axis=-1), base, unit, task.celsius[ends[:, None] + ahead])


def naive(task: Task, ends: np.ndarray, config: Config) -> dict[str, np.ndarray]:
    """Forecasts `[M, K]` without a model. 24 hours ahead, the last value is that of the same time yesterday."""
    ahead = np.array(config.horizons)
    days = -(-ahead // ROWS_A_DAY)  # the newest row that is whole days before
    last = np.repeat(task.celsius[ends][:, None], len(ahead), axis=1)
    return dict(zip(NAIVE, (last, task.celsius[ends[:, None] + ahead - ROWS_A_DAY * days]), strict=True))


# ---- models --------------------------------------------------------------------------------------------------


class Params(NamedTuple):
    """Parameters of a network.

    Attributes:
      body: of the cells, or the weights `[T F, H]` of the MLP.
      b: bias of the MLP `[H]`, none for cells.
      w_y: output weights `[H, K]`.
      b_y: output bias `[K]`.
    """

    body: Any
    b: jax.Array | None
    w_y: jax.Array
    b_y: jax.Array


def drop(x: jax.Array, rate: float, key) -> jax.Array:
    """x with a share of its elements dropped; as it is where there is no key."""
    return x if key is None else jnp.where(jax.random.bernoulli(key, 1 - rate, x.shape), x / (1 - rate), 0.0)


class Variant(NamedTuple):
    """A recurrent network.

    Attributes:
      cell: by name.
      layers: how many.
      both: whether a second one reads the window from its end.
      recurrent: dropout of the recurrent products.
    """

    cell: str
    layers: int = 1
    both: bool = False
    recurrent: float = 0.0


def variants(config: Config) -> dict[str, Variant]:
    """The recurrent networks by name."""
    check_cell_name(config.cell)
    label = config.cell.replace("_", " ").upper()
    every = {name: (name.upper(), Variant(name)) for name in ("rnn", "gru", "lstm")} | {
        "stacked": (f"stacked {label}", Variant(config.cell, layers=2)),
        "bidirectional": (f"bidirectional {label}", Variant(config.cell, both=True)),
        "dropout": (f"{label}, recurrent dropout", Variant(config.cell, recurrent=config.dropout)),
    }
    if not config.networks or not every.keys() >= {*config.networks}:
        raise ValueError(f"expected --networks to be some of {', '.join(every)}, got {' '.join(config.networks)!r}.")
    return dict(every[name] for name in config.networks)


def make_rnn(variant: Variant, config: Config, features: int):
    """`key -> params`, and `(params, xs [T, B, F], key) -> g [B, K]`; many inputs to one output."""
    hidden, outputs = config.hidden, len(config.horizons)
    sizes = [features] * 2 if variant.both else [features, *[hidden] * (variant.layers - 1)]
    cells = [make_cell(variant.cell, size, hidden) for size in sizes]
    wrap = rnnjax.Bidirectional if variant.both else lambda *parts: rnnjax.Layers(parts)

    def init(key):
        body = wrap(*(cell.init(k) for cell, k in zip(cells, jax.random.split(key, len(cells)), strict=True)))
        seen = hidden * (1 + variant.both) + features
        return Params(body, None, jnp.zeros((seen, outputs)), jnp.zeros(outputs))

    def apply(params, xs, key=None):
        between, last, *keys = [None] * (2 + len(cells)) if key is None else jax.random.split(key, 2 + len(cells))
        run = cells
        if variant.recurrent:
            run = [
                rnnjax.dropout(cell, key=k, shape=xs.shape, recurrent=variant.recurrent)
                for cell, k in zip(cells, keys, strict=True)
            ]
        if variant.both:
            carries, _ = rnnjax.unroll_layers([tuple(run)], rnnjax.Layers((params.body,)), xs)
            state = jnp.concatenate([carry.h for carry in carries.layers[0]], axis=-1)
        else:
            state = rnnjax.unroll_layers(run, params.body, xs, key=between, dropout=config.dropout)[1][-1]
        seen = jnp.concatenate([drop(state, config.dropout, last), xs[-1]], axis=-1)
        return jnp.matmul(seen, params.w_y) + params.b_y[None]

    return init, apply


def make_mlp(config: Config, features: int):
    """The same for a network that sees all of the window at once."""
    hidden, outputs, size = config.hidden, len(config.horizons), config.window // config.stride * features

    def init(key):
        body = jax.nn.initializers.glorot_uniform()(key, (size, hidden))
        return Params(body, jnp.zeros(hidden), jnp.zeros((hidden, outputs)), jnp.zeros(outputs))

    def apply(params, xs, key=None):
        flat = jnp.swapaxes(xs, 0, 1).reshape(xs.shape[1], size)
        state = jax.nn.relu(jnp.matmul(flat, params.body) + params.b[None])
        return jnp.matmul(drop(state, config.dropout, key), params.w_y) + params.b_y[None]

    return init, apply


class Fitted(NamedTuple):
    """A model, trained.

    Attributes:
      validation: absolute errors on the blocks left out `[M, K]`.
      test: forecasts of the test part `[M, K]`.
      note: what was chosen on validation.
    """

    validation: np.ndarray
    test: np.ndarray
    note: str


def choose(errors: list[np.ndarray], tests: list[np.ndarray], notes: list[str]) -> Fitted:
    """For each horizon the candidate with the smallest mean of its errors on validation `[M, K]`."""
    best = np.argmin([error.mean(axis=0) for error in errors], axis=0)
    error, test = (np.stack([c[i][:, k] for k, i in enumerate(best)], axis=1) for c in (errors, tests))
    return Fitted(error, test, notes[best[-1]])


def fit_networks(name: str, model, task: Task, config: Config, run: experiment.Run) -> Fitted:
    """Trains the members for each block left out, all side by side."""
    init, apply = model
    training, test = task.ends["training"], look(task, task.ends["test"][0], config)
    left_out = [look(task, ends, config) for ends in task.ends["validation"]]
    # Before the first update g is zero.
    errors, tests = [np.concatenate([np.abs(part.base - part.truth) for part in left_out])], [test.base]

    def init_all(key):
        return jax.vmap(jax.vmap(init))(jax.random.split(key, (config.blocks, config.members)))

    def loss_fn(params, batch, *, key):
        inputs, targets = batch  # [blocks, T, B, F] and [blocks, B, K]: the members of a block read the same
        members = jax.vmap(apply, in_axes=(0, None, 0))
        g = jax.vmap(members)(params, inputs, jax.random.split(key, (config.blocks, config.members)))
        return rnnjax.losses.masked_mean(jnp.abs(g - targets[:, None]))

    def batches(step):
        rng = np.random.default_rng((config.seed, step))
        ends = [some[rng.integers(len(some), size=config.batch)] for some in training]
        part = look(task, np.concatenate(ends), config)
        inputs = part.inputs.reshape(config.blocks, config.batch, *part.inputs.shape[1:]).swapaxes(1, 2)
        return inputs, part.targets.reshape(config.blocks, config.batch, -1)

    @jax.jit
    def forward(params, xs):
        return jax.vmap(apply, in_axes=(0, None))(params, xs).mean(axis=0)

    def forecast(params, part: Part) -> np.ndarray:
        """Mean of the members for a block."""
        pieces = [np.arange(start, start + 500) for start in range(0, len(part.inputs), 500)]  # of one shape
        inputs = (np.take(part.inputs, piece, axis=0, mode="clip").swapaxes(0, 1) for piece in pieces)
        return part.celsius(np.concatenate([forward(params, xs) for xs in inputs])[: len(part.inputs)])

    def evaluate(state):
        each = [jax.tree.map(lambda leaf: leaf[i], state.params) for i in range(config.blocks)]  # noqa: B023
        pairs = zip(each, left_out, strict=True)
        errors.append(np.concatenate([np.abs(forecast(params, part) - part.truth) for params, part in pairs]))
        tests.append(np.mean([forecast(params, test) for params in each], axis=0))
        return {"held_out_loss": float((errors[-1] / errors[0].mean(axis=0)).mean())}

    train(config, init_all, loss_fn, batches, run.folder, name=name, evaluate=evaluate, unit="value")
    return choose(errors, tests, [f"{config.evaluate_every * count} updates" for count in range(len(errors))])


def fit_ridge(task: Task, config: Config) -> Fitted:
    """Least squares on means over pieces of the window: long and few for little data, short and many for much."""
    looked = {}
    for name, parts in task.ends.items():
        every = [max(1, len(ends) // 8000) if name in ("training", "all") else 1 for ends in parts]
        looked[name] = [look(task, ends[::step], config) for ends, step in zip(parts, every, strict=True)]

    def features(part: Part, piece: int) -> np.ndarray:
        means = part.inputs.reshape(len(part.inputs), -1, piece, part.inputs.shape[-1]).mean(axis=2)
        return np.concatenate([means.reshape(len(means), -1), part.inputs[:, -1]], axis=1).astype(np.float64)

    def solve(part: Part, other: Part, piece: int) -> list[np.ndarray]:
        """Forecasts of another part for every penalty."""
        xs, ys = features(part, piece), part.targets.astype(np.float64)
        mean_x, mean_y = xs.mean(axis=0), ys.mean(axis=0)
        gram, cross = (xs - mean_x).T @ (xs - mean_x) / len(xs), (xs - mean_x).T @ (ys - mean_y) / len(xs)
        seen, unit = features(other, piece) - mean_x, np.eye(len(gram))
        weights = [np.linalg.solve(gram + penalty * unit, cross) for penalty in PENALTIES]
        return [other.celsius(seen @ w + mean_y) for w in weights]

    errors, tests, notes = [], [], []
    for piece in (piece for piece in (2, 6, 24) if (config.window // config.stride) % piece == 0):
        pairs = list(zip(looked["training"], looked["validation"], strict=True))
        folds = [[np.abs(f - out.truth) for f in solve(part, out, piece)] for part, out in pairs]
        errors += [np.concatenate(each) for each in zip(*folds, strict=True)]
        tests += solve(looked["all"][0], looked["test"][0], piece)
        span = piece * config.stride * jena.MINUTES / 60
        notes += [f"means over {span:g} h, ridge {penalty:g}" for penalty in PENALTIES]
    return choose(errors, tests, notes)


# ---- the experiment ------------------------------------------------------------------------------------------


def check(config: Config) -> None:
    """Raises for options that do not fit together."""
    if config.inputs not in ("few", "all"):
        raise ValueError(f"expected --inputs to be few or all, got {config.inputs!r}.")
    if config.window % ROWS_A_DAY or config.window < 2 * ROWS_A_DAY or ROWS_A_DAY % config.stride:
        raise ValueError(
            f"expected --window to be two or more days of {ROWS_A_DAY} rows and --stride to divide a day, got "
            f"{config.window} and {config.stride}."
        )
    if not config.horizons or list(config.horizons) != sorted({*config.horizons}) or config.horizons[0] < 1:
        raise ValueError(f"expected --horizons to be rows ahead, rising, got {config.horizons}.")


def main(config: Config) -> dict:
    """Fits every model, writes the report, and returns the headline numbers."""
    check(config)
    variants(config)
    run = experiment.begin(NAME, config, SMOKE)
    config = run.config
    networks = variants(config)
    weather = jena.load(config.data, days=config.days, seed=config.seed)
    task = prepare(weather, config)
    ends = task.ends["test"][0]
    features = look(task, ends[:1], config).inputs.shape[-1]

    fitted = {"linear": fit_ridge(task, config)}
    fitted["MLP"] = fit_networks("MLP", make_mlp(config, features), task, config, run)
    for name, variant in networks.items():
        fitted[name] = fit_networks(name, make_rnn(variant, config, features), task, config, run)
    forecasts = naive(task, ends, config) | {name: model.test for name, model in fitted.items()}
    truth = look(task, ends, config).truth
    errors = {name: np.abs(forecast - truth) for name, forecast in forecasts.items()}  # [M, K] each
    blocks = np.concatenate(task.ends["validation"])
    validation = {n: np.abs(f - look(task, blocks, config).truth) for n, f in naive(task, blocks, config).items()}
    validation |= {name: model.validation for name, model in fitted.items()}
    mae = {name: values.mean(axis=0) for name, values in errors.items()}
    chosen = min(networks, key=lambda name: validation[name][:, -1].mean())
    best_naive = min(NAIVE, key=lambda name: mae[name][-1])

    draw(run, task, fitted[chosen].test, chosen, best_naive, errors)
    headline = {
        "mae_celsius": float(mae[chosen][-1]),
        "baseline_mae_celsius": float(mae[best_naive][-1]),
        "linear_mae_celsius": float(mae["linear"][-1]),
        "mlp_mae_celsius": float(mae["MLP"][-1]),
        "network": chosen,
    }
    title = f"Temperature at Jena, {len(weather.times):,} rows" if config.data != "generated" else "Generated weather"
    sections = {
        "Data": describe(weather, task, config),
        f"Mean absolute error, {hours(config)[-1]:g} hours ahead": verdict(errors, chosen, best_naive)
        + "\n\n![errors with intervals](errors.png)",
        "By horizon": by_horizon(mae, validation, fitted, config)
        + "\n\n![error against horizon](horizons.png)\n\n![two weeks of forecasts](forecasts.png)",
    }
    return experiment.finish(run, title=title, headline=headline, sections=sections)


# ---- report and figures --------------------------------------------------------------------------------------


def hours(config: Config) -> list[float]:
    """The horizons in hours."""
    return [ahead * jena.MINUTES / 60 for ahead in config.horizons]


def difference(errors: dict[str, np.ndarray], name: str, rival: str) -> intervals.Interval:
    """How much larger the error of one is, at the last horizon; drawn in blocks of two days of hourly forecasts."""
    return intervals.bootstrap((errors[name] - errors[rival])[:, -1], block=48)


def describe(weather: jena.Weather, task: Task, config: Config) -> str:
    """What was forecast from what."""
    test = task.ends["test"][0]
    made = "The weather is generated: it shows how the experiment works, nothing about the world. "
    return (
        (made if config.data == "generated" else "")
        + f"{len(weather.times):,} rows of ten minutes with 14 features, {weather.filled} with a missing value that "
        f"was filled from the row before, {weather.dropped} left out. Inputs: {config.inputs} of the features and the "
        f"time of the day, {config.window // config.stride} steps over {config.window / 6:g} hours. The test is the "
        f"last fifth: {len(test):,} forecasts, one an hour, made from {_day(task.times[test[0]])} to "
        f"{_day(task.times[test[-1]])}. The rows before it, from {_day(task.times[0])}, are cut into {config.blocks} "
        "blocks; validation is each block, forecast by what was trained on the others. A window and what it forecasts "
        "lie within one part, so that no row serves two. Scales are those of the rows before the test."
    )


def _day(time: np.datetime64) -> str:
    return str(time.astype("datetime64[D]"))


def verdict(errors: dict[str, np.ndarray], chosen: str, best_naive: str) -> str:
    """Whether the network beats its rivals, in words made from the numbers."""
    first = f"The network with the smallest error on validation is {chosen}: {errors[chosen][:, -1].mean():.3f} °C."
    lines, lost, unsure = [], [], []
    for rival in (best_naive, "linear", "MLP"):
        mean, low, high = difference(errors, chosen, rival)
        lost += [rival] if mean >= 0 else []
        unsure += [rival] if low <= 0 <= high else []
        lines.append(
            f"- {'Better' if mean < 0 else 'Not better'} than {rival} ({errors[rival][:, -1].mean():.3f} °C): "
            f"{mean:+.3f} °C, 95 % interval {low:+.3f} to {high:+.3f}."
        )
    found = f"It does not beat {', '.join(lost)}. " if lost else "It beats all three in the mean. "
    if unsure:
        found += (
            f"Against {', '.join(unsure)} the interval holds zero: {len(errors[chosen]) / 24:.0f} days of test are too "
            "few to tell the difference from chance. "
        )
    if lost:
        found += (
            "What was learned before the test need not hold in it, and forecasts of one day share its weather, so that "
            "thousands of rows are few independent days to learn from."
        )
    return first + "\n\n" + "\n".join(lines) + "\n\n" + found.rstrip()


def by_horizon(mae, validation, fitted: dict[str, Fitted], config: Config) -> str:
    """A table of every model."""
    header = ["°C, test part", *(f"{h:g} h" for h in hours(config)), f"validation, {hours(config)[-1]:g} h", "chosen"]
    rows = [
        [
            name,
            *(f"{value:.3f}" for value in values),
            f"{validation[name][:, -1].mean():.3f}",
            fitted[name].note if name in fitted else "",
        ]
        for name, values in mae.items()
    ]
    note = "Whole days ahead, the last value is that of the same time yesterday: one naive forecast, not two."
    return report.grid(header, rows) + ("" if config.horizons[-1] % ROWS_A_DAY else f"\n\n{note}")


def draw(run, task: Task, forecast: np.ndarray, chosen: str, best_naive: str, errors: dict[str, np.ndarray]) -> None:
    """The figures: error against the horizon, errors with intervals, and two weeks of forecasts."""
    config = run.config
    last = hours(config)[-1]
    mae = {name: values.mean(axis=0) for name, values in errors.items()}
    title = "Error against the horizon, held-out data"
    with plots.panels(run.folder / "horizons.png", columns=2, size=(13.0, 4.8), title=title) as axes:
        left, right = axes[0]
        for row, (name, values) in enumerate(mae.items()):
            line = ("o-", "s--", "^:")[row // len(plots.COLOURS)] if name not in NAIVE else "x:"
            style = {"color": plots.COLOURS[row % 7], "label": name, "markersize": 5}
            left.plot(hours(config), values, line, **style)
            shown = slice(0) if name in NAIVE else slice(None)  # theirs are off the scale
            right.plot(hours(config)[shown], (values - mae["linear"])[shown], line, **style)
        for axis in (left, right):
            axis.set(xscale="log", xlabel="hours ahead")
            axis.set_xticks(hours(config), [f"{h:g}" for h in hours(config)])
            axis.minorticks_off()
        left.set_ylim(bottom=0)
        left.set_ylabel("mean absolute error (°C)")
        right.set_ylabel("the same, less that of the linear model (°C)")
        plots.legend_beside(right)

    with plots.figure(
        run.folder / "errors.png",
        title=f"{last:g} hours ahead, held-out data, 95 % intervals",
        x="mean absolute error (°C); dashed: the better naive forecast",
        y="",
        size=(8.0, 4.8),
    ) as axes:
        values = {name: intervals.bootstrap(error[:, -1], block=48) for name, error in errors.items()}
        plots.intervals(axes, values, reference=values[best_naive].mean)

    ends = task.ends["test"][0][: 14 * 24]
    when = task.times[ends + config.horizons[-1]]
    with plots.figure(
        run.folder / "forecasts.png",
        title=f"Held-out temperatures, and forecasts made {last:g} hours before",
        x="day",
        y="temperature (°C)",
        size=(11.0, 4.4),
    ) as axes:
        axes.plot(when, task.celsius[ends + config.horizons[-1]], color=plots.COLOURS[6], label="truth")
        axes.plot(when, forecast[: len(ends), -1], color=plots.COLOURS[1], label=chosen)
        axes.plot(
            when, naive(task, ends, config)[best_naive][:, -1], ":", color=plots.COLOURS[0], label=best_naive, lw=1.5
        )
        axes.xaxis.set_major_formatter(ConciseDateFormatter(axes.xaxis.get_major_locator()))
        plots.legend_beside(axes)


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
