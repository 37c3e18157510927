"""Features of images with captions, such as those of Flickr8k, from a file.

The file is one of `numpy.savez`, with the arrays
    features [N, P, F]    numbers: P positions of an image, F features of each (the last convolution of a VGG net, say)
    captions [N, C]       strings: C captions of each image, in lower case, words and marks apart; "" for none
    split [N]             strings: train, validation or test
"""

import zipfile
from pathlib import Path

import numpy as np

from experiments.captioning.scenes import Part

SPLITS = ("train", "validation", "test")


def load(path: str) -> list[Part]:
    """Reads the three parts of a file."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected --features to be the path of a file of numpy.savez, found none at {path!r}.")
    try:
        with np.load(Path(path), allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("features", "captions", "split")}
    except (KeyError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(
            f"expected {path} to be a file of numpy.savez with features, captions and split, got {error}."
        ) from None
    features, captions, split = arrays.values()
    shapes = [array.shape for array in arrays.values()]
    if not (features.ndim == 3 and captions.ndim == 2 and split.ndim == 1 and len({shape[0] for shape in shapes}) == 1):
        raise ValueError(f"expected features [N, P, F], captions [N, C] and split [N] in {path}, got {shapes}.")
    if set(split) != {*SPLITS}:
        raise ValueError(f"expected split in {path} to say {', '.join(SPLITS)}, got {sorted(set(split))}.")
    if features.dtype.kind != "f" or not np.isfinite(features).all():
        raise ValueError(f"expected features in {path} to be finite floats, got {features.dtype}, or NaN or infinity.")
    if not (captions != "").any(axis=1).all():
        raise ValueError(
            f"expected a caption for each image in {path}, got none in row {(captions == '').all(1).argmax()}."
        )
    parts = []
    for name in SPLITS:
        rows = np.flatnonzero(split == name)
        told = [tuple(str(caption) for caption in captions[row] if caption) for row in rows]
        parts.append(Part(features[rows].astype(np.float32), told))
    return parts
