"""Can tomorrow's price of a cryptocurrency be told from its past? A stacked LSTM walks forward, against doing nothing.

    python -m experiments.cryptocurrency                 about a minute and a half on two CPU cores, generated prices:
                                                         half of the days right where nothing can be forecast, 63 % of
                                                         them, where 64 % are possible, with a momentum planted
    python -m experiments.cryptocurrency --data btc      Bitcoin 2014 to 2023; eth and ltc likewise

A network reads the last 20 days, x_t = (return, range, change of volume), and gives two forecasts of the day after:

    h_t = LSTM(LSTM(x))_t        P(up) = sigmoid(w_d h_T + b_d)        return = w_r h_T + b_r

where a return is log(price_t / price_{t-1}). The evaluation walks forward: the days that are tested come in folds; for
each the network, its baselines and the scaling are made afresh from the days before it only, and never see it.
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.dates import AutoDateLocator

import rnnjax
from experiments.data import crypto_prices
from experiments.lib import experiment, intervals, plots, report, series, trading
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.training import Options, shuffled, train

NAME = "cryptocurrency"
BASELINES = ("persistence", "majority", "logistic")
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a run."""

    data: str = "generated"  # generated (a random walk), btc, eth, ltc, or the path of a CSV file from Yahoo Finance
    rows: int = 3000  # days of generated prices
    momentum: float = 0.6  # of the control, generated prices that can be forecast
    cell: str = "lstm"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    layers: int = 2  # of cells
    hidden: int = 16  # units of a layer
    dropout: float = 0.2  # between layers
    window: int = 20  # days that are read
    folds: int = 8  # of the walk
    tested: float = 0.6  # share of the days that are tested, in folds of equal length
    validation: int = 250  # days before each fold on which to stop early and to choose the baselines' ridge
    cost: float = 0.001  # share of what is bought or sold that trading costs
    block: int = 20  # days of a block of the bootstrap
    steps: int = 400
    batch: int = 128
    learning_rate: float = 0.003
    steps_per_call: int = 20
    evaluate_every: int = 20
    patience: int = 6  # evaluations without a better one


SMOKE = {"rows": 400, "folds": 1, "validation": 60, "tested": 0.4, "hidden": 4, "layers": 1, "steps": 40}


# ---- days and folds ------------------------------------------------------------------------------------------


class Fold(NamedTuple):
    """Days that are forecast, each from the window before it: `day - window` to `day - 1`.

    Attributes:
      training: `[N]`.
      validation: the days after it `[M]`.
      test: and those after that `[K]`.
    """

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def folds(count: int, config: Config) -> list[Fold]:
    """A walk through the last of so many days; every fold learns from all days before it."""
    length = int(count * config.tested) // config.folds
    starts = [count - length * (config.folds - i) for i in range(config.folds)]
    learned = starts[0] - config.validation - config.window
    if length < 2 or learned < config.window:
        raise ValueError(
            f"expected --folds, --tested, --validation and --window to leave at least {config.window} days to learn "
            f"from and 2 in a fold, got {learned} and {length} of {count} days."
        )
    return [
        Fold(
            np.arange(config.window, start - config.validation),
            np.arange(start - config.validation, start),
            np.arange(start, start + length),
        )
        for start in starts
    ]


class Task(NamedTuple):
    """A fold in numbers, scaled by its training days.

    Attributes:
      windows: `[T, days, F]` of the training, validation and test days.
      up: 1.0 where the return is above 0 `[days]`, of the same.
      returns: scaled `[days]`, of the same.
      scale: of the returns.
    """

    windows: Fold
    up: Fold
    returns: Fold
    scale: series.Scale


