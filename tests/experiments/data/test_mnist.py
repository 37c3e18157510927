"""Digits: the IDX format, the split, and the digits of fonts."""

import gzip
import os

import numpy as np
import pytest

from experiments.data import mnist


def idx(array, kind=8):
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, kind, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


IMAGES = np.random.default_rng(0).integers(256, size=(3, 28, 28))


def write(folder, images, labels):
    (folder / "some-images-idx3-ubyte").write_bytes(images)
    (folder / "some-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))


def test_images_and_labels_are_read(tmp_path):
    write(tmp_path, idx(IMAGES), idx(np.array([7, 0, 9])))
    digits = mnist.load(str(tmp_path))
    np.testing.assert_allclose(digits.images * 255, IMAGES, rtol=1e-5)
    assert digits.labels.tolist() == [7, 0, 9]


@pytest.mark.parametrize(
    ("images", "labels", "expected"),
    [
        (idx(IMAGES, kind=9), idx(np.zeros(3)), r"images-idx3-ubyte to begin with 00000803 and 3 sizes, got 00000903"),
        (idx(IMAGES)[:-1], idx(np.zeros(3)), r"expected 2352 bytes behind the sizes in .*images.*, got 2351"),
        (idx(IMAGES), idx(np.zeros(2)), r"as many labels in .*, got \(3, 28, 28\) and 2"),
        (idx(IMAGES), idx(np.zeros((3, 1))), r"labels-idx1-ubyte.gz to begin with 00000801"),
        (idx(IMAGES[:, 1:]), idx(np.zeros(3)), r"images of 28 x 28"),
        (b"", idx(np.zeros(3)), r"to begin with"),
    ],
)
def test_damaged_files_are_refused(tmp_path, images, labels, expected):
    write(tmp_path, images, labels)
    with pytest.raises(ValueError, match=expected):
        mnist.load(str(tmp_path))


def test_what_is_not_gzipped_or_not_there_is_one_sentence(tmp_path):
    with pytest.raises(FileNotFoundError, match="generated, mnist, or a folder"):
        mnist.load(str(tmp_path))
    write(tmp_path, idx(IMAGES), b"")
    (tmp_path / "some-labels-idx1-ubyte.gz").write_bytes(b"plain")
    with pytest.raises(ValueError, match="gzipped, as its name says"):
        mnist.load(str(tmp_path))


def test_no_image_is_in_two_parts():
    images = np.tile(np.random.default_rng(0).random((20, 28, 28)), (2, 1, 1))  # each of them twice
    parts = mnist.split(mnist.Digits(images, np.zeros(40, int)), seed=1)
    assert [len(part) for part in parts] == [16, 2, 2]
    assert len(np.unique(np.concatenate(parts), axis=0)) == 20
    assert not np.array_equal(parts.test, mnist.split(mnist.Digits(images, np.zeros(40, int)), seed=2).test)


def test_digits_of_fonts_differ_and_fit():
    digits = mnist.load()
    assert len(digits.images) >= 100 and digits.labels[:11].tolist() == [*range(10), 0]
    ink = digits.images.mean(axis=(1, 2))
    assert ink.min() > 0.03 and ink.max() < 0.4
    rim = digits.images.copy()
    rim[:, 1:-1, 1:-1] = 0
    assert rim.max() < 0.1  # nothing is cut off
    assert np.linalg.norm(digits.images[1] - digits.images[8]) > 3


def test_the_real_files():
    if not os.path.isfile(os.path.join(os.environ.get("RNNJAX_DATA", ""), "mnist_t10k", mnist.IMAGES.name)):
        pytest.skip("MNIST is not on this machine")
    digits = mnist.load("mnist")
    assert digits.images.shape == (10_000, 28, 28) and digits.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(digits.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
