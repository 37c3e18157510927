"""A character language model: a recurrent network learns to write, one character after the other.

    python -m experiments.char_lm                             about a minute on two CPU cores: trains on the Python
                                                              language reference and prints samples as it learns
    python -m experiments.char_lm --preset shakespeare-cpu    tiny Shakespeare: 1.54 nats per held-out character
    python -m experiments.char_lm --preset min-char-rnn       the 112-line program of the course notes
    python -m experiments.char_lm --data PATH                 any UTF-8 text
    python -m experiments.char_lm --resume                    goes on with the newest run
    python -m experiments.char_lm sample --prompt "The "      writes on, from the newest run

    P(text) = prod_t softmax(W_y h_t + b_y)[character t + 1],   h_t = cell(h_{t-1}, character t)

Trained with truncated backpropagation through time over contiguous streams: the carry passes from window to window.
"""

import dataclasses
import json
import math
import sys
import time
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import rnnjax
from experiments.data import texts
from experiments.lib import cli, plots, report
from experiments.lib.cells import CELLS, check_cell_name
from experiments.lib.language import OBJECTIVES, LanguageModel, Stream, make_evaluate, make_loss, make_sampler
from experiments.lib.optimization import make_optimizer

NAME = "char_lm"


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of a training run."""

    preset: str = ""  # shakespeare-cpu or min-char-rnn: other defaults for the options below
    data: str = "pydoc"  # pydoc (the Python language reference), shakespeare, or the path of a UTF-8 text
    held_out: float = 0.1  # fraction of the text held out, its end
    cell: str = (
        "lstm"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, layer_norm_lstm, layer_norm_gru
    )
    layers: int = 1  # recurrent layers on each other
    hidden: int = 256  # units of a layer
    init: Literal["default", "normal"] = "default"  # weights: the cells' own over embeddings, or 0.01 times a normal
    dropout: float = 0.0  # between layers and before the output
    batch: int = 32  # streams read side by side
    window: int = 32  # steps of backpropagation through time
    restart_every: int = 50  # windows after which a stream's carry starts afresh, 0 for the beginning of an epoch only
    steps: int = 1800  # updates
    optimizer: str = "adamw"  # sgd, adam, rmsprop, adagrad, adadelta, nadam, adamw or adagrad_min_char_rnn
    learning_rate: float = 0.01  # at its peak
    schedule: str = "linear"  # decay of the learning rate: constant, linear, cosine or exponential
    warmup: int = 30  # updates until the peak
    weight_decay: float = 0.05  # of adamw
    b2: float = 0.99  # memory of the second moment of adam, nadam and adamw
    clip_norm: float = 1.0  # bound of the gradient's norm, 0 for none
    clip_value: float = 0.0  # bound of each element of the gradient, 0 for none
    objective: Literal["mean", "sum"] = "mean"  # over the characters of a window
    steps_per_call: int = 20  # updates in one compiled call
    sample_every: int = 300  # updates between samples
    sample_length: int = 200  # characters of a sample
    temperature: float = 0.8  # of the samples: below 1 is bolder, 0 takes the most probable character
    evaluate_every: int = 600  # updates between evaluations on the held-out text
    checkpoint_every: int = 600  # updates between checkpoints
    patience: int = 0  # stop after so many evaluations without improvement, 0 for never
    seed: int = 0  # of everything random
    smoke: bool = False  # a few updates of a small model, to see that everything works
    resume: bool = False  # go on with the run in --out, or with the newest one
    out: str = ""  # folder of the run; runs/char_lm/<time> by default


PRESETS = {
    "shakespeare-cpu": Config(
        preset="shakespeare-cpu",
        data="shakespeare",
        cell="gru",
        steps=2000,
        sample_every=400,
        evaluate_every=1000,
    ),
    "min-char-rnn": Config(
        preset="min-char-rnn",
        cell="rnn",
        hidden=100,
        init="normal",
        batch=1,
        window=25,
        restart_every=0,
        steps=20_000,
        optimizer="adagrad_min_char_rnn",
        learning_rate=0.1,
        schedule="constant",
        warmup=0,
        clip_norm=0.0,
        objective="sum",
        steps_per_call=100,
        sample_every=100,
        temperature=1.0,
        evaluate_every=10_000,
        checkpoint_every=10_000,
    ),
}
SMOKE = {
    "hidden": 32,
    "steps": 40,
    "steps_per_call": 10,
    "sample_every": 20,
    "sample_length": 60,
    "evaluate_every": 20,
    "checkpoint_every": 20,
    "warmup": 0,
}
# What may differ between a run and its resumption.
FREE = ("out", "resume", "sample_every", "sample_length", "temperature", "evaluate_every", "checkpoint_every")
REPORTED = (100, 300, 700, 2000)  # updates whose samples the report keeps


class Params(NamedTuple):
    """Parameters of the model.

    Attributes:
      layers: of the recurrent layers.
      w_y: output weights `[H, V]`.
      b_y: output bias `[V]`.
    """

    layers: rnnjax.Layers
    w_y: jax.Array
    b_y: jax.Array


def make_model(config: Config, vocabulary_size: int) -> LanguageModel:
    """Characters in, logits of the next character out."""
    check_cell_name(config.cell)
    if config.layers < 1:
        raise ValueError(f"expected --layers to be at least 1, got {config.layers}.")
    make, small, embedding = CELLS[config.cell], jax.nn.initializers.normal(0.01), jax.nn.initializers.normal(1.0)
    if config.init == "normal":
        inits = {"w_x_init": small, "w_h_init": small}
        bottom, w_y_init = make(vocabulary_size, config.hidden, **inits), small
    else:  # a row of the bottom w_x is the embedding of a character
        inits, w_y_init = {}, jax.nn.initializers.glorot_uniform()
        bottom = make(vocabulary_size, config.hidden, w_x_init=embedding)
    cells = [bottom] + [make(config.hidden, config.hidden, **inits) for _ in range(config.layers - 1)]
    stacked = rnnjax.stack(cells)

    def init(key):
        key_layers, key_y = jax.random.split(key)
        w_y = w_y_init(key_y, (config.hidden, vocabulary_size))
        return Params(stacked.init(key_layers), w_y, jnp.zeros(vocabulary_size))

    def output(params, h):
        y = jnp.matmul(h, params.w_y)
        return y + jnp.broadcast_to(params.b_y, y.shape)

    def logits(params, carry, ids, *, key=None):
        xs = jax.nn.one_hot(ids, vocabulary_size, dtype=params.w_y.dtype)
        carry, ys = rnnjax.unroll_layers(cells, params.layers, xs, carry, key=key, dropout=config.dropout)
        if key is not None and config.dropout:
            kept = jax.random.bernoulli(jax.random.fold_in(key, 1), 1 - config.dropout, ys.shape)
            ys = jnp.where(kept, ys / (1 - config.dropout), jnp.zeros_like(ys))
        return carry, output(params, ys)

    def step(params, carry, ids):
        carry, h = stacked.apply(params.layers, carry, jax.nn.one_hot(ids, vocabulary_size, dtype=params.w_y.dtype))
        return carry, output(params, h)

    return LanguageModel(init, stacked.initial_carry, logits, step)


def load(config: Config) -> tuple[rnnjax.data.Vocabulary, np.ndarray, np.ndarray]:
    """The vocabulary, the ids to train on, and the held-out ids."""
    text = texts.load(config.data)
    vocabulary = rnnjax.data.Vocabulary.of(text)
    return vocabulary, *rnnjax.data.held_out_split(vocabulary.encode(text), config.held_out)


def main(config: Config) -> dict:
    """Trains, evaluates on the held-out text, writes the report, and returns the headline numbers."""
    began = time.perf_counter()
    if config.smoke and not config.resume:
        config = dataclasses.replace(config, **SMOKE)
    vocabulary, training_ids, held_out_ids = load(config)
    streams = rnnjax.data.make_streams(
        training_ids, batch_size=config.batch, steps=config.window, restart_every=config.restart_every
    )
    model = make_model(config, len(vocabulary.symbols))
    objective = OBJECTIVES[config.objective]
    optimizer = make_optimizer(config)
    key_init, key_run, key_sample = jax.random.split(jax.random.key(config.seed), 3)
    state = rnnjax.training.init_state(model.init(key_init), optimizer, key=key_run)
    uniform = rnnjax.losses.SumCount(math.log(len(vocabulary.symbols)) * config.window, config.window)
    stream = Stream(model.initial_carry((config.batch,)), jnp.float32(objective(uniform)))
    evaluate = make_evaluate(model, held_out_ids)

    folder = report.last_run_folder(config.out, NAME) if config.resume else report.new_run_folder(config.out, NAME)
    if not config.resume:
        report.write_config(folder, config)
        vocabulary.save(folder / "vocabulary.json")
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(
        f"{config.cell}, {config.layers} layer(s) of {config.hidden}, {size:,} parameters; {len(training_ids):,} "
        f"characters to train on, {len(held_out_ids):,} held out, {len(vocabulary.symbols)} symbols; in {folder}",
        flush=True,
    )

    sampler = make_sampler(model, config.sample_length, config.temperature)

    def write_sample(snapshot):
        row = jax.tree.map(lambda leaf: leaf[:1], snapshot.carry.cell)
        first = streams.window(snapshot.step).inputs[0, 0]
        ids = sampler(snapshot.state.params, row, first, jax.random.fold_in(key_sample, snapshot.step))
        text, smooth_loss = vocabulary.decode(np.asarray(ids)), float(snapshot.carry.smooth_loss)
        samples.write(step=snapshot.step, smooth_loss=smooth_loss, text=text)
        if config.preset != "min-char-rnn" or snapshot.step in REPORTED or snapshot.step % 1000 == 0:
            tqdm.write(f"--- {snapshot.step} updates, smoothed loss {smooth_loss:.3f}\n{text}\n", file=sys.stdout)

    with rnnjax.training.Checkpoints(folder / "checkpoints", config=checkpoint_config(config)) as checkpoints:
        early_stop = config.patience > 0
        saved = (
            rnnjax.training.restore_progress(checkpoints, state, stream, early_stop=early_stop)
            if config.resume
            else None
        )
        samples = rnnjax.training.MetricsLog(folder / "samples.jsonl", step=int(saved.state.step) if saved else -1)
        if saved is None:
            write_sample(rnnjax.training.Snapshot(0, state, stream, math.nan))
        result = rnnjax.training.fit(
            rnnjax.training.make_tbptt_step(
                make_loss(model, config.batch, objective, dropout=config.dropout > 0), optimizer, objective=objective
            ),
            state,
            streams.window,
            carry=stream,
            steps=config.steps,
            steps_per_call=config.steps_per_call,
            evaluate=evaluate,
            evaluate_every=config.evaluate_every,
            patience=config.patience or None,
            checkpoints=checkpoints,
            checkpoint_every=config.checkpoint_every,
            resume=config.resume,
            callbacks=[(config.sample_every, write_sample)],
            metrics_file=folder / "metrics.jsonl",
            log_every=max(1, config.steps // 2000),
            unit="char",
        )
    if result.stopped == "non_finite":
        raise ValueError(
            f"expected a finite loss, got NaN or infinity in update {result.bad_step}; the last good state is in "
            f"{folder}/checkpoints: use a smaller --learning-rate or clip the gradient."
        )
    held_out = evaluate(result.state._replace(params=result.best_params)) if config.patience else result.metrics
    first = jnp.int32(vocabulary.encode("\n")[0] if "\n" in vocabulary.symbols else 0)
    ids = sampler(result.best_params, model.initial_carry((1,)), first, key_sample)
    last_sample = vocabulary.decode(np.asarray(ids))
    seconds = time.perf_counter() - began
    headline = {
        "held_out_nats_per_char": round(held_out["held_out_loss"], 4),
        "held_out_bits_per_char": round(held_out["held_out_bits"], 4),
        "updates": result.step,
        "stopped": result.stopped,
        "out": str(folder),
    }
    write_report(folder, config, headline, seconds, last_sample)
    bits = headline["held_out_bits_per_char"]
    print(f"\n{bits:.3f} bits per held-out character after {result.step} updates. A last sample:\n{last_sample}\n")
    cli.result_line(NAME, config.seed, seconds, **headline)
    return headline


def checkpoint_config(config: Config) -> dict:
    """What must be the same for a checkpoint to be of this run."""
    return {name: value for name, value in cli.as_json(config).items() if name not in FREE}


def write_report(folder: Path, config: Config, headline: dict, seconds: float, last_sample: str) -> None:
    """The loss plot and report.md, from what the run wrote."""
    title = f"Character model on {Path(config.data).name}: {config.cell}, {config.layers} x {config.hidden}"
    plots.run_losses(folder, title=title, y="loss (nats per character)")
    samples = report.read_metrics(folder / "samples.jsonl")
    if config.preset == "min-char-rnn":
        samples = [sample for sample in samples if sample["step"] in (0, *REPORTED)]
    evolution = "\n\n".join(
        f"After {sample['step']} updates, smoothed loss {sample['smooth_loss']:.3f}:\n\n{report.quoted(sample['text'])}"
        for sample in samples
    )
    sections = {
        "Result": report.table({**headline, "seconds": round(seconds, 1)}),
        "Loss": "![loss against updates](loss.png)",
        "Samples as it learned": evolution,
        "A last sample": report.quoted(last_sample),
        "Options": report.table(cli.as_json(config)),
    }
    report.write_report(folder, "A character language model", sections)


# ---- sampling from a checkpoint ------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Options of `sample`."""

    out: str = ""  # folder of the run; the newest one of runs/char_lm by default
    prompt: str = "\n"  # what the text begins with
    length: int = 500  # characters to write after it
    temperature: float = 0.8  # below 1 is bolder, 0 takes the most probable character
    top_k: int = 0  # draw among the k most probable characters only, 0 for all
    top_p: float = 1.0  # draw among the most probable characters that reach this probability together
    seed: int = 0  # the same seed writes the same text