def prepare(days: trading.Days, fold: Fold, config: Config) -> Task:
    """The `Task` of a fold; nothing of its test days enters but their own windows and outcomes."""
    known = slice(0, fold.training[-1] + 1)
    inputs = series.fit_scale(days.inputs[known]).apply(days.inputs)
    scale = series.fit_scale(days.returns[known, None])
    targets = scale.apply(days.returns[:, None])[:, 0]
    return Task(
        Fold(*(series.windows(inputs, part - 1, config.window).swapaxes(0, 1) for part in fold)),
        Fold(*((days.returns[part] > 0).astype(np.float32) for part in fold)),
        Fold(*(targets[part] for part in fold)),
        scale,
    )


# ---- models --------------------------------------------------------------------------------------------------


class Params(NamedTuple):
    """Parameters of the network.

    Attributes:
      layers: `Layers` of the cells.
      w_y: output weights `[H, 2]`, for the direction and the return.
      b_y: output bias `[2]`.
    """

    layers: rnnjax.Layers
    w_y: jax.Array
    b_y: jax.Array


def make_model(config: Config, features: int):
    """`key -> params`, and `(params, windows [T, B, F], key=None) -> (logit of up [B], scaled return [B])`."""
    cells = [make_cell(config.cell, config.hidden if i else features, config.hidden) for i in range(config.layers)]

    def init(key):
        # It begins with what a random walk deserves, even chances and no return, and has to learn anything else.
        return Params(rnnjax.stack(cells).init(key), jnp.zeros((config.hidden, 2)), jnp.zeros(2))

    def apply(params, windows, key=None):
        _, hs = rnnjax.unroll_layers(cells, params.layers, windows, key=key, dropout=config.dropout)
        y = jnp.matmul(hs[-1], params.w_y) + params.b_y[None]
        return y[:, 0], y[:, 1]

    return init, apply


def losses(outputs: tuple[jax.Array, jax.Array], up: jax.Array, returns: jax.Array) -> rnnjax.losses.SumCount:
    """Cross-entropy of the direction, and a Huber loss of the return, which heavy tails would rule otherwise."""
    direction = rnnjax.losses.get_loss("binary_cross_entropy")(outputs[0], up)
    size = rnnjax.losses.get_loss("huber")(outputs[1], returns)
    return rnnjax.losses.SumCount(direction.sum + size.sum, direction.count)


def fit_network(task: Task, model, config: Config, folder: Path, name: str):
    """The parameters of the update that forecasts the validation days best."""
    init, apply = model

    def loss_fn(params, batch, *, key):
        windows, up, returns = batch
        return losses(apply(params, windows.swapaxes(0, 1), key), up, returns)

    def evaluate(state):
        outputs = apply(state.params, task.windows.validation)
        return {"held_out_loss": float(losses(outputs, task.up.validation, task.returns.validation).mean)}

    arrays = task.windows.training.swapaxes(0, 1), task.up.training, task.returns.training
    batches = shuffled(arrays, config.batch, config.seed)
    found = train(config, init, loss_fn, batches, folder, name=name, evaluate=evaluate, patience=config.patience)
    return found.best_params


def fit_linear_models(task: Task) -> tuple[series.LinearModel, series.LinearModel]:
    """Logistic for the direction and linear for the return, with the ridges that forecast the validation days best."""
    flat = [flatten(windows) for windows in task.windows[:2]]

    def cross_entropy(model):
        z = model.predict(flat[1])[:, 0]
        return np.mean(np.logaddexp(0, z) - task.up.validation * z)

    def squared(model):
        return np.mean((model.predict(flat[1])[:, 0] - task.returns.validation) ** 2)

    logistic = min((series.fit_logistic(flat[0], task.up.training, ridge) for ridge in RIDGES), key=cross_entropy)
    linear = min((series.fit_linear(flat[0], task.returns.training[:, None], r) for r in RIDGES), key=squared)
    return logistic, linear


def flatten(windows: np.ndarray) -> np.ndarray:
    """`[T, B, F]` -> `[B, T F]`."""
    return windows.swapaxes(0, 1).reshape(windows.shape[1], -1)


# ---- the walk ------------------------------------------------------------------------------------------------


