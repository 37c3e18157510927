"""A cell over time, as nnx.RNN has it."""

from typing import Any

from flax import nnx

from rnnjax._types import Array
from rnnjax.flax._sequences import run, time_axis
from rnnjax.flax.nnx._cells import RNNCell
from rnnjax.flax.nnx._params import unwrap


class RNN(nnx.RNN):
    """Applies a cell over a sequence: `nnx.RNN`, whose cells of this namespace run by `rnnjax.unroll`.

    A row of length 0 returns its initial carry, lengths have any number of batch axes, and outputs behind the end of a
    row are zero. Cells of Flax and your own run as they do in `nnx.RNN`.

    Args:
      cell, time_major, return_carry, reverse, keep_order: as for `nnx.RNN`.
      unroll, state_axes, broadcast_rngs, rngs: the same; they concern cells of Flax alone.

    Returns:
      A module: `inputs [*batch, T, F] -> ys [*batch, T, H]`, or `(carry, ys)` with return_carry; `[T, *batch, ...]`
      with time_major.

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import GRUCell, RNN
      >>> rnn = RNN(GRUCell(3, 5, rngs=nnx.Rngs(0)), return_carry=True)
      >>> h, ys = rnn(jnp.ones((2, 7, 3)), seq_lengths=jnp.array([7, 0]))
      >>> ys.shape, float(abs(h[1]).max())
      ((2, 7, 5), 0.0)
    """

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Any = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
        rngs: Any = None,
    ) -> Any:
        """Runs the cell over inputs `[*batch, T, F]`, with integers seq_lengths `[*batch]`; see `nnx.RNN`."""
        cell = self.cell
        if not isinstance(cell, RNNCell) or type(cell).__call__ is not RNNCell.__call__:  # steps otherwise
            return super().__call__(
                inputs, initial_carry=initial_carry, seq_lengths=seq_lengths, return_carry=return_carry,
                time_major=time_major, reverse=reverse, keep_order=keep_order, rngs=rngs,
            )  # fmt: skip
        time_major = self.time_major if time_major is None else time_major
        if initial_carry is None:
            axis = time_axis(inputs, cell.num_feature_axes, time_major)
            stream = self.rngs if rngs is None else rngs
            initial_carry = cell.initialize_carry(inputs.shape[:axis] + inputs.shape[axis + 1 :], stream)
        carry, ys = run(
            cell.cell,
            unwrap(cell.params),
            cell.as_inputs(inputs),
            cell.ours(initial_carry),
            feature_axes=cell.num_feature_axes,
            lengths=seq_lengths,
            time_major=time_major,
            reverse=self.reverse if reverse is None else reverse,
            keep_order=self.keep_order if keep_order is None else keep_order,
        )
        return (cell.theirs(carry), ys) if (self.return_carry if return_carry is None else return_carry) else ys
