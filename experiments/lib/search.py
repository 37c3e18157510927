"""Decoding with a `Translator`: searches, their scores and errors, what own samples cost, and answers to a user."""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.lib import training
from experiments.lib.pairs import BOS, EOS, PAD, Pairs
from experiments.lib.translator import Params, Translator, target_loss


class Decoded(NamedTuple):
    """The best hypothesis for each of N sources."""

    tokens: np.ndarray  # [N, T], PAD after the end
    lengths: np.ndarray  # [N]
    scores: np.ndarray  # [N], on the scale of `rnnjax.beam_search`
    weights: np.ndarray | None  # where the decoder looked [N, T, S]


def make_search(model: Translator, *, beam_size: int, max_steps: int, length_penalty: float = 0.0, weights=False):
    """`(params, pairs) -> Decoded` of their sources; beam_size 1 is greedy."""
    score = rnnjax.decoding.length_normalised(length_penalty)
    options = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "max_steps": max_steps}
    options["constraints"] = [rnnjax.decoding.ban_tokens(np.array([PAD, BOS]))]
    options["record"] = (lambda carry: carry.alignment.weights) if weights and model.attention else None

    @jax.jit
    def find(params, sources, lengths):
        memory, carry = model.encode(params, sources, lengths)
        if beam_size == 1:
            found = rnnjax.greedy(model.step_fn(params, memory), carry, **options)
            scores = score.normalise(found.log_probs.sum(axis=1), found.lengths)
            return Decoded(found.tokens, found.lengths, scores, found.records)

        def beam(memory, carry):
            kept = {"beam_size": beam_size, "score": score, "num_results": 1}
            return rnnjax.beam_search(model.step_fn(params, memory), carry, **kept, **options)

        found = jax.vmap(beam)(memory, carry)
        return jax.tree.map(lambda leaf: leaf[:, 0], Decoded(found.tokens, found.lengths, found.scores, found.records))

    return lambda params, pairs: training.in_chunks(functools.partial(find, params), *pairs[:2])


def make_scorer(model: Translator, *, length_penalty: float = 0.0):
    """`(params, pairs) -> scores [N]` of their targets, on the scale of the search."""
    options = {"bos_id": BOS, "score": rnnjax.decoding.length_normalised(length_penalty)}

    @jax.jit
    def scores(params, pairs):
        memory, carry = model.encode(params, pairs.sources, pairs.source_lengths)
        told = {"lengths": pairs.target_lengths, **options}
        return rnnjax.decoding.score_sequences(model.step_fn(params, memory), carry, pairs.targets, **told).scores

    return lambda params, pairs: training.in_chunks(functools.partial(scores, params), pairs)


def exact_match(decoded: Decoded, pairs: Pairs) -> np.ndarray:
    """Which hypotheses are their targets to the letter, booleans `[N]`."""
    tokens, targets = _same_width(decoded.tokens, pairs.targets)
    return (tokens == targets).all(axis=1)


def _same_width(*ids: np.ndarray) -> list[np.ndarray]:
    """Arrays of ids `[N, any T]` with PAD behind the shorter ones."""
    width = max(array.shape[1] for array in ids)
    return [np.pad(array, ((0, 0), (0, width - array.shape[1])), constant_values=PAD) for array in ids]


def attribution(scorer, params: Params, pairs: Pairs, found: Decoded) -> rnnjax.decoding.ErrorAttribution:
    """Whether search or model is at fault for each hypothesis that is not its reference."""
    tokens, targets = _same_width(found.tokens, pairs.targets)  # one shape, so that the scorer is compiled once
    of_hypothesis = scorer(params, pairs._replace(targets=tokens, target_lengths=found.lengths))
    of_reference = scorer(params, pairs._replace(targets=targets))
    return rnnjax.decoding.attribute_errors(of_reference, of_hypothesis, correct=exact_match(found, pairs))


def make_exposure(model: Translator, pairs: Pairs) -> Callable[[Params], rnnjax.seq2seq.ExposureBias]:
    """`params -> ExposureBias`: the loss by position with the truth before it, and with own samples before it."""
    options = {"lengths": pairs.target_lengths, "bos_id": BOS, "key": jax.random.key(model.options.seed)}

    @jax.jit
    def measure(params):
        memory, carry = model.encode(params, pairs.sources, pairs.source_lengths)
        return rnnjax.seq2seq.exposure_bias(model.step_fn(params, memory), carry, pairs.targets.T, **options)

    return measure


def make_evaluate(model: Translator, pairs: Pairs, search: Callable[..., Decoded], limit: int = 512):
    """`state -> {"held_out_loss", "exact_match"}` on the first so many pairs; search is a greedy one."""
    some = Pairs(*(array[:limit] for array in pairs))
    loss = jax.jit(lambda params: target_loss(model.project(params, model.outputs(params, some)), some).mean)

    def evaluate(state: rnnjax.training.TrainState) -> dict[str, Any]:
        found = search(state.params, some)
        return {"held_out_loss": loss(state.params), "exact_match": exact_match(found, some).mean()}

    return evaluate


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Options of `predict`."""

    out: str = ""  # folder of the run; the newest one by default
    text: str = ""  # what to answer; lines of the standard input if empty
    beam: int = 5  # hypotheses that the search keeps, 1 for greedy


def restore(model: Translator, folder: Path, **options: Any) -> Callable[[Pairs], Decoded]:
    """The search of `make_search` with the parameters of a run's newest checkpoint."""
    like = jax.eval_shape(model.init, jax.random.key(0))
    params = rnnjax.training.restore_params(folder / "checkpoints", like).tree
    return functools.partial(make_search(model, **options), params)


def answer_lines(text: str, answer: Callable[[str], str], mark: str) -> list[str]:
    """Answers the text, or what is typed line by line, and prints each line, the mark and its answer."""
    if not text and sys.stdin.isatty():
        print("One per line; an empty line ends.", flush=True)
    answers = []
    for line in [text] if text else iter(lambda: sys.stdin.readline().strip(), ""):
        answers.append(answer(line))
        print(f"{line} {mark} {answers[-1]}", flush=True)
    return answers