class Walk(NamedTuple):
    """Forecasts of every day that is tested, in order of time.

    Attributes:
      rows: places in `trading.Days` `[N]`.
      fold: which fold a day is of `[N]`.
      up: whether a rise is forecast `[N]`, by method.
      returns: forecast `[N]`, by method.
    """

    rows: np.ndarray
    fold: np.ndarray
    up: dict[str, np.ndarray]
    returns: dict[str, np.ndarray]


def walk_forward(days: trading.Days, config: Config, folder: Path, name: str) -> Walk:
    """Fits everything afresh before each fold, and forecasts it."""
    init, apply = make_model(config, days.inputs.shape[1])
    model = init, jax.jit(apply)
    parts = []
    for number, fold in enumerate(folds(len(days.returns), config)):
        task = prepare(days, fold, config)
        params = fit_network(task, model, config, folder, f"{name}_{number}")
        logit, value = (np.asarray(y, np.float64) for y in model[1](params, task.windows.test))
        logistic, linear = fit_linear_models(task)
        flat, seen = flatten(task.windows.test), np.concatenate([fold.training, fold.validation])
        up = {
            "network": logit > 0,
            "persistence": days.returns[fold.test - 1] > 0,
            "majority": np.full(len(fold.test), np.mean(days.returns[seen] > 0) > 0.5),
            "logistic": logistic.predict(flat)[:, 0] > 0,
        }
        returns = {
            "network": value * task.scale.std + task.scale.mean,
            "zero": np.zeros(len(fold.test)),
            "mean": np.full(len(fold.test), days.returns[seen].mean()),
            "linear": linear.predict(flat)[:, 0] * task.scale.std + task.scale.mean,
        }
        parts.append(Walk(fold.test, np.full(len(fold.test), number), up, returns))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


class Scores(NamedTuple):
    """What a walk was worth; intervals hold 95 %, by a bootstrap over blocks of days.

    Attributes:
      accuracy: share of the days whose direction is right, by method.
      best: the baseline with the highest.
      gain: accuracy of the network less that of each baseline.
      reversal: accuracy of the opposite of persistence, less that of the majority.
      skill: 1 - squared errors / squared errors of the zero forecast, by forecast but zero.
      possible: accuracy that the generator expects of its own forecasts; None where nobody knows it.
      generator: accuracy that these had, or None.
    """

    accuracy: dict[str, intervals.Interval]
    best: str
    gain: dict[str, intervals.Interval]
    reversal: intervals.Interval
    skill: dict[str, intervals.Interval]
    possible: float | None
    generator: intervals.Interval | None


def score(days: trading.Days, walk: Walk, config: Config) -> Scores:
    """Accuracies and errors with their intervals."""

    def interval(values, over=None):
        return intervals.bootstrap(values, over=over, block=config.block, seed=config.seed)

    truth, returns = days.returns[walk.rows] > 0, days.returns[walk.rows]
    right = {name: (up == truth).astype(np.float64) for name, up in walk.up.items()}
    accuracy = {name: interval(values) for name, values in right.items()}
    errors = {name: (values - returns) ** 2 for name, values in walk.returns.items()}
    zero = errors.pop("zero")
    chance = None if days.chance_up is None else days.chance_up[walk.rows]
    return Scores(
        accuracy,
        max(BASELINES, key=lambda name: accuracy[name].mean),
        {name: interval(right["network"] - right[name]) for name in BASELINES},
        interval(1 - right["persistence"] - right["majority"]),
        {name: interval(zero - values, over=zero) for name, values in errors.items()},
        None if chance is None else float(np.maximum(chance, 1 - chance).mean()),
        None if chance is None else interval(((chance > 0.5) == truth).astype(np.float64)),
    )


# ---- the report ----------------------------------------------------------------------------------------------


