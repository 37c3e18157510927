"""The law kit: what every recurrent cell must satisfy, as functions that anyone can call on a cell of their own.

`check_cell(my_cell)` tries every law on a few fixed cases. `cases(my_cell)` is a Hypothesis strategy for
property-based tests (it needs hypothesis):

    @hypothesis.given(rnnjax.testing.cases(my_cell))
    def test_padding(case):
        rnnjax.testing.LAWS["padding_is_inert"](case)

A law takes a `Case` and raises AssertionError if it does not hold.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Cell
from rnnjax.recurrence import tbptt, unroll, unroll_reference

# (seed, T, batch_shape) -> xs [T, *batch_shape, F]
MakeInputs = Callable[[int, int, tuple[int, ...]], Any]

LENGTH, BATCH = 5, 3


class Case(NamedTuple):
    """One example for the laws.

    Attributes:
      cell: the `Cell` under test.
      make_inputs: `(seed, T, batch_shape) -> xs [T, *batch_shape, F]`.
      seed: of parameters, carries and inputs.
      lengths: integers `[BATCH]` between 0 and LENGTH.
      resets: booleans `[LENGTH, BATCH]`.
      split: where a run is cut in two, between 0 and LENGTH.
    """

    cell: Cell
    make_inputs: MakeInputs
    seed: int
    lengths: np.ndarray
    resets: np.ndarray
    split: int


def check_cell(
    cell: Cell,
    *,
    input_size: int | None = None,
    make_inputs: MakeInputs | None = None,
    laws: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Tries every law on a cell, and says which one it breaks.

    Args:
      cell: the `Cell`.
      input_size: F, features of the inputs; found by trying the sizes of the parameters if None.
      make_inputs: `(seed, T, batch_shape) -> xs`, for a cell whose inputs are not float arrays `[..., F]`.
      laws: names from `LAWS` to try; all if None.
      seed: of everything random.

    Raises:
      AssertionError: a law does not hold; the message names it.
      ValueError: an unknown law, or inputs that could not be guessed.

    Example:
      >>> import rnnjax
      >>> from rnnjax.testing import check_cell
      >>> check_cell(rnnjax.rnn(3, 2), laws=["padding_is_inert", "reverse_is_flipped"])
    """
    laws = list(LAWS) if laws is None else list(laws)
    for name in laws:
        if name not in LAWS:
            raise ValueError(f"check_cell: expected laws among {', '.join(LAWS)}, got {name!r}.")
    if make_inputs is None:
        make_inputs = float_inputs(guess_input_size(cell) if input_size is None else input_size)
    edges = np.array([0, 1, LENGTH])
    some_resets = np.random.default_rng(seed).random((LENGTH, BATCH)) < 0.3
    examples = [
        Case(cell, make_inputs, seed, edges, some_resets, split=2),
        Case(cell, make_inputs, seed + 1, edges[::-1], ~some_resets, split=LENGTH),
    ]
    for name in laws:
        for case in examples:
            try:
                LAWS[name](case)
            except Exception as error:
                raise AssertionError(f"the law {name!r} does not hold: {_first_line(error)}") from error


def cases(cell: Cell, make_inputs: MakeInputs | None = None):
    """A Hypothesis strategy of `Case`s for a cell: lengths, resets, a split and a seed.

    Args:
      cell: the `Cell`.
      make_inputs: `(seed, T, batch_shape) -> xs [T, *batch_shape, F]`; normal floats if None.

    Returns:
      A `hypothesis.strategies.SearchStrategy[Case]`. Shapes are the same in all cases, so that compiled laws are
      reused.

    Example:
      >>> import rnnjax
      >>> from rnnjax.testing import LENGTH, cases
      >>> case = cases(rnnjax.rnn(3, 2)).example()  # doctest: +SKIP
    """
    from hypothesis import strategies as st

    make = float_inputs(guess_input_size(cell)) if make_inputs is None else make_inputs
    flags = st.lists(st.booleans(), min_size=LENGTH * BATCH, max_size=LENGTH * BATCH)
    return st.builds(
        lambda seed, lengths, resets, split: Case(
            cell, make, seed, np.array(lengths), np.array(resets).reshape(LENGTH, BATCH), split
        ),
        seed=st.integers(0, 2**16),
        lengths=st.lists(st.integers(0, LENGTH), min_size=BATCH, max_size=BATCH),
        resets=flags,
        split=st.integers(0, LENGTH),
    )


