"""The cat which already ate ... was full: which network knows the number of the subject when its verb comes?

    python -m experiments.agreement                 every cell: five minutes on two CPU cores; 50 words after the
                                                    subject LSTM and GRU at 100 %, the simple RNN at chance
    python -m experiments.agreement --cell lstm     one cell, under a minute

A small grammar writes sentences with a chosen number of words between the subject and its verb, and nouns of the other
number among them, the attractors:

    the cat   which already ate the mice near the houses and which the dogs which the man feeds chase   was
    subject   ----------------- relative clauses, nested, 17 words, three attractors ----------------   verb

A network reads up to the verb and says P(were) = 1 - P(was) = softmax(h_t W_y + b_y). No word between tells the number
of the subject: what it did is in the past tense, what has a number agrees with others. That is the number prediction of
Linzen, Dupoux & Goldberg 2016, "Assessing the ability of LSTMs to learn syntax-sensitive dependencies".

What a network can hold is one question, what it can learn to hold another: the gradient has to get back to the subject.
So there are three lessons, of as many sentences and updates each, and one test:

    far            the number of the verb, in sentences with 20 to 60 words between: no short ones lead the way
    near and far   the same with 0 to 60 words
    every verb     0 to 60 words, and the verbs within the clauses count too: numbers have to be stacked

All cells read the same batches with every learning rate, from every one of the seeds' weights, in one compiled program
(vmap); the rate is chosen on validation data. All have as many units, so gates bring more weights. Cells with gates
begin with chrono biases (Tallec & Ollivier 2018) for lags up to the longest distance; the report shows what becomes of
them without. A simple RNN has no such bias, its recurrent weights begin orthogonal.
"""

import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from experiments.lib import experiment, intervals, plots, readout, report, sweep
from experiments.lib.cells import CELLS, GATES, check_cell_name, make_cell
from experiments.lib.grammar import NUMBER, OPENING, TO_BE, WORDS, Encoded, Sentence, encode, parse, write
from experiments.lib.training import Options

NAME = "agreement"
FAR, NEAR, EVERY, PLAIN = "far", "near and far", "every verb", "far, no chrono"
LESSONS = (FAR, NEAR, EVERY)
COMPARED = ("rnn", "gru", "lstm")  # in all lessons; the other cells in the first
AT = 50  # words between, of the headline


@dataclasses.dataclass(frozen=True)
class Config(Options):
    """Options of a run."""

    cell: str = "all"  # or one of rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, cifg_lstm, ...
    hidden: int = 32  # units
    embedding: int = 16  # features of a word
    chrono: bool = True  # whether gates begin with biases for long lags
    nearest: int = 20  # words between subject and verb in the far lesson, at least
    longest: int = 60  # words between subject and verb in all lessons, at most
    tested: tuple[int, ...] = (5, 10, 20, 30, 40, 50, 60, 80, 100)  # words between in the test
    sentences: int = 20000  # of a lesson
    validation: int = 500  # sentences of each lesson that choose the learning rate
    held_out: int = 1000  # sentences of each distance in the test
    rates: tuple[float, ...] = (0.001, 0.003, 0.01)  # learning rates tried
    learning_rate: float = 1.0  # factor of all of them
    seeds: int = 2  # first weights of every cell
    steps: int = 1000
    batch: int = 32
    steps_per_call: int = 20
    evaluate_every: int = 20  # updates that a point of the learning curves is the mean of


SMOKE = {"hidden": 8, "embedding": 5, "sentences": 200, "validation": 20, "held_out": 40}
SMOKE |= {"tested": (10, 50), "rates": (0.003, 0.01), "steps": 20, "steps_per_call": 10, "evaluate_every": 5}


class Corpus(NamedTuple):
    """Everything that is read.

    Attributes:
      test: N sentences, as many of each distance.
      training: by lesson.
      validation: by lesson.
    """

    test: list[Sentence]
    training: dict[str, Encoded]
    validation: dict[str, Encoded]