def check(config: Config) -> None:
    """Raises for options that make no sense."""
    check_cell_name(config.cell)
    for option, low, high in [("layers", 1, 10), ("window", 2, 1000), ("folds", 1, 100), ("block", 1, 1000)]:
        if not low <= getattr(config, option) <= high:
            raise ValueError(f"expected --{option} to be between {low} and {high}, got {getattr(config, option)}.")
    for option in ("tested", "dropout", "cost", "momentum"):
        if not 0 <= getattr(config, option) < 1:
            raise ValueError(f"expected --{option} to be at least 0 and below 1, got {getattr(config, option)}.")


def main(config: Config) -> dict:
    """Walks through the data and through the control, writes the report, and returns the headline numbers."""
    config = dataclasses.replace(config, **SMOKE) if config.smoke else config
    check(config)
    prices = crypto_prices.load(config.data, rows=config.rows, seed=config.seed)
    days = trading.days_of(prices)
    control = trading.days_of(crypto_prices.generate(len(prices.close), momentum=config.momentum, seed=config.seed))
    folds(len(days.returns), config)  # too few days are said before anything is written
    run = experiment.begin(NAME, config, {})

    walk = walk_forward(days, config, run.folder, "data")
    control_walk = walk_forward(control, config, run.folder, "planted")
    scores, control_scores = score(days, walk, config), score(control, control_walk, config)
    held = {name: walk.up[name] for name in ("network", *BASELINES)}
    held |= {"reversal": ~walk.up["persistence"], "buy and hold": np.full(len(walk.rows), True)}
    trades = {name: trading.trade(up, days.returns[walk.rows], config.cost) for name, up in held.items()}

    draw_accuracy(run, scores, control_scores)
    draw_prices(run, days, walk, scores)
    draw_money(run, days, walk, trades)
    gain = scores.gain[scores.best]
    headline = {
        "accuracy": scores.accuracy["network"].mean,
        "baseline_accuracy": scores.accuracy[scores.best].mean,
        "gain": gain.mean,
        "gain_low": gain.low,
        "gain_high": gain.high,
        "accuracy_planted": control_scores.accuracy["network"].mean,
        "best_possible_planted": control_scores.possible,
        "return_r2": scores.skill["network"].mean,
    }
    text = {"Verdict": verdict(scores, control_scores, len(walk.rows)), "The walk": setup(config, days, walk)}
    text |= {"Up or down": directions(scores, walk, days), "The control": planted(control_scores, config)}
    text |= {"Returns and prices": sizes(days, walk, scores), "Money": earned(days, walk, trades, config)}
    title = f"Is there anything to gain? {label(config)}"
    return experiment.finish(run, title=title, headline=headline, sections=text)


def label(config: Config) -> str:
    """Of the data."""
    return {"generated": "A random walk"}.get(config.data, Path(config.data).name)


def percent(interval: intervals.Interval) -> list[str]:
    """A mean and its interval as cells of a table."""
    return [f"{interval.mean:.2%}", f"{interval.low:.2%} to {interval.high:.2%}"]