def float_inputs(input_size: int, space: tuple[int, ...] = ()) -> MakeInputs:
    """Inputs for a cell that takes floats: standard normal `[T, *batch_shape, *space, input_size]`.

    Args:
      input_size: F.
      space: axes between batch and features, such as height and width.

    Returns:
      `(seed, T, batch_shape) -> xs [T, *batch_shape, *space, F]`.

    Example:
      >>> from rnnjax.testing import float_inputs
      >>> float_inputs(3)(0, 5, (2,)).shape
      (5, 2, 3)
    """

    def make(seed: int, length: int, batch_shape: tuple[int, ...]) -> np.ndarray:
        shape = (length, *batch_shape, *space, input_size)
        return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)

    return make


def guess_input_size(cell: Cell) -> int:
    """F of a cell that takes floats `[..., F]`: the first axis length of a parameter that it can be stepped with.

    Args:
      cell: the `Cell`; its parameters may have any shapes `[...]`.

    Returns:
      F.

    Raises:
      ValueError: no length fits.

    Example:
      >>> import rnnjax
      >>> from rnnjax.testing import guess_input_size
      >>> guess_input_size(rnnjax.lstm(3, 5))
      3
    """
    params, carry = jax.eval_shape(cell.init, jax.random.key(0)), jax.eval_shape(cell.initial_carry)
    leaves = jax.tree.leaves(params) + jax.tree.leaves(carry)
    for size in dict.fromkeys([*(n for leaf in leaves for n in leaf.shape), *range(1, 65)]):
        try:
            jax.eval_shape(cell.apply, params, carry, jax.ShapeDtypeStruct((size,), jnp.float32))
        except Exception:  # any error of the cell means: not this size
            continue
        return size
    raise ValueError("check_cell: expected a cell that takes floats [..., F], found no F; pass make_inputs.")


# ---- what the laws are made of -------------------------------------------------------------------------------


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:6])}" if lines else type(error).__name__


def _params(case: Case) -> Any:
    """Parameters with noise on every leaf, so that zero biases and unit scales are tested too."""
    params = case.cell.init(jax.random.key(case.seed))
    rng = np.random.default_rng(case.seed)

    def noisy(leaf):
        noise = 0.3 * rng.standard_normal(leaf.shape)
        return leaf + jnp.asarray(noise, leaf.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(noisy, params)


def _inputs(case: Case, length: int = LENGTH, batch_shape: tuple[int, ...] = (BATCH,)) -> Any:
    return jax.tree.map(jnp.asarray, case.make_inputs(case.seed, length, batch_shape))


def _batch_shape(xs: Any) -> tuple[int, ...]:
    return jax.tree.leaves(xs)[0].shape[1:-1]


def _carry(case: Case, xs: Any) -> Any:
    """A carry that is not the initial one, so that where it goes can be seen."""
    carry = case.cell.initial_carry(_batch_shape(xs))
    rng = np.random.default_rng(case.seed + 1)

    def noisy(leaf):
        return leaf + jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype) if _is_float(leaf) else leaf

    return jax.tree.map(noisy, carry)


def _is_float(leaf: Any) -> bool:
    return bool(jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating))


def _floats(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if _is_float(leaf)]


def _with_floats(tree: Any, floats: Sequence[Any]) -> Any:
    remaining = iter(floats)
    return jax.tree.map(lambda leaf: next(remaining) if _is_float(leaf) else leaf, tree)


def _weighted_sum(tree: Any) -> Any:
    """A number that depends on every entry of a tree in a way of its own."""
    return sum(
        jnp.sum(leaf * jnp.cos(jnp.arange(leaf.size, dtype=leaf.dtype)).reshape(leaf.shape)) for leaf in _floats(tree)
    )


