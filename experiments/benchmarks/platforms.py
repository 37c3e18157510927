"""Compares what XLA's compilers for TPUs and GPUs make of rnnjax.scan and jax.lax.scan, on a machine that has neither.

    python -m experiments.benchmarks.platforms      ten minutes on two CPU cores; --smoke: a minute

Needs `pip install libtpu` and, with --no-deps, `jax-cuda13-plugin jax-cuda13-pjrt`, of the version of jaxlib. Programs
are compiled, never run: kernels, cycles and bytes are the compilers' own counts, and no running time is measured. In
each pair `rnnjax.scan` comes before `jax.lax.scan`. Cycles of a run count the body of a loop once per iteration.
"""

import dataclasses
import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no device is held

import jax
import jax.numpy as jnp
import optax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from tqdm import tqdm

import rnnjax
from experiments.benchmarks.hlo import Program
from experiments.lib import cli, report

NAME = "platforms"
SCANS = {"rnnjax": rnnjax.scan, "lax": jax.lax.scan}
TARGETS = ("h100", "v5e", "v6e")
H100 = Path(__file__).with_name("h100.txtpb")  # the compiler's description of the chip


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    targets: tuple[str, ...] = TARGETS
    meshes: tuple[int, ...] = (1, 4, 8)  # devices over which the batch is split; 1 is no mesh
    only: str = ""  # only programs whose name has this in it
    batch: int = 64
    hidden: int = 512
    steps: int = 128
    smoke: bool = False  # the LSTM alone, small, on one device of each
    seed: int = 0
    out: str = ""  # folder of the run; runs/platforms/<time> by default


@dataclasses.dataclass(frozen=True)
class Task:
    """A program: a scalar function of parameters and a batch, to be differentiated with respect to the parameters."""

    name: str
    loss: Callable[[Callable, Any, Any], Any]  # (scan, params, batch) -> scalar
    params: Any  # shapes
    batch: Any  # shapes [T, B, ...]


def make_tasks(config: Config) -> Iterator[Task]:
    """Makes the programs, by name."""
    size, xs = config.hidden, _floats(config.steps, config.batch, config.hidden)
    cells = {
        "lstm": rnnjax.lstm(size, size),
        "lstm bfloat16": rnnjax.lstm(size, size, dtype=jnp.bfloat16),
        "gru": rnnjax.gru(size, size),
        "rnn": rnnjax.rnn(size, size),
        "simple_gru": rnnjax.simple_gru(size, size),
        "peephole_lstm": rnnjax.peephole_lstm(size, size),
        "cifg_lstm": rnnjax.cifg_lstm(size, size),
        "mgu": rnnjax.mgu(size, size),
        "layer_norm_lstm": rnnjax.layer_norm_lstm(size, size),
        "layer_norm_gru": rnnjax.layer_norm_gru(size, size),
        "two layers": rnnjax.stack([rnnjax.lstm(size, size), rnnjax.lstm(size, size)]),
    }
    for name, cell in cells.items():
        yield Task(name, functools.partial(_loss_of_cell, cell, config.batch), _shapes(cell), xs)
    yield _attention_task(config)
    yield _char_lm_task(config)


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def _shapes(cell: rnnjax.Cell) -> Any:
    return jax.eval_shape(cell.init, jax.random.key(0))


def _loss_of_cell(cell: rnnjax.Cell, batch: int, scan: Callable, params: Any, xs: Any) -> Any:
    _, ys = scan(lambda carry, x: cell.apply(params, carry, x), cell.initial_carry((batch,)), xs)
    return jnp.mean(ys**2)


def _attention_task(config: Config) -> Task:
    """Makes an LSTM with additive attention over 32 positions in the loop."""
    size, batch = config.hidden // 2, config.batch
    cell = rnnjax.gru(2 * size, size)

    def loss(scan, params, batch_of):
        xs, memory = batch_of
        memory = jnp.swapaxes(memory, 0, 1)  # [B, S, A]
        keys = memory @ params["keys"]

        def step(h, x):
            scores = jnp.tanh(keys + (h @ params["query"])[:, None]) @ params["score"]
            context = jnp.einsum("bs,bsa->ba", jax.nn.softmax(scores), memory)
            carry, y = cell.apply(params["cell"], rnnjax.GRUCarry(h), jnp.concatenate([x, context], -1))
            return carry.h, y

        return jnp.mean(scan(step, jnp.zeros((batch, size)), xs)[1] ** 2)

    square = _floats(size, size)
    params = {"cell": _shapes(cell), "keys": square, "query": square, "score": _floats(size)}
    return Task("attention decoder", loss, params, (_floats(config.steps, batch, size), _floats(32, batch, size)))


