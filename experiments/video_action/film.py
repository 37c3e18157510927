"""Clips of a digit that does something: it moves, changes its size, or turns.

Each action is another one backwards, and the mean pose of a clip is the same for both, so that whoever does not know
the order of the frames cannot tell which of the two it was.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import map_coordinates

SIZE = 32  # side of a frame
ACTIONS = ("up", "down", "left", "right", "shrinks", "grows", "turns left", "turns right")  # each pair: one backwards
SLOWEST = np.array([0.6, 0.6, 0.035, 0.07])  # of down, across (pixels), logarithm of the size, angle, per frame
FASTEST = 2.2 * SLOWEST
PLACES = np.array([3.0, 3.0, 0.15, 0.5])  # half widths of the mean poses
SHAKE = 0.25  # of a slowest step, in the pose of each frame


class Clips(NamedTuple):
    """N clips of T frames."""

    frames: np.ndarray  # [T, N, 32, 32]
    actions: np.ndarray  # what happens on the way to each frame but the first [T - 1, N]


def make_clips(config: Any, images: np.ndarray, count: int, changes: bool, *numbers: int) -> Clips:
    """Makes clips of digits `[D, 28, 28]`, always the same ones for a seed and these numbers.

    With changes, another action follows at some frame, not among the first or last three of the clip.
    """
    rng, steps = np.random.default_rng((config.seed, changes, *numbers)), config.frames - 1
    first = rng.integers(len(ACTIONS), size=count)
    second = (first + rng.integers(1, len(ACTIONS), size=count)) % len(ACTIONS)
    at = rng.integers(3, steps - 2, size=count) if changes else np.full(count, steps)
    actions = np.where(np.arange(steps)[:, None] < at, first, second)  # [T - 1, N]
    speeds = rng.uniform(SLOWEST, FASTEST, (count, 4))
    moves = np.eye(4)[actions // 2] * (2 * (actions % 2) - 1)[..., None] * speeds  # [T - 1, N, 4]
    poses = np.concatenate([np.zeros((1, count, 4)), np.cumsum(moves, axis=0)])
    poses += rng.uniform(-PLACES, PLACES, (count, 4)) - poses.mean(axis=0)
    poses += SHAKE * SLOWEST * rng.standard_normal(poses.shape)
    digits = images[rng.integers(len(images), size=count)]
    frames = np.stack([draw(digit, poses[:, i]) for i, digit in enumerate(digits)], axis=1)
    frames += config.noise * rng.standard_normal(frames.shape, np.float32)
    return Clips(frames, actions.astype(np.int32))


def draw(image: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Draws an image in T poses `[T, 4]`, as `[T, 32, 32]`: of each pixel, where in the image it comes from."""
    down, across, log_size, angle = poses[:, :, None, None].transpose(1, 0, 2, 3)
    y, x = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
    y, x, cos, sin = (y - down), (x - across), np.cos(angle), np.sin(angle)
    scale = 1.4 * np.exp(-log_size)
    places = np.stack([scale * (cos * y - sin * x), scale * (sin * y + cos * x)]) + (len(image) - 1) / 2
    return map_coordinates(image, places, order=1, prefilter=False, output=np.float32)