@functools.lru_cache(maxsize=256)
def _results(run: Callable, cell: Cell, options: tuple[tuple[str, Any], ...] = ()) -> Callable:
    """A compiled `(params, carry, xs, **masks) -> (values, gradients)` of a run of a cell."""

    @jax.jit
    def results(params, carry, xs, **masks):
        def loss(floats):
            p, c, x = (_with_floats(tree, f) for tree, f in zip((params, carry, xs), floats, strict=True))
            values = run(cell, p, x, c, **masks, **dict(options))
            return _weighted_sum(values), values

        gradients, values = jax.grad(loss, has_aux=True)([_floats(tree) for tree in (params, carry, xs)])
        return values, gradients

    return results


@functools.lru_cache(maxsize=256)
def _values(cell: Cell, options: tuple[tuple[str, Any], ...] = ()) -> Callable:
    """A compiled `(params, xs, carry, **masks) -> (carry, ys)` of a cell."""
    return jax.jit(functools.partial(unroll, cell, **dict(options)))


@functools.lru_cache(maxsize=64)
def _step(cell: Cell) -> Callable:
    return jax.jit(cell.apply)


def _loop(cell: Cell, params: Any, xs: Any, carry: Any) -> tuple[Any, list[Any]]:
    """The equations, a step at a time: the last carry and the list of outputs."""
    outputs = []
    for t in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, y = _step(cell)(params, carry, _at(xs, t))
        outputs.append(y)
    return carry, outputs


