"""The law kit: it passes good cells, and names the law that a bad one breaks."""

import doctest
import itertools
from typing import NamedTuple

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal

import rnnjax
from rnnjax import testing
from rnnjax.testing import _laws

F = 2


class LeakyCarry(NamedTuple):
    """Carry of the cells below: a running average `[..., F]`."""

    mean: object


def leaky_init(key):
    return {"rate": jax.random.uniform(key, (F,), minval=0.2, maxval=0.8)}


def leaky_carry(batch_shape=(), dtype=jnp.float32):
    return LeakyCarry(jnp.zeros((*batch_shape, F), dtype))


def leaky_apply(params, carry, x):
    rate = jnp.broadcast_to(params["rate"].astype(carry.mean.dtype), carry.mean.shape)
    mean = jnp.tanh(rate * carry.mean + x.astype(carry.mean.dtype))
    return LeakyCarry(mean), mean


LEAKY = rnnjax.Cell(leaky_init, leaky_carry, leaky_apply, F, F)


@pytest.mark.slow
def test_a_good_cell_passes_every_law():
    testing.check_cell(LEAKY)


@pytest.mark.slow
def test_the_documented_cell_passes_every_law():
    names: dict = {}
    for example in doctest.DocTestParser().get_examples(rnnjax.Cell.__doc__):
        exec(example.source, names)
    testing.check_cell(names["cell"])


# ---- cells that are broken on purpose ------------------------------------------------------------------------


def with_apply(change):
    """LEAKY whose step is changed: change(params, carry, x, new_carry, y) -> (carry, y)."""
    return LEAKY._replace(apply=lambda params, carry, x: change(params, carry, x, *leaky_apply(params, carry, x)))


def carry_dtype_changes():
    return with_apply(lambda p, c, x, new, y: (LeakyCarry(new.mean.astype(jnp.float32)), y))


def carry_structure_changes():
    return with_apply(lambda p, c, x, new, y: (tuple(new), y))


def output_comes_before_the_carry():
    return with_apply(lambda p, c, x, new, y: (y, new))


def output_is_left_out():
    return with_apply(lambda p, c, x, new, y: y)


def initial_carry_ignores_its_batch_shape():
    return LEAKY._replace(initial_carry=lambda batch_shape=(), dtype=jnp.float32: leaky_carry((), dtype))


def initial_carry_ignores_its_dtype():
    return LEAKY._replace(
        initial_carry=lambda batch_shape=(), dtype=jnp.float32: leaky_carry(batch_shape),
        apply=lambda p, c, x: (leaky_apply(p, c, x)[0], x),
    )


def initial_carry_is_one_array_for_every_dtype():
    return LEAKY._replace(initial_carry=lambda batch_shape=(), dtype=None: leaky_carry(batch_shape))


def carry_takes_the_dtype_of_x():
    return with_apply(lambda p, c, x, new, y: (LeakyCarry(c.mean.astype(x.dtype) + x), y))


def carry_and_x_meet_uncast():
    return with_apply(lambda p, c, x, new, y: (LeakyCarry(c.mean + x), y))


def input_size_is_another():
    return LEAKY._replace(input_size=F + 1)


def output_size_is_another():
    return LEAKY._replace(output_size=F + 1)


def output_depends_on_batch_mates():
    def centre(p, c, x, new, y):
        rows = tuple(range(y.ndim - 1))
        return new, y - jnp.broadcast_to(y.mean(rows, keepdims=True), y.shape) if rows else y

    return with_apply(centre)


def state_in_python_changes_between_traces():
    calls = itertools.count()
    return with_apply(lambda p, c, x, new, y: (new, y * (1 + next(calls))))


def compiled_and_eager_differ():
    return with_apply(lambda p, c, x, new, y: (new, y + 0.5 if isinstance(x, jax.core.Tracer) else y))


def batch_of_two_axes_differs():
    return with_apply(lambda p, c, x, new, y: (new, y * 2 if y.ndim > 2 else y))


def singular_at_zero():
    def normalise(p, c, x, new, y):
        norm = jnp.broadcast_to(jnp.sqrt((x**2).sum(-1, keepdims=True)), x.shape)
        return new, y * (x / norm)

    return with_apply(normalise)


def initial_carry_is_never_the_same():
    calls = itertools.count(1)

    def initial_carry(batch_shape=(), dtype=jnp.float32):
        return LeakyCarry(leaky_carry(batch_shape, dtype).mean + next(calls))

    return LEAKY._replace(initial_carry=initial_carry)


def steps_are_counted_in_python():
    calls = itertools.count()
    return with_apply(lambda p, c, x, new, y: (new, y + next(calls)))


def noise_comes_from_a_global_generator():
    rng = np.random.default_rng(0)
    return with_apply(lambda p, c, x, new, y: (new, y + float(rng.normal())))


