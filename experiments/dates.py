"""Human dates read into ISO form: "July 20th 1969", "23 April, 1564", "۲۳ آوریل ۱۵۶۴" -> 1564-04-23.

    python -m experiments.dates                                   about a minute on two CPU cores; at least 99 % of
                                                                  unseen dates exactly right
    python -m experiments.dates predict --text "July 20th 1969"   asks the newest run; without --text, line by line

Dates of the years 1500 to 2100 in nine locales, in forms generated with the locale data of Babel; held-out days are
never trained on, in any form. The decoder attends to the characters: the map shows which it reads for which digit.
"""

import dataclasses
import sys
import time

import numpy as np

from experiments.data.dates import DatePair, split
from experiments.lib import cli, plots, report, translator
from experiments.lib.pairs import Pairs, Symbols, encode_pairs

NAME = "dates"
ISO = Symbols.of(["0123456789-"])
SHOWN = "Sunday, July 20th 1969", "23 April, 1564", "jeudi 3 mars 1875", "20. Februar 2026", "۲۳ آوریل ۱۵۶۴"


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a training run."""

    pairs: int = 100_000  # to train on
    held_out: int = 2000  # held-out days
    attention: str = "additive"
    hidden: int = 64
    embedding: int = 32
    batch: int = 64
    steps: int = 2500


SMOKE = translator.SMOKE | {"pairs": 300, "held_out": 40}


def encode(pairs: list[DatePair], symbols: Symbols, width: int) -> Pairs:
    """Pairs of ids; a source has at most `width` characters."""
    sources, targets = zip(*pairs, strict=True)
    return encode_pairs(sources, targets, symbols.encode, ISO.encode, max_source=width)


def load(pairs: int, held_out: int, seed: int) -> tuple[Symbols, Pairs, Pairs, list[DatePair]]:
    """Symbols of the training dates, training and held-out pairs as ids, and the latter as they are written."""
    training_pairs, held_out_pairs = split(pairs, held_out, seed)
    symbols = Symbols.of(pair.human for pair in training_pairs)
    width = max(len(pair.human) for pair in (*training_pairs, *held_out_pairs))
    return symbols, *(encode(part, symbols, width) for part in (training_pairs, held_out_pairs)), held_out_pairs


def main(config: Config) -> dict:
    """Trains, evaluates on held-out dates, writes the report, and returns the headline numbers."""
    began = time.perf_counter()
    if config.smoke and not config.resume:
        config = dataclasses.replace(config, **SMOKE)
    symbols, training, held_out, held_out_pairs = load(config.pairs, config.held_out, config.seed)
    folder = translator.open_run(config, NAME, symbols, ISO)
    model = translator.make_model(config, symbols.size, ISO.size)
    greedy, beam = make_searches(config, model)
    result = translator.train(config, model, training, folder, translator.make_evaluate(model, held_out, greedy))
    params = result.state.params
    found = translator.answer(beam, params, held_out)
    right = translator.exact_match(found, held_out)
    right_greedy = translator.exact_match(translator.answer(greedy, params, held_out), held_out)
    faults = translator.attribution(translator.make_scorer(model), params, held_out, found)

    shown = encode([DatePair(text, "") for text in SHOWN], symbols, held_out.sources.shape[1])
    answers = translator.answer(beam, params, shown)
    maps = []
    for i, text in enumerate(SHOWN if answers.weights is not None else ()):
        written = answers.lengths[i]
        plots.attention_map(
            folder / f"attention_{i}.png",
            answers.weights[i, :written, : len(text)],
            list(text),
            [*ISO.decode(answers.tokens[i]), "end"][:written],
            title="Where the decoder looks",
        )
        maps.append(f"{text} is {''.join(ISO.decode(answers.tokens[i]))}:\n\n![attention](attention_{i}.png)")

    seconds = time.perf_counter() - began
    headline = {
        "exact_match": round(float(right.mean()), 4),
        "exact_match_greedy": round(float(right_greedy.mean()), 4),
        "updates": result.step,
        "out": str(folder),
    }
    wrong = [
        f"{held_out_pairs[i].human} is {held_out_pairs[i].iso}, answered {''.join(ISO.decode(found.tokens[i]))}"
        for i in np.flatnonzero(~right)[:10]
    ]
    plots.run_losses(folder, title=f"Dates: {config.cell}, {config.attention} attention", y="loss (nats per symbol)")
    sections = {
        "Result": report.table({**headline, "seconds": round(seconds, 1)}),
        "Errors": f"Of {np.sum(~right)} errors the search is at fault for {float(faults.search_share):.0%}, the model "
        f"for {float(faults.model_share):.0%}.\n\n{report.quoted(chr(10).join(wrong) or 'none')}",
        "Loss": "![loss against updates](loss.png)",
        "Attention": "\n\n".join(maps),
        "Options": report.table(cli.as_json(config)),
    }
    report.write_report(folder, "Human dates to ISO form", sections)
    print(f"\n{headline['exact_match']:.2%} of unseen dates exactly right.")
    cli.result_line(NAME, config.seed, seconds, **headline)
    return headline


def make_searches(config: Config, model: translator.Translator):
    """Greedy decoding and beam search."""
    return tuple(
        translator.make_search(model, beam_size=size, max_steps=12, weights=size > 1)
        for size in (1, max(2, config.beam))
    )


def predict(config: translator.PredictConfig) -> list[str]:
    """Answers from the newest checkpoint of a run."""
    folder = report.last_run_folder(config.out, NAME)
    symbols, trained = Symbols.load(folder / "source.json"), report.read_config(folder, Config)
    model, params = translator.restore(trained, folder, symbols, ISO)
    find, answers = translator.make_search(model, beam_size=config.beam, max_steps=12), []
    for line in translator.lines_to_answer(config.text):
        found = find(params, symbols.encode(line)[None], np.array([len(line)], np.int32))
        answers.append("".join(ISO.decode(found.tokens[0])))
        print(f"{line} -> {answers[-1]}", flush=True)
    return answers


if __name__ == "__main__":
    cli.main_guard(
        lambda: translator.command_line(
            sys.argv[1:], name=NAME, description=__doc__, config_type=Config, main=main, predict=predict
        ),
        prog=f"experiments.{NAME}",
    )
