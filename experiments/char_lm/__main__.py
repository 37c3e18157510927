"""A character language model: a recurrent network learns to write, one character after the other.

    python -m experiments.char_lm                             about a minute on two CPU cores: trains on the Python
                                                              language reference and prints samples as it learns
    python -m experiments.char_lm --preset shakespeare-cpu    tiny Shakespeare: 1.53 nats per held-out character
    python -m experiments.char_lm --preset min-char-rnn       the 112-line program of the course notes
    python -m experiments.char_lm --data PATH                 any UTF-8 text
    python -m experiments.char_lm --resume                    goes on with the newest run
    python -m experiments.char_lm sample --prompt "The "      writes on, from the newest run
    python -m experiments.char_lm export                      its step as a file; sample --exported FILE writes from it
    python -m experiments.char_lm cells                       what single cells of the newest run follow, as a page

Beside it stand models that only count: how often each character occurs, and an interpolated Kneser-Ney 5-gram.
"""

import dataclasses
import math
import sys
from pathlib import Path
from typing import ClassVar, Literal

import jax
import numpy as np
from tqdm import tqdm

import rnnjax
from experiments.char_lm import cells as following
from experiments.char_lm import serving
from experiments.char_lm.model import make_model
from experiments.char_lm.presets import PRESETS
from experiments.char_lm.serving import SampleConfig
from experiments.data import texts
from experiments.lib import frame, language, ngrams, plots, report, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import bootstrap
from rnnjax.decoding import at_temperature, keep_top_k, keep_top_p


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    preset: str = ""  # shakespeare-cpu or min-char-rnn: other defaults for the options below
    data: str = "pydoc"  # pydoc (the Python language reference), shakespeare, or the path of a UTF-8 text
    cell: str = "lstm"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, layer_norm_lstm, ...
    layers: int = 1  # stacked recurrent layers
    hidden: int = 256  # units of a layer
    init: Literal["default", "normal"] = "default"  # weights: the cells' own over embeddings, or 0.01 times a normal
    dropout: float = 0.0  # between layers and before the output
    batch: int = 32  # streams read side by side
    window: int = 32  # steps of backpropagation through time
    restart_every: int = 50  # windows after which a stream's carry starts afresh, 0 for the beginning of an epoch only
    steps: int = 1800  # updates
    optimizer: str = "adamw"  # sgd, adam, rmsprop, adagrad, adadelta, nadam, adamw or adagrad_min_char_rnn
    learning_rate: float = 0.01  # at its peak
    warmup: int = 30  # updates until the peak
    weight_decay: float = 0.05  # of adamw
    b2: float = 0.99  # memory of the second moment of adam, nadam and adamw
    objective: Literal["mean", "sum"] = "mean"  # over the characters of a window
    steps_per_call: int = 20  # updates in one compiled call
    sample_every: int = 300  # updates between samples
    sample_length: int = 200  # characters of a sample
    temperature: float = 0.8  # of the samples: below 1 more cautious, above 1 bolder, 0 the most probable character
    evaluate_every: int = 600  # updates between evaluations on the held-out text
    checkpoint_every: int = 600  # updates between checkpoints
    patience: int = 0  # stop after so many evaluations without improvement, 0 for never
    free: ClassVar[frozenset[str]] = training.Options.free | {"sample_every", "sample_length", "temperature"}

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if self.layers < 1:
            raise ValueError(f"expected --layers to be at least 1, got {self.layers}.")


SMOKE = {"data": "pydoc", "hidden": 32, "steps": 40, "steps_per_call": 10, "sample_every": 20, "sample_length": 60}
SMOKE |= {"evaluate_every": 20, "checkpoint_every": 20, "warmup": 0}
SHOWN = (0, 100, 300, 700, 2000)  # updates whose samples are shown of the many of min-char-rnn
BLOCK = 1000  # characters of a block of the bootstrap
OBJECTIVES = {"mean": lambda parts: parts.mean, "sum": lambda parts: parts.sum}


def load(config: Config) -> tuple[rnnjax.data.Vocabulary, np.ndarray, np.ndarray]:
    """Reads the text: its vocabulary, the ids to train on, and the held-out ids, its last tenth."""
    text = texts.load(config.data)
    vocabulary = rnnjax.data.Vocabulary.of(text)
    return vocabulary, *rnnjax.data.held_out_split(vocabulary.encode(text), 0.1)


def make_sample_writer(config: Config, folder: Path, model: language.LanguageModel, vocabulary, streams):
    """`snapshot -> None`: writes on from the first stream, where training stands, into a file and on the terminal."""
    sampler = language.make_sampler(model.step, config.sample_length, [at_temperature(config.temperature)])
    log = rnnjax.training.MetricsLog(folder / "samples.jsonl", step=config.steps)
    key = jax.random.split(jax.random.key(config.seed), 3)[2]  # the first two are of training
    unit = config.batch * config.window if config.objective == "sum" else 1

    def write_sample(snapshot) -> None:
        params, stream = snapshot.state.params, snapshot.state.carry
        row, first = jax.tree.map(lambda leaf: leaf[:1], stream.cell), streams.window(snapshot.step).inputs[0, 0]
        ids = sampler(params, row, first, jax.random.fold_in(key, snapshot.step))
        text, smooth_loss = vocabulary.decode(np.asarray(ids)), unit * float(stream.smooth_loss.mean())
        log.write(step=snapshot.step, smooth_loss=smooth_loss, text=text)
        if config.preset != "min-char-rnn" or snapshot.step in SHOWN or snapshot.step % 1000 == 0:
            tqdm.write(f"--- {snapshot.step} updates\n{text}\n", file=sys.stdout)

    return write_sample


