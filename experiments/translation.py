"""French to English: an encoder that reads both ways, a decoder with attention, and beam search.

    python -m experiments.translation                                          about 15 minutes on two CPU cores; BLEU
                                                                               of at least 30 on held-out short pairs
    python -m experiments.translation predict --text "Où est la gare ?"        asks the newest run; without --text, line
                                                                               by line

Sentences of Tatoeba with at most ten words. No French and no English sentence is both trained on and held out; pieces
of words are learned from the training sentences only. BLEU is that of sacreBLEU, one reference a sentence.
"""

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu
import sentencepiece

import rnnjax
from experiments.data import fra_eng
from experiments.data.fra_eng import Translation, split_by_source, words
from experiments.lib import experiment, frame, plots, report, search, translator
from experiments.lib.pairs import BOS, EOS, PAD, UNK, Pairs, pad_pairs

NAME = "translation"
LONGEST = 40  # pieces of a held-out sentence
SHOWN = (
    "Jane visite l'Afrique en septembre.",
    "Où est la gare ?",
    "Je ne sais pas quoi dire.",
    "Elle a deux chats et un chien.",
    "Nous avons besoin de ton aide.",
    "Quel temps fait-il aujourd'hui ?",
    "Il n'aime pas le café.",
    "Pourquoi êtes-vous en retard ?",
    "Ma sœur habite à Paris.",
    "Tu devrais lire ce livre.",
)


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a training run."""

    data: str = "tatoeba"  # tatoeba (the file of 2017), generated, or the path of another zip file of that kind
    max_words: int = 10  # of a sentence, marks not counted
    max_pieces: int = 14  # of a sentence to train on; longer ones are left out
    source_pieces: int = 6000  # size of the French vocabulary
    target_pieces: int = 5000  # size of the English vocabulary
    held_out: float = 0.02  # fraction of the pairs to choose options by, and as many again to report on
    widths: tuple[int, ...] = (1, 2, 4, 8, 16)  # of the beam, in the sweep
    attention: str = "additive"
    cell: str = "gru"
    hidden: int = 256
    embedding: int = 128
    dropout: float = 0.1
    label_smoothing: float = 0.05
    batch: int = 64
    steps: int = 5000
    warmup: int = 200
    learning_rate: float = 0.002
    weight_decay: float = 0.01
    length_penalty: float = 0.6
    evaluate_every: int = 1000
    checkpoint_every: int = 1000


SMOKE = translator.SMOKE | {
    "data": "generated",
    "source_pieces": 80,
    "target_pieces": 80,
    "held_out": 0.1,
    "widths": (1, 2),
}


class Pieces:
    """A vocabulary of pieces of words (Sennrich, Haddow & Birch 2016), as SentencePiece has it."""

    def __init__(self, model: bytes):
        self.model = model
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)

    @classmethod
    def of(cls, sentences: Any, size: int) -> "Pieces":
        """Learned from training sentences."""
        model = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(sentences),
            model_writer=model,
            vocab_size=size,
            model_type="bpe",
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            character_coverage=1.0,
            minloglevel=2,
        )
        return cls(model.getvalue())

    @property
    def size(self) -> int:
        """V."""
        return self.processor.get_piece_size()

    def encode(self, text: str) -> np.ndarray:
        """Ids of a sentence."""
        return np.array(self.processor.encode(text), np.int32)

    def decode(self, ids: Any) -> str:
        """The sentence of ids, up to EOS."""
        ids = [int(i) for i in ids]
        return self.processor.decode(ids[: ids.index(EOS)] if EOS in ids else [i for i in ids if i != PAD])

    def pieces(self, ids: Any) -> list[str]:
        """What each id stands for."""
        return [self.processor.id_to_piece(int(i)).replace("▁", " ") for i in ids]

    def save(self, path: Path) -> None:
        """Writes the model; SentencePiece reads it."""
        path.with_suffix(".model").write_bytes(self.model)

    @classmethod
    def load(cls, path: Path) -> "Pieces":
        """Reads what `save` wrote."""
        return cls(path.with_suffix(".model").read_bytes())


def load(config: Config) -> list[list[Translation]]:
    """Short pairs to train on, to choose by, and to report on: no sentence of one part is in another."""
    tokens = {pair: (words(pair.french), words(pair.english)) for pair in dict.fromkeys(fra_eng.load(config.data))}
    short = [
        pair
        for pair, both in tokens.items()
        if all(sum(any(c.isalnum() for c in token) for token in side) <= config.max_words for side in both)
    ]
    keys = [[" ".join(tokens[pair][side]) for pair in short] for side in (0, 1)]
    fractions = 1 - 2 * config.held_out, config.held_out, config.held_out
    rng = np.random.default_rng(config.seed)  # the file is sorted by length
    parts = [[short[i] for i in rng.permutation(part)] for part in split_by_source(*keys, fractions, config.seed)]
    if config.smoke:
        parts = [parts[0][:: max(1, len(parts[0]) // 500)], parts[1][:40], parts[2][:40]]
    return parts


def encode(pairs: list[Translation], source: Pieces, target: Pieces, limit: int) -> tuple[list[Translation], Pairs]:
    """Pairs that have at most so many pieces, EOS counted, and their ids."""
    both = {pair: (source.encode(pair.french), target.encode(pair.english)) for pair in pairs}
    fit = [pair for pair in pairs if len(both[pair][0]) <= limit and len(both[pair][1]) < limit]
    sources, targets = zip(*(both[pair] for pair in fit), strict=True)
    return fit, pad_pairs(sources, targets, max_source=limit, max_target=limit)


def bleu(hypotheses: list[str], pairs: list[Translation]) -> float:
    """BLEU from 0 to 100, one reference a sentence."""
    return sacrebleu.corpus_bleu(hypotheses, [[pair.english for pair in pairs]]).score


def main(config: Config) -> dict:
    """Trains, evaluates on held-out pairs, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    folder, parts = run.folder, load(config)
    source = Pieces.of((pair.french for pair in parts[0]), config.source_pieces)
    target = Pieces.of((pair.english for pair in parts[0]), config.target_pieces)
    training_pairs, training = encode(parts[0], source, target, config.max_pieces)
    (_, validation), (test_pairs, test) = (encode(part, source, target, LONGEST) for part in parts[1:])
    source.save(folder / "source.json")
    target.save(folder / "target.json")
    model = translator.make_model(config, source.size, target.size)
    searches = make_searches(config, model)
    evaluate = search.make_evaluate(model, validation, searches[1], 256)
    result = translator.train(model, training, folder, evaluate=evaluate)
    params = result.state.params

    scorer = search.make_scorer(model, length_penalty=config.length_penalty)
    of_reference = scorer(params, test)
    sweep, texts, faults = [], {}, {}
    for width, find in searches.items():
        found = find(params, test)
        texts[width] = [target.decode(row) for row in found.tokens]
        of_found = scorer(params, test._replace(targets=found.tokens, target_lengths=found.lengths))
        right = search.exact_match(found, test)
        faults[width] = rnnjax.decoding.attribute_errors(of_reference, of_found, correct=right)
        shares = (f"{float(share):.1%}" for share in (faults[width].search_share, faults[width].model_share))
        score = bleu(texts[width], test_pairs)
        sweep.append([width, f"{score:.2f}", f"{right.mean():.1%}", f"{of_found.mean():.4f}", *shares])
    bias = search.exposure_bias(model, params, Pairs(*(array[:512] for array in test)))
    plots.exposure_figure(folder / "exposure.png", {config.attention: bias}, "What own samples cost")
    # The beam of the options, not the best of the sweep.
    best = min(searches, key=lambda width: abs(width - config.beam))
    headline = {
        "bleu": round(bleu(texts[best], test_pairs), 2),
        "bleu_greedy": round(bleu(texts[1], test_pairs), 2),
        "beam": best,
        "updates": result.step,
    }
    maps = draw_attention(folder, searches[best], params, source, target)
    title = f"French to English: {config.cell}, {config.attention} attention"
    plots.run_losses(folder, title=title, y="loss (nats per symbol)")
    table = report.grid(["beam", "BLEU", "exact", "mean score", "errors of the search", "errors of the model"], sweep)
    sections = {
        "Data": f"{len(training_pairs):,} pairs to train on, {len(test_pairs):,} held out to report on. "
        f"Training pairs of more than {config.max_pieces - 1} pieces are left out, held-out ones are not.",
        "Beam width": f"{table}\n\nAn error is a hypothesis that is not its reference to the letter. The search is at "
        "fault where the model gives the reference a better score than what was found; else the model is.",
        "Who is at fault": fault_table(test_pairs, texts[best], faults[best]),
        "Exposure bias": f"{float(bias.own.sum.sum() / bias.own.count.sum()):.3f} nats a piece with own samples before "
        f"it, {float(bias.truth.sum.sum() / bias.truth.count.sum()):.3f} with the truth before it (512 pairs).\n\n"
        "![loss against position](exposure.png)",
        "Ten sentences": maps,
        "Loss": "![loss against updates](loss.png)",
    }
    print(table)
    return experiment.finish(run, title="French to English", headline=headline, sections=sections)


