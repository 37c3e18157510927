"""A small convolutional network: in each layer a 3 x 3 convolution, a ReLU, and half the height and width.

x' = relu(W * x + b), at every second row and column
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

Layer = tuple[jax.Array, jax.Array]  # weights [9 C, C'], and biases [C']


def make_convnet(inputs: int, channels: Sequence[int]) -> tuple[Callable, Callable]:
    """Makes `key -> layers`, and `(layers, images [..., H, W, inputs]) -> features [..., H / 2^L, W / 2^L, C]`.

    There are L layers, of so many channels each; the last number is C. Sides are rounded up.
    """

    def init(key: jax.Array) -> list[Layer]:
        draw, keys = jax.nn.initializers.he_normal(), jax.random.split(key, len(channels))
        sizes = zip(keys, [inputs, *channels[:-1]], channels, strict=True)
        return [(draw(k, (9 * before, after)), jnp.zeros(after)) for k, before, after in sizes]

    def apply(layers: list[Layer], images: jax.Array) -> jax.Array:
        x = images.reshape(-1, *images.shape[-3:])
        for weights, biases in layers:
            x = jax.nn.relu(jnp.matmul(patches(x), weights) + biases[None, None, None])
        return x.reshape(*images.shape[:-3], *x.shape[1:])

    return init, apply


def patches(x: jax.Array) -> jax.Array:
    """The 3 x 3 pixels around every second row and column, zero beyond the edge, `[B, H / 2, W / 2, 9 C]`.

    A product with them is a convolution. XLA's own takes ten times as long on CPUs where it is compiled into a loop,
    such as that over the updates of one call.
    """
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1)


def side_after(side: int, channels: Sequence[int]) -> int:
    """Height or width of the features, for images of this height or width.

    >>> side_after(24, (16, 32)), side_after(25, (16, 32))
    (6, 7)
    """
    return -(-side // 2 ** len(channels))


def flat(features: jax.Array) -> jax.Array:
    """Features `[..., H, W, C]` as vectors `[..., H W C]`."""
    return features.reshape(*features.shape[:-3], -1)