def verdict(scores: Scores, control: Scores, count: int) -> str:
    """What the intervals say, in words."""
    gain, skill = scores.gain[scores.best], scores.skill["network"]
    accuracy = scores.accuracy["network"]
    parts = []
    if gain.low > 0:
        parts.append(f"**There is something to gain here**: the network beats its best baseline ({scores.best})")
    elif gain.high < 0:
        parts.append(f"**Nothing to gain was found**: the network is behind its best baseline ({scores.best})")
    else:
        parts.append(
            f"**Nothing to gain was found**: the network cannot be told from its best baseline ({scores.best})"
        )
    parts[0] += f": {gain.mean:+.2%} of the days, interval {gain.low:+.2%} to {gain.high:+.2%}."
    coin = "is above" if accuracy.low > 0.5 else "is below" if accuracy.high < 0.5 else "cannot be told from"
    parts.append(
        f"Its accuracy, {accuracy.mean:.2%} ({accuracy.low:.2%} to {accuracy.high:.2%}), {coin} that of a coin."
    )
    size = "explains some" if skill.low > 0 else "is worse than no forecast" if skill.high < 0 else "explains nothing"
    parts.append(
        f"Its forecast of the return {size}{' of the variance' if skill.high >= 0 else ''}: R2 {skill.mean:+.2%} "
        f"({skill.low:+.2%} to {skill.high:+.2%}) against a forecast of zero."
    )
    parts.append(
        f"With {count} days, an advantage of less than about {(gain.high - gain.low) / 2:.1%} of them cannot be seen. "
        "The best baseline is the best in hindsight, which is a little unfair to the network; and where there is "
        "nothing, one interval of forty lies above zero by chance, and one below."
    )
    found = control.accuracy["network"]
    parts.append(
        f"The method itself {'finds' if found.low > 0.5 else 'does not find'} what is there: on as many generated days "
        f"with a planted momentum it has {found.mean:.2%} ({found.low:.2%} to {found.high:.2%}) right, where "
        f"{control.possible:.2%} are possible."
    )
    return " ".join(parts)


def setup(config: Config, days: trading.Days, walk: Walk) -> str:
    """How it was measured."""
    parts = folds(len(days.returns), config)
    kind = {1: "the return", 3: "return, log(high / low), and change of log(volume)"}[days.inputs.shape[1]]
    return (
        f"{len(days.returns)} days from {days.days[0]} to {days.days[-1]}; the last {len(walk.rows)} are tested, in "
        f"{config.folds} folds of {len(parts[0].test)}. Before each fold, {config.layers} layers of {config.hidden} "
        f"units ({config.cell}) are trained afresh on all days before it but the last {config.validation}, which say "
        f"when to stop: {len(parts[0].training)} days for the first fold, {len(parts[-1].training)} for the last. "
        f"Inputs: {config.window} days of {kind}, scaled by the training days of the fold. Options were fixed "
        "beforehand, on generated prices with other seeds. A forecast of a day is made at the end of the day before. "
        f"Intervals hold 95 %: bootstrap over blocks of {config.block} days."
    )


def directions(scores: Scores, walk: Walk, days: trading.Days) -> str:
    """Accuracies, over all and by fold."""
    rows = [["network", *percent(scores.accuracy["network"]), "", ""]]
    for name in BASELINES:
        gain = scores.gain[name]
        rows.append(
            [name, *percent(scores.accuracy[name]), f"{gain.mean:+.2%}", f"{gain.low:+.2%} to {gain.high:+.2%}"]
        )
    header = ["forecast", "days right", "interval", "network less this", "interval"]
    truth = days.returns[walk.rows] > 0
    by_fold = []
    for fold in range(int(walk.fold.max()) + 1):
        at = walk.fold == fold
        names = ("network", *BASELINES)
        share = [f"{np.mean(walk.up[name][at] == truth[at]):.1%}" for name in names]
        by_fold.append([str(days.days[walk.rows[at][0]]), f"{truth[at].mean():.1%}", *share])
    return (
        f"{truth.mean():.2%} of the tested days went up. Persistence says that yesterday's direction continues; the "
        "majority is that of the days before the fold; the logistic model reads the same windows.\n\n"
        + report.grid(header, rows)
        + "\n\nThe opposite of persistence, a reversal, is right on "
        f"{1 - scores.accuracy['persistence'].mean:.2%}: {scores.reversal.mean:+.2%} of the days against the majority "
        f"({scores.reversal.low:+.2%} to {scores.reversal.high:+.2%}), which is known in hindsight only."
        "\n\n![accuracy](accuracy.png)\n\nFold by fold, from the day given on:\n\n"
        + report.grid(["from", "days up", "network", *BASELINES], by_fold)
    )


