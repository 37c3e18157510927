"""A path around a cell."""

from rnnjax._types import Array, Carry, Cell, Params


def residual(cell: Cell) -> Cell:
    """Adds the input to the output of a cell: y = x + cell's y.

    Reference: He et al. 2016, "Deep residual learning for image recognition"; between recurrent layers as in Wu
    et al. 2016, "Google's neural machine translation system".

    Args:
      cell: a `Cell` whose output has as many features as its input.

    Returns:
      A `Cell` with the same params and carry; x and y are `[..., F]`.

    Raises:
      ValueError: the cell's output has another shape than x; at the first step, if the cell does not state its sizes.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> cell = rnnjax.residual(rnnjax.gru(3, 3))
      >>> _, ys = rnnjax.unroll(cell, cell.init(jax.random.key(0)), jnp.ones((4, 2, 3)))
      >>> ys.shape
      (4, 2, 3)
    """
    remedy = "give the cell as many hidden as input features, or wrap it in projected first"
    if None not in (cell.input_size, cell.output_size) and cell.input_size != cell.output_size:
        raise ValueError(
            f"residual: expected a cell with as many output as input features, got output_size {cell.output_size} and "
            f"input_size {cell.input_size}; {remedy}."
        )

    def apply(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
        carry, y = cell.apply(params, carry, x)
        if y.shape != x.shape:
            raise ValueError(
                f"residual: expected the cell's output to have the shape of x {x.shape}, got {y.shape}; {remedy}."
            )
        return carry, x.astype(y.dtype) + y

    size = cell.output_size if cell.input_size is None else cell.input_size
    return Cell(cell.init, cell.initial_carry, apply, size, size, cell.feature_axes)
