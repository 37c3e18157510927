"""A cell over time, as linen.RNN has it."""

from typing import Any

import jax
from flax import linen

from rnnjax._types import Array
from rnnjax.flax._sequences import run, time_axis
from rnnjax.flax.linen._cells import CellModule


class RNN(linen.RNN):
    """Applies a cell over a sequence: `linen.RNN`, whose cells of this namespace run by `rnnjax.unroll`.

    A row of length 0 returns its initial carry, lengths have any number of batch axes, and outputs behind the end of a
    row are zero. Cells of Flax and your own run as they do in `linen.RNN`.

    Attributes:
      cell, time_major, return_carry, reverse, keep_order: as for `linen.RNN`.
      unroll, variable_axes, variable_broadcast, variable_carry, split_rngs: the same; they concern cells of Flax alone.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import GRUCell, RNN
      >>> rnn, xs = RNN(GRUCell(5), return_carry=True), jnp.ones((2, 7, 3))
      >>> (h, ys), variables = rnn.init_with_output(jax.random.key(0), xs, seq_lengths=jnp.array([7, 0]))
      >>> ys.shape, float(abs(h[1]).max())
      ((2, 7, 5), 0.0)
    """

    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Any = None,
        init_key: Any = None,
        seq_lengths: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        reverse: bool | None = None,
        keep_order: bool | None = None,
    ) -> Any:
        """Runs the cell over inputs `[*batch, T, F]`, with integers seq_lengths `[*batch]`; see `linen.RNN`."""
        cell = self.cell
        if not isinstance(cell, CellModule) or type(cell).__call__ is not CellModule.__call__:  # steps otherwise
            return super().__call__(
                inputs, initial_carry=initial_carry, init_key=init_key, seq_lengths=seq_lengths,
                return_carry=return_carry, time_major=time_major, reverse=reverse, keep_order=keep_order,
            )  # fmt: skip
        time_major = self.time_major if time_major is None else time_major
        if initial_carry is None:
            axis = time_axis(inputs, cell.num_feature_axes, time_major)
            init_key = jax.random.key(0) if init_key is None else init_key
            initial_carry = cell.initialize_carry(init_key, inputs.shape[:axis] + inputs.shape[axis + 1 :])
        bound = cell.bound(initial_carry, inputs)
        carry, ys = run(
            bound.cell,
            bound.params,
            cell.as_inputs(inputs),
            cell.ours(initial_carry),
            feature_axes=cell.num_feature_axes,
            lengths=seq_lengths,
            time_major=time_major,
            reverse=self.reverse if reverse is None else reverse,
            keep_order=self.keep_order if keep_order is None else keep_order,
        )
        return (cell.theirs(carry), ys) if (self.return_carry if return_carry is None else return_carry) else ys