def planted(control: Scores, config: Config) -> str:
    """What the same method finds where there is something."""
    rows = [[name, *percent(control.accuracy[name])] for name in ("network", *BASELINES)]
    rows.append(["the generator's own", *percent(control.generator)])
    share = (control.accuracy["network"].mean - 0.5) / (control.possible - 0.5)
    return (
        f"As many generated days whose mean return is {config.momentum} times that of the last five days, so that the "
        "best forecast is known: the sign of that mean. The network gets "
        f"{share:.0%} of what lies between a coin and what is possible: {control.possible:.2%} are expected of the "
        "best forecast, though on these very days it may have a few more or fewer right.\n\n"
        + report.grid(["forecast", "days right", "interval"], rows)
    )


def sizes(days: trading.Days, walk: Walk, scores: Scores) -> str:
    """Errors of returns, and of the prices that follow from them."""
    true, last = days.close[walk.rows], days.close[walk.rows - 1]
    rows = []
    for name in ("network", "zero", "mean", "linear"):
        price = last * np.exp(walk.returns[name])
        skill = scores.skill.get(name)
        rows.append(
            [
                {"zero": "zero (the last price)", "mean": "mean of the training days"}.get(name, name),
                *([f"{skill.mean:+.2%}", f"{skill.low:+.2%} to {skill.high:+.2%}"] if skill else ["0", ""]),
                f"{np.abs(price - true).mean():.4g}",
                f"{np.corrcoef(price, true)[0, 1]:.4f}",
            ]
        )
    header = ["forecast of the return", "R2", "interval", "error of the price ($)", "correlation with the price"]
    return (
        "R2 is 1 - squared errors / squared errors of a forecast of zero, out of sample. A price forecast is the last "
        "price times exp(return), and its error is a mean absolute one.\n\n"
        + report.grid(header, rows)
        + "\n\nEvery one of these prices follows the true one so closely that a plot cannot tell them apart, the last "
        "price included, which forecasts nothing: what is seen is that prices change little in a day. Only the "
        "returns show whether anything was forecast.\n\n![prices and returns](prices.png)"
    )


def earned(days: trading.Days, walk: Walk, trades: dict[str, trading.Money], config: Config) -> str:
    """What following the forecasts was worth."""
    rows = []
    for name, money in trades.items():
        daily = np.diff(money.net, prepend=0)
        peak = np.maximum.accumulate(np.maximum(money.net, 0))
        sharpe = np.sqrt(365) * daily.mean() / daily.std() if daily.std() else 0.0
        rows.append(
            [
                name,
                f"{money.held:.1%}",
                money.trades,
                f"{np.exp(money.growth[-1]):.3g}",
                f"{np.exp(money.net[-1]):.3g}",
                f"{sharpe:.2f}",
                f"{1 - np.exp(np.min(money.net - peak)):.0%}",
            ]
        )
    header = ["strategy", "days held", "trades", "1 becomes, without costs", "with costs", "Sharpe ratio", "worst fall"]
    ahead = np.diff(trades["network"].net - trades["buy and hold"].net, prepend=0)
    interval = intervals.Interval(*(365 * v for v in intervals.bootstrap(ahead, block=config.block, seed=config.seed)))
    told = "more" if interval.low > 0 else "less" if interval.high < 0 else "nothing that can be told from chance"
    return (
        "The coin is held on the days with a rise forecast, and sold on the others; every trade costs "
        f"{config.cost:.2%}. Sharpe ratio (a year, of logarithmic returns) and worst fall are with costs.\n\n"
        + report.grid(header, rows)
        + f"\n\nAgainst buy and hold, the network with costs earned {told}: {interval.mean:+.2f} a year in logarithms, "
        f"interval {interval.low:+.2f} to {interval.high:+.2f}.\n\n![money](money.png)"
    )


# ---- figures -------------------------------------------------------------------------------------------------