def generate(config: Config) -> Corpus:
    """Test sentences first, then validation sentences, and training sentences that are none of them."""
    rng = random.Random(config.seed)
    test = [s for distance in config.tested for s in write(config.held_out, [distance], rng, set())]
    known = {sentence.words for sentence in test}
    training, validation = {}, {}
    length = config.longest + OPENING
    for nearest, lessons in ((config.nearest, (FAR,)), (0, (NEAR, EVERY))):
        distances = range(nearest, config.longest + 1)
        chosen_on = write(config.validation, distances, rng, known)
        trained_on = write(config.sentences, distances, rng, known | {sentence.words for sentence in chosen_on})
        for lesson in lessons:
            training[lesson] = encode(trained_on, length, every_verb=lesson == EVERY)
            validation[lesson] = encode(chosen_on, length, every_verb=lesson == EVERY)
    training[PLAIN], validation[PLAIN] = training[FAR], validation[FAR]
    return Corpus(test, training, validation)


# ---- the model and its training ------------------------------------------------------------------------------


class Params(NamedTuple):
    """Parameters.

    Attributes:
      embedding: of the words `[V, E]`.
      reader: of the cell and of its output, singular and plural.
    """

    embedding: jax.Array
    reader: readout.Params


def make_model(config: Config, name: str):
    """`key -> params`, and `(params, words [T, B]) -> logits [T, B, 2]` of the number of the next verb."""
    lag = config.longest if config.chrono and name in GATES else None
    cell = make_cell(name, config.embedding, config.hidden, max_lag=lag)
    init_reader, read = readout.make_readout(cell, config.hidden, 2)

    def init(key):
        key_embedding, key_reader = jax.random.split(key)
        embedding = jax.random.normal(key_embedding, (len(WORDS), config.embedding)) / config.embedding**0.5
        return Params(embedding, init_reader(key_reader))

    def apply(params, words):
        # A product with one-hot rows: the gradient of a look-up is slower on a CPU.
        return read(params.reader, jnp.matmul(jax.nn.one_hot(words, len(WORDS)), params.embedding))

    return init, apply


class Learner(NamedTuple):
    """The compiled functions of one cell; a run is a learning rate with a seed, R of them side by side.

    Attributes:
      start: `() -> states` of R runs.
      update: `(states, batch Encoded [T, B]) -> (states, metrics [R])`, an update of each run.
      forward: `(params of one run, words [T, B]) -> logits [T, B, 2]`.
    """

    start: Callable[[], rnnjax.training.TrainState]
    update: Callable[..., tuple[rnnjax.training.TrainState, jax.Array]]
    forward: Callable[..., jax.Array]


def number_loss(logits: jax.Array, numbers: jax.Array) -> rnnjax.losses.SumCount:
    """Cross-entropy, in nats a verb, where there is one."""
    return rnnjax.losses.get_loss("cross_entropy")(logits, jnp.maximum(numbers, 0), where=numbers >= 0)


def make_learner(config: Config, name: str) -> Learner:
    """The `Learner` of a cell."""
    init, apply = make_model(config, name)

    def loss_fn(params, batch, *, key):
        del key
        return number_loss(apply(params, batch.words), batch.numbers)

    return Learner(*sweep.over_rates(config, init, loss_fn, config.rates, config.seeds), jax.jit(apply))


class Learned(NamedTuple):
    """What a cell made of a lesson, with the learning rate that validation chose.

    Attributes:
      rate: that.
      validation: validation loss for each learning rate, mean over the seeds, in nats a verb.
      losses: training loss, mean over the seeds and over `evaluate_every` updates, in nats a verb.
      plural: P(were) for each test sentence `[S, N]`, a row for each seed.
      examples: P(were) for each of the examples, mean over the seeds.
    """

    rate: float
    validation: list[float]
    losses: np.ndarray
    plural: np.ndarray
    examples: np.ndarray


