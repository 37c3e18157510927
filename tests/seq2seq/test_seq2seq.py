"""Whole models, from tokens to logits: padding, and the searches that use them."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, assert_same, normal
from seq2seq_helpers import (
    SOURCE_LENGTHS,
    B,
    F,
    H,
    K,
    M,
    O,
    S,
    T,
    V,
    case,
    drawn,
    junk_behind,
    make_decoder,
    mechanisms,
)

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")


class Model(NamedTuple):
    """Parameters of a whole model, from tokens to logits."""

    embedding: Any
    encoder: Any
    bridge: Any
    decoder: Any
    out: Any


ENCODER = rnnjax.encoder([(rnnjax.lstm(F, 5), rnnjax.lstm(F, 8))])
LIKE = rnnjax.Bidirectional(rnnjax.lstm(F, 5).initial_carry(), rnnjax.lstm(F, 8).initial_carry())
BRIDGE = rnnjax.seq2seq.bridge(LIKE, rnnjax.lstm(F, H).initial_carry())
BOS, EOS, PAD = 1, 2, 29


def whole_model(name="additive", form="plain", query="previous"):
    """Parameters and attention decoder of a translator over V words."""
    decoder = case(name, query, form, "lstm").decoder
    features = H + M if form == "plain" else O
    params = (drawn(part, seed) for seed, part in enumerate((ENCODER, BRIDGE, decoder)))
    return decoder, Model(2 * normal(5, V, F), *params, 1.5 * normal(6, features, V))


def read(attention, decoder, model, sources, lengths):
    carries, ys = ENCODER.apply(model.encoder, model.embedding[sources], lengths=lengths)
    memory = attention.remember(model.decoder.attention, ys, lengths=lengths)
    return memory, BRIDGE.apply(model.bridge, carries.layers[0])


@pytest.mark.slow
def test_padding_of_a_whole_model_is_inert():
    """Loss and gradients of all parameters are the same whatever tokens are in the padding."""
    decoder, model = whole_model(form="feeding")
    attention = mechanisms()["additive"]
    rng = np.random.default_rng(0)
    sources, targets = (jnp.asarray(rng.integers(V, size=size)) for size in ((S, B), (T, B)))
    lengths, target_lengths = jnp.array([4, 1, 3]), jnp.array([2, 3, 1])

    @jax.jit
    @jax.value_and_grad
    def graded(model, sources, targets):
        memory, start = read(attention, decoder, model, sources, lengths)
        xs = model.embedding[jnp.concatenate([jnp.full_like(targets[:1], BOS), targets[:-1]])]
        carry = decoder.initial_carry(memory, start)
        _, out = rnnjax.teacher_force(decoder, model.decoder, memory, xs, carry, lengths=target_lengths)
        where = rnnjax.losses.length_mask(target_lengths, targets.shape[0])
        return rnnjax.losses.sequence_loss(out.output @ model.out, targets, where=where, label_smoothing=0.1).mean

    got = graded(model, sources, targets)
    others = junk_behind(lengths, sources, BOS), junk_behind(target_lengths, targets, V + 100)
    assert_close(got, graded(model, *others), rtol=1e-6, atol=1e-7)
    other = graded(model, sources.at[3, 0].set((sources[3, 0] + 1) % V), targets)
    assert abs(got[0] - other[0]) > 1e-5  # what is real matters
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(got))


def searched(name, form, query="previous", length_penalty=0.0, coverage_penalty=0.0):
    """Beam search vmapped over sources, memory closed over, and what is needed to force the same tokens."""
    decoder, model = whole_model(name, form, query)
    attention = mechanisms()[name]
    sources = jnp.asarray(np.random.default_rng(1).integers(V, size=(S, B)))

    def one(memory, start):
        def step_fn(carry, token):
            carry, out = decoder.step(model.decoder, carry, model.embedding[token], memory)
            return carry, out.output @ model.out

        carry = decoder.initial_carry(memory, start)
        score = rnnjax.decoding.length_normalised(length_penalty)
        if coverage_penalty:
            coverage = functools.partial(rnnjax.seq2seq.source_coverage, memory=memory)
            score = rnnjax.decoding.with_coverage(score, coverage_penalty, coverage)
        return rnnjax.beam_search(
            step_fn, carry, bos_id=BOS, eos_id=EOS, pad_id=PAD, beam_size=K + 1, max_steps=T, score=score,
            record=lambda carry: carry.alignment.weights,
        )  # fmt: skip

    memory, start = read(attention, decoder, model, sources, jnp.array(SOURCE_LENGTHS))
    result = jax.jit(jax.vmap(one))(memory, start)

    def force(tokens, lengths):
        """All beams of all sources at once: weights `[T, B, K, S]` and log-probabilities `[T, B, K, V]`."""
        tokens = jnp.moveaxis(jnp.where(tokens == PAD, EOS, tokens), -1, 0)
        xs = model.embedding[jnp.concatenate([jnp.full_like(tokens[:1], BOS), tokens[:-1]])]
        beams = jax.tree.map(lambda leaf: jnp.repeat(leaf[:, None], K + 1, axis=1), start)
        carry = decoder.initial_carry(memory, beams, batch_shape=(B, K + 1))
        _, out = rnnjax.teacher_force(decoder, model.decoder, memory, xs, carry, lengths=lengths)
        return out.weights, jax.nn.log_softmax(out.output @ model.out), tokens

    return result, force


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form", "query"),
    [
        ("additive_coverage", "plain", "previous"),
        ("monotonic", "feeding", "current"),
    ],
)
def test_a_search_records_the_alignment_that_forcing_gives(name, form, query):
    result, force = searched(name, form, query)
    assert bool(jnp.isfinite(result.scores).all()) and len(set(result.lengths.ravel().tolist())) > 1
    weights, log_probs, tokens = jax.jit(force)(result.tokens, result.lengths)
    assert_close(result.records, jnp.moveaxis(weights, 0, -2))
    chosen = jnp.take_along_axis(log_probs, tokens[..., None], axis=-1)[..., 0]
    real = np.arange(T) < np.asarray(result.lengths)[..., None]
    assert_close(result.log_probs, np.where(real, np.moveaxis(np.asarray(chosen), 0, -1), 0), rtol=1e-3, atol=1e-4)
    ties = [len({tuple(beam) for beam in beams}) for beams in result.tokens.tolist()]
    assert ties == [K + 1] * B and not np.array_equal(result.tokens[0], result.tokens[1])


@pytest.mark.slow
def test_coverage_penalises_what_was_not_looked_at():
    penalty = 0.7
    result, force = searched("additive", "plain", coverage_penalty=penalty, length_penalty=0.5)
    weights, _, _ = jax.jit(force)(result.tokens, result.lengths)
    covered = np.minimum(np.asarray(weights, np.float64).sum(0), 1)  # [B, K, S]
    real = np.arange(S) < np.array(SOURCE_LENGTHS)[:, None]
    coverage = np.where(real[:, None], np.log(np.where(real[:, None], covered, 1)), 0).sum(-1)
    norm = ((5 + np.asarray(result.lengths)) / 6) ** 0.5
    assert_close(result.scores, np.asarray(result.log_probs).sum(-1) / norm + penalty * coverage, rtol=1e-4, atol=1e-4)


def test_coverage_of_positions_that_are_not_there_is_one():
    attention, decoder = make_decoder()
    memory = attention.remember(drawn(decoder).attention, normal(1, S, B, M), lengths=jnp.array(SOURCE_LENGTHS))
    for batch in ((B,), (B, K)):
        carry = decoder.initial_carry(memory, batch_shape=batch)
        coverage = jnp.abs(normal(2, *batch, S))
        carry = carry._replace(alignment=carry.alignment._replace(coverage=coverage))
        got = rnnjax.seq2seq.source_coverage(carry, memory)
        for index in np.ndindex(*batch):
            length = SOURCE_LENGTHS[index[0]]
            assert_same(got[index], np.concatenate([coverage[index][:length], np.ones(S - length)]))
