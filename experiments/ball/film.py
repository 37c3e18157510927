"""Clips of a ball that bounces off four walls."""

from typing import Any, NamedTuple

import numpy as np

SIZE, RADIUS = 24, 1.2  # side of a frame, and standard deviation of the ball's brightness, in pixels
EDGE, ROOM = 2.0, SIZE - 5.0  # the centre of the ball keeps this far from the edge, and has so much room
DIRECTIONS, SPREAD = 8, np.pi / 12  # sectors, and how far from the middle of one the ball may fly
TRAIN, VALIDATION, TEST = range(3)  # kinds of random numbers, so that no clip serves two


class Clips(NamedTuple):
    """N clips of T frames."""

    frames: np.ndarray  # [T, N, 24, 24], rows from above
    places: np.ndarray  # of the centre, (x, y) in pixels, one more than there are frames [T + 1, N, 2]
    directions: np.ndarray  # the sector in which the ball flies, at each frame [T, N]


def bounce(path: np.ndarray, room: float) -> tuple[np.ndarray, np.ndarray]:
    """Folds straight paths at walls at 0 and `room`: the places, and -1 where the flight is turned round, else 1."""
    ahead = np.mod(path, 2 * room)
    return np.minimum(ahead, 2 * room - ahead), np.where(ahead < room, 1.0, -1.0)


def make_clips(config: Any, count: int, *numbers: int) -> Clips:
    """Makes clips, always the same ones for a seed and these numbers.

    Place and direction are uniform, and bouncing leaves them so: where a ball is says nothing about where it goes.
    """
    rng = np.random.default_rng((config.seed, *numbers))
    angle = rng.integers(DIRECTIONS, size=count) * 2 * np.pi / DIRECTIONS + rng.uniform(-SPREAD, SPREAD, count)
    speed = rng.uniform(config.slowest, config.fastest, count)
    velocity = np.stack([speed * np.cos(angle), speed * np.sin(angle)], axis=-1)
    times = np.arange(config.frames + 1)[:, None, None]
    places, turned = bounce(rng.uniform(0, ROOM, (count, 2)) + times * velocity, ROOM)
    places += EDGE
    across, down = np.moveaxis((velocity * turned)[:-1], -1, 0)
    directions = np.rint(np.arctan2(down, across) * DIRECTIONS / (2 * np.pi)).astype(np.int32) % DIRECTIONS
    bright = np.exp(-0.5 * ((np.arange(SIZE) - places[:-1, ..., None]) / RADIUS) ** 2)  # along x and along y
    frames = bright[:, :, 1, :, None] * bright[:, :, 0, None, :]
    frames += config.noise * rng.standard_normal(frames.shape, np.float32)
    return Clips(frames.astype(np.float32), places.astype(np.float32), directions)