def learn(config: Config, run: experiment.Run, corpus: Corpus, learner: Learner, cell: str, lesson: str) -> Learned:
    """Trains every run, chooses the rate on validation data, and only then reads the test."""
    lesson_of = corpus.training[lesson]

    def take(rows):
        return Encoded(*(array[:, rows] for array in lesson_of))  # [T, B]

    drawn, folder = sweep.batches(config, lesson_of.words.shape[1], take), run.folder / f"{cell}-{slug(lesson)}"
    trained, losses = sweep.train(config, learner.update, learner.start(), drawn, folder)
    params = [jax.tree.map(lambda leaf, r=r: leaf[r], trained) for r in range(losses.shape[1])]

    seen = corpus.validation[lesson]
    nats = [float(number_loss(learner.forward(p, seen.words), seen.numbers).mean) for p in params]
    best, by_rate = sweep.choose_rate(nats, config.rates, cell)
    rows = slice(best * config.seeds, (best + 1) * config.seeds)

    whole = config.steps // config.evaluate_every * config.evaluate_every
    chosen = losses[:whole, rows].reshape(-1, config.evaluate_every * config.seeds).mean(axis=1)
    plural = np.stack([predict(config, learner, p, corpus.test + EXAMPLES) for p in params[rows]])
    count = len(corpus.test)
    return Learned(config.rates[best], by_rate.tolist(), chosen, plural[:, :count], plural[:, count:].mean(axis=0))


def slug(lesson: str) -> str:
    """A lesson as a part of names."""
    return lesson.replace(",", "").replace(" ", "_")


def predict(config: Config, learner: Learner, params: Params, sentences: Sequence[Sentence]) -> np.ndarray:
    """P(were) at the main verb of each sentence `[N]`."""
    at_once, length, found = 500, max(config.tested) + OPENING, []
    for begin in range(0, len(sentences), at_once):
        some = sentences[begin : begin + at_once]
        padded = [*some, *[some[0]] * (at_once - len(some))]  # one shape, compiled once
        logits = learner.forward(params, encode(padded, length, every_verb=False).words)
        last = np.array([len(sentence.words) - 1 for sentence in some])
        found.append(np.asarray(jax.nn.softmax(logits, axis=-1))[last, np.arange(len(some)), 1])
    return np.concatenate(found)


# ---- what came of it -----------------------------------------------------------------------------------------


ATE = "which already ate"
MICE = "which already ate the mice near the houses and which the dogs which the old man feeds chase"
LONG = MICE + " and which the birds behind the trees hear and which the children which the girls know like"
EXAMPLES = [parse(f"the {cat} {rest}") for rest in (ATE, MICE, LONG) for cat in ("cat", "cats")]


def baselines(sentences: Sequence[Sentence]) -> dict[str, float]:
    """Accuracy of simple rules: the number of the last noun, and that of most nouns of the sentence but the subject."""
    truth = np.array([sentence.verbs[-1].plural for sentence in sentences])
    last, most = [], []
    for sentence in sentences:
        subject = sentence.verbs[-1].position - sentence.verbs[-1].distance - 1
        last.append([NUMBER[word] for word in sentence.words if word in NUMBER][-1])
        others = [NUMBER[word] for i, word in enumerate(sentence.words) if word in NUMBER and i != subject]
        most.append(np.mean(others) > 0.5 if others else 0)
    return {"the last noun": float(np.mean(last == truth)), "most other nouns": float(np.mean(most == truth))}


class Scores(NamedTuple):
    """Accuracies of what was learned.

    Attributes:
      distances: interval by words between.
      attractors: interval by "0-1", "2-3", ... attractors, in sentences with about `AT` words between.
      seeds: accuracy of each seed `AT` words after the subject.
    """

    distances: dict[int, intervals.Interval]
    attractors: dict[str, intervals.Interval]
    seeds: list[float]


