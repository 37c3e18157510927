"""Scenes of two shapes, and what can be said about them."""

from typing import NamedTuple

import numpy as np

SIDE = 32  # of an image
SIZES = {"small": 3.0, "big": 6.0}  # half a side, or the radius, in pixels
COLOURS = {"red": (255, 40, 40), "green": (40, 190, 60), "blue": (50, 80, 255), "yellow": (240, 230, 40),
           "purple": (170, 60, 200), "white": (250, 250, 250)}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross")
RELATIONS = ("left of", "above"), ("right of", "below")  # of the first object, of the second; by axis
TRAIN, VALIDATION, TEST, NEW = range(4)
PARTS_OF_PAIRS = np.random.default_rng(0).choice(3, size=(24, 24), p=[0.7, 0.1, 0.2])  # of kinds, the smaller first
NOISE = 8.0  # standard deviation, of brightness from 0 to 255


class Part(NamedTuple):
    """N images, or features of images, and what is right to say about each."""

    inputs: np.ndarray  # bytes [N, 32, 32, 3], or features [N, P, F]
    captions: list[tuple[str, ...]]


def part_of(colours: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """The part of scenes of two objects with these colours and shapes `[N, 2]`.

    A kind is a colour and a shape. Which part has a scene of two known kinds, the two decide, in whatever order; so no
    caption is in two parts. Of each shape one colour is missing in all three; scenes with such a kind are NEW.
    """
    low, high = np.sort(colours * len(SHAPES) + shapes, axis=1).T
    return np.where(((colours + shapes) % 6 == 0).any(axis=1), NEW, PARTS_OF_PAIRS[low, high])


def make_part(part: int, count: int, seed: int) -> Part:
    """Makes scenes of a part."""
    rng = np.random.default_rng((seed, part))
    draws = [rng.integers(len(names), size=(24 * count + 200, 2)) for names in (SIZES, COLOURS, SHAPES)]
    sizes, colours, shapes = (draw[part_of(*draws[1:]) == part][:count] for draw in draws)
    axis = rng.integers(2, size=count)  # 0 is beside, 1 is one above the other
    apart, aside = rng.uniform(13, 17, count), rng.uniform(-5, 5, count)
    along = rng.uniform(7, 25 - apart)
    across = rng.uniform(12, 20, count)
    places = np.stack([np.stack([along, across]), np.stack([along + apart, across + aside])])  # [object, axis, N]
    places = np.where(axis == 0, places, places[:, ::-1])  # (x, y)
    images = np.full((count, SIDE, SIDE, 3), 60.0)
    for i in range(2):
        inside = draw_shapes(shapes[:, i], np.array([*SIZES.values()])[sizes[:, i]], *places[i])
        images = np.where(inside[..., None], np.array([*COLOURS.values()])[colours[:, i], None, None], images)
    images += NOISE * rng.standard_normal(images.shape, np.float32)
    words = [np.array([*names])[ids] for names, ids in ((SIZES, sizes), (COLOURS, colours), (SHAPES, shapes))]
    first, second = ([" ".join(("a", *each)) for each in zip(*(w[:, i] for w in words), strict=True)] for i in (0, 1))
    captions = [
        (f"{a} {RELATIONS[0][k]} {b}", f"{b} {RELATIONS[1][k]} {a}")
        for a, b, k in zip(first, second, axis, strict=True)
    ]
    return Part(np.clip(images, 0, 255).astype(np.uint8), captions)


def draw_shapes(shapes: np.ndarray, radii: np.ndarray, across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Which pixels are in the shape of each of N scenes, `[N, 32, 32]`; all arguments are `[N]`."""
    y, x = np.mgrid[:SIDE, :SIDE]
    r = radii[:, None, None]
    x, y = x - across[:, None, None], y - down[:, None, None]
    square = np.maximum(np.abs(x), np.abs(y)) <= r
    triangle = square & (np.abs(x) <= (y + r) / 2)
    cross = square & (np.minimum(np.abs(x), np.abs(y)) <= r / 3)
    drawn = np.stack([np.hypot(x, y) <= r, square, triangle, cross])
    return np.take_along_axis(drawn, shapes[None, :, None, None], axis=0)[0]


def words_of(caption: str) -> tuple[str, ...]:
    """The words of a caption that mean something: size, colour, shape, relation, and the second object's three."""
    known = {*SIZES, *COLOURS, *SHAPES, "left", "right", "above", "below"}
    return tuple(word for word in caption.split() if word in known)


def right_words(found: str, captions: tuple[str, ...]) -> np.ndarray:
    """Which of the seven words are right, `[7]`, by the correct caption that agrees most."""
    words = (*words_of(found), *[""] * 7)[:7]
    agreed = [[a == b for a, b in zip(words, words_of(each), strict=True)] for each in captions]
    return np.array(max(agreed, key=sum))
