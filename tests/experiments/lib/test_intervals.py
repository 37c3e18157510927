"""Intervals of means, ratios and correlations."""

import numpy as np
import pytest

from experiments.lib.intervals import bootstrap, correlation


def test_blocks_widen_the_interval_of_values_that_depend_on_each_other():
    values = np.repeat(np.random.default_rng(0).normal(size=40), 25)
    alone, blocks = bootstrap(values), bootstrap(values, block=50)
    assert alone.mean == blocks.mean == pytest.approx(values.mean())
    assert blocks.high - blocks.low > 3 * (alone.high - alone.low)
    ratio = bootstrap(2 * np.abs(values), over=np.abs(values), block=50)
    np.testing.assert_allclose(ratio, 2, rtol=1e-9)


def test_correlations_cover_the_truth():
    """About 95 % of the intervals hold the correlation 0.6 that the values have."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(60):
        x, noise = rng.normal(size=(2, 300))
        found = correlation(x, 0.6 * x + 0.8 * noise + 7)
        assert found.mean == pytest.approx(np.corrcoef(x, 0.6 * x + 0.8 * noise)[0, 1])
        held += found.low < 0.6 < found.high
    assert 51 <= held < 60
