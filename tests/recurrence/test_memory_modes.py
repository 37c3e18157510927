"""Truncated backpropagation, memory modes, and the size of programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, equations, noisy, normal, random_params, values_and_gradients, weighted_sum

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")

T, B, F, H = 7, 2, 3, 5
LSTM = rnnjax.lstm(F, H)
PARAMS = random_params(LSTM)
XS = normal(1, T, B, F)
CARRY = noisy(LSTM.initial_carry((B,)), seed=2)


def swap(leaf):
    return jnp.swapaxes(leaf, 0, 1)


# ---- truncated backpropagation and memory --------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3, 11])
def test_tbptt_gradient_is_the_sum_over_its_chunks(steps):
    def truncated(params, xs, carry):
        return rnnjax.tbptt(LSTM, params, xs, carry, steps=steps)

    values, gradients = values_and_gradients(truncated, PARAMS, XS, CARRY)
    assert_close(values, rnnjax.recurrence.unroll_reference(LSTM, PARAMS, XS, CARRY))
    weights = jnp.cos(jnp.arange(T * B * H, dtype=jnp.float32) + 1).reshape(T, B, H)  # those of weighted_sum

    @jax.jit
    def block_gradients(params, xs, carry, weights, is_last):
        def loss(params, xs):
            last, ys = rnnjax.recurrence.unroll_reference(LSTM, params, xs, carry)
            return jnp.sum(ys * weights) + is_last * weighted_sum(last), last

        return jax.grad(loss, (0, 1), has_aux=True)(params, xs)

    carry, total, xs_gradients = CARRY, jax.tree.map(jnp.zeros_like, PARAMS), []
    for start in range(0, T, steps):
        block, is_last = slice(start, start + steps), float(start + steps >= T)
        (of_params, of_xs), carry = block_gradients(PARAMS, XS[block], carry, weights[block], is_last)
        total = jax.tree.map(jnp.add, total, of_params)
        xs_gradients.append(of_xs)
    no_gradient = jax.tree.map(jnp.zeros_like, CARRY)
    assert_close(gradients, (total, jnp.concatenate(xs_gradients), no_gradient))


def test_tbptt_keeps_masks_in_step_with_its_chunks():
    masks = {
        "mask": jnp.asarray(np.random.default_rng(0).random((B, T)) < 0.6),
        "resets": jnp.asarray(np.random.default_rng(1).random((B, T)) < 0.4),
        "time_major": False,
    }
    got = rnnjax.tbptt(LSTM, PARAMS, swap(XS), CARRY, steps=3, **masks)
    assert_close(got, rnnjax.recurrence.unroll_reference(LSTM, PARAMS, swap(XS), CARRY, **masks))


MODES = [
    {"remat": 2},
    {"remat": 3, "reverse": True},
    {"remat": "sqrt", "chunk": 5, "reverse": True},
    {"remat": "step", "chunk": 2},
    {"chunk": 11, "remat": 7, "reverse": True},
]


@functools.cache
def plain_run(reverse):
    return values_and_gradients(functools.partial(masked_run, reverse=reverse), PARAMS, XS, CARRY)


def masked_run(params, xs, carry, **options):
    lengths, resets = jnp.array([6, 7]), jnp.asarray(np.random.default_rng(0).random((T, B)) < 0.3)
    return rnnjax.unroll(LSTM, params, xs, carry, lengths=lengths, resets=resets, **options)


@pytest.mark.slow
@pytest.mark.parametrize("options", MODES, ids=str)
def test_blocks_that_do_not_divide_the_steps_change_nothing(options):
    got = values_and_gradients(functools.partial(masked_run, **options), PARAMS, XS, CARRY)
    assert_close(got, plain_run(options.get("reverse", False)))


@pytest.mark.parametrize("options", [{"remat": "sqrt"}, {"remat": 3}, {"chunk": 2}, {"remat": "step"}], ids=str)
def test_no_steps_in_every_memory_mode(options):
    carry, ys = rnnjax.unroll(LSTM, PARAMS, XS[:0], CARRY, **options)
    assert_close((carry, ys), (CARRY, jnp.zeros((0, B, H))), rtol=0, atol=0)


def test_remat_keeps_less_for_the_backward_pass():
    xs = normal(0, 64, B, F)

    def kept(remat):
        def run(params, xs):
            return jax.vjp(lambda p, x: rnnjax.unroll(LSTM, p, x, remat=remat), params, xs)[1]

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(run, PARAMS, xs)))

    assert kept("sqrt") < kept("step") < kept(None)
    assert kept(16) < kept(2) < kept(None)


# ---- the program ---------------------------------------------------------------------------------------------

PROGRAMS = {
    "plain": {},
    "reverse_with_masks": {"reverse": True, "lengths": jnp.array([7, 3])},
    "remat_step": {"remat": "step"},
    "remat_sqrt": {"remat": "sqrt"},
    "remat_3": {"remat": 3},
    "chunk_3": {"chunk": 3},
}


@pytest.mark.slow
def test_memory_grows_as_the_root_of_the_steps():
    """What the compiled gradient needs beside its arguments and results, of 64 and of 16 times as many steps."""

    def growth(**mode):
        def loss(params, xs):
            return weighted_sum(rnnjax.unroll(LSTM, params, xs, **mode)[0])

        def temporary(steps):
            compiled = jax.jit(jax.grad(loss)).lower(PARAMS, normal(0, steps, B, F)).compile()
            return compiled.memory_analysis().temp_size_in_bytes

        return temporary(16 * 64) / temporary(64)

    assert growth() > 10
    assert growth(remat="sqrt") < 5


@pytest.mark.slow
@pytest.mark.parametrize("gradient", [False, True], ids=["forward", "gradient"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_program_does_not_grow_with_the_steps(name, gradient):
    def run(params, xs):
        return weighted_sum(rnnjax.unroll(LSTM, params, xs, **PROGRAMS[name]))

    run = jax.grad(run) if gradient else run

    def sizes(steps):
        traced = jax.jit(run).trace(PARAMS, normal(0, steps, B, F))
        text = traced.lower().as_text()
        return len(list(equations(traced.jaxpr))), text.count("\n"), len(text)

    # Lengths of one kind: both leave 2 in blocks of 3, and both have a divisor near their root.
    (short_equations, short_lines, short_text), (long_equations, long_lines, long_text) = sizes(35), sizes(704)
    assert long_equations <= short_equations
    assert long_lines <= short_lines
    assert long_text < 1.1 * short_text  # "704" is longer than "35"