def draw_accuracy(run: experiment.Run, scores: Scores, control: Scores) -> None:
    """Intervals of the accuracies, on the data and on the control."""
    names = ("network", *BASELINES)
    titles = [label(run.config), "control: planted momentum"]
    with plots.panels(run.folder / "accuracy.png", columns=2, size=(11.0, 3.8), share_x=True) as axes:
        for axis, title, each in zip(axes[0], titles, (scores, control), strict=True):
            plots.intervals(axis, {name: each.accuracy[name] for name in names}, reference=0.5)
            axis.set(title=title, xlabel="days with the right direction, 95 % interval")
            axis.xaxis.set_major_formatter(lambda x, _: f"{100 * x:.0f} %")
            axis.text(0.5, -0.62, " a coin", va="center")
            axis.set_ylim(len(names) - 0.5, -0.85)
        axes[0, 1].axvline(control.possible, color=plots.COLOURS[6], linestyle=":", linewidth=1.5)
        axes[0, 1].text(control.possible, -0.62, "possible ", va="center", ha="right")


def draw_prices(run: experiment.Run, days: trading.Days, walk: Walk, scores: Scores) -> None:
    """The plot that looks perfect, and the one that counts."""
    rows, returns = walk.rows, walk.returns["network"]
    forecast = days.close[rows - 1] * np.exp(returns)
    shown = slice(-min(365, len(rows)), None)
    with plots.panels(run.folder / "prices.png", columns=3, size=(15.0, 4.6)) as axes:
        looks, scatter, counts = axes[0]
        looks.plot(days.days[rows[shown]], days.close[rows[shown]], color=plots.COLOURS[6], label="true")
        looks.plot(days.days[rows[shown]], forecast[shown], "--", color=plots.COLOURS[1], label="forecast a day ahead")
        looks.set(title=f"Looks perfect: {len(rows[shown])} days", xlabel="date", ylabel="price ($)")
        looks.xaxis.set_major_locator(AutoDateLocator(minticks=3, maxticks=5))
        looks.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        scatter.plot(days.close[rows], forecast, ".", color=plots.COLOURS[0], markersize=4, alpha=0.5)
        correlation = np.corrcoef(days.close[rows], forecast)[0, 1]
        scatter.set(title=f"So do prices: correlation {correlation:.3f}", xlabel="true price ($)")
        scatter.set(ylabel="forecast price ($)", xscale="log", yscale="log")
        plots.plain_log(scatter.xaxis, scatter.yaxis)
        true = 100 * days.returns[rows]
        counts.plot(true, 100 * returns, ".", color=plots.COLOURS[0], markersize=4, alpha=0.5)
        limit = float(np.percentile(np.abs(true), 99))
        counts.plot([-limit, limit], [-limit, limit], color=plots.COLOURS[6], linewidth=1.2, linestyle="--")
        counts.set(title=f"What counts, returns: R2 {scores.skill['network'].mean:+.1%}", xlim=(-limit, limit))
        counts.set(xlabel="true return (%)", ylabel="forecast return (%)", ylim=(-limit, limit), aspect="equal")


def draw_money(run: experiment.Run, days: trading.Days, walk: Walk, trades: dict[str, trading.Money]) -> None:
    """The value of one unit over time."""
    title = "What one dollar becomes"
    with plots.figure(run.folder / "money.png", title=title, x="date", y="value ($)", size=(10.0, 4.8)) as axes:
        at = days.days[walk.rows]
        lines = [("network, no costs", trades["network"].growth, "-"), ("network", trades["network"].net, "--")]
        lines += [(name, trades[name].net, style) for name, style in zip(BASELINES, ("-.", ":", "-."), strict=True)]
        for colour, (name, growth, style) in zip(plots.COLOURS, lines, strict=False):
            axes.plot(at, np.exp(growth), style, color=colour, linewidth=1.6, label=name)
        axes.plot(at, np.exp(trades["buy and hold"].net), color=plots.COLOURS[6], linewidth=1.2, label="buy and hold")
        axes.set_yscale("log")
        plots.plain_log(axes.yaxis)
        plots.legend_beside(axes, f"with costs of {run.config.cost:.1%}")


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
