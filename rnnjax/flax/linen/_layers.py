"""Layers over time as linen modules."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import linen
from flax.core import FrozenDict

from rnnjax import _checks as checks
from rnnjax import cells
from rnnjax._types import Array, Cell, Layers
from rnnjax.flax._layers import run_layers, same_layers
from rnnjax.seq2seq import encoder


class _Layers(linen.Module, kw_only=True):
    """Layers over time; a subclass says in `make` which. Its attributes are passed by keyword."""

    dropout: float = 0.0
    learn_carry: bool = False
    time_major: bool = False
    return_carry: bool = False
    deterministic: bool | None = None

    @linen.nowrap
    def make(self, input_size: int) -> Sequence[Cell | tuple[Cell, Cell]]:
        """The layers, for inputs of so many features."""
        raise NotImplementedError

    @linen.nowrap
    def encoder_options(self) -> Mapping[str, Any]:
        """Further options of `rnnjax.encoder`."""
        return {}

    @linen.compact
    def __call__(
        self,
        inputs: Array,
        *,
        initial_carry: Layers | None = None,
        seq_lengths: Array | None = None,
        mask: Array | None = None,
        resets: Array | None = None,
        return_carry: bool | None = None,
        time_major: bool | None = None,
        deterministic: bool | None = None,
    ) -> Any:
        """Runs the layers.

        Args:
          inputs: `[*batch, T, F]`, or `[T, *batch, F]` with time_major, as all that follows.
          initial_carry: `Layers` of carries; the learned one, or zeros, if None.
          seq_lengths: integers `[*batch]`.
          mask: booleans `[*batch, T]`, true for real steps, instead of seq_lengths.
          resets: booleans `[*batch, T]`: the carry starts afresh before this step.
          return_carry, time_major, deterministic: instead of those of the module.

        Returns:
          `ys [*batch, T, M]`, zero behind the end of a row, or `(carry, ys)`.
        """
        layers = self.make(inputs.shape[-1])
        reader = encoder(layers, dropout=self.dropout, **self.encoder_options())
        params, start = self.param("layers", reader.init), None
        if self.learn_carry:
            start = self.param("start", lambda key: reader.initial_carry())  # type: ignore[misc]
        key = None
        if self.dropout and not linen.merge_param("deterministic", self.deterministic, deterministic):
            key = self.make_rng("dropout")
        carry, ys = run_layers(
            reader, params, inputs, initial_carry, start=start, feature_axes=checks.first_cell(layers).feature_axes,
            key=key, lengths=seq_lengths, mask=mask, resets=resets,
            time_major=self.time_major if time_major is None else time_major,
        )  # fmt: skip
        return (carry, ys) if (self.return_carry if return_carry is None else return_carry) else ys


class Encoder(_Layers):
    """Makes a linen module of layers, each a `Cell` or a pair of them for both directions: `rnnjax.encoder`.

    Attributes:
      layers: L layers, from the one that sees the inputs on.
      options: of `unroll_layers`, such as `{"merge": jnp.add}`.
      dropout: probability that an output of a layer is dropped on its way to the next; then `deterministic` must be
        given, here or in a call, and calls with dropout need a key for "dropout".
      learn_carry: whether the carry to start from is a parameter, the same for all rows; zeros at first.
      time_major: whether inputs are `[T, *batch, F]`.
      return_carry: whether to return `(carry, ys)`.
      deterministic: no dropout.

    Examples:
      >>> import jax, jax.numpy as jnp, rnnjax
      >>> from rnnjax.flax.linen import Encoder
      >>> layers = [(rnnjax.gru(3, 5), rnnjax.gru(3, 5)), rnnjax.residual(rnnjax.lstm(10, 10))]
      >>> reader, xs = Encoder(layers, dropout=0.2), jnp.ones((2, 7, 3))
      >>> variables = reader.init(jax.random.key(0), xs, deterministic=True)
      >>> lengths, rngs = jnp.array([7, 4]), {"dropout": jax.random.key(1)}
      >>> reader.apply(variables, xs, seq_lengths=lengths, deterministic=False, rngs=rngs).shape
      (2, 7, 10)
    """

    layers: Sequence[Any]
    options: Mapping[str, Any] = FrozenDict()

    @linen.nowrap
    def make(self, input_size: int) -> Sequence[Cell | tuple[Cell, Cell]]:
        """The layers."""
        return self.layers

    @linen.nowrap
    def encoder_options(self) -> Mapping[str, Any]:
        """Further options of `rnnjax.encoder`."""
        return self.options


class LSTM(_Layers):
    """Makes layers of LSTMs over time, as a linen module.

    Attributes:
      features: H, of each direction.
      num_layers: L.
      bidirectional: whether each layer reads both ways; outputs are concatenated.
      options: of `rnnjax.lstm`, such as `{"dtype": jnp.bfloat16}`.
      dropout, learn_carry, time_major, return_carry, deterministic: see `Encoder`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import LSTM
      >>> lstm, xs = LSTM(5, num_layers=2, bidirectional=True), jnp.ones((2, 7, 3))
      >>> ys, variables = lstm.init_with_output(jax.random.key(0), xs, seq_lengths=jnp.array([7, 4]))
      >>> ys.shape
      (2, 7, 10)
    """

    features: int
    num_layers: int = 1
    bidirectional: bool = False
    options: Mapping[str, Any] = FrozenDict()

    @linen.nowrap
    def make(self, input_size: int) -> Sequence[Cell | tuple[Cell, Cell]]:
        """The layers, for inputs of so many features."""
        return same_layers(
            self.constructor, input_size, self.features, self.num_layers, self.bidirectional, self.options
        )

    @property
    def constructor(self) -> Callable[..., Cell]:
        """Makes one cell."""
        return cells.lstm


class GRU(LSTM):
    """Makes layers of GRUs over time, as a linen module.

    Attributes:
      features, num_layers, bidirectional: see `LSTM`.
      options: of `rnnjax.gru`.
      dropout, learn_carry, time_major, return_carry, deterministic: see `Encoder`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import GRU
      >>> gru = GRU(5, learn_carry=True, return_carry=True)
      >>> (carry, ys), variables = gru.init_with_output(jax.random.key(0), jnp.ones((2, 7, 3)))
      >>> ys.shape, carry.layers[0].h.shape
      ((2, 7, 5), (2, 5))
    """

    @property
    def constructor(self) -> Callable[..., Cell]:
        """Makes one cell."""
        return cells.gru


class SimpleRNN(LSTM):
    """Makes layers of simple recurrent networks over time, as a linen module; `RNN` is Flax's name for something else.

    Attributes:
      features, num_layers, bidirectional: see `LSTM`.
      options: of `rnnjax.rnn`, such as `{"activation": jax.nn.relu}`.
      dropout, learn_carry, time_major, return_carry, deterministic: see `Encoder`.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from rnnjax.flax.linen import SimpleRNN
      >>> SimpleRNN(5).init_with_output(jax.random.key(0), jnp.ones((2, 7, 3)))[0].shape
      (2, 7, 5)
    """

    @property
    def constructor(self) -> Callable[..., Cell]:
        """Makes one cell."""
        return cells.rnn
