"""Exported programs: equal to what they were made from, for every cell, batch size and number of steps."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cell_table import TABLE
from helpers import assert_close, noisy, normal, random_params

import rnnjax
from rnnjax._checks import batch_shape_of
from rnnjax.export import export_function, export_sequence, export_step

T, B, F, H, S, A, V = 3, 2, 3, 5, 7, 11, 13
CPU = {"platforms": ["cpu"]}
CELL = rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 7)])
PARAMS = random_params(CELL)


def by_name(tree):
    """A tree as programs have it."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    names = {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}
    return tree if {*names} == {""} else names


def some_carry(cell, batch_shape, dtype=jnp.float32):
    """A carry with something in it."""
    return noisy(cell.initial_carry(batch_shape, dtype), 5)


QUICK = ("stack", "reset_on", "conv_lstm")
CASES = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in TABLE]


@pytest.mark.parametrize("name", CASES)
def test_every_cell_steps_and_runs_as_it_does_here(name):
    cell, make_inputs = TABLE[name]
    params, xs = random_params(cell), jax.tree.map(jnp.asarray, make_inputs(1, T, (B,)))
    space = batch_shape_of(cell, xs, time=True)[1:]
    carry, x = some_carry(cell, (B, *space)), jax.tree.map(lambda leaf: leaf[0], xs)
    example = {"x": jax.tree.map(lambda leaf: leaf[:1], x), "carry": cell.initial_carry((1, *space)), **CPU}

    program = export_step(cell, params, **example)
    after, y = jax.jit(cell.apply)(params, carry, x)
    assert_close(program.call(by_name(carry), by_name(x)), (by_name(after), by_name(y)))
    assert_close(program.initial_carry(B), by_name(cell.initial_carry((B, *space))))

    program = export_sequence(cell, params, **example)
    after, ys = jax.jit(lambda *args: rnnjax.unroll(cell, *args))(params, xs, carry)
    assert_close(program.call(by_name(carry), by_name(xs)), (by_name(after), by_name(ys)))


@pytest.fixture(scope="module")
def sequence():
    return export_sequence(CELL, PARAMS, lengths=True, **CPU)


@pytest.mark.parametrize(("length", "batch"), [(1, 1), (1, 2), (5, 1), (7, 3)])
def test_one_program_is_for_all_sizes(sequence, length, batch):
    xs, lengths = normal(1, length, batch, F), np.array([length, 0, 1][:batch], np.int32)
    poisoned = xs.at[lengths[-1] :, -1].set(jnp.nan)
    carry = some_carry(CELL, (batch,))
    after, ys = rnnjax.unroll(CELL, PARAMS, xs, carry, lengths=lengths)
    assert_close(sequence.call(by_name(carry), poisoned, lengths), (by_name(after), ys))


def test_nothing_is_no_size(sequence):
    with pytest.raises(ValueError, match="Expected value >= 1 for dimension variable 'time'"):
        sequence.call(sequence.initial_carry(B), jnp.ones((0, B, F)), np.zeros(B, np.int32))


def test_a_length_over_the_number_of_steps_counts_as_that(sequence):
    xs, carry = normal(1, T, B, F), sequence.initial_carry(B)
    over, full = (sequence.call(carry, xs, np.array([n, 2], np.int32)) for n in (T + 4, T))
    assert_close(over, full, rtol=0, atol=0)


def test_step_by_step_and_in_pieces_are_the_whole(sequence):
    step, xs = export_step(CELL, PARAMS, **CPU), normal(1, 7, B, F)
    after, ys = sequence.call(sequence.initial_carry(B), xs, np.full(B, 7, np.int32))
    carry, outputs = step.initial_carry(B), []
    for x in xs:
        carry, y = step.call(carry, x)
        outputs.append(y)
    assert_close((carry, jnp.stack(outputs)), (after, ys))
    carry, first = sequence.call(sequence.initial_carry(B), xs[:5], np.full(B, 5, np.int32))
    carry, rest = sequence.call(carry, xs[5:], np.full(B, 2, np.int32))
    assert_close((carry, jnp.concatenate([first, rest])), (after, ys))


def test_batch_first():
    program = export_sequence(CELL, PARAMS, time_major=False, lengths=True, **CPU)
    xs, lengths = normal(1, B, T, F), np.array([T, 1], np.int32)
    after, ys = rnnjax.unroll(CELL, PARAMS, xs, lengths=lengths, time_major=False)
    assert_close(program.call(program.initial_carry(B), xs, lengths), (by_name(after), ys))