def _at(tree: Any, index: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _assert_same(got: Any, expected: Any, rtol: float = 2e-4, atol: float = 2e-5) -> None:
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(got), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(
            np.asarray(a, np.float64),
            np.asarray(b, np.float64),
            rtol=rtol,
            atol=atol,
            equal_nan=False,
            err_msg=jax.tree_util.keystr(path),
        )


# ---- the laws ------------------------------------------------------------------------------------------------


def scan_is_the_loop(case: Case) -> None:
    """unroll == unroll_reference, in values and gradients, with lengths, resets and a carry; T = LENGTH."""
    params, xs = _params(case), _inputs(case)
    carry = _carry(case, xs)
    masks: dict[str, Any] = {"lengths": jnp.asarray(case.lengths), "resets": jnp.asarray(case.resets)}
    fast = _results(unroll, case.cell)(params, carry, xs, **masks)
    slow = _results(unroll_reference, case.cell)(params, carry, xs, **masks)
    _assert_same(fast, slow)


def unroll_is_the_equations(case: Case) -> None:
    """unroll over plain inputs == calling apply step by step; ys `[T, ..., H]` are the outputs in order."""
    params, xs = _params(case), _inputs(case)
    carry = _carry(case, xs)
    values, _ = _results(unroll, case.cell)(params, carry, xs)
    last, outputs = _loop(case.cell, params, xs, carry)
    _assert_same(values, (last, jax.tree.map(lambda *rows: jnp.stack(rows), *outputs)))


def jit_is_eager(case: Case) -> None:
    """One step compiled == one step not compiled; x `[B, F]`."""
    params, xs = _params(case), _inputs(case)
    carry, x = _carry(case, xs), _at(xs, 0)
    with jax.disable_jit():
        eager = case.cell.apply(params, carry, x)
    _assert_same(_step(case.cell)(params, carry, x), eager)


def vmap_is_batch(case: Case) -> None:
    """vmap of a run over one row == the run over the batch `[T, B, F]`."""
    params, xs = _params(case), _inputs(case)
    carry = _carry(case, xs)
    batch, _ = _results(unroll, case.cell)(
        params, carry, xs, lengths=jnp.asarray(case.lengths), resets=jnp.asarray(case.resets)
    )
    rows = _vmapped(case.cell)(params, carry, xs, jnp.asarray(case.lengths), jnp.asarray(case.resets))
    _assert_same(rows, batch)


@functools.lru_cache(maxsize=64)
def _vmapped(cell: Cell) -> Callable:
    def row(params, carry, xs, length, resets):
        return unroll(cell, params, xs, carry, lengths=length, resets=resets)

    return jax.jit(jax.vmap(row, in_axes=(None, 0, 1, 0, 1), out_axes=(0, 1)))


def batch_axes_are_free(case: Case) -> None:
    """Inputs `[T, 2, 3, F]` == the same inputs as `[T, 6, F]`, and `[T, F]` is a row of `[T, 1, F]`."""
    params, xs = _params(case), _inputs(case, batch_shape=(2, 3))
    flat = jax.tree.map(lambda leaf: leaf.reshape(LENGTH, 6, *leaf.shape[3:]), xs)
    deep_values = _results(unroll, case.cell)(params, _carry(case, xs), xs)[0]
    flat_values = _results(unroll, case.cell)(params, _carry(case, flat), flat)[0]
    _assert_same(jax.tree.map(jnp.ravel, deep_values), jax.tree.map(jnp.ravel, flat_values))
    row = _at(xs, (slice(None), 1, 2))
    row_values = _values(case.cell)(params, row, _at(_carry(case, xs), (1, 2)))
    _assert_same(row_values, (_at(deep_values[0], (1, 2)), _at(deep_values[1], (slice(None), 1, 2))))


def padding_is_inert(case: Case) -> None:
    """Each row of a padded batch == its unpadded run, with NaN in the padding, in values and gradients."""
    params, xs = _params(case), _inputs(case)
    carry, lengths = _carry(case, xs), jnp.asarray(case.lengths)
    real = np.arange(LENGTH)[:, None] < case.lengths

    def fill(value):
        return lambda leaf: (
            jnp.where(real.reshape(real.shape + (1,) * (leaf.ndim - 2)), leaf, value) if _is_float(leaf) else leaf
        )

    poisoned = jax.tree.map(fill(jnp.nan), xs)
    values, gradients = _results(unroll, case.cell)(params, carry, poisoned, lengths=lengths)
    _assert_same(gradients, _results(unroll, case.cell)(params, carry, jax.tree.map(fill(0.5), xs), lengths=lengths)[1])
    for leaf in gradients[2]:
        padding = np.asarray(leaf)[~real]
        assert not padding.any(), f"the gradient of padding is {padding}, not zero"
    last, ys = values
    for b, length in enumerate(case.lengths):
        row_last, row_ys = _loop(
            case.cell,
            params,
            _at(xs, (slice(None, int(length)), slice(b, b + 1))),
            _at(carry, slice(b, b + 1)),
        )
        _assert_same(_at(last, slice(b, b + 1)), row_last)
        for t in range(LENGTH):
            y = _at(ys, (t, slice(b, b + 1)))
            _assert_same(y, row_ys[t] if t < length else jax.tree.map(jnp.zeros_like, y))


def resets_start_afresh(case: Case) -> None:
    """After a reset a row == a fresh run over the rest; resets in the padding change nothing; resets `[T, B]`."""
    params, xs = _params(case), _inputs(case)
    carry, t = _carry(case, xs), min(case.split, LENGTH - 1)
    resets = np.zeros((LENGTH, BATCH), bool)
    resets[t] = True
    (last, ys), _ = _results(unroll, case.cell)(params, carry, xs, resets=jnp.asarray(resets))
    fresh_last, fresh_ys = _loop(case.cell, params, _at(xs, slice(t, None)), case.cell.initial_carry(_batch_shape(xs)))
    _assert_same((last, [_at(ys, t + i) for i in range(LENGTH - t)]), (fresh_last, fresh_ys))
    _, early_ys = _loop(case.cell, params, _at(xs, slice(0, t)), carry)
    _assert_same([_at(ys, i) for i in range(t)], early_ys)
    lengths = jnp.full((BATCH,), t)
    padded = _results(unroll, case.cell)(params, carry, xs, lengths=lengths, resets=jnp.asarray(resets))
    plain = _results(unroll, case.cell)(params, carry, xs, lengths=lengths, resets=jnp.zeros_like(resets))
    _assert_same(padded[0], plain[0])


def parts_make_the_whole(case: Case) -> None:
    """A run cut in two, the carry passed on, == the whole run; so is tbptt forward; xs `[T, B, F]`."""
    params, xs = _params(case), _inputs(case)
    carry = _carry(case, xs)
    whole, _ = _results(unroll, case.cell)(params, carry, xs)
    between, first = _loop(case.cell, params, _at(xs, slice(0, case.split)), carry)
    last, second = _values(case.cell)(params, _at(xs, slice(case.split, None)), between)
    rows = first + [_at(second, t) for t in range(LENGTH - case.split)]
    _assert_same((last, jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)), whole)
    truncated, _ = _results(tbptt, case.cell, (("steps", 2),))(params, carry, xs)
    _assert_same(truncated, whole)


