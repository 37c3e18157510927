"""A simple RNN follows a noisy sine and six other functions, one step ahead and on its own output.

    python -m experiments.function_approximation                  about a minute on two CPU cores: one step ahead of
                                                                  the noisy sine an error within a tenth of its noise
    python -m experiments.function_approximation --cell gru       another cell
    python -m experiments.function_approximation --noise 0.3 --functions sine square

The network reads a window of past values and gives the next one:

    h_t = tanh(W_h h_{t-1} + W_x x_t + b)        forecast of x_{t+1} = w_y h_t + b_y

One step ahead, every window holds true values. Running free, the network eats its own forecasts and sees no value any
more: x_{t+1} is its output, from which it makes x_{t+2}. Against it stand an MLP with as many parameters on the same
window, and a linear autoregression (AR) whose order is the window; both run free by shifting their forecast into it. A
sum of K sines obeys a linear recurrence of order 2K exactly, so the AR is no straw man; a chaotic map it cannot follow.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import experiment, plots, report, series
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.functions import FUNCTIONS
from experiments.lib.readout import make_readout
from experiments.lib.training import Options, shuffled, train

NAME = "function_approximation"
MODELS = {"rnn": "recurrent", "mlp": "MLP", "ar": "linear AR"}
LINES = {"rnn": "-", "mlp": "--", "ar": ":"}
RIDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a run."""

    functions: tuple[str, ...] = ("sine", "two_sines", "modulated", "sawtooth", "square", "logistic", "mackey_glass")
    noise: float = 0.1  # standard deviation of what is added to each value; the two chaotic functions have none
    cell: str = "rnn"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units of it; the MLP gets as many as make about the same number of parameters
    window: int = 50  # values that are read before one is forecast
    training: int = 2000  # values of the part that is learned from
    validation: int = 500  # values after it, on which ridge and the best update are chosen
    held_out: int = 1000  # values after that, for the numbers reported
    horizon: int = 200  # steps of a free run
    runs: int = 100  # free runs, begun at even distances in the held-out part
    steps: int = 2000
    learning_rate: float = 0.005
    steps_per_call: int = 50
    evaluate_every: int = 100


SMOKE = {"functions": ("sine", "logistic"), "training": 300, "validation": 100, "held_out": 150, "window": 20}
SMOKE |= {"horizon": 30, "runs": 5, "hidden": 8, "steps": 100, "steps_per_call": 50}


# ---- the series ----------------------------------------------------------------------------------------------


class Series(NamedTuple):
    """A function and what is observed of it.

    Attributes:
      truth: `[N]`.
      observed: with noise `[N]`.
      scaled: observed, with mean 0 and standard deviation 1 on the training part `[N]`.
      scale: of the training part.
    """

    truth: np.ndarray
    observed: np.ndarray
    scaled: np.ndarray
    scale: series.Scale

    def unscale(self, values: np.ndarray) -> np.ndarray:
        """Forecasts in units of the series."""
        return np.asarray(values, np.float64) * self.scale.std + self.scale.mean


def generate(name: str, config: Config) -> Series:
    """Training, validation and held-out part of a function, one after the other."""
    rng = np.random.default_rng((config.seed, list(FUNCTIONS).index(name)))
    count = config.training + config.validation + config.held_out
    truth = FUNCTIONS[name].make(count, rng)
    observed = truth if FUNCTIONS[name].chaotic else truth + config.noise * rng.normal(size=count)
    scale = series.fit_scale(observed[: config.training, None])
    scale = series.Scale(scale.mean[0], scale.std[0])
    return Series(truth, observed, scale.apply(observed), scale)


def ends(config: Config, part: str) -> np.ndarray:
    """The last rows of the windows whose next value lies in the part; all of a training window does."""
    first = {"training": config.window, "validation": config.training}
    first["held_out"] = first["validation"] + config.validation
    last = {"training": first["validation"], "validation": first["held_out"]}
    return np.arange(first[part], last.get(part, first["held_out"] + config.held_out)) - 1