def test_bfloat16():
    cell = rnnjax.lstm(F, H, dtype=jnp.bfloat16)
    params, first = random_params(cell, dtype=jnp.bfloat16), noisy(cell.initial_carry((1,), jnp.bfloat16))
    program = export_sequence(cell, params, x=jax.ShapeDtypeStruct((1, F), jnp.bfloat16), carry=first, **CPU)
    xs, carry = normal(1, 5, B, F, dtype=jnp.bfloat16), program.initial_carry(B)
    assert {leaf.dtype for leaf in (*program.params.values(), *carry.values())} == {jnp.dtype(jnp.bfloat16)}
    after, ys = jax.jit(lambda *args: rnnjax.unroll(cell, *args))(params, xs, rnnjax.LSTMCarry(**carry))
    got = program.call(carry, xs)
    assert got[1].dtype == ys.dtype == jnp.bfloat16
    assert_close(got, (by_name(after), ys), rtol=2**-7, atol=2**-8)


class Total(NamedTuple):
    """A carry that nobody registered."""

    total: jax.Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Scale:
    """Parameters that are no NamedTuple."""

    by: jax.Array


def own_cell():
    """A cell of a user, which reads integers."""

    def apply(params, carry, ids):
        total = carry.total + params.by[ids]
        return Total(total), total

    def initial_carry(batch_shape=(), dtype=jnp.float32):
        return Total(jnp.ones((*batch_shape, 2), dtype))

    return rnnjax.Cell(lambda key: Scale(jax.random.normal(key, (V, 2))), initial_carry, apply)


def test_a_cell_of_ones_own_needs_no_registration():
    cell = own_cell()
    params, ids = cell.init(jax.random.key(0)), jnp.arange(B, dtype=jnp.int32) + 4
    program = export_step(cell, params, x=jax.ShapeDtypeStruct((1,), jnp.int32), **CPU)
    carry, y = program.call(program.initial_carry(B), ids)
    np.testing.assert_allclose(y, 1 + np.asarray(params.by)[4:6], rtol=1e-6)
    assert {*carry} == {"total"} and {*program.params} == {"by"}


def test_arrays_alone_stay_arrays_and_nothing_stays_nothing():
    cell = rnnjax.Cell(
        lambda key: (), lambda shape=(), dtype=jnp.float32: jnp.zeros(shape, dtype), lambda p, c, x: (c + x, c * x)
    )
    program = export_step(cell, (), x=jnp.ones(1), **CPU)
    carry, y = program.call(program.initial_carry(2), jnp.array([3.0, 5.0]))
    carry, y = program.call(carry, jnp.array([7.0, 11.0]))
    assert carry.tolist() == [10, 16] and y.tolist() == [21, 55] and program.params == {}


def test_a_learned_first_carry():
    first = some_carry(CELL, (1,))
    program, xs = export_sequence(CELL, PARAMS, carry=first, **CPU), normal(1, T, B, F)
    start = jax.tree.map(lambda leaf: jnp.repeat(leaf, B, axis=0), first)
    after, ys = rnnjax.unroll(CELL, PARAMS, xs, start)
    assert_close(program.call(program.initial_carry(B), xs), (by_name(after), ys))


def test_parameters_inside_and_other_parameters_beside():
    inside, beside = (export_step(CELL, PARAMS, inline_params=inline, **CPU) for inline in (True, False))
    carry, x = by_name(some_carry(CELL, (B,))), normal(1, B, F)
    assert inside.params == {} and {"layers.0.w_x", "layers.1.b_h"} < {*beside.params}
    assert_close(inside.call(carry, x), beside.call(carry, x))
    others = random_params(CELL, 1)
    after, y = CELL.apply(others, some_carry(CELL, (B,)), x)
    assert_close(beside._replace(params=by_name(others)).call(carry, x), (by_name(after), y))


@pytest.mark.slow
def test_an_encoder_of_both_directions():
    encoder = rnnjax.encoder([(rnnjax.gru(F, H), rnnjax.rnn(F, H)), rnnjax.lstm(2 * H, F)])
    params, xs, lengths = encoder.init(jax.random.key(0)), normal(1, S, B, F), jnp.array([S, 2])

    def read(params, xs, lengths):
        return encoder.apply(params, xs, lengths=lengths)

    program = export_function(read, params, xs[:1], lengths, shapes=("time, batch, ...", "batch"), **CPU)
    carries, ys = read(params, xs, lengths)
    assert_close(program.call(xs, lengths), (by_name(carries), ys))


