"""Persons, places and products in a text: a bidirectional LSTM over words and their letters, with and without a CRF.

    python -m experiments.ner                                   generated sentences
    python -m experiments.ner --data wnut17 --vectors glove     tweets and forums
    python -m experiments.ner predict --text "Harry met Ann."   tags by the newest run

The output is a softmax for each word, or a conditional random field over all tags of the sentence. Beside both stands a
conditional random field over features that were thought up: the words, their ends, their shapes, their neighbours.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.data import wnut17
from experiments.data.wnut17 import Sentence, Sentences
from experiments.lib import frame, report, search, sweep, training
from experiments.ner import figures, scores
from experiments.ner.baseline import fit_features
from experiments.ner.model import Tagger, make_tagger
from experiments.ner.words import Language, encode, learn_language, split_words

OUTPUTS = ("crf", "softmax")
EXAMPLE = "Yesterday, Harry Potter met Hermione Granger."


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # or wnut17, or a folder with train.conll, dev.conll and test.conll
    vectors: str = "none"  # of words: none (random), glove, or the path of a file in its format
    hidden: int = 64  # units that read a sentence, in each direction
    letter_hidden: int = 24  # units that read a word, in each direction
    letter_embedding: int = 16  # features of a letter
    letters: int = 14  # of a word that are read: half of them from its beginning, half from its end
    dropout: float = 0.5  # of what is known about a word, and before the output
    seeds: int = 2  # taggers with other first weights, side by side
    steps: int = 1500  # updates
    batch: int = 32  # sentences of an update
    learning_rate: float = 0.006  # at its peak
    steps_per_call: int = 20  # updates in one compiled call
    evaluate_every: int = 250  # updates between evaluations on held-out data

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        if self.letters < 2 or self.seeds < 1:
            raise ValueError(f"expected --letters from 2 and --seeds from 1, got {self.letters} and {self.seeds}.")


SMOKE = {"hidden": 7, "letter_hidden": 5, "letter_embedding": 5, "letters": 6, "optimizer": "sgd", "seeds": 1}
SMOKE |= {"steps": 10, "steps_per_call": 5, "batch": 8, "evaluate_every": 10, "learning_rate": 0.1}


class Tagged(NamedTuple):
    """What taggers of one output make of sentences."""

    tags: list[list[list[str]]]  # of each seed and each sentence
    curve: list[tuple[int, float]]  # F1 on development data after so many updates


def make_tag(tagger: Tagger, language: Language):
    """`(params [S, ...], sentences, steps) -> tags` of each seed, of each sentence."""
    best = jax.jit(jax.vmap(tagger.tags, in_axes=(0, None)))

    def tag(params, sentences: Sequence[Sentence], steps: int) -> list[list[list[str]]]:
        batch = encode(sentences, language, steps)
        found = training.in_chunks(lambda some: best(params, some), batch, size=64, out_axis=1)
        return [
            [[language.tags[i] for i in row[:n]] for row, n in zip(each, batch.lengths, strict=True)] for each in found
        ]

    return tag


def train_taggers(config: Config, output: str, language: Language, parts: Sentences, folder: Path):
    """Trains a tagger for each seed, all side by side: their tags for the test, and parameters."""
    tagger = make_tagger(config, output, language.vectors, language.letters.size, language.tags)
    longest = [max(len(s.words) for s in part) for part in parts[:3]]
    tag, data = make_tag(tagger, language), encode(parts.train, language, longest[0])

    def evaluate(state):
        found = tag(state.params, parts.dev, max(longest[1:]))
        return {"f1": scores.span_f1(parts.dev, found).mean}

    start, update = sweep.over_rates(config, tagger.init, tagger.loss, (1.0,), config.seeds)
    batches = training.shuffled(data, config.batch, config.seed)
    print(f"{config.seeds} taggers side by side, in {folder / output}", flush=True)
    params = training.fit(
        config, update, start(), batches, folder / output, evaluate=evaluate, batch_axes=0, unit="word"
    ).state.params
    lines = report.read_metrics(folder / output / "metrics.jsonl")
    curve = [(line["step"], line["f1"]) for line in lines if "f1" in line]
    return tagger, params, Tagged(tag(params, parts.test, max(longest[1:])), curve)


def make_show(tagger: Tagger, params, language: Language):
    """`sentence -> (word, tag, probability)` of each word, by the first seed."""
    first = jax.tree.map(lambda leaf: leaf[0], params)
    both = jax.jit(lambda batch: (tagger.tags(first, batch), tagger.marginals(first, batch)))

    def show(sentence: Sentence) -> list[tuple[str, str, float]]:
        ids, chance = (np.asarray(x)[0] for x in both(encode([sentence], language, len(sentence.words))))
        return [(word, language.tags[i], float(p[i])) for word, i, p in zip(sentence.words, ids, chance, strict=True)]

    return show


def main(config: Config) -> dict:
    """Trains taggers with both outputs, fits the features, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    parts = wnut17.load(config.data, seed=config.seed)
    language = learn_language(config, parts)
    learned = {output: train_taggers(config, output, language, parts, run.folder) for output in OUTPUTS}
    note, features = fit_features(parts)
    found = {f"BiLSTM, {output}": tagged.tags for output, (_, _, tagged) in learned.items()}
    found["features, crf"] = [features]
    f1 = {name: scores.span_f1(parts.test, answers) for name, answers in found.items()}
    kinds = sorted({tag[2:] for tag in language.tags} - {""})
    figures.draw_curves(run.folder, {f"BiLSTM, {output}": tagged.curve for output, (_, _, tagged) in learned.items()})
    by_kind = {kind: {name: scores.span_f1(parts.test, x, kind) for name, x in found.items()} for kind in kinds}
    figures.draw_kinds(run.folder, by_kind)

    headline = {"f1": f1["BiLSTM, crf"].mean, "f1_softmax": f1["BiLSTM, softmax"].mean}
    headline |= {"baseline_f1": f1["features, crf"].mean, "updates": config.steps}
    words = [word.lower() for sentence in parts.test for word in sentence.words]
    tagger, params, _ = learned["crf"]
    values = {
        "counts": {part: len(sentences) for part, sentences in zip(Sentences._fields, parts[:3], strict=False)},
        "repeated": parts.repeated,
        "known": np.mean([word in language.words for word in words]),
        "f1": f1,
        "halves": {name: scores.precision_recall(parts.test, answers) for name, answers in found.items()},
        "broken": {name: scores.broken(answers) for name, answers in found.items()},
        "unseen": scores.unseen(parts),
        "note": note,
        "by_kind": by_kind,
        "example": make_show(tagger, params, language)(split_words(EXAMPLE)),
        "transitions": np.asarray(params.crf.transitions[0]).round(1).tolist(),
        "tags": language.tags,
    }
    return frame.finish(run, headline, **values)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Options of `predict`."""

    out: str = ""  # folder of the run; the newest one of runs/ner by default
    text: str = ""  # to tag; lines of the standard input if empty


def predict(config: PredictConfig) -> list[str]:
    """Tags --text, or lines of the standard input, with the taggers of a run."""
    folder = report.find_run(config.out, "ner")
    saved = report.read_config(folder, Config)
    language = learn_language(saved, wnut17.load(saved.data, seed=saved.seed))
    tagger = make_tagger(saved, "crf", language.vectors, language.letters.size, language.tags)
    like = jax.eval_shape(jax.vmap(tagger.init), jax.random.split(jax.random.key(0), saved.seeds))
    params = rnnjax.training.restore_params(folder / "crf" / "checkpoints", like).tree
    show = make_show(tagger, params, language)

    def answer(text: str) -> str:
        found = show(split_words(text))
        return " ".join(word if tag == "O" else f"{word}/{tag} ({p:.0%})" for word, tag, p in found)

    return search.answer_lines(config.text, answer, "->")


if __name__ == "__main__":
    frame.command_line(main, predict, smoke=SMOKE)
