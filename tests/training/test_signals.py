"""SIGTERM and Ctrl-C in processes of their own: a checkpoint of that moment, the status, the old handlers."""

import contextlib
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from helpers import assert_same
from training_helpers import SGD, first_state, run

from rnnjax.training import Checkpoints, restore_progress
from rnnjax.training._signals import Signals, Terminated

PROGRAM = """
import sys, time
import jax.numpy as jnp
from training_helpers import run
from rnnjax.training import Checkpoints

def callback(snapshot):
    print("step", snapshot.step, flush=True)
    if snapshot.step == 5:
        time.sleep(600)  # the signal arrives while something else is done

with Checkpoints(sys.argv[1]) as checkpoints:
    result = run(checkpoints=checkpoints, callbacks=[(1, callback)], metrics_file=sys.argv[1] + ".jsonl",
                 evaluate=lambda state: {"accuracy": 0.5})
print("result", result.stopped, result.step)
"""


def signalled(number, folder):
    """The status of a run that is sent a signal after five updates, and what it printed."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (root, root / "tests" / "support")))}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line == "step 5\n":
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, out


@pytest.mark.parametrize(
    ("number", "status", "out"), [(signal.SIGTERM, 143, ""), (signal.SIGINT, 0, "result interrupted 5\n")]
)
def test_a_signal_saves_a_checkpoint_of_that_moment(tmp_path, number, status, out):
    folder = tmp_path / "c"
    assert signalled(number, folder) == (status, out)
    assert [path.name for path in folder.iterdir()] == ["5"]
    with Checkpoints(folder) as checkpoints:
        assert_same(restore_progress(checkpoints, first_state(SGD)).state.params, run(steps=5).state.params)
        resumed = run(checkpoints=checkpoints, resume=True)
    assert_same(resumed.state.params, run().state.params)
    losses = [json.loads(line) for line in Path(f"{folder}.jsonl").read_text().splitlines()]
    assert [line["step"] for line in losses if "loss" in line] == [1, 2, 3, 4, 5]


@pytest.fixture
def handlers():
    """The handlers of a test, put back after it."""
    old = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in old.items():
        signal.signal(number, handler)


def current():
    return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)


@pytest.mark.parametrize("with_checkpoints", [True, False])
def test_the_old_handlers_are_restored(tmp_path, handlers, with_checkpoints):
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before, during = current(), []
    with Checkpoints(tmp_path) as checkpoints:
        options = {"checkpoints": checkpoints} if with_checkpoints else {}
        run(callbacks=[(5, lambda snapshot: during.append(current()))], **options)
        assert current() == before
        with pytest.raises(ZeroDivisionError):
            run(callbacks=[(5, lambda snapshot: 1 // 0)], resume=with_checkpoints, steps=20, **options)
    assert current() == before
    assert all((handler != old) == with_checkpoints for handler, old in zip(during[0], before, strict=True))


def test_handlers_of_the_user_for_ctrl_c_and_ignored_signals_stay(handlers):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, lambda number, frame: None)
    before = current()
    with Signals(active=True):
        assert current() == before


def test_other_threads_leave_signals_alone(tmp_path):
    found = []

    def other():
        with Checkpoints(tmp_path) as checkpoints:
            found.append(run(checkpoints=checkpoints).step)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert found == [11]


@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_what_is_sheltered_is_finished_first(handlers, number, error):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    done = []
    with Signals(active=True) as signals:
        with pytest.raises(error), signals.sheltered():
            os.kill(os.getpid(), number)
            done.append("inside")
        signals.clear()
        with pytest.raises(error):
            os.kill(os.getpid(), number)
            done.append("never")
        signals.clear()
        with signals.sheltered():  # what was held back is not raised again
            done.append("after")
    assert done == ["inside", "after"]


def in_a_callback_of_the_garbage_collector(do):
    """What is raised there is swallowed."""
    callback = lambda phase, info: do() if phase == "start" else None  # noqa: E731
    gc.callbacks.append(callback)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(callback)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_whose_exception_is_swallowed_is_not_lost(tmp_path, handlers, number, error):
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def callback(snapshot):
        if snapshot.step == 5:
            in_a_callback_of_the_garbage_collector(lambda: os.kill(os.getpid(), number))

    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(Terminated) if error is Terminated else contextlib.nullcontext():
            assert run(checkpoints=checkpoints, callbacks=[(1, callback)]).stopped == "interrupted"
        assert checkpoints.steps() == [6]
        with pytest.raises(error):  # nor in the last evaluation, after all is saved
            run(
                checkpoints=checkpoints,
                resume=True,
                evaluate=lambda state: (
                    in_a_callback_of_the_garbage_collector(lambda: os.kill(os.getpid(), number)) or {}
                ),
            )
        assert checkpoints.steps() == [6, 11]


def test_a_signal_waits_for_a_compilation(handlers):
    """Which goes on in a thread that crashes if the process ends meanwhile."""
    found = []

    def chain(x):
        for _ in range(300):
            x = jnp.tanh(x @ x)
        return x

    compiled = jax.jit(chain).lower(jnp.ones((5, 5)))
    with pytest.raises(Terminated), Signals(active=True) as signals:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM)).start()
        found.append(compiled.compile())
        signals.check()
    assert found


def test_an_interrupt_while_a_checkpoint_is_written_leaves_it_whole(tmp_path, handlers, monkeypatch):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Checkpoints(tmp_path) as checkpoints:
        written = checkpoints.save

        def save(step, tree, **options):
            os.kill(os.getpid(), signal.SIGINT)
            written(step, tree, **options)

        monkeypatch.setattr(checkpoints, "save", save)
        result = run(checkpoints=checkpoints, checkpoint_every=4)
        assert (result.stopped, result.step, checkpoints.steps()) == ("interrupted", 4, [4])
