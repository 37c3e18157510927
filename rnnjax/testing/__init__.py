"""The law kit: what every recurrent cell must satisfy, as functions to call on a cell of your own.

`check_cell(my_cell)` tries every law on two fixed cases, within seconds. `cases(my_cell)` is a Hypothesis strategy
for property-based tests (it needs hypothesis):

    @hypothesis.given(rnnjax.testing.cases(my_cell))
    def test_padding(case):
        rnnjax.testing.LAWS["padding_is_inert"](case)

A law takes a `Case` and raises AssertionError if it does not hold.
"""

from rnnjax.testing._case import BATCH, LENGTH, Case, MakeInputs, float_inputs
from rnnjax.testing._check import cases, check_cell
from rnnjax.testing._laws import LAWS

__all__ = ["BATCH", "LAWS", "LENGTH", "Case", "MakeInputs", "cases", "check_cell", "float_inputs"]
