"""The convolutional network, and the cells without a recurrence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from experiments.lib.convnet import flat, make_convnet, side_after
from experiments.lib.no_recurrence import average, memoryless


@pytest.mark.parametrize("shape", [(8, 8), (7, 6)])
def test_a_layer_is_a_strided_convolution(shape):
    init, apply = make_convnet(2, (3, 5))
    layers = init(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 3, *shape, 2))
    x = images.reshape(6, *shape, 2)
    for weights, biases in layers:
        weights = weights.reshape(3, 3, -1, len(biases))
        order = ("NHWC", "HWIO", "NHWC")
        x = jax.nn.relu(jax.lax.conv_general_dilated(x, weights, (2, 2), [(1, 1)] * 2, dimension_numbers=order))
    features = apply(layers, images)
    assert features.shape == (2, 3, side_after(shape[0], (3, 5)), side_after(shape[1], (3, 5)), 5)
    np.testing.assert_allclose(features.reshape(x.shape), x, rtol=1e-5, atol=1e-6)
    assert flat(features).shape == (2, 3, features[0, 0].size)


def test_cells_without_recurrence():
    xs = jax.random.normal(jax.random.key(1), (5, 3, 2))
    for make in (memoryless, average):
        cell = make(2, 7)
        params = cell.init(jax.random.key(0))
        _, ys = rnnjax.unroll(cell, params, xs)
        layer = np.maximum(jnp.matmul(xs, params[0]), 0)
        expected = layer if make is memoryless else np.cumsum(layer, 0) / np.arange(1, 6)[:, None, None]
        np.testing.assert_allclose(ys, expected, rtol=1e-5, atol=1e-6)
