"""Beam search on a model as large as those of machine translation: what a step costs beside the model's own products.

    python -m experiments.benchmarks.decoding         about three minutes on two CPU cores

An LSTM that attends over 50 positions, with random weights and an end of sentence that is never likely, so that every
search runs for all its steps. Six programs, timed in interleaved rounds; what is reported are medians over rounds of
ratios within a round:

- search: `rnnjax.beam_search` of one source under `jax.vmap`;
- twin: the common formulation, written here: it tiles the memory over beams, normalises all of them over the
  vocabulary, finds the best of K V candidates, and gathers whole sequences at every step; its results are checked to be
  those of the search before anything is timed;
- products: only the matrix products of the model, each of them kept whole in the state of the loop;
- model: all of the model and no search, its logits kept whole likewise;
- greedy and beam 1: `rnnjax.greedy` and a search with one beam.

share_beside_gemms is 1 - products / search, at most 0.25 by the goal; geomean_twin is twin / search, at least 2 by the
goal, and at most twin / products, which is limit_twin, whatever the search does; beside_twin compares what the two cost
beside the products; greedy_ratio is beam 1 / greedy, about 1 by the goal.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from tqdm import tqdm

import rnnjax
from experiments.lib import cli, plots, report

NAME = "decoding"
PAD, BOS, EOS = 0, 1, 2
INPUTS = 4  # of the products, random ones taken in turn


@dataclasses.dataclass(frozen=True)
class Config:
    """Options of the benchmark."""

    batch: int = 32  # sources
    beams: int = 8
    vocabulary: int = 32_000
    hidden: int = 512
    positions: int = 50  # of a source
    steps: int = 64
    rounds: int = 7  # of all programs
    seed: int = 0
    smoke: bool = False  # a small model, two rounds
    out: str = ""  # folder of the run; runs/decoding/<time> by default


# ---- the model -----------------------------------------------------------------------------------------------


class Weights(NamedTuple):
    """Of an LSTM with attention (Luong et al. 2015, with input feeding)."""

    embedding: jax.Array  # [V, H]
    cell: Any  # [embedding; context] -> H
    attention: Any
    mix: jax.Array  # [h; context] -> H, [2H, H]
    output: jax.Array  # [H, V]
    bias: jax.Array  # [V]


class Carry(NamedTuple):
    """What the model knows between steps."""

    cell: rnnjax.LSTMCarry
    context: jax.Array  # [..., H]


class Problem(NamedTuple):
    """A model and the sources it decodes."""

    config: Config
    weights: Weights
    memory: rnnjax.attention.Memory  # of all sources, leaves [B, S, ...]


def make_problem(config: Config) -> Problem:
    """Random weights and sources, of sizes at which rounding does not decide what is found.

    Logits lie far enough apart for near ties to be rare, and energies close enough for attention to be smooth.
    """
    size, vocabulary = config.hidden, config.vocabulary
    attention = rnnjax.attention.general_attention(size, size)

    @jax.jit
    def draw() -> tuple[Weights, rnnjax.attention.Memory]:
        keys = jax.random.split(jax.random.key(config.seed), 6)
        weights = Weights(
            jax.random.normal(keys[0], (vocabulary, size)),
            rnnjax.lstm(2 * size, size).init(keys[1]),
            attention.init(keys[2]),
            jax.random.normal(keys[3], (2 * size, size)) / size**0.5,
            8 * jax.random.normal(keys[4], (size, vocabulary)) / size**0.5,
            jnp.zeros((vocabulary,)).at[jnp.array([PAD, BOS, EOS])].set(-1e4),
        )
        sources = 0.2 * jax.random.normal(keys[5], (config.positions, config.batch, size))
        return weights, attention.remember(weights.attention, sources)

    return Problem(config, *draw())


def initial_carry(config: Config, batch_shape: tuple[int, ...]) -> Carry:
    cell = rnnjax.lstm(2 * config.hidden, config.hidden)
    return Carry(cell.initial_carry(batch_shape), jnp.zeros((*batch_shape, config.hidden)))


def step(weights: Weights, memory: rnnjax.attention.Memory, carry: Carry, token: jax.Array) -> tuple[Carry, jax.Array]:
    """One step of the model; token [*batch, ...] where the memory is of [*batch]."""
    x = jnp.concatenate([weights.embedding[token], carry.context], axis=-1)
    cell, h = rnnjax.lstm_cell(weights.cell, carry.cell, x)
    attention = rnnjax.attention.general_attention(h.shape[-1], h.shape[-1])
    context, _ = attention.attend(weights.attention, h, memory)
    mixed = jnp.tanh(jnp.concatenate([h, context], axis=-1) @ weights.mix)
    return Carry(cell, context), mixed @ weights.output + weights.bias


# ---- what is timed -------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a search found."""

    tokens: jax.Array  # [B, K, T], or [B, T] of greedy
    scores: jax.Array  # [B, K], or [B]