def main(config: Config) -> dict:
    """Trains, evaluates on the held-out text, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    vocabulary, training_ids, held_out_ids = load(config)
    size, batch, folder = len(vocabulary.symbols), config.batch, run.folder
    cuts = {"batch_size": batch, "steps": config.window, "restart_every": config.restart_every}
    streams, model = rnnjax.data.make_streams(training_ids, **cuts), make_model(config, size)
    nats = language.make_nats(model, held_out_ids)
    vocabulary.save(folder / "vocabulary.json")
    counts = {"training": len(training_ids), "held_out": len(held_out_ids), "symbols": size}
    print("{training:,} characters to train on, {held_out:,} held out, {symbols} symbols".format(**counts), flush=True)
    settings = {
        "carry": language.first_stream(model, batch, size),
        "objective": OBJECTIVES[config.objective],
        "batch_axes": rnnjax.data.Window(inputs=1, targets=1, starts=0),
        "evaluate": language.make_evaluate(nats),
        "patience": config.patience or None,
        "callbacks": [(config.sample_every, make_sample_writer(config, folder, model, vocabulary, streams))],
    }
    loss_fn = language.make_loss(model, dropout=config.dropout > 0)
    result = training.train(config, model.init, loss_fn, streams.window, folder, unit="char", **settings)
    losses = {
        "network": nats(result.best_params),
        "5-gram": ngrams.ngram_nats(training_ids, held_out_ids, size)[1:],
        "unigram": ngrams.unigram_nats(training_ids, held_out_ids, size)[1:],
    }
    means = {name: float(x.mean(dtype=np.float64)) for name, x in losses.items()}
    baselines = {name: means[name] for name in ("5-gram", "unigram")}
    plots.run_losses(folder, title="Learning to write", y="loss (nats per character)", baselines=baselines)
    headline = {
        "held_out_nats_per_char": means["network"],
        "held_out_bits_per_char": means["network"] / math.log(2),
        "ngram_nats_per_char": means["5-gram"],
        "unigram_nats_per_char": means["unigram"],
        "updates": result.step,
        "stopped": result.stopped,
    }
    written = {line["step"]: line for line in report.read_metrics(folder / "samples.jsonl")}.values()
    values = {
        "nats": {name: bootstrap(x, block=BLOCK) for name, x in losses.items()},
        "gains": {name: bootstrap(losses[name] - losses["network"], block=BLOCK) for name in baselines},
        "samples": [line for line in written if config.preset != "min-char-rnn" or line["step"] in SHOWN],
    }
    return frame.finish(run, headline, counts=counts, block=BLOCK, log2=math.log(2), **values)


def sample(config: SampleConfig) -> str:
    """Writes on from a prompt, with the newest checkpoint of a run, or with a file that `export` wrote."""
    if config.exported:
        writer = serving.read(config.exported)
    else:
        _, _, vocabulary, model, params = language.restore(config.out, "char_lm", Config, make_model)
        writer = serving.Writer(vocabulary, model.step, params, model.initial_carry((1,)))
    if not config.prompt:
        raise ValueError("expected --prompt to be at least one character, got none.")
    first, *prompt = writer.vocabulary.encode(config.prompt)
    constraints = [at_temperature(config.temperature), keep_top_p(config.top_p)]
    constraints += [keep_top_k(config.top_k)] if config.top_k else []
    sampler = language.make_sampler(writer.step, config.length, constraints)
    ids = sampler(writer.params, writer.carry, first, jax.random.key(config.seed), np.array(prompt, np.int32))
    text = config.prompt + writer.vocabulary.decode(np.asarray(ids))
    print(text)
    return text


def export(config: serving.ExportConfig) -> Path:
    """Writes the step of the newest checkpoint of a run as one file, for `sample --exported FILE` and for servers."""
    folder, _, vocabulary, model, params = language.restore(config.out, "char_lm", Config, make_model)
    file = Path(config.file or folder / "step.npz")
    serving.write(file, vocabulary, model, params)
    return file


def cells(config: following.CellsConfig) -> dict[str, following.Found]:
    """Finds the cells that follow quotations, brackets, lines and words in held-out text; a page shows them."""
    folder, of_run, vocabulary, model, params = language.restore(config.out, "char_lm", Config, make_model)
    ids = load(of_run)[2][: config.characters]
    return following.show(folder / "cells.html", model, params, ids, vocabulary.decode(ids), config)


if __name__ == "__main__":
    frame.command_line(main, sample, export, cells, smoke=SMOKE, presets=PRESETS)
