"""A batch split over devices: the same loss, the same update, on one device and on two."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, normal, random_params

import rnnjax

T, B, F, H = 5, 4, 3, 7
LSTM = rnnjax.lstm(F, H)
LENGTHS = np.array([5, 3, 0, 4])


def loss_fn(params, batch, *, key):
    """Masked, so that devices have different counts."""
    del key
    xs, lengths = batch
    _, ys = rnnjax.unroll(LSTM, params, xs, lengths=lengths)
    parts = rnnjax.losses.SumCount(jnp.sum(ys**2), jnp.float32(jnp.sum(lengths)))
    total = rnnjax.losses.SumCount(jnp.sum(ys), jnp.float32(ys.size))
    return parts, {"total": total, "mean": jnp.sum(jnp.abs(ys)) / jnp.maximum(parts.count, 1)}


def stream_loss(params, carry, xs, *, key):
    del key
    carry, ys = rnnjax.unroll(LSTM, params, xs, carry)
    parts = rnnjax.losses.SumCount(jnp.sum(ys**2), jnp.float32(ys[..., 0].size))
    return carry, (parts, {"mean": jnp.mean(ys)})


def updates(devices):
    """Two updates with a batch and two with a stream, split over devices, None for as they are."""
    adagrad = optax.adagrad(0.1)
    params, batch = random_params(LSTM), (normal(1, T, B, F), LENGTHS)
    carry = LSTM.initial_carry((B,))
    plain, stream = loss_fn, stream_loss
    if devices is not None:
        plain = rnnjax.training.split_batch(loss_fn, batch_axes=(1, 0), devices=devices)
        stream = rnnjax.training.split_batch(stream_loss, batch_axes=1, carry_axes=0, devices=devices)
    state = rnnjax.training.init_state(params, adagrad, key=jax.random.key(0))
    step, stream_step = (jax.jit(rnnjax.training.make_train_step(loss, adagrad)) for loss in (plain, stream))
    found = []
    for n in range(4):
        state, metrics = step(state, batch) if n < 2 else stream_step(state._replace(carry=carry), batch[0])
        carry = carry if n < 2 else state.carry
        found.append((state.params, state.carry, metrics))
        state = state._replace(carry=None)
    return found


@pytest.mark.slow
def test_one_device_is_the_plain_loss():
    assert_close(updates(jax.devices()[:1]), updates(None), rtol=1e-5, atol=1e-6)


def main_on_two_devices():
    """Run in a process of its own, since devices are made when JAX starts."""
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_platforms", "cpu")
    assert_close(updates(jax.devices()), updates(None), rtol=1e-5, atol=1e-6)
    split = rnnjax.training.split_batch(loss_fn, batch_axes=(1, 0))
    text = jax.jit(jax.grad(lambda p, b: split(p, b, key=None)[0].sum)).lower(
        random_params(LSTM), (normal(1, T, B, F), LENGTHS)
    )
    assert "all-reduce" in text.compile().as_text()

    def keyed(params, batch, *, key):
        return rnnjax.losses.SumCount(jnp.sum(params * jax.random.normal(key, batch.shape)), jnp.float32(batch.size))

    each = rnnjax.training.split_batch(keyed)(jnp.ones(()), jnp.zeros(2), key=jax.random.key(3))
    draws = [jax.random.normal(jax.random.fold_in(jax.random.key(3), device), (1,)) for device in range(2)]
    assert_close(each.sum, draws[0][0] + draws[1][0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"batch on axis 1 to be a multiple of 2 devices, got shape \(5, 3, 3\)"):
        split(random_params(LSTM), (normal(1, T, 3, F), LENGTHS), key=None)
    print("two devices agree")


@pytest.mark.slow
def test_two_devices_are_one():
    here = Path(__file__).parent
    paths = (here, here.parent / "support", here.parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    code = "import test_devices; test_devices.main_on_two_devices()"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().endswith("two devices agree"), done.stderr


def test_a_batch_without_that_axis():
    with pytest.raises(
        ValueError, match=r"expected the batch on axis 3 to be a multiple of 1 devices, got shape \(5, 4, 3\)"
    ):
        rnnjax.training.split_batch(loss_fn, batch_axes=3, devices=jax.devices()[:1])(
            random_params(LSTM), (normal(1, T, B, F), LENGTHS), key=None
        )
