"""Reports how a training step scales over devices: timed on cores of this machine, compiled and estimated for TPUs.

    python -m experiments.benchmarks.scaling        five minutes on two CPU cores; --smoke: a minute

The step is that of a character model: two LSTM layers under a softmax, Adam. Three kinds of numbers are kept apart:

- timed: milliseconds of a step on one and two cores of this machine;
- compiled: cycles and bytes of collectives, read from programs that XLA's compiler for TPUs makes for meshes that need
  not be there (`pip install libtpu`, of the version of jaxlib; without it this part is left out);
- estimated: milliseconds that follow from them: cycles at the clock of the chip, and bytes over one link of the ring,
  in one direction, after the hops of the mesh, nothing hidden behind anything.
"""

import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no device is held

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from tqdm import tqdm

import rnnjax
from experiments.benchmarks.hlo import Program
from experiments.lib import cli, report
from rnnjax.data import read_text

NAME = "scaling"
LETTERS, ROOT = 65, Path(__file__).parents[2]
# Google's numbers of a v5e: clock, bytes a second of a link in one direction, and a second of a hop of the ring.
CLOCK, LINK, HOP = 1.5e9, 45e9, 1e-6


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    batch: int = 32  # sequences of a timed step, and of each TPU where the batch grows with the mesh
    hidden: int = 256  # units of a layer that is timed
    tpu_hidden: int = 1024  # units of a layer on TPUs
    wide: int = 4096  # units of a layer that is split over eight TPUs
    steps: int = 128  # characters of a sequence
    rounds: int = 5  # of timing; 0 for none
    compiled_from: str = ""  # result.json of a run whose compiled part is taken over
    smoke: bool = False  # small and few
    seed: int = 0
    out: str = ""  # folder of the run; runs/scaling/<time> by default


class Task(NamedTuple):
    """A training step, and the shapes that it takes."""

    step: Any  # (state, batch) -> (state, metrics)
    init: Any  # () -> state
    batch: jax.ShapeDtypeStruct  # ids [T + 1, B]


def make_task(hidden: int, batch: int, steps: int, mesh: Mesh | None = None) -> Task:
    """Makes the update of a character model, its units split over an axis "model" of the mesh if there is one."""
    cells = [rnnjax.lstm(LETTERS, hidden), rnnjax.lstm(hidden, hidden)]
    if mesh is not None and "model" in mesh.shape:
        cells = [rnnjax.training.split_units(cell, mesh) for cell in cells]
    reader = rnnjax.encoder(cells)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))

    def loss_fn(params, ids, *, key):
        _, ys = reader.apply(params[0], jax.nn.one_hot(ids[:-1], LETTERS))
        return rnnjax.losses.sequence_loss(jnp.matmul(ys, params[1]), ids[1:])

    def init():
        key = jax.random.key(0)
        return rnnjax.training.init_state((reader.init(key), jnp.zeros((hidden, LETTERS))), optimizer, key=key)

    step = rnnjax.training.make_train_step(loss_fn, optimizer)
    return Task(step, init, jax.ShapeDtypeStruct((steps + 1, batch), jnp.int32))


# ---- timed ---------------------------------------------------------------------------------------------------