def starts(config: Config) -> np.ndarray:
    """The last rows of the windows from which the model runs free."""
    rows = ends(config, "held_out")
    return rows[np.linspace(0, len(rows) - config.horizon, config.runs).astype(int)]


# ---- models --------------------------------------------------------------------------------------------------


class Model(NamedTuple):
    """Something that forecasts.

    Attributes:
      init: `key -> params`.
      forecast: `(params, windows [T, B]) -> [.., B]`, the forecasts that are trained; the last is of the next value.
      run: `(params, windows [T, B]) -> [horizon, B]`, running free.
    """

    init: Callable
    forecast: Callable
    run: Callable


def recurrent(config: Config) -> Model:
    """The cell over the window, and a linear output."""
    cell = make_cell(config.cell, 1, config.hidden)
    init, _ = make_readout(cell, config.hidden, 1)

    def output(params, hs):
        return jnp.matmul(hs, params.w_y)[..., 0] + params.b_y[0]

    def read(params, windows):
        carry, hs = rnnjax.unroll(cell, params.cell, windows[..., None])
        return carry, output(params, hs)

    def run(params, windows):
        carry, forecasts = read(params, windows)

        def step(state, _):
            carry, value = state
            carry, h = cell.apply(params.cell, carry, value[:, None])  # its own output is what it reads
            return (carry, output(params, h)), value

        return rnnjax.scan(step, (carry, forecasts[-1]), None, length=config.horizon)[1]

    # The first half of a window is little to go by, so that only the forecasts after it are trained.
    return Model(init, lambda params, windows: read(params, windows)[1][config.window // 2 :], run)


def shifting(forecast: Callable, config: Config) -> Callable:
    """Running free, for a model without a state: every forecast is shifted into the window."""

    def run(params, windows):
        def step(windows, _):
            value = forecast(params, windows)
            return jnp.concatenate([windows[1:], value]), value[0]

        return rnnjax.scan(step, windows, None, length=config.horizon)[1]

    return run


class MLPParams(NamedTuple):
    """Parameters of the MLP.

    Attributes:
      w_h: `[T, H]`.
      b_h: `[H]`.
      w_y: `[H, 1]`.
      b_y: `[]`.
    """

    w_h: jax.Array
    b_h: jax.Array
    w_y: jax.Array
    b_y: jax.Array


def mlp(config: Config, size: int) -> Model:
    """One hidden layer over the window, with about so many parameters in all: y = w_y tanh(W_h x + b_h) + b_y."""
    hidden = max(1, round((size - 1) / (config.window + 2)))

    def init(key):
        key_h, key_y = jax.random.split(key)
        draw = jax.nn.initializers.glorot_uniform()
        return MLPParams(
            draw(key_h, (config.window, hidden)), jnp.zeros(hidden), draw(key_y, (hidden, 1)), jnp.zeros(())
        )

    def forecast(params, windows):
        h = jnp.tanh(jnp.matmul(windows.T, params.w_h) + params.b_h[None])
        return (jnp.matmul(h, params.w_y) + params.b_y).T

    return Model(init, forecast, shifting(forecast, config))


def autoregression(config: Config) -> Model:
    """x_{t+1} = a_1 x_t + ... + a_T x_{t+1-T} + b; its parameters are those of a `series.LinearModel`."""

    def forecast(params, windows):
        return (jnp.matmul(windows.T, params.weights[:-1]) + params.weights[-1:]).T

    return Model(None, forecast, shifting(forecast, config))


def fit_autoregression(scaled: np.ndarray, config: Config) -> tuple[series.LinearModel, float]:
    """Least squares on the training part, the ridge that forecasts the validation part best, and that ridge."""

    def rows(part):
        at = ends(config, part)
        return series.windows(scaled, at, config.window), scaled[at + 1, None]

    def error(ridge):
        xs, ys = rows("validation")
        return np.mean((series.fit_linear(*rows("training"), ridge).predict(xs) - ys) ** 2)

    ridge = min(RIDGES, key=error)
    weights = series.fit_linear(*rows("training"), ridge).weights
    return series.LinearModel(jnp.asarray(weights, jnp.float32)), ridge


def fit_network(name: str, model: Model, scaled: np.ndarray, config: Config, folder: Path):
    """The parameters of the update that forecasts the validation part best."""
    size = config.window + 1
    training = series.windows(scaled, ends(config, "training") + 1, size).T  # [T + 1, N], the last value the target
    validation = series.windows(scaled, ends(config, "validation") + 1, size).T

    def loss_fn(params, batch, *, key):
        del key
        forecasts = model.forecast(params, batch[:-1])
        return rnnjax.losses.get_loss("mean_squared")(forecasts, batch[-len(forecasts) :])

    def evaluate(state):
        forecasts = model.forecast(state.params, validation[:-1])[-1]
        return {"held_out_loss": float(np.mean((forecasts - validation[-1]) ** 2))}

    batches = shuffled(training, config.batch, config.seed, axis=1)
    return train(config, model.init, loss_fn, batches, folder, name=name, evaluate=evaluate).best_params


# ---- the experiment ------------------------------------------------------------------------------------------


class Forecasts(NamedTuple):
    """What the models make of the held-out part of one function, in its units.

    Attributes:
      series: the function.
      one_step: forecasts `[N]` by model.
      free: free runs `[horizon, runs]` by model.
      ridge: of the AR.
    """

    series: Series
    one_step: dict[str, np.ndarray]
    free: dict[str, np.ndarray]
    ridge: float


def forecast_all(name: str, models: dict[str, Model], config: Config, folder: Path) -> Forecasts:
    """Trains the models on one function, and forecasts its held-out part."""
    data = generate(name, config)
    params = {"ar": None}
    params["ar"], ridge = fit_autoregression(data.scaled, config)
    for kind in ("rnn", "mlp"):
        params[kind] = fit_network(f"{name}_{kind}", models[kind], data.scaled, config, folder)
    after_each = series.windows(data.scaled, ends(config, "held_out"), config.window).T
    after_some = series.windows(data.scaled, starts(config), config.window).T
    one_step = {kind: data.unscale(models[kind].forecast(params[kind], after_each)[-1]) for kind in MODELS}
    free = {kind: data.unscale(models[kind].run(params[kind], after_some)) for kind in MODELS}
    return Forecasts(data, one_step, free, ridge)


def rmse(forecasts: np.ndarray, observed: np.ndarray, axis: int | None = None) -> Any:
    """Root of the mean squared error."""
    return np.sqrt(np.mean((forecasts - observed) ** 2, axis=axis))


class Scores(NamedTuple):
    """Errors on the held-out part of one function, in its units.

    Attributes:
      floor: RMSE of the function itself, which is the noise.
      mean: RMSE of the mean of the training part.
      one_step: RMSE by model.
      free: RMSE over the horizon by model.
      growth: RMSE of the free runs after each step `[horizon]` by model.
      lasts: steps until that is above half the standard deviation, by model; the horizon if it never is.
    """

    floor: float
    mean: float
    one_step: dict[str, float]
    free: dict[str, float]
    growth: dict[str, np.ndarray]
    lasts: dict[str, int]


def score(found: Forecasts, config: Config) -> Scores:
    """The errors against what was observed, which nothing can forecast better than to the noise."""
    data, rows = found.series, ends(config, "held_out") + 1
    after = starts(config) + 1 + np.arange(config.horizon)[:, None]  # [horizon, runs]
    growth = {kind: rmse(runs, data.observed[after], axis=1) for kind, runs in found.free.items()}
    lost = {kind: line > 0.5 * data.observed[rows].std() for kind, line in growth.items()}
    return Scores(
        floor=float(rmse(data.truth[rows], data.observed[rows])),
        mean=float(rmse(data.scale.mean, data.observed[rows])),
        one_step={kind: float(rmse(values, data.observed[rows])) for kind, values in found.one_step.items()},
        free={kind: float(rmse(runs, data.observed[after])) for kind, runs in found.free.items()},
        growth=growth,
        lasts={kind: int(np.argmax(line)) if line.any() else config.horizon for kind, line in lost.items()},
    )


def check(config: Config) -> None:
    """Raises for options that do not fit together."""
    check_cell_name(config.cell)
    for name in config.functions:
        if name not in FUNCTIONS:
            raise ValueError(f"expected --functions to be some of {', '.join(FUNCTIONS)}, got {name!r}.")
    if not config.functions:
        raise ValueError(f"expected --functions to be some of {', '.join(FUNCTIONS)}, got none.")
    if config.training <= config.window or config.window < 2:
        raise ValueError(f"expected --window to be between 2 and --training {config.training}, got {config.window}.")
    if not 0 < config.horizon <= config.held_out:
        raise ValueError(f"expected --horizon to be between 1 and --held-out {config.held_out}, got {config.horizon}.")


def main(config: Config) -> dict:
    """Trains on every function, writes the report, and returns the headline numbers of the first."""
    config = dataclasses.replace(config, **SMOKE) if config.smoke else config
    check(config)  # what is wrong is said before anything is written
    run = experiment.begin(NAME, config, {})
    network = recurrent(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0))))
    models = {"rnn": network, "mlp": mlp(config, size), "ar": autoregression(config)}
    models = {
        kind: model._replace(forecast=jax.jit(model.forecast), run=jax.jit(model.run)) for kind, model in models.items()
    }

    found = {name: forecast_all(name, models, config, run.folder) for name in config.functions}
    scores = {name: score(each, config) for name, each in found.items()}
    draw_first(run, found)
    draw_one_step(run, found)
    draw_free(run, found)
    draw_growth(run, scores)
    first = scores[config.functions[0]]
    headline = {"one_step_rmse": first.one_step["rnn"], "free_running_rmse": first.free["rnn"]}
    headline |= {f"{kind}_one_step_rmse": first.one_step[kind] for kind in ("mlp", "ar")}
    headline |= {f"{kind}_free_running_rmse": first.free[kind] for kind in ("mlp", "ar")}
    headline |= {"noise_floor": first.floor}
    return experiment.finish(
        run,
        title="A recurrent network follows a function",
        headline=headline,
        sections=sections(config, size, found, scores),
    )


