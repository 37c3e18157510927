"""Encoders, decoders, bridges between them, and what a decoder reads while it learns."""

from rnnjax.seq2seq._attention_decoder import AttentionDecoderParams, attention_decoder
from rnnjax.seq2seq._bridge import Bridge, BridgeParams, bridge
from rnnjax.seq2seq._coverage import source_coverage
from rnnjax.seq2seq._decoder import Decoder, DecoderCarry, DecoderOutput
from rnnjax.seq2seq._encoder import Encoder, encoder
from rnnjax.seq2seq._exposure import ExposureBias, ScheduledResult, exposure_bias, scheduled_sampling
from rnnjax.seq2seq._teacher_decays import (
    exponential_teacher_decay,
    inverse_sigmoid_teacher_decay,
    linear_teacher_decay,
)
from rnnjax.seq2seq._teacher_force import teacher_force
from rnnjax.seq2seq._vector_decoder import vector_decoder

__all__ = [
    "AttentionDecoderParams",
    "Bridge",
    "BridgeParams",
    "Decoder",
    "DecoderCarry",
    "DecoderOutput",
    "Encoder",
    "ExposureBias",
    "ScheduledResult",
    "attention_decoder",
    "bridge",
    "encoder",
    "exponential_teacher_decay",
    "exposure_bias",
    "inverse_sigmoid_teacher_decay",
    "linear_teacher_decay",
    "scheduled_sampling",
    "source_coverage",
    "teacher_force",
    "vector_decoder",
]
