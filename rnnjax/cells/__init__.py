"""Cells: pure functions `(params, carry, x) -> (carry, y)` that read like their equations, and constructors.

What all of them share:

- x is `[..., F]`, carry leaves and y are `[..., H]`, with the same axes in front; y is the new h.
- Weights multiply from the right, `x @ w_x + h @ w_h + b`; the gates lie side by side in the last axis.
- Products are computed in `dtype` (that of the weight if None) and accumulated in at least float32; everything
  else is computed, carried and returned in the dtype of the carry. So bfloat16 weights, or
  `dtype=jnp.bfloat16`, with a float32 carry are the usual mixed precision.
- `recurrent_mask` `[..., H]` is m in h~ = m * h: the h that enters the products, not the h that is kept
  (recurrent dropout tied over time, Gal & Ghahramani 2016). None means ones. `rnnjax.dropout` draws it.
- Initialisers are those of jax.nn.initializers or rnnjax.cells, applied gate by gate: by default Glorot
  uniform for w_x, orthogonal for w_h, zeros for b. A `b_init` gets the whole bias vector and replaces it,
  forget bias included.
- A constructor returns a `Cell` whose `apply` is a `functools.partial` of the cell function, so that the
  function and its options can be read off it.

One file a family: rnn, gru, lstm, and their variants: gated (fewer gates), layer_norm, conv.
"""

from rnnjax.cells._conv import ConvLSTMParams, conv_lstm, conv_lstm_cell
from rnnjax.cells._gated import (
    CIFGParams,
    MGUParams,
    cifg_lstm,
    cifg_lstm_cell,
    mgu,
    mgu_cell,
)
from rnnjax.cells._gru import (
    GRUCarry,
    GRUParams,
    SimpleGRUParams,
    gru,
    gru_cell,
    simple_gru,
    simple_gru_cell,
)
from rnnjax.cells._initializers import chrono_init, identity_init
from rnnjax.cells._layer_norm import (
    LayerNormGRUParams,
    LayerNormLSTMParams,
    layer_norm_gru,
    layer_norm_gru_cell,
    layer_norm_lstm,
    layer_norm_lstm_cell,
)
from rnnjax.cells._lstm import (
    LSTMCarry,
    LSTMParams,
    PeepholeLSTMParams,
    lstm,
    lstm_cell,
    peephole_lstm,
    peephole_lstm_cell,
)
from rnnjax.cells._rnn import RNNCarry, RNNParams, rnn, rnn_cell

__all__ = [
    "CIFGParams",
    "ConvLSTMParams",
    "GRUCarry",
    "GRUParams",
    "LSTMCarry",
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
    "mgu",
    "mgu_cell",
    "peephole_lstm",
    "peephole_lstm_cell",
    "rnn",
    "rnn_cell",
    "simple_gru",
    "simple_gru_cell",
]
