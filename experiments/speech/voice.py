"""Text to speech: letters to log-mel frames, some at a step, by a decoder that looks at the letters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import rnnjax
from experiments.data.fsdd import Recordings
from experiments.lib import training
from experiments.lib.pairs import Symbols
from experiments.lib.readout import drop
from experiments.speech.features import MELS, Frames, log_mel

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SYMBOLS = Symbols.of([" ", *WORDS])
TOGETHER = 3  # frames that are written in one step


class Params(NamedTuple):
    """Parameters of the voice."""

    letters: jax.Array  # embeddings [V, E]
    encoder: Any
    w_in: jax.Array  # of the last frame that was written [MELS, P]
    decoder: Any
    w_y: jax.Array  # [H + M, TOGETHER * MELS + 1]: frames, and whether they are the last
    b_y: jax.Array


class Spelled(NamedTuple):
    """N texts as letters, and how they sound."""

    letters: np.ndarray  # ids [N, S]
    counts: np.ndarray  # letters of each [N]
    frames: Frames


def spell(strings: Sequence[Sequence[int]], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids `[N, S]` of the letters of strings of digits, of at most so many digits, and their counts `[N]`."""
    texts = [" ".join(WORDS[digit] for digit in string) for string in strings]
    letters = np.zeros((len(texts), 6 * longest), np.int32)
    for row, text in enumerate(texts):
        letters[row, : len(text)] = SYMBOLS.encode(text)
    return letters, np.array([len(text) for text in texts], np.int32)