def sections(config: Config, size: int, found: dict[str, Forecasts], scores: dict[str, Scores]) -> dict[str, str]:
    """The report: tables, and what they say in words."""

    def table(values: Callable[[Scores], dict[str, Any]], form: str) -> str:
        rows = []
        for name, each in scores.items():
            best = min(values(each).values()) if form == ".4f" else max(values(each).values())
            cells = [f"**{v:{form}}**" if v == best else f"{v:{form}}" for v in values(each).values()]
            rows.append([name, f"{each.floor:.4f}", *cells, f"{each.mean:.4f}"])
        return report.grid(["function", "noise floor", *MODELS.values(), "mean of the training part"], rows)

    near = {kind: [n for n, s in scores.items() if s.floor and s.one_step[kind] < 1.1 * s.floor] for kind in MODELS}
    noisy = [name for name, each in scores.items() if each.floor]
    chaotic = [name for name in scores if FUNCTIONS[name].chaotic]
    words = []
    if noisy:
        words += [
            f"Within a tenth of the noise, of {len(noisy)} noisy functions: "
            + "; ".join(f"{MODELS[kind]} {len(names)} ({', '.join(names) or 'none'})" for kind, names in near.items())
            + "."
        ]
    for name in chaotic:
        errors = scores[name].one_step
        best = min(errors, key=errors.get)
        words.append(
            f"{name}: {MODELS[best]} is best one step ahead, with {errors[best] / scores[name].mean:.2%} of the error "
            f"of the mean; the linear AR keeps {errors['ar'] / scores[name].mean:.2%} of it."
        )
    free = []
    for name, each in scores.items():
        best = min(each.free, key=each.free.get)
        close = [MODELS[kind] for kind in MODELS if each.free[kind] <= 1.02 * each.free[best]]
        verdict = (
            f"no model is better than the mean over {config.horizon} steps"
            if each.free[best] >= 0.98 * each.mean
            else f"{' and '.join(close)} {'are' if len(close) > 1 else 'is'} closest"
        )
        lasts = ", ".join(f"{MODELS[kind]} {steps}" for kind, steps in each.lasts.items())
        free.append([name, verdict, lasts])
    return {
        "Set-up": f"Each function: {config.training} values to learn from, {config.validation} for the ridge of the AR "
        f"and the best update of the networks, {config.held_out} held out, in order of time. Noise of standard "
        f"deviation {config.noise} is added to all but the chaotic ones. All models read a window of {config.window} "
        f"values: {config.cell} with {config.hidden} units ({size} parameters), an MLP with about as many, an AR of "
        f"order {config.window}. Errors are in units of the function, against what was observed; the noise floor is "
        "the error of somebody who knows the function itself.",
        "One step ahead": f"RMSE over {config.held_out} held-out values, the best in bold:\n\n"
        + table(lambda s: s.one_step, ".4f")
        + "\n\n"
        + "\n\n".join(words)
        + "\n\n![forecasts](first.png)\n\n![every function](one_step.png)",
        "Running free": f"RMSE over {config.horizon} steps of {config.runs} free runs begun in the held-out part:\n\n"
        + table(lambda s: s.free, ".4f")
        + "\n\nWhat is closest (to 2 %), and the steps until the RMSE is above half the standard deviation of the "
        f"function ({config.horizon}: never within the run):\n\n"
        + report.grid(["function", "over the whole run", "steps until lost"], free)
        + "\n\nA chaotic function is lost after some steps by every model that is not exact; after that a forecast "
        "that keeps the function's shape has up to 1.41 times the error of the mean, and one that fades into the "
        "mean looks better by this measure without knowing more.\n\n![free runs](free.png)\n\n![errors](growth.png)",
        "Ridge of the AR": report.table({name: each.ridge for name, each in found.items()}),
    }