def search(problem: Problem, weights: Weights, memory: rnnjax.attention.Memory, beams: int) -> Found:
    """As a user of rnnjax writes it."""

    def decode(memory: rnnjax.attention.Memory) -> Found:
        result = rnnjax.beam_search(
            lambda carry, token: step(weights, memory, carry, token),
            initial_carry(problem.config, ()),
            bos_id=BOS,
            eos_id=EOS,
            pad_id=PAD,
            beam_size=beams,
            max_steps=problem.config.steps,
        )
        return Found(result.tokens, result.scores)

    return jax.vmap(decode)(memory)


def greedy(problem: Problem, weights: Weights, memory: rnnjax.attention.Memory) -> Found:
    """`rnnjax.greedy`, a source a row."""
    result = rnnjax.greedy(
        lambda carry, token: step(weights, memory, carry, token),
        initial_carry(problem.config, (problem.config.batch,)),
        bos_id=BOS,
        eos_id=EOS,
        pad_id=PAD,
        max_steps=problem.config.steps,
    )
    return Found(result.tokens, jnp.sum(result.log_probs, axis=-1))


class TwinState(NamedTuple):
    """State of the common formulation."""

    step: jax.Array  # []
    carry: Carry  # leaves [B, K, ...]
    token: jax.Array  # [B, K]
    log_prob: jax.Array  # [B, K]
    ended: jax.Array  # [B, K]
    tokens: jax.Array  # all so far, [B, K, T]


def twin(problem: Problem, weights: Weights, memory: rnnjax.attention.Memory) -> Found:
    """Beam search as it is commonly written: a loop over B K rows whose state holds the sequences themselves."""
    config = problem.config
    batch, beams, vocabulary = config.batch, config.beams, config.vocabulary
    tiled = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), memory)  # [B K, S, ...]
    only_pad = jnp.where(jnp.arange(vocabulary) == PAD, 0.0, -jnp.inf)

    def body(state: TwinState) -> TwinState:
        flat = jax.tree.map(lambda leaf: leaf.reshape(batch * beams, *leaf.shape[2:]), (state.carry, state.token))
        carry, logits = jax.tree.map(lambda leaf: leaf.reshape(batch, beams, -1), step(weights, tiled, *flat))
        log_probs = jax.nn.log_softmax(logits, axis=-1)  # [B, K, V]
        log_probs = jnp.where(state.ended[..., None], only_pad, log_probs)
        total = state.log_prob[..., None] + log_probs
        log_prob, index = lax.top_k(total.reshape(batch, beams * vocabulary), beams)
        parent, token = index // vocabulary, index % vocabulary

        def gather(leaf: jax.Array) -> jax.Array:
            return jnp.take_along_axis(leaf, parent.reshape(batch, beams, *[1] * (leaf.ndim - 2)), axis=1)

        tokens = lax.dynamic_update_index_in_dim(gather(state.tokens), token, state.step, axis=2)
        ended = gather(state.ended) | (token == EOS)
        return TwinState(state.step + 1, jax.tree.map(gather, carry), token, log_prob, ended, tokens)

    start = TwinState(
        jnp.int32(0),
        initial_carry(config, (batch, beams)),
        jnp.full((batch, beams), BOS, jnp.int32),
        jnp.broadcast_to(jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf), (batch, beams)),
        jnp.zeros((batch, beams), jnp.bool_),
        jnp.full((batch, beams, config.steps), PAD, jnp.int32),
    )
    end = lax.while_loop(lambda state: (state.step < config.steps) & ~jnp.all(state.ended), body, start)
    return Found(end.tokens, end.log_prob)


def model(problem: Problem, weights: Weights, memory: rnnjax.attention.Memory) -> Any:
    """The steps of the model with tokens that are given; the state holds all logits, so that all are computed."""
    config = problem.config
    rows = (config.batch, config.beams)
    tokens = jax.random.randint(jax.random.key(0), (config.steps, *rows), EOS + 1, config.vocabulary)

    def body(i: jax.Array, state: tuple[Carry, jax.Array]) -> tuple[Carry, jax.Array]:
        return step(weights, memory, state[0], tokens[i])

    return lax.fori_loop(0, config.steps, body, (initial_carry(config, rows), jnp.zeros((*rows, config.vocabulary))))


