"""Show, attend and tell: captions of scenes with pairs never seen, and where the decoder looks for each word.

python -m experiments.captioning                        scenes of two shapes: 93.8 % exactly right, 68.5 % without
                                                        attention (seed 0)
python -m experiments.captioning --features PATH.npz    features and captions of your own images, such as Flickr8k's;
                                                        experiments/captioning/features.py describes the file
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.captioning import features, figures, scenes
from experiments.captioning.model import make_captioner
from experiments.captioning.scenes import Part
from experiments.lib import frame, search, training, translator
from experiments.lib.bleu import bleu
from experiments.lib.intervals import wilson
from experiments.lib.pairs import BOS, EOS, Pairs, Symbols, pad_pairs

ATTENTION, MEAN, FREQUENT = "attention", "mean of features", "most frequent caption"
SHOWN = 3  # scenes


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a run."""

    features: str = ""  # path of a file of features and captions; generated scenes by default
    scenes: int = 12_000  # to train on
    held_out: int = 2000  # scenes of the test, and of those with new kinds; a quarter as many for validation
    max_words: int = 10  # of a caption; longer ones are cut
    attention: str = "additive"  # or general, coverage, dot, scaled_dot, concat, location, local, monotonic
    channels: tuple[int, ...] = (16, 32, 64)  # of the convolutional layers; the last one's for features of a file
    hidden: int = 96  # units of the decoder
    embedding: int = 32  # features of an embedded word
    dropout: float = 0.1  # of image features and embeddings, and before the output
    weight_decay: float = 0.01  # of adamw
    batch: int = 64  # captions of an update
    steps: int = 4000  # updates
    beam: int = 4  # hypotheses that the search keeps
    evaluate_every: int = 500  # updates between evaluations on held-out data

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        if self.attention == "none":
            raise ValueError(
                "expected --attention to be a mechanism, got 'none': the mean is trained beside it anyway."
            )


SMOKE = translator.SMOKE | {"scenes": 100, "held_out": 24, "channels": (3, 3, 11), "evaluate_every": 20, "dropout": 0.0}


def to_text(symbols: Symbols, ids: Sequence[int]) -> str:
    """Words of ids up to the end."""
    return " ".join(symbols.symbols[i] for i in itertools.takewhile(lambda i: i != EOS, ids) if i > BOS)


def encode(config: Config, part: Part, symbols: Symbols) -> Pairs:
    """All captions of a part; their sources are the rows of their images."""
    rows = [row for row, captions in enumerate(part.captions) for _ in captions]
    targets = [symbols.encode(text.split()[: config.max_words]) for captions in part.captions for text in captions]
    return pad_pairs([[row] for row in rows], targets, max_target=config.max_words + 1)


def learn(config: Config, name: str, parts: Sequence[Part], symbols: Symbols, folder: Path) -> list[search.Decoded]:
    """Trains with attention or without, and describes the images of the parts after training and validation."""
    model = make_captioner(config, parts[0].inputs.shape[1:], symbols.size, attention=name == ATTENTION)
    known = encode(config, parts[0], symbols)
    find = search.make_search(model, beam_size=config.beam, max_steps=config.max_words + 1, weights=True)

    def look(pairs: Pairs, part: Part) -> Pairs:
        return pairs._replace(sources=part.inputs[pairs.sources[:, 0]])

    def describe(params, part: Part) -> search.Decoded:
        rows = [[row] for row in range(len(part.inputs))]
        return find(params, look(pad_pairs(rows, [[]] * len(rows)), part))

    def evaluate(state):
        some = Part(*(each[:256] for each in parts[1]))
        texts = [to_text(symbols, ids) for ids in describe(state.params, some).tokens]
        return {"exact_match": right_captions(texts, some).mean()}

    of_step = training.shuffled(known, config.batch, config.seed)
    truth = np.ones(config.batch, np.float32)  # no scheduled sampling

    def batches(step):
        return translator.Batch(look(of_step(step), parts[0]), truth)

    settings = {"name": name.replace(" ", "_"), "evaluate": evaluate, "batch_axes": 0, "unit": "word"}
    result = training.train(config, model.init, translator.make_loss(model), batches, folder, **settings)
    return [describe(result.state.params, part) for part in parts[2:]]


def right_captions(found: Sequence[str], part: Part) -> np.ndarray:
    """Which captions are one of the correct ones, booleans `[N]`."""
    return np.array([text in captions for text, captions in zip(found, part.captions, strict=True)])


def main(config: Config) -> dict:
    """Trains, describes held-out images, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    if config.features:
        parts = features.load(config.features)
    else:
        counts = config.scenes, config.held_out // 4, config.held_out, config.held_out
        parts = [scenes.make_part(part, count, config.seed) for part, count in enumerate(counts)]
    known = [text for captions in parts[0].captions for text in captions]
    symbols = Symbols.of([text.split() for text in known])
    decoded = {name: learn(config, name, parts, symbols, run.folder) for name in (ATTENTION, MEAN)}
    found = {  # of each part
        name: [[to_text(symbols, ids) for ids in part.tokens] for part in each] for name, each in decoded.items()
    }
    found[FREQUENT] = [[Counter(known).most_common(1)[0][0]] * len(part.captions) for part in parts[2:]]
    exact, scores = (
        {name: [of(texts, part) for texts, part in zip(each, parts[2:], strict=True)] for name, each in found.items()}
        for of in (
            lambda texts, part: wilson(right_captions(texts, part)),
            lambda texts, part: bleu(texts, part.captions),
        )
    )
    test = parts[2]

    if not config.features:
        for i in range(SHOWN):
            words, weights = found[ATTENTION][0][i].split(), decoded[ATTENTION][0].weights[i]
            figures.draw_attention(run.folder / f"attention_{i}.png", test.inputs[i], words, weights)
        for title, (part, captions) in {"known kinds": (0, test.captions), "new kinds": (1, parts[3].captions)}.items():
            right = {name: np.array([*map(scenes.right_words, each[part], captions)]) for name, each in found.items()}
            figures.draw_words(run.folder / f"words_{part}.png", right, title)
    shown = [(test.captions[i], [texts[0][i] for texts in found.values()]) for i in range(min(8, len(test.captions)))]
    headline = {"exact_match": exact[ATTENTION][0].mean, "bleu": round(scores[ATTENTION][0].mean, 2)}
    headline |= {"baseline_exact_match": exact[MEAN][0].mean, "baseline_bleu": round(scores[MEAN][0].mean, 2)}
    headline |= {"baseline_frequent_exact_match": exact[FREQUENT][0].mean}
    headline |= {} if config.features else {"exact_match_new_kinds": exact[ATTENTION][1].mean}
    values = {"exact": exact, "scores": scores, "shown": shown, "counts": [len(part.captions) for part in parts]}
    return frame.finish(run, headline, pictures=0 if config.features else SHOWN, vocabulary=symbols.size, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
