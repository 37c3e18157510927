"""Cells lifted over time: unroll, its slow twin, bidirectional runs, layers, and truncated backpropagation.

The shared assumption: inputs are `xs [T, ..., F]`, an array or a pytree of arrays `[T, ...]` whose first leaf is
one; the axes between time and features are the batch shape. Masks, lengths and resets have leading axes of the
batch shape, often just `[B]`, and hold for everything behind them. A step whose mask is false is skipped: it
keeps the carry, emits zeros, and neither its x nor its reset matters, not even as NaN.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax import _masking as masking
from rnnjax._types import Array, Bidirectional, Carry, Cell, Key, Layers, Params
from rnnjax.recurrence import _eager as eager
from rnnjax.recurrence._scan import scan

METHODS = ("auto", "scan")
MERGES: dict[str, Callable[[Array, Array], Array]] = {
    "concat": lambda a, b: jnp.concatenate([a, b], axis=-1),
    "sum": jnp.add,
    "mean": lambda a, b: (a + b) / 2,
    "product": jnp.multiply,
}


class _Steps(NamedTuple):
    """What one step consumes, and stacked `[T, ...]` what the loop runs over."""

    x: Any  # [..., F]
    keep: Array | None  # mask, bool [*prefix]
    reset: Array | None  # bool [*prefix]


class _Run(NamedTuple):
    """A checked call: everything that a loop over time needs."""

    carry: Carry  # to start from
    initial: Carry  # what a reset goes back to
    steps: _Steps  # stacked over time
    length: int  # T
    batch_shape: tuple[int, ...]


def unroll(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    time_major: bool = True,
    remat: Literal["step", "sqrt"] | int | None = None,
    chunk: int | None = None,
    method: str = "auto",
) -> tuple[Carry, Any]:
    """Runs a cell over time: carry_t, y_t = apply(params, carry_{t-1}, x_t), t = 0 ... T - 1.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`; `[B, T, ..., F]` if not time_major.
      carry: the carry to start from; `cell.initial_carry` of the batch shape if None.
      lengths: integers `[B]`, in steps: row b is right-padded from step lengths[b] on. Values are checked
        outside jit; inside it a length over T counts as T, a negative one as 0.
      mask: booleans `[T, B]`, true for real steps, instead of lengths; holes are allowed, a false step is skipped.
      resets: booleans `[T, B]`: the carry is set to the cell's initial carry before x_t is consumed.
      reverse: run from the last step to the first; ys keep the order of xs, and the carry is that of step 0.
      time_major: False for xs, ys, mask and resets with batch first.
      remat: what the backward pass recomputes, to save memory: None nothing; "step" what lies within a step,
        keeping the carries; an int n all of each block of n steps, keeping a carry a block; "sqrt" the same with
        n near the root of T. A block length that divides T saves a copy of the inputs.
      chunk: run in blocks of so many steps, which bounds the memory of what is computed for all steps at once.
      method: "auto" or "scan": the engine of the loop; both are the scan today.

    Returns:
      `(carry, ys)`: the carry after the last real step of each row, and the outputs `[T, ..., H]`, zero at
      skipped steps. A row without real steps keeps its first carry.

    Raises:
      ValueError, TypeError: an argument has the wrong rank, shape, dtype or value, or the cell returns a carry
        that differs in structure, shape or dtype from the one it got.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.lstm(3, 5)
      >>> params = cell.init(jax.random.key(0))
      >>> xs = jax.random.normal(jax.random.key(1), (7, 2, 3))  # [T, B, F]
      >>> carry, ys = rnnjax.unroll(cell, params, xs, lengths=jnp.array([7, 4]))
      >>> ys.shape, float(abs(ys[4:, 1]).max()), bool((carry.h[1] == ys[3, 1]).all())
      ((7, 2, 5), 0.0, True)
    """
    if method not in METHODS:
        raise ValueError(f"unroll: expected method to be one of {', '.join(METHODS)}, got {method!r}.")
    run = _check_call("unroll", cell, xs, carry, lengths, mask, resets, time_major)
    if isinstance(remat, int):
        _positive("unroll", "remat", remat)
    elif remat not in (None, "step", "sqrt"):
        raise ValueError(f"unroll: expected remat to be None, 'step', 'sqrt' or an int of steps, got {remat!r}.")
    if chunk is not None:
        _positive("unroll", "chunk", chunk)

    def wrap(loop):
        if isinstance(remat, int) or remat == "sqrt":
            size = _root_block(run.length) if remat == "sqrt" else remat
            loop = _in_blocks(loop, size, reverse, wrap=functools.partial(jax.checkpoint, prevent_cse=False))
        return loop if chunk is None else _in_blocks(loop, chunk, reverse)

    carry, ys = _loop_over(cell, params, run, reverse, wrap, options=("unroll", remat, chunk))
    return carry, ys if time_major else _swap_time(ys)


def unroll_reference(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    time_major: bool = True,
) -> tuple[Carry, Any]:
    """The same as `unroll`, written as the obvious Python loop: the twin that every fast path is tested against.

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`.
      carry: the carry to start from, or None.
      lengths: integers `[B]`, or None.
      mask: booleans `[T, B]`, or None.
      resets: booleans `[T, B]`, or None.
      reverse: run from the last step to the first.
      time_major: False for batch first.

    Returns:
      `(carry, ys)` as `unroll` gives them, ys `[T, ..., H]`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.gru(3, 5)
      >>> params, xs = cell.init(jax.random.key(0)), jax.random.normal(jax.random.key(1), (7, 2, 3))
      >>> _, slow = rnnjax.recurrence.unroll_reference(cell, params, xs, reverse=True)
      >>> _, fast = rnnjax.unroll(cell, params, xs, reverse=True)
      >>> bool(jnp.allclose(slow, fast, atol=1e-6))
      True
    """
    run = _check_call("unroll_reference", cell, xs, carry, lengths, mask, resets, time_major)
    carry, outputs = run.carry, {}
    for t in reversed(range(run.length)) if reverse else range(run.length):
        x, keep, reset = jax.tree.map(lambda leaf, t=t: leaf[t], run.steps)
        before = carry if reset is None else masking.select(reset, run.initial, carry)
        after, y = cell.apply(params, before, x)
        if keep is not None:
            after, y = masking.select(keep, after, carry), masking.select(keep, y, 0)
        carry, outputs[t] = after, y
    if outputs:
        ys = jax.tree.map(lambda *rows: jnp.stack(rows), *(outputs[t] for t in range(run.length)))
    else:  # no step ran, so the shape of y has to be asked for
        x = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), run.steps.x)
        _, y = jax.eval_shape(cell.apply, params, carry, x)
        ys = jax.tree.map(lambda leaf: jnp.zeros((0, *leaf.shape), leaf.dtype), y)
    return carry, ys if time_major else _swap_time(ys)


def tbptt(
    cell: Cell,
    params: Params,
    xs: Any,
    carry: Carry | None = None,
    *,
    steps: int,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    time_major: bool = True,
) -> tuple[Carry, Any]:
    """Truncated backpropagation through time: `unroll` in blocks of `steps`, with the gradient cut between them.

    Values are those of `unroll`; carries pass from block to block as constants. The carry passed in is a
    constant too; the one returned has the gradient of the last block. Reference: Williams & Peng 1990, "An
    efficient gradient-based algorithm for on-line training of recurrent network trajectories".

    Args:
      cell: the `Cell`.
      params: its parameters.
      xs: inputs `[T, ..., F]`.
      carry: the carry to start from, or None.
      steps: length of a block; the last one may be shorter.
      lengths: integers `[B]`, or None.
      mask: booleans `[T, B]`, or None.
      resets: booleans `[T, B]`, or None.
      time_major: False for batch first.

    Returns:
      `(carry, ys)` as `unroll` gives them, ys `[T, ..., H]`.

    Raises:
      ValueError, TypeError: as `unroll`.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.rnn(1, 1, activation=jax.nn.identity)
      >>> params = rnnjax.RNNParams(*map(jnp.ones, ((1, 1), (1, 1), (1,))))
      >>> reach = lambda xs: rnnjax.tbptt(cell, params, xs, steps=2)[1][-1, 0]
      >>> jax.grad(reach)(jnp.ones((5, 1)))[:, 0].tolist()  # the last block is one step
      [0.0, 0.0, 0.0, 0.0, 1.0]
    """
    run = _check_call("tbptt", cell, xs, carry, lengths, mask, resets, time_major)

    def cut(loop):
        return lambda carry, block: loop(jax.lax.stop_gradient(carry), block)

    size = _positive("tbptt", "steps", steps)

    def wrap(loop):
        return _in_blocks(loop, size, False, wrap=cut)

    carry, ys = _loop_over(cell, params, run, False, wrap, options=("tbptt", size))
    return carry, ys if time_major else _swap_time(ys)


def bidirectional(
    forward: Cell,
    backward: Cell,
    params: Bidirectional,
    xs: Any,
    carry: Bidirectional | None = None,
    *,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    time_major: bool = True,
    merge: str = "concat",
    remat: Literal["step", "sqrt"] | int | None = None,
    chunk: int | None = None,
    method: str = "auto",
) -> tuple[Bidirectional, Array]:
    """Two runs over the same inputs, one in each direction, row by row equal to those over the unpadded rows.

        y_t = merge(forward y_t, backward y_t)

    Resets mark where a new sequence begins, for both directions: the backward run starts afresh at the last
    step of each sequence. Reference: Schuster & Paliwal 1997, "Bidirectional recurrent neural networks".

    Args:
      forward: the `Cell` of the forward run.
      backward: the `Cell` of the backward run.
      params: `Bidirectional(forward, backward)`, the parameters of each.
      xs: inputs `[T, ..., F]`.
      carry: `Bidirectional(forward, backward)` to start from, or None.
      lengths: integers `[B]`, or None.
      mask: booleans `[T, B]`, or None.
      resets: booleans `[T, B]`, or None.
      time_major: False for batch first.
      merge: "concat", "sum", "mean" or "product" of the two outputs.
      remat: as in `unroll`.
      chunk: as in `unroll`.
      method: as in `unroll`.

    Returns:
      `(carries, ys)`: `Bidirectional(forward, backward)`, the forward carry after the last real step and the
      backward one after the first, and ys `[T, ..., 2H]` for "concat", else `[T, ..., H]`.

    Raises:
      ValueError, TypeError: as `unroll`, and for an unknown merge.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> fw, bw = rnnjax.lstm(3, 5), rnnjax.gru(3, 7)
      >>> params = rnnjax.Bidirectional(fw.init(jax.random.key(0)), bw.init(jax.random.key(1)))
      >>> carries, ys = rnnjax.bidirectional(fw, bw, params, jnp.ones((4, 2, 3)))
      >>> ys.shape, carries.backward.h.shape
      ((4, 2, 12), (2, 7))
    """
    if merge not in MERGES:
        raise ValueError(f"bidirectional: expected merge to be one of {', '.join(MERGES)}, got {merge!r}.")
    params = Bidirectional(*params)  # a pair will do
    carry = Bidirectional(None, None) if carry is None else Bidirectional(*carry)
    options: dict[str, Any] = {
        "lengths": lengths,
        "mask": mask,
        "time_major": time_major,
        "remat": remat,
        "chunk": chunk,
        "method": method,
    }
    carry_fw, ys_fw = unroll(forward, params.forward, xs, carry.forward, resets=resets, **options)
    run = _check_call("bidirectional", backward, xs, carry.backward, lengths, mask, resets, time_major)
    ends = _ends(run.steps)
    if ends is not None and ends.ndim > 1 and not time_major:
        ends = _swap_time(ends)
    carry_bw, ys_bw = unroll(backward, params.backward, xs, carry.backward, resets=ends, reverse=True, **options)
    return Bidirectional(carry_fw, carry_bw), MERGES[merge](ys_fw, ys_bw)


def unroll_layers(
    cells: "tuple[Cell, ...] | list[Cell]",
    params: Layers,
    xs: Any,
    carry: Layers | None = None,
    *,
    key: Key | None = None,
    dropout: float = 0.0,
    lengths: Array | None = None,
    mask: Array | None = None,
    resets: Array | None = None,
    reverse: bool = False,
    time_major: bool = True,
    remat: Literal["step", "sqrt"] | int | None = None,
    chunk: int | None = None,
    method: str = "auto",
) -> tuple[Layers, Array]:
    """Runs layer after layer, each over all of time: the values of `unroll(stack(cells), ...)`.

    Each layer sees all of its inputs at once, so that its input product is one large product. Dropout, between
    layers only, draws a fresh mask for every step, outside the loops. Reference: Zaremba, Sutskever & Vinyals
    2014, "Recurrent neural network regularization".

    Args:
      cells: the `Cell` of each layer; the first takes F features, each other the outputs of the one below.
      params: `Layers`, as `stack(cells).init` gives them.
      xs: inputs `[T, ..., F]`.
      carry: `Layers` of carries to start from, or None.
      key: random key of the dropout; None means no dropout (evaluation).
      dropout: probability that an output of a layer is dropped on its way to the next, in [0, 1).
      lengths: integers `[B]`, or None.
      mask: booleans `[T, B]`, or None.
      resets: booleans `[T, B]`, or None.
      reverse: run from the last step to the first.
      time_major: False for batch first.
      remat: as in `unroll`.
      chunk: as in `unroll`.
      method: as in `unroll`.

    Returns:
      `(carries, ys)`: `Layers` of last carries, and the outputs of the last layer `[T, ..., H]`.

    Raises:
      ValueError, TypeError: as `unroll`, and for a dropout outside [0, 1) or layers that do not match.

    Example:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cells = [rnnjax.lstm(3, 5), rnnjax.lstm(5, 7)]
      >>> params = rnnjax.stack(cells).init(jax.random.key(0))
      >>> carries, ys = rnnjax.unroll_layers(cells, params, jnp.ones((4, 2, 3)), key=jax.random.key(1), dropout=0.5)
      >>> ys.shape, carries.layers[0].h.shape
      ((4, 2, 7), (2, 5))
    """
    if not 0 <= dropout < 1:
        raise ValueError(f"unroll_layers: expected dropout to be a probability in [0, 1), got {dropout}.")
    if not cells:
        raise ValueError("unroll_layers: expected at least one cell, got none.")
    carry = Layers((None,) * len(cells)) if carry is None else carry
    if not len(cells) == len(params.layers) == len(carry.layers):
        raise ValueError(
            f"unroll_layers: expected as many params and carries as cells, {len(cells)}, got "
            f"{len(params.layers)} and {len(carry.layers)}; make the params with stack(cells).init(key)."
        )
    carries, ys = [], xs
    for layer, cell in enumerate(cells):
        if layer and dropout and key is not None:
            kept = jax.random.bernoulli(jax.random.fold_in(key, layer), 1 - dropout, ys.shape)
            ys = jnp.where(kept, ys / (1 - dropout), jnp.zeros_like(ys))
        carry_out, ys = unroll(
            cell,
            params.layers[layer],
            ys,
            carry.layers[layer],
            lengths=lengths,
            mask=mask,
            resets=resets,
            reverse=reverse,
            time_major=time_major,
            remat=remat,
            chunk=chunk,
            method=method,
        )
        carries.append(carry_out)
    return Layers(tuple(carries)), ys


# ---- the loop ------------------------------------------------------------------------------------------------


def _loop_over(
    cell: Cell, params: Params, run: _Run, reverse: bool, wrap: Callable, options: tuple[Any, ...]
) -> tuple[Carry, Any]:
    """The loop of a checked call, `wrap` of the scan over its steps; compiled once for a cell and options if eager."""

    def loop(apply, params, carry, initial, steps):
        per_step = options[:2] == ("unroll", "step")
        return wrap(_scan_steps(apply, params, initial, run.batch_shape, reverse, per_step))(carry, steps)

    args = params, run.carry, run.initial, run.steps
    if eager.is_eager(args):
        program = eager.compiled(cell.apply, (*options, reverse, run.batch_shape, run.length), loop)
        if program is not None:
            return program(*args)
    return loop(cell.apply, *args)


def _scan_steps(apply: Callable, params: Params, initial: Carry, batch_shape: tuple, reverse: bool, per_step: bool):
    """The loop `(carry, steps) -> (carry, ys)` over any number of steps."""

    def body(carry, step: _Steps):
        before = carry if step.reset is None else masking.select(step.reset, initial, carry)
        after, y = apply(params, before, step.x)
        _check_returned(carry, after, y, batch_shape)
        if step.keep is not None:
            # A skipped step keeps the carry from before its reset: a reset in the padding is inert.
            after, y = masking.select(step.keep, after, carry), masking.select(step.keep, y, 0)
        return after, y

    step = jax.checkpoint(body, prevent_cse=False) if per_step else body

    def loop(carry: Carry, steps: _Steps) -> tuple[Carry, Any]:
        if steps.keep is not None:
            # Zeros in the padding, so that NaN there reaches neither values nor gradients.
            steps = steps._replace(x=_zero_padding(steps.keep, steps.x))
        with jax.named_scope("unroll"):
            return scan(step, carry, steps, reverse=reverse)

    return loop


def _in_blocks(loop, size: int, reverse: bool, wrap: Callable = lambda loop: loop):
    """The same loop as a scan over blocks of `size` steps, each run by wrap(loop); a shorter one comes last."""
    run_block = wrap(loop)

    def blocked(carry: Carry, steps: _Steps) -> tuple[Carry, Any]:
        length = jax.tree.leaves(steps)[0].shape[0]
        rest = length % size
        if length <= size:
            return run_block(carry, steps)
        # The blocks lie where the run begins, the rest where it ends.
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


def _root_block(length: int) -> int:
    """A block length near the root of T, one that divides T if there is one: a rest costs a copy of the inputs."""
    root = max(1, math.isqrt(length))
    near = sorted(range(root // 2 + 1, 2 * root + 1), key=lambda size: abs(math.log(size / root)))
    return next((size for size in near if length % size == 0), root)


def _swap_time(tree: Any) -> Any:
    """[T, B, ...] <-> [B, T, ...] for every leaf."""
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), tree)


def _ends(steps: _Steps) -> Array | None:
    """Where sequences end, given where they begin: true at `[t]` if the next real step is a reset; `[T, ...]`."""
    if steps.reset is None:
        return None
    mask = jnp.ones_like(steps.reset) if steps.keep is None else steps.keep
    rank = max(steps.reset.ndim, mask.ndim)
    resets, mask = jnp.broadcast_arrays(
        *(flags.reshape(flags.shape + (1,) * (rank - flags.ndim)) for flags in (steps.reset, mask))
    )

    def body(next_is_reset: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        real, reset = step
        return jnp.where(real, reset, next_is_reset), next_is_reset

    return scan(body, jnp.zeros(resets.shape[1:], jnp.bool_), (mask, resets), reverse=True)[1]


def _zero_padding(keep: Array, x: Any) -> Any:
    """x `[T, ...]` with zeros where keep `[T, *prefix]` is false, in its floating leaves."""
    return jax.tree.map(
        lambda leaf: masking.select(keep, leaf, 0) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, x
    )


# ---- checks at the door --------------------------------------------------------------------------------------


def _positive(where: str, name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where}: expected {name} to be a positive int of steps, got {value!r}.")
    return value


def _check_call(where: str, cell: Cell, xs: Any, carry: Carry | None, lengths, mask, resets, time_major: bool) -> _Run:
    """Checks every argument of a call and brings it into time-major form."""
    axes = "[T, ..., F]" if time_major else "[B, T, ..., F]"
    xs = jax.tree.map(jnp.asarray, xs)
    leaves = jax.tree.leaves(xs)
    if not leaves or leaves[0].ndim < (2 if time_major else 3):
        got = leaves[0].shape if leaves else "no array"
        raise ValueError(f"{where}: expected xs of shape {axes}, got {got}; the last axis is features.")
    if not time_major:
        xs = _swap_time(xs)
    length, *batch = jax.tree.leaves(xs)[0].shape[:-1]
    batch_shape = tuple(batch)
    for leaf in jax.tree.leaves(xs):
        if leaf.ndim < 1 or leaf.shape[0] != length:
            raise ValueError(f"{where}: expected every leaf of xs to have {length} steps, got shape {leaf.shape}.")

    if lengths is not None and mask is not None:
        raise ValueError(f"{where}: expected lengths or mask, got both; they mean the same thing.")
    if lengths is not None:
        leading = batch_shape[: np.ndim(lengths)]
        mask = masking.length_mask(masking.check_lengths(where, lengths, length, leading), length)
    elif mask is not None:
        mask = _check_flags(where, "mask", mask, length, batch_shape, time_major)
    if resets is not None:
        resets = _check_flags(where, "resets", resets, length, batch_shape, time_major)

    wide = jax.tree.leaves(xs)[0].dtype == jnp.float64
    initial = cell.initial_carry(batch_shape, jnp.float64 if wide else jnp.float32)
    if carry is not None:
        carry = jax.tree.map(jnp.asarray, carry)
        _check_like(f"{where}: expected carry", initial, carry, "make it with cell.initial_carry(batch_shape)")
        initial = jax.tree.map(lambda zero, given: zero.astype(given.dtype), initial, carry)
    return _Run(initial if carry is None else carry, initial, _Steps(xs, mask, resets), length, batch_shape)


def _check_flags(where: str, name: str, flags, length: int, batch_shape: tuple[int, ...], time_major: bool) -> Array:
    """A mask or resets as booleans `[T, *prefix]`, time-major."""
    flags = jnp.asarray(flags)
    if flags.dtype != jnp.bool_:
        raise TypeError(f"{where}: expected {name} of dtype bool, got {flags.dtype}; compare it, as in {name} > 0.")
    if not time_major and flags.ndim >= 2:
        flags = _swap_time(flags)
    if flags.ndim < 1 or flags.shape != (length, *batch_shape)[: flags.ndim]:
        expected = (length, *batch_shape) if time_major else (*batch_shape[:1], length, *batch_shape[1:])
        raise ValueError(
            f"{where}: expected {name} with the leading axes of xs, {expected} or fewer, got shape {flags.shape}."
        )
    return flags


def _check_like(what: str, expected: Any, got: Any, remedy: str) -> None:
    """Raises ValueError unless two pytrees have the same structure and shapes."""
    if jax.tree.structure(expected) != jax.tree.structure(got):  # type: ignore[operator]
        raise ValueError(
            f"{what} of structure {jax.tree.structure(expected)}, got {jax.tree.structure(got)}; {remedy}."
        )
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(got), strict=True):
        if a.shape != jnp.shape(b):
            name = jax.tree_util.keystr(path)
            raise ValueError(f"{what}{name} of shape {a.shape}, got {jnp.shape(b)}; {remedy}.")


def _check_returned(before: Carry, after: Carry, y: Any, batch_shape: tuple[int, ...]) -> None:
    """Raises unless what a cell returned keeps the contract of `Cell`."""
    remedy = "a cell must return a carry like the one it got"
    _check_like("cell.apply: expected a carry", before, after, remedy)
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if a.dtype != b.dtype:
            name = jax.tree_util.keystr(path)
            raise TypeError(f"cell.apply: expected carry{name} of dtype {a.dtype}, got {b.dtype}; {remedy}.")
    for leaf in jax.tree.leaves(y):
        if leaf.shape[: len(batch_shape)] != batch_shape:
            raise ValueError(
                f"cell.apply: expected an output with the batch shape {batch_shape} in front, got {leaf.shape}."
            )
