"""What a run writes and shows, and the watch for the jaxlib that computes wrong numbers."""

import json
import math
import os
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rnnjax._jaxlib_check import warn_if_wrong
from rnnjax.training import Metrics, MetricsLog
from rnnjax.training._progress import Lines, Speed, open_bar, postfix


def test_a_log_appends_lines(tmp_path):
    log = MetricsLog(tmp_path / "metrics")
    log.write(step=1, loss=0.1)
    log.write(step=2, loss=1e-7, speed=3)
    lines = (tmp_path / "metrics").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 1e-7, "speed": 3}]


def test_a_resumed_log_drops_later_and_torn_lines(tmp_path):
    path = tmp_path / "metrics"
    lines = ['{"step": 3, "loss": 1.5}', '{"step": 5, "loss": 1.25}', '{"step": 5, "accuracy": 0.5}']
    later = ['{"step": 6, "loss": 1.0}', "", "7", '{"loss": 2.0}', '{"step": 7, "lo']
    path.write_text("\n".join(lines + later))
    MetricsLog(path, 5).write(step=6, loss=0.75)
    assert path.read_text().splitlines() == [*lines, '{"step": 6, "loss": 0.75}']
    assert [file.name for file in tmp_path.iterdir()] == ["metrics"]


def test_a_line_that_was_only_not_ended_is_kept(tmp_path):
    (tmp_path / "metrics").write_text('{"step": 3, "loss": 1.5}')
    MetricsLog(tmp_path / "metrics", 3).write(step=4, loss=0.5)
    assert (tmp_path / "metrics").read_text() == '{"step": 3, "loss": 1.5}\n{"step": 4, "loss": 0.5}\n'


def test_a_new_run_begins_an_empty_log(tmp_path):
    (tmp_path / "metrics").write_text('{"step": 3, "loss": 1.5}\n')
    MetricsLog(tmp_path / "metrics")
    assert (tmp_path / "metrics").read_text() == ""


def test_a_log_of_nothing_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    MetricsLog(None, 7).write(step=1, loss=0.1)
    assert not list(tmp_path.iterdir())


def speed_of(times, **options):
    return Speed(clock=iter(times).__next__, **options)


def test_speed_leaves_out_the_first_call_which_compiles():
    speed = speed_of([0.0, 100.0, 102.0])
    assert speed.rate == 0.0
    speed.add(70)
    assert speed.rate == 0.0
    speed.add(30)
    assert speed.rate == 15.0


def test_speed_leaves_out_pauses():
    speed = speed_of([0.0, 10.0, 12.0, 50.0, 53.0], memory=1.0)
    speed.add(7)
    speed.add(20)  # 2 seconds
    speed.pause()  # 38 seconds of something else
    speed.add(30)  # 3 seconds
    assert speed.rate == 50 / 5


def test_speed_forgets():
    speed = speed_of([0.0, 1.0, 2.0, 3.0], memory=0.5)
    for tokens in (5, 10, 40):
        speed.add(tokens)
    assert speed.rate == (0.5 * 10 + 40) / (0.5 * 1 + 1)


@pytest.mark.parametrize(
    ("loss", "aux", "rate", "unit", "wanted"),
    [
        (2 * math.log(2), {}, 1234567.8, "token", "loss 1.386, 2.000 bits/token, 1,234,568 token/s"),
        (0.04213, {}, 0.0, "example", "loss 0.0421"),  # no "0 example/s" before a speed is known
        (0.04213, {}, 0.345, "example", "loss 0.0421, 0.34 example/s"),  # nor after
        (1.5, {"accuracy": 0.61278, "norm": 12345.0}, 70.0, "row", "loss 1.5, accuracy 0.613, norm 1.23e+04, 70 row/s"),
        ([3.0, 0.5, np.nan], {"rate": [1.0, 2.0, 3.0]}, 70.0, "row", "loss 0.5, best of 3, rate 2, 70 row/s"),
    ],
)
def test_the_end_of_the_bar(loss, aux, rate, unit, wanted):
    metrics = Metrics(np.float32(loss), 1, 1, {name: np.float32(value) for name, value in aux.items()})
    assert postfix(metrics, rate, unit) == wanted


