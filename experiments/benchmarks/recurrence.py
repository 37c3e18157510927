"""Recurrent layers side by side: rnnjax, Flax (linen, nnx), Haiku, Equinox, Keras, PyTorch, ONNX Runtime, a plain scan.

    python -m experiments.benchmarks.recurrence           under twenty minutes on two CPU cores; --quick: one minute

One process, two threads. Every peer gets the same float32 weights, and its outputs and gradients are compared with
float64 before it is timed; the programs that are checked are the ones that are timed. Rounds are interleaved over the
peers of a row, medians are compared, compilation is reported separately. A ratio is a peer's time over rnnjax's: above
1 rnnjax is faster. Peers that are not installed are left out and named.
"""

import ctypes
import dataclasses
import functools
import importlib.metadata
import json
import math
import os
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments.benchmarks import peers, recurrence_report
from experiments.benchmarks.peers import base, gate
from experiments.benchmarks.peers.base import Program, Row
from experiments.lib import cli, report

NAME = "recurrence"
TOLERANCE = 1e-3  # of an error relative to the largest entry
SAMPLE_SECONDS = 0.1  # of one sample at least, by repeating short programs
MODE_SECONDS = 6.0  # of all samples of a row and mode at most, if three rounds fit
BUSY = 0.7  # load average before the run from which on it is warned of
QUICK_PEERS = ("rnnjax", "scan", "linen", "haiku", "torch", "onnx")
PACKAGES = ("rnnjax", "jax", "jaxlib", "numpy", "optax", "flax", "dm-haiku", "equinox", "keras", "torch", "onnxruntime")

# B, H, T: every value of {1, 8, 32, 128}, {64, 128, 256, 512} and {32, 128, 512, 1000}; what matters most comes first.
SHAPES = (
    (32, 128, 128),
    (32, 256, 128),
    (128, 128, 32),
    (8, 256, 128),
    (1, 128, 512),
    (128, 512, 32),
    (8, 64, 1000),
    (32, 64, 512),
    (1, 512, 128),
    (128, 64, 128),
    (8, 512, 32),
    (1, 256, 1000),
    (32, 512, 32),
    (128, 256, 32),
)
RNN_SHAPES = ((32, 128, 128), (8, 256, 128), (128, 512, 32), (1, 128, 512), (128, 64, 128), (8, 64, 1000))
LAYERS_SHAPES = ((32, 128, 128), (8, 256, 128), (128, 256, 32))
ATTENTION_SHAPES = ((32, 128, 32), (8, 256, 32), (32, 64, 128))


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    quick: bool = False  # a handful of rows, the fastest peers, one minute
    smoke: bool = False  # two tiny rows
    cells: tuple[str, ...] = ("lstm", "gru", "rnn")  # whose rows are run
    only: str = ""  # only rows whose name has this in it, as lstm_b32 or attention
    peers: tuple[str, ...] = ()  # only these besides rnnjax, as torch or scan; all by default
    rounds: int = 5  # of each row and mode, fewer where they are long
    minutes: float = 20.0  # the budget; rows that do not fit are dropped, and named
    threads: int = 2  # CPUs that the process is pinned to, and threads of torch and ONNX Runtime; 0 leaves all alone
    malloc_keep: bool = False  # have malloc keep freed buffers instead of returning them to the system (glibc)
    one_kernel_loops: bool = False  # compile small loops over time into one kernel (an XLA flag for CPUs)
    seed: int = 0  # of weights and data
    out: str = ""  # folder of the run; runs/recurrence/<time> by default


def make_rows(config: Config) -> list[Row]:
    """Lists the rows of a configuration, the important ones first."""
    if config.smoke:
        rows = [Row("unroll", "lstm", 3, 8, 7), Row("attention", "lstm", 3, 8, 5, ("grad",))]
    elif config.quick:
        rows = [Row("unroll", cell, 32, 128, 128) for cell in ("lstm", "gru")]
        rows += [Row("two_layers", "lstm", 32, 128, 128, ("grad",)), Row("attention", "lstm", 32, 128, 32, ("grad",))]
        rows += [Row("unroll", cell, 8, 256, 128, ("grad",)) for cell in ("lstm", "gru")]
    else:
        grid = [Row("unroll", cell, *shape) for shape in SHAPES for cell in ("lstm", "gru")]
        grid[:4] = [row._replace(modes=("grad", "forward", "train")) for row in grid[:4]]
        rnn = [Row("unroll", "rnn", *shape) for shape in RNN_SHAPES]
        kinds = [Row("two_layers", "lstm", *shape) for shape in LAYERS_SHAPES]
        kinds += [Row("attention", "lstm", *shape) for shape in ATTENTION_SHAPES]
        kinds += [Row("masked", cell, 32, 128, 128) for cell in ("lstm", "gru")]
        kinds += [Row("bidirectional", cell, 32, 128, 128) for cell in ("lstm", "gru")]
        rows = grid[:6] + kinds + rnn[:2] + grid[6:] + rnn[2:]
    return [row for row in rows if row.cell in config.cells and config.only in row.name]


