"""What the tests of decoding share: small random models, and the obvious twin of a search."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rnnjax
from rnnjax import decoding

V, T, EOS, BOS, PAD = 3, 4, 2, 1, 9  # V^T = 81 holds every hypothesis
S = 5


@jax.jit
def model_step(params, carry, token):
    """Logits that depend on all tokens before; the carry also sums up attention over S positions."""
    embedding, w_h, w_y, w_a = params
    h = jnp.tanh(embedding[token] + carry["h"] @ w_h)
    weights = jax.nn.softmax(h @ w_a, axis=-1)
    return {"h": h, "cover": carry["cover"] + weights, "weights": weights}, h @ w_y


def random_model(seed, vocabulary=V, hidden=7, sharp=2.0):
    """A step function of random numbers, and its carry of one hypothesis."""
    keys = jax.random.split(jax.random.key(seed), 5)
    shapes = (vocabulary, hidden), (hidden, hidden), (hidden, vocabulary), (hidden, S)
    params = [sharp * jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=False)]
    carry = {"h": jax.random.normal(keys[4], (hidden,)), "cover": jnp.zeros(S), "weights": jnp.zeros(S)}
    return functools.partial(model_step, params), carry


def rows_of_carry(carry, rows):
    """The carry of one hypothesis for so many."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[None], (rows, *leaf.shape)), carry)


def table_model(rows):
    """A step function with these probabilities of the next token after each token, or after all of them."""
    rows = jnp.log(jnp.asarray(rows, jnp.float32))
    rows = jnp.broadcast_to(rows, (rows.shape[-1], rows.shape[-1]))
    return lambda carry, token: (carry, rows[token])


# ---- the twin of a search ------------------------------------------------------------------------------------


def after(step_fn, carry, tokens):
    """The carry and the log-probabilities after each of many prefixes of one length, `[N, ...]`."""
    tokens = np.asarray(tokens, np.int32).reshape(len(tokens), -1)
    rows = V**T if len(tokens) > 1 else 1  # few shapes, few compilations
    padded = np.zeros((rows, tokens.shape[1] + 1), np.int32)
    padded[:, 0], padded[: len(tokens), 1:] = BOS, tokens
    carry = rows_of_carry(carry, rows)
    for column in padded.T:
        carry, logits = step_fn(carry, jnp.asarray(column))
    return jax.tree.map(np.asarray, (carry, jax.nn.log_softmax(logits)))


def after_one(step_fn, carry, tokens):
    """The same for one prefix, without the axis."""
    return jax.tree.map(lambda leaf: leaf[0], after(step_fn, carry, [tokens]))


def enumerate_all(step_fn, carry, score, allowed=lambda tokens, token: True):
    """Every hypothesis with its score, best first."""
    found, open_ones = [], [((), 0.0)]
    for length in range(1, T + 1):
        carries, log_probs = after(step_fn, carry, [tokens for tokens, _ in open_ones])
        grown = []
        for i, (tokens, log_prob) in enumerate(open_ones):
            for token in range(V):
                if allowed(tokens, token):
                    new = (*tokens, token), log_prob + float(log_probs[i, token])
                    if token == EOS or length == T:
                        found.append((*new, score(new[1], length, carries["cover"][i])))
                    else:
                        grown.append(new)
        open_ones = grown
        if not grown:
            break
    return sorted(found, key=lambda one: -one[2])


def search(step_fn, carry, **options):
    """A compiled beam search; of random models with the same options one program."""
    settings = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "beam_size": V**T, "max_steps": T} | options
    settings["constraints"] = tuple(settings.get("constraints", ()))
    step_fn = step_fn if isinstance(step_fn, functools.partial) else functools.partial(step_fn)
    return searcher(step_fn.func, tuple(sorted(settings.items())))(step_fn.args, carry)


@functools.cache
def searcher(function, settings):
    """`(args, carry) -> BeamResult`, compiled, for the step function that these args make of the function."""

    def run(args, carry):
        return rnnjax.beam_search(functools.partial(function, *args), carry, **dict(settings))

    return jax.jit(run)


def sequences_of(result):
    """The tokens of each row as a tuple, without padding."""
    return [tuple(row[:n]) for row, n in zip(result.tokens.tolist(), result.lengths.tolist(), strict=True)]


# ---- constraints and scores, each with its rule in Python --------------------------------------------------------


def repeats(tokens, token, n):
    grams = [(*tokens, token)[i : i + n] for i in range(len(tokens) + 2 - n)]
    return len(grams) != len(set(grams))


def no_successor(tokens, step, logits):
    """A user's constraint: after token v, never v + 1 modulo V."""
    last = tokens[:, jnp.maximum(step - 1, 0)]
    successor = jax.nn.one_hot((last + 1) % logits.shape[1], logits.shape[1], dtype=jnp.bool_)
    return jnp.where(successor & (step > 0), -jnp.inf, logits)


