"""Measures the preset min-char-rnn of experiments.char_lm against its NumPy twin, in characters per second.

    python -m experiments.benchmarks.min_char_rnn         under a minute on two CPU cores

Both train the 112-line program on the same text with the same sizes and draw 200 characters every 100 iterations.
Rounds of 100 iterations are interleaved; the ratio is that of the medians; compilation is reported separately.
"""

import dataclasses
import json
import os
import sys
import time

# An option of this command line, before JAX starts: small loops become one kernel instead of one call an operation.
if "--one-kernel-loops" in sys.argv:
    option = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {option}"

import jax
import numpy as np

import rnnjax
from experiments.char_lm import __main__ as char_lm
from experiments.char_lm.model import make_model
from experiments.char_lm.presets import PRESETS
from experiments.lib import cli, report
from experiments.lib.language import first_stream, make_loss, make_sampler
from experiments.lib.optimization import make_optimizer
from rnnjax.decoding import at_temperature
from tests.support.min_char_rnn_twin import Twin, initial_weights

NAME = "min_char_rnn"
ITERATIONS = 100


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    data: str = "pydoc"  # pydoc, shakespeare, or the path of a UTF-8 text
    rounds: int = 30  # of 100 iterations each, of both
    one_kernel_loops: bool = False  # compile each loop over time into one kernel (an XLA flag for CPUs)
    seed: int = 0  # of the weights
    smoke: bool = False  # three rounds
    out: str = ""  # folder of the run; runs/min_char_rnn/<time> by default


def make_program(config, streams, vocabulary_size: int, seed: int):
    """`round -> smoothed loss`: 100 iterations and 200 drawn characters of the preset."""
    model, optimizer = make_model(config, vocabulary_size), make_optimizer(config)
    objective = char_lm.OBJECTIVES[config.objective]
    step = rnnjax.training.make_train_step(make_loss(model), optimizer, objective=objective)
    sampler = make_sampler(model.step, config.sample_length, [at_temperature(config.temperature)])
    iterations = jax.jit(lambda state, windows: jax.lax.scan(step, state, windows))
    key, stream = jax.random.key(seed), first_stream(model, 1, vocabulary_size)
    state = rnnjax.training.init_state(model.init(key), optimizer, key=key, carry=stream)

    def run(round_number: int) -> None:
        nonlocal state
        first = round_number * ITERATIONS
        windows = [streams.window(first + i) for i in range(ITERATIONS)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *windows)
        drawn = sampler(state.params, state.carry.cell, stacked.inputs[0, 0, 0], jax.random.key(round_number))
        state, metrics = iterations(state, stacked)
        np.asarray(metrics.loss), np.asarray(drawn)

    return run


def main(config: Config) -> dict:
    """Times both, round by round, and returns the medians and their ratio."""
    began = time.perf_counter()
    preset = char_lm.Config(**{**PRESETS["min-char-rnn"], "data": config.data})
    vocabulary, ids, _ = char_lm.load(preset)
    vocabulary_size = len(vocabulary.symbols)
    streams = rnnjax.data.make_streams(ids, batch_size=1, steps=preset.window)
    program = make_program(preset, streams, vocabulary_size, config.seed)
    twin = Twin(ids, initial_weights(preset.hidden, vocabulary_size, config.seed), sample_every=ITERATIONS)

    def twin_round(_: int) -> None:
        for _ in range(ITERATIONS):
            twin.step()

    start = time.perf_counter()
    program(0)
    compiling = time.perf_counter() - start
    seconds: dict[str, list[float]] = {"program": [], "twin": []}
    for number in range(3 if config.smoke else config.rounds):
        for name, one_round in (("program", program), ("twin", twin_round)):
            start = time.perf_counter()
            one_round(number + 1)
            seconds[name].append(time.perf_counter() - start)
    rates = {name: ITERATIONS * preset.window / float(np.median(times)) for name, times in seconds.items()}
    headline = {
        "ratio": round(rates["program"] / rates["twin"], 2),
        "chars_per_second": round(rates["program"]),
        "twin_chars_per_second": round(rates["twin"]),
        "compile_seconds": round(compiling, 2),
        "one_kernel_loops": config.one_kernel_loops,
        "device": str(jax.devices()[0].device_kind),
    }
    folder = report.new_run_folder(config.out, NAME)
    report.write_config(folder, config)
    (folder / "result.json").write_text(json.dumps({**headline, "seconds": seconds}, indent=1) + "\n")
    report.write_report(folder, "min-char-rnn against NumPy", {"Result": report.table(headline)})
    print(report.table(headline))
    cli.result_line(NAME, config.seed, time.perf_counter() - began, **headline)
    return headline


if __name__ == "__main__":
    prog = f"python -m experiments.benchmarks.{NAME}"
    cli.main_guard(lambda: main(cli.parse(Config, prog=prog, description=__doc__, args=sys.argv[1:])), prog=prog)
