"""A language model of words: two LSTM layers with dropout and tied weights, against an interpolated 5-gram.

    python -m experiments.language_model                              the Python language reference
    python -m experiments.language_model --data multi30k              captions of photographs: perplexity 24.7, that of
                                                                      the 5-gram 31.9 (seed 0)
    python -m experiments.language_model --data PATH                  any UTF-8 text
    python -m experiments.language_model sample --prompt "a man in"   writes on, from the newest run

Perplexity says among how many words, all alike, the model would be as uncertain.
"""

import dataclasses
import math

import jax
import numpy as np

import rnnjax
from experiments.language_model.corpus import EOS, UNK, by_sentence, load, split_words
from experiments.language_model.model import make_model
from experiments.lib import frame, language, ngrams, plots, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import Interval, bootstrap
from rnnjax.decoding import at_temperature, ban_tokens, keep_top_p


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "pydoc"  # pydoc (the Python language reference), multi30k (captions), or the path of a UTF-8 text
    least: int = 2  # occurrences of a word in training; rarer ones are <unk>
    sentences: int = 0  # to train on, 0 for all
    cell: str = "lstm"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    layers: int = 2  # stacked recurrent layers
    hidden: int = 200  # units of a layer
    embedding: int = 0  # features of a word, 0 for as many as units; otherwise a projection lies before the output
    dropout: float = 0.25  # of inputs, between layers and before the output
    batch: int = 20  # streams read side by side
    window: int = 35  # steps of backpropagation through time
    restart_every: int = 50  # windows after which a stream's carry starts afresh
    steps: int = 4000  # updates
    learning_rate: float = 0.004  # at its peak
    warmup: int = 50  # updates until the peak
    b2: float = 0.99  # memory of the second moment of adam, nadam and adamw
    steps_per_call: int = 20  # updates in one compiled call
    evaluate_every: int = 500  # updates between evaluations on held-out data
    temperature: float = 0.8  # of samples: below 1 more cautious, above 1 bolder, 0 the most probable word
    top_p: float = 0.95  # draw among the most probable words that reach this probability together

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if min(self.layers, self.least) < 1 or not 0 <= self.dropout < 1:
            raise ValueError(
                f"expected --layers and --least from 1 and --dropout in [0, 1), got {self.layers}, {self.least} and "
                f"{self.dropout}."
            )


SMOKE = {"sentences": 300, "hidden": 11, "embedding": 7, "cell": "rnn", "optimizer": "sgd", "learning_rate": 0.5}
SMOKE |= {"steps": 20, "steps_per_call": 10, "evaluate_every": 10, "window": 10, "warmup": 0}
LENGTH = 40  # words of the samples in the report


def perplexity(nats: np.ndarray, ids: np.ndarray) -> Interval:
    """The perplexity of words, given -log P of all ids `[K]` but the first; an interval over sentences."""
    sums, counts = by_sentence(nats, ids)
    return Interval(*(math.exp(end) for end in bootstrap(sums, over=counts)))


def make_write(model: language.LanguageModel, params, vocabulary, temperature: float, top_p: float, length: int):
    """`(prompt, seed) -> text` that goes on with the words of the prompt."""
    shape = [ban_tokens([vocabulary.symbols.index(UNK)]), at_temperature(temperature), keep_top_p(top_p)]
    sampler, known = language.make_sampler(model.step, length, shape), {*vocabulary.symbols}

    def write(prompt: str, seed: int) -> str:
        words = split_words(prompt)
        first, *more = vocabulary.encode([EOS, *(word if word in known else UNK for word in words)])
        ids = sampler(params, model.initial_carry((1,)), first, jax.random.key(seed), np.array(more, np.int32))
        written = [vocabulary.symbols[i] for i in np.asarray(ids)]
        return "\n".join(line.strip() for line in " ".join([*words, *written]).split(EOS)).strip()

    return write


def main(config: Config) -> dict:
    """Trains, evaluates on the test, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    corpus = load(config)
    size, folder = len(corpus.vocabulary.symbols), run.folder
    corpus.vocabulary.save(folder / "vocabulary.json")
    counts = {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test), "vocabulary": size}
    print("{train:,} words to train on, {valid:,} for validation, {test:,} to test".format(**counts), flush=True)
    model = make_model(config, size)
    cuts = {"batch_size": config.batch, "steps": config.window, "restart_every": config.restart_every}
    streams = rnnjax.data.make_streams(corpus.train, **cuts)
    valid, test = (language.make_nats(model, ids, batch=16, steps=64) for ids in (corpus.valid, corpus.test))
    settings = {
        "carry": language.first_stream(model, config.batch, size),
        "batch_axes": rnnjax.data.Window(inputs=1, targets=1, starts=0),
        "evaluate": lambda state: {"held_out_loss": float(valid(state.params).mean(dtype=np.float64))},
        "unit": "word",
    }
    loss_fn = language.make_loss(model, dropout=config.dropout > 0)
    params = training.train(config, model.init, loss_fn, streams.window, folder, **settings).state.params
    counted = {part: (corpus.train, getattr(corpus, part), size) for part in ("valid", "test")}
    nats = {
        "network": test(params),
        "5-gram": ngrams.ngram_nats(*counted["test"])[1:],
        "unigram": ngrams.unigram_nats(*counted["test"])[1:],
    }
    found = {name: perplexity(values, corpus.test) for name, values in nats.items()}
    sums = {name: by_sentence(values, corpus.test) for name, values in nats.items()}
    gains = {
        name: bootstrap(sums[name][0] - sums["network"][0], over=sums["network"][1]) for name in ("5-gram", "unigram")
    }
    lines = {name: float(f(*counted["valid"])[1:].mean()) for name, f in
             (("5-gram", ngrams.ngram_nats), ("unigram", ngrams.unigram_nats))}  # fmt: skip
    plots.run_losses(folder, title="Learning to write words", y="loss (nats per word)", baselines=lines)
    write = make_write(model, params, corpus.vocabulary, config.temperature, config.top_p, LENGTH)
    headline = {"perplexity": found["network"].mean, "baseline_perplexity": found["5-gram"].mean}
    headline |= {"unigram_perplexity": found["unigram"].mean, "updates": config.steps}
    values = {"found": found, "gains": gains, "counts": counts, "corpus": corpus}
    return frame.finish(run, headline, samples=[write("", seed) for seed in range(3)], **values)


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Options of `sample`."""

    out: str = ""  # folder of the run; the newest one of runs/language_model by default
    prompt: str = ""  # what the text begins with
    length: int = 60  # words to write after it
    temperature: float = 0.8  # below 1 more cautious, above 1 bolder, 0 the most probable word
    top_p: float = 0.95  # draw among the most probable words that reach this probability together
    seed: int = 0  # the same seed writes the same text


def sample(config: SampleConfig) -> str:
    """Writes on from a prompt, with the newest checkpoint of a run."""
    _, _, vocabulary, model, params = language.restore(config.out, "language_model", Config, make_model)
    write = make_write(model, params, vocabulary, config.temperature, config.top_p, config.length)
    text = write(config.prompt, config.seed)
    print(text)
    return text


if __name__ == "__main__":
    frame.command_line(main, sample, smoke=SMOKE)
