"""The ball: its flight, what one frame can tell, and who looks at which frames."""

import dataclasses

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.ball import __main__ as ball
from experiments.ball.film import DIRECTIONS, EDGE, ROOM, SIZE, bounce, make_clips

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(ball)
CONFIG = dataclasses.replace(ball.Config(), frames=5, channels=(3,), hidden=5)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert next(iter(result)) == "accuracy" and 0 <= result["baseline_accuracy"] <= 0.5
    assert 0 < result["error_pixels"] < SIZE
    assert figures_of(folder) == {"clips", "frames"}
    assert "chance is one in eight, 12.5%" in (folder / "report.md").read_text()


def test_bouncing_is_a_flight_in_small_steps():
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, speed = rng.uniform(0, 7), rng.uniform(-5, 5)
        place, velocity = start, speed / 1000
        for _ in range(4000):
            place += velocity
            if place < 0 or place > 7:
                velocity = -velocity
                place = -place if place < 0 else 14 - place
        found, turned = bounce(np.array(start + 4 * speed), 7.0)
        assert abs(found - place) < 1e-6 and turned * speed * velocity > 0


def test_the_ball_is_where_it_is_brightest_and_flies_where_it_is_said_to():
    clips = make_clips(dataclasses.replace(CONFIG, noise=0.0), 50, 3)
    assert clips.frames.shape == (5, 50, SIZE, SIZE) and clips.frames.dtype == np.float32
    brightest = clips.frames.reshape(5, 50, -1).argmax(axis=-1)
    seen = np.stack([brightest % SIZE, brightest // SIZE], axis=-1)
    assert np.abs(seen - clips.places[:-1]).max() <= 0.51
    assert clips.places.min() >= EDGE and clips.places.max() <= EDGE + ROOM
    step = np.diff(clips.places, axis=0)
    free = np.abs(np.linalg.norm(step, axis=-1) - np.linalg.norm(step, axis=-1).max(axis=0)) < 1e-4  # no wall hit
    turn = np.arctan2(step[..., 1], step[..., 0]) - clips.directions * 2 * np.pi / DIRECTIONS
    off = np.abs((turn + np.pi) % (2 * np.pi) - np.pi)[free]
    assert free.mean() > 0.5 and off.max() < np.pi / 12 + 1e-3


def test_the_place_says_nothing_about_the_direction():
    clips = make_clips(dataclasses.replace(CONFIG, frames=8), 4000, 1)
    near = clips.places[7, :, 0] < EDGE + 2  # a wall on the left
    for rows in (near, ~near):
        shares = np.bincount(clips.directions[7, rows], minlength=DIRECTIONS) / rows.sum()
        assert np.abs(shares - 1 / DIRECTIONS).max() < 4 * (0.11 / rows.sum()) ** 0.5


def test_clips_are_the_same_for_the_same_numbers():
    one, same, other = (make_clips(CONFIG, 2, *numbers) for numbers in ((0, 1), (0, 1), (0, 2)))
    assert np.array_equal(one.frames, same.frames) and not np.array_equal(one.places, other.places)


@pytest.mark.parametrize(("network", "remembers"), [("recurrent", True), ("one frame", False)])
def test_who_looks_at_the_frames_before(network, remembers):
    init, apply = ball.make_model(CONFIG, network)
    frames = make_clips(CONFIG, 3, 0).frames
    other = frames.copy()
    other[0] += 1.0
    params = init(jax.random.key(0))
    (logits, places), (logits_2, _) = apply(params, frames), apply(params, other)
    assert logits.shape == (5, 3, DIRECTIONS) and places.shape == (5, 3, 2)
    assert np.array_equal(logits[-1], logits_2[-1]) is not remembers


def test_stacked_frames_are_answered_once_and_all_seen():
    init, apply = ball.make_model(CONFIG, "stacked frames")
    frames, params = make_clips(CONFIG, 3, 0).frames, init(jax.random.key(0))
    other = frames.copy()
    other[1] += 1.0
    logits, _ = apply(params, frames)
    assert logits.shape == (1, 3, DIRECTIONS) and not np.array_equal(logits, apply(params, other)[0])


def test_options_that_cannot_be_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="expected --frames from 2 and 0 < --slowest"):
        ball.main(smoke_config(ball, tmp_path, slowest=4.0))
