"""Cells as nnx modules: any `Cell`, and those that have the names and the signatures of Flax's."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from rnnjax import cells
from rnnjax._types import Activation, Cell, Initializer, Params
from rnnjax.flax._cells import LECUN, ORTHOGONAL, ZEROS, flax_cell
from rnnjax.flax._sequences import as_floats, from_flax, to_flax
from rnnjax.flax.nnx._params import nnx_params, unwrap


class RNNCell(nnx.RNNCellBase):
    """Makes an nnx module of any `Cell`, for `RNN`, `nnx.RNN`, `nnx.scan` or a loop of your own.

    The way back is `module.cell` and `unwrap(module.params)`; nothing is copied.

    Args:
      cell: the `Cell`.
      params: its parameters; drawn from rngs.params() if None.
      rngs: `nnx.Rngs`, needed where there are no params.

    Returns:
      A module: `(carry, inputs [..., F]) -> (carry, y [..., H])`, whose carry is that of the cell, and
      `initialize_carry(input_shape, rngs=None, carry_init=None)`.

    Raises:
      ValueError: neither params nor rngs.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import RNN, RNNCell, unwrap
      >>> cell = RNNCell(rnnjax.layer_norm_lstm(3, 5), rngs=nnx.Rngs(0))
      >>> RNN(cell)(jnp.ones((2, 7, 3))).shape
      (2, 7, 5)
      >>> unwrap(cell.params).w_x.shape
      (3, 20)
    """

    def __init__(self, cell: Cell, *, params: Params | None = None, rngs: nnx.Rngs | None = None):
        if params is None and rngs is None:
            raise ValueError("RNNCell: expected params, or rngs to draw them from, got neither.")
        self.cell = cell
        self.params = nnx_params(cell.init(rngs.params()) if params is None else params)  # type: ignore[union-attr]

    def __call__(self, carry: Any, inputs: Any) -> tuple[Any, Any]:
        """Steps the cell: `(carry, inputs [..., F]) -> (carry, y [..., H])`."""
        after, y = self.cell.apply(unwrap(self.params), self.ours(carry), self.as_inputs(inputs))
        return self.theirs(after), y

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Initializer | None = None
    ) -> Any:
        """Makes the carry to start from: zeros, or what carry_init draws from rngs.carry().

        Args:
          input_shape: shape of the inputs of one step, `[..., F]`.
          rngs: `nnx.Rngs` or a stream of it, where carry_init needs keys.
          carry_init: initialiser `(key, shape, dtype)` of each array.

        Returns:
          The carry of the module.
        """
        batch_shape = input_shape[: len(input_shape) - self.cell.feature_axes]
        carry = self.cell.initial_carry(batch_shape, self.carry_dtype)
        if carry_init is not None:
            stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
            keys = (jax.random.key(0) if stream is None else stream() for _ in jax.tree.leaves(carry))
            carry = jax.tree.map(lambda leaf: carry_init(next(keys), leaf.shape, leaf.dtype), carry)
        return self.theirs(carry)

    @property
    def num_feature_axes(self) -> int:
        """How many axes of inputs are not of the batch."""
        return self.cell.feature_axes

    carry_dtype: Any = jnp.float32

    def as_inputs(self, inputs: Any) -> Any:
        """The inputs of the module as those of the cell."""
        return inputs

    def ours(self, carry: Any) -> Any:
        """The carry of the module as that of the cell."""
        return carry

    def theirs(self, carry: Any) -> Any:
        """The carry of the cell as that of the module."""
        return carry


class _FlaxCell(RNNCell):
    """A cell with the options and the carry of Flax; the options stand on `LSTMCell`."""

    make: Callable[..., Cell]

    def __init__(
        self, in_features: int, hidden_features: int, *,
        gate_fn: Activation | None = None, activation_fn: Activation = jnp.tanh,
        kernel_init: Initializer = LECUN, recurrent_kernel_init: Initializer = ORTHOGONAL,
        bias_init: Initializer = ZEROS, dtype: Any = None, param_dtype: Any = jnp.float32,
        carry_init: Initializer | None = None, rngs: nnx.Rngs,
    ):  # fmt: skip
        cell = flax_cell(
            self.make, in_features, hidden_features, gate_fn=gate_fn, activation_fn=activation_fn,
            kernel_init=kernel_init, recurrent_kernel_init=recurrent_kernel_init, bias_init=bias_init, dtype=dtype,
            param_dtype=param_dtype,
        )  # fmt: skip
        super().__init__(cell, rngs=rngs)
        self.in_features, self.hidden_features = in_features, hidden_features
        self.carry_init, self.carry_dtype = carry_init, param_dtype
        self.rngs = nnx.data(None)  # Flax's cells have it, and what is written for them passes it on

    def initialize_carry(
        self, input_shape: tuple[int, ...], rngs: Any = None, carry_init: Initializer | None = None
    ) -> Any:
        """Makes the carry to start from: zeros, or what a carry_init draws; see `RNNCell`."""
        return super().initialize_carry(input_shape, rngs, carry_init or self.carry_init)

    def as_inputs(self, inputs: Any) -> Any:
        """Inputs whose integers became floats, as Flax promotes them."""
        return as_floats(inputs)

    def ours(self, carry: Any) -> Any:
        """Flax's carry as ours."""
        return from_flax(self.cell.initial_carry(), carry)

    def theirs(self, carry: Any) -> Any:
        """Our carry as Flax's."""
        return to_flax(carry)


