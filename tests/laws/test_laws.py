"""Every law over every cell and combinator of the table, with cases from Hypothesis."""

import hypothesis
import pytest
from cell_table import TABLE

from rnnjax import testing

# In bfloat16 a rounding is a finite difference of its own, and fused and unfused sums round apart.
IN_BFLOAT16 = {"declared_sizes_are_true", "carry_is_a_fixed_point", "one_trace", "short_runs"}
# These depend on shapes, which all cases share, and not on what a case draws.
ONE_CASE = {"declared_sizes_are_true", "carry_is_a_fixed_point", "one_trace"}
FIRST_TIER = {"lstm"}  # the other cells are slow by their number
ROWS = [
    pytest.param(name, law, marks=[] if name in FIRST_TIER else pytest.mark.slow)
    for name in TABLE
    for law in testing.LAWS
    if "bfloat16" not in name or law in IN_BFLOAT16
]


@pytest.mark.parametrize(("name", "law"), ROWS)
def test_law(name, law):
    examples = 1 if law in ONE_CASE else 6

    @hypothesis.settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @hypothesis.given(testing.cases(*TABLE[name]))
    def holds(case):
        testing.LAWS[law](case)

    holds()
