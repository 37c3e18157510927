"""A model that turns one sequence into another, and what experiments with it share: training, search, measures.

    memory  = encoder(embedded source)                                  both directions, or one
    c_t, a_t = attend(h_{t-1}, memory),   h_t = cell(h_{t-1}, [embedded y_{t-1}; c_t])
    P(y_t | y_<t, source) = softmax(W tanh(W_c [h_t; c_t]) + b)

Without attention the decoder knows the source from its first carry alone (Sutskever 2014).
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import cli, plots, report
from experiments.lib.cells import CELLS, check_cell_name
from experiments.lib.optimization import make_optimizer
from experiments.lib.pairs import BOS, EOS, PAD, Batch, Pairs, Symbols, batches

ATTENTIONS = (
    "general",
    "additive",
    "coverage",
    "dot",
    "scaled_dot",
    "concat",
    "location",
    "local",
    "monotonic",
    "none",
)
DECAYS = ("none", "linear", "exponential", "inverse_sigmoid")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options that the experiments share."""

    attention: str = (
        "general"  # general, additive, coverage, dot, scaled_dot, concat, location, local, monotonic or none
    )
    cell: str = "lstm"  # of encoder and decoder: rnn, irnn, gru, simple_gru, mgu, lstm, layer_norm_lstm, ...
    layers: int = 1  # of the encoder, and of the decoder
    hidden: int = 128  # units of a layer
    embedding: int = 64  # features that a symbol is embedded as
    bidirectional: bool = True  # whether the encoder reads both ways
    reverse: bool = False  # whether an encoder of one direction reads the source backwards
    dropout: float = 0.0  # of embeddings, and before the output
    label_smoothing: float = 0.0  # probability that the labels give to the whole vocabulary
    truth_decay: str = "none"  # scheduled sampling: none, linear, exponential or inverse_sigmoid decay of the truth
    truth_k: float = 1000.0  # updates of the linear decay, k of the inverse sigmoid, 1 / (1 - k) of the exponential
    batch: int = 128  # pairs of an update
    steps: int = 10_000  # updates
    optimizer: str = "adamw"  # sgd, adam, rmsprop, adagrad, adadelta, nadam or adamw
    learning_rate: float = 0.003  # at its peak
    schedule: str = "linear"  # decay of the learning rate: constant, linear, cosine or exponential
    warmup: int = 100  # updates until the peak
    weight_decay: float = 0.0  # of adamw
    b2: float = 0.99  # memory of the second moment
    clip_norm: float = 1.0  # bound of the gradient's norm, 0 for none
    clip_value: float = 0.0  # bound of each element of the gradient, 0 for none
    steps_per_call: int = 20  # updates in one compiled call
    beam: int = 5  # hypotheses that the search keeps
    length_penalty: float = 0.0  # exponent of the GNMT length penalty
    evaluate_every: int = 2000  # updates between evaluations
    checkpoint_every: int = 2000  # updates between checkpoints
    seed: int = 0  # of everything random
    smoke: bool = False  # a few updates of a small model, to see that everything works
    resume: bool = False  # go on with the run in --out, or with the newest one
    out: str = ""  # folder of the run; runs/<name>/<time> by default


SMOKE = {
    "hidden": 17,
    "embedding": 11,
    "batch": 16,
    "steps": 20,
    "steps_per_call": 10,
    "warmup": 5,
    "beam": 2,
    "evaluate_every": 10,
    "checkpoint_every": 10,
}
CHUNK = 256  # sources that are decoded at a time
FREE = ("out", "resume", "evaluate_every", "checkpoint_every", "beam", "length_penalty")  # may differ when resumed


# ---- the model -----------------------------------------------------------------------------------------------