def sample(config: SampleConfig) -> str:
    """Writes on from a prompt, with the newest checkpoint of a run."""
    folder = report.last_run_folder(config.out, NAME)
    trained = Config(**json.loads((folder / "config.json").read_text()))
    vocabulary = rnnjax.data.Vocabulary.load(folder / "vocabulary.json")
    if not config.prompt:
        raise ValueError("expected --prompt to be at least one character, got none.")
    prompt = vocabulary.encode(config.prompt)
    model = make_model(trained, len(vocabulary.symbols))
    state = rnnjax.training.init_state(model.init(jax.random.key(0)), make_optimizer(trained), key=jax.random.key(0))
    stream = Stream(model.initial_carry((trained.batch,)), jnp.float32(0))
    with rnnjax.training.Checkpoints(folder / "checkpoints", config=checkpoint_config(trained)) as checkpoints:
        saved = rnnjax.training.restore_progress(checkpoints, state, stream, early_stop=trained.patience > 0)
    if saved is None:
        raise ValueError(f"expected a checkpoint in {folder}/checkpoints, found none; train first.")
    params = saved.state.params if saved.best_params is None else saved.best_params
    transforms = [rnnjax.decoding.temperature(config.temperature)]
    transforms += [rnnjax.decoding.top_k(config.top_k)] if config.top_k else []
    transforms += [rnnjax.decoding.top_p(config.top_p)] if config.top_p < 1 else []

    def step_fn(carry, token):
        return model.step(params, carry, token)

    result = rnnjax.sample(
        step_fn,
        model.initial_carry((1,)),
        key=jax.random.key(config.seed),
        bos_id=int(prompt[0]),
        prompt=prompt[1:],
        max_steps=config.length,
        transform=rnnjax.decoding.chain(*transforms),
    )
    text = config.prompt + vocabulary.decode(np.asarray(result.tokens[0]))
    print(text)
    return text


def command_line(args: list[str]) -> None:
    """`sample ...` writes from a checkpoint; anything else trains."""
    prog = f"python -m experiments.{NAME}"
    if args[:1] == ["sample"]:
        description = "Writes on from a prompt, with the newest checkpoint of a run."
        sample(cli.parse(SampleConfig, prog=f"{prog} sample", description=description, args=args[1:]))
        return
    args = args[1:] if args[:1] == ["train"] else args
    config = cli.parse(Config, prog=prog, description=__doc__, presets=PRESETS, args=args)
    if config.resume:
        folder = report.last_run_folder(config.out, NAME)
        saved = Config(**json.loads((folder / "config.json").read_text()))
        config = cli.parse(Config, prog=prog, description=__doc__, args=args, default=saved)
        config = dataclasses.replace(config, out=str(folder))
    main(config)


if __name__ == "__main__":
    cli.main_guard(lambda: command_line(sys.argv[1:]), prog=f"experiments.{NAME}")
