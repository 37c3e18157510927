"""Three ways to teach a decoder to stand on its own feet: teacher forcing, scheduled sampling, professor forcing.

    python -m experiments.professor_forcing      about 4 minutes on two CPU cores; held-out exact matches of all three,
                                                 and what own samples cost each, position by position

The task is dates, with few training pairs and without attention.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from experiments.data.dates import ISO, load
from experiments.lib import frame, plots, search, translator
from experiments.lib.intervals import bootstrap, wilson


@dataclasses.dataclass(frozen=True)
class Config(translator.Options):
    """Options of a run."""

    pairs: int = 5000  # to train on
    held_out: int = 1000  # held-out days
    weight: float = 0.1  # of the discriminator's opinion in the decoder's loss
    judge: int = 32  # units of the discriminator, in each direction
    attention: str = "none"  # or general, additive, coverage, dot, scaled_dot, concat, location, local, monotonic
    hidden: int = 64  # units of a layer
    embedding: int = 32  # features of an embedded symbol
    batch: int = 64  # pairs of an update
    steps: int = 3000  # updates
    dropout: float = 0.1  # of embeddings, and before the output


SMOKE = translator.SMOKE | {"pairs": 200, "held_out": 40, "judge": 7, "attention": "none", "dropout": 0.0}


class Players(NamedTuple):
    """Parameters of both."""

    model: translator.Params
    judge: Any  # of a bidirectional layer, and weights [2 J, 1] of its mean output


def make_judge(config: Config):
    """`(init, judge)`: judge takes outputs `[T, B, O]` and lengths to logits `[B]`, positive for the truth."""
    reader = rnnjax.encoder([(rnnjax.gru(config.hidden, config.judge),) * 2])

    def init(key):
        key_reader, key_w = jax.random.split(key)
        return reader.init(key_reader), jax.nn.initializers.glorot_uniform()(key_w, (2 * config.judge, 1))

    def judge(params, outputs, lengths):
        _, ys = reader.apply(params[0], outputs, lengths=lengths)  # zero behind the lengths
        mean = ys.sum(axis=0) / jnp.maximum(lengths, 1).astype(ys.dtype)[:, None]
        return jnp.matmul(mean, params[1])[:, 0]

    return init, judge


def make_loss(config: Config, model: translator.Translator, judge):
    """Of both players at once: each sees the other as a constant."""
    frozen, cross_entropy = jax.lax.stop_gradient, rnnjax.losses.get_loss("binary_cross_entropy")

    def loss_fn(players: Players, batch: translator.Batch, *, key):
        pairs, (key_drop, key_sample) = batch.pairs, jax.random.split(key)
        memory, carry = model.encode(frozen(players.model), pairs.sources, pairs.source_lengths)
        step_fn, read = model.step_fn(frozen(players.model), memory), translator.shifted(pairs.targets.T)
        own = rnnjax.seq2seq.scheduled_sampling(step_fn, carry, read, key=key_sample, truth=0.0).inputs
        over_truth = model.outputs(players.model, pairs, key=key_drop)
        over_own = model.outputs(players.model, pairs, read=own, key=key_drop)
        nll = translator.target_loss(model.project(players.model, over_truth), pairs)

        def verdict(params, outputs, is_truth):
            logits = judge(params, outputs, pairs.target_lengths)
            return cross_entropy(logits, jnp.full_like(logits, is_truth)).mean

        of_judge = verdict(players.judge, frozen(over_truth), 1.0) + verdict(players.judge, frozen(over_own), 0.0)
        of_decoder = config.weight * verdict(frozen(players.judge), over_own, 1.0)
        return rnnjax.losses.SumCount(nll.sum + nll.count * (of_judge + of_decoder), nll.count)

    return loss_fn


def main(config: Config) -> dict:
    """Trains all three, measures them on held-out dates, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    symbols, training, held_out, _ = load(config.pairs, config.held_out, config.seed)
    model = translator.make_model(config, symbols.size, ISO.size)
    init_judge, judge = make_judge(config)
    greedy = search.make_search(model, beam_size=1, max_steps=12)
    measure = search.make_exposure(model, held_out)

    def init(key):
        return Players(model.init(key), init_judge(jax.random.fold_in(key, 1)))

    sampled = dataclasses.replace(config, truth_decay="inverse_sigmoid", truth_k=config.steps / 10)
    ways = {
        "teacher forcing": (model, {}),
        "scheduled sampling": (model._replace(options=sampled), {}),
        "professor forcing": (model, {"init": init, "loss_fn": make_loss(config, model, judge)}),
    }
    right, biases = {}, {}
    for name, (pupil, how) in ways.items():
        params = translator.train(pupil, training, run.folder, name=name.replace(" ", "_"), **how).state.params
        params = params.model if how else params
        right[name] = search.exact_match(greedy(params, held_out), held_out)
        biases[name] = measure(params)

    plots.exposure_figure(run.folder / "exposure.png", biases, "What own samples cost, by position")
    values = {
        "exact": {name: wilson(each) for name, each in right.items()},
        "gains": {name: bootstrap(each * 1.0 - right["teacher forcing"]) for name, each in right.items()},
        "nats": {name: [float(part.sum.sum() / part.count.sum()) for part in bias] for name, bias in biases.items()},
    }
    headline = {f"exact_match_{name.replace(' ', '_')}": each.mean for name, each in values["exact"].items()}
    return frame.finish(run, headline, **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