def prepare(config: Config) -> Config:
    """Sets what this command line may set for the whole process, before JAX starts."""
    if config.threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: config.threads])
    if config.malloc_keep:
        # mmap never, trim never, one arena: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_ARENA_MAX of malloc.h.
        mallopt = ctypes.CDLL(None).mallopt
        if not all(mallopt(option, value) for option, value in ((-3, 1 << 30), (-1, 1 << 30), (-8, 1))):
            raise ValueError("expected a malloc that takes --malloc-keep (glibc), got one that refuses; leave it out.")
    if config.one_kernel_loops:
        option = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {option}"
    return config


def load_peers(config: Config) -> tuple[dict[str, Callable], dict[str, str]]:
    """Loads the peers by name, and says why each of the others is left out."""
    chosen = config.peers or (QUICK_PEERS if config.quick else tuple(peer.name for peer in peers.PEERS))
    unknown = set(chosen) - {peer.name for peer in peers.PEERS}
    if unknown:
        names = ", ".join(peer.name for peer in peers.PEERS)
        raise ValueError(f"expected --peers to be some of {names}, got {', '.join(sorted(unknown))}.")
    makers, skipped = {}, {}
    for peer in peers.PEERS:
        if peer.name != "rnnjax" and peer.name not in chosen:
            skipped[peer.name] = "left out by --quick" if config.quick and not config.peers else "left out by --peers"
        elif peers.missing(peer):
            skipped[peer.name] = f"not installed: {', '.join(peers.missing(peer))}"
        else:
            try:
                makers[peer.name] = peers.load(peer)
            except ImportError as error:
                skipped[peer.name] = f"cannot be imported: {error}"
    if "torch" in makers and config.threads:
        import torch

        torch.set_num_threads(config.threads)
    if "onnx" in makers:
        makers["onnx"] = functools.partial(makers["onnx"], threads=config.threads)
    return makers, skipped


# ---- time ----------------------------------------------------------------------------------------------------


def seconds_of(run: Callable, times: int = 1) -> float:
    """Returns the seconds per call, averaged over several calls in a row."""
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def time_interleaved(runs: dict[str, Callable], rounds: int, sample: float, limit: float) -> dict[str, list[float]]:
    """Measures the seconds per call of each program in each round, after compilation."""
    once = {name: min(seconds_of(run), seconds_of(run)) for name, run in runs.items()}
    times = {name: max(1, math.ceil(sample / seconds)) for name, seconds in once.items()}
    rounds = max(3, min(rounds, int(limit / sum(once[name] * times[name] for name in runs))))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if times[name] > 1:
                run()  # caches and threads as they are in a row of calls
            seconds[name].append(seconds_of(run, times[name]))
    return seconds


def measure(row: Row, makers: dict[str, Callable], config: Config) -> tuple[list[dict], dict[str, str]]:
    """Makes one measurement per mode of a row, and says what is wrong with peers that are not timed."""
    problem = base.draw(row, config.seed)
    reference = gate.Reference(problem)
    ready, first, errors, wrong = {}, {}, {}, {}
    for name, make in makers.items():
        try:  # a peer that breaks is told of, and does not end the run
            made = make(problem)
            runs = base.jax_runs(made, problem) if isinstance(made, Program) else made
            first[name] = {}
            for mode in ("forward", "grad", "train"):
                if mode == "train":  # torch's step changes its weights, so what is checked comes before
                    errors[name] = gate.relative_errors(runs, reference)
                if mode in row.modes and mode in runs.modes:
                    first[name][mode] = seconds_of(runs.modes[mode])
        except Exception as error:
            wrong[name] = f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
            continue
        bad = {leaf: error for leaf, error in errors[name].items() if not error <= TOLERANCE}
        if bad:
            wrong[name] = "wrong by " + ", ".join(f"{error:.1e} in {leaf}" for leaf, error in bad.items())
        else:
            ready[name] = runs
    quick = config.quick or config.smoke
    sample, limit = (SAMPLE_SECONDS / 4, MODE_SECONDS / 4) if quick else (SAMPLE_SECONDS, MODE_SECONDS)
    measurements = []
    for mode in row.modes:
        programs = {name: runs.modes[mode] for name, runs in ready.items() if mode in runs.modes}
        if "rnnjax" not in programs:
            break
        seconds = time_interleaved(programs, 3 if quick else config.rounds, sample, limit)
        medians = {name: float(np.median(values)) for name, values in seconds.items()}
        measurements.append(
            {
                "row": row.name,
                **{field: getattr(row, field) for field in ("kind", "cell", "batch", "hidden", "steps")},
                "mode": mode,
                "flops": row.flops(mode),
                "medians": medians,
                "rounds": seconds,
                "compile_seconds": {name: max(0.0, first[name][mode] - medians[name]) for name in programs},
                "errors": {name: errors[name] for name in programs},
                "variants": {name: ready[name].variant for name in programs if ready[name].variant},
            }
        )
    return measurements, wrong


