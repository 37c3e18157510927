"""The laws: each takes a `Case` and raises AssertionError where the cell does not keep it."""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._checks import batch_shape_of
from rnnjax.recurrence import resets_from_done, tbptt, unroll, unroll_reference
from rnnjax.testing._case import BATCH, LENGTH, Case, at, example, inputs
from rnnjax.testing._programs import floats, is_float, quick_jit, results, rows, step, values, with_floats

FULL = np.full(BATCH, LENGTH)
NO_RESETS = np.zeros((LENGTH, BATCH), bool)


def carry_is_a_fixed_point(case: Case) -> None:
    """apply keeps structure, shapes and dtypes of the carry, in float32 and bfloat16; batch shapes (), [B], [2, B]."""
    params = jax.eval_shape(case.cell.init, jax.random.key(0))
    for batch_shape in ((), (BATCH,), (2, BATCH)):
        xs = inputs(case, 1, batch_shape)
        for carry_dtype, dtype in itertools.product((jnp.float32, jnp.bfloat16), repeat=2):
            initial = functools.partial(case.cell.initial_carry, batch_shape_of(case.cell, xs, time=True), carry_dtype)
            carry = jax.eval_shape(initial)
            _check_initial_carry(carry, batch_shape_of(case.cell, xs, time=True), jnp.dtype(carry_dtype))
            what = f"batch shape {batch_shape}, carry {jnp.dtype(carry_dtype)}, params and x {jnp.dtype(dtype)}"
            try:
                returned = jax.eval_shape(case.cell.apply, _cast(params, dtype), carry, _cast(at(xs, 0), dtype))
            except Exception as error:
                if carry_dtype == dtype:
                    raise
                name = next(name for name, leaf in _named(carry) if is_float(leaf))
                remedy = f"cast what meets the carry, with .astype({name}.dtype)"
                raise AssertionError(f"apply raises {first_lines(error)} ({what}); {remedy}") from error
            is_pair = isinstance(returned, tuple) and len(returned) == 2
            assert is_pair, f"apply returns {type(returned).__name__} ({what}); return (carry, y)"
            _check_carry_after(carry, returned[0], what)


def _check_initial_carry(carry: Any, batch_shape: tuple[int, ...], dtype: np.dtype) -> None:
    for name, leaf in _named(carry):
        what = f"initial_carry({batch_shape}, {dtype}) makes {name} of shape {leaf.shape} and dtype {leaf.dtype}"
        assert leaf.shape[: len(batch_shape)] == batch_shape, f"{what}; put *batch_shape in front of its shape"
        assert not is_float(leaf) or leaf.dtype == dtype, f"{what}; make it with the dtype that is passed"


def _check_carry_after(carry: Any, after: Any, what: str) -> None:
    before, returned = jax.tree.structure(carry), jax.tree.structure(after)
    remedy = "return (carry, y), in this order, and the carry of the type that came"
    same = before == returned  # type: ignore[operator]
    assert same, f"the structure of the carry is {before} before a step and {returned} after it ({what}); {remedy}"
    for (name, a), b in zip(_named(carry), jax.tree.leaves(after), strict=True):
        assert a.shape == b.shape, f"{name} has shape {a.shape} before a step and {b.shape} after it ({what})"
        remedy = f"return it with .astype({name}.dtype)"
        assert a.dtype == b.dtype, f"{name} is {a.dtype} before a step and {b.dtype} after it ({what}); {remedy}"


