"""Models that forecast the value after a window, and run free on their own forecasts: recurrent, MLP, linear AR."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.function_approximation.functions import examples, targets
from experiments.lib import series
from experiments.lib.cells import make_cell
from experiments.lib.readout import make_readout
from experiments.lib.training import shuffled, train

RIDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Model(NamedTuple):
    """Something that forecasts."""

    init: Any  # key -> params; None for the AR, which is not trained by gradients
    forecast: Callable  # (params, windows [T, B]) -> forecasts [.., B] that are trained; the last is of the next value
    run: Callable  # (params, windows [T, B]) -> free run [horizon, B]


def recurrent(config: Any) -> Model:
    """The cell over the window, and a linear output."""
    cell = make_cell(config.cell, 1, config.hidden)
    init, _ = make_readout(cell, 1)

    def output(params, hs):
        return jnp.matmul(hs, params.w_y)[..., 0] + params.b_y[0]

    def read(params, windows):
        carry, hs = rnnjax.unroll(cell, params.cell, windows[..., None])
        return carry, output(params, hs)

    def run(params, windows):
        def step(state, _):
            carry, value = state
            carry, h = cell.apply(params.cell, carry, value[:, None])  # its own output is what it reads
            return (carry, output(params, h)), value

        carry, forecasts = read(params, windows)
        return rnnjax.scan(step, (carry, forecasts[-1]), None, length=config.horizon)[1]

    # The first half of a window is little to go by, so that only the forecasts after it are trained.
    return Model(init, lambda params, windows: read(params, windows)[1][config.window // 2 :], run)


def without_state(init: Any, forecast: Callable, config: Any) -> Model:
    """A model that forecasts `[1, B]`; running free, every forecast is shifted into the window."""

    def run(params, windows):
        def step(windows, _):
            value = forecast(params, windows)
            return jnp.concatenate([windows[1:], value]), value[0]

        return rnnjax.scan(step, windows, None, length=config.horizon)[1]

    return Model(init, forecast, run)


class MLPParams(NamedTuple):
    """Parameters of the MLP."""

    w_h: jax.Array  # [T, H]
    b_h: jax.Array  # [H]
    w_y: jax.Array  # [H, 1]
    b_y: jax.Array  # []


def mlp(config: Any, size: int) -> Model:
    """One hidden layer over the window, with about so many parameters in all: y = w_y tanh(W_h x + b_h) + b_y."""
    hidden = max(1, round((size - 1) / (config.window + 2)))

    def init(key):
        key_h, key_y = jax.random.split(key)
        draw = jax.nn.initializers.glorot_uniform()
        w_h, w_y = draw(key_h, (config.window, hidden)), draw(key_y, (hidden, 1))
        return MLPParams(w_h, jnp.zeros(hidden), w_y, jnp.zeros(()))

    def forecast(params, windows):
        h = jnp.tanh(jnp.matmul(windows.T, params.w_h) + params.b_h[None])
        return (jnp.matmul(h, params.w_y) + params.b_y).T

    return without_state(init, forecast, config)


def autoregression(config: Any) -> Model:
    """x_{t+1} = a_1 x_t + ... + a_T x_{t+1-T} + b; its parameters are a `series.LinearModel`."""

    def forecast(params, windows):
        return (jnp.matmul(windows.T, params.weights[:-1]) + params.weights[-1:]).T

    return without_state(None, forecast, config)


def make_models(config: Any) -> tuple[dict[str, Model], int]:
    """All models by name, compiled, and the number of parameters of the recurrent one."""
    network = recurrent(config)
    size = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0))))
    models = {"rnn": network, "mlp": mlp(config, size), "ar": autoregression(config)}
    return {kind: Model(m.init, jax.jit(m.forecast), jax.jit(m.run)) for kind, m in models.items()}, size


def fit_autoregression(scaled: np.ndarray, config: Any) -> tuple[series.LinearModel, float]:
    """Least squares on the training part with the ridge that forecasts the validation part best, and that ridge."""
    seen, unseen = (examples(scaled, rows, config) for rows in targets(config)[:2])
    fits = {ridge: series.fit_linear(seen[:, :-1], seen[:, -1:], ridge) for ridge in RIDGES}
    ridge = min(RIDGES, key=lambda ridge: np.mean((fits[ridge].predict(unseen[:, :-1]) - unseen[:, -1:]) ** 2))
    return series.LinearModel(jnp.asarray(fits[ridge].weights, jnp.float32)), ridge


def fit_network(model: Model, scaled: np.ndarray, config: Any, folder: Path, name: str) -> Any:
    """The parameters of the update that forecasts the validation part best."""
    seen, unseen = (examples(scaled, rows, config).T for rows in targets(config)[:2])  # [T + 1, N]

    def loss_fn(params, batch, *, key):
        forecasts = model.forecast(params, batch[:-1])
        return rnnjax.losses.get_loss("mean_squared")(forecasts, batch[-len(forecasts) :])

    def evaluate(state):
        forecasts = model.forecast(state.params, unseen[:-1])[-1]
        return {"held_out_loss": float(np.mean((forecasts - unseen[-1]) ** 2))}

    settings = {"name": name, "evaluate": evaluate, "batch_axes": 1}
    batches = shuffled(seen, config.batch, config.seed, axis=1)
    return train(config, model.init, loss_fn, batches, folder, **settings).best_params
