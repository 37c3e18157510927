"""Layers over time as nnx modules."""

from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

from rnnjax import _checks as checks
from rnnjax import cells
from rnnjax._types import Array, Cell, Layers
from rnnjax.flax._layers import run_layers, same_layers
from rnnjax.flax.nnx._params import nnx_params, unwrap
from rnnjax.seq2seq import encoder


class Encoder(nnx.Module):
    """Makes an nnx module of layers, each a `Cell` or a pair of them for both directions: `rnnjax.encoder`.

    Args:
      layers: L layers, from the one that sees the inputs on.
      dropout: probability that an output of a layer is dropped on its way to the next.
      learn_carry: whether the carry to start from is a parameter, the same for all rows; zeros at first.
      time_major: whether inputs are `[T, *batch, F]`.
      return_carry: whether to return `(carry, ys)`.
      deterministic: no dropout; `module.eval()` sets it.
      rngs: `nnx.Rngs`: params, and dropout where there is any.
      **options: of `unroll_layers`, such as merge or remat.

    Returns:
      A module: `inputs [*batch, T, F] -> ys [*batch, T, M]`; its carry is `Layers`, with `Bidirectional` for a pair.

    Raises:
      ValueError, TypeError: those of `rnnjax.encoder`.

    Examples:
      >>> import jax.numpy as jnp, rnnjax
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import Encoder
      >>> layers = [(rnnjax.gru(3, 5), rnnjax.gru(3, 5)), rnnjax.residual(rnnjax.lstm(10, 10))]
      >>> reader = Encoder(layers, dropout=0.2, rngs=nnx.Rngs(0))
      >>> reader(jnp.ones((2, 7, 3)), seq_lengths=jnp.array([7, 4])).shape
      (2, 7, 10)
    """

    def __init__(
        self,
        layers: Sequence[Cell | tuple[Cell, Cell]],
        *,
        dropout: float = 0.0,
        learn_carry: bool = False,
        time_major: bool = False,
        return_carry: bool = False,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        self.encoder = encoder(layers, dropout=dropout, **options)
        self.feature_axes = checks.first_cell(layers).feature_axes
        self.params = nnx_params(self.encoder.init(rngs.params()))
        start = self.encoder.initial_carry() if learn_carry else None  # type: ignore[misc]
        self.start = nnx.data(None) if start is None else nnx_params(start)
        self.time_major, self.return_carry, self.deterministic = time_major, return_carry, deterministic
        self.rngs = rngs.dropout.fork() if dropout else nnx.data(None)

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
        rngs: nnx.Rngs | None = None,
    ) -> Any:
        """Runs the layers.

        Args:
          inputs: `[*batch, T, F]`, or `[T, *batch, F]` with time_major, as all that follows.
          initial_carry: `Layers` of carries; the learned one, or zeros, if None.
          seq_lengths: integers `[*batch]`.
          mask: booleans `[*batch, T]`, true for real steps, instead of seq_lengths.
          resets: booleans `[*batch, T]`: the carry starts afresh before this step.
          return_carry, time_major, deterministic: instead of those of the module.
          rngs: keys of the dropout, instead of those of the module.

        Returns:
          `ys [*batch, T, M]`, zero behind the end of a row, or `(carry, ys)`.
        """
        carry, ys = run_layers(
            self.encoder, unwrap(self.params), inputs, initial_carry, start=unwrap(self.start),
            feature_axes=self.feature_axes, key=self._key(deterministic, rngs), lengths=seq_lengths, mask=mask,
            resets=resets, time_major=self.time_major if time_major is None else time_major,
        )  # fmt: skip
        return (carry, ys) if (self.return_carry if return_carry is None else return_carry) else ys

    def _key(self, deterministic: bool | None, rngs: nnx.Rngs | None) -> Array | None:
        """A key for the dropout, or None where there is none."""
        if self.rngs is None or (self.deterministic if deterministic is None else deterministic):
            return None
        return self.rngs() if rngs is None else rngs.dropout()


class _Stack(Encoder):
    """Layers of one kind of cell; their options stand on `LSTM`."""

    make: Callable[..., Cell]

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        learn_carry: bool = False,
        time_major: bool = False,
        return_carry: bool = False,
        deterministic: bool = False,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(
            same_layers(self.make, in_features, hidden_features, num_layers, bidirectional, options),
            dropout=dropout, learn_carry=learn_carry, time_major=time_major, return_carry=return_carry,
            deterministic=deterministic, rngs=rngs,
        )  # fmt: skip


class LSTM(_Stack):
    """Makes layers of LSTMs over time, as an nnx module.

    Args:
      in_features: F.
      hidden_features: H, of each direction.
      num_layers: L.
      bidirectional: whether each layer reads both ways; outputs are concatenated.
      dropout, learn_carry, time_major, return_carry, deterministic, rngs: see `Encoder`.
      **options: of `rnnjax.lstm`, such as dtype and param_dtype.

    Returns:
      A module: `inputs [*batch, T, F] -> ys [*batch, T, H]`, or `2 H` if bidirectional; called as `Encoder` is.

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import LSTM
      >>> lstm = LSTM(3, 5, num_layers=2, bidirectional=True, dropout=0.2, rngs=nnx.Rngs(0))
      >>> lstm(jnp.ones((2, 7, 3)), seq_lengths=jnp.array([7, 4])).shape
      (2, 7, 10)
    """

    make = staticmethod(cells.lstm)


class GRU(_Stack):
    """Makes layers of GRUs over time, as an nnx module.

    Args:
      in_features, hidden_features, num_layers, bidirectional: see `LSTM`.
      dropout, learn_carry, time_major, return_carry, deterministic, rngs: see `Encoder`.
      **options: of `rnnjax.gru`.

    Returns:
      A module: `inputs [*batch, T, F] -> ys [*batch, T, H]`, or `2 H` if bidirectional; called as `Encoder` is.

    Examples:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import GRU
      >>> carry, ys = GRU(3, 5, learn_carry=True, return_carry=True, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 3)))
      >>> ys.shape, carry.layers[0].h.shape
      ((2, 7, 5), (2, 5))
    """

    make = staticmethod(cells.gru)


class SimpleRNN(_Stack):
    """Makes layers of simple recurrent networks over time, as an nnx module; `RNN` is Flax's name for something else.

    Args:
      in_features, hidden_features, num_layers, bidirectional: see `LSTM`.
      dropout, learn_carry, time_major, return_carry, deterministic, rngs: see `Encoder`.
      **options: of `rnnjax.rnn`, such as activation.

    Returns:
      A module: `inputs [*batch, T, F] -> ys [*batch, T, H]`, or `2 H` if bidirectional; called as `Encoder` is.

    Examples:
      >>> import jax, jax.numpy as jnp
      >>> from flax import nnx
      >>> from rnnjax.flax.nnx import SimpleRNN
      >>> SimpleRNN(3, 5, activation=jax.nn.relu, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 3))).shape
      (2, 7, 5)
    """

    make = staticmethod(cells.rnn)
