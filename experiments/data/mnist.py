"""Images of digits: the 10,000 test images of MNIST, other files in the IDX format, or digits of matplotlib's fonts.

Reference: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".
"""

import gzip
import zlib
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from experiments.data._find import DataFile, find

SIDE = 28
FONTS = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif")
STYLES = ("", "-Bold", "-Oblique", "-BoldOblique", "-Italic", "-BoldItalic")  # those that a font has

COPY = "https://raw.githubusercontent.com/patrick-kidger/equinox/9336d820b2ef66b360fc6cb3611b3da5cefbb14d/docs/examples"
IMAGES = DataFile(
    folder="mnist_t10k",
    name="t10k-images-idx3-ubyte.gz",
    url="https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
    sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    licence="CC BY-SA 3.0, as commonly stated",
    copy=f"{COPY}/MNIST/MNIST/raw/t10k-images-idx3-ubyte.gz",
)
LABELS = IMAGES._replace(
    name="t10k-labels-idx1-ubyte.gz",
    url="https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
    sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    copy=f"{COPY}/MNIST/MNIST/raw/t10k-labels-idx1-ubyte.gz",
)


class Digits(NamedTuple):
    """N images of digits."""

    images: np.ndarray  # from 0 to 1 [N, 28, 28]
    labels: np.ndarray  # from 0 to 9 [N]


class Parts(NamedTuple):
    """Three parts of a set of images `[N, 28, 28]`; no image is in two."""

    training: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def load(data: str = "generated") -> Digits:
    """Loads digits: "generated" (of fonts), "mnist" (10,000), or a folder with images and labels in the IDX format."""
    if data == "generated":
        return generate()
    if data == "mnist":
        images, labels = find(IMAGES), find(LABELS)
    else:
        found = [sorted(Path(data).glob(f"*{kind}*ubyte*")) for kind in ("images-idx3", "labels-idx1")]
        if not all(len(paths) == 1 for paths in found):
            raise FileNotFoundError(
                f"expected --data to be generated, mnist, or a folder with one file *images-idx3-ubyte and one "
                f"*labels-idx1-ubyte, gzipped or not, got {data!r}."
            )
        [[images], [labels]] = found
    digits = Digits(read(images, 3).astype(np.float32) / 255, read(labels, 1).astype(np.int32))
    if len(digits.images) != len(digits.labels) or digits.images.shape[1:] != (SIDE, SIDE):
        raise ValueError(
            f"expected images of {SIDE} x {SIDE} in {images} and as many labels in {labels}, got "
            f"{digits.images.shape} and {len(digits.labels)}."
        )
    return digits


def read(path: Path, rank: int) -> np.ndarray:
    """Reads an array of bytes of this rank from a file in the IDX format, gzipped or not.

    Four bytes: zero, zero, the type (8 for bytes), the rank; then each axis in four bytes, the highest first.
    """
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"expected {path} to be gzipped, as its name says, got {error}.") from None
    magic, start = bytes([0, 0, 8, rank]), 4 + 4 * rank
    if content[:4] != magic or len(content) < start:
        raise ValueError(f"expected {path} to begin with {magic.hex()} and {rank} sizes, got {content[:start].hex()}.")
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if len(content) - start != np.prod(shape):
        raise ValueError(f"expected {np.prod(shape)} bytes behind the sizes in {path}, got {len(content) - start}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def split(digits: Digits, seed: int) -> Parts:
    """Splits different images into 80 % for training, 10 % for validation and 10 % for the test, at random."""
    images = np.unique(digits.images, axis=0)  # what is there twice would be in two parts
    images = images[np.random.default_rng(seed).permutation(len(images))]
    tenth = max(1, len(images) // 10)
    return Parts(images[2 * tenth :], images[:tenth], images[tenth : 2 * tenth])


def generate() -> Digits:
    """Draws the digits of every style of the fonts that come with matplotlib, in white on black."""
    folder, images = Path(matplotlib.get_data_path()) / "fonts" / "ttf", []
    paths = [folder / f"{font}{style}.ttf" for font in FONTS for style in STYLES]
    for path in filter(Path.is_file, paths):
        for digit in range(10):
            canvas = Image.new("L", (SIDE, SIDE))
            font = ImageFont.truetype(str(path), 26)
            ImageDraw.Draw(canvas).text((SIDE / 2, SIDE / 2), str(digit), fill=255, font=font, anchor="mm")
            images.append(np.asarray(canvas, np.float32) / 255)
    return Digits(np.stack(images), np.arange(len(images), dtype=np.int32) % 10)
