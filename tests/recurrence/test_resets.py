"""Resets from the ends of episodes: one step later, whatever the parts of a stream are."""

import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax.recurrence import resets_from_done


def stream(length, *batch):
    rng = np.random.default_rng(length)
    return rng.random((length, *batch)) < 0.4, rng.random(batch) < 0.5


@pytest.mark.parametrize("length", [0, 1, 2, 7])
@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_a_step_starts_afresh_after_one_that_was_done(length, batch):
    done, before = stream(length, *batch)
    resets = np.asarray(resets_from_done(done, before))
    assert resets.shape == done.shape and resets.dtype == np.bool_
    for t in range(length):
        np.testing.assert_array_equal(resets[t], before if t == 0 else done[t - 1])


@pytest.mark.parametrize("cut", [0, 1, 5, 11])
def test_parts_follow_each_other(cut):
    done, before = stream(11, 3)
    middle = done[cut - 1] if cut else before
    parts = resets_from_done(done[:cut], before), resets_from_done(done[cut:], middle)
    np.testing.assert_array_equal(jnp.concatenate(parts), resets_from_done(done, before))


def test_flags_that_are_no_booleans_are_refused():
    done, before = stream(5, 3)
    with pytest.raises(TypeError, match=r"expected done of dtype bool, got float32; compare it, as in done > 0\."):
        resets_from_done(done.astype(np.float32), before)
    with pytest.raises(TypeError, match="expected before of dtype bool, got int32"):
        resets_from_done(done, before.astype(np.int32))


@pytest.mark.parametrize("before", [np.ones((), bool), np.ones(5, bool), np.ones((1, 3), bool)])
def test_flags_that_do_not_fit_each_other_are_refused(before):
    with pytest.raises(ValueError, match=r"the shape of one step, got \(5, 3\) and .*; pass done\[-1\]"):
        resets_from_done(np.ones((5, 3), bool), before)