def gradient_is_cut():
    return LEAKY._replace(apply=lambda p, c, x: leaky_apply(jax.lax.stop_gradient(p), c, x))


# A cell and the first law that it breaks; those below break several, of which the one that is about them is tried.
BROKEN = {
    carry_dtype_changes: "carry_is_a_fixed_point",
    carry_structure_changes: "carry_is_a_fixed_point",
    output_comes_before_the_carry: "carry_is_a_fixed_point",
    output_is_left_out: "carry_is_a_fixed_point",
    initial_carry_ignores_its_batch_shape: "carry_is_a_fixed_point",
    initial_carry_ignores_its_dtype: "carry_is_a_fixed_point",
    initial_carry_is_one_array_for_every_dtype: "carry_is_a_fixed_point",
    carry_takes_the_dtype_of_x: "carry_is_a_fixed_point",
    carry_and_x_meet_uncast: "carry_is_a_fixed_point",
    input_size_is_another: "carry_is_a_fixed_point",
    output_size_is_another: "declared_sizes_are_true",
    state_in_python_changes_between_traces: "unroll_is_the_equations",
    compiled_and_eager_differ: "jit_is_eager",
    batch_of_two_axes_differs: "batch_axes_are_free",
}
BROKEN_ALONE = {
    output_depends_on_batch_mates: "vmap_is_batch",
    initial_carry_is_never_the_same: "resets_start_afresh",
    singular_at_zero: "padding_is_inert",
    steps_are_counted_in_python: "parts_make_the_whole",
    gradient_is_cut: "gradients_are_finite_differences",
    noise_comes_from_a_global_generator: "acting_is_learning",
}


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_a_broken_cell_fails_with_the_name_of_the_law(make):
    with pytest.raises(AssertionError, match=f"^the law '{BROKEN[make]}' does not hold: "):
        testing.check_cell(make())


# What the message of a law about shapes and dtypes tells the author to write.
REMEDIES = {
    carry_dtype_changes: r"carry\.mean is bfloat16 before a step and float32 after it .*\.astype\(carry\.mean\.dtype\)",
    carry_takes_the_dtype_of_x: r"return it with \.astype\(carry\.mean\.dtype\)",
    carry_and_x_meet_uncast: r"\.astype\(carry\.mean\.dtype\)",
    carry_structure_changes: r"carry is PyTreeDef\(.*LeakyCarry.* before a step and .* the carry of the type that came",
    output_comes_before_the_carry: r"return \(carry, y\), in this order",
    output_is_left_out: r"apply returns ShapeDtypeStruct \(.*\); return \(carry, y\)",
    initial_carry_ignores_its_dtype: r"makes carry\.mean of shape .* and dtype float32; make it with the dtype",
    initial_carry_ignores_its_batch_shape: r"makes carry\.mean of shape \(2,\) .*; put \*batch_shape in front",
    output_size_is_another: r"cell\.output_size is 3, got an array of shape \(3, 2\)",
}


@pytest.mark.parametrize("make", REMEDIES, ids=lambda make: make.__name__)
def test_the_message_says_what_to_write(make):
    with pytest.raises(AssertionError, match=REMEDIES[make]):
        testing.check_cell(make(), laws=[BROKEN[make]])


@pytest.mark.parametrize("make", BROKEN_ALONE, ids=lambda make: make.__name__)
def test_a_law_alone_sees_what_it_is_for(make):
    law = BROKEN_ALONE[make]
    with pytest.raises(AssertionError, match=f"^the law '{law}' does not hold: "):
        testing.check_cell(make(), laws=[law])


# ---- policies: what would be wrong with an actor or a learner ----------------------------------------------------


def carries_are_reset_after_the_step(cell, params, xs, carry, *, resets, **masks):
    late = jnp.concatenate([jnp.zeros_like(resets[:1]), resets[:-1]])
    return rnnjax.unroll(cell, params, xs, carry, resets=late, **masks)


def done_is_off_by_one(done, before):
    return done


def gradients_flow_into_the_burn_in(cell, params, xs, carry, *, resets, burn_in):
    carry, ys = rnnjax.unroll(cell, params, xs, carry, resets=resets)
    return carry, ys[burn_in:]


def the_stored_carry_is_ignored(cell, params, xs, carry, *, resets, burn_in):
    return rnnjax.unroll(cell, params, xs[burn_in:], resets=resets[burn_in:])


