"""Intervals of means and ratios."""

import numpy as np
import pytest

from experiments.lib.intervals import bootstrap


def test_blocks_widen_the_interval_of_values_that_depend_on_each_other():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 25)
    alone, blocks = bootstrap(values), bootstrap(values, block=50)
    assert alone.mean == blocks.mean == pytest.approx(values.mean())
    assert blocks.high - blocks.low > 3 * (alone.high - alone.low)
    ratio = bootstrap(2 * np.abs(values), over=np.abs(values), block=50)
    np.testing.assert_allclose(ratio, 2, rtol=1e-9)