def time_here(cores: int, devices: int, hidden: int, batch: int, steps: int, seconds: float) -> float:
    """Times a step on so many devices made of so many cores: the median of its milliseconds. For a new process."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    jax.config.update("jax_num_cpu_devices", devices)
    task, mesh = make_task(hidden, batch, steps), Mesh(jax.devices(), ("data",))
    state = rnnjax.training.shard(task.init(), mesh)
    ids = np.random.default_rng(0).integers(0, LETTERS, task.batch.shape, np.int32)
    batch_of = rnnjax.training.shard(ids, mesh, P(None, "data"))
    step, milliseconds = jax.jit(task.step), []
    began = time.perf_counter()
    while len(milliseconds) < 7 or time.perf_counter() - began < seconds:
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, batch_of))
        milliseconds.append(1000 * (time.perf_counter() - start))
    return statistics.median(milliseconds[2:])  # the first compiles


def timed(config: Config) -> list[dict[str, Any]]:
    """Times every setting in processes of their own, one after the other, several times over."""
    available = len(os.sched_getaffinity(0))
    settings = [(1, 1)] + [(cores, n) for cores in (2, 4, 8) if cores <= available for n in (1, cores)]
    found: dict[tuple[int, int], list[float]] = {setting: [] for setting in settings}
    for cores, devices in tqdm(settings * config.rounds, desc="timed", unit="process"):
        settings_of = (cores, devices, config.hidden, config.batch, config.steps, 0.1 if config.smoke else 6.0)
        code = f"from experiments.benchmarks import scaling; print(scaling.time_here(*{settings_of}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"expected a step on {devices} devices to run, got {done.stderr.strip().splitlines()[-1]}")
        found[cores, devices].append(float(done.stdout))
    alone = statistics.median(found[1, 1])
    return [
        {
            "cores": cores,
            "devices": devices,
            "ms": statistics.median(each),
            "from": min(each),
            "to": max(each),
            "gain": alone / statistics.median(each),
        }
        for (cores, devices), each in found.items()
    ]


# ---- compiled and estimated ----------------------------------------------------------------------------------


class Plan(NamedTuple):
    """What is compiled for TPUs."""

    name: str
    topology: tuple[int, int]  # of a v5e
    devices: int
    hidden: int
    batch: int  # of all devices
    axis: str  # what is split: "data" or "model"


def make_plans(config: Config) -> list[Plan]:
    """Batches that grow with the mesh, a batch that does not, and layers too wide for one chip."""
    meshes = {1: (2, 2), 8: (2, 4), 256: (16, 16)}
    fixed = 256 * max(1, config.batch // 8)
    data = [
        Plan(name, topology, n, config.tpu_hidden, batch, "data")
        for name, batch_of in (("batch of each device", lambda n: config.batch * n), ("batch of all", lambda n: fixed))
        for n, topology in meshes.items()
        for batch in [batch_of(n)]
    ]
    wide = [Plan("wide layers", meshes[n], n, config.wide, config.batch, "model") for n in (1, 8)]
    return [plan for plan in data + wide if not config.smoke or plan.devices == 8]


def compile_plan(plan: Plan, steps: int) -> Any:
    """Compiles the step for a mesh of TPUs."""
    described = topologies.get_topology_desc(platform="tpu", topology_name="v5e:{}x{}".format(*plan.topology))
    mesh = Mesh(described.devices[: plan.devices], (plan.axis,))
    task = make_task(plan.hidden, plan.batch, steps, mesh)
    state, by_batch = jax.eval_shape(task.init), plan.axis == "data"
    specs = jax.tree.map(lambda leaf: P(), state) if by_batch else rnnjax.training.unit_specs(state, mesh)

    def placed(leaf: Any, spec: P) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    state = jax.tree.map(placed, state, specs)
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jax.jit(task.step, out_shardings=(places, None))  # as `fit` does
    return step.lower(state, placed(task.batch, P(None, "data") if by_batch else P())).compile()


def estimate(plan: Plan, program: Program) -> dict[str, Any]:
    """Reads cycles and collectives from a program; what they take, in milliseconds."""
    [cycles] = program.cycles(per_run=True)
    sizes = program.collectives()
    moves = sum(program.moves().values())
    around = 2 * (plan.devices - 1) / plan.devices  # a ring adds up and hands out
    hops = 2 * sum(size - 1 for size in plan.topology) if plan.devices > 1 else 0
    computing = cycles / CLOCK
    moving = around * sum(sizes.values()) / LINK + moves * hops * HOP
    return {
        **plan._asdict(),
        "cycles": cycles,
        "collective_bytes": sizes,
        "in_loops": program.collectives(in_loops=True),
        "moves": moves,
        "computing_ms": 1000 * computing,
        "moving_ms": 1000 * moving,
        "share_computing": computing / (computing + moving),
    }


def compiled(config: Config) -> list[dict[str, Any]]:
    """Compiles every plan."""
    rows = []
    for plan in tqdm(make_plans(config), desc="compiled", unit="program"):
        program = compile_plan(plan, config.steps)
        memory = program.memory_analysis()
        used = memory.argument_size_in_bytes + memory.temp_size_in_bytes
        rows.append({**estimate(plan, Program(program.as_text())), "gib": used / 2**30})
    return rows


# ---- the run -------------------------------------------------------------------------------------------------


def main(config: Config) -> dict[str, Any]:
    """Times, compiles, writes the run's folder, and returns the headline."""
    began = time.perf_counter()
    if config.smoke:
        small = {"batch": 8, "hidden": 16, "tpu_hidden": 128, "wide": 256, "steps": 8, "rounds": 1}
        config = dataclasses.replace(config, **small)
    folder = report.new_run_folder(config.out, NAME)
    report.write_config(folder, config)
    load = os.getloadavg()[0]  # of other programs
    here = timed(config) if config.rounds else []
    if config.compiled_from:
        there = json.loads(read_text(config.compiled_from))["compiled"]
    else:
        there = compiled(config) if importlib.util.find_spec("libtpu") else []
    sections = {"Timed: cores of this machine": timed_table(config, here, load) if here else "Not timed."}
    sections["Compiled and estimated: a TPU v5e"] = compiled_table(there) if there else "Not compiled: no libtpu."
    (folder / "result.json").write_text(json.dumps({"timed": here, "compiled": there}, indent=1) + "\n")
    report.write_report(folder, "A training step on many devices", sections)
    print(*sections.values(), sep="\n\n")
    headline = {f"gain_{row['cores']}_cores_{row['devices']}_devices": round(row["gain"], 3) for row in here[1:]}
    headline |= {
        f"share_computing_{row['devices']}_{row['name'].replace(' ', '_')}": round(row["share_computing"], 3)
        for row in there
        if row["devices"] > 1
    }
    cli.result_line(NAME, config.seed, time.perf_counter() - began, **headline)
    return headline