class Params(NamedTuple):
    """Parameters.

    Attributes:
      source: embeddings of source symbols `[Vs, E]`.
      target: embeddings of target symbols `[Vt, E]`.
      encoder: of its layers.
      bridge: from what the encoder ends with to what the decoder begins with.
      decoder: of the decoder.
      w_y: output weights `[O, Vt]`.
      b_y: output bias `[Vt]`.
    """

    source: jax.Array
    target: jax.Array
    encoder: Any
    bridge: Any
    decoder: Any
    w_y: jax.Array
    b_y: jax.Array


class Translator(NamedTuple):
    """The model as pure functions.

    Attributes:
      init: `key -> Params`.
      outputs: `(params, batch, *, read=None, key=None) -> [T, B, O]`, what the decoder makes of the symbols that it
        reads, `[T, B]`, those of teacher forcing if None; the key is of dropout.
      project: `(params, outputs [..., O]) -> logits [..., Vt]`.
      start: `(params, source [S], length []) -> (memory, carry)` of one source.
      step_fn: `(params, memory) -> step function`, for searches and samples.
      has_attention: whether there is an alignment to draw.
    """

    init: Callable[..., Params]
    outputs: Callable[..., jax.Array]
    project: Callable[..., jax.Array]
    start: Callable[..., tuple[Any, Any]]
    step_fn: Callable[..., rnnjax.decoding.StepFn]
    has_attention: bool


def make_attention(name: str, query: int, memory: int, size: int) -> rnnjax.attention.Attention | None:
    """The mechanism of a name, or None."""
    additive = functools.partial(rnnjax.attention.additive_attention, query, memory, size)
    mechanisms = {
        "general": lambda: rnnjax.attention.general_attention(query, memory),
        "additive": additive,
        "coverage": functools.partial(additive, coverage=True),
        "dot": rnnjax.attention.dot_attention,
        "scaled_dot": lambda: rnnjax.attention.scaled_dot_attention(query),
        "concat": lambda: rnnjax.attention.concat_attention(query, memory, size),
        "location": lambda: rnnjax.attention.location_attention(query, memory, size),
        "local": lambda: rnnjax.attention.local_attention(
            rnnjax.attention.general_attention(query, memory), window=3, query_size=query
        ),
        "monotonic": lambda: rnnjax.attention.monotonic_attention(additive(normalize=True)),
        "none": lambda: None,
    }
    if name not in mechanisms:
        raise ValueError(f"expected --attention to be one of {', '.join(mechanisms)}, got {name!r}.")
    return mechanisms[name]()