@pytest.mark.parametrize(
    ("law", "name", "broken"),
    [
        ("acting_is_learning", "unroll", carries_are_reset_after_the_step),
        ("done_ends_an_episode", "resets_from_done", done_is_off_by_one),
        ("chunks_learn_from_stored_carries", "_after_burn_in", gradients_flow_into_the_burn_in),
        ("chunks_learn_from_stored_carries", "_after_burn_in", the_stored_carry_is_ignored),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_law_of_policies_sees_what_it_is_for(law, name, broken, monkeypatch):
    testing.check_cell(LEAKY, laws=[law])
    if name == "unroll":
        results = _laws.results
        monkeypatch.setattr(_laws, "results", lambda cell: results(cell, broken))
    else:
        monkeypatch.setattr(_laws, name, broken)
    with pytest.raises(AssertionError, match=f"^the law '{law}' does not hold: "):
        testing.check_cell(LEAKY, laws=[law])


def test_inputs_of_changing_shapes_break_one_trace():
    def make_inputs(seed, length, batch_shape):
        return testing.float_inputs(F)(seed, length + seed % 2, batch_shape)

    with pytest.raises(AssertionError, match=r"the law 'one_trace' does not hold: .*is traced > 1 times"):
        testing.check_cell(LEAKY, make_inputs=make_inputs, laws=["one_trace"])


def test_a_cell_that_raises_breaks_the_law_it_was_tried_with():
    def apply(params, carry, x):
        raise RuntimeError("no such step")

    with pytest.raises(AssertionError, match="the law 'short_runs' does not hold: RuntimeError: no such step"):
        testing.check_cell(LEAKY._replace(apply=apply), laws=["short_runs"])


@pytest.mark.parametrize("law", ["short_runs", "parts_make_the_whole"])
def test_only_the_laws_asked_for_are_tried(law):
    testing.check_cell(initial_carry_is_never_the_same(), laws=[law])


# ---- what the kit is made of ---------------------------------------------------------------------------------


def test_an_unknown_law_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"expected laws among carry_is_a_fixed_point, .*got 'reversed'"):
        testing.check_cell(LEAKY, laws=["one_trace", "reversed"])


def test_laws_are_documented_under_their_names():
    assert set(testing.LAWS) == {law.__name__ for law in testing.LAWS.values()}
    assert all(law.__doc__ for law in testing.LAWS.values())


@pytest.mark.parametrize(
    "check",
    [lambda cell, **o: testing.check_cell(cell, laws=["jit_is_eager"], **o), testing.cases],
    ids=["check", "cases"],
)
def test_an_input_size_that_the_cell_does_not_state_is_asked_for(check):
    unstated = LEAKY._replace(input_size=None)
    with pytest.raises(
        ValueError, match=r"states its input_size, got None; .*cell\._replace\(input_size=\.\.\.\), or pass"
    ):
        check(unstated)
    check(unstated, input_size=F)


def test_the_inputs_made_have_the_size_that_the_cell_states():
    with pytest.raises(AssertionError, match=r"cell\.input_size is 3, got an array of shape \(3, 2\)"):
        testing.check_cell(input_size_is_another(), input_size=F, laws=["declared_sizes_are_true"])


def test_cells_with_other_inputs_are_checked_with_make_inputs():
    def apply(params, carry, x):
        ids, features = x[1], x[0]
        return leaky_apply(params, carry, features + jax.nn.one_hot(ids, F, dtype=features.dtype))

    def make_inputs(seed, length, batch_shape):
        ids = np.random.default_rng(seed).integers(0, F, (length, *batch_shape)).astype(np.int32)
        return testing.float_inputs(F)(seed, length, batch_shape), ids

    laws = ["padding_is_inert", "time_major_is_a_transpose"]
    testing.check_cell(LEAKY._replace(apply=apply), make_inputs=make_inputs, laws=laws)


def test_float_inputs_depend_on_the_seed_and_have_axes_of_space():
    make = testing.float_inputs(3, space=(7, 11))
    xs = make(0, 5, (2,))
    assert (xs.shape, xs.dtype) == ((5, 2, 7, 11, 3), np.float32)
    assert (xs == make(0, 5, (2,))).all() and (xs != make(1, 5, (2,))).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "wanted",
    [
        lambda case: 0 in case.lengths and testing.LENGTH in case.lengths,
        lambda case: case.split == 0,
        lambda case: case.split == testing.LENGTH,
        lambda case: case.resets.any() and not case.resets.all(),
    ],
    ids=["lengths", "split_at_the_start", "split_at_the_end", "resets"],
)
def test_cases_reach_the_edges(wanted):
    settings = hypothesis.settings(database=None, derandomize=True, max_examples=1000)
    case = hypothesis.find(testing.cases(LEAKY), wanted, settings=settings)
    assert case.lengths.shape == (testing.BATCH,) and case.resets.shape == (testing.LENGTH, testing.BATCH)
    assert case.resets.dtype == np.bool_ and case.cell is LEAKY


def test_the_output_of_a_good_cell_moves():
    """Guards the cells above: LEAKY depends on its parameters, its carry and its inputs."""
    params, xs = leaky_init(jax.random.key(0)), normal(0, 5, 3, F)
    _, ys = rnnjax.unroll(LEAKY, params, xs)
    _, other = rnnjax.unroll(LEAKY, {"rate": params["rate"] + 0.3}, xs)
    assert abs(ys[1:] - other[1:]).max() > 1e-3
