"""A model that turns one sequence into another, its options and its training; `search` decodes with it.

    memory  = encoder(embedded source)                                  both directions, or one
    c_t, a_t = attend(h_{t-1}, memory),   h_t = cell(h_{t-1}, [embedded y_{t-1}; c_t])
    P(y_t | y_<t, source) = softmax(W tanh(W_c [h_t; c_t]) + b)

Without attention the decoder knows the source from its first carry alone (Sutskever, Vinyals & Le 2014).
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import training
from experiments.lib.cells import CELLS, check_cell_name
from experiments.lib.pairs import BOS, Pairs
from experiments.lib.readout import drop
from rnnjax.attention import additive_attention, general_attention, local_attention, monotonic_attention

# `(features of a query, features of the memory, attention units) -> mechanism`.
ATTENTIONS: dict[str, Callable[[int, int, int], Any]] = {
    "general": lambda q, m, a: general_attention(q, m),
    "additive": additive_attention,
    "coverage": functools.partial(additive_attention, coverage=True),
    "dot": lambda q, m, a: rnnjax.attention.dot_attention(),
    "scaled_dot": lambda q, m, a: rnnjax.attention.scaled_dot_attention(q),
    "concat": rnnjax.attention.concat_attention,
    "location": rnnjax.attention.location_attention,
    "local": lambda q, m, a: local_attention(general_attention(q, m), window=3, query_size=q),
    "monotonic": lambda q, m, a: monotonic_attention(additive_attention(q, m, a, normalize=True)),
    "none": lambda q, m, a: None,
}
# `k -> (step -> probability of the truth)`.
DECAYS: dict[str, Callable[[float], Callable[[int], Any]]] = {
    "none": lambda k: lambda step: 1.0,
    "linear": lambda k: rnnjax.seq2seq.linear_teacher_decay(int(k)),
    "exponential": lambda k: rnnjax.seq2seq.exponential_teacher_decay(1 - 1 / k),
    "inverse_sigmoid": rnnjax.seq2seq.inverse_sigmoid_teacher_decay,
}


@dataclasses.dataclass(frozen=True)
class Options(training.Options):
    """Options that the experiments share."""

    attention: str = "general"  # or additive, coverage, dot, scaled_dot, concat, location, local, monotonic, none
    cell: str = "lstm"  # of encoder and decoder: rnn, irnn, gru, simple_gru, mgu, lstm, layer_norm_lstm, ...
    layers: int = 1  # of the encoder, and of the decoder
    hidden: int = 128  # units of a layer
    embedding: int = 64  # features of an embedded symbol
    bidirectional: bool = True  # whether the encoder reads both ways
    reverse: bool = False  # whether an encoder of one direction reads the source backwards
    dropout: float = 0.0  # of embeddings, and before the output
    label_smoothing: float = 0.0  # probability that the labels give to the whole vocabulary
    truth_decay: str = "none"  # scheduled sampling: none, linear, exponential or inverse_sigmoid decay of the truth
    truth_k: float = 1000.0  # updates of the linear decay, k of the inverse sigmoid, 1 / (1 - k) of the exponential
    beam: int = 5  # hypotheses that the search keeps
    steps: int = 10_000  # updates
    batch: int = 128  # pairs of an update
    optimizer: str = "adamw"  # sgd, adam, rmsprop, adagrad, adadelta, nadam or adamw
    warmup: int = 100  # updates until the peak of the learning rate
    b2: float = 0.99  # memory of the second moment of adam, nadam and adamw
    steps_per_call: int = 20  # updates in one compiled call
    evaluate_every: int = 2000  # updates between evaluations on held-out data
    checkpoint_every: int = 2000  # updates between checkpoints

    free: ClassVar[frozenset[str]] = training.Options.free | {"beam"}

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        for option, known in {"attention": ATTENTIONS, "truth-decay": DECAYS}.items():
            if (got := getattr(self, option.replace("-", "_"))) not in known:
                raise ValueError(f"expected --{option} to be one of {', '.join(known)}, got {got!r}.")


# Little to compile: one direction, plain gradients, weights of the same shape.
SMOKE = {"cell": "irnn", "hidden": 11, "embedding": 11, "bidirectional": False, "attention": "general", "beam": 2}
SMOKE |= {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant", "clip_norm": 0.0}
SMOKE |= {"batch": 16, "steps": 20, "steps_per_call": 10, "warmup": 5, "evaluate_every": 10, "checkpoint_every": 10}


class Params(NamedTuple):
    """Parameters of the model."""

    source: jax.Array  # embeddings of source symbols [Vs, E]
    target: jax.Array  # embeddings of target symbols [Vt, E]
    encoder: Any
    bridge: Any  # from the last carries of the encoder to the first carry of the decoder
    decoder: Any
    w_y: jax.Array  # output weights [O, Vt]
    b_y: jax.Array  # output bias [Vt]


class Translator(NamedTuple):
    """The parts of the model, and what it does with its parameters."""

    options: Options
    sizes: tuple[int, int]  # of the vocabularies, (Vs, Vt)
    encoder: rnnjax.seq2seq.Encoder
    attention: rnnjax.attention.Attention | None
    bridge: rnnjax.seq2seq.Bridge
    decoder: rnnjax.seq2seq.Decoder

    def init(self, key: jax.Array) -> Params:
        """Draws parameters."""
        keys, normal = jax.random.split(key, 6), jax.nn.initializers.normal(1.0)
        embeddings = [normal(keys[i], (self.sizes[i], self.options.embedding)) for i in (0, 1)]
        parts = [part.init(keys[i]) for i, part in ((2, self.encoder), (3, self.bridge), (4, self.decoder))]
        w_y = jax.nn.initializers.glorot_uniform()(keys[5], (self.options.hidden, self.sizes[1]))
        return Params(*embeddings, *parts, w_y, jnp.zeros(self.sizes[1]))

    def encode(self, params: Params, sources: jax.Array, lengths: jax.Array, key: jax.Array | None = None):
        """Reads sources `[N, S]`, lengths `[N]`: `(memory, first carry)`, leaves `[N, ...]`; the key is of dropout."""
        xs = self._drop(params.source[sources.T], key, 0)
        ends, ys = self.encoder.apply(params.encoder, xs, lengths=lengths)
        carry = self.bridge.apply(params.bridge, ends)
        memory = self.attention.remember(params.decoder.attention, ys, lengths=lengths) if self.attention else None
        return memory, self.decoder.initial_carry(memory, carry)

    def outputs(self, params: Params, pairs: Pairs, *, read: jax.Array | None = None, key: jax.Array | None = None):
        """Outputs `[T, N, O]` of the decoder that reads `[T, N]`, by default the truth; the key is of dropout."""
        memory, carry = self.encode(params, pairs.sources, pairs.source_lengths, key)
        xs = self._drop(params.target[shifted(pairs.targets.T) if read is None else read], key, 1)
        _, out = rnnjax.teacher_force(self.decoder, params.decoder, memory, xs, carry, lengths=pairs.target_lengths)
        return self._drop(out.output, key, 2)

    def project(self, params: Params, outputs: jax.Array) -> jax.Array:
        """Logits `[..., Vt]` of outputs `[..., O]`."""
        logits = jnp.matmul(outputs, params.w_y)
        return logits + jnp.broadcast_to(params.b_y, logits.shape)

    def step_fn(self, params: Params, memory: Any) -> rnnjax.decoding.StepFn:
        """`(carry, token) -> (carry, logits)`, for searches and samples."""

        def step(carry, token):
            carry, out = self.decoder.step(params.decoder, carry, params.target[token], memory)
            return carry, self.project(params, out.output)

        return step

    def _drop(self, x: jax.Array, key: jax.Array | None, number: int) -> jax.Array:
        return drop(x, self.options.dropout, None if key is None else jax.random.fold_in(key, number))


def make_model(options: Options, source_size: int, target_size: int) -> Translator:
    """Makes the model of these options, for vocabularies of these sizes."""
    make, hidden = CELLS[options.cell], options.hidden
    both = options.bidirectional and not options.reverse
    # A dot product takes a memory as wide as the query.
    merge = {"merge": lambda a, b: 0.5 * (a + b)} if options.attention in ("dot", "scaled_dot") else {}
    memory_size = 2 * hidden if both and not merge else hidden
    below = [options.embedding] + [memory_size] * (options.layers - 1)
    layers = [(make(size, hidden), make(size, hidden)) if both else make(size, hidden) for size in below]
    attention = ATTENTIONS[options.attention](hidden, memory_size, hidden)
    first = options.embedding + (memory_size if attention else 0)
    cell = rnnjax.stack([make(size, hidden) for size in [first] + [hidden] * (options.layers - 1)])
    decoder = rnnjax.seq2seq.vector_decoder(cell)
    if attention:
        decoder = rnnjax.attention_decoder(cell, attention, attentional_size=hidden)
    carry = make(hidden, hidden).initial_carry()  # of a layer, whatever it reads
    ends = rnnjax.Layers((rnnjax.Bidirectional(carry, carry) if both else carry,) * options.layers)
    bridge = rnnjax.seq2seq.bridge(ends, cell.initial_carry())
    encoder = rnnjax.encoder(layers, reverse=options.reverse, **merge)
    return Translator(options, (source_size, target_size), encoder, attention, bridge, decoder)


def shifted(targets: jax.Array) -> jax.Array:
    """What a decoder reads: BOS, then all targets `[T, N]` but the last."""
    return jnp.concatenate([jnp.full_like(targets[:1], BOS), targets[:-1]])


class Batch(NamedTuple):
    """Pairs of an update."""

    pairs: Pairs  # B of them
    truth: np.ndarray  # probability of the truth among what the decoder reads [B], the same for all


def make_batches(options: Options, pairs: Pairs) -> Callable[[int], Batch]:
    """`step -> Batch`."""
    decay = DECAYS[options.truth_decay](options.truth_k)
    of_step = training.shuffled(pairs, options.batch, options.seed)
    return lambda step: Batch(of_step(step), np.full(options.batch, decay(step), np.float32))


def target_loss(logits: jax.Array, pairs: Pairs, label_smoothing: float = 0.0) -> rnnjax.losses.SumCount:
    """Cross-entropy of logits `[T, N, Vt]`, in nats per target symbol."""
    mask = rnnjax.losses.length_mask(pairs.target_lengths, pairs.targets.shape[1])
    return rnnjax.losses.sequence_loss(logits, pairs.targets.T, where=mask, label_smoothing=label_smoothing)


def make_loss(model: Translator) -> Callable[..., rnnjax.losses.SumCount]:
    """`(params, Batch, *, key) -> SumCount`: teacher forcing, or scheduled sampling."""

    def loss_fn(params: Params, batch: Batch, *, key: jax.Array) -> rnnjax.losses.SumCount:
        pairs, (key_drop, key_sample) = batch.pairs, jax.random.split(key)
        if model.options.truth_decay == "none":
            logits = model.project(params, model.outputs(params, pairs, key=key_drop))
        else:
            memory, carry = model.encode(params, pairs.sources, pairs.source_lengths)
            step_fn, read = model.step_fn(params, memory), shifted(pairs.targets.T)
            drawn = rnnjax.seq2seq.scheduled_sampling(step_fn, carry, read, key=key_sample, truth=batch.truth[0])
            logits = drawn.logits
        return target_loss(logits, pairs, model.options.label_smoothing)

    return loss_fn


def train(model: Translator, pairs: Pairs, folder: Path, *, loss_fn=None, init=None, **settings: Any):
    """Trains the model, or what `init` and `loss_fn` make of it; see `training.train`."""
    batches = make_batches(model.options, pairs)
    init, loss_fn = init or model.init, loss_fn or make_loss(model)
    return training.train(model.options, init, loss_fn, batches, folder, batch_axes=0, unit="symbol", **settings)