class LSTMCell(_FlaxCell):
    """Makes the LSTM cell under Flax's name, with Flax's options, initialisers and carry `(c, h)`.

    Its parameters are `LSTMParams(w_x [F, 4H], w_h [H, 4H], b [4H])`, in `params`; `rnnjax.convert` reads those of
    Flax's cell. Its bias starts from zeros, as there; `RNNCell(rnnjax.lstm(...))` starts with a forget bias of 1.

    Args:
      in_features: F.
      hidden_features: H.
      gate_fn: of the gates; the sigmoid if None.
      activation_fn: of the candidate and of c.
      kernel_init: initialiser of w_x, gate by gate `[F, H]`.
      recurrent_kernel_init: initialiser of w_h, gate by gate `[H, H]`.
      bias_init: initialiser of b.
      dtype: dtype of the products; that of the parameters if None.
      param_dtype: dtype of parameters and carry.
      carry_init: initialiser of the carry; zeros if None.
      rngs: `nnx.Rngs`.

    Returns:
      A module: `((c, h), inputs [..., F]) -> ((c, h), y [..., H])`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import LSTMCell
      >>> cell = LSTMCell(3, 5, rngs=nnx.Rngs(0))
      >>> (c, h), y = cell(cell.initialize_carry((2, 3)), jnp.ones((2, 3)))
      >>> y.shape
      (2, 5)
    """

    make = staticmethod(cells.lstm)


OptimizedLSTMCell = LSTMCell


class GRUCell(_FlaxCell):
    """Makes the GRU cell under Flax's name, with Flax's options, initialisers and carry h.

    The reset gate multiplies after the recurrent product, as there; parameters are `GRUParams`, whose u is 1 - z.

    Args:
      in_features, hidden_features, gate_fn, activation_fn, kernel_init, recurrent_kernel_init, bias_init, dtype,
        param_dtype, carry_init, rngs: see `LSTMCell`.

    Returns:
      A module: `(h, inputs [..., F]) -> (h, y [..., H])`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import GRUCell
      >>> cell = GRUCell(3, 5, rngs=nnx.Rngs(0))
      >>> h, y = cell(cell.initialize_carry((2, 3)), jnp.ones((2, 3)))
      >>> h.shape
      (2, 5)
    """

    make = staticmethod(cells.gru)


class SimpleCell(_FlaxCell):
    """Makes the simple recurrent cell under Flax's name, with Flax's options, initialisers and carry h.

    Args:
      in_features, hidden_features, activation_fn, kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype,
        carry_init, rngs: see `LSTMCell`.

    Returns:
      A module: `(h, inputs [..., F]) -> (h, y [..., H])`.

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import SimpleCell
      >>> SimpleCell(3, 5, rngs=nnx.Rngs(0))(jnp.zeros((2, 5)), jnp.ones((2, 3)))[1].shape
      (2, 5)
    """

    make = staticmethod(cells.rnn)
