"""One of several processes that train together; run by test_processes.py.

    python process_cases.py FOLDER ADDRESS RANK COUNT STEPS DEVICES SECONDS

Each has so many devices, sleeps so many seconds before an update, and writes what it has learned to FOLDER/RANK.npz.
"""

import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import rnnjax
from rnnjax.training import Checkpoints, fit, gather, init_state, make_train_step, shard

T, B, F, H = 7, 12, 4, 5
ADAM, CELL = optax.adam(0.01), rnnjax.lstm(F, H)


def batch_of(step):
    return np.random.default_rng(step).normal(size=(T, B, F)).astype(np.float32)


def loss_fn(params, xs, *, key):
    kept = jax.random.bernoulli(key, 0.8, xs.shape)
    _, ys = rnnjax.unroll(CELL, params, jnp.where(kept, xs, 0))
    return rnnjax.losses.masked_mean((ys[..., :F] - xs) ** 2)


STEP = make_train_step(loss_fn, ADAM)


def first_state():
    return init_state(CELL.init(jax.random.key(1)), ADAM, key=jax.random.key(2))


def train(folder, steps, batches, state, **options):
    """Trains on, from the newest checkpoint if there is one."""
    with Checkpoints(folder / "checkpoints") as checkpoints:
        return fit(
            STEP,
            state,
            batches,
            steps=steps,
            checkpoints=checkpoints,
            checkpoint_every=5,
            metrics_file=folder / "metrics.jsonl",
            resume=True,
            **options,
        )


def main(folder, address, rank, count, steps, devices, seconds):
    jax.config.update("jax_num_cpu_devices", int(devices))
    jax.distributed.initialize(
        address, int(count), int(rank), heartbeat_timeout_seconds=10, shutdown_timeout_seconds=10
    )
    mesh, rank, share = Mesh(jax.devices(), ("data",)), int(rank), B // int(count)
    assert jax.device_count() == int(devices) * int(count)

    def batches(step):
        time.sleep(float(seconds))
        return shard(batch_of(step)[:, rank * share : (rank + 1) * share], mesh, P(None, "data"))

    state = train(Path(folder), int(steps), batches, shard(first_state(), mesh)).state
    assert state.params.w_h.is_fully_addressable == (int(count) == 1)
    np.savez(Path(folder) / f"{rank}.npz", *jax.tree.leaves(gather(state.params)))


if __name__ == "__main__":
    main(*sys.argv[1:])
