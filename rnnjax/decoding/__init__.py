"""Decoding: sampling and beam search over step functions, constraints, scores, ensembles, error attribution, CTC."""

from rnnjax._types import StepFn
from rnnjax.decoding._attribution import ErrorAttribution, attribute_errors
from rnnjax.decoding._beam_search import BeamResult, beam_search
from rnnjax.decoding._constraints import (
    at_temperature,
    ban_sequences,
    ban_tokens,
    force_prefix,
    keep_top_k,
    keep_top_p,
    min_length,
    no_repeat_ngram,
)
from rnnjax.decoding._ctc import CTCResult, ctc_beam_search, ctc_greedy
from rnnjax.decoding._ensemble import ensemble
from rnnjax.decoding._sample import SampleResult, greedy, sample
from rnnjax.decoding._score_sequences import SequenceScores, score_sequences
from rnnjax.decoding._scores import Score, average_length, gnmt_length, length_normalised, with_coverage

__all__ = [
    "BeamResult",
    "CTCResult",
    "ErrorAttribution",
    "SampleResult",
    "Score",
    "SequenceScores",
    "StepFn",
    "at_temperature",
    "attribute_errors",
    "average_length",
    "ban_sequences",
    "ban_tokens",
    "beam_search",
    "ctc_beam_search",
    "ctc_greedy",
    "ensemble",
    "force_prefix",
    "gnmt_length",
    "greedy",
    "keep_top_k",
    "keep_top_p",
    "length_normalised",
    "min_length",
    "no_repeat_ngram",
    "sample",
    "score_sequences",
    "with_coverage",
]