def timed_table(config: Config, rows: list[dict[str, Any]], load: float) -> str:
    """Milliseconds of a step, and the load of the machine before, which should be near 0."""
    header = ["cores", "devices", "ms a step", "rounds from", "to", "times as fast as one core"]
    lines = [
        [row["cores"], row["devices"], *(f"{row[name]:.1f}" for name in ("ms", "from", "to")), f"{row['gain']:.2f}"]
        for row in rows
    ]
    shape = f"B {config.batch}, H {config.hidden}, T {config.steps}, two layers, jax {jax.__version__}"
    before = f"{shape}; medians of {config.rounds} rounds; load average before them {load:.1f}."
    return f"{before}\n\n{report.grid(header, lines)}"


def compiled_table(rows: list[dict[str, Any]]) -> str:
    """Compiled counts first, then what is estimated of them."""
    header = [
        "what grows",
        "devices",
        "B",
        "H",
        "split",
        "Mcycles",
        "GiB",
        "MB of collectives",
        "in loops",
        "collectives",
    ]
    header += ["estimated ms computing", "ms moving", "share computing"]
    lines = []
    for row in rows:
        line = [row["name"], row["devices"], row["batch"], row["hidden"], row["axis"], f"{row['cycles'] / 1e6:.2f}"]
        moved, looped = (sum(row[name].values()) / 1e6 for name in ("collective_bytes", "in_loops"))
        line += [f"{row['gib']:.2f}", f"{moved:.1f}", f"{looped:.1f}", row["moves"]]
        lines.append([*line, f"{row['computing_ms']:.2f}", f"{row['moving_ms']:.2f}", f"{row['share_computing']:.0%}"])
    return report.grid(header, lines)


if __name__ == "__main__":
    prog = f"python -m experiments.benchmarks.{NAME}"
    cli.main_guard(lambda: main(cli.parse(Config, prog=prog, description=__doc__, args=sys.argv[1:])), prog=prog)
