"""Decoding over step functions: sampling, beam search, scores of given sequences."""

from rnnjax._types import StepFn
from rnnjax.decoding._beam import BeamResult, beam_search
from rnnjax.decoding._ensemble import ensemble
from rnnjax.decoding._sampling import SampleResult, chain, greedy, sample, sample_with_carry, temperature, top_k, top_p
from rnnjax.decoding._scoring import ErrorAttribution, SequenceScores, attribute_errors, score_sequences

__all__ = [
    "BeamResult",
    "ErrorAttribution",
    "SampleResult",
    "SequenceScores",
    "StepFn",
    "attribute_errors",
    "beam_search",
    "chain",
    "ensemble",
    "greedy",
    "sample",
    "sample_with_carry",
    "score_sequences",
    "temperature",
    "top_k",
    "top_p",
]
