"""A linear model, its batches, and comparisons, for the tests of training."""

import functools
import json
from typing import NamedTuple

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from rnnjax.training import fit, init_state, make_train_step

B, F = 7, 3
TRUTH = np.array([0.5, -2.0, 1.0], np.float32)


class Batch(NamedTuple):
    """Inputs and targets of a linear model."""

    x: np.ndarray  # [B, F]
    y: np.ndarray  # [B]


def batches(step):
    rng = np.random.default_rng(step)
    x = rng.normal(size=(B, F)).astype(np.float32)
    return Batch(x, x @ TRUTH + rng.normal(size=B).astype(np.float32) / 5)


def linear_loss(params, batch, *, key):
    return rnnjax.losses.masked_mean((batch.x @ params["w"] + params["b"] - batch.y) ** 2)


def noisy_loss(params, batch, *, key):
    kept = jax.random.bernoulli(key, 0.7, batch.x.shape)
    return linear_loss(params, batch._replace(x=jnp.where(kept, batch.x, 0)), key=key)


def first_params():
    return {"w": jnp.array([0.3, 0.1, -0.2]), "b": jnp.float32(0.7)}


def first_state(optimizer, seed=0):
    return init_state(first_params(), optimizer, key=jax.random.key(seed))


SGD = optax.sgd(0.1)
STEP = make_train_step(linear_loss, SGD)


def run(step_fn=STEP, optimizer=SGD, **options):
    options = {"steps": 11, "progress": False, **options}
    return fit(step_fn, first_state(optimizer), options.pop("batches", batches), **options)


assert_close = functools.partial(helpers.assert_close, rtol=1e-5, atol=1e-6)


def assert_finite(tree):
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(tree))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def losses_of(path):
    return {line["step"]: line["loss"] for line in lines(path) if "loss" in line}


def interrupt_at(step):
    def callback(snapshot):
        if snapshot.step >= step:
            raise KeyboardInterrupt

    return callback


def poisoned_batches(bad):
    def of(step):
        batch = batches(step)
        return batch._replace(y=batch.y * np.nan) if step >= bad else batch

    return of


def exploding(bad):
    """A learning rate that becomes infinite at one update: its loss is finite, its parameters are not."""
    optimizer = optax.sgd(lambda count: jnp.where(count == bad, jnp.inf, 0.1))
    return make_train_step(linear_loss, optimizer), optimizer
