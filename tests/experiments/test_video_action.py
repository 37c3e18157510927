"""Actions of digits: poses, reversal, and what each network can know."""

import dataclasses

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.data import mnist
from experiments.video_action import __main__ as video
from experiments.video_action.film import ACTIONS, SIZE, draw, make_clips

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(video)
CONFIG = dataclasses.replace(video.Config(), frames=8, channels=(3, 2), hidden=5, maps=3, noise=0.0)
BLOB = np.zeros((28, 28), np.float32)
BLOB[4:12, 10:18] = 1.0  # above the middle


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert next(iter(result)) == "accuracy" and 0 <= result["baseline_accuracy_per_frame"] <= 1
    assert figures_of(folder) == {"clips", "confusions", "frames"}
    assert "one in two is the most" in (folder / "report.md").read_text()


def centre(frames):
    """Where the ink is, (down, across) from the middle, and how much of it, for frames `[T, 32, 32]`."""
    ink = frames.sum(axis=(1, 2))
    rows = np.arange(SIZE) - (SIZE - 1) / 2
    return (frames.sum(axis=2) @ rows) / ink, (frames.sum(axis=1) @ rows) / ink, ink


def test_poses_do_what_the_actions_say():
    still = centre(draw(BLOB, np.zeros((1, 4))))
    assert still[0] < -2 and abs(still[1]) < 0.2
    for action, name in enumerate(ACTIONS):
        pose = np.zeros((1, 4))
        pose[0, action // 2] = (2 * (action % 2) - 1) * (2.0 if action < 4 else 0.4)
        down, across, ink = (now - before for now, before in zip(centre(draw(BLOB, pose)), still, strict=True))
        moved = {"up": -down, "down": down, "left": -across, "right": across, "shrinks": -ink, "grows": ink,
                 "turns left": -across, "turns right": across}[name]  # fmt: skip
        assert moved > 0.5, name


def test_an_action_backwards_is_the_other_of_its_pair():
    """So that the mean over time of whatever is seen is distributed alike for both."""
    clips = make_clips(CONFIG, BLOB[None], 600, False, 0)
    assert (clips.actions == clips.actions[0]).all()
    for first in range(0, len(ACTIONS), 2):
        forth, back = (clips.frames[:, clips.actions[0] == action].mean(axis=1) for action in (first, first + 1))
        assert np.abs(forth[::-1] - back).mean() < 0.6 * np.abs(forth - back).mean()


def test_a_change_is_within_the_clip_and_to_another_action():
    actions = make_clips(CONFIG, BLOB[None], 200, True, 0).actions
    changes = actions[1:] != actions[:-1]
    assert (changes.sum(axis=0) == 1).all() and set(changes.argmax(axis=0) + 1) == {3, 4}
    assert np.unique(actions).tolist() == list(range(8))


@pytest.mark.parametrize("network", video.NETWORKS)
def test_who_knows_the_order_of_the_frames(network):
    init, apply = video.make_model(CONFIG, network)
    frames = make_clips(CONFIG, mnist.generate().images, 3, False, 0).frames
    params = init(jax.random.key(0))
    logits, backwards = (apply(params, each)[-1] for each in (frames, frames[::-1]))
    assert logits.shape == (3, 8) and np.abs(logits).max() > 0
    assert np.allclose(logits, backwards, atol=1e-5) == (network == "mean of frames")


def test_what_is_scored():
    outputs = np.arange(5)
    assert video.answered(outputs, changes=True).tolist() == [1, 2, 3, 4]
    assert video.answered(outputs, changes=False).tolist() == [4]


def test_options_that_cannot_be_are_one_sentence(tmp_path):
    for changes, expected in (({"networks": ("CNN",)}, "--networks to be some of CNN-LSTM"), ({"frames": 6}, "from 7")):
        with pytest.raises(ValueError, match=expected):
            video.main(smoke_config(video, tmp_path, **changes))
