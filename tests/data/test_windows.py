"""Windows of streams: contiguous, shifted by one, nothing twice, nothing forgotten."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from rnnjax.data._windows import make_streams, padded_windows

SETTINGS = hypothesis.settings(max_examples=80, deadline=None, derandomize=True, database=None)
SIZES = (st.integers(1, 7), st.integers(1, 11), st.integers(0, 60))


def streams_of(batch_size, steps, extra):
    """Ids that are all different, so that a wrong one shows."""
    ids = np.random.default_rng(extra).permutation(batch_size * (steps + 1) + extra)
    return ids, make_streams(ids, batch_size=batch_size, steps=steps)


@SETTINGS
@hypothesis.given(*SIZES)
def test_windows_of_an_epoch_are_the_streams(batch_size, steps, extra):
    ids, streams = streams_of(batch_size, steps, extra)
    part = len(ids) // batch_size
    assert streams.windows == (part - 1) // steps >= 1
    windows = [streams.window(n) for n in range(streams.windows)]
    for window in windows:
        assert window.inputs.shape == window.targets.shape == (steps, batch_size)
        assert window.starts.shape == (batch_size,)
    used = streams.windows * steps
    for b in range(batch_size):
        stream = ids[b * part : (b + 1) * part]
        np.testing.assert_array_equal(np.concatenate([w.inputs[:, b] for w in windows]), stream[:used])
        np.testing.assert_array_equal(np.concatenate([w.targets[:, b] for w in windows]), stream[1 : used + 1])


@SETTINGS
@hypothesis.given(*SIZES)
def test_targets_are_the_next_inputs(batch_size, steps, extra):
    _, streams = streams_of(batch_size, steps, extra)
    for n in range(streams.windows):
        window = streams.window(n)
        np.testing.assert_array_equal(window.targets[:-1], window.inputs[1:])
        if n + 1 < streams.windows:  # the carry passes on where the text goes on
            np.testing.assert_array_equal(window.targets[-1], streams.window(n + 1).inputs[0])


@SETTINGS
@hypothesis.given(*SIZES)
def test_starts_only_where_an_epoch_begins(batch_size, steps, extra):
    _, streams = streams_of(batch_size, steps, extra)
    for n in range(3 * streams.windows):
        assert streams.window(n).starts.tolist() == [n % streams.windows == 0] * batch_size


@SETTINGS
@hypothesis.given(*SIZES, st.integers(1, 7))
def test_restarting_streams_start_once_in_so_many_windows(batch_size, steps, extra, every):
    ids, plain = streams_of(batch_size, steps, extra)
    streams = make_streams(ids, batch_size=batch_size, steps=steps, restart_every=every)
    starts = np.array([streams.window(n).starts for n in range(3 * every * streams.windows)])
    epochs = np.arange(len(starts)) % streams.windows == 0
    assert starts[epochs].all()
    for b in range(batch_size):
        places = {n % every for n in np.flatnonzero(starts[:, b] & ~epochs)}
        assert len(places) <= 1  # at the same place of every round
        for place in places:
            assert starts[place::every, b].all()
    np.testing.assert_array_equal(streams.window(1).inputs, plain.window(1).inputs)


def test_restarts_are_spread_over_the_streams():
    streams = make_streams(np.arange(700), batch_size=7, steps=3, restart_every=5)
    counts = [int(streams.window(n).starts.sum()) for n in range(1, 6)]
    assert sum(counts) == 7 and max(counts) == 2 and min(counts) == 1


def test_restart_every_cannot_be_negative():
    with pytest.raises(ValueError, match="restart_every=-1"):
        make_streams(np.arange(97), batch_size=3, steps=2, restart_every=-1)


@SETTINGS
@hypothesis.given(*SIZES)
def test_the_second_epoch_equals_the_first(batch_size, steps, extra):
    _, streams = streams_of(batch_size, steps, extra)
    for n in range(streams.windows):
        for first, second in zip(streams.window(n), streams.window(n + streams.windows), strict=True):
            np.testing.assert_array_equal(first, second)


def test_streams_keep_the_dtype():
    window = make_streams(np.arange(17, dtype=np.uint8), batch_size=3, steps=2).window(1)
    assert window.inputs.dtype == window.targets.dtype == np.uint8 and window.starts.dtype == bool


def test_a_text_of_just_enough_is_enough():
    streams = make_streams(np.arange(18), batch_size=3, steps=5)
    assert streams.windows == 1
    assert streams.window(0).targets[-1].tolist() == [5, 11, 17]


def test_a_text_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match=r"expected at least 18 ids for 3 streams of 5 steps and a target, got 17"):
        make_streams(np.arange(17), batch_size=3, steps=5)


@pytest.mark.parametrize("make", [make_streams, padded_windows])
@pytest.mark.parametrize(("batch_size", "steps"), [(0, 3), (3, 0), (-2, 3), (3, -5)])
def test_sizes_must_be_positive(make, batch_size, steps):
    with pytest.raises(ValueError, match=f"positive sizes, got batch_size={batch_size}(,| and) steps={steps}"):
        make(np.arange(97), batch_size=batch_size, steps=steps)


@pytest.mark.parametrize("make", [make_streams, padded_windows])
def test_ids_must_be_flat(make):
    with pytest.raises(ValueError, match=r"\(31, 3\)"):
        make(np.zeros((31, 3), int), batch_size=3, steps=2)


@pytest.mark.parametrize("size", [0, 1])
def test_padded_windows_take_two_ids(size):
    with pytest.raises(ValueError, match=r"padded_windows: expected at least two ids"):
        padded_windows(np.arange(size), batch_size=2, steps=3)


@SETTINGS
@hypothesis.given(st.integers(2, 97), st.integers(1, 7), st.integers(1, 11))
def test_every_id_but_the_first_is_a_target_exactly_once(size, batch_size, steps):
    ids = np.random.default_rng(size).permutation(size) + 100  # none is the padding
    windows = padded_windows(ids, batch_size=batch_size, steps=steps)
    count = len(windows.mask)
    for array in windows:
        assert array.shape == (count, steps, batch_size)
    assert windows.mask.dtype == bool
    assert sorted(windows.targets[windows.mask]) == sorted(ids[1:])
    after = dict(zip(ids[:-1].tolist(), ids[1:].tolist(), strict=True))
    pairs = zip(windows.inputs[windows.mask].tolist(), windows.targets[windows.mask].tolist(), strict=True)
    assert all(after[first] == second for first, second in pairs)
    assert not windows.inputs[~windows.mask].any() and not windows.targets[~windows.mask].any()
    assert windows.mask[-1].any()  # no window of padding alone


@SETTINGS
@hypothesis.given(st.integers(2, 97), st.integers(1, 7), st.integers(1, 11))
def test_padded_streams_are_contiguous_with_the_padding_last(size, batch_size, steps):
    windows = padded_windows(np.arange(size), batch_size=batch_size, steps=steps)
    inputs, mask = (a.reshape(-1, batch_size) for a in (windows.inputs, windows.mask))
    streams = [inputs[:, b][mask[:, b]] for b in range(batch_size)]
    np.testing.assert_array_equal(np.concatenate(streams), np.arange(size - 1))
    assert np.all(mask[:-1] | ~mask[1:])