def score(config: Config, corpus: Corpus, learned: Learned) -> Scores:
    """Accuracies on the test."""
    verbs = [sentence.verbs[-1] for sentence in corpus.test]
    distance, attractors = (np.array([getattr(verb, name) for verb in verbs]) for name in ("distance", "attractors"))
    right = (learned.plural > 0.5) == np.array([verb.plural for verb in verbs], bool)[None]
    about = np.abs(distance - AT) <= 10
    bins = {f"{low}-{low + 1}": about & (attractors // 2 == low // 2) for low in range(0, 14, 2)}
    return Scores(
        {d: intervals.wilson(right[:, distance == d]) for d in config.tested},
        {name: intervals.wilson(right[:, rows]) for name, rows in bins.items() if rows.any()},
        right[:, distance == AT].mean(axis=1).tolist(),
    )


def main(config: Config) -> dict:
    """Trains the cells in their lessons, writes the report, and returns the headline numbers."""
    check(config)
    run = experiment.begin(NAME, config, SMOKE)
    config = run.config
    corpus = generate(config)
    learned: dict[tuple[str, str], Learned] = {}
    every = COMPARED[:1] if config.smoke else tuple(CELLS)
    for cell in every if config.cell == "all" else (config.cell,):
        learner = make_learner(config, cell)
        for lesson in LESSONS if config.cell == cell or cell in COMPARED else (FAR,):
            learned[lesson, cell] = learn(config, run, corpus, learner, cell, lesson)
        if (NEAR, cell) in learned and cell in GATES and config.chrono:
            learner = make_learner(dataclasses.replace(config, chrono=False), cell)
            learned[PLAIN, cell] = learn(config, run, corpus, learner, cell, PLAIN)
    scores = {key: score(config, corpus, value) for key, value in learned.items()}

    draw_cells(run, scores)
    draw_lessons(run, scores)
    draw_losses(run, {cell: found.losses for (lesson, cell), found in learned.items() if lesson == FAR})
    at = {key: found.distances[AT].mean for key, found in scores.items()}
    headline = {f"accuracy_{cell}": value for (lesson, cell), value in at.items() if lesson == FAR}
    headline |= {f"accuracy_{cell}_{slug(lesson)}": value for (lesson, cell), value in at.items() if lesson != FAR}
    simple = baselines([sentence for sentence in corpus.test if sentence.verbs[-1].distance == AT])
    headline["baseline_accuracy"] = max(0.5, *simple.values())
    sections = {
        "What was found": findings(config, scores, simple),
        "Accuracy": accuracy_tables(learned, scores) + "\n\n![accuracy of every cell](cells.png)"
        "\n\n![three lessons](lessons.png)\n\n![training loss](loss.png)",
        "Examples": examples(learned),
        "Learning rates": "Validation loss in nats a verb, mean over the seeds; 0.693 is a guess.\n\n"
        + report.grid(
            ["lesson", "cell", *config.rates],
            [[*key, *(f"{x:.4f}" for x in found.validation)] for key, found in learned.items()],
        ),
    }
    title = "Was or were: agreement over a distance"
    return experiment.finish(run, title=title, headline=headline, sections=sections)


def check(config: Config) -> None:
    """Raises for options that cannot be."""
    if config.cell != "all":
        check_cell_name(config.cell)
    if AT not in config.tested:
        raise ValueError(f"expected --tested to have {AT}, the distance of the headline, got {config.tested}.")
    if not 0 <= config.nearest <= config.longest:
        raise ValueError(f"expected --nearest from 0 to --longest {config.longest}, got {config.nearest}.")
    if min(config.tested) < 5:
        raise ValueError(f"expected --tested from 5 on, as shorter sentences are too few, got {min(config.tested)}.")
    if not config.rates or config.seeds < 1:
        raise ValueError("expected at least one of --rates and --seeds of at least 1.")


def percent(found: intervals.Interval) -> str:
    """A share with its interval."""
    return f"{found.mean:.1%} ({found.low:.1%} to {found.high:.1%})"


def findings(config: Config, scores: dict[tuple[str, str], Scores], simple: dict[str, float]) -> str:
    """What the numbers say, in words."""
    at = {key: found.distances[AT] for key, found in scores.items()}
    groups: dict[str, list[str]] = {"at least 99 %": [], "between": [], "at chance, as 50 % lies in the interval": []}
    for (lesson, cell), found in at.items():
        if lesson == FAR:
            good, between, chance = groups.values()
            group = good if found.mean >= 0.99 else chance if found.low <= 0.5 <= found.high else between
            group.append(f"{cell} {percent(found)}")
    lines = [
        f"Trained on far sentences only ({config.nearest} to {config.longest} words between), and tested with {AT} "
        f"words between ({config.held_out} sentences, seed {config.seed}, mean of {config.seeds} first weights):",
        "",
        *(f"- {name}: {', '.join(cells)}" for name, cells in groups.items() if cells),
        "",
    ]
    for cell in dict.fromkeys(cell for lesson, cell in at if lesson == NEAR):
        far, near, every = (at[lesson, cell] for lesson in LESSONS)
        text = f"{cell}: {percent(far)} after far sentences only, {percent(near)} after near and far ones, "
        text += f"{percent(every)} where every verb counts."
        if far.high < near.low:
            text += " It can hold the number, but does not learn to where no near sentences lead the way."
        if every.high < near.low:
            text += " With numbers to be stacked it holds the main one less well."
        if (PLAIN, cell) in at:
            plain = at[PLAIN, cell]
            text += f" After far sentences only, without chrono biases: {percent(plain)}."
            text += " It is the biases that make it learn." if plain.high < far.low else ""
        lines += [text, ""]
    rules = ", ".join(f"{name} {value:.1%}" for name, value in simple.items())
    lines.append(f"Baselines on the same sentences: a guess 50.0%, {rules}.")
    return "\n".join(lines)


def accuracy_tables(learned: dict[tuple[str, str], Learned], scores: dict[tuple[str, str], Scores]) -> str:
    """By distance and by attractors, a row for each lesson and cell."""
    first = next(iter(scores.values()))
    rows = [
        [
            *key,
            learned[key].rate,
            *(f"{x.mean:.1%}" for x in found.distances.values()),
            ", ".join(f"{x:.1%}" for x in found.seeds),
        ]
        for key, found in scores.items()
    ]
    by_distance = report.grid(["lesson", "cell", "rate", *first.distances, f"{AT}, each seed"], rows)
    header = ["lesson", "cell", *first.attractors]
    rows = [[*key, *(percent(x) for x in found.attractors.values())] for key, found in scores.items()]
    return (
        f"By words between subject and verb:\n\n{by_distance}\n\nBy attractors, {AT - 10} to {AT + 10} words between, "
        f"with 95 % intervals (Wilson):\n\n{report.grid(header, rows)}"
    )


def examples(learned: dict[tuple[str, str], Learned]) -> str:
    """P(was) or P(were), whichever is right, for sentences written by hand."""
    keys = [key for key in learned if key[1] in COMPARED or len(learned) <= len(LESSONS)]
    rows = []
    for i, sentence in enumerate(EXAMPLES):
        verb = sentence.verbs[-1]
        right = [learned[key].examples[i] if verb.plural else 1 - learned[key].examples[i] for key in keys]
        text = f"{' '.join(sentence.words)} **{TO_BE[verb.plural]}**"
        rows.append([text, verb.distance, verb.attractors, *(f"{x:.3f}" for x in right)])
    header = ["sentence", "words between", "attractors", *(f"{cell}, {lesson}" for lesson, cell in keys)]
    return "Probability of the right verb, mean over the seeds:\n\n" + report.grid(header, rows)


STYLES = dict(
    zip(CELLS, [(plots.COLOURS[i % 7], "os^Dv<>PX*"[i], "-" if i < 7 else "--") for i in range(10)], strict=True)
)


def draw_line(axes: plots.plt.Axes, cell: str, values: dict[Any, intervals.Interval], at: Sequence[float]) -> None:
    """Accuracies of a cell with their intervals."""
    colour, marker, line = STYLES[cell]
    means, low, high = (100 * np.array(column) for column in zip(*values.values(), strict=True))
    reach = np.maximum([means - low, high - means], 0)  # rounding, where all are right
    style = {"linestyle": line, "marker": marker, "markersize": 6, "color": colour}
    axes.errorbar(at, means, reach, label=cell, capsize=3, elinewidth=1.2, **style)


def draw(axes: Sequence[plots.plt.Axes], scores: dict[str, Scores]) -> None:
    """Accuracy against distance and against attractors, on a pair of axes, a line for each cell."""
    names = list(next(iter(scores.values())).attractors)
    for cell, found in scores.items():
        draw_line(axes[0], cell, found.distances, list(found.distances))
        draw_line(axes[1], cell, found.attractors, range(len(names)))
    for axis in axes:
        axis.axhline(50, color="0.4", linestyle=":", label="chance")
        axis.set(ylim=(30, 103))
    axes[0].set(xlabel="words between subject and verb", ylabel="right verbs (%)")
    axes[1].set(xlabel=f"attractors, {AT - 10} to {AT + 10} words between", ylabel="right verbs (%)")
    axes[1].set_xticks(range(len(names)), names)


def draw_cells(run: experiment.Run, scores: dict[tuple[str, str], Scores]) -> None:
    """Every cell after the far lesson."""
    title = f"Trained on far sentences only, {run.config.nearest} to {run.config.longest} words between"
    path = run.folder / "cells.png"
    with plots.panels(path, columns=2, size=(13.0, 4.8), title=title, share_y=True) as axes:
        draw(axes[0], {cell: found for (lesson, cell), found in scores.items() if lesson == FAR})
        axes[0, 0].axvspan(run.config.nearest, run.config.longest, color="0.94", zorder=0)
        middle, above_x = (run.config.nearest + run.config.longest) / 2, axes[0, 0].get_xaxis_transform()
        axes[0, 0].text(middle, 0.03, "trained on", transform=above_x, ha="center", color="0.35")
        axes[0, 1].set(ylabel="")
        plots.legend_beside(axes[0, 1])


def draw_lessons(run: experiment.Run, scores: dict[tuple[str, str], Scores]) -> None:
    """The cells that had all lessons, a column for each."""
    nearest = {FAR: run.config.nearest, NEAR: 0, EVERY: 0}
    with plots.panels(run.folder / "lessons.png", rows=2, columns=3, size=(13.0, 7.4), share_y=True) as axes:
        for column, lesson in enumerate(LESSONS):
            chosen = {cell: found for (of, cell), found in scores.items() if of == lesson and (NEAR, cell) in scores}
            draw(axes[:, column], chosen)
            axes[0, column].set(title=f"{lesson}: {nearest[lesson]} to {run.config.longest} words")
        for axis in axes[:, 1:].flat:
            axis.set(ylabel="")
        plots.legend_beside(axes[0, 2])


def draw_losses(run: experiment.Run, losses: dict[str, np.ndarray]) -> None:
    """Training loss of the far lesson, a line for each cell."""
    title = "Learning from far sentences only"
    with plots.figure(
        run.folder / "loss.png", title=title, x="update", y="loss (nats a verb)", size=(8.6, 4.6)
    ) as axes:
        axes.axhline(np.log(2), color="0.4", linestyle=":", label="chance")
        for cell, curve in losses.items():
            colour, marker, line = STYLES[cell]
            at = run.config.evaluate_every * (np.arange(len(curve)) + 1)
            every = max(1, len(curve) // 8)
            axes.plot(at, curve, line, color=colour, marker=marker, markevery=every, markersize=6, label=cell)
        axes.set_ylim(0, 1)
        plots.legend_beside(axes)


if __name__ == "__main__":
    experiment.command_line(NAME, __doc__, Config, main)
