"""Which language is a surname from? A network reads it letter by letter, and another one writes names of a language.

    python -m experiments.names                              invented languages
    python -m experiments.names --data names                 18 languages: 82 % of unseen names right, and 84 % by
                                                             n-grams of letters
    python -m experiments.names predict --text "Yamamoto"    the languages that the newest run finds probable
    python -m experiments.names sample --language Japanese   new names, by the newest run

The reader is many to one: its last states, of both directions, tell the language. The writer is one to many: the
language is its first state. Beside them stand n-grams of letters.
"""

import dataclasses

import jax
import numpy as np

import rnnjax
from experiments.data import names
from experiments.lib import frame, plots, report, search, training
from experiments.lib.cells import check_cell_name
from experiments.lib.intervals import bootstrap, wilson
from experiments.lib.pairs import Symbols, pad_pairs
from experiments.names import baselines, figures
from experiments.names.learning import encode, make_read, train_readers, train_writer, write
from experiments.names.model import make_reader, make_writer


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # or names (18 languages), or a folder with a text file of names for each language
    cell: str = "lstm"  # rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 96  # units, of the reader in each direction
    dropout: float = 0.4  # before the output
    seeds: int = 3  # readers with other first weights, side by side
    temperature: float = 0.8  # of names that are written: below 1 more cautious, above 1 bolder
    samples: int = 50  # names written for each language
    steps: int = 1600  # updates of the readers, and of the writer
    batch: int = 96  # names of an update
    optimizer: str = "adamw"  # sgd, adam, rmsprop, adagrad, adadelta, nadam or adamw
    learning_rate: float = 0.006  # at its peak
    weight_decay: float = 0.05  # of adamw
    steps_per_call: int = 20  # updates in one compiled call

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if min(self.seeds, self.samples) < 1:
            raise ValueError(f"expected --seeds and --samples from 1, got {self.seeds} and {self.samples}.")


SMOKE = {"cell": "irnn", "hidden": 12, "optimizer": "sgd", "learning_rate": 0.3, "seeds": 2, "samples": 5, "steps": 40}
SMOKE |= {"steps_per_call": 10, "evaluate_every": 20}


