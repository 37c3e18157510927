"""Recurrent networks for JAX.

The names used daily are here; all others are `rnnjax.<namespace>.<name>`. `rnnjax.flax` and `rnnjax.testing` are
imported when they are first used, so that `import rnnjax` pays for neither Flax nor Chex.
"""

import importlib
from typing import TYPE_CHECKING, Any

from rnnjax import _jaxlib_check as _jaxlib_check
from rnnjax import (
    attention,
    cells,
    combinators,
    convert,
    data,
    decoding,
    diagnostics,
    export,
    losses,
    recurrence,
    seq2seq,
    training,
)
from rnnjax._types import Bidirectional, Cell, Layers
from rnnjax.cells import (
    CIFGParams,
    ConvLSTMParams,
    GRUCarry,
    GRUParams,
    LayerNormGRUParams,
    LayerNormLSTMParams,
    LSTMCarry,
    LSTMParams,
    LSTMPParams,
    MGUParams,
    PeepholeLSTMParams,
    RNNCarry,
    RNNParams,
    SimpleGRUParams,
    cifg_lstm,
    cifg_lstm_cell,
    conv_lstm,
    conv_lstm_cell,
    gru,
    gru_cell,
    layer_norm_gru,
    layer_norm_gru_cell,
    layer_norm_lstm,
    layer_norm_lstm_cell,
    lstm,
    lstm_cell,
    lstmp,
    lstmp_cell,
    mgu,
    mgu_cell,
    peephole_lstm,
    peephole_lstm_cell,
    rnn,
    rnn_cell,
    simple_gru,
    simple_gru_cell,
)
from rnnjax.combinators import dropout, layer_norm, projected, reset_on, residual, stack
from rnnjax.decoding import beam_search, greedy, sample
from rnnjax.recurrence import scan, tbptt, unroll, unroll_layers
from rnnjax.seq2seq import attention_decoder, encoder, teacher_force

if TYPE_CHECKING:
    from rnnjax import flax, testing

__version__ = "0.2.0"

__all__ = [
    "Bidirectional",
    "CIFGParams",
    "Cell",
    "ConvLSTMParams",
    "GRUCarry",
    "GRUParams",
    "LSTMCarry",
    "LSTMPParams",
    "LSTMParams",
    "LayerNormGRUParams",
    "LayerNormLSTMParams",
    "Layers",
    "MGUParams",
    "PeepholeLSTMParams",
    "RNNCarry",
    "RNNParams",
    "SimpleGRUParams",
    "__version__",
    "attention",
    "attention_decoder",
    "beam_search",
    "cells",
    "cifg_lstm",
    "cifg_lstm_cell",
    "combinators",
    "conv_lstm",
    "conv_lstm_cell",
    "convert",
    "data",
    "decoding",
    "diagnostics",
    "dropout",
    "encoder",
    "export",
    "flax",
    "greedy",
    "gru",
    "gru_cell",
    "layer_norm",
    "layer_norm_gru",
    "layer_norm_gru_cell",
    "layer_norm_lstm",
    "layer_norm_lstm_cell",
    "losses",
    "lstm",
    "lstm_cell",
    "lstmp",
    "lstmp_cell",
    "mgu",
    "mgu_cell",
    "peephole_lstm",
    "peephole_lstm_cell",
    "projected",
    "recurrence",
    "reset_on",
    "residual",
    "rnn",
    "rnn_cell",
    "sample",
    "scan",
    "seq2seq",
    "simple_gru",
    "simple_gru_cell",
    "stack",
    "tbptt",
    "teacher_force",
    "testing",
    "training",
    "unroll",
    "unroll_layers",
]


def __getattr__(name: str) -> Any:
    """Imports `rnnjax.flax` or `rnnjax.testing` when it is first used."""
    if name in ("flax", "testing"):
        return importlib.import_module(f"rnnjax.{name}")
    raise AttributeError(f"module 'rnnjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Lists the public names, those not imported yet among them."""
    return __all__
