"""The law kit: what every recurrent cell must satisfy, as functions to call on a cell of your own."""

from rnnjax.testing._testing import (
    BATCH,
    LAWS,
    LENGTH,
    Case,
    MakeInputs,
    cases,
    check_cell,
    float_inputs,
    guess_input_size,
)

__all__ = [
    "BATCH",
    "LAWS",
    "LENGTH",
    "Case",
    "MakeInputs",
    "cases",
    "check_cell",
    "float_inputs",
    "guess_input_size",
]
