"""Human dates read into ISO form: "July 20th 1969", "23 April, 1564", "۲۳ آوریل ۱۵۶۴" -> 1564-04-23.

    python -m experiments.dates                                   about a minute on two CPU cores; at least 99 % of
                                                                  unseen dates exactly right
    python -m experiments.dates predict --text "July 20th 1969"   asks the newest run; without --text, line by line

Held-out days are never trained on, in any form.
"""

import dataclasses

import numpy as np

from experiments.data.dates import ISO, DatePair, encode, load
from experiments.lib import frame, plots, report, search, translator
from experiments.lib.intervals import wilson
from experiments.lib.pairs import Symbols

SHOWN = "Sunday, July 20th 1969", "23 April, 1564", "jeudi 3 mars 1875", "20. Februar 2026", "۲۳ آوریل ۱۵۶۴"
STEPS = 12  # symbols of an answer: ten, the end, and one too many


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a run."""

    pairs: int = 100_000  # to train on
    held_out: int = 2000  # held-out days
    attention: str = "additive"  # or general, coverage, dot, scaled_dot, concat, location, local, monotonic, none
    hidden: int = 64  # units of a layer
    embedding: int = 32  # features of an embedded symbol
    batch: int = 64  # pairs of an update
    steps: int = 2500  # updates


SMOKE = translator.SMOKE | {"pairs": 300, "held_out": 40, "beam": 1}


def main(config: Config) -> dict:
    """Trains, evaluates on held-out dates, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    symbols, training, held_out, written = load(config.pairs, config.held_out, config.seed)
    symbols.save(run.folder / "source.json")
    model = translator.make_model(config, symbols.size, ISO.size)
    greedy = search.make_search(model, beam_size=1, max_steps=STEPS)
    beam = search.make_search(model, beam_size=config.beam, max_steps=STEPS, weights=True)
    result = translator.train(model, training, run.folder, evaluate=search.make_evaluate(model, held_out, greedy))
    params = result.state.params

    found = beam(params, held_out)
    right = search.exact_match(found, held_out)
    exact = {"greedy": wilson(search.exact_match(greedy(params, held_out), held_out)), "beam": wilson(right)}
    faults = search.attribution(search.make_scorer(model), params, held_out, found)
    errors = [(*written[i], ISO.decode(found.tokens[i])) for i in np.flatnonzero(~right)]

    texts = SHOWN[:2] if config.smoke else SHOWN
    answers = beam(params, encode([DatePair(text, "") for text in texts], symbols, held_out.sources.shape[1]))
    shown = {text: ISO.decode(tokens) for text, tokens in zip(texts, answers.tokens, strict=True)}
    for i, weights in enumerate(() if answers.weights is None else answers.weights):
        target = [*shown[texts[i]], "end"][: answers.lengths[i]]
        plots.attention_map(run.folder / f"attention_{i}.png", weights, texts[i], target)
    plots.run_losses(run.folder, title="Dates to ISO form", y="loss (nats per symbol)")
    headline = {"exact_match": exact["beam"].mean, "exact_match_greedy": exact["greedy"].mean, "updates": result.step}
    values = {"errors": errors, "faults": faults, "shown": shown, "attention": answers.weights is not None}
    return frame.finish(run, headline, exact=exact, **values)


def predict(config: search.PredictConfig) -> list[str]:
    """Answers lines of the standard input, or --text, with the newest checkpoint of a run."""
    folder = report.find_run(config.out, "dates")
    symbols = Symbols.load(folder / "source.json")
    model = translator.make_model(report.read_config(folder, Config), symbols.size, ISO.size)
    find = search.restore(model, folder, beam_size=config.beam, max_steps=STEPS)

    def answer(line: str) -> str:
        return ISO.decode(find(encode([DatePair(line, "")], symbols, len(line))).tokens[0])

    return search.answer_lines(config.text, answer, "->")


if __name__ == "__main__":
    frame.command_line(main, predict, smoke=SMOKE)
