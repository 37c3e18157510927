"""Attention: where in a source a query looks.

`remember` projects a source once, `attend` queries it at every step. A mechanism is the equation of its energies e_s,
one per source position s; with m_s the values, the rest is common to all:

    a = softmax(e) over the real positions,    context = sum_s a_s m_s

A source is time-major, `[S, ..., M]`; its memory has the batch axes first, `[*batch, S, ...]`. A query has the batch
axes of the memory first, and may have more after them (beams, say), over which the memory is never copied.
Energies and weights are computed in float32 at least; weights and context have the dtype of the values. A row
without real positions gives zero weights, zero context and zero gradients. NaN behind the mask changes nothing.
Wherever an `Alignment` is taken, None means the first step. Every mechanism raises ValueError for sizes that are not
positive, and its functions ValueError or TypeError for arrays of the wrong shape or dtype.

Families: additive and concat; dot, scaled dot and general; location; and over any of them local and monotonic.
"""

from rnnjax.attention._additive import AdditiveParams, ConcatParams, additive_attention, concat_attention
from rnnjax.attention._base import Alignment, Attention, Memory, initial_alignment, next_alignment
from rnnjax.attention._dot import (
    GeneralParams,
    ScaledDotParams,
    dot_attention,
    general_attention,
    scaled_dot_attention,
)
from rnnjax.attention._local import LocalParams, local_attention
from rnnjax.attention._location import LocationParams, location_attention
from rnnjax.attention._monotonic import MonotonicParams, monotonic_attention

__all__ = [
    "AdditiveParams",
    "Alignment",
    "Attention",
    "ConcatParams",
    "GeneralParams",
    "LocalParams",
    "LocationParams",
    "Memory",
    "MonotonicParams",
    "ScaledDotParams",
    "additive_attention",
    "concat_attention",
    "dot_attention",
    "general_attention",
    "initial_alignment",
    "local_attention",
    "location_attention",
    "monotonic_attention",
    "next_alignment",
    "scaled_dot_attention",
]
