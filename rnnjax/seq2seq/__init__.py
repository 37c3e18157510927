"""Encoders, decoders, bridges between them, and what a decoder reads while it learns."""

from rnnjax.seq2seq._exposure import (
    ExposureBias,
    ScheduledResult,
    exponential_decay,
    exposure_bias,
    inverse_sigmoid_decay,
    linear_decay,
    scheduled_sampling,
)
from rnnjax.seq2seq._seq2seq import (
    AttentionDecoderParams,
    Bridge,
    BridgeParams,
    Decoder,
    DecoderCarry,
    DecoderOutput,
    Encoder,
    attention_decoder,
    bridge,
    encoder,
    source_coverage,
    teacher_force,
    vector_decoder,
)

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
    "exponential_decay",
    "exposure_bias",
    "inverse_sigmoid_decay",
    "linear_decay",
    "scheduled_sampling",
    "source_coverage",
    "teacher_force",
    "vector_decoder",
]
