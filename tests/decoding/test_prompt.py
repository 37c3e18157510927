"""Prompts: what is read before anything is decoded, the same in every decoder, and scored in none."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_helpers import (
    BOS,
    EOS,
    PAD,
    SCORES,
    T,
    V,
    after_one,
    enumerate_all,
    options_of,
    random_model,
    rows_of_carry,
    search,
    sequences_of,
)

import rnnjax
from rnnjax.decoding import force_prefix, length_normalised

PROMPT = (0, 1, 1, 0, 2)  # in which eos is a token like any other


def search_after(prompt, step_fn, carry, **options):
    """A search with a prompt, as a list of ids."""
    options = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "max_steps": T} | options
    return rnnjax.beam_search(step_fn, carry, prompt=prompt, **options)


def read(step_fn, carry, tokens):
    """The carry of one hypothesis after these tokens."""
    carry = rows_of_carry(carry, 1)
    for token in tokens:
        carry, _ = step_fn(carry, jnp.array([token]))
    return jax.tree.map(lambda leaf: leaf[0], carry)


@pytest.mark.parametrize("name", ["nothing", "all", "coverage"])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_a_prompt_is_read_before_the_search_begins(name, length):
    step_fn, carry = random_model(3)
    options = {"beam_size": 5, "max_steps": 3, **options_of(name)}
    consumed = (BOS, *PROMPT[:length])
    found = search_after(jnp.array(PROMPT[:length], jnp.int32), step_fn, carry, **options)
    expected = search(step_fn, read(step_fn, carry, consumed[:-1]), bos_id=consumed[-1], **options)
    assert found.tokens.tolist() == expected.tokens.tolist() and found.lengths.tolist() == expected.lengths.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)
    np.testing.assert_allclose(found.log_probs, expected.log_probs, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["raw", "average", "both"])
def test_a_search_after_a_prompt_is_exhaustive(score):
    step_fn, carry = random_model(1)
    start = read(step_fn, carry, (BOS, 0))
    bos_id = 1  # that of `enumerate_all`, which ends the prompt
    assert bos_id == BOS
    expected = enumerate_all(step_fn, start, SCORES[score][1])
    found = search_after([0, 1], step_fn, carry, beam_size=V**T, score=SCORES[score][0])
    np.testing.assert_allclose(found.scores[: len(expected)], [one[2] for one in expected], rtol=1e-4, atol=1e-5)
    assert sequences_of(found)[0] == expected[0][0]


@pytest.mark.slow
def test_a_forced_prefix_is_scored_and_a_prompt_is_not():
    step_fn, carry = random_model(4)
    prefix = (0, 1, 1)
    options = {"beam_size": V**3, "score": length_normalised(0.0)}
    prompted = search_after(prefix, step_fn, carry, max_steps=3, **options)
    forced = search(step_fn, carry, constraints=[force_prefix(jnp.array(prefix))], max_steps=6, **options)
    share = sum(after_one(step_fn, carry, prefix[:n])[1][prefix[n]] for n in range(3))
    there = np.isfinite(prompted.scores)
    np.testing.assert_allclose(forced.scores[there], prompted.scores[there] + share, rtol=1e-5)
    assert [row[3:] for row in sequences_of(forced) if row] == [row for row in sequences_of(prompted) if row]
    assert (forced.lengths[there] == prompted.lengths[there] + 3).all()


@pytest.mark.slow
def test_all_decoders_read_the_same_prompt():
    step_fn, carry = random_model(5)
    options = {"bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "max_steps": 7, "prompt": jnp.array(PROMPT)}
    one = rows_of_carry(carry, 1)
    found = rnnjax.beam_search(step_fn, carry, beam_size=1, **options)
    greedy = rnnjax.greedy(step_fn, one, **options)
    assert found.tokens.tolist() == greedy.tokens.tolist()
    np.testing.assert_allclose(found.log_probs, greedy.log_probs, rtol=1e-5, atol=1e-6)
    sampled = rnnjax.sample(step_fn, rows_of_carry(carry, 3), key=jax.random.key(0), **options)
    for result, rows in ((sampled, 3), (greedy, 1)):
        again = rnnjax.decoding.score_sequences(
            step_fn, rows_of_carry(carry, rows), jnp.where(result.tokens == PAD, 0, result.tokens),
            lengths=result.lengths, bos_id=BOS, prompt=options["prompt"],
        )  # fmt: skip
        np.testing.assert_allclose(again.log_probs, result.log_probs, rtol=1e-4, atol=1e-5)
    scored = rnnjax.decoding.score_sequences(
        step_fn, rows_of_carry(carry, 4), jnp.zeros((4, 3), jnp.int32), lengths=jnp.array([3, 1, 0, 2]), bos_id=BOS,
        prompt=jnp.array([[0, 1, 0, 1], [0, 0, 1, 1]]),
    )  # fmt: skip
    assert len(set(np.round(np.asarray(scored.log_probs[:, 0]), 4).tolist())) == 4  # of each row its own


@pytest.mark.slow
def test_a_batch_of_prompts_is_each_prompt_alone():
    step_fn, carry = random_model(6, vocabulary=5)
    prompts = jnp.asarray(np.random.default_rng(0).integers(0, 5, (7, 3)), jnp.int32)
    run = functools.partial(
        rnnjax.beam_search, step_fn, carry, bos_id=BOS, eos_id=EOS, pad_id=PAD, beam_size=3, max_steps=T
    )
    together = jax.jit(jax.vmap(lambda prompt: run(prompt=prompt)))(prompts)
    assert len({str(tokens) for tokens in together.tokens.tolist()}) > 3  # or the test shows nothing
    for i in range(7):
        alone = run(prompt=prompts[i])
        assert together.tokens[i].tolist() == alone.tokens.tolist()
        np.testing.assert_allclose(together.scores[i], alone.scores, rtol=1e-5)


def test_a_whole_batch_is_refused_in_one_sentence():
    step_fn, carry = random_model(0)
    run = functools.partial(rnnjax.beam_search, eos_id=EOS, beam_size=4, max_steps=3)
    one_source = "beam_search searches for one source, and a batch is jax.vmap of it"

    def of_batch(carry, token):
        return carry, jnp.zeros((5, V))

    def of_beams(carry, token):
        return carry, jnp.zeros((token.shape[0], 5, V))

    for model, shape in ((of_batch, r"\(5, 3\)"), (of_beams, r"\(4, 5, 3\)")):
        with pytest.raises(ValueError, match=rf"logits of shape \[4, V\], one row a beam, got {shape}; {one_source}"):
            run(model, carry, bos_id=BOS)
    with pytest.raises(ValueError, match=rf"expected one bos_id, got shape \(5,\); {one_source}"):
        run(step_fn, carry, bos_id=jnp.zeros(5, jnp.int32))
    with pytest.raises(ValueError, match=rf"expected a prompt of shape \[P\], got \(2, 5\); {one_source}"):
        run(step_fn, carry, bos_id=BOS, prompt=jnp.zeros((2, 5), jnp.int32))
    with pytest.raises(TypeError, match="beam_search: expected a prompt of integer ids, got float32"):
        run(step_fn, carry, bos_id=BOS, prompt=jnp.zeros(5))
    with pytest.raises((TypeError, ValueError)) as caught:  # of the model's own, which a note explains
        run(step_fn, rows_of_carry(carry, 5), bos_id=BOS)
    assert one_source in caught.value.__notes__[0] and "(4, 5, 7)" in caught.value.__notes__[0]