def make_searches(config: Config, model: translator.Translator) -> dict[int, Any]:
    """The searches of the sweep by width; each records where the decoder looked."""
    return {
        width: search.make_search(
            model,
            beam_size=width,
            max_steps=LONGEST,
            length_penalty=config.length_penalty if width > 1 else 0.0,
            weights=width > 1,
        )
        for width in config.widths
    }


def fault_table(pairs: list[Translation], texts: list[str], faults: Any, count: int = 12) -> str:
    """The first errors, and whose they are."""
    rows = []
    for i in np.flatnonzero(np.asarray(faults.search | faults.model))[:count]:
        who = "search" if faults.search[i] else "model"
        rows.append([pairs[i].french, pairs[i].english, texts[i], who])
    return report.grid(["French", "reference y*", "found y_hat", "at fault"], rows)


def draw_attention(folder: Path, find: Any, params: Any, source: Pieces, target: Pieces) -> str:
    """Translations of ten sentences with their attention maps, as Markdown."""
    rows = [source.encode(text) for text in SHOWN]
    shown = pad_pairs(rows, [np.zeros(0, np.int32)] * len(rows), max_source=LONGEST)
    found, lines = find(params, shown), []
    for i, text in enumerate(SHOWN):
        lines.append(f"{text} → {target.decode(found.tokens[i])}")
        if found.weights is not None:
            written = found.lengths[i]
            plots.attention_map(
                folder / f"attention_{i}.png",
                found.weights[i, :written, : len(rows[i])],
                source.pieces(rows[i]),
                target.pieces(found.tokens[i, :written]),
                title="Where the decoder looks",
            )
            lines.append(f"![attention](attention_{i}.png)")
    return "\n\n".join(lines)


def predict(config: search.PredictConfig) -> list[str]:
    """Answers lines of the standard input, or --text, with the newest checkpoint of a run."""
    folder = report.find_run(config.out, NAME)
    trained = report.read_config(folder, Config)
    source, target = Pieces.load(folder / "source.json"), Pieces.load(folder / "target.json")
    model = translator.make_model(trained, source.size, target.size)
    params = search.restore(model, folder)
    find = search.make_search(
        model,
        beam_size=config.beam,
        max_steps=LONGEST,
        length_penalty=trained.length_penalty,
    )
    answers = []
    for line in search.lines_to_answer(config.text):
        found = find(params, pad_pairs([source.encode(line)], [np.zeros(0, np.int32)]))
        answers.append(target.decode(found.tokens[0]))
        print(f"{line} → {answers[-1]}", flush=True)
    return answers


if __name__ == "__main__":
    frame.command_line(main, predict, smoke=SMOKE)
