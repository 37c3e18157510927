"""Optimizers and schedules against their formulas, and min-char-rnn's Adagrad against its three lines."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import rnnjax
from rnnjax.training._optimizers import OPTIMIZERS


@pytest.fixture(autouse=True)
def promotion_that_optax_takes():
    """Adam of optax raises a float to an integer power."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def run(optimizer, gradients, start):
    """Parameters after each of the gradients."""
    params, state, path = start, optimizer.init(start), []
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        path.append(np.asarray(params))
    return path


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_trains_a_quadratic_down(name):
    target = jnp.array([1.0, -2.0, 0.5, 3.0, -0.25])
    scale = jnp.array([1.0, 0.3, 2.0, 0.1, 0.7])
    optimizer = rnnjax.training.get_optimizer(name, 10.0 if name == "adadelta" else 0.1)

    def loss(x):
        return jnp.sum(scale * (x - target) ** 2)

    @jax.jit
    def step(x, state):
        updates, state = optimizer.update(jax.grad(loss)(x), state, x)
        return optax.apply_updates(x, updates), state

    x = jnp.zeros(5)
    state = optimizer.init(x)
    values = [float(loss(x))]
    for _ in range(200):
        x, state = step(x, state)
        values.append(float(loss(x)))
    assert values[-1] < 0.1 * values[0]


START = np.array([0.3, -1.2, 2.0])
GRADIENTS = [np.array([0.5, -2.0, 7.0]), np.array([-1.5, 0.25, 3.0])]


def sgd_by_hand(x, gradients):
    for g in gradients:
        x = x - 0.1 * g
        yield x


def momentum_by_hand(x, gradients):
    trace = 0
    for g in gradients:
        trace = g + 0.9 * trace
        x = x - 0.1 * trace
        yield x