# ---- figures -------------------------------------------------------------------------------------------------


def draw_first(run: experiment.Run, found: dict[str, Forecasts]) -> None:
    """The first function: one step ahead, and running free."""
    config, name = run.config, run.config.functions[0]
    data, each = found[name].series, found[name]
    rows = ends(config, "held_out") + 1
    shown = min(100, config.horizon)
    title = f"{FUNCTIONS[name].title}: held-out part"
    with plots.panels(run.folder / "first.png", rows=2, size=(11.0, 7.2), title=title, share_y=True) as axes:
        for axis in axes[:, 0]:
            axis.plot(data.truth[rows[:shown]], color=plots.COLOURS[6], linewidth=1.2, label="function")
            axis.plot(data.observed[rows[:shown]], "o", color="0.55", markersize=3.5, label="observed")
        for colour, kind in zip(plots.COLOURS, MODELS, strict=False):
            if kind == "rnn":
                axes[0, 0].plot(each.one_step[kind][:shown], color=colour, label=MODELS[kind])
            axes[1, 0].plot(each.free[kind][:shown, 0], LINES[kind], color=colour, label=MODELS[kind])
        axes[0, 0].set(title=f"one step ahead ({config.cell})", ylabel="value (unit of the series)")
        axes[1, 0].set(title="running free", ylabel="value (unit of the series)", xlabel="held-out time (steps)")
        for axis in axes[:, 0]:
            plots.legend_beside(axis)