def _named(carry: Any) -> list[tuple[str, Any]]:
    """The leaves of a carry with the names that an author gives them, such as carry.h."""
    return [(f"carry{jax.tree_util.keystr(path)}", leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(carry)]


def _cast(tree: Any, dtype: Any) -> Any:
    """Shapes of a tree with its floating leaves in another dtype."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, dtype if is_float(leaf) else leaf.dtype), tree)


def declared_sizes_are_true(case: Case) -> None:
    """input_size and output_size, where the cell states them, are the features of x and y `[B, ...]` (first leaves)."""
    cell, xs = case.cell, inputs(case, 1, (BATCH,))
    params = jax.eval_shape(cell.init, jax.random.key(0))
    carry = jax.eval_shape(functools.partial(cell.initial_carry, batch_shape_of(case.cell, xs, time=True)))
    _, y = jax.eval_shape(cell.apply, params, carry, at(xs, 0))
    for name, tree, size in (("input_size", at(xs, 0), cell.input_size), ("output_size", y, cell.output_size)):
        shape = jax.tree.leaves(tree)[0].shape
        assert size is None or shape[-1:] == (size,), f"cell.{name} is {size}, got an array of shape {shape}"


def unroll_is_the_equations(case: Case) -> None:
    """unroll, without masks or with idle ones, == calling apply step by step; ys `[T, ..., H]` are in order."""
    params, carry, xs = example(case)
    carries, ys = _loop(case, params, xs, carry)
    got = values(case.cell)(params, xs, carry)
    assert_same(got, (carries[-1], _stacked(ys)))
    assert_same(results(case.cell)(params, xs, carry, lengths=FULL, resets=NO_RESETS).values, got)


def jit_is_eager(case: Case) -> None:
    """One step compiled == one step not compiled; x `[B, F]`."""
    params, carry, xs = example(case)
    params, carry, x = jax.device_put((params, carry, at(xs, 0)))
    with jax.disable_jit():
        eager = case.cell.apply(params, carry, x)
    assert_same(step(case.cell)(params, carry, x), jax.tree.map(np.asarray, eager))


def vmap_is_batch(case: Case) -> None:
    """vmap of a run over one row == the run over the batch `[T, B, F]`."""
    params, carry, xs = example(case)
    batch = results(case.cell)(params, xs, carry, lengths=case.lengths, resets=case.resets)
    assert_same(rows(case.cell)(params, xs, carry, case.lengths, case.resets), batch.values)


def scan_is_the_loop(case: Case) -> None:
    """unroll == unroll_reference, in values and gradients, with lengths, resets and a carry; T = LENGTH."""
    params, carry, xs = example(case)
    masks = {"lengths": case.lengths, "resets": case.resets}
    fast = results(case.cell)(params, xs, carry, **masks)
    slow = results(case.cell, unroll_reference)(params, xs, carry, **masks)
    assert_same(fast[:2], slow[:2])


def batch_axes_are_free(case: Case) -> None:
    """Inputs `[T, 2, 3, F]` == the same inputs as `[T, 6, F]`, and `[T, F]` is a row of `[T, 1, F]`."""
    params, carry, xs = example(case, (2, 3))
    run = values(case.cell)
    last, ys = run(params, xs, carry)
    flat_carry = jax.tree.map(lambda leaf: leaf.reshape(6, *leaf.shape[2:]), carry)
    flat_xs = jax.tree.map(lambda leaf: leaf.reshape(LENGTH, 6, *leaf.shape[3:]), xs)
    flat = run(params, flat_xs, flat_carry)
    assert_same(jax.tree.map(np.ravel, (last, ys)), jax.tree.map(np.ravel, flat))
    row = (slice(None), 1, 2)
    assert_same(run(params, at(xs, row), at(carry, (1, 2))), (at(last, (1, 2)), at(ys, row)))


def padding_is_inert(case: Case) -> None:
    """Each row of a padded batch == its unpadded run, with NaN in the padding, in values and gradients."""
    params, carry, xs = example(case)
    real = np.arange(LENGTH)[:, None] < case.lengths

    def padded(tree: Any, value: float) -> Any:
        def pad(leaf: np.ndarray) -> np.ndarray:
            return np.where(real.reshape(*real.shape, *[1] * (leaf.ndim - 2)), leaf, leaf.dtype.type(value))

        return jax.tree.map(lambda leaf: pad(leaf) if is_float(leaf) else leaf, tree)

    poisoned, harmless = padded(xs, np.nan), padded(xs, 0.5)
    run = functools.partial(results(case.cell), lengths=case.lengths, resets=NO_RESETS)
    got = run(params, poisoned, carry)
    assert_same(got.gradients, run(params, harmless, carry).gradients)
    for leaf in got.gradients[1]:
        assert not leaf[~real].any(), f"the gradient of padding is {leaf[~real]}, not zero"
    carries, ys = _loop(case, params, xs, carry)
    assert_same(got.values, (_row_by_row(carries, case.lengths), padded(_stacked(ys), 0)))
    assert_same(values(case.cell)(params, poisoned, carry, lengths=case.lengths), got.values)


def resets_start_afresh(case: Case) -> None:
    """After a reset a row == a fresh run over the rest; resets in the padding change nothing; resets `[T, B]`."""
    params, carry, xs = example(case)
    t = min(case.split, LENGTH - 1)
    resets = np.zeros((LENGTH, BATCH), bool)
    resets[t] = True
    got = values(case.cell)(params, xs, carry, resets=resets)
    _, before = _loop(case, params, at(xs, slice(0, t)), carry)
    start = case.cell.initial_carry(batch_shape_of(case.cell, xs, time=True))
    carries, after = _loop(case, params, at(xs, slice(t, None)), start)
    assert_same(got, (carries[-1], _stacked(before + after)))
    run = functools.partial(results(case.cell), params, xs, carry)
    assert_same(run(lengths=FULL, resets=resets).values, got)
    padded = run(lengths=np.full(BATCH, t), resets=resets)
    assert_same(padded.values, run(lengths=np.full(BATCH, t), resets=NO_RESETS).values)


def parts_make_the_whole(case: Case) -> None:
    """A run cut in two, the carry passed on, == the whole run; so is tbptt forward; xs `[T, B, F]`."""
    params, carry, xs = example(case)
    whole = values(case.cell)(params, xs, carry)
    carries, first = _loop(case, params, at(xs, slice(0, case.split)), carry)
    last, second = values(case.cell)(params, at(xs, slice(case.split, None)), carries[-1])
    ys = first + [at(second, t) for t in range(LENGTH - case.split)]
    assert_same((last, _stacked(ys)), whole)
    assert_same(values(case.cell, tbptt, steps=2)(params, xs, carry), whole)


def acting_is_learning(case: Case) -> None:
    """Acting a step at a time, from the initial carry where a reset is true, == unroll with resets `[T, B]`."""
    params, carry, xs = example(case)
    carries, ys = _act(case, params, xs, carry)
    learned = results(case.cell)(params, xs, carry, lengths=FULL, resets=case.resets)
    assert_same(learned.values, (carries[-1], ys))


def done_ends_an_episode(case: Case) -> None:
    """Episodes that follow each other == a run of each: after done[t] `[T, B]`, the step t + 1 begins another one."""
    params, carry, xs = example(case)
    done, before = case.resets, case.lengths % 2 == 1
    resets = np.asarray(resets_from_done(done, before))
    got = results(case.cell)(params, xs, carry, lengths=FULL, resets=resets).values
    initial = case.cell.initial_carry(batch_shape_of(case.cell, xs, time=True))
    begun = [_loop(case, params, at(xs, slice(first, None)), initial) for first in range(LENGTH)]
    begun.append(_loop(case, params, xs, carry))  # what began before the first step

    def steps_of(row: int) -> tuple[Any, Any]:
        (carries, some), first, ys = begun[0 if before[row] else -1], 0, []
        for t in range(LENGTH):
            if t and done[t - 1, row]:
                (carries, some), first = begun[t], t
            ys.append(at(some[t - first], row))
        return at(carries[LENGTH - first], row), _stacked(ys)

    lasts, ys = zip(*map(steps_of, range(BATCH)), strict=True)
    assert_same(got, (_stacked(lasts), jax.tree.map(lambda *rows: np.stack(rows, axis=1), *ys)))


def chunks_learn_from_stored_carries(case: Case) -> None:
    """A chunk from the carry that the actor stored == its part of the whole; burn-in has no gradient; xs `[T, B, F]`.

    Reference: Kapturowski et al. 2019, "Recurrent experience replay in distributed reinforcement learning".
    """
    params, carry, xs = example(case)
    carries, ys = _act(case, params, xs, carry)
    chunk = functools.partial(at, index=slice(case.split, None))
    stored = results(case.cell)(params, chunk(xs), carries[case.split], resets=chunk(case.resets))
    assert_same(stored.values, (carries[-1], chunk(ys)))
    warm = results(case.cell, _after_burn_in, burn_in=case.split)(params, xs, carry, resets=case.resets)
    assert_same(warm.values, stored.values)
    of_params, of_xs, of_carry = warm.gradients
    assert_same([of_params, chunk(of_xs)], stored.gradients[:2])
    for leaf in [*at(of_xs, slice(0, case.split)), *of_carry]:
        assert not leaf.any(), f"the gradient of what came before the chunk is {leaf}, not zero"


def _after_burn_in(cell: Any, params: Any, xs: Any, carry: Any, *, resets: Any, burn_in: int) -> tuple[Any, Any]:
    """A run whose first steps only bring the carry up to date."""
    first, rest = slice(0, burn_in), slice(burn_in, None)
    warm, _ = unroll(cell, params, at(xs, first), carry, resets=resets[first])
    return unroll(cell, params, at(xs, rest), jax.lax.stop_gradient(warm), resets=resets[rest])


def memory_modes_agree(case: Case) -> None:
    """Every remat and chunk gives the same values and gradients; xs `[T, B, F]`."""
    params, carry, xs = example(case)
    masks = {"lengths": case.lengths, "resets": case.resets}
    plain = results(case.cell)(params, xs, carry, **masks)
    for options in ({"remat": "step"}, {"remat": "sqrt", "chunk": 2}):
        assert_same(results(case.cell, **options)(params, xs, carry, **masks)[:2], plain[:2])
    backward = values(case.cell, reverse=True)(params, xs, carry, lengths=case.lengths)
    assert_same(values(case.cell, chunk=3, reverse=True)(params, xs, carry, lengths=case.lengths), backward)


def reverse_is_flipped(case: Case) -> None:
    """reverse == flip, run forward, flip; with lengths, row by row over the unpadded row; xs `[T, B, F]`."""
    params, carry, xs = example(case)
    backward = functools.partial(values(case.cell, reverse=True), params, xs, carry)
    last, ys = values(case.cell)(params, _flip(xs, FULL), carry)
    assert_same(backward(lengths=FULL), (last, _flip(ys, FULL)))
    last, ys = backward(lengths=case.lengths)
    carries, outputs = _loop(case, params, _flip(xs, case.lengths), carry)
    assert_same(last, _row_by_row(carries, case.lengths))
    expected = _flip(_stacked(outputs), case.lengths)
    for b, length in enumerate(case.lengths):
        assert_same(at(ys, (slice(0, length), b)), at(expected, (slice(0, length), b)))


def time_major_is_a_transpose(case: Case) -> None:
    """time_major=False == the same run with batch and time exchanged; xs `[B, T, F]`."""
    params, carry, xs = example(case)
    swap = functools.partial(jax.tree.map, lambda leaf: np.swapaxes(leaf, 0, 1))
    last, ys = results(case.cell)(params, xs, carry, lengths=case.lengths, resets=case.resets).values
    batch_major = values(case.cell, time_major=False)
    assert_same(batch_major(params, swap(xs), carry, lengths=case.lengths, resets=case.resets.T), (last, swap(ys)))


def short_runs(case: Case) -> None:
    """No steps return the carry and empty ys `[0, ..., H]`; one step == one call of apply."""
    params, carry, xs = example(case)
    last, ys = values(case.cell)(params, at(xs, slice(0, 0)), carry)
    assert_same(last, carry)
    one, y = step(case.cell)(params, carry, at(xs, 0))
    for a, b in zip(jax.tree.leaves(ys), jax.tree.leaves(y), strict=True):
        assert a.shape == (0, *b.shape), f"ys of no steps have the shape {a.shape}, expected {(0, *b.shape)}"
    last, ys = values(case.cell)(params, at(xs, slice(0, 1)), carry)
    assert_same((last, at(ys, 0)), (one, y))


def gradients_are_finite_differences(case: Case) -> None:
    """The gradient along a random direction == (f(p + e d) - f(p - e d)) / 2e, in float64; every float `[...]`."""
    rng, trees = np.random.default_rng(case.seed), example(case)[::2] + example(case)[1:2]
    point = [[leaf.astype(np.float64) for leaf in floats(tree)] for tree in trees]
    direction = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), point)

    def run(distance: float) -> Any:
        moved = jax.tree.map(lambda leaf, along: leaf + distance * along, point, direction)
        args = [with_floats(tree, leaves) for tree, leaves in zip(trees, moved, strict=True)]
        return results(case.cell)(*args, lengths=case.lengths, resets=case.resets)

    with jax.enable_x64(True):
        difference = (run(1e-5).total - run(-1e-5).total) / 2e-5
        slopes = jax.tree.map(np.vdot, run(0.0).gradients, direction)
    assert_same(np.asarray(sum(jax.tree.leaves(slopes))), np.asarray(difference), rtol=1e-5, atol=1e-7)


_runs = itertools.count()


def one_trace(case: Case) -> None:
    """Ten calls with other values of the same shapes `[T, B, F]` trace the run once."""

    def run(params, xs, lengths):
        return unroll(case.cell, params, xs, lengths=lengths)[1]

    run.__name__ = f"run_{next(_runs)}"  # chex counts by name, over all functions that are made here
    counted, (params, _, _) = quick_jit(chex.assert_max_traces(run, n=1)), example(case)
    for call in range(10):
        xs = inputs(case._replace(seed=case.seed + call), LENGTH, (BATCH,))
        counted(params, xs, (case.lengths + call) % (LENGTH + 1))


LAWS: dict[str, Callable[[Case], None]] = {
    law.__name__: law
    for law in (
        carry_is_a_fixed_point,
        declared_sizes_are_true,
        unroll_is_the_equations,
        jit_is_eager,
        vmap_is_batch,
        scan_is_the_loop,
        batch_axes_are_free,
        padding_is_inert,
        resets_start_afresh,
        parts_make_the_whole,
        acting_is_learning,
        done_ends_an_episode,
        chunks_learn_from_stored_carries,
        memory_modes_agree,
        reverse_is_flipped,
        time_major_is_a_transpose,
        short_runs,
        gradients_are_finite_differences,
        one_trace,
    )
}

# These depend on shapes alone, and so on nothing that differs between the cases of one cell.
LAWS_OF_SHAPES = ("carry_is_a_fixed_point", "declared_sizes_are_true", "one_trace")


# ---- what the laws are made of -------------------------------------------------------------------------------


def assert_same(got: Any, expected: Any, rtol: float = 2e-4, atol: float = 2e-5) -> None:
    """Raises unless two trees have the same structure, shapes, dtypes and, to rounding, values; NaN is no value."""
    chex.assert_trees_all_close(got, expected, rtol=rtol, atol=atol, strict=True)
    for path, leaf in jax.tree_util.tree_leaves_with_path(got):
        assert not np.isnan(leaf.astype(np.float64)).any(), f"NaN in {jax.tree_util.keystr(path)}"


def first_lines(error: Exception) -> str:
    """The kind of an error, unless it is that of all laws, and the beginning of what it says."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    kind = "" if isinstance(error, AssertionError) and lines else type(error).__name__
    return ": ".join(filter(None, [kind, " ".join(lines[:6])]))


def _loop(case: Case, params: Any, xs: Any, carry: Any) -> tuple[list[Any], list[Any]]:
    """The equations, a step at a time: the carries before, between and after the steps, and the outputs."""
    carries, ys = [carry], []
    for t in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, y = step(case.cell)(params, carries[-1], at(xs, t))
        carries.append(carry)
        ys.append(y)
    return carries, ys


def _act(case: Case, params: Any, xs: Any, carry: Any) -> tuple[list[Any], Any]:
    """The steps of an actor: the carries that it stores before each step and after the last, and ys `[T, B, ...]`."""
    initial, carries, ys = case.cell.initial_carry(batch_shape_of(case.cell, xs, time=True)), [carry], []
    for t, reset in enumerate(case.resets):
        fresh = functools.partial(_where, reset)
        after, y = step(case.cell)(params, jax.tree.map(fresh, initial, carries[-1]), at(xs, t))
        carries.append(after)
        ys.append(y)
    return carries, _stacked(ys)


def _where(flags: np.ndarray, on_true: Any, on_false: Any) -> np.ndarray:
    """Rows of on_true `[B, ...]` where flags `[B]` are true, rows of on_false elsewhere."""
    return np.where(flags.reshape(-1, *[1] * (np.ndim(on_true) - 1)), on_true, on_false)


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def _row_by_row(carries: Sequence[Any], lengths: np.ndarray) -> Any:
    """Row b of the carry after lengths[b] steps, for every b."""
    return jax.tree.map(lambda *leaves: np.stack([leaves[n][b] for b, n in enumerate(lengths)]), *carries)


def _flip(tree: Any, lengths: np.ndarray) -> Any:
    """Leaves `[T, B, ...]` with the first lengths[b] steps of every row b in reverse order."""
    t = np.arange(LENGTH)[:, None]
    order = np.where(t < lengths, lengths - 1 - t, t)
    return at(tree, (order, np.arange(BATCH)))
