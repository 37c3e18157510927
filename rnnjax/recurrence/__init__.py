"""The loop over time: scan, cells lifted over it, and what is said about them."""

from rnnjax.recurrence._explain import explain
from rnnjax.recurrence._hold import hold_outputs
from rnnjax.recurrence._layers import unroll_layers
from rnnjax.recurrence._reference import unroll_reference
from rnnjax.recurrence._resets import resets_from_done
from rnnjax.recurrence._scan import scan
from rnnjax.recurrence._tbptt import tbptt
from rnnjax.recurrence._unroll import unroll

__all__ = [
    "explain",
    "hold_outputs",
    "resets_from_done",
    "scan",
    "tbptt",
    "unroll",
    "unroll_layers",
    "unroll_reference",
]
