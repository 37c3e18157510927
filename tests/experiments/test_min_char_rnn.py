"""The preset min-char-rnn against its NumPy twin, in float64.

The training of this program is chaotic: a change of the last bit in the start grows to 1e-4 of the loss within the
first hundred iterations, so that no second implementation, and not the twin itself, can follow a free run for long
(the last test shows it). What can be held, and is held here, is every single one of the first 1,000 iterations: from
the twin's own state before it, the same loss and the same state after it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from min_char_rnn_twin import Twin, initial_weights

import rnnjax
from experiments.char_lm import __main__ as char_lm
from experiments.char_lm.model import Params, make_model
from experiments.char_lm.presets import PRESETS
from experiments.lib.language import Stream, first_stream, make_loss
from experiments.lib.optimization import make_optimizer

CONFIG = char_lm.Config(**PRESETS["min-char-rnn"])
HIDDEN, WINDOW = 100, 25


@pytest.fixture(scope="module")
def ids():
    vocabulary, training, _ = char_lm.load(CONFIG)
    assert training.max() < len(vocabulary.symbols)
    return training


def params_of(weights):
    rnn = rnnjax.RNNParams(jnp.asarray(weights.w_xh.T), jnp.asarray(weights.w_hh.T), jnp.asarray(weights.b_h[:, 0]))
    return Params(rnnjax.Layers((rnn,)), jnp.asarray(weights.w_hy.T), jnp.asarray(weights.b_y[:, 0]))


def program_state(twin, optimizer):
    """The twin's state as the program has it: weights, memory of Adagrad, hidden state, smoothed mean loss."""
    hidden = rnnjax.Layers((rnnjax.RNNCarry(jnp.asarray(twin.h.T)),))
    stream = Stream(hidden, jnp.asarray([twin.smooth_loss / WINDOW]))
    state = rnnjax.training.init_state(params_of(twin.weights), optimizer, key=jax.random.key(0), carry=stream)
    memory = params_of(twin.memory)
    clip, rss, scale = state.opt_state[0]
    return state._replace(opt_state=((clip, rss._replace(sum_of_squares=memory), scale), *state.opt_state[1:]))


def program(vocabulary_size):
    """The preset's optimizer and its update, compiled."""
    optimizer = make_optimizer(CONFIG)
    objective = char_lm.OBJECTIVES[CONFIG.objective]
    loss_fn = make_loss(make_model(CONFIG, vocabulary_size))
    return optimizer, jax.jit(rnnjax.training.make_train_step(loss_fn, optimizer, objective=objective))


def relative(a, b):
    return abs(float(a) - float(b)) / abs(float(b))


@pytest.mark.slow
def test_preset_is_the_program():
    assert (CONFIG.cell, CONFIG.layers, CONFIG.hidden) == ("rnn", 1, HIDDEN)
    assert (CONFIG.batch, CONFIG.window, CONFIG.restart_every) == (1, WINDOW, 0)
    assert (CONFIG.sample_every, CONFIG.sample_length, CONFIG.temperature) == (100, 200, 1.0)
    model = make_model(CONFIG, 67)
    params = model.init(jax.random.key(0))
    for w in (params.layers.layers[0].w_x, params.layers.layers[0].w_h, params.w_y):
        assert abs(float(jnp.std(w)) - 0.01) < 1e-3 and abs(float(jnp.mean(w))) < 1e-3
    assert not params.layers.layers[0].b.any() and not params.b_y.any()
    assert model.initial_carry((1,)).layers[0].h.shape == (1, HIDDEN)


@pytest.mark.slow
def test_each_of_the_first_thousand_iterations(ids):
    vocabulary_size = int(ids.max()) + 1
    with jax.enable_x64(True):
        twin = Twin(ids, initial_weights(HIDDEN, vocabulary_size, seed=0))
        optimizer, step = program(vocabulary_size)
        streams = rnnjax.data.make_streams(ids, batch_size=1, steps=WINDOW)
        for iteration in range(1000):
            state, metrics = step(program_state(twin, optimizer), streams.window(iteration))
            stream, loss = state.carry, twin.step()
            assert relative(metrics.loss * WINDOW, loss) < 1e-10, f"loss of iteration {iteration}"
            assert relative(stream.smooth_loss[0] * WINDOW, twin.smooth_loss) < 1e-10, f"smoothed, {iteration}"
            np.testing.assert_allclose(stream.cell.layers[0].h[0], twin.h[:, 0], atol=1e-10)
            for ours, theirs in zip(
                jax.tree.leaves(state.params), jax.tree.leaves(params_of(twin.weights)), strict=True
            ):
                # g / sqrt(g * g + 1e-8) magnifies the rounding of a small first gradient ten thousand times.
                np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.slow
def test_free_run_before_chaos(ids):
    vocabulary_size, iterations = int(ids.max()) + 1, 8
    with jax.enable_x64(True):
        twin = Twin(ids, initial_weights(HIDDEN, vocabulary_size, seed=0))
        optimizer, step = program(vocabulary_size)
        state = program_state(twin, optimizer)
        streams = rnnjax.data.make_streams(ids, batch_size=1, steps=WINDOW)
        for iteration in range(iterations):
            state, metrics = step(state, streams.window(iteration))
            assert relative(metrics.loss * WINDOW, twin.step()) < 1e-4, f"loss of iteration {iteration}"


@pytest.mark.slow
def test_the_twin_cannot_follow_itself(ids):
    vocabulary_size = int(ids.max()) + 1
    weights = initial_weights(HIDDEN, vocabulary_size, seed=0)
    nudged = weights._replace(w_hh=np.nextafter(weights.w_hh, np.inf))
    twin, other = Twin(ids, weights), Twin(ids, nudged)
    apart = [relative(twin.step(), other.step()) for _ in range(400)]
    assert apart[0] < 1e-12 < 1e-4 < max(apart)


def test_stream_wraps_like_the_program():
    text = np.arange(3 * WINDOW + 5) % 7
    twin = Twin(text, initial_weights(11, 7, seed=1))
    streams = rnnjax.data.make_streams(text, batch_size=1, steps=WINDOW)
    for iteration in range(8):
        window = streams.window(iteration)
        position = twin.position
        if position + WINDOW + 1 >= len(text):
            position = 0
        np.testing.assert_array_equal(window.inputs[:, 0], text[position : position + WINDOW])
        np.testing.assert_array_equal(window.targets[:, 0], text[position + 1 : position + WINDOW + 1])
        assert window.starts.tolist() == [position == 0]
        twin.step()


def test_smoothed_loss_starts_from_a_uniform_guess():
    stream = first_stream(make_model(CONFIG, 67), 1, 67)
    assert stream.smooth_loss.shape == (1,)
    assert float(stream.smooth_loss[0]) == pytest.approx(math.log(67))
