"""Show, Attend and Tell (Xu et al. 2015): a `Translator` whose source is an image.

    m_p = CNN(image) at position p,    or    relu(W f_p + b) of features that are given
    c_t, a_t = attend(h_{t-1}, m),     h_t = LSTM(h_{t-1}, [embedded y_{t-1}; c_t]),    h_0, c_0 = W mean_p m_p + b

Without attention, the mean of m takes the place of c_t.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import translator
from experiments.lib.cells import make_cell
from experiments.lib.convnet import make_convnet


class Captioner(translator.Translator):
    """The translator's parts; sources are images `[N, H, W, 3]` in bytes, or features `[N, P, F]`."""

    def encode(self, params: translator.Params, sources: jax.Array, lengths: jax.Array, key: jax.Array | None = None):
        """Looks at sources: `(memory, first carry)`, leaves `[N, ...]`; the key is of dropout."""
        _, seen = self.encoder.apply(params.encoder, sources)  # [P, N, M]
        seen, mean = self._drop(seen, key, 0), seen.mean(axis=0)
        carry = self.bridge.apply(params.bridge, mean)
        memory = self.attention.remember(params.decoder.attention, seen) if self.attention else mean
        return memory, self.decoder.initial_carry(memory, carry)


def make_encoder(channels: tuple[int, ...], shape: tuple[int, ...]) -> rnnjax.seq2seq.Encoder:
    """Makes what sees sources of this shape, P positions in order of time: `([], [P, N, M])`; M is the last channel."""
    if len(shape) == 3:
        init, see = make_convnet(shape[-1] + 2, channels)
        rows, columns = np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[1])
        places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).astype(np.float32)

        def apply(layers: Any, images: jax.Array):
            pixels = images.astype(jnp.float32) / 128 - 1
            where = jnp.broadcast_to(places[None], (len(images), *places.shape))  # so that left and right differ
            features = see(layers, jnp.concatenate([pixels, where], axis=-1))
            return [], jnp.moveaxis(features.reshape(len(images), -1, features.shape[-1]), 1, 0)

        return rnnjax.seq2seq.Encoder(init, apply)

    def init_layer(key: jax.Array):
        return jax.nn.initializers.he_normal()(key, (shape[-1], channels[-1])), jnp.zeros(channels[-1])

    def project(layer: Any, features: jax.Array):
        return [], jax.nn.relu(jnp.matmul(jnp.moveaxis(features, 1, 0), layer[0]) + layer[1][None, None])

    return rnnjax.seq2seq.Encoder(init_layer, project)


def make_captioner(options: Any, shape: tuple[int, ...], symbols: int, *, attention: bool) -> Captioner:
    """Makes the model for sources of this shape and so many symbols."""
    hidden, size = options.hidden, options.channels[-1]
    cell = make_cell(options.cell, options.embedding + size, hidden)
    looks = translator.ATTENTIONS[options.attention](hidden, size, hidden) if attention else None
    decoder = rnnjax.seq2seq.vector_decoder(cell, every_step=True)
    if looks:
        decoder = rnnjax.attention_decoder(cell, looks, attentional_size=hidden)
    bridge = rnnjax.seq2seq.bridge(jnp.zeros(size), cell.initial_carry())
    encoder = make_encoder(options.channels, shape)
    return Captioner(options, (1, symbols), encoder, looks, bridge, decoder)