def measure_ceiling(size: int, makers: dict[str, Callable], repetitions: int = 10) -> dict[str, float]:
    """Measures GFLOP/s of a float32 product of square matrices, the best of several runs, in JAX and in torch."""
    a = jax.random.normal(jax.random.key(0), (size, size))
    product = jax.jit(jnp.matmul)

    def run():
        jax.block_until_ready(product(a, a))

    run()
    ceiling = {"jax": 2e-9 * size**3 / min(seconds_of(run) for _ in range(repetitions))}
    if "torch" in makers:
        from experiments.benchmarks.peers import torch_peer

        ceiling["torch"] = 1e-9 * torch_peer.ceiling(size, repetitions)
    return ceiling


# ---- the run -------------------------------------------------------------------------------------------------


def run_rows(config: Config, makers: dict[str, Callable]) -> tuple[list[dict], list[str]]:
    """Runs all measurements; returns them and a line for each row or peer that was not timed."""
    rows = make_rows(config)
    if not rows:
        raise ValueError(f"expected --only and --cells to leave some rows, got {config.only!r} and {config.cells}.")
    budget = 60 * (min(config.minutes, 0.8) if config.quick else config.minutes)
    began = time.perf_counter()
    measurements: list[dict] = []
    untimed: list[str] = []
    with tqdm(rows, desc=NAME, unit="row") as bar:
        for done, row in enumerate(bar):
            elapsed = time.perf_counter() - began
            if done and elapsed * (done + 1) / done > budget:
                dropped = ", ".join(row.name for row in rows[done:])
                untimed.append(f"OUT OF TIME, {len(rows) - done} of {len(rows)} rows dropped: {dropped}")
                bar.write(untimed[-1])
                break
            bar.set_postfix_str(row.name)
            having = {peer.name for peer in peers.PEERS if peer.has(row)}
            measured, wrong = measure(row, {name: make for name, make in makers.items() if name in having}, config)
            measurements += measured
            for name, what in wrong.items():
                untimed.append(f"NOT TIMED: {name} in {row.name}: {what}")
                bar.write(untimed[-1])
    return measurements, untimed


def describe(config: Config, load: float, ceiling: dict[str, float], skipped: dict[str, str]) -> dict:
    """Describes the machine, its load before the run, versions, ceiling and peers left out."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "device": str(jax.devices()[0].device_kind),
        "cpu_count": os.cpu_count(),
        "cpus_used": available,
        "threads": config.threads,
        "load_before": round(load, 2),
        "xla_flags": os.environ.get("XLA_FLAGS", "").strip(),
        "malloc_keep": config.malloc_keep,
        "versions": versions,
        "ceiling_gflops": {name: round(value, 1) for name, value in ceiling.items()},
        "skipped": skipped,
    }


def main(config: Config) -> dict:
    """Checks and times every row, writes the run's folder, and returns the headline."""
    began = time.perf_counter()
    if jax.default_backend() != "cpu":
        raise ValueError(f"expected JAX to run on the CPU, got {jax.default_backend()}; set JAX_PLATFORMS=cpu.")
    if set(config.cells) - set(base.CELLS):
        raise ValueError(f"expected --cells to be some of {', '.join(base.CELLS)}, got {', '.join(config.cells)}.")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    makers, skipped = load_peers(config)
    folder = report.new_run_folder(config.out, NAME)
    report.write_config(folder, config)
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # the peers need it
        size = 256 if config.smoke else 2048
        ceiling = measure_ceiling(size, makers)
        measurements, untimed = run_rows(config, makers)
        again = measure_ceiling(size, makers)
    ceiling = {name: max(value, again[name]) for name, value in ceiling.items()}
    facts = describe(config, load, ceiling, skipped)
    untimed = [f"SKIPPED: {name}: {why}" for name, why in skipped.items()] + untimed
    if load > BUSY:
        untimed.append(f"A BUSY MACHINE: load {load:.1f} before the run; no number of it can be trusted, least torch's")
    headline = recurrence_report.headline(measurements)
    result = {"headline": headline, **facts, "not_timed": untimed, "measurements": measurements}
    (folder / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    recurrence_report.write(folder, result)
    cli.result_line(NAME, config.seed, time.perf_counter() - began, not_timed=len(untimed), **headline)
    return headline


if __name__ == "__main__":
    prog = f"python -m experiments.benchmarks.{NAME}"
    cli.main_guard(
        lambda: main(prepare(cli.parse(Config, prog=prog, description=__doc__, args=sys.argv[1:]))), prog=prog
    )