def main(config: Config) -> dict:
    """Trains readers and a writer, lets the readers judge what was written, and returns the headline numbers."""
    run = frame.begin(config)
    data = names.load(config.data, seed=config.seed)
    split, longest = names.split(data, config.seed), max(map(len, data.names))
    symbols, size = Symbols.of(data.names[split.training]), len(data.classes)
    parts = {part: encode(data, symbols, rows, longest) for part, rows in split._asdict().items()}
    rnnjax.data.Vocabulary(symbols.symbols).save(run.folder / "symbols.json")
    rnnjax.data.Vocabulary(data.classes).save(run.folder / "languages.json")
    (pairs, truth), writer = parts["test"], make_writer(config, symbols.size, size, longest)

    read = train_readers(config, make_reader(config, symbols.size, size), parts, run.folder)
    params = train_writer(config, writer, parts, run.folder)
    chosen, guesses = baselines.classify(data, split)
    found = {"network": read(pairs).argmax(axis=-1)} | guesses  # [S, N], a row per seed; [1, N]
    nats = {
        "network": np.asarray(jax.jit(writer.apply)(params, pairs, truth)),
        "5-gram": baselines.ngram_nats(parts["training"], parts["test"], symbols.size),
    }
    told = np.repeat(np.arange(size), config.samples)
    written = write(writer, params, symbols, told, config.temperature, config.seed)
    ids = [symbols.encode(name) for name in written]
    returned = read(pad_pairs(ids, ids, max_source=longest, max_target=longest + 1)).argmax(axis=-1) == told

    accuracy = {name: wilson(answers == truth) for name, answers in found.items()}
    macro = {name: baselines.macro_f1(answers, truth, size) for name, answers in found.items()}
    counts = {part: np.bincount(languages, minlength=size) for part, (_, languages) in parts.items()}
    figures.draw_confusion(run.folder, found["network"], truth, data.classes)
    figures.draw_by_language(run.folder, found, truth, counts["training"], data.classes)
    plots.run_losses(run.folder / "reader", title="Reading: mean over the seeds", y="loss (nats per name)")
    plots.run_losses(run.folder / "writer", title="Writing", y="loss (nats per letter)")
    headline = {"accuracy": accuracy["network"].mean, "baseline_accuracy": accuracy["n-grams"].mean}
    headline |= {"macro_f1": macro["network"].mean, "baseline_macro_f1": macro["n-grams"].mean}
    headline |= {"returned": float(returned.mean()), "updates": config.steps}
    values = {
        "data": data,
        "counts": counts,
        "accuracy": accuracy,
        "macro": macro,
        "chosen": chosen,
        "ceiling": len(set(data.names[split.test])) / len(truth),
        "nats": {name: bootstrap(sums, over=pairs.target_lengths) for name, sums in nats.items()},
        "written": {language: written[i * config.samples :][:8] for i, language in enumerate(data.classes)},
        "returned": returned.reshape(config.seeds, size, -1).mean(axis=(0, 2)),
        "recalled": [(found["network"][:, truth == i] == i).mean() for i in range(size)],
        "new": np.mean([name not in set(data.names[split.training]) for name in written]),
    }
    return frame.finish(run, headline, **values)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Options of `predict`."""

    out: str = ""  # folder of the run; the newest one of runs/names by default
    text: str = ""  # a name; lines of the standard input if empty


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Options of `sample`."""

    out: str = ""  # folder of the run; the newest one of runs/names by default
    language: str = ""  # of the names; the first one of the run if empty
    count: int = 10  # names
    temperature: float = 0.8  # below 1 more cautious, above 1 bolder, 0 the most probable letters
    seed: int = 0  # the same seed writes the same names


def restore(out: str, part: str, make, runs: bool, *more):
    """What a run learned: its model, parameters, symbols and languages."""
    folder = report.find_run(out, "names")
    config, saved = report.read_config(folder, Config), rnnjax.data.Vocabulary.load
    symbols, languages = Symbols.load(folder / "symbols.json"), saved(folder / "languages.json").symbols
    model = make(config, symbols.size, len(languages), *more)
    init = jax.vmap(model.init) if runs else model.init
    like = jax.eval_shape(init, jax.random.split(jax.random.key(0), config.seeds) if runs else jax.random.key(0))
    params = rnnjax.training.restore_params(folder / part / "checkpoints", like).tree
    return model, params, symbols, languages


def predict(config: PredictConfig) -> list[str]:
    """Tells the languages of --text, or of lines of the standard input, with the readers of a run."""
    model, params, symbols, languages = restore(config.out, "reader", make_reader, True)
    read = make_read(model)

    def answer(name: str) -> str:
        ids = [symbols.encode(" ".join(name.lower().split()))]
        chance = np.asarray(jax.nn.softmax(read(params, pad_pairs(ids, ids)), axis=-1)).mean(axis=(0, 1))
        return ", ".join(f"{languages[i]} {chance[i]:.0%}" for i in np.argsort(-chance)[:3])

    return search.answer_lines(config.text, answer, "->")


def sample(config: SampleConfig) -> list[str]:
    """Writes names in a language, with the writer of a run."""
    model, params, symbols, languages = restore(config.out, "writer", make_writer, False, 20)
    language = config.language or languages[0]
    if language not in languages:
        raise ValueError(f"expected --language to be one of {', '.join(languages)}, got {language!r}.")
    told = np.full(config.count, languages.index(language))
    found = write(model, params, symbols, told, config.temperature, config.seed)
    print(*found, sep="\n")
    return found


if __name__ == "__main__":
    frame.command_line(main, predict, sample, smoke=SMOKE)
