"""Recurrence for flax.nnx: cells and `RNN` under Flax's names, layers, an attention decoder, and any cell as a module.

    from rnnjax.flax.nnx import GRUCell, LSTMCell, RNN  # instead of flax.nnx

Inputs are `[*batch, T, F]`, lengths are `seq_lengths [*batch]`, as Flax has them. Parameters are NamedTuples whose
leaves are `nnx.Param`; `nnx.Optimizer`, `nnx.jit`, `nnx.grad`, `nnx.split`, `nnx.state` and checkpoints work as for any
module.
"""

from flax.nnx import Bidirectional

from rnnjax.flax.nnx._cells import GRUCell, LSTMCell, OptimizedLSTMCell, RNNCell, SimpleCell
from rnnjax.flax.nnx._decoder import AttentionDecoder
from rnnjax.flax.nnx._layers import GRU, LSTM, Encoder, SimpleRNN
from rnnjax.flax.nnx._params import nnx_params, unwrap
from rnnjax.flax.nnx._rnn import RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AttentionDecoder",
    "Bidirectional",
    "Encoder",
    "GRUCell",
    "LSTMCell",
    "OptimizedLSTMCell",
    "RNNCell",
    "SimpleCell",
    "SimpleRNN",
    "nnx_params",
    "unwrap",
]