def grid_of(path: Path, names: list[str], title: str):
    """A panel for each function, and the last one for the legend."""
    rows = -(-(len(names) + 1) // 2)
    return plots.panels(path, rows=rows, columns=2, size=(12.0, 0.6 + 2.5 * rows), title=title)


def finish_grid(axes: np.ndarray, used: int, x: str, y: str) -> None:
    """Labels at the edges, and the legend of the first panel in the first free one."""
    flat = axes.reshape(-1)
    for place, axis in enumerate(flat[:used]):
        axis.set(ylabel=y if place % 2 == 0 else "", xlabel=x if place >= used - 2 else "")
    for axis in flat[used:]:
        axis.axis("off")
    flat[used].legend(*flat[0].get_legend_handles_labels(), frameon=False, loc="center", fontsize=14)


def draw_one_step(run: experiment.Run, found: dict[str, Forecasts]) -> None:
    """The beginning of the held-out part of each function, one step ahead."""
    rows = ends(run.config, "held_out") + 1
    with grid_of(run.folder / "one_step.png", list(found), "One step ahead, on held-out values") as axes:
        for axis, (name, each) in zip(axes.reshape(-1), found.items(), strict=False):
            shown = min(FUNCTIONS[name].shown, len(rows))
            axis.plot(each.series.observed[rows[:shown]], "o", color="0.55", markersize=3.5, label="observed")
            for colour, kind in zip(plots.COLOURS, MODELS, strict=False):
                axis.plot(each.one_step[kind][:shown], LINES[kind], color=colour, label=MODELS[kind])
            axis.set_title(FUNCTIONS[name].title)
        finish_grid(axes, len(found), "held-out time (steps)", "value")


def draw_free(run: experiment.Run, found: dict[str, Forecasts]) -> None:
    """The first free run of each function."""
    first = starts(run.config)[0] + 1
    with grid_of(run.folder / "free.png", list(found), "Running free: every forecast is made of forecasts") as axes:
        for axis, (name, each) in zip(axes.reshape(-1), found.items(), strict=False):
            shown, truth = min(FUNCTIONS[name].shown, run.config.horizon), each.series.truth
            before = np.arange(-min(shown // 4, run.config.window), shown)
            axis.plot(before, truth[first + before], color=plots.COLOURS[6], linewidth=1.2, label="function")
            for colour, kind in zip(plots.COLOURS, MODELS, strict=False):
                axis.plot(each.free[kind][:shown, 0], LINES[kind], color=colour, label=MODELS[kind])
            axis.axvline(0, color="0.5", linewidth=1)
            margin = 0.25 * (truth.max() - truth.min())
            axis.set_ylim(truth.min() - margin, truth.max() + margin)  # whatever a forecast runs off to
            axis.set_title(FUNCTIONS[name].title)
        finish_grid(axes, len(found), "steps since the last true value was read", "value")


def draw_growth(run: experiment.Run, scores: dict[str, Scores]) -> None:
    """RMSE of the free runs against steps ahead."""
    with grid_of(run.folder / "growth.png", list(scores), "What a forecast loses with each step ahead") as axes:
        for axis, (name, each) in zip(axes.reshape(-1), scores.items(), strict=False):
            steps = np.arange(1, run.config.horizon + 1)
            axis.axhline(each.mean, color="0.5", linewidth=1.2, linestyle="-.", label="mean of the training part")
            axis.axhline(each.floor, color=plots.COLOURS[6], linewidth=1.2, label="noise floor (none if chaotic)")
            for colour, kind in zip(plots.COLOURS, MODELS, strict=False):
                axis.plot(steps, each.growth[kind], LINES[kind], color=colour, label=MODELS[kind])
            axis.set(title=FUNCTIONS[name].title, yscale="log")
            plots.plain_log(axis.yaxis)
        finish_grid(axes, len(scores), "steps ahead", "RMSE")


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
