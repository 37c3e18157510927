"""Beam search against that of transformers, over the same random network; neither it nor torch is in the test extra.

Both let a hypothesis end where it is among the K best candidates, and keep the K best that have ended beside the K that
live. What one of them lacks is left out: transformers knows no norm but the average, no coverage and, since version 5,
no groups. With fewer than 2 K candidates it goes on with some of log-probability -1e9, so V >= 2 K here.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rnnjax
from rnnjax import decoding

pytestmark = pytest.mark.oracle

V, K, T, B, H = 7, 3, 5, 11, 17
EOS, PAD = 2, 6  # not 0, which transformers takes for no pad
# Sources differ in what they begin with, which no hypothesis can hold: transformers would count it among its n-grams.
BOS = np.arange(V, V + B)


CONSTRAINTS = {
    "banned_sequences": decoding.ban_sequences,
    "banned": lambda ids: decoding.ban_tokens(jnp.array(ids)),
    "min_length": lambda n: decoding.min_length(n, EOS),
    "no_repeat_ngram": decoding.no_repeat_ngram,
    "prefix": lambda tokens: decoding.force_prefix(jnp.array(tokens)),  # last, for it wins over the others
}


def random_weights(seed):
    rng = np.random.default_rng(seed)
    shapes = (V + B, H), (H, H), (H, V)
    return [np.float32(scale * rng.standard_normal(shape)) for scale, shape in zip((1, 0.3, 0.6), shapes, strict=True)]


@functools.partial(jax.jit, static_argnames="options")
def search(weights, options):
    embedding, w_h, w_y = weights

    def step_fn(h, token):
        h = jnp.tanh(embedding[token] + h @ w_h)
        return h, h @ w_y

    options = {"eos_id": EOS, "beam_size": K, "max_steps": T, "length_penalty": 0.0} | dict(options)
    score = decoding.length_normalised(options.pop("length_penalty"), norm=decoding.average_length)
    constraints = [rule(options.pop(name)) for name, rule in CONSTRAINTS.items() if name in options]
    decode = functools.partial(
        rnnjax.beam_search, step_fn, jnp.zeros(H), pad_id=PAD, constraints=constraints, score=score, **options
    )
    return jax.vmap(lambda bos: decode(bos_id=bos))(jnp.asarray(BOS))


def search_of_transformers(weights, options):
    """Tokens `[B, N, T]`, their log-probabilities, lengths `[B, N, 1]` and scores `[B, N]`."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")

    class Network(transformers.PreTrainedModel, transformers.GenerationMixin):
        config_class = transformers.PreTrainedConfig

        def __init__(self):
            super().__init__(self.config_class(vocab_size=V))
            self.weights = torch.nn.ParameterList(torch.from_numpy(leaf) for leaf in weights)

        def forward(self, input_ids, **_):
            """Reads all tokens again, so that there is no carry to be mixed up."""
            embedding, w_h, w_y = self.weights
            h = torch.zeros(H)
            for token in input_ids.T:
                h = torch.tanh(embedding[token] + h @ w_h)
            return transformers.modeling_outputs.CausalLMOutput(logits=(h @ w_y)[:, None])

    options = {"beam_size": K, "max_steps": T, "eos_id": EOS, "min_length": 1, "prefix": ()} | dict(options)
    prefix, count = options["prefix"], options.get("num_results", options["beam_size"])
    network = Network()
    found = network.generate(
        torch.from_numpy(BOS)[:, None],
        num_beams=options["beam_size"],
        num_return_sequences=count,
        max_new_tokens=options["max_steps"],
        eos_token_id=options["eos_id"],
        pad_token_id=PAD,
        # A score is log P / n ** penalty, where n counts eos but not bos: `cur_len + 1 - decoder_prompt_len` there.
        length_penalty=options.get("length_penalty", 0.0),
        min_new_tokens=options["min_length"] - 1,  # eos not counted
        bad_words_ids=[[token] for token in options.get("banned", ())]
        + [list(tokens) for tokens in options.get("banned_sequences", ())]
        or None,
        no_repeat_ngram_size=options.get("no_repeat_ngram", 0),
        # These are scored; forced_bos_token_id would give a forced token 0.
        prefix_allowed_tokens_fn=lambda _, row: prefix[len(row) - 1 : len(row)] or range(V),
        do_sample=False,
        early_stopping="never",  # until nothing better can come; the others are heuristics
        use_cache=False,
        output_scores=True,
        return_dict_in_generate=True,
    )
    log_probs = network.compute_transition_scores(found.sequences, found.scores, found.beam_indices)
    lengths = (found.beam_indices >= 0).sum(1)
    rows = [leaf.detach().numpy().reshape(B, count, -1) for leaf in (found.sequences[:, 1:], log_probs, lengths)]
    return *rows, found.sequences_scores.numpy().reshape(B, count)


SETTINGS = {
    "raw": {},
    "average": {"length_penalty": 1.0},
    "in_between": {"length_penalty": 0.7, "max_steps": 13},
    "no_eos": {"eos_id": None},
    "min_length": {"min_length": 3},
    "unigrams": {"no_repeat_ngram": 1},
    "bigrams": {"no_repeat_ngram": 2, "max_steps": 11, "length_penalty": 1.0},
    "banned": {"banned": (1, 5)},
    "banned_sequences": {"banned_sequences": ((1, 5), (4,), (3, 3), (0, 1, 0), (5, EOS)), "max_steps": 11},
    "prefix": {"prefix": (4, 4, 3)},
    "best_alone": {"num_results": 1, "length_penalty": 1.0, "max_steps": 11},
    "all": {
        "beam_size": 2,
        "max_steps": 13,
        "length_penalty": 0.7,
        "min_length": 5,
        "no_repeat_ngram": 3,
        "banned": (3,),
        "prefix": (1, 4),
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_beam_search_is_that_of_transformers(name):
    options = tuple(SETTINGS[name].items())
    for seed in range(2):
        weights = random_weights(seed)
        tokens, log_probs, lengths, scores = search_of_transformers(weights, options)
        result = search(weights, options)
        steps = tokens.shape[-1]  # of the longest
        np.testing.assert_array_equal(result.lengths, lengths[..., 0])
        np.testing.assert_array_equal(result.tokens[..., :steps], tokens)
        np.testing.assert_allclose(result.log_probs[..., :steps], log_probs, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(result.scores, scores, rtol=1e-5)
