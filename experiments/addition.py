"""Addition learned from strings: "535+61" -> "596", digit by digit, with attention over what is added.

    python -m experiments.addition                            about 3 minutes on two CPU cores; at least 99 % of unseen
                                                              pairs of up to three digits exactly right
    python -m experiments.addition --compare                  also without attention, and with a reversed source
    python -m experiments.addition predict --text "535+61"    asks the newest run; without --text, line by line

Training pairs have up to three digits; held-out pairs are never seen in either order. The report says what becomes of
sums of four digits, longer than any that was trained on.
"""

import dataclasses
import sys
import time
from pathlib import Path

import numpy as np

from experiments.lib import cli, plots, report, translator
from experiments.lib.pairs import Pairs, Symbols, encode_pairs

NAME = "addition"
SYMBOLS = Symbols.of(["0123456789+"])


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a training run."""

    digits: int = 3  # of each number, at most
    pairs: int = 200_000  # to train on
    held_out: int = 2000  # pairs held out
    compare: bool = False  # also train without attention, and with a reversed source
    attention: str = "general"
    steps: int = 7000
    beam: int = 5


SMOKE = translator.SMOKE | {"pairs": 500, "held_out": 40}
VARIANTS = {
    "no attention": {"attention": "none", "bidirectional": False},
    "no attention, reversed source": {"attention": "none", "bidirectional": False, "reverse": True},
}


def split(config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Numbers to add, `[N, 2]`: to train on, and held out, no pair of which is trained on in either order.

    A number has 1 to `digits` digits with equal probability, so that short ones are common.
    """
    rng = np.random.default_rng(config.seed)
    count = 2 * (config.pairs + config.held_out)
    limits = 10 ** rng.integers(1, config.digits + 1, (count, 2))
    numbers = (rng.random((count, 2)) * limits).astype(np.int64)
    low, high = numbers.min(1), numbers.max(1)
    key = low * 10**config.digits + high  # the same for both orders
    _, first, times = np.unique(key, return_index=True, return_counts=True)
    once = np.sort(first[times == 1])[: config.held_out]  # drawn once: nothing else of its kind is left to train on
    rest = np.setdiff1d(np.arange(count), once)[: config.pairs]
    return numbers[rest], numbers[once]


def encode(numbers: np.ndarray, digits: int) -> Pairs:
    """Pairs of ids of sums `[N, 2]` of numbers with at most so many digits."""
    questions = [f"{a}+{b}" for a, b in numbers.tolist()]
    answers = [str(a + b) for a, b in numbers.tolist()]
    return encode_pairs(
        questions, answers, SYMBOLS.encode, SYMBOLS.encode, max_source=2 * digits + 1, max_target=digits + 2
    )


def run(config: Config, folder: Path, training: Pairs, held_out: dict[str, Pairs]):
    """Trains one variant; its model, how training ended, its searches, and exact matches by name and search."""
    model = translator.make_model(config, SYMBOLS.size, SYMBOLS.size)
    searches = make_searches(config, model)
    evaluate = translator.make_evaluate(model, held_out["unseen"], searches["greedy"])
    result = translator.train(config, model, training, folder, evaluate)
    measures = {
        (name, how): float(translator.exact_match(translator.answer(find, result.state.params, pairs), pairs).mean())
        for name, pairs in held_out.items()
        for how, find in searches.items()
    }
    return model, result, searches, measures


def make_searches(config: Config, model: translator.Translator) -> dict:
    """Greedy decoding and beam search, for sums with up to two digits more than were trained on."""
    steps = config.digits + 4
    return {
        "greedy": translator.make_search(model, beam_size=1, max_steps=steps),
        "beam": translator.make_search(model, beam_size=config.beam, max_steps=steps, weights=True),
    }


