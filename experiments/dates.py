"""Human dates read into ISO form: "July 20th 1969", "23 April, 1564", "۲۳ آوریل ۱۵۶۴" -> 1564-04-23.

    python -m experiments.dates                                   about a minute on two CPU cores; at least 99 % of
                                                                  unseen dates exactly right
    python -m experiments.dates predict --text "July 20th 1969"   asks the newest run; without --text, line by line

Dates of the years 1500 to 2100 in nine locales, in forms generated with the locale data of Babel; held-out days are
never trained on, in any form. The decoder attends to the characters: the map shows which it reads for which digit.
"""

import dataclasses

import numpy as np

from experiments.data.dates import ISO, DatePair, encode, load
from experiments.lib import experiment, frame, plots, report, search, translator
from experiments.lib.pairs import Symbols

NAME = "dates"
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


def main(config: Config) -> dict:
    """Trains, evaluates on held-out dates, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    folder = run.folder
    symbols, training, held_out, held_out_pairs = load(config.pairs, config.held_out, config.seed)
    symbols.save(folder / "source.json")
    model = translator.make_model(config, symbols.size, ISO.size)
    greedy, beam = make_searches(config, model)
    result = translator.train(model, training, folder, evaluate=search.make_evaluate(model, held_out, greedy))
    params = result.state.params
    found = beam(params, held_out)
    right = search.exact_match(found, held_out)
    right_greedy = search.exact_match(greedy(params, held_out), held_out)
    faults = search.attribution(search.make_scorer(model), params, held_out, found)

    shown = encode([DatePair(text, "") for text in SHOWN], symbols, held_out.sources.shape[1])
    answers = beam(params, shown)
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
        maps.append(f"{text} is {ISO.decode(answers.tokens[i])}:\n\n![attention](attention_{i}.png)")

    headline = {
        "exact_match": float(right.mean()),
        "exact_match_greedy": float(right_greedy.mean()),
        "updates": result.step,
    }
    wrong = [
        f"{held_out_pairs[i].human} is {held_out_pairs[i].iso}, answered {ISO.decode(found.tokens[i])}"
        for i in np.flatnonzero(~right)[:10]
    ]
    plots.run_losses(folder, title=f"Dates: {config.cell}, {config.attention} attention", y="loss (nats per symbol)")
    sections = {
        "Errors": f"Of {np.sum(~right)} errors the search is at fault for {float(faults.search_share):.0%}, the model "
        f"for {float(faults.model_share):.0%}.\n\n{report.quoted(chr(10).join(wrong) or 'none')}",
        "Loss": "![loss against updates](loss.png)",
        "Attention": "\n\n".join(maps),
    }
    return experiment.finish(run, title="Human dates to ISO form", headline=headline, sections=sections)


def make_searches(config: Config, model: translator.Translator):
    """Greedy decoding and beam search."""
    return tuple(
        search.make_search(model, beam_size=size, max_steps=12, weights=size > 1) for size in (1, max(2, config.beam))
    )


def predict(config: search.PredictConfig) -> list[str]:
    """Answers lines of the standard input, or --text, with the newest checkpoint of a run."""
    folder = report.find_run(config.out, NAME)
    symbols, trained = Symbols.load(folder / "source.json"), report.read_config(folder, Config)
    model = translator.make_model(trained, symbols.size, ISO.size)
    params = search.restore(model, folder)
    find, answers = search.make_search(model, beam_size=config.beam, max_steps=12), []
    for line in search.lines_to_answer(config.text):
        found = find(params, encode([DatePair(line, "")], symbols, len(line)))
        answers.append(ISO.decode(found.tokens[0]))
        print(f"{line} -> {answers[-1]}", flush=True)
    return answers


if __name__ == "__main__":
    frame.command_line(main, predict, smoke=SMOKE)
