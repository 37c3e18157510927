"""French to English: an encoder that reads both ways, a decoder with attention, and beam search.

    python -m experiments.translation                                      about 15 minutes on two CPU cores; BLEU of at
                                                                           least 30 on held-out short pairs
    python -m experiments.translation predict --text "Où est la gare ?"    asks the newest run, or line by line

No French and no English sentence is both trained on and held out.
"""

import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from experiments.data import fra_eng
from experiments.data.fra_eng import Translation
from experiments.lib import frame, plots, report, search, translator
from experiments.lib.bleu import bleu
from experiments.lib.intervals import wilson
from experiments.lib.pairs import BOS, EOS, PAD, UNK, Pairs, pad_pairs

LONGEST = 40  # pieces of a held-out sentence
WIDTHS = (1, 2, 4, 8, 16)  # of the beam
SHOWN = (
    "Jane visite l'Afrique en septembre.",
    "Où est la gare ?",
    "Je ne sais pas quoi dire.",
    "Elle a deux chats et un chien.",
    "Nous avons besoin de ton aide.",
)


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a run."""

    data: str = "tatoeba"  # tatoeba (the file of 2017), generated, or the path of another zip file of that kind
    max_words: int = 10  # of a sentence, marks not counted
    max_pieces: int = 14  # of a sentence to train on; longer ones are left out
    source_pieces: int = 6000  # size of the French vocabulary
    target_pieces: int = 5000  # size of the English vocabulary
    held_out: float = 0.02  # fraction of the pairs to choose options by, and as many again to report on
    attention: str = "additive"  # or general, coverage, dot, scaled_dot, concat, location, local, monotonic, none
    cell: str = "gru"  # of encoder and decoder: rnn, irnn, gru, simple_gru, mgu, lstm, layer_norm_lstm, ...
    hidden: int = 256  # units of a layer
    embedding: int = 128  # features of an embedded piece
    dropout: float = 0.1  # of embeddings, and before the output
    label_smoothing: float = 0.05  # probability that the labels give to the whole vocabulary
    batch: int = 64  # pairs of an update
    steps: int = 5000  # updates
    warmup: int = 200  # updates until the peak of the learning rate
    learning_rate: float = 0.002  # at its peak
    weight_decay: float = 0.01  # of adamw
    beam: int = 4  # hypotheses that the search keeps
    length_penalty: float = 0.6  # exponent of the GNMT length penalty
    evaluate_every: int = 1000  # updates between evaluations on held-out data
    checkpoint_every: int = 1000  # updates between checkpoints


SMOKE = translator.SMOKE | {"data": "generated", "source_pieces": 130, "target_pieces": 130, "held_out": 0.1}


def load(config: Config) -> list[list[Translation]]:
    """Short pairs to train on, to choose by, and to report on: no sentence of one part is in another."""
    tokens = {pair: tuple(map(fra_eng.words, pair)) for pair in dict.fromkeys(fra_eng.load(config.data))}
    counts = {pair: [sum(any(map(str.isalnum, t)) for t in side) for side in both] for pair, both in tokens.items()}
    short = [pair for pair, count in counts.items() if max(count) <= config.max_words]
    keys = [[" ".join(tokens[pair][side]) for pair in short] for side in (0, 1)]
    fractions = 1 - 2 * config.held_out, config.held_out, config.held_out
    rng = np.random.default_rng(config.seed)  # the file is sorted by length
    parts = [[short[i] for i in rng.permutation(p)] for p in fra_eng.split_by_source(*keys, fractions, config.seed)]
    if config.smoke:
        parts = [parts[0][:: max(1, len(parts[0]) // 500)], parts[1][:40], parts[2][:40]]
    return parts


def learn_pieces(sentences: Iterable[str], size: int, path: Path) -> SentencePieceProcessor:
    """Learns a vocabulary of so many pieces of words from training sentences, and writes it to a file."""
    model, special = io.BytesIO(), {"pad_id": PAD, "bos_id": BOS, "eos_id": EOS, "unk_id": UNK}
    options = {"vocab_size": size, "model_type": "bpe", "character_coverage": 1.0, "minloglevel": 2, **special}
    SentencePieceTrainer.train(sentence_iterator=iter(sentences), model_writer=model, **options)
    path.write_bytes(model.getvalue())
    return SentencePieceProcessor(model_proto=model.getvalue())


def encode(pairs: list[Translation], source, target, limit: int) -> tuple[list[Translation], Pairs]:
    """Pairs that have at most so many pieces, EOS counted, and their ids."""
    both = {pair: (source.encode(pair.french), target.encode(pair.english)) for pair in pairs}
    fit = [pair for pair in pairs if len(both[pair][0]) <= limit and len(both[pair][1]) < limit]
    sources, targets = zip(*(both[pair] for pair in fit), strict=True)
    return fit, pad_pairs(sources, targets, max_source=limit, max_target=limit)


def main(config: Config) -> dict:
    """Trains, translates held-out sentences, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    parts = load(config)
    source = learn_pieces((pair.french for pair in parts[0]), config.source_pieces, run.folder / "source.model")
    target = learn_pieces((pair.english for pair in parts[0]), config.target_pieces, run.folder / "target.model")
    known, training = encode(parts[0], source, target, config.max_pieces)
    (_, validation), (pairs, test) = (encode(part, source, target, LONGEST) for part in parts[1:])
    model = translator.make_model(config, len(source), len(target))
    options = {"max_steps": LONGEST, "length_penalty": config.length_penalty}
    widths = sorted({1, config.beam, *(() if config.smoke else WIDTHS)})
    searches = {n: search.make_search(model, beam_size=n, weights=n > 1, **options) for n in widths}
    evaluate = search.make_evaluate(model, validation, searches[1], 256)
    result = translator.train(model, training, run.folder, evaluate=evaluate)
    params = result.state.params

    scorer = search.make_scorer(model, length_penalty=config.length_penalty)
    sweep, texts = {}, {}
    for width, find in searches.items():
        found = find(params, test)
        texts[width] = target.decode(found.tokens.tolist())
        sweep[width] = {
            "bleu": bleu(texts[width], [[pair.english] for pair in pairs]),
            "exact": wilson(search.exact_match(found, test)),
            "score": found.scores.mean(),
            "faults": search.attribution(scorer, params, test, found),
        }
        print(f"a beam of {width}: BLEU {sweep[width]['bleu'].mean:.2f}", flush=True)
    beam, faults = config.beam, sweep[config.beam]["faults"]
    errors = [(*pairs[i], texts[beam][i], bool(faults.search[i])) for i in np.flatnonzero(faults.search | faults.model)]

    ids = [source.encode(text) for text in (SHOWN[:2] if config.smoke else SHOWN)]
    found = searches[beam](params, pad_pairs(ids, [[]] * len(ids), max_source=LONGEST))
    for i, read in enumerate(ids) if found.weights is not None else ():
        both = (source, read), (target, found.tokens[i, : found.lengths[i]].tolist())
        names = [[pieces.id_to_piece(piece).replace("▁", " ") for piece in row] for pieces, row in both]
        plots.attention_map(run.folder / f"attention_{i}.png", found.weights[i], *names)
    bias = search.make_exposure(model, Pairs(*(array[:512] for array in test)))(params)
    plots.exposure_figure(run.folder / "exposure.png", {config.attention: bias}, "What own samples cost")
    plots.run_losses(run.folder, title="French to English", y="loss (nats per piece)")
    scores = {"bleu": round(sweep[beam]["bleu"].mean, 2), "bleu_greedy": round(sweep[1]["bleu"].mean, 2)}
    values = {
        "counts": {"known": len(known), "held_out": len(pairs), "exposure": int(bias.truth.count[0])},
        "shown": dict(zip(SHOWN, target.decode(found.tokens.tolist()), strict=False)),
        "nats": [float(part.sum.sum() / part.count.sum()) for part in bias],
        "attention": found.weights is not None,
    }
    headline = scores | {"beam": beam, "updates": result.step}
    return frame.finish(run, headline, sweep=sweep, errors=errors, **values)


def predict(config: search.PredictConfig) -> list[str]:
    """Answers lines of the standard input, or --text, with the newest checkpoint of a run."""
    folder = report.find_run(config.out, "translation")
    trained = report.read_config(folder, Config)
    source, target = (SentencePieceProcessor(model_file=f"{folder}/{name}.model") for name in ("source", "target"))
    model = translator.make_model(trained, len(source), len(target))
    options = {"max_steps": LONGEST, "length_penalty": trained.length_penalty}
    find = search.restore(model, folder, beam_size=config.beam, **options)

    def answer(line: str) -> str:
        return target.decode(find(pad_pairs([source.encode(line)], [[]])).tokens[0].tolist())

    return search.answer_lines(config.text, answer, "→")


if __name__ == "__main__":
    frame.command_line(main, predict, smoke=SMOKE)
