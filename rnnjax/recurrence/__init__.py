"""The loop over time: scan, cells lifted over it, and what is said about them."""

from rnnjax.recurrence._explain import explain
from rnnjax.recurrence._scan import scan
from rnnjax.recurrence._unroll import bidirectional, tbptt, unroll, unroll_layers, unroll_reference

__all__ = [
    "bidirectional",
    "explain",
    "scan",
    "tbptt",
    "unroll",
    "unroll_layers",
    "unroll_reference",
]
