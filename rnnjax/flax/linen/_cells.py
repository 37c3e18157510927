"""Cells as linen modules: any `Cell`, and those that have the names and the signatures of Flax's."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen

from rnnjax import cells
from rnnjax._types import Activation, Cell, Initializer, Params
from rnnjax.flax._cells import LECUN, ORTHOGONAL, ZEROS, flax_cell
from rnnjax.flax._sequences import as_floats, from_flax, to_flax


class Bound(NamedTuple):
    """A cell with the parameters that a module holds for it."""

    cell: Cell
    params: Params


class CellModule(linen.RNNCellBase):
    """What all cells of this namespace share: a subclass says in `make` which cell it is."""

    @linen.nowrap
    def make(self, input_size: int, hidden_size: int) -> Cell:
        """The cell, for inputs and a state of so many features."""
        raise NotImplementedError

    @linen.compact
    def bound(self, carry: Any, inputs: Any) -> Bound:
        """The cell and its parameters, which are made at the first call; as in Flax, the carry tells the size of h."""
        cell = self.make(last_size(inputs), last_size(carry))
        return Bound(cell, self.param("cell", cell.init))

    def __call__(self, carry: Any, inputs: Any) -> tuple[Any, Any]:
        """Steps the cell: `(carry, inputs [..., F]) -> (carry, y [..., H])`."""
        cell, params = self.bound(carry, inputs)
        after, y = cell.apply(params, self.ours(carry), self.as_inputs(inputs))
        return self.theirs(after), y

    @linen.nowrap
    def as_inputs(self, inputs: Any) -> Any:
        """The inputs of the module as those of the cell."""
        return inputs

    @linen.nowrap
    def ours(self, carry: Any) -> Any:
        """The carry of the module as that of the cell."""
        return carry

    @linen.nowrap
    def theirs(self, carry: Any) -> Any:
        """The carry of the cell as that of the module."""
        return carry


def last_size(tree: Any) -> int:
    """The last axis of the first leaf; 1 where there is none."""
    shape = jnp.shape(next(iter(jax.tree.leaves(tree)), 0))
    return shape[-1] if shape else 1


class RNNCell(CellModule):
    """Makes a linen module of any `Cell`, for `RNN`, `linen.RNN`, `linen.scan` or a loop of your own.

    The way back is `module.cell` and `variables["params"]["cell"]`; nothing is copied.

    Attributes:
      cell: the `Cell`.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.flax.linen import RNN, RNNCell
      >>> rnn = RNN(RNNCell(rnnjax.layer_norm_lstm(3, 5)))
      >>> ys, variables = rnn.init_with_output(jax.random.key(0), jnp.ones((2, 7, 3)))
      >>> ys.shape, variables["params"]["cell"]["cell"].w_x.shape
      ((2, 7, 5), (3, 20))
    """

    cell: Cell

    @linen.nowrap
    def make(self, input_size: int, hidden_size: int) -> Cell:
        """The cell."""
        return self.cell

    @linen.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
        """Makes the carry to start from, for inputs of one step of this shape, `[..., F]`."""
        return self.cell.initial_carry(input_shape[: len(input_shape) - self.cell.feature_axes])

    @property
    def num_feature_axes(self) -> int:
        """How many axes of inputs are not of the batch."""
        return self.cell.feature_axes


class _FlaxCell(CellModule, kw_only=True):
    """A cell with the carry of Flax, and the options that all of its cells have, which are passed by keyword."""

    dtype: Any = None
    param_dtype: Any = jnp.float32
    carry_init: Initializer = ZEROS

    @linen.nowrap
    def as_inputs(self, inputs: Any) -> Any:
        """Inputs whose integers became floats, as Flax promotes them."""
        return as_floats(inputs)

    @linen.nowrap
    def ours(self, carry: Any) -> Any:
        """Flax's carry as ours."""
        return from_flax(self.make(1, 1).initial_carry(), carry)

    @linen.nowrap
    def theirs(self, carry: Any) -> Any:
        """Our carry as Flax's."""
        return to_flax(carry)

    @linen.nowrap
    def initialize_carry(self, rng: Any, input_shape: tuple[int, ...]) -> Any:
        """Makes the carry to start from, drawn by carry_init, for inputs of one step of this shape, `[..., F]`."""
        cell = self.make(1, self.features)
        like = self.theirs(cell.initial_carry(input_shape[:-1], self.param_dtype))
        leaves, structure = jax.tree.flatten(like)
        keys = jax.random.split(rng, len(leaves))
        drawn = [self.carry_init(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, drawn)

    @property
    def num_feature_axes(self) -> int:
        """How many axes of inputs are not of the batch."""
        return 1


class _GatedCell(_FlaxCell):
    """A cell with gates; its options stand on `LSTMCell`."""

    features: int
    gate_fn: Activation = jax.nn.sigmoid
    activation_fn: Activation = jnp.tanh
    kernel_init: Initializer = LECUN
    recurrent_kernel_init: Initializer = ORTHOGONAL
    bias_init: Initializer = ZEROS

    @property
    def constructor(self) -> Callable[..., Cell]:
        """Makes the cell."""
        raise NotImplementedError

    @linen.nowrap
    def make(self, input_size: int, hidden_size: int) -> Cell:
        """The cell, for inputs and a state of so many features."""
        return flax_cell(
            self.constructor, input_size, hidden_size, activation_fn=self.activation_fn, gate_fn=self.gate_fn,
            kernel_init=self.kernel_init, recurrent_kernel_init=self.recurrent_kernel_init, bias_init=self.bias_init,
            dtype=self.dtype, param_dtype=self.param_dtype,
        )  # fmt: skip


class LSTMCell(_GatedCell):
    """Makes the LSTM cell under Flax's name, with Flax's options, initialisers and carry `(c, h)`.

    Its parameters are `LSTMParams(w_x [F, 4H], w_h [H, 4H], b [4H])`, under "cell"; `rnnjax.convert` reads those of
    Flax's cell. Its bias starts from zeros, as there; `RNNCell(rnnjax.lstm(...))` starts with a forget bias of 1.

    Attributes:
      features: H.
      gate_fn: of the gates.
      activation_fn: of the candidate and of c.
      kernel_init: initialiser of w_x, gate by gate `[F, H]`.
      recurrent_kernel_init: initialiser of w_h, gate by gate `[H, H]`.
      bias_init: initialiser of b.
      dtype: dtype of the products; that of the parameters if None.
      param_dtype: dtype of parameters and carry.
      carry_init: initialiser of the carry.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import LSTMCell
      >>> cell, x = LSTMCell(5), jnp.ones((2, 3))
      >>> carry = cell.initialize_carry(jax.random.key(0), x.shape)
      >>> ((c, h), y), variables = cell.init_with_output(jax.random.key(1), carry, x)
      >>> y.shape
      (2, 5)
    """

    @property
    def constructor(self) -> Callable[..., Cell]:
        """Makes the cell."""
        return cells.lstm


OptimizedLSTMCell = LSTMCell


class GRUCell(_GatedCell):
    """Makes the GRU cell under Flax's name, with Flax's options, initialisers and carry h.

    The reset gate multiplies after the recurrent product, as there; parameters are `GRUParams`, whose u is 1 - z.

    Attributes:
      features, gate_fn, activation_fn, kernel_init, recurrent_kernel_init, bias_init: see `LSTMCell`.
      dtype, param_dtype, carry_init: see `LSTMCell`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import GRUCell
      >>> (h, y), variables = GRUCell(5).init_with_output(jax.random.key(0), jnp.zeros((2, 5)), jnp.ones((2, 3)))
      >>> h.shape
      (2, 5)
    """

    @property
    def constructor(self) -> Callable[..., Cell]:
        """Makes the cell."""
        return cells.gru


class SimpleCell(_FlaxCell):
    """Makes the simple recurrent cell under Flax's name, with Flax's options, initialisers and carry h.

    Attributes:
      features, activation_fn, kernel_init, recurrent_kernel_init, bias_init, dtype, param_dtype, carry_init: see
        `LSTMCell`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import SimpleCell
      >>> (h, y), variables = SimpleCell(5).init_with_output(jax.random.key(0), jnp.zeros((2, 5)), jnp.ones((2, 3)))
      >>> y.shape
      (2, 5)
    """

    features: int
    activation_fn: Activation = jnp.tanh
    kernel_init: Initializer = LECUN
    recurrent_kernel_init: Initializer = ORTHOGONAL
    bias_init: Initializer = ZEROS

    @linen.nowrap
    def make(self, input_size: int, hidden_size: int) -> Cell:
        """The cell, for inputs and a state of so many features."""
        return flax_cell(
            cells.rnn, input_size, hidden_size, activation_fn=self.activation_fn, kernel_init=self.kernel_init,
            recurrent_kernel_init=self.recurrent_kernel_init, bias_init=self.bias_init, dtype=self.dtype,
            param_dtype=self.param_dtype,
        )  # fmt: skip


class ConvLSTMCell(_FlaxCell):
    """Makes the convolutional LSTM cell under Flax's name, with Flax's options and carry `(c, h)`.

    Convolutions keep the size of space. The forget bias of 1 that Flax adds at each step is stored in the bias here.

    Attributes:
      features: H, channels of the state.
      kernel_size: of the convolutions, one entry per axis of space.
      use_bias: whether there is a bias.
      dtype, param_dtype, carry_init: see `LSTMCell`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import ConvLSTMCell, RNN
      >>> rnn = RNN(ConvLSTMCell(5, kernel_size=(3, 3)))
      >>> ys, variables = rnn.init_with_output(jax.random.key(0), jnp.ones((2, 7, 11, 13, 3)))  # [B, T, *space, F]
      >>> ys.shape
      (2, 7, 11, 13, 5)
    """

    features: int
    kernel_size: Sequence[int]
    use_bias: bool = True

    @linen.nowrap
    def make(self, input_size: int, hidden_size: int) -> Cell:
        """The cell, for inputs and a state of so many features."""
        return cells.conv_lstm(
            input_size, hidden_size, kernel_shape=tuple(self.kernel_size), use_bias=self.use_bias,
            dtype=self.dtype, param_dtype=self.param_dtype,
        )  # fmt: skip

    @property
    def num_feature_axes(self) -> int:
        """How many axes of inputs are not of the batch."""
        return len(self.kernel_size) + 1