def main(config: Config) -> dict:
    """Trains, evaluates on held-out pairs, writes the report, and returns the headline numbers."""
    began = time.perf_counter()
    if config.smoke and not config.resume:
        config = dataclasses.replace(config, **SMOKE)
    train_numbers, unseen = split(config)
    more = config.digits + 1
    longer = np.random.default_rng(config.seed + 1).integers(10**config.digits, 10**more, (config.held_out // 4, 2))
    training = encode(train_numbers, config.digits)
    held_out = {"unseen": encode(unseen, more), "longer": encode(longer, more)}
    folder = translator.open_run(config, NAME, SYMBOLS, SYMBOLS)
    model, result, searches, measures = run(config, folder, training, held_out)
    params = result.state.params
    found = translator.answer(searches["beam"], params, held_out["unseen"])
    faults = translator.attribution(translator.make_scorer(model), params, held_out["unseen"], found)
    variants = {f"{config.attention} attention": measures}
    if config.compare:
        for name, changes in VARIANTS.items():
            other = dataclasses.replace(config, **changes, resume=False)
            variants[name] = run(other, folder / name.replace(" ", "_"), training, held_out)[3]

    seconds = time.perf_counter() - began
    headline = {
        "exact_match": round(measures["unseen", "beam"], 4),
        "exact_match_greedy": round(measures["unseen", "greedy"], 4),
        "exact_match_one_digit_more": round(measures["longer", "beam"], 4),
        "updates": result.step,
        "out": str(folder),
    }
    title = f"Addition of up to {config.digits} digits: {config.cell}, {config.attention}"
    plots.run_losses(folder, title=title, y="loss (nats per symbol)")
    sections = {
        "Result": report.table({**headline, "seconds": round(seconds, 1)}),
        "Exact matches": report.grid(
            ["", "unseen, greedy", f"unseen, beam of {config.beam}", "one digit more, greedy", "one digit more, beam"],
            [[name, *(f"{value:.2%}" for value in m.values())] for name, m in variants.items()],
        )
        + f"\n\nTraining had numbers of up to {config.digits} digits; one digit more: both of {more} digits.",
        "Errors": errors_text(held_out["unseen"], found, faults),
        "Loss": "![loss against updates](loss.png)",
    }
    if found.weights is not None:
        row = int(held_out["unseen"].source_lengths.argmax())
        question = text_of(held_out["unseen"].sources[row])
        plots.attention_map(
            folder / "attention.png",
            found.weights[row, : found.lengths[row], : len(question)],
            list(question),
            [*text_of(found.tokens[row]), "end"],
            title="Where the decoder looks",
        )
        sections["Attention"] = "![weights of each digit written over the characters read](attention.png)"
    report.write_report(folder, "Addition from strings", sections | {"Options": report.table(cli.as_json(config))})
    print(f"\n{headline['exact_match']:.2%} of unseen pairs exactly right.")
    cli.result_line(NAME, config.seed, seconds, **headline)
    return headline


def errors_text(pairs: Pairs, found: translator.Decoded, faults) -> str:
    """Who is at fault, and the first wrong answers."""
    wrong = np.flatnonzero(np.asarray(faults.search | faults.model))
    lines = [
        f"{text_of(pairs.sources[i])} = {text_of(pairs.targets[i])}, answered {text_of(found.tokens[i])}"
        for i in wrong[:10]
    ]
    shares = f"Of {len(wrong)} errors the search is at fault for {float(faults.search_share):.0%}, the model for "
    return shares + f"{float(faults.model_share):.0%}." + ("\n\n" + report.quoted("\n".join(lines)) if lines else "")


def text_of(ids: np.ndarray) -> str:
    """Ids as a string."""
    return "".join(SYMBOLS.decode(ids))


def predict(config: translator.PredictConfig) -> list[str]:
    """Answers from the newest checkpoint of a run."""
    folder = report.last_run_folder(config.out, NAME)
    trained = report.read_config(folder, Config)
    model, params = translator.restore(trained, folder, SYMBOLS, SYMBOLS)
    find = translator.make_search(model, beam_size=config.beam, max_steps=trained.digits + 4)
    answers = []
    for line in translator.lines_to_answer(config.text):
        if not set(line) <= set(SYMBOLS.symbols[4:]):
            raise ValueError(f"expected digits and a plus, such as 535+61, got {line!r}.")
        found = find(params, SYMBOLS.encode(line)[None], np.array([len(line)], np.int32))
        answers.append(text_of(found.tokens[0]))
        print(f"{line} = {answers[-1]}", flush=True)
    return answers


if __name__ == "__main__":
    cli.main_guard(
        lambda: translator.command_line(
            sys.argv[1:], name=NAME, description=__doc__, config_type=Config, main=main, predict=predict
        ),
        prog=f"experiments.{NAME}",
    )