def adam_by_hand(x, gradients, b1=0.9, b2=0.999, epsilon=1e-8):
    m = v = 0
    for t, g in enumerate(gradients, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        x = x - 0.1 * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
        yield x


def rmsprop_by_hand(x, gradients, decay=0.9, epsilon=1e-8):
    v = 0
    for g in gradients:
        v = decay * v + (1 - decay) * g * g
        x = x - 0.1 * g / np.sqrt(v + epsilon)
        yield x


def adagrad_by_hand(x, gradients, first=0.1, epsilon=1e-7):
    m = first
    for g in gradients:
        m = m + g * g
        x = x - 0.1 * g / np.sqrt(m + epsilon)
        yield x


@pytest.mark.parametrize(
    ("name", "options", "by_hand"),
    [
        ("sgd", {}, sgd_by_hand),
        ("sgd", {"momentum": 0.9}, momentum_by_hand),
        ("adam", {}, adam_by_hand),
        ("adam", {"b1": 0.8, "b2": 0.95}, lambda x, g: adam_by_hand(x, g, 0.8, 0.95)),
        ("rmsprop", {}, rmsprop_by_hand),
        ("adagrad", {}, adagrad_by_hand),
    ],
)
def test_first_two_steps_equal_the_formula(name, options, by_hand):
    with jax.enable_x64(True):
        path = run(rnnjax.training.get_optimizer(name, 0.1, **options), map(jnp.asarray, GRADIENTS), jnp.asarray(START))
    wanted = list(by_hand(START, GRADIENTS))
    np.testing.assert_allclose(path[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(path[1], wanted[1], rtol=1e-6)


def test_adamw_decays_the_weights_apart_from_the_gradient():
    optimizer = rnnjax.training.get_optimizer("adamw", 0.1, weight_decay=0.3)
    (x,) = run(optimizer, [jnp.zeros(3)], jnp.asarray(START, jnp.float32))
    np.testing.assert_allclose(x, START * (1 - 0.1 * 0.3), rtol=1e-6)


@pytest.mark.parametrize("by_name", [False, True])
def test_adagrad_min_char_rnn_equals_the_program(by_name):
    rng = np.random.default_rng(0)
    param = rng.normal(size=(3, 5))
    gradients = rng.normal(size=(20, 3, 5)) * 10 ** rng.uniform(-4, 2, size=(20, 3, 5))
    gradients[rng.random(gradients.shape) < 0.2] = 0.0
    gradients[0, 0, :2] = 0.0  # the memory is 0 there too
    assert np.any(np.abs(gradients) > 5)
    mem, wanted = np.zeros_like(param), []
    x = param.copy()
    for gradient in gradients:
        dparam = np.clip(gradient, -5, 5)
        mem += dparam * dparam
        x += -0.1 * dparam / np.sqrt(mem + 1e-8)
        wanted.append(x.copy())
    with jax.enable_x64(True):
        make = (
            rnnjax.training.get_optimizer("adagrad_min_char_rnn", 0.1)
            if by_name
            else rnnjax.training.adagrad_min_char_rnn(0.1)
        )
        path = run(make, [jnp.asarray(g) for g in gradients], jnp.asarray(param))
    np.testing.assert_allclose(path, wanted, rtol=1e-12, atol=1e-12)


def test_adagrad_min_char_rnn_bound_and_epsilon_can_be_chosen():
    optimizer = rnnjax.training.adagrad_min_char_rnn(0.1, clip=2.0, epsilon=4.0)
    (x,) = run(optimizer, [jnp.array([9.0, -1.0])], jnp.zeros(2))
    np.testing.assert_allclose(x, [-0.1 * 2 / np.sqrt(4 + 4), 0.1 / np.sqrt(1 + 4)], rtol=1e-6)


def test_clip_value_bounds_each_element():
    optimizer = rnnjax.training.get_optimizer("sgd", 1.0, clip_value=2.0)
    gradient = {"a": jnp.array([5.0, -0.5]), "b": jnp.array([[-3.0], [1.0], [0.25]])}
    updates, _ = optimizer.update(gradient, optimizer.init(gradient))
    assert updates["a"].tolist() == [-2.0, 0.5]
    assert updates["b"].tolist() == [[2.0], [-1.0], [-0.25]]


@pytest.mark.slow
@pytest.mark.parametrize(("bound", "factor"), [(6.5, 0.5), (20.0, 1.0)])
def test_clip_norm_scales_the_whole_gradient(bound, factor):
    optimizer = rnnjax.training.get_optimizer("sgd", 1.0, clip_norm=bound)
    gradient = {"a": jnp.array([3.0, -4.0]), "b": jnp.array([[12.0]])}  # norm 13
    updates, _ = optimizer.update(gradient, optimizer.init(gradient))
    np.testing.assert_allclose(updates["a"], [-3 * factor, 4 * factor], rtol=1e-6)
    np.testing.assert_allclose(updates["b"], [[-12 * factor]], rtol=1e-6)


def test_clipping_by_value_comes_before_clipping_by_norm():
    optimizer = rnnjax.training.get_optimizer("sgd", 1.0, clip_value=4.0, clip_norm=2.5)
    updates, _ = optimizer.update(jnp.array([3.0, 400.0]), optimizer.init(jnp.zeros(2)))
    np.testing.assert_allclose(updates, [-1.5, -2.0], rtol=1e-6)


def test_clipping_leaves_no_mark_on_the_memory_of_adagrad():
    huge, bound = jnp.array([1e6, 0.5]), jnp.array([2.0, 0.5])
    clipped = run(rnnjax.training.get_optimizer("adagrad", 0.1, clip_value=2.0), [huge, bound], jnp.zeros(2))
    small = run(rnnjax.training.get_optimizer("adagrad", 0.1), [bound, bound], jnp.zeros(2))
    np.testing.assert_array_equal(clipped, small)


SCHEDULES = {  # final fraction: what is left of the peak 0.5 after the last step, and halfway there
    "constant": (0.1, 0.5, 0.5),
    "linear": (0.1, 0.275, 0.05),
    "cosine": (0.1, 0.275, 0.05),
    "exponential": (0.01, 0.05, 0.005),
}


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_at_its_first_peak_middle_and_last_step(name, warmup):
    final, middle, last = SCHEDULES[name]
    schedule = rnnjax.training.get_schedule(name, 0.5, steps=warmup + 22, warmup=warmup, final=final)
    got = [float(schedule(step)) for step in (0, warmup, warmup + 11, warmup + 22)]
    np.testing.assert_allclose(got, [0.0 if warmup else 0.5, 0.5, middle, last], rtol=1e-5)


def test_warm_up_is_linear():
    schedule = rnnjax.training.get_schedule("cosine", 0.7, steps=23, warmup=7)
    np.testing.assert_allclose([schedule(step) for step in range(8)], np.arange(8) * 0.1, rtol=1e-5)


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_decay_ends_at_zero_by_default_and_never_rises(name):
    schedule = rnnjax.training.get_schedule(name, 0.5, steps=23, warmup=5)
    values = [float(schedule(step)) for step in range(5, 24)]
    assert abs(values[-1]) < 1e-7
    assert all(a > b for a, b in itertools.pairwise(values))


def test_an_optimizer_takes_a_schedule():
    schedule = rnnjax.training.get_schedule("linear", 0.5, steps=5)
    path = run(rnnjax.training.get_optimizer("sgd", schedule), [jnp.ones(2)] * 5, jnp.zeros(2))
    np.testing.assert_allclose([x[0] for x in path], -np.cumsum([0.5, 0.4, 0.3, 0.2, 0.1]), rtol=1e-5)


def test_unknown_optimizer_lists_the_names():
    with pytest.raises(ValueError) as error:
        rnnjax.training.get_optimizer("sgdd", 0.1)
    assert "'sgdd'" in str(error.value) and all(name in str(error.value) for name in OPTIMIZERS)


@pytest.mark.parametrize("bound", [0.0, -1.0, float("nan")])
@pytest.mark.parametrize("argument", ["clip_value", "clip_norm"])
def test_bounds_must_be_positive(argument, bound):
    with pytest.raises(ValueError, match=f"expected {argument} > 0 .* got {bound}"):
        rnnjax.training.get_optimizer("sgd", 0.1, **{argument: bound})


def test_unknown_schedule_lists_the_names():
    with pytest.raises(ValueError) as error:
        rnnjax.training.get_schedule("sine", 0.1, steps=11)
    assert "'sine'" in str(error.value) and all(name in str(error.value) for name in SCHEDULES)


@pytest.mark.parametrize("warmup", [-1, 11, 13])
def test_warm_up_must_fit_into_the_steps(warmup):
    with pytest.raises(ValueError, match=rf"expected warmup in \[0, steps = 11\), got {warmup}"):
        rnnjax.training.get_schedule("linear", 0.1, steps=11, warmup=warmup)


def test_exponential_decay_cannot_end_at_zero():
    with pytest.raises(ValueError, match=r"expected final > 0 for an exponential decay, got 0\.0"):
        rnnjax.training.get_schedule("exponential", 0.1, steps=11)