def memory_modes_agree(case: Case) -> None:
    """Every remat and chunk gives the same values and gradients; xs `[T, B, F]`."""
    params, xs = _params(case), _inputs(case)
    carry = _carry(case, xs)
    masks: dict[str, Any] = {"lengths": jnp.asarray(case.lengths), "resets": jnp.asarray(case.resets)}
    plain = _results(unroll, case.cell)(params, carry, xs, **masks)
    for options in ((("remat", "step"),), (("remat", "sqrt"), ("chunk", 3))):
        _assert_same(_results(unroll, case.cell, options)(params, carry, xs, **masks), plain)
    backward = _results(unroll, case.cell, (("reverse", True),))(params, carry, xs, **masks)[0]
    chunked = _values(case.cell, (("chunk", 2), ("reverse", True)))(params, xs, carry, **masks)
    _assert_same(chunked, backward)


def reverse_is_flipped(case: Case) -> None:
    """reverse == flip, run forward, flip; with lengths, row by row over the unpadded row; xs `[T, B, F]`."""
    params, xs = _params(case), _inputs(case)
    carry = _carry(case, xs)
    backward = _results(unroll, case.cell, (("reverse", True),))
    (last, ys), _ = backward(params, carry, xs)
    (flip_last, flip_ys), _ = _results(unroll, case.cell)(params, carry, _flip_time(xs))
    _assert_same((last, ys), (flip_last, _flip_time(flip_ys)))
    (last, ys), _ = backward(params, carry, xs, lengths=jnp.asarray(case.lengths))
    for b, length in enumerate(case.lengths):
        row = _flip_time(_at(xs, (slice(None, int(length)), slice(b, b + 1))))
        row_last, row_ys = _loop(case.cell, params, row, _at(carry, slice(b, b + 1)))
        _assert_same(_at(last, slice(b, b + 1)), row_last)
        _assert_same([_at(ys, (t, slice(b, b + 1))) for t in reversed(range(length))], row_ys)


def _flip_time(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)


def time_major_is_a_transpose(case: Case) -> None:
    """time_major=False == the same run with batch and time exchanged; xs `[B, T, F]`."""
    params, xs = _params(case), _inputs(case)
    carry, swap = _carry(case, xs), functools.partial(jax.tree.map, lambda leaf: jnp.swapaxes(leaf, 0, 1))
    lengths, resets = jnp.asarray(case.lengths), jnp.asarray(case.resets)
    (last, ys), _ = _results(unroll, case.cell)(params, carry, xs, lengths=lengths, resets=resets)
    batch_major = _values(case.cell, (("time_major", False),))
    _assert_same(batch_major(params, swap(xs), carry, lengths=lengths, resets=resets.T), (last, swap(ys)))


def short_runs(case: Case) -> None:
    """No steps return the carry and empty ys `[0, ..., H]`; one step == one call of apply."""
    params, xs = _params(case), _inputs(case)
    carry = _carry(case, xs)
    last, ys = _values(case.cell)(params, _at(xs, slice(0, 0)), carry)
    _assert_same(last, carry)
    one, y = _step(case.cell)(params, carry, _at(xs, 0))
    for a, b in zip(jax.tree.leaves(ys), jax.tree.leaves(y), strict=True):
        assert a.shape == (0, *b.shape), f"ys of no steps have the shape {a.shape}, expected {(0, *b.shape)}"
    last, ys = _values(case.cell)(params, _at(xs, slice(0, 1)), carry)
    _assert_same((last, _at(ys, 0)), (one, y))


