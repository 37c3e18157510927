"""Measures levers on the speed of a recurrent layer, one by one, against the layer of rnnjax.

    python -m experiments.benchmarks.levers           five minutes on two CPU cores

A ratio is the time without the lever over the time with it: above 1 the lever wins. NOTES.md tells what was expected of
each and what came out. Levers on the whole process are options of `experiments.benchmarks.recurrence`.
"""

import dataclasses
import functools
import json
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import rnnjax
from experiments.benchmarks.recurrence import seconds_of, time_interleaved
from experiments.lib import cli, report

NAME = "levers"
SHAPES = ((1, 128, 512), (8, 256, 128), (32, 128, 128), (128, 64, 128), (32, 512, 32))  # B, H, T
COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    "options: vectors of 512 bits": {"xla_cpu_prefer_vector_width": 512},
    "options: fast math": {"xla_cpu_enable_fast_math": True},
    "options: no XNNPACK": {"xla_cpu_use_xnnpack": False},
    "options: no schedule for concurrency": {"xla_cpu_enable_concurrency_optimized_scheduler": False},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    only: str = ""  # only levers whose name has this in it
    rounds: int = 7  # of each pair of programs
    seed: int = 0
    smoke: bool = False  # one small shape
    out: str = ""  # folder of the run; runs/levers/<time> by default


def plain(params, xs):
    """Runs an LSTM the way rnnjax does; ys [T, B, H]."""
    hidden = params.w_h.shape[0]
    return rnnjax.unroll(rnnjax.lstm(xs.shape[-1], hidden), params, xs)[1]


def by_scan(step: Callable, params, xs, *, hidden: int, **options):
    """Loops over step(params, (h, c), x) -> (h, c) from zeros; ys [T, B, H]."""
    zeros = jnp.zeros((*xs.shape[1:-1], hidden), xs.dtype)

    def body(carry, x):
        h, c = step(params, carry, x)
        return (h, c), h

    return rnnjax.scan(body, (zeros, zeros), xs, **options)[1]


def lstm_step(params, carry, x):
    """Computes the equations."""
    h, c = carry
    i, f, g, o = jnp.split(x @ params.w_x + h @ params.w_h + params.b, 4, axis=-1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


# ---- levers of one layer -------------------------------------------------------------------------------------


def unrolled(params, xs, *, steps: int):
    """Runs several steps per iteration of the compiled loop."""
    return by_scan(lstm_step, params, xs, hidden=params.w_h.shape[0], unroll=steps)


def one_tanh_sweep(params, xs):
    """Takes one tanh over all gates: sigmoid(a) = (1 + tanh(a / 2)) / 2, with the half in the weights."""
    hidden = params.w_h.shape[0]
    half = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5]), hidden)
    scaled = jax.tree.map(lambda leaf: leaf * half, params)

    def step(params, carry, x):
        h, c = carry
        a = jnp.tanh(x @ params.w_x + h @ params.w_h + params.b)
        i, f, g, o = jnp.split(a, 4, axis=-1)
        c = (0.5 + 0.5 * f) * c + (0.5 + 0.5 * i) * g
        return (0.5 + 0.5 * o) * jnp.tanh(c), c

    return by_scan(step, scaled, xs, hidden=hidden)


