"""The loop of a checked call: the scan over steps, in blocks or not, and what its backward pass recomputes."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from rnnjax import _masking as masking
from rnnjax._types import Array, Carry, Cell, Params
from rnnjax.recurrence import _eager as eager
from rnnjax.recurrence._call import Call, Options, Start, Steps, check_returned
from rnnjax.recurrence._scan import scan

Loop = Callable[[Carry, Steps], tuple[Carry, Any]]  # (carry, steps [T, ...]) -> (carry, ys [T, ...]), for any T


def run_loop(cell: Cell, params: Params, start: Start, call: Call, options: Options) -> tuple[Carry, Any]:
    """Runs a cell over the steps of a checked call; an eager call is compiled once for a cell and its options."""
    batch_shape, length = call.batch_shape, call.length

    def run(apply: Callable, params: Params, start: Start, steps: Steps) -> tuple[Carry, Any]:
        loop = _scan_steps(apply, params, start.initial, batch_shape, options)
        return _with_memory_modes(loop, length, options)(start.carry, steps)

    args = params, start, call.steps
    if eager.is_eager(args):
        program = eager.compiled(cell.apply, (options, batch_shape, length), run)
        if program is not None:
            return program(*args)
    return run(cell.apply, *args)


def _scan_steps(apply: Callable, params: Params, initial: Carry, batch_shape: tuple, options: Options) -> Loop:
    """The loop over any number of steps, in one scan."""

    def body(carry: Carry, step: Steps) -> tuple[Carry, Any]:
        before = carry if step.reset is None else masking.select(step.reset, initial, carry)
        after, y = apply(params, before, step.x)
        check_returned(carry, after, y, batch_shape)
        if step.keep is not None:
            # A skipped step keeps the carry from before its reset: a reset in the padding is inert.
            after, y = masking.select(step.keep, after, carry), masking.select(step.keep, y, 0)
        return after, y

    step = jax.checkpoint(body, prevent_cse=False) if options.remat == "step" else body

    def loop(carry: Carry, steps: Steps) -> tuple[Carry, Any]:
        if steps.keep is not None:
            # Zeros in the padding, so that NaN there reaches neither values nor gradients.
            steps = steps._replace(x=_zero_padding(steps.keep, steps.x))
        with jax.named_scope("unroll"):
            return scan(step, carry, steps, reverse=options.reverse)

    return loop


def _with_memory_modes(loop: Loop, length: int, options: Options) -> Loop:
    """The loop with blocks whose inside is recomputed, whose gradient is cut off, or which just bound memory."""
    remat, reverse = options.remat, options.reverse
    if isinstance(remat, int) or remat == "sqrt":
        size = _root_block(length) if remat == "sqrt" else remat
        assert isinstance(size, int)
        loop = _in_blocks(loop, size, reverse, functools.partial(jax.checkpoint, prevent_cse=False))
    if options.truncate is not None:
        loop = _in_blocks(loop, options.truncate, reverse, _cut_off)
    return loop if options.chunk is None else _in_blocks(loop, options.chunk, reverse)


def _in_blocks(loop: Loop, size: int, reverse: bool, wrap: Callable[[Loop], Loop] = lambda loop: loop) -> Loop:
    """The same loop as a scan over blocks of `size` steps, each run by wrap(loop); a shorter one comes last."""
    run_block = wrap(loop)

    def blocked(carry: Carry, steps: Steps) -> tuple[Carry, Any]:
        length = jax.tree.leaves(steps)[0].shape[0]
        rest = length % size
        if length <= size:
            return run_block(carry, steps)
        # Whole blocks are where the run begins, the rest where it ends.
        whole = slice(rest, None) if reverse else slice(None, length - rest)
        blocks = jax.tree.map(lambda leaf: leaf[whole].reshape(length // size, size, *leaf.shape[1:]), steps)
        carry, ys = scan(run_block, carry, blocks, reverse=reverse)
        ys = jax.tree.map(lambda leaf: leaf.reshape(length - rest, *leaf.shape[2:]), ys)
        if rest:
            last = slice(None, rest) if reverse else slice(length - rest, None)
            carry, ys_last = run_block(carry, jax.tree.map(lambda leaf: leaf[last], steps))
            parts = (ys_last, ys) if reverse else (ys, ys_last)
            ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *parts)
        return carry, ys

    return blocked


def _cut_off(loop: Loop) -> Loop:
    """The loop with a carry that is a constant to gradients."""
    return lambda carry, block: loop(jax.lax.stop_gradient(carry), block)


def _root_block(length: int) -> int:
    """A block length near the root of T, one that divides T if there is one: a rest costs a copy of the inputs."""
    root = max(1, math.isqrt(length))
    near = sorted(range(root // 2 + 1, 2 * root + 1), key=lambda size: abs(math.log(size / root)))
    return next((size for size in near if length % size == 0), root)


def _zero_padding(keep: Array, x: Any) -> Any:
    """x `[T, ...]` with zeros where keep `[T, *prefix]` is false, in its floating leaves."""
    return jax.tree.map(
        lambda leaf: masking.select(keep, leaf, 0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, x
    )