def make_model(options: Options, source_size: int, target_size: int) -> Translator:
    """The model of these options, for vocabularies of these sizes."""
    check_cell_name(options.cell)
    make, hidden, embedding = CELLS[options.cell], options.hidden, options.embedding
    both = options.bidirectional and not options.reverse
    merge = "mean" if options.attention in ("dot", "scaled_dot") else "concat"  # or query and memory differ in size
    memory_size = 2 * hidden if both and merge == "concat" else hidden
    below = [embedding] + [memory_size] * (options.layers - 1)
    layers = [(make(size, hidden), make(size, hidden)) if both else make(size, hidden) for size in below]
    encoder = rnnjax.encoder(layers, merge=merge, reverse=options.reverse)
    attention = make_attention(options.attention, hidden, memory_size, hidden)

    first = embedding + memory_size if attention else embedding
    cell = rnnjax.stack([make(size, hidden) for size in [first] + [hidden] * (options.layers - 1)])
    if attention:
        decoder = rnnjax.attention_decoder(cell, attention, attentional=(hidden + memory_size, hidden))
    else:
        decoder = rnnjax.seq2seq.vector_decoder(cell)
    ends = [
        rnnjax.Bidirectional(layer[0].initial_carry(), layer[1].initial_carry()) if both else layer.initial_carry()
        for layer in layers
    ]
    bridge = rnnjax.seq2seq.bridge(rnnjax.Layers(tuple(ends)), cell.initial_carry())

    def init(key: jax.Array) -> Params:
        keys = jax.random.split(key, 6)
        normal, glorot = jax.nn.initializers.normal(1.0), jax.nn.initializers.glorot_uniform()
        return Params(
            normal(keys[0], (source_size, embedding)),
            normal(keys[1], (target_size, embedding)),
            encoder.init(keys[2]),
            bridge.init(keys[3]),
            decoder.init(keys[4]),
            glorot(keys[5], (hidden, target_size)),
            jnp.zeros(target_size),
        )

    def encode(params: Params, sources: jax.Array, lengths: jax.Array, key: jax.Array | None = None):
        """Memory and first carry of sources `[S, ...]`."""
        ends, ys = encoder.apply(params.encoder, drop(params.source[sources], key, 0), lengths=lengths)
        carry = bridge.apply(params.bridge, ends)
        memory = attention.remember(params.decoder.attention, ys, lengths=lengths) if attention else None
        return memory, decoder.initial_carry(memory, carry)

    def project(params: Params, output: jax.Array) -> jax.Array:
        logits = jnp.matmul(output, params.w_y)
        return logits + jnp.broadcast_to(params.b_y, logits.shape)

    def drop(x: jax.Array, key: jax.Array | None, number: int) -> jax.Array:
        if key is None or not options.dropout:
            return x
        kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - options.dropout, x.shape)
        return jnp.where(kept, x / (1 - options.dropout), jnp.zeros_like(x))

    def outputs(
        params: Params, batch: Batch, *, read: jax.Array | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        memory, carry = encode(params, batch.sources, batch.source_lengths, key)
        xs = drop(params.target[shifted(batch.targets) if read is None else read], key, 1)
        _, out = rnnjax.teacher_force(decoder, params.decoder, memory, xs, carry, lengths=batch.target_lengths)
        return drop(out.output, key, 2)

    def start(params: Params, source: jax.Array, length: jax.Array):
        memory, carry = encode(params, source[:, None], length[None])
        return jax.tree.map(lambda leaf: leaf[0], (memory, carry))

    def step_fn(params: Params, memory: Any) -> rnnjax.decoding.StepFn:
        def step(carry, token):
            carry, out = decoder.step(params.decoder, carry, params.target[token], memory)
            return carry, project(params, out.output)

        return step

    return Translator(init, outputs, project, start, step_fn, attention is not None)


def begin(model: Translator, params: Params, batch: Batch) -> tuple[rnnjax.decoding.StepFn, Any]:
    """A step function over all sources of a batch, and its first carry."""
    memory, carry = jax.vmap(model.start, (None, 1, 0))(params, batch.sources, batch.source_lengths)
    return model.step_fn(params, memory), carry


def shifted(targets: jax.Array) -> jax.Array:
    """What a decoder reads: BOS, then all targets `[T, B]` but the last."""
    return jnp.concatenate([jnp.full_like(targets[:1], BOS), targets[:-1]])


# ---- training ------------------------------------------------------------------------------------------------


class TrainingBatch(NamedTuple):
    """A `Batch`, and the probability of the truth in its inputs `[]`."""

    pairs: Batch
    truth: np.ndarray


def make_batches(options: Options, pairs: Pairs) -> Callable[[int], TrainingBatch]:
    """`step -> TrainingBatch`."""
    if options.truth_decay not in DECAYS:
        raise ValueError(f"expected --truth-decay to be one of {', '.join(DECAYS)}, got {options.truth_decay!r}.")
    decay = {
        "none": lambda: lambda step: 1.0,
        "linear": lambda: rnnjax.seq2seq.linear_decay(int(options.truth_k)),
        "exponential": lambda: rnnjax.seq2seq.exponential_decay(1 - 1 / options.truth_k),
        "inverse_sigmoid": lambda: rnnjax.seq2seq.inverse_sigmoid_decay(options.truth_k),
    }[options.truth_decay]()
    of_step = batches(pairs, batch_size=options.batch, seed=options.seed)
    return lambda step: TrainingBatch(of_step(step), np.float32(decay(step)))


def make_loss(options: Options, model: Translator):
    """`(params, TrainingBatch, *, key) -> SumCount`, in nats per target symbol."""

    def loss_fn(params: Params, batch: TrainingBatch, *, key: jax.Array) -> rnnjax.losses.SumCount:
        pairs, (key_drop, key_sample) = batch.pairs, jax.random.split(key)
        if options.truth_decay == "none":
            logits = model.project(params, model.outputs(params, pairs, key=key_drop))
        else:
            step_fn, carry = begin(model, params, pairs)
            read = shifted(pairs.targets)
            logits = rnnjax.seq2seq.scheduled_sampling(step_fn, carry, read, key=key_sample, truth=batch.truth).logits
        mask = rnnjax.losses.length_mask(pairs.target_lengths, pairs.targets.shape[0])
        return rnnjax.losses.sequence_loss(logits, pairs.targets, where=mask, label_smoothing=options.label_smoothing)

    return loss_fn


def train(
    options: Options, model: Translator, pairs: Pairs, folder: Path, evaluate, *, init=None, loss_fn=None
) -> rnnjax.training.FitResult:
    """Trains through `rnnjax.training.fit`, with checkpoints and metrics in the folder of the run.

    Args:
      options: of the run.
      model: what is trained.
      pairs: to train on.
      folder: of the run.
      evaluate: as `rnnjax.training.fit` takes it.
      init: `key -> params`; that of the model by default.
      loss_fn: `(params, TrainingBatch, *, key) -> SumCount`; that of `make_loss` by default.
    """
    optimizer = make_optimizer(options)
    key_init, key_run = jax.random.split(jax.random.key(options.seed))
    state = rnnjax.training.init_state((init or model.init)(key_init), optimizer, key=key_run)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(f"{size:,} parameters; {len(pairs.sources):,} pairs to train on; in {folder}", flush=True)
    with rnnjax.training.Checkpoints(folder / "checkpoints", config=checkpoint_config(options)) as checkpoints:
        result = rnnjax.training.fit(
            rnnjax.training.make_train_step(loss_fn or make_loss(options, model), optimizer),
            state,
            make_batches(options, pairs),
            steps=options.steps,
            steps_per_call=options.steps_per_call,
            evaluate=evaluate,
            evaluate_every=options.evaluate_every,
            checkpoints=checkpoints,
            checkpoint_every=options.checkpoint_every,
            resume=options.resume,
            metrics_file=folder / "metrics.jsonl",
            log_every=max(1, options.steps // 2000),
        )
    if result.stopped == "non_finite":
        raise ValueError(
            f"expected a finite loss, got NaN or infinity in update {result.bad_step}; use a smaller --learning-rate."
        )
    return result


def checkpoint_config(options: Options) -> dict:
    """What must be the same for a checkpoint to be of this run."""
    return {name: value for name, value in cli.as_json(options).items() if name not in FREE}


def open_run(options: Options, name: str, source: Symbols, target: Symbols) -> Path:
    """The folder of a run, new or resumed, with its configuration and vocabularies."""
    if options.resume:
        return report.last_run_folder(options.out, name)
    folder = report.new_run_folder(options.out, name)
    report.write_config(folder, options)
    source.save(folder / "source.json")
    target.save(folder / "target.json")
    return folder


# ---- decoding ------------------------------------------------------------------------------------------------


class Decoded(NamedTuple):
    """The best hypothesis of each of N sources.

    Attributes:
      tokens: `[N, T]`, PAD after the end.
      lengths: `[N]`.
      scores: on the scale of `rnnjax.beam_search`, `[N]`.
      weights: where the decoder looked, `[N, T, S]`, or None.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    scores: np.ndarray
    weights: np.ndarray | None


def make_search(model: Translator, *, beam_size: int, max_steps: int, length_penalty: float = 0.0, weights=False):
    """`(params, sources [N, S], lengths [N]) -> Decoded`; beam_size 1 is greedy."""
    record = (lambda carry: carry.alignment.weights) if weights and model.has_attention else None

    def one(params, source, length):
        memory, carry = model.start(params, source, length)
        return rnnjax.beam_search(
            model.step_fn(params, memory),
            carry,
            bos_id=BOS,
            eos_id=EOS,
            pad_id=PAD,
            beam_size=beam_size,
            max_steps=max_steps,
            length_penalty=length_penalty,
            banned=np.array([PAD, BOS]),
            num_results=1,
            record=record,
        )

    many = jax.jit(jax.vmap(one, (None, 0, 0)))

    def search(params: Params, sources: np.ndarray, lengths: np.ndarray) -> Decoded:
        found, chunk = [], CHUNK if len(sources) > 1 else 1
        for i in range(0, len(sources), chunk):
            rows, row_lengths = sources[i : i + chunk], lengths[i : i + chunk]
            short = chunk - len(rows)  # one shape, one compilation
            rows, row_lengths = np.pad(rows, ((0, short), (0, 0))), np.pad(row_lengths, (0, short))
            result = jax.tree.map(
                lambda leaf, n=chunk - short: np.asarray(leaf[:n, 0]), many(params, rows, row_lengths)
            )
            found.append(Decoded(result.tokens, result.lengths, result.scores, result.records))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *found)

    return search


def make_scorer(model: Translator, *, length_penalty: float = 0.0):
    """`(params, sources, source_lengths, targets [N, T], target_lengths) -> scores [N]`, on the scale of the search."""

    @jax.jit
    def scores(params, sources, source_lengths, targets, target_lengths):
        memory, carry = jax.vmap(model.start, (None, 0, 0))(params, sources, source_lengths)
        return rnnjax.decoding.score_sequences(
            model.step_fn(params, memory),
            carry,
            targets,
            lengths=target_lengths,
            bos_id=BOS,
            length_penalty=length_penalty,
        ).scores

    return lambda params, *arrays: np.concatenate(
        [np.asarray(scores(params, *(a[i : i + CHUNK] for a in arrays))) for i in range(0, len(arrays[0]), CHUNK)]
    )


def answer(search, params: Params, pairs: Pairs) -> Decoded:
    """What a search makes of the sources of pairs."""
    return search(params, pairs.sources, pairs.source_lengths)


def exact_match(decoded: Decoded, pairs: Pairs) -> np.ndarray:
    """Which hypotheses are their targets to the letter, booleans `[N]`."""
    width = max(decoded.tokens.shape[1], pairs.targets.shape[1])
    tokens, targets = (np.pad(a, ((0, 0), (0, width - a.shape[1]))) for a in (decoded.tokens, pairs.targets))
    return (tokens == targets).all(axis=1)


def exposure_bias(model: Translator, params: Params, pairs: Pairs, seed: int) -> rnnjax.seq2seq.ExposureBias:
    """The loss by position with the truth before it, and with own samples before it."""
    batch = as_batch(pairs)

    @jax.jit
    def measure(params):
        step_fn, carry = begin(model, params, batch)
        key = jax.random.key(seed)
        return rnnjax.seq2seq.exposure_bias(
            step_fn, carry, batch.targets, lengths=batch.target_lengths, bos_id=BOS, key=key
        )

    return measure(params)


def as_batch(pairs: Pairs) -> Batch:
    """Pairs, time first, as arrays of JAX."""
    arrays = pairs.sources.T, pairs.source_lengths, pairs.targets.T, pairs.target_lengths
    return Batch(*map(jnp.asarray, arrays))


def make_evaluate(model: Translator, pairs: Pairs, search, limit: int = 512):
    """`state -> {"held_out_loss", "exact_match"}` on the first so many pairs; search is a greedy one."""
    some = Pairs(*(array[:limit] for array in pairs))
    batch = as_batch(some)

    @jax.jit
    def loss(params):
        mask = rnnjax.losses.length_mask(batch.target_lengths, batch.targets.shape[0])
        return rnnjax.losses.sequence_loss(
            model.project(params, model.outputs(params, batch)), batch.targets, where=mask
        ).mean

    def evaluate(state: rnnjax.training.TrainState) -> dict[str, float]:
        found = answer(search, state.params, some)
        return {"held_out_loss": loss(state.params), "exact_match": exact_match(found, some).mean()}

    return evaluate


# ---- reports -------------------------------------------------------------------------------------------------


def attribution(scorer, params: Params, pairs: Pairs, found: Decoded) -> rnnjax.decoding.ErrorAttribution:
    """Whether search or model is at fault for each hypothesis that is not its reference."""
    correct = exact_match(found, pairs)
    sources = pairs.sources, pairs.source_lengths
    of_reference = scorer(params, *sources, pairs.targets, pairs.target_lengths)
    of_hypothesis = scorer(params, *sources, found.tokens, found.lengths)
    return rnnjax.decoding.attribute_errors(of_reference, of_hypothesis, correct=correct)


def exposure_figure(path: Path, biases: dict[str, rnnjax.seq2seq.ExposureBias], title: str) -> None:
    """Loss against position, by name: with own samples before it, solid, and with the truth before it, dashed."""
    with plots.figure(path, title=title, x="position in the target", y="loss (nats per symbol)") as axes:
        for colour, (name, bias) in zip(plots.COLOURS, biases.items(), strict=False):
            there = np.asarray(bias.truth.count) >= max(1, 0.02 * float(bias.truth.count[0]))  # a few say little
            positions = np.arange(1, len(there) + 1)[there]
            for parts, style, what in ((bias.own, "o-", "own samples"), (bias.truth, "o--", "truth")):
                label = f"{name}, {what} before it" if len(biases) == 1 else f"{name}, {what}"
                axes.plot(positions, np.asarray(parts.mean)[there], style, color=colour, markersize=4, label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False, fontsize=9)


def restore(options: Options, folder: Path, source: Symbols, target: Symbols) -> tuple[Translator, Params]:
    """The model of a run, and its parameters from the newest checkpoint."""
    model = make_model(options, source.size, target.size)
    state = rnnjax.training.init_state(model.init(jax.random.key(0)), make_optimizer(options), key=jax.random.key(0))
    with rnnjax.training.Checkpoints(folder / "checkpoints", config=checkpoint_config(options)) as checkpoints:
        saved = rnnjax.training.restore_progress(checkpoints, state)
    if saved is None:
        raise ValueError(f"expected a checkpoint in {folder}/checkpoints, found none; train first.")
    return model, saved.state.params


def command_line(args: list[str], *, name: str, description: str, config_type: type, main, predict):
    """`predict ...` answers from a checkpoint; `--resume` goes on with a run; anything else trains."""
    prog = f"python -m experiments.{name}"
    if args[:1] == ["predict"]:
        what = "Answers lines of the standard input, or --text, from the newest checkpoint of a run."
        predict(cli.parse(PredictConfig, prog=f"{prog} predict", description=what, args=args[1:]))
        return
    config = cli.parse(config_type, prog=prog, description=description, args=args)
    if config.resume:
        folder = report.last_run_folder(config.out, name)
        saved = report.read_config(folder, config_type)
        config = cli.parse(config_type, prog=prog, description=description, args=args, default=saved)
        config = dataclasses.replace(config, out=str(folder))
    main(config)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Options of `predict`."""

    out: str = ""  # folder of the run; the newest one by default
    text: str = ""  # what to answer; lines of the standard input if empty
    beam: int = 5  # hypotheses that the search keeps, 1 for greedy


def lines_to_answer(text: str):
    """The text, or what is typed line by line."""
    if text:
        yield text
        return
    if sys.stdin.isatty():
        print("One a line; an empty line ends.", flush=True)
    for line in sys.stdin:
        if not line.strip():
            return
        yield line.strip()
