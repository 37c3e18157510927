"""The one table of cells and combinators that drives the laws."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import testing

F, H = 3, 5


class Entry(NamedTuple):
    """A cell, and inputs for it."""

    cell: rnnjax.Cell
    make_inputs: testing.MakeInputs = testing.float_inputs(F)


def reset_inputs(seed, length, batch_shape):
    flags = np.random.default_rng(seed).random((length, *batch_shape)) < 0.3
    return rnnjax.combinators.ResetInput(testing.float_inputs(F)(seed, length, batch_shape), flags)


def token_inputs(seed, length, batch_shape):
    return np.random.default_rng(seed).integers(0, 11, (length, *batch_shape), dtype=np.int32)


def dropped(cell, **rates):
    # Masks shared by all rows, so that the table's laws may run it over any batch shape.
    return rnnjax.dropout(cell, key=jax.random.key(7), shape=(11, F), **rates)


chrono = rnnjax.cells.chrono_init
TABLE: dict[str, Entry] = {
    "rnn": Entry(rnnjax.rnn(F, H)),
    "rnn_relu_identity": Entry(rnnjax.rnn(F, H, activation=jax.nn.relu, w_h_init=rnnjax.cells.identity_init(0.9))),
    "rnn_linear": Entry(rnnjax.rnn(F, H, activation=jax.nn.identity)),
    "gru": Entry(rnnjax.gru(F, H)),
    "gru_reset_before": Entry(rnnjax.gru(F, H, reset_after=False, b_init=chrono(17, "run"))),
    "simple_gru": Entry(rnnjax.simple_gru(F, H)),
    "lstm": Entry(rnnjax.lstm(F, H)),
    "lstm_without_tanh": Entry(rnnjax.lstm(F, H, output_activation=jax.nn.identity, b_init=chrono(17))),
    "peephole_lstm": Entry(rnnjax.peephole_lstm(F, H)),
    "cifg_lstm": Entry(rnnjax.cifg_lstm(F, H)),
    "mgu": Entry(rnnjax.mgu(F, H)),
    "layer_norm_lstm": Entry(rnnjax.layer_norm_lstm(F, H)),
    "layer_norm_gru": Entry(rnnjax.layer_norm_gru(F, H)),
    "lstmp": Entry(rnnjax.lstmp(F, H, 2)),
    "gru_clipped": Entry(rnnjax.gru(F, H, gate_activation=jax.nn.hard_sigmoid, clip=0.7)),
    "lstm_without_biases": Entry(rnnjax.lstm(F, H, use_bias=False, activation=jax.nn.soft_sign)),
    "conv_lstm": Entry(rnnjax.conv_lstm(2, 3), testing.float_inputs(2, space=(5, 4))),
    "conv_lstm_1d": Entry(rnnjax.conv_lstm(2, 3, kernel_shape=(2,)), testing.float_inputs(2, space=(5,))),
    "conv_lstm_strided": Entry(
        rnnjax.conv_lstm(2, 3, stride=(2, 1), padding="VALID", space=(5, 4)), testing.float_inputs(2, space=(5, 4))
    ),
    "embedded": Entry(rnnjax.combinators.embedded(rnnjax.gru(F, H), 11), token_inputs),
    "keep_carries": Entry(rnnjax.combinators.keep_carries(rnnjax.lstm(F, H))),
    "stack_with_skips": Entry(rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(F + H, 7)], skip_connections=True)),
    "stack": Entry(rnnjax.stack([rnnjax.lstm(F, H), rnnjax.gru(H, 7), rnnjax.rnn(7, 2)])),
    "residual": Entry(rnnjax.residual(rnnjax.lstm(F, F))),
    "projected": Entry(rnnjax.projected(rnnjax.lstm(F, H), 2)),
    "layer_norm": Entry(rnnjax.layer_norm(rnnjax.gru(F, H))),
    "reset_on": Entry(rnnjax.reset_on(rnnjax.lstm(F, H)), reset_inputs),
    "dropout_tied": Entry(dropped(rnnjax.gru(F, H), input=0.3, output=0.4, recurrent=0.5)),
    "dropout_fresh": Entry(dropped(rnnjax.lstm(F, H), input=0.3, output=0.4, tied=False)),
    "zoneout": Entry(dropped(rnnjax.lstm(F, H), zoneout=rnnjax.LSTMCarry(h=0.3, c=0.6))),
    "zoneout_expected": Entry(rnnjax.dropout(rnnjax.lstm(F, H), key=None, zoneout=0.4)),
    "lstm_bfloat16": Entry(rnnjax.lstm(F, H, dtype=jnp.bfloat16)),
}
