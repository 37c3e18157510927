"""Losses: values per element, masked, and a mean that is a (sum, count)."""

from rnnjax._masking import SumCount, length_mask, masked_mean
from rnnjax.losses._losses import Loss, ctc, get_loss, sequence_loss

__all__ = [
    "Loss",
    "SumCount",
    "ctc",
    "get_loss",
    "length_mask",
    "masked_mean",
    "sequence_loss",
]
