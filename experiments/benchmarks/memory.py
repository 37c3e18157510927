"""Measures the peak memory of a gradient against the number of steps, for each memory mode of `rnnjax.unroll`.

    python -m experiments.benchmarks.memory         a minute on two CPU cores

Memory is what the compiled program allocates besides arguments and results (XLA's own analysis), for the gradient of a
function of the last carry. Slopes are those of a line through the logarithms: 1 grows as T, 0.5 as its root.
Then an LSTM is trained on sequences of 100,000 steps, batch 1, hidden 64, in each of two modes.
"""

import dataclasses
import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from experiments.lib import cli, plots, report

NAME = "memory"
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "chunk 64": {"chunk": 64},
    "step": {"remat": "step"},
    "blocks of 64": {"remat": 64},
    "sqrt": {"remat": "sqrt"},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    cell: str = "lstm"  # rnn, gru or lstm
    hidden: int = 64
    batch: int = 3
    lengths: tuple[int, ...] = (256, 1024, 4096, 16384, 65536)
    long: int = 100_000  # steps of the sequence to train on
    updates: int = 20  # of that training
    seed: int = 0
    smoke: bool = False  # small lengths, two updates
    out: str = ""  # folder of the run; runs/memory/<time> by default


def make_cell(config: Config) -> rnnjax.Cell:
    return {"rnn": rnnjax.rnn, "gru": rnnjax.gru, "lstm": rnnjax.lstm}[config.cell](config.hidden, config.hidden)


def megabytes(config: Config, length: int, mode: dict[str, Any]) -> float:
    """Returns the temporary memory of the gradient in the parameters, in MB."""
    cell = make_cell(config)

    def loss(params, xs):
        carry, _ = rnnjax.unroll(cell, params, xs, **mode)
        return jnp.sum(carry.h**2)

    params = jax.eval_shape(cell.init, jax.random.key(0))
    xs = jax.ShapeDtypeStruct((length, config.batch, config.hidden), jnp.float32)
    return jax.jit(jax.grad(loss)).lower(params, xs).compile().memory_analysis().temp_size_in_bytes / 1e6


def train_long(config: Config, mode: dict[str, Any]) -> dict[str, Any]:
    """Trains an LSTM on a running mean over one long sequence, batch 1; returns losses and seconds."""
    cell = make_cell(config)
    keys = jax.random.split(jax.random.key(config.seed), 3)
    xs = jax.random.normal(keys[0], (config.long, 1, config.hidden))
    targets = jnp.cumsum(xs[..., 0], axis=0) / jnp.sqrt(1.0 + jnp.arange(config.long))[:, None]
    params = (cell.init(keys[1]), 0.1 * jax.random.normal(keys[2], (config.hidden,)))
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2))

    def loss(params, xs):
        _, ys = rnnjax.unroll(cell, params[0], xs, **mode)
        return jnp.mean((ys @ params[1] - targets) ** 2)

    @jax.jit
    def update(params, state):
        value, gradient = jax.value_and_grad(loss)(params, xs)
        change, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, change), state, value

    state, losses, seconds = optimizer.init(params), [], []
    for _ in range(config.updates):
        start = time.perf_counter()
        params, state, value = update(params, state)
        losses.append(float(value))
        seconds.append(time.perf_counter() - start)
    return {"first": losses[0], "last": losses[-1], "seconds_an_update": float(np.median(seconds))}


def main(config: Config) -> dict[str, Any]:
    """Measures all modes, draws them, trains on the long sequence."""
    began = time.perf_counter()
    if config.smoke:
        config = dataclasses.replace(config, lengths=(64, 256), long=200, updates=2, hidden=8)
    folder = report.new_run_folder(config.out, NAME)
    report.write_config(folder, config)

    used = {name: [megabytes(config, length, mode) for length in config.lengths] for name, mode in MODES.items()}
    logs = np.log(config.lengths)
    slopes = {name: float(np.polyfit(logs, np.log(values), 1)[0]) for name, values in used.items()}
    with plots.figure(
        folder / "memory.png",
        title=f"Memory of a gradient: {config.cell.upper()}, batch {config.batch}, hidden {config.hidden}",
        x="steps T",
        y="temporary memory (MB)",
    ) as axes:
        for name, values in used.items():
            axes.loglog(config.lengths, values, "o-", label=f"{name}: T^{slopes[name]:.2f}")
        axes.legend(frameon=False, title="remat or chunk")
    longest = {name: train_long(config, MODES[name]) for name in ("none", "sqrt")}

    header = ["| mode | " + " | ".join(f"T = {t:,}" for t in config.lengths) + " | exponent |"]
    header.append("|---" * (len(config.lengths) + 2) + "|")
    rows = [
        f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + f" | {slopes[name]:.2f} |"
        for name, values in used.items()
    ]
    text = "\n".join(header + rows)
    long_text = report.table({name: json.dumps(values) for name, values in longest.items()})
    (folder / "result.json").write_text(json.dumps({"mb": used, "slopes": slopes, "long": longest}, indent=1) + "\n")
    sections = {"Temporary memory, MB": text, "Figure": "![](memory.png)", f"{config.long:,} steps": long_text}
    report.write_report(folder, "Memory against the number of steps", sections)
    print(text, long_text, sep="\n\n")
    headline = {f"exponent_{name.replace(' ', '_')}": round(slope, 3) for name, slope in slopes.items()}
    headline |= {f"long_{name}_seconds": round(v["seconds_an_update"], 2) for name, v in longest.items()}
    cli.result_line(NAME, config.seed, time.perf_counter() - began, **headline)
    return {**headline, "long": longest}


if __name__ == "__main__":
    prog = f"python -m experiments.benchmarks.{NAME}"
    cli.main_guard(lambda: main(cli.parse(Config, prog=prog, description=__doc__, args=sys.argv[1:])), prog=prog)