def carry_is_a_fixed_point(case: Case) -> None:
    """apply keeps structure, shapes and dtypes of the carry, in float32 and bfloat16; batch shapes (), [B], [2, B]."""
    params = jax.eval_shape(case.cell.init, jax.random.key(0))
    for batch_shape in ((), (BATCH,), (2, BATCH)):
        xs = _inputs(case, 1, batch_shape)
        for carry_dtype, dtype in itertools.product((jnp.float32, jnp.bfloat16), repeat=2):
            carry = jax.eval_shape(functools.partial(case.cell.initial_carry, _batch_shape(xs), carry_dtype))
            after, _ = jax.eval_shape(case.cell.apply, _cast(params, dtype), carry, _cast(_at(xs, 0), dtype))
            what = f"batch shape {batch_shape}, carry {carry_dtype.__name__}, params and x {dtype.__name__}"
            same = jax.tree.structure(after) == jax.tree.structure(carry)  # type: ignore[operator]
            assert same, f"the structure of the carry changes ({what})"
            for a, b in zip(jax.tree.leaves(carry), jax.tree.leaves(after), strict=True):
                assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{a} becomes {b} ({what})"


def _cast(tree: Any, dtype: Any) -> Any:
    """Shapes of a tree with its floating leaves in another dtype."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, dtype if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf.dtype
        ),
        tree,
    )


def gradients_are_finite_differences(case: Case) -> None:
    """The gradient along a random direction == (f(p + e d) - f(p - e d)) / 2e, in float64; every float `[...]`."""
    with jax.enable_x64(True):
        wide = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.float64) if _is_float(leaf) else leaf)
        params, xs = wide(_params(case)), wide(_inputs(case))
        carry = wide(_carry(case, xs))
        lengths, resets = jnp.asarray(case.lengths), jnp.asarray(case.resets)
        slope, difference = _slopes(case.cell)(params, carry, xs, lengths, resets, jax.random.key(case.seed))
        _assert_same(slope, difference, rtol=1e-5, atol=1e-7)


@functools.lru_cache(maxsize=64)
def _slopes(cell: Cell) -> Callable:
    @jax.jit
    def slopes(params, carry, xs, lengths, resets, key):
        point, rebuild = jax.flatten_util.ravel_pytree([_floats(tree) for tree in (params, carry, xs)])
        direction = jax.random.normal(key, point.shape, point.dtype)

        def f(point):
            p, c, x = (_with_floats(tree, f) for tree, f in zip((params, carry, xs), rebuild(point), strict=True))
            return _weighted_sum(unroll(cell, p, x, c, lengths=lengths, resets=resets))

        step = 1e-5
        difference = (f(point + step * direction) - f(point - step * direction)) / (2 * step)
        return jnp.vdot(jax.grad(f)(point), direction), difference

    return slopes


def one_trace(case: Case) -> None:
    """Ten calls with other values of the same shapes `[T, B, F]` trace the cell no more often than the first."""
    traces: list[None] = []

    def apply(params, carry, x):
        traces.append(None)
        return case.cell.apply(params, carry, x)

    counted = case.cell._replace(apply=apply)
    run = jax.jit(lambda params, xs, lengths: unroll(counted, params, xs, lengths=lengths)[1])
    params, counts = _params(case), []
    for call in range(10):
        xs = _inputs(case._replace(seed=case.seed + call))
        run(params, xs, jnp.asarray((case.lengths + call) % (LENGTH + 1)))
        counts.append(len(traces))
    assert counts[-1] == counts[0], f"{counts[-1]} traces after ten calls, {counts[0]} after one"


LAWS: dict[str, Callable[[Case], None]] = {
    law.__name__: law
    for law in (
        carry_is_a_fixed_point,
        unroll_is_the_equations,
        jit_is_eager,
        vmap_is_batch,
        scan_is_the_loop,
        batch_axes_are_free,
        padding_is_inert,
        resets_start_afresh,
        parts_make_the_whole,
        memory_modes_agree,
        reverse_is_flipped,
        time_major_is_a_transpose,
        short_runs,
        gradients_are_finite_differences,
        one_trace,
    )
}