RULES = {
    "nothing": ([], lambda tokens, token: True),
    "min_length": ([decoding.min_length(3, EOS)], lambda tokens, token: token != EOS or len(tokens) >= 2),
    "prefix": (
        [decoding.force_prefix(jnp.array([1, 0]))],
        lambda tokens, token: len(tokens) >= 2 or token == (1, 0)[len(tokens)],
    ),
    "banned": ([decoding.ban_tokens([1])], lambda tokens, token: token != 1),
    "sequences": (
        [decoding.ban_sequences([[1, 0], [0, 0, 1], jnp.array([1, 1, EOS]), [0, EOS]])],
        lambda tokens, token: (
            not any((*tokens, token)[-len(banned) :] == banned for banned in ((1, 0), (0, 0, 1), (1, 1, EOS), (0, EOS)))
        ),
    ),
    "bigrams": ([decoding.no_repeat_ngram(2)], lambda tokens, token: not repeats(tokens, token, 2)),
    "unigrams": ([decoding.no_repeat_ngram(1)], lambda tokens, token: not repeats(tokens, token, 1)),
    "own": ([no_successor], lambda tokens, token: not tokens or token != (tokens[-1] + 1) % V),
    "several": (
        [decoding.min_length(2, EOS), decoding.no_repeat_ngram(3)],
        lambda tokens, token: not repeats(tokens, token, 3) and (token != EOS or len(tokens) >= 1),
    ),
}


def gnmt(a, b=0.0):
    def score(log_prob, length, cover):
        return log_prob / ((5 + length) / 6) ** a + b * np.log(np.minimum(cover, 1.0)).sum()

    return score


def cover_of(carry):
    return carry["cover"]


SCORES = {
    "raw": (decoding.length_normalised(0.0), gnmt(0)),
    "gnmt": (decoding.length_normalised(0.7), gnmt(0.7)),
    "average": (
        decoding.length_normalised(1.0, norm=decoding.average_length),
        lambda log_prob, length, cover: log_prob / length,
    ),
    "coverage": (decoding.with_coverage(decoding.length_normalised(0.0), 0.3, cover_of), gnmt(0, 0.3)),
    "both": (decoding.with_coverage(decoding.length_normalised(0.9), 0.2, cover_of), gnmt(0.9, 0.2)),
    # A user's own: a reward for each token, a limited one, probabilities, a bonus for what was looked at last.
    "reward": (
        decoding.Score(lambda log_prob, length: log_prob + 0.8 * length),
        lambda log_prob, length, cover: log_prob + 0.8 * length,
    ),
    "limited": (
        decoding.Score(lambda log_prob, length: log_prob + 1.3 * jnp.minimum(length, 3)),
        lambda log_prob, length, cover: log_prob + 1.3 * min(length, 3),
    ),
    "probability": (
        decoding.Score(lambda log_prob, length: jnp.exp(log_prob)),
        lambda log_prob, length, cover: np.exp(log_prob),
    ),
    "bonus": (
        decoding.Score(lambda log_prob, length: log_prob, lambda carry: -carry["cover"][:, 0]),
        lambda log_prob, length, cover: log_prob - cover[0],
    ),
}
# Which constraints and which score are tried together.
SETTINGS = {name: (name, "raw") for name in RULES} | {name: ("nothing", name) for name in SCORES if name != "raw"}
SETTINGS |= {"all": ("several", "both"), "own both": ("own", "reward")}


def options_of(name):
    """Options of a search for one of the settings."""
    rule, score = SETTINGS[name]
    return {"constraints": RULES[rule][0], "score": SCORES[score][0]}


# ---- a model of rows ---------------------------------------------------------------------------------------------


class ToyCarry(NamedTuple):
    """Carry of the toy model."""

    total: jax.Array  # [K, 5]
    count: jax.Array  # [K]


def toy_model(vocabulary=7, seed=0):
    """A small recurrent model whose logits depend on every token consumed so far; rows do not mix."""
    rng = np.random.default_rng(seed)
    embed, out = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((vocabulary, 5), (5, vocabulary)))

    def step_fn(carry, token):
        # Sums over an axis, not a matmul: a row then rounds alike alone and among others.
        total = jnp.tanh(0.7 * carry.total + embed[token])
        logits = 2 * jnp.sum(total[:, :, None] * out[None], axis=1)
        return ToyCarry(total, carry.count + 1), logits

    return step_fn


def toy_carry(rows=3, seed=1):
    total = np.random.default_rng(seed).normal(size=(rows, 5))
    return ToyCarry(jnp.asarray(total, jnp.float32), jnp.zeros(rows, jnp.int32))


def constant_model(logits):
    """Every token has the same distribution."""

    def step_fn(carry, token):
        return carry, jnp.broadcast_to(jnp.asarray(logits, jnp.float32), (token.shape[0], len(logits)))

    return step_fn