def test_the_bar_counts_from_where_the_run_resumes(capfd):
    bar = open_bar(True, steps=11, step=4)
    bar.set_postfix_str("loss 1.5", refresh=False)
    bar.update(3)
    bar.write("step 7: accuracy 0.5")
    bar.close()
    shown = capfd.readouterr()
    assert "7/11" in shown.err and "loss 1.5" in shown.err and "step/s" not in shown.err
    assert shown.out == "step 7: accuracy 0.5\n"


def test_without_tqdm_there_are_lines(monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    bar = open_bar(True, steps=3)
    bar.set_postfix_str("loss 1.5", refresh=False)
    bar.update(1)
    bar.write("step 1: accuracy 0.5")
    bar.update(2)
    bar.close()
    assert capfd.readouterr() == ("step 1: accuracy 0.5\n", "step 3/3: loss 1.5\n")


def test_lines_come_now_and_then_and_say_how_long_it_takes(capfd):
    lines = Lines(2000, 400, clock=iter([0.0, 4.0, 12.0, 12.0, 13.0, 13.0]).__next__, every=10.0)
    lines.set_postfix_str("loss 2.5", refresh=False)
    for steps in (200, 200, 200):  # after 4, 12 and 13 seconds
        lines.update(steps)
    lines.close()
    expected = "step 800/2,000: loss 2.5, about 36 s left\nstep 1,000/2,000: loss 2.5, about 22 s left\n"
    assert capfd.readouterr() == ("", expected)


def test_a_log_of_several_models_has_lists_and_null_for_what_json_has_no_number_for(tmp_path):
    log = MetricsLog(tmp_path / "metrics")
    log.write(step=3, loss=np.array([0.5, np.nan, np.inf]), accuracy=jnp.float32(0.25), bits=float("nan"))
    assert json.loads((tmp_path / "metrics").read_text(), parse_constant=pytest.fail) == {
        "step": 3,
        "loss": [0.5, None, None],
        "accuracy": 0.25,
        "bits": None,
    }


def test_a_log_that_cannot_be_written_says_so_in_a_sentence(tmp_path):
    log = MetricsLog(tmp_path / "metrics")
    (tmp_path / "metrics").mkdir()
    with pytest.raises(OSError, match=r"a line of metrics into .*metrics, got an error \(Is a directory\)"):
        log.write(step=1, loss=0.5)


# ---- the jaxlib that computes wrong numbers ------------------------------------------------------------------


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
def test_the_wrong_jaxlib_is_named_in_one_warning(machine):
    with pytest.warns(RuntimeWarning, match=r"jaxlib 0\.10\.2 returns wrong numbers on x86") as caught:
        warn_if_wrong("0.10.2", machine)
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("version", "machine"), [("0.10.2", "aarch64"), ("0.10.2", "arm64"), ("0.10.1", "x86_64"), ("0.11.0", "x86_64")]
)
def test_others_are_not_warned_of(version, machine):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_wrong(version, machine)


@pytest.mark.slow
def test_importing_the_library_twice_warns_once():
    program = """
import platform, warnings
import jaxlib
jaxlib.__version__, platform.machine = "0.10.2", lambda: "x86_64"
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import rnnjax
    import rnnjax, rnnjax.cells, rnnjax._jaxlib_check
print([str(w.message)[:13] for w in caught if issubclass(w.category, RuntimeWarning)])
"""
    out = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert out.stdout.strip() == "['jaxlib 0.10.2']"


def test_canary_of_jax_issue_39103():
    """jaxlib 0.10.2 is off by 0.8 % here, silently."""
    matrix = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
    rows = np.random.default_rng(1).normal(size=(32_769, 3)).astype(np.float32)
    got = np.asarray(jax.jit(jax.vmap(lambda r: jnp.sum((matrix @ r) ** 2)))(rows))
    wanted = np.sum((rows.astype(np.float64) @ matrix.T.astype(np.float64)) ** 2, axis=-1)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.sum(got, dtype=np.float64), wanted.sum(), rtol=1e-5)