def features_first(params, xs):
    """Keeps the carry as [H, B] in the loop, with weights on the left of the product."""
    hidden = params.w_h.shape[0]
    turned = jax.tree.map(jnp.transpose, params)

    def body(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(turned.w_x @ x.T + turned.w_h @ h + turned.b[:, None], 4, axis=0)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h.T

    zeros = jnp.zeros((hidden, xs.shape[1]), xs.dtype)
    return rnnjax.scan(body, (zeros, zeros), xs)[1]


def joined_operands(params, xs):
    """Multiplies [x, h] by one joined weight in the loop."""
    joined = jnp.concatenate([params.w_x, params.w_h])

    def step(params, carry, x):
        h, c = carry
        i, f, g, o = jnp.split(jnp.concatenate([x, h], axis=-1) @ joined + params.b, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jax.nn.sigmoid(o) * jnp.tanh(c), c

    return by_scan(step, params, xs, hidden=params.w_h.shape[0])


# ---- levers of two layers ------------------------------------------------------------------------------------


def two_directions(params, xs):
    """Runs both directions the way rnnjax does, one loop after the other; params of two, ys [T, B, 2H]."""
    cell = rnnjax.lstm(xs.shape[-1], params.w_h.shape[1])
    first, second = (jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(2))
    return rnnjax.unroll_layers([(cell, cell)], rnnjax.Layers((rnnjax.Bidirectional(first, second),)), xs)[1]


def directions_in_one_scan(params, xs):
    """Runs both directions as a batch of two in one loop."""
    hidden = params.w_h.shape[1]
    both = jnp.stack([xs, xs[::-1]], axis=1)  # [T, 2, B, F]
    ys = by_scan(jax.vmap(lstm_step), params, both, hidden=hidden)
    return jnp.concatenate([ys[:, 0], ys[::-1, 1]], axis=-1)


def two_layers(params, xs):
    """Runs two layers in one step of one loop; ys [T, B, H]."""
    cell = rnnjax.lstm(xs.shape[-1], params.w_h.shape[1])
    layers = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(2))
    return rnnjax.unroll(rnnjax.stack([cell, cell]), rnnjax.Layers(layers), xs)[1]


def layer_after_layer(params, xs):
    """Runs each layer over all of time."""
    cell = rnnjax.lstm(xs.shape[-1], params.w_h.shape[1])
    layers = tuple(jax.tree.map(lambda leaf, i=i: leaf[i], params) for i in range(2))
    return rnnjax.unroll_layers([cell, cell], rnnjax.Layers(layers), xs)[1]


def layers_on_the_diagonal(params, xs):
    """Runs step t of the first layer and step t - 1 of the second at once, as a batch of two products."""
    hidden = params.w_h.shape[1]
    late = jnp.concatenate([xs, jnp.zeros_like(xs[:1])])
    started = jnp.arange(len(late)) > 0

    def body(carry, now):
        (h, c), (x, has_started) = carry, now
        h_new, c_new = jax.vmap(lstm_step)(params, (h, c), jnp.stack([x, h[0]]))
        second = has_started.astype(h.dtype)
        h_new, c_new = (jnp.stack([v[0], v[1] * second]) for v in (h_new, c_new))
        return (h_new, c_new), h_new[1]

    zeros = jnp.zeros((2, xs.shape[1], hidden), xs.dtype)
    return rnnjax.scan(body, (zeros, zeros), (late, started))[1][1:]


# ---- the run -------------------------------------------------------------------------------------------------

ONE_LAYER: dict[str, Callable] = {
    "one tanh sweep": one_tanh_sweep,
    "features first": features_first,
    "joined [x, h]": joined_operands,
    **{f"unroll {steps}": functools.partial(unrolled, steps=steps) for steps in (2, 4, 8)},
}
PAIRS: dict[str, tuple[Callable, Callable]] = {
    "directions in one scan": (two_directions, directions_in_one_scan),
    "layer after layer": (two_layers, layer_after_layer),
    "layers on the diagonal": (two_layers, layers_on_the_diagonal),
}


def programs(only: str) -> dict[str, tuple[Callable, Callable, dict[str, Any], bool]]:
    """Maps each lever to (the layer without it, the layer with it, compiler options, whether params are of two)."""
    found = {name: (plain, lever, {}, False) for name, lever in ONE_LAYER.items()}
    found |= {name: (plain, plain, options, False) for name, options in COMPILER_OPTIONS.items()}
    found |= {name: (before, lever, {}, True) for name, (before, lever) in PAIRS.items()}
    return {name: lever for name, lever in found.items() if only in name}


def ratios(lever: tuple, shape: tuple[int, int, int], config: Config) -> tuple[float, float]:
    """Measures forward and forward + gradient: seconds without over seconds with the lever, checked to agree."""
    before, after, options, of_two = lever
    batch, hidden, steps = shape
    rng = np.random.default_rng([config.seed, *shape])

    def draw(*sizes):
        return jnp.asarray(hidden**-0.5 * rng.standard_normal((2, *sizes) if of_two else sizes, np.float32))

    params = rnnjax.LSTMParams(draw(hidden, 4 * hidden), draw(hidden, 4 * hidden), draw(4 * hidden))
    xs = jnp.asarray(rng.standard_normal((steps, batch, hidden), np.float32))
    ct = jnp.asarray(rng.standard_normal(jax.eval_shape(before, params, xs).shape, np.float32))
    found = []
    for mode in ("forward", "gradient"):
        runs = {}
        for name, apply, compiler_options in (("before", before, {}), ("after", after, options)):

            def loss(params, xs, apply=apply):
                return jnp.sum(apply(params, xs) * ct)

            function = jax.grad(loss, (0, 1)) if mode == "gradient" else apply
            compiled = jax.jit(function, compiler_options=compiler_options or None)
            runs[name] = functools.partial(lambda f: jax.block_until_ready(f(params, xs)), compiled)
        results = [run() for run in runs.values()]
        for a, b in zip(*map(jax.tree.leaves, results), strict=True):
            if not np.allclose(a, b, rtol=1e-3, atol=1e-3 * float(np.abs(b).max())):
                raise ValueError(f"expected the lever to change no result, got a {mode} that differs at {shape}.")
        sample = 2 * seconds_of(runs["before"]) if config.smoke else 0.1
        seconds = time_interleaved(runs, config.rounds, sample, 3.0)
        found.append(float(np.median(seconds["before"]) / np.median(seconds["after"])))
    return found[0], found[1]


def main(config: Config) -> dict:
    """Times every lever, writes the run's folder, and returns the geometric means."""
    began = time.perf_counter()
    folder = report.new_run_folder(config.out, NAME)
    report.write_config(folder, config)
    shapes = ((2, 16, 8),) if config.smoke else SHAPES
    table: dict[str, dict[str, list[float]]] = {}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        levers = programs(config.only)
        for name, lever in (bar := tqdm(levers.items(), desc=NAME, unit="lever")):
            bar.set_postfix_str(name)
            try:
                both = [ratios(lever, shape, config) for shape in shapes]
            except jax.errors.JaxRuntimeError as error:  # an option that this version of XLA does not know
                bar.write(f"{name}: {next(iter(str(error).splitlines()))}")
                continue
            table[name] = {"forward": [f for f, _ in both], "gradient": [g for _, g in both]}
    columns = ["B{} H{} T{}".format(*shape) for shape in shapes]
    lines = [f"| lever | mode | {' | '.join(columns)} | mean |", "|---" * (len(columns) + 3) + "|"]
    for name, by_mode in table.items():
        for mode, values in by_mode.items():
            mean = float(np.exp(np.mean(np.log(values))))
            lines.append(f"| {name} | {mode} | {' | '.join(f'{v:.2f}' for v in values)} | {mean:.2f} |")
    print("\n".join(lines))
    (folder / "result.json").write_text(json.dumps({"shapes": shapes, "ratios": table}, indent=1) + "\n")
    report.write_report(folder, "Levers on the speed of a recurrent layer", {"Ratios": "\n".join(lines)})
    headline = {
        "geomean_" + "_".join(re.findall(r"\w+", name)): round(float(np.exp(np.mean(np.log(by_mode["gradient"])))), 3)
        for name, by_mode in table.items()
    }
    cli.result_line(NAME, config.seed, time.perf_counter() - began, **headline)
    return headline


if __name__ == "__main__":
    prog = f"python -m experiments.benchmarks.{NAME}"
    cli.main_guard(lambda: main(cli.parse(Config, prog=prog, description=__doc__, args=sys.argv[1:])), prog=prog)
