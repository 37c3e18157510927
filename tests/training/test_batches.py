"""fit over iterables of batches: the same run as over a function of the step, and where the data ends."""

import functools
import gc
import itertools

import numpy as np
import pytest
from helpers import assert_same
from training_helpers import assert_close, batches, exploding, interrupt_at, lines, poisoned_batches, run

from rnnjax.data import make_streams
from rnnjax.training import Checkpoints
from rnnjax.training._batches import Batches


def generated(count=None, of=batches):
    for step in itertools.count() if count is None else range(count):
        yield of(step)


KINDS = {
    "list": lambda of=batches: [of(step) for step in range(11)],
    "generator": lambda of=batches: generated(of=of),
    "map": lambda of=batches: map(of, itertools.count()),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_an_iterable_is_the_same_run(kind, steps_per_call):
    result = run(batches=KINDS[kind](), steps_per_call=steps_per_call)
    assert (result.step, result.stopped) == (11, "steps")
    assert_same(result.state.params, run(steps_per_call=steps_per_call).state.params)


@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_no_more_batches_are_drawn_than_updates_are_done(steps_per_call):
    drawn = []
    run(batches=(drawn.append(step) or batches(step) for step in itertools.count()), steps_per_call=steps_per_call)
    assert drawn == list(range(11))


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7, 8, 10])
@pytest.mark.parametrize("steps_per_call", [1, 4])
def test_an_iterable_that_ends_early_ends_the_run(tmp_path, steps_per_call, count):
    called = []
    with Checkpoints(tmp_path / "c") as checkpoints:
        result = run(
            batches=generated(count),
            steps_per_call=steps_per_call,
            evaluate=lambda state: {"at": int(state.step)},
            evaluate_every=5,
            callbacks=[(5, lambda snapshot: called.append(snapshot.step))],
            checkpoints=checkpoints,
            metrics_file=tmp_path / "metrics",
        )
        assert checkpoints.steps() == [count]
    assert (result.step, result.stopped, result.bad_step) == (count, "data", None)
    assert result.metrics == {"at": count} and called[-1] == count
    assert [line["at"] for line in lines(tmp_path / "metrics") if "at" in line] == called  # once at the end, not twice
    assert_close(result.state.params, run(steps=count).state.params)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_drops_the_batches_of_the_updates_that_were_done(tmp_path, kind):
    with Checkpoints(tmp_path) as checkpoints:
        run(batches=KINDS[kind](), checkpoints=checkpoints, callbacks=[(5, interrupt_at(5))])
        resumed = run(batches=KINDS[kind](), checkpoints=checkpoints, resume=True)
    assert_same(resumed.state.params, run().state.params)


def test_a_resumed_run_without_enough_batches_ends_where_it_is(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        run(steps=5, checkpoints=checkpoints)
        for count in (3, 5):
            result = run(batches=generated(count), checkpoints=checkpoints, resume=True)
            assert (result.step, result.stopped) == (5, "data")


@pytest.mark.slow
@pytest.mark.parametrize("steps_per_call", [1, 4])
@pytest.mark.parametrize("bad", [0, 2, 6, 8, 10])
def test_the_last_good_state_is_found_again_in_the_batches_that_were_drawn(steps_per_call, bad):
    of = poisoned_batches(bad)
    result = run(batches=generated(of=of), steps_per_call=steps_per_call)
    assert (result.stopped, result.bad_step, result.step) == ("non_finite", bad + 1, bad)
    assert_same(result.state.params, run(batches=of, steps_per_call=steps_per_call).state.params)


@pytest.mark.parametrize("steps_per_call", [1, 2, 3, 4])
def test_parameters_poisoned_a_step_earlier_are_not_returned(steps_per_call):
    step, optimizer = exploding(5)
    result = run(step, optimizer, batches=generated(), steps_per_call=steps_per_call)
    assert (result.stopped, result.bad_step, result.step) == ("non_finite", 7, 5)
    assert_close(result.state.params, run(steps=5).state.params)


@pytest.mark.slow
def test_few_batches_are_kept():
    """Only those that the way back may need."""
    kept = []

    def watch(snapshot):
        kept.extend(len(found._kept) for found in gc.get_objects() if type(found) is Batches)

    run(batches=generated(), callbacks=[(1, watch)])
    assert kept and max(kept) <= 3


# ---- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (generated, "got a generator function; call it, and pass the generator that it returns"),
        (functools.partial(generated, of=batches), "got a generator function; call it"),
        (3, " of batches, got int"),
        (None, " of batches, got NoneType"),
        (batches(0), " of batches, got one Batch; pass a function that returns the batch of a step"),
        (make_streams(np.arange(97), batch_size=3, steps=5), "got one Streams; pass a function"),
        ({"x": np.zeros(3)}, "got one dict; pass a function"),
    ],
)
def test_what_gives_no_batches_is_refused(source, message):
    with pytest.raises(
        TypeError, match=f"fit: expected batches to be a function of the step or an iterable.*{message}"
    ):
        run(batches=source)


@pytest.mark.parametrize(("batch", "kind"), [(None, "NoneType"), (generated(), "generator")])
def test_a_function_returns_a_batch(batch, kind):
    with pytest.raises(TypeError, match=rf"expected batches\(step\) to return a batch, a pytree of arrays, got {kind}"):
        run(batches=lambda step: batch)


def test_an_iterator_that_was_used_up_is_refused():
    used = generated(3)
    list(used)
    with pytest.raises(ValueError, match="expected at least one batch, got none; was the iterator used up"):
        run(batches=used)


def test_batches_of_other_shapes_cannot_be_stacked():
    def shrinking(step):
        return batches(step) if step < 6 else type(batches(0))(*(leaf[:5] for leaf in batches(step)))

    result = run(batches=shrinking)
    assert result.step == 11
    message = (
        r"of one structure and shape for steps_per_call=4, got Batch\(x=\(7, 3\), y=\(7,\)\) and Batch\(x=\(5, 3\)"
    )
    with pytest.raises(ValueError, match=message):
        run(batches=shrinking, steps_per_call=4)