def products(problem: Problem, weights: Weights, memory: rnnjax.attention.Memory) -> Any:
    """The products of the model's steps and nothing else, from random inputs; the state holds all results."""
    config, size = problem.config, problem.config.hidden
    rows = (config.batch, config.beams)
    drawn = jax.random.normal(jax.random.key(0), (INPUTS, *rows, max(2 * size, config.positions)))

    def body(i: jax.Array, _: Any) -> Any:
        now = drawn[i % INPUTS]
        return (
            now[..., : 2 * size] @ weights.cell.w_x,
            now[..., :size] @ weights.cell.w_h,
            now[..., :size] @ jnp.swapaxes(memory.keys, -1, -2),
            now[..., : config.positions] @ memory.values,
            now[..., : 2 * size] @ weights.mix,
            now[..., :size] @ weights.output,
        )

    nothing = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), jax.eval_shape(lambda: body(jnp.int32(0), None)))
    return lax.fori_loop(0, config.steps, body, nothing)


def programs(problem: Problem) -> dict[str, Callable[[], Any]]:
    """Programs by name, each of all steps."""

    def ready(run: Callable, *more: Any) -> Callable[[], Any]:
        compiled = jax.jit(lambda weights, memory: run(problem, weights, memory, *more))
        return lambda: jax.block_until_ready(compiled(problem.weights, problem.memory))

    return {
        "search": ready(search, problem.config.beams),
        "twin": ready(twin),
        "products": ready(products),
        "model": ready(model),
        "beam 1": ready(search, 1),
        "greedy": ready(greedy),
    }


def parts(problem: Problem) -> dict[str, Callable[[], Any]]:
    """What a search could do with the logits of a step, as many times as there are steps."""
    config = problem.config
    keys = jax.random.split(jax.random.key(config.seed))
    logits = jax.random.normal(keys[0], (config.batch * config.beams, config.vocabulary))
    bias = jax.random.normal(keys[1], (config.vocabulary,))

    def repeated(part: Callable[[jax.Array], jax.Array]) -> Callable[[], Any]:
        @jax.jit
        def run(logits: jax.Array, bias: jax.Array) -> jax.Array:
            def body(_: jax.Array, before: jax.Array) -> jax.Array:
                return part(logits + (bias + 1e-9 * before.reshape(-1)[0]))  # other logits each time

            return lax.fori_loop(0, config.steps, body, jnp.zeros_like(jax.eval_shape(part, logits)))

        return lambda: jax.block_until_ready(run(logits, bias))

    def search_only(logits: jax.Array) -> jax.Array:
        """All that a step of the search does, from logits that are there."""
        rows = logits.reshape(config.batch, config.beams, -1)

        def decode(logits: jax.Array) -> jax.Array:
            options = {"bos_id": BOS, "eos_id": EOS, "beam_size": config.beams, "max_steps": 1}
            return rnnjax.beam_search(lambda carry, _: (carry, logits), jnp.zeros(()), **options).scores

        return jax.vmap(decode)(rows)

    return {
        "search, one step": repeated(search_only),
        "jax.nn.logsumexp": repeated(lambda logits: jax.nn.logsumexp(logits, axis=-1)),
        "jax.lax.top_k of V": repeated(lambda logits: lax.top_k(logits, config.beams + 1)[0]),
        "jax.nn.log_softmax": repeated(lambda logits: jax.nn.log_softmax(logits, axis=-1)),
        "jax.lax.top_k of K V": repeated(lambda logits: lax.top_k(logits.reshape(config.batch, -1), config.beams)[0]),
    }


# ---- measuring -----------------------------------------------------------------------------------------------


def check_same(name: str, found: Found, expected: Found) -> None:
    """Raises unless a search found what another did, and in sequences that run to the end."""
    close = np.isclose(np.asarray(found.scores), np.asarray(expected.scores), rtol=1e-5, atol=1e-3)
    same = np.mean(close & np.all(np.asarray(found.tokens) == np.asarray(expected.tokens), axis=-1))
    if not same > 0.95:  # not 1: which of two scores is larger that are equal up to rounding is chance
        raise ValueError(f"expected {name} to find the hypotheses of its peer, got {same:.1%} of them.")
    if np.isin(np.asarray(found.tokens), (PAD, EOS)).any():
        raise ValueError(f"expected {name} to run for all steps, got hypotheses that end before.")


