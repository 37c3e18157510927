"""Recurrence for flax.linen: cells and `RNN` under Flax's names, layers, an attention decoder, any cell as a module.

    from rnnjax.flax.linen import GRUCell, LSTMCell, RNN  # instead of flax.linen

Inputs are `[*batch, T, F]`, lengths are `seq_lengths [*batch]`, as Flax has them. Parameters are NamedTuples in
`variables["params"]`. A module of your own needs none of this: `cell.init` is an initialiser of `self.param`.
"""

from flax.linen import Bidirectional

from rnnjax.flax.linen._cells import ConvLSTMCell, GRUCell, LSTMCell, OptimizedLSTMCell, RNNCell, SimpleCell
from rnnjax.flax.linen._decoder import AttentionDecoder
from rnnjax.flax.linen._layers import GRU, LSTM, Encoder, SimpleRNN
from rnnjax.flax.linen._rnn import RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AttentionDecoder",
    "Bidirectional",
    "ConvLSTMCell",
    "Encoder",
    "GRUCell",
    "LSTMCell",
    "OptimizedLSTMCell",
    "RNNCell",
    "SimpleCell",
    "SimpleRNN",
]
