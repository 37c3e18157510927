"""Losses: values per element, masked, and a mean that is a (sum, count)."""

from rnnjax._masking import SumCount, length_mask, masked_mean
from rnnjax.losses._crf import CRFParams, crf, crf_marginals
from rnnjax.losses._crf_decode import CRFLabels, crf_decode
from rnnjax.losses._ctc import ctc
from rnnjax.losses._loss import Loss, get_loss
from rnnjax.losses._sequence import sequence_loss

__all__ = [
    "CRFLabels",
    "CRFParams",
    "Loss",
    "SumCount",
    "crf",
    "crf_decode",
    "crf_marginals",
    "ctc",
    "get_loss",
    "length_mask",
    "masked_mean",
    "sequence_loss",
]
