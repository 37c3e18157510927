"""Cells: pure functions `(params, carry, x) -> (carry, y)` that read like their equations, and constructors.

What all cell functions share:

- x is `[..., F]`, carry leaves and y are `[..., H]`, with the same axes in front; y is the new h.
- Weights multiply from the right, `x @ w_x + h @ w_h + b`; the gates lie side by side in the last axis.
- `recurrent_mask` `[..., H]` is m in h~ = m * h: the h that enters the products, not the h that is kept
  (recurrent dropout tied over time, Gal & Ghahramani 2016). None means ones. `rnnjax.dropout` draws it.
- `dtype` is that of the products, by default that of the weights. They are accumulated in at least float32; everything
  else is computed, carried and returned in the dtype of the carry. So bfloat16 weights, or `dtype=jnp.bfloat16`, with a
  float32 carry are the usual mixed precision.
- `gate_activation`, `activation` and `output_activation` are the elementwise functions that the equations write as the
  sigmoid of the gates, the tanh of the candidate, and the tanh of the cell state c in the last line of an LSTM;
  `output_activation=jax.nn.identity` makes h = o * c, as some course notes write it. What the first two take is clipped
  to [-clip, clip], if clip is not None.
- A bias may be None, which stands for zeros.
- x or a carry of the wrong shape or dtype raises ValueError or TypeError, which says what was expected.

What all constructors share:

- A constructor `name(input_size, hidden_size, *, ...)` returns a `Cell` whose `apply` is a `functools.partial` of
  `name_cell`, so that the function and its options can be read off it.
- The options of `CellOptions` say how parameters are initialised and which dtypes they and the products have.
- Initialisers are those of jax.nn.initializers or rnnjax.cells, applied gate by gate; biases are zero but for the
  forget bias of the LSTMs.
- A size that is not a positive int raises ValueError, an option that the cell does not have TypeError.
"""

from rnnjax.cells._cifg_lstm import CIFGParams, cifg_lstm, cifg_lstm_cell
from rnnjax.cells._common import CellOptions
from rnnjax.cells._conv_lstm import ConvLSTMParams, conv_lstm, conv_lstm_cell
from rnnjax.cells._gru import GRUCarry, GRUParams, SimpleGRUParams, gru, gru_cell, simple_gru, simple_gru_cell
from rnnjax.cells._initializers import chrono_init, identity_init
from rnnjax.cells._layer_norm import (
    LayerNormGRUParams,
    LayerNormLSTMParams,
    layer_norm_gru,
    layer_norm_gru_cell,
    layer_norm_lstm,
    layer_norm_lstm_cell,
)
from rnnjax.cells._lstm import LSTMCarry, LSTMParams, lstm, lstm_cell
from rnnjax.cells._lstmp import LSTMPParams, lstmp, lstmp_cell
from rnnjax.cells._mgu import MGUParams, mgu, mgu_cell
from rnnjax.cells._peephole_lstm import PeepholeLSTMParams, peephole_lstm, peephole_lstm_cell
from rnnjax.cells._rnn import RNNCarry, RNNParams, rnn, rnn_cell

__all__ = [
    "CIFGParams",
    "CellOptions",
    "ConvLSTMParams",
    "GRUCarry",
    "GRUParams",
    "LSTMCarry",
    "LSTMPParams",
    "LSTMParams",
    "LayerNormGRUParams",
    "LayerNormLSTMParams",
    "MGUParams",
    "PeepholeLSTMParams",
    "RNNCarry",
    "RNNParams",
    "SimpleGRUParams",
    "chrono_init",
    "cifg_lstm",
    "cifg_lstm_cell",
    "conv_lstm",
    "conv_lstm_cell",
    "gru",
    "gru_cell",
    "identity_init",
    "layer_norm_gru",
    "layer_norm_gru_cell",
    "layer_norm_lstm",
    "layer_norm_lstm_cell",
    "lstm",
    "lstm_cell",
    "lstmp",
    "lstmp_cell",
    "mgu",
    "mgu_cell",
    "peephole_lstm",
    "peephole_lstm_cell",
    "rnn",
    "rnn_cell",
    "simple_gru",
    "simple_gru_cell",
]