def _char_lm_task(config: Config) -> Task:
    """Makes a character model: an Adam update of two layers under a softmax over 65 characters."""
    size, letters, batch = config.hidden, 65, config.batch
    cell = rnnjax.stack([rnnjax.lstm(letters, size), rnnjax.lstm(size, size)])

    def loss(scan, params, ids):
        xs = jax.nn.one_hot(ids, letters)
        _, ys = scan(lambda carry, x: cell.apply(params["cell"], carry, x), cell.initial_carry((batch,)), xs[:-1])
        logits = ys @ params["w"] + params["b"]
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, ids[1:]).mean()

    params = {"cell": _shapes(cell), "w": _floats(size, letters), "b": _floats(letters)}
    return Task("char_lm", loss, params, jax.ShapeDtypeStruct((config.steps + 1, batch), jnp.int32))


def devices_of(target: str, count: int) -> list[Any]:
    """Returns devices of a topology that is described, not present."""
    if target == "h100":
        described = topologies.get_topology_desc(
            platform="cuda", topology_name="h100", topology=f"1x1x{count}", target_config=H100.read_text()
        )
    else:
        described = topologies.get_topology_desc(platform="tpu", topology_name=f"{target}:2x{max(2, count // 2)}")
    return list(described.devices[:count])


def compile_task(task: Task, scan: Callable, devices: list[Any]) -> tuple[Any, float]:
    """Compiles the gradient of a task; returns the program and the seconds it took."""
    everywhere, split = SingleDeviceSharding(devices[0]), SingleDeviceSharding(devices[0])
    if len(devices) > 1:
        mesh = Mesh(devices, ("batch",))
        everywhere, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(None, "batch"))

    def placed(tree, sharding):
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)

    function = jax.jit(jax.value_and_grad(functools.partial(task.loss, scan)))
    lowered = function.lower(placed(task.params, everywhere), placed(task.batch, split))
    begin = time.perf_counter()
    return lowered.compile(), time.perf_counter() - begin


def measure(task: Task, target: str, count: int) -> dict[str, Any]:
    """Makes a row of the table: what each scan compiles to."""
    row: dict[str, Any] = {"program": task.name, "target": target, "devices": count}
    for name, scan in SCANS.items():
        compiled, seconds = compile_task(task, scan, devices_of(target, count))
        program = Program(compiled.as_text())
        row[name] = {
            "compile_seconds": round(seconds, 2),
            "temporary_mib": round(compiled.memory_analysis().temp_size_in_bytes / 2**20, 1),
            "kernels_a_step": program.launches(),
            "cycles_a_step": program.cycles(per_run=False),
            "cycles_a_run": sum(program.cycles(per_run=True)),
            "collective_bytes": program.collectives(),
            "collective_bytes_in_loops": program.collectives(in_loops=True),
        }
    return row


def table(rows: list[dict[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Makes the header and the lines of a table, `ours / lax` in each cell."""
    header = ["program", "target", "devices", "compile s", "temporary MiB", "kernels a step", "cycles a step"]
    header += ["cycles a run", "MB of collectives", "in loops"]

    def pair(row, key, show=str):
        return f"{show(row['rnnjax'][key])} / {show(row['lax'][key])}"

    def steps(counts):
        return " + ".join(f"{count:,}" for count in counts)

    def moved(by_kind):
        return f"{sum(by_kind.values()) / 1e6:.2f}"

    lines = []
    for row in rows:
        line = [row["program"], row["target"], row["devices"], pair(row, "compile_seconds"), pair(row, "temporary_mib")]
        if row["target"] == "h100":
            line += [pair(row, "kernels_a_step", steps), "", ""]
        else:
            line += ["", pair(row, "cycles_a_step", steps), pair(row, "cycles_a_run", "{:,}".format)]
        if row["devices"] > 1:
            line += [pair(row, "collective_bytes", moved), pair(row, "collective_bytes_in_loops", moved)]
        else:
            line += ["", ""]
        lines.append(line)
    return header, lines


def main(config: Config) -> dict[str, Any]:
    """Compiles every program for every target; returns the headline of the run."""
    began = time.perf_counter()
    if config.smoke:
        config = dataclasses.replace(config, meshes=(1,), only="lstm", batch=8, hidden=128, steps=16)
    folder = report.new_run_folder(config.out, NAME)
    report.write_config(folder, config)
    tasks = [task for task in make_tasks(config) if config.only in task.name][: 1 if config.smoke else None]
    todo = [(task, target, count) for target in config.targets for count in config.meshes for task in tasks]
    rows = []
    for task, target, count in (bar := tqdm(todo, desc=NAME, unit="program")):
        bar.set_postfix_str(f"{task.name}, {target} x {count}")
        rows.append(measure(task, target, count))
        (folder / "result.json").write_text(json.dumps(rows, indent=1) + "\n")
    header, lines = table(rows)
    text = report.grid(header, lines)
    report.write_report(folder, "What other compilers make of a loop", {"rnnjax.scan / jax.lax.scan": text})
    print(text)
    headline = {"programs": len(rows)}
    cli.result_line(NAME, config.seed, time.perf_counter() - began, **headline)
    return headline


if __name__ == "__main__":
    prog = f"python -m experiments.benchmarks.{NAME}"
    cli.main_guard(lambda: main(cli.parse(Config, prog=prog, description=__doc__, args=sys.argv[1:])), prog=prog)
