"""Combinators: functions from Cell to Cell."""

from rnnjax.combinators._combinators import (
    DropoutCarry,
    LayerNormParams,
    ProjectedParams,
    ResetInput,
    dropout,
    layer_norm,
    projected,
    reset_on,
    residual,
    stack,
)

__all__ = [
    "DropoutCarry",
    "LayerNormParams",
    "ProjectedParams",
    "ResetInput",
    "dropout",
    "layer_norm",
    "projected",
    "reset_on",
    "residual",
    "stack",
]