@pytest.mark.slow
def test_a_decoder_step_over_sources_of_any_length():
    attention = rnnjax.attention.additive_attention(H, 2, A)
    decoder = rnnjax.attention_decoder(rnnjax.lstm(F + 2, H), attention)
    params = decoder.init(jax.random.key(0))

    def start(source_length, batch):
        lengths = jnp.array([source_length, 4, 1][:batch])
        memory = attention.remember(params.attention, normal(1, source_length, batch, 2), lengths=lengths)
        return noisy(decoder.initial_carry(memory)), normal(2, batch, F), memory

    carry, x, memory = start(4, B)
    alignment = rnnjax.attention.Alignment(weights="batch, source", coverage="batch, source", step="batch")
    shapes = carry._replace(cell="batch, ...", alignment=alignment), "batch, ...", "batch, source, ..."
    program = export_function(decoder.step, params, carry, x, memory, shapes=shapes, **CPU)
    for args in (start(S, 3), start(5, 1)):
        after, output = decoder.step(params, *args)
        assert_close(program.call(*map(by_name, args)), (by_name(after), by_name(output)))


def test_a_whole_search_is_a_program():
    def search(params, bias):
        def step_fn(carry, token):
            return rnnjax.GRUCarry(carry.h + 1), params * carry.h + bias

        return rnnjax.beam_search(step_fn, rnnjax.GRUCarry(jnp.ones(1)), bos_id=1, eos_id=2, beam_size=5, max_steps=T)

    logits, bias = normal(3, 1, V), normal(4, 1, V)
    got, expected = export_function(search, logits, bias, **CPU).call(bias), jax.jit(search)(logits, bias)
    assert {*got} >= {"tokens", "scores"}
    assert_close(got, by_name(expected))


@pytest.mark.slow
def test_programs_for_other_platforms_are_made_here_and_run_there():
    xs = normal(1, T, B, F)
    for platforms in (["tpu"], ["cuda", "tpu"]):
        program = export_sequence(CELL, PARAMS, platforms=platforms)
        with pytest.raises(ValueError, match=r"'tpu'.* but it is used on '\('cpu',\)'"):
            program.call(program.initial_carry(B), xs)
    everywhere = export_sequence(CELL, PARAMS)
    after, ys = rnnjax.unroll(CELL, PARAMS, xs)
    assert_close(everywhere.call(everywhere.initial_carry(B), xs), (by_name(after), ys))
    assert {*everywhere.exported.platforms} == {"cpu", "cuda", "tpu"}


UNSIZED = CELL._replace(input_size=None)
TWO = CELL.initial_carry((2,))
CLASH = {"a": {"b": jnp.ones(2)}, "a.b": jnp.ones(3)}
KEYS = {"k": jax.random.key(0)}


def identity(params):
    return params


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: export_step(rnnjax.lstm, PARAMS), "export_step: expected a Cell, got lstm; export_function takes any"),
        (lambda: export_sequence([CELL], PARAMS), "export_sequence: expected a Cell, got list"),
        (lambda: export_step(UNSIZED, PARAMS), "export_step: expected x, .* input_size of the cell is unknown"),
        (lambda: export_step(CELL, PARAMS, x=jnp.ones(F)), r"expected x of one row, leaves \[1, ...\], got .*\(3,\)"),
        (lambda: export_sequence(CELL, PARAMS, carry=TWO), r"expected carry of one row.*\(2, 5\)"),
        (lambda: export_step(CELL, PARAMS, platforms=["cpu", "gpu"]), "expected platforms among .*, got cpu, gpu"),
        (lambda: export_step(CELL, PARAMS, platforms=[]), "expected platforms among .*, got none"),
        (lambda: export_function(identity, 1.0), "expected the leaves of params to be arrays of numbers, got float"),
        (lambda: export_function(identity, KEYS), r"got key<fry> at params\['k'\]; keep what else"),
        (lambda: export_function(jnp.add, TWO, jnp.ones(2), shapes=()), "one shape for each of 1 args, got 0"),
        (lambda: export_function(identity, CLASH, **CPU), "different dotted names, got a.b twice"),
        (lambda: export_function(identity, TWO, **CPU).initial_carry(2), "expected a program that was exported from"),
    ],
)
def test_what_cannot_be_is_one_sentence(make, message):
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
