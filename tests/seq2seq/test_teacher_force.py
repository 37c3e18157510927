"""Teacher forcing against plain scans, loops by hand and steps taken one by one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import LOOPS, assert_close, equations, normal, values_and_gradients, weighted_sum
from seq2seq_helpers import LENGTHS, SOURCE_LENGTHS, B, F, H, K, M, S, T, case, junk_behind, mechanisms, remembered, row

import rnnjax
from rnnjax import _masking as masking

pytestmark = pytest.mark.usefixtures("quick_compilation")


def forced(case, lengths=LENGTHS, source_lengths=SOURCE_LENGTHS, **options):
    def run(params, source, xs):
        memory = remembered(case, params, source, source_lengths)
        given = None if lengths is None else jnp.array(lengths)
        return rnnjax.teacher_force(case.decoder, params, memory, xs, lengths=given, **options)

    return run


def scanned(case, lengths=LENGTHS, source_lengths=SOURCE_LENGTHS):
    """The same by jax.lax.scan, with the padding taken out by hand."""

    def run(params, source, xs):
        memory = remembered(case, params, source, source_lengths)
        real = np.arange(T)[:, None] < np.array(lengths)

        def body(carry, now):
            x, real = now

            def keep(new, old):
                return jnp.where(real.reshape(B, *(1,) * (new.ndim - 1)), new, old)

            after, out = case.decoder.step(params, carry, x, memory)
            return jax.tree.map(keep, after, carry), jax.tree.map(lambda leaf: keep(leaf, jnp.zeros_like(leaf)), out)

        return jax.lax.scan(body, case.decoder.initial_carry(memory), (xs, jnp.asarray(real)))

    return run


@pytest.mark.slow
@pytest.mark.parametrize("name", mechanisms())
def test_forcing_is_a_plain_scan_for_every_mechanism(name):
    """Values and gradients, with NaN behind both lengths, and one source that is empty."""
    c = case(name, "previous" if len(name) % 2 else "current", kind="rnn")
    lengths = (S, 0, 4)

    def both(padded, clean):
        return forced(c, LENGTHS, lengths)(*padded), scanned(c, LENGTHS, lengths)(*clean)

    clean = c.params, c.source, c.xs
    padded = c.params, junk_behind(lengths, c.source), junk_behind(LENGTHS, c.xs)
    values, gradients = values_and_gradients(both, padded, clean)
    assert_close(*values)
    assert_close(*gradients, rtol=1e-3, atol=1e-4)
    (_, out), (_, of_source, of_xs) = values[0], gradients[0]
    assert not out.weights[:, 1].any() and not out.context[:, 1].any() and not of_source[:, 1].any()
    assert np.asarray(of_source[:, 0]).any() and np.asarray(of_source[:4, 2]).any() and np.asarray(of_xs[0]).any()


def stepped(c, lengths=(T,) * B):
    """The same as a Python loop."""

    def run(params, source, xs):
        memory = remembered(c, params, source)
        carry, outs = c.decoder.initial_carry(memory), []
        for t, x in enumerate(xs):
            real = t < jnp.array(lengths)
            after, out = c.decoder.step(params, carry, x, memory)
            carry = masking.select(real, after, carry)
            outs.append(masking.select(real, out, 0))
        return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outs)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "query", "kind"),
    [("location", "previous", "stack"), ("additive_coverage", "current", "lstm")],
)
def test_forcing_is_stepping(name, query, kind):
    c = case(name, query, "feeding", kind)
    args = c.params, c.source, c.xs
    assert_close(jax.jit(forced(c))(*args), jax.jit(stepped(c, LENGTHS))(*args))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "query"),
    [("additive_coverage", "previous"), ("location", "current"), ("local_m", "previous"), ("monotonic", "current")],
)
def test_attention_is_told_of_the_steps_before(name, query):
    """A loop that keeps weights, their sum and the count of steps itself."""
    c, cell = case(name, query, kind="rnn"), rnnjax.rnn(F + (M if query == "previous" else 0), H)

    @jax.jit
    def looped(params, source, xs):
        memory, carry, outs = remembered(c, params, source), cell.initial_carry((B,)), []
        weights, total = jnp.zeros((B, S)), jnp.zeros((B, S))
        for t, x in enumerate(xs):
            before = rnnjax.attention.Alignment(weights, total, jnp.full(B, t, jnp.int32))
            attend = functools.partial(c.attention.attend, params.attention, memory=memory, alignment=before)
            if query == "previous":
                context, weights = attend(carry.h)
                carry, y = cell.apply(params.cell, carry, jnp.concatenate([x, context], axis=-1))
            else:
                carry, y = cell.apply(params.cell, carry, x)
                context, weights = attend(y)
            total = total + weights
            outs.append(weights)
        return carry, jnp.stack(outs), total

    args = c.params, c.source, c.xs
    last, out = jax.jit(forced(c, None))(*args)
    assert_close((last.cell, out.weights, last.alignment.coverage), looped(*args))


@pytest.mark.slow
def test_gradients_of_forcing_are_those_of_stepping():
    c = case("general", "previous", "feeding", "lstm")
    args = c.params, c.source, c.xs[:3]
    got, expected = values_and_gradients(forced(c, None), *args), values_and_gradients(stepped(c), *args)
    assert_close(got, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_forcing_starts_from_a_carry_and_goes_on_from_it():
    c = case("additive_coverage", form="feeding", kind="lstm")
    memory = remembered(c, c.params, c.source)
    start = rnnjax.LSTMCarry(normal(5, B, H), normal(6, B, H))
    carry = c.decoder.initial_carry(memory, start)
    last, out = rnnjax.teacher_force(c.decoder, c.params, memory, c.xs, carry)
    middle, first = rnnjax.teacher_force(c.decoder, c.params, memory, c.xs[:2], carry)
    again, second = rnnjax.teacher_force(c.decoder, c.params, memory, c.xs[2:], middle)
    assert_close(again, last)
    assert_close(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, second), out)
    assert np.abs(out.output - rnnjax.teacher_force(c.decoder, c.params, memory, c.xs)[1].output).max() > 0.01


@functools.cache
def plainly_forced():
    c = case(form="feeding")
    return jax.jit(forced(c))(c.params, c.source, c.xs)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"remat": "step"}, {"remat": 2}, {"chunk": 2}, {"mask": True}], ids=str)
def test_options_of_the_loop_change_nothing(options):
    c = case(form="feeding")
    args = c.params, c.source, c.xs
    if "mask" in options:
        run = forced(c, None, mask=rnnjax.losses.length_mask(jnp.array(LENGTHS), T))
    else:
        run = forced(c, **options)
        names = [e.primitive.name for e in equations(jax.make_jaxpr(run)(*args))]
        assert any(name in ("remat2", "checkpoint") for name in names) == ("remat" in options)
        assert (sum(name in LOOPS for name in names) > 1) == (options != {"remat": "step"})
    assert_close(jax.jit(run)(*args), plainly_forced())


@pytest.mark.slow
def test_a_row_without_targets_keeps_its_carry_and_gets_no_gradient():
    c = case(form="feeding")
    (carry, out), gradients = values_and_gradients(forced(c, (3, 0, 5)), c.params, c.source, c.xs)
    assert not any(np.asarray(leaf)[1].any() for leaf in jax.tree.leaves(carry))
    assert not any(np.asarray(leaf)[:, 1].any() for leaf in jax.tree.leaves((out, gradients[1], gradients[2])))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_no_steps_give_no_outputs():
    c = case()
    carry, out = forced(c, None)(c.params, c.source, c.xs[:0])
    assert out.output.shape == (0, B, H + M) and out.weights.shape == (0, B, S)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(carry))


@pytest.mark.parametrize("name", ["additive_coverage", "dot", "location", "local_p", "monotonic"])
def test_a_source_without_positions_is_an_empty_source(name):
    c, outs = case(name), []
    for source in (c.source[:0], c.source):
        memory = remembered(c, c.params, source, (0,) * B)
        carry = c.decoder.initial_carry(memory)
        outs.append(jax.jit(c.decoder.step)(c.params, carry, c.xs[0], memory))
    (carry, out), (_, expected) = outs
    assert out.weights.shape == carry.alignment.coverage.shape == (B, 0)
    assert_close((out.output, out.context), (expected.output, expected.context))
    assert not expected.context.any()


@pytest.mark.slow
def test_rows_do_not_mix_and_beams_share_a_memory():
    """Over a source alone, over a batch of beams, and by vmap: all the same."""
    c = case("location", "previous", "feeding", "lstm")
    xs = normal(7, T, B, K, F)
    memory = remembered(c, c.params, c.source)
    carry, out = rnnjax.teacher_force(
        c.decoder, c.params, memory, xs, c.decoder.initial_carry(memory, batch_shape=(B, K))
    )
    run = functools.partial(rnnjax.teacher_force, c.decoder, c.params)
    assert_close(
        jax.vmap(lambda memory, xs: run(memory, xs, c.decoder.initial_carry(memory, batch_shape=(K,))), (0, 1), (0, 1))(
            memory, xs
        ),
        (carry, out),
    )
    for b, k in ((1, 1),):
        alone = c.attention.remember(c.params.attention, c.source[: SOURCE_LENGTHS[b], b])
        last, one = run(alone, xs[:, b, k])
        assert_close((one.output, one.context), (out.output[:, b, k], out.context[:, b, k]))
        assert_close(one.weights, out.weights[:, b, k, : SOURCE_LENGTHS[b]])
        assert_close(last.cell, row(carry.cell, b, k))


def test_forcing_is_one_loop_traced_once():
    c, traces = case(form="feeding"), []

    @jax.jit
    def run(params, source, xs, lengths):
        traces.append(1)
        return rnnjax.teacher_force(c.decoder, params, remembered(c, params, source), xs, lengths=lengths)

    for seed in range(10):
        run(c.params, c.source + seed, c.xs, jnp.array(LENGTHS) % (seed + 1))
    assert len(traces) == 1
    loops = [e for e in equations(jax.make_jaxpr(forced(c))(c.params, c.source, c.xs)) if e.primitive.name in LOOPS]
    assert len(loops) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "form"), [("gru", "plain"), ("stack", "feeding")])
def test_half_precision(kind, form):
    full = case("additive_coverage", form=form, kind=kind)
    half = case("additive_coverage", form=form, kind=kind, dtype=jnp.bfloat16)
    args = half.params, half.source, half.xs
    carry, out = jax.jit(forced(half))(*args)
    leaves = jax.tree.leaves((out, carry.cell, carry.feed, carry.alignment.weights))
    if kind == "gru":
        leaves += jax.tree.leaves(jax.eval_shape(jax.grad(lambda args: weighted_sum(forced(half)(*args))), args))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.bfloat16)}
    expected = jax.jit(forced(full))(full.params, full.source, full.xs)
    assert_close(out, expected[1], rtol=0.1, atol=0.1)


# ---- errors --------------------------------------------------------------------------------------------------


def test_bad_forcing():
    c = case()
    memory = remembered(c, c.params, c.source)
    force = functools.partial(rnnjax.teacher_force, c.decoder, c.params, memory)
    with pytest.raises(ValueError, match="expected lengths between 0 and T = 5, got 1 to 6"):
        force(c.xs, lengths=jnp.array([1, 6, 3]))
    with pytest.raises(ValueError, match="expected lengths or mask, got both"):
        force(c.xs, lengths=jnp.array(LENGTHS), mask=jnp.ones((T, B), bool))
    with pytest.raises(TypeError, match="expected mask of dtype bool"):
        force(c.xs, mask=jnp.ones((T, B)))
    with pytest.raises(ValueError, match=r"expected xs of shape \[T, ..., F\]"):
        force(c.xs[:, 0, 0])
    with pytest.raises(ValueError, match="expected query of shape"):
        force(normal(1, T, 2, F))
    with pytest.raises(ValueError, match="expected remat to be None"):
        force(c.xs, remat="all")
    with pytest.raises(ValueError, match="expected chunk to be a positive int"):
        force(c.xs, chunk=0)
