"""Combinators: functions from Cell to Cell.

The new cell states its input_size and output_size as far as they follow from those of the old one.
"""

from rnnjax.combinators._dropout import DropoutCarry, dropout
from rnnjax.combinators._embedded import EmbeddedParams, embedded
from rnnjax.combinators._keep_carries import OutputAndCarry, keep_carries
from rnnjax.combinators._outputs import LayerNormParams, ProjectedParams, layer_norm, projected
from rnnjax.combinators._reset_on import ResetInput, reset_on
from rnnjax.combinators._residual import residual
from rnnjax.combinators._stack import stack

__all__ = [
    "DropoutCarry",
    "EmbeddedParams",
    "LayerNormParams",
    "OutputAndCarry",
    "ProjectedParams",
    "ResetInput",
    "dropout",
    "embedded",
    "keep_carries",
    "layer_norm",
    "projected",
    "reset_on",
    "residual",
    "stack",
]