class Voice(NamedTuple):
    """An encoder of letters and a decoder of frames."""

    config: Any
    encoder: rnnjax.seq2seq.Encoder
    attention: rnnjax.attention.Attention
    decoder: rnnjax.seq2seq.Decoder

    def init(self, key: jax.Array) -> Params:
        """Draws parameters."""
        keys, glorot, config = jax.random.split(key, 5), jax.nn.initializers.glorot_uniform(), self.config
        return Params(
            jax.random.normal(keys[0], (SYMBOLS.size, config.embedding)),
            self.encoder.init(keys[1]),
            glorot(keys[2], (MELS, config.embedding)),
            self.decoder.init(keys[3]),
            glorot(keys[4], (config.voice_hidden + 2 * config.embedding, TOGETHER * MELS + 1)),
            jnp.zeros(TOGETHER * MELS + 1),
        )

    def remember(self, params: Params, letters: jax.Array, counts: jax.Array) -> rnnjax.attention.Memory:
        """The memory of letters `[B, S]`."""
        _, ys = self.encoder.apply(params.encoder, params.letters[letters.T], lengths=counts)
        return self.attention.remember(params.decoder.attention, ys, lengths=counts)

    def enter(self, params: Params, last: jax.Array, key: jax.Array) -> jax.Array:
        """What the decoder reads `[..., P]` of the last frame `[..., MELS]`; dropout stays on, so that it listens."""
        return drop(jax.nn.relu(jnp.matmul(last, params.w_in)), 0.5, key)

    def write(self, params: Params, output: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Frames `[..., TOGETHER * MELS]`, and the logit `[...]` of the end."""
        ys = jnp.matmul(output, params.w_y)
        ys = ys + jnp.broadcast_to(params.b_y, ys.shape)
        return ys[..., :-1], ys[..., -1]

    def loss(self, params: Params, batch: Spelled, *, key: jax.Array) -> rnnjax.losses.SumCount:
        """|error| + error^2 of the frames and cross-entropy of the end, per step; the decoder reads the truth."""
        rows, length, _ = batch.frames.values.shape
        targets = jnp.swapaxes(batch.frames.values.reshape(rows, length // TOGETHER, TOGETHER * MELS), 0, 1)
        lengths = -(-batch.frames.lengths // TOGETHER)
        last = jnp.concatenate([jnp.zeros((1, rows, MELS)), targets[:-1, :, -MELS:]])
        memory = self.remember(params, batch.letters, batch.counts)
        xs = self.enter(params, last, key)
        _, out = rnnjax.teacher_force(self.decoder, params.decoder, memory, xs, lengths=lengths)
        frames, end = self.write(params, out.output)
        is_last = (jnp.arange(len(targets))[:, None] == lengths[None] - 1).astype(end.dtype)
        errors = jnp.abs(frames - targets) + (frames - targets) ** 2
        values = errors.mean(axis=-1) + optax.losses.sigmoid_binary_cross_entropy(end, is_last)
        return rnnjax.losses.masked_mean(values, rnnjax.losses.length_mask(lengths, len(targets)))

    def speak(self, params: Params, letters: jax.Array, counts: jax.Array, key: jax.Array, steps: int):
        """Frames `[T, B, TOGETHER * MELS]`, P(end) `[T, B]` and weights `[T, B, S]` for letters `[B, S]`."""
        memory = self.remember(params, letters, counts)

        def step(carry, key):
            state, last = carry
            state, out = self.decoder.step(params.decoder, state, self.enter(params, last, key), memory)
            frames, end = self.write(params, out.output)
            return (state, frames[:, -MELS:]), (frames, jax.nn.sigmoid(end), out.weights)

        first = self.decoder.initial_carry(memory), jnp.zeros((len(letters), MELS))
        return rnnjax.scan(step, first, jax.random.split(key, steps))[1]


def make_voice(config: Any) -> Voice:
    """Makes the voice of these options."""
    size, hidden = config.embedding, config.voice_hidden
    attention = rnnjax.attention.location_attention(hidden, 2 * size, size, filters=8, width=5, cumulative=True)
    decoder = rnnjax.attention_decoder(rnnjax.lstm(3 * size, hidden), attention)
    encoder = rnnjax.encoder([(rnnjax.gru(size, size), rnnjax.gru(size, size))])
    return Voice(config, encoder, attention, decoder)


def learn_voice(config: Any, voice: Voice, known: Spelled, valid: Spelled, folder: Path) -> Params:
    """Trains by teacher forcing; the parameters."""
    compiled, key = jax.jit(voice.loss), jax.random.key(config.seed)

    def evaluate(state):
        return {"held_out_loss": float(compiled(state.params, valid, key=key).mean)}

    batches = training.shuffled(known, config.batch, config.seed)
    settings = {"evaluate": evaluate, "batch_axes": 0, "unit": "step"}
    return training.train(config, voice.init, voice.loss, batches, folder, name="voice", **settings).state.params


class Spoken(NamedTuple):
    """What the voice said."""

    frames: list[np.ndarray]  # scaled, [T, MELS] each
    weights: list[np.ndarray]  # where it looked at each step [T / TOGETHER, S]


def make_speaker(voice: Voice, longest: int, steps: int):
    """`(params, strings, seed) -> Spoken`, up to the step that says it is the last, or so many steps."""
    compiled = jax.jit(lambda params, letters, counts, key: voice.speak(params, letters, counts, key, steps))

    def speak(params: Params, strings: Sequence[Sequence[int]], seed: int) -> Spoken:
        letters, counts = spell(strings, longest)
        frames, end, weights = jax.device_get(compiled(params, letters, counts, jax.random.key(seed)))
        over = np.concatenate([end[:-1] > 0.5, np.ones_like(end[:1], bool)])
        ends = over.argmax(axis=0) + 1
        rows = list(enumerate(ends))
        return Spoken(
            [frames[:stop, row].reshape(stop * TOGETHER, MELS) for row, stop in rows],
            [weights[:stop, row, : counts[row]] for row, stop in rows],
        )

    return speak


def make_templates(pool: Recordings) -> list[np.ndarray]:
    """Frames `[T, MELS]` of each digit without a network: its recordings stretched to their median length, the mean."""
    templates = []
    for digit in range(10):
        sounds = [log_mel(wave) for wave in pool.take(pool.digits == digit).waves]
        length = int(np.median([len(sound) for sound in sounds]))
        rows = [np.round(np.linspace(0, len(sound) - 1, length)).astype(int) for sound in sounds]
        templates.append(np.mean([sound[row] for sound, row in zip(sounds, rows, strict=True)], axis=0))
    return templates