def time_rounds(runs: dict[str, Callable], rounds: int) -> dict[str, list[float]]:
    """Seconds of a call of each program in each round; compiled before."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in tqdm(range(rounds), desc="rounds", disable=None):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(seconds: dict[str, list[float]], over: str, under: str) -> np.ndarray:
    """In each round, the time of one program over that of another."""
    return np.array(seconds[over]) / np.array(seconds[under])


def headline_of(seconds: dict[str, list[float]], steps: int) -> dict[str, float]:
    """The numbers of the claim."""
    speedups, products_share = ratios(seconds, "twin", "search"), ratios(seconds, "products", "search")
    middle = {name: float(np.median(values)) for name, values in seconds.items()}
    beside = max(middle["search"] - middle["products"], 1e-9)
    return {
        "share_beside_gemms": round(1 - float(np.median(products_share)), 3),
        "geomean_twin": round(float(np.exp(np.log(speedups).mean())), 2),
        "worst_twin": round(float(speedups.min()), 2),
        "limit_twin": round(float(np.median(ratios(seconds, "twin", "products"))), 2),
        "beside_twin": round((middle["twin"] - middle["products"]) / beside, 2),
        "greedy_ratio": round(float(np.median(ratios(seconds, "beam 1", "greedy"))), 2),
        "search_ms_a_step": round(1e3 * middle["search"] / steps, 2),
    }


def draw(path: Any, milliseconds: dict[str, float], config: Config) -> None:
    """Bars of the time of a step."""
    title = f"Beam search: B {config.batch}, K {config.beams}, V {config.vocabulary:,}, H {config.hidden}"
    with plots.figure(path, title=title, x="milliseconds a step", y="") as axes:
        names = list(milliseconds)[::-1]
        values = [milliseconds[name] for name in names]
        bars = axes.barh(names, values, color=[plots.COLOURS[1 if name == "search" else 0] for name in names])
        axes.bar_label(bars, fmt="%.1f", padding=3)
        axes.margins(x=0.12)


def main(config: Config) -> dict[str, Any]:
    """Checks the searches against each other, times all programs, draws them."""
    began = time.perf_counter()
    if config.smoke:
        small = {"batch": 3, "beams": 2, "vocabulary": 1009, "hidden": 16, "positions": 5, "steps": 5, "rounds": 2}
        config = dataclasses.replace(config, **small)
    folder = report.new_run_folder(config.out, NAME)
    report.write_config(folder, config)
    problem = make_problem(config)
    runs, alone = programs(problem), parts(problem)

    check_same("the twin", runs["twin"](), runs["search"]())
    one, row = runs["beam 1"](), runs["greedy"]()
    check_same("greedy decoding", row, Found(one.tokens[:, 0], one.scores[:, 0]))

    seconds = time_rounds(runs, config.rounds)
    seconds_alone = time_rounds(alone, max(2, config.rounds // 2))
    headline = headline_of(seconds, config.steps)
    milliseconds, alone_milliseconds = (
        {name: 1e3 * float(np.median(values)) / config.steps for name, values in each.items()}
        for each in (seconds, seconds_alone)
    )
    draw(folder / "decoding.png", milliseconds, config)
    results = {"headline": headline, "ms_a_step": milliseconds, "ms_alone": alone_milliseconds, "seconds": seconds}
    (folder / "result.json").write_text(json.dumps(results, indent=1) + "\n")
    sections = {
        "Result": report.table(headline),
        "Milliseconds a step": report.table({name: f"{value:.2f}" for name, value in milliseconds.items()}),
        "Parts at the same shapes, milliseconds": report.table(
            {name: f"{value:.2f}" for name, value in alone_milliseconds.items()}
        ),
        "Figure": "![](decoding.png)",
    }
    report.write_report(folder, "What a step of beam search costs", sections)
    print("\n\n".join(f"{name}\n{text}" for name, text in list(sections.items())[:-1]))
    cli.result_line(NAME, config.seed, time.perf_counter() - began, **headline)
    return headline


if __name__ == "__main__":
    prog = f"python -m experiments.benchmarks.{NAME}"
    cli.main_guard(lambda: main(cli.parse(Config, prog=prog, description=__doc__, args=sys.argv[1:])), prog=prog)
