"""Addition learned from strings: "535+61" -> "596", digit by digit, with attention over what is added.

    python -m experiments.addition                            about 3 minutes on two CPU cores; at least 99 % of unseen
                                                              pairs of up to three digits exactly right
    python -m experiments.addition --compare                  also without attention, and with a reversed source
    python -m experiments.addition predict --text "535+61"    asks the newest run; without --text, line by line

Held-out pairs are never seen in either order. The report also tells what becomes of numbers of four digits, longer than
any in training.
"""

import dataclasses
from pathlib import Path

import numpy as np

from experiments.lib import frame, plots, report, search, translator
from experiments.lib.intervals import wilson
from experiments.lib.pairs import Pairs, Symbols, pad_pairs

SYMBOLS = Symbols.of(["0123456789+"])


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a run."""

    digits: int = 3  # of each number, at most
    pairs: int = 200_000  # to train on
    held_out: int = 2000  # pairs held out
    compare: bool = False  # also train without attention, and with a reversed source
    steps: int = 7000  # updates


SMOKE = translator.SMOKE | {"pairs": 500, "held_out": 40}
BARE = {"attention": "none", "bidirectional": False}
VARIANTS = {"no attention": BARE, "no attention, reversed source": BARE | {"reverse": True}}


def split(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Draws numbers to add, `[N, 2]`: to train on, and held out, no pair of which is trained on in either order."""
    rng = np.random.default_rng(config.seed)
    count = 2 * (config.pairs + config.held_out)
    limits = 10 ** rng.integers(1, config.digits + 1, (count, 2))  # each number of digits is as common
    numbers = (rng.random((count, 2)) * limits).astype(np.int64)
    key = numbers.min(1) * 10**config.digits + numbers.max(1)  # the same for both orders
    _, first, times = np.unique(key, return_index=True, return_counts=True)
    once = np.sort(first[times == 1])[: config.held_out]  # drawn once, so that no other pair is the same
    rest = np.setdiff1d(np.arange(count), once)[: config.pairs]
    return numbers[rest], numbers[once]


def encode(numbers: np.ndarray, digits: int) -> Pairs:
    """Writes sums `[N, 2]` of numbers with at most so many digits as questions and answers."""
    questions = [SYMBOLS.encode(f"{a}+{b}") for a, b in numbers.tolist()]
    answers = [SYMBOLS.encode(str(a + b)) for a, b in numbers.tolist()]
    return pad_pairs(questions, answers, max_source=2 * digits + 1, max_target=digits + 2)


def learn(config: Config, folder: Path, name: str, training: Pairs, held_out: dict[str, Pairs]):
    """Trains a model: it, its `FitResult`, and answers by set (unseen, longer) and search (greedy, beam)."""
    model = translator.make_model(config, SYMBOLS.size, SYMBOLS.size)
    steps = config.digits + 4  # up to two digits more than in training
    greedy = search.make_search(model, beam_size=1, max_steps=steps)
    beam = search.make_search(model, beam_size=config.beam, max_steps=steps, weights=True)
    evaluate = search.make_evaluate(model, held_out["unseen"], greedy)
    result = translator.train(model, training, folder, name=name, evaluate=evaluate)
    ways = {"greedy": greedy, "beam": beam}.items()
    found = {(part, how): find(result.state.params, held_out[part]) for part in held_out for how, find in ways}
    return model, result, found


def main(config: Config) -> dict:
    """Trains, answers held-out pairs, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    numbers, unseen = split(config)
    more = config.digits + 1
    longer = np.random.default_rng(config.seed + 1).integers(10**config.digits, 10**more, (config.held_out // 4, 2))
    training = encode(numbers, config.digits)
    held_out = {"unseen": encode(unseen, more), "longer": encode(longer, more)}

    model, result, answers = learn(config, run.folder, "", training, held_out)
    answered = {f"{config.attention} attention": answers}
    for name, changes in VARIANTS.items() if config.compare else ():
        other, place = dataclasses.replace(config, **changes), name.replace(" ", "_").replace(",", "")
        answered[name] = learn(other, run.folder, place, training, held_out)[2]
    exact = {
        name: {key: wilson(search.exact_match(found, held_out[key[0]])) for key, found in answers.items()}
        for name, answers in answered.items()
    }

    pairs, found = held_out["unseen"], answers["unseen", "beam"]
    faults = search.attribution(search.make_scorer(model), result.state.params, pairs, found)
    written = [SYMBOLS.decode(tokens) for tokens in found.tokens]
    errors = [
        f"{SYMBOLS.decode(pairs.sources[i])} = {SYMBOLS.decode(pairs.targets[i])}, answered {written[i]}"
        for i in np.flatnonzero(~search.exact_match(found, pairs))
    ]
    plots.run_losses(run.folder, title="Addition from strings", y="loss (nats per symbol)")
    if found.weights is not None:
        row = int(pairs.source_lengths.argmax())
        answer = [*written[row], "end"][: found.lengths[row]]
        plots.attention_map(
            run.folder / "attention.png", found.weights[row], SYMBOLS.decode(pairs.sources[row]), answer
        )
    first, *_ = exact.values()
    headline = {
        "exact_match": first["unseen", "beam"].mean,
        "exact_match_greedy": first["unseen", "greedy"].mean,
        "exact_match_one_digit_more": first["longer", "beam"].mean,
        "updates": result.step,
    }
    return frame.finish(run, headline, exact=exact, errors=errors, faults=faults, attention=found.weights is not None)


def predict(config: search.PredictConfig) -> list[str]:
    """Answers lines of the standard input, or --text, with the newest checkpoint of a run."""
    folder = report.find_run(config.out, "addition")
    trained = report.read_config(folder, Config)
    model = translator.make_model(trained, SYMBOLS.size, SYMBOLS.size)
    find = search.restore(model, folder, beam_size=config.beam, max_steps=trained.digits + 4)

    def answer(line: str) -> str:
        if not set(line) <= set(SYMBOLS.symbols[4:]):
            raise ValueError(f"expected digits and a plus, such as 535+61, got {line!r}.")
        return SYMBOLS.decode(find(pad_pairs([SYMBOLS.encode(line)], [[]])).tokens[0])

    return search.answer_lines(config.text, answer, "=")


if __name__ == "__main__":
    frame.command_line(main, predict, smoke=SMOKE)
