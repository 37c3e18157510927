"""Several models as one, against the distribution that they average to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from decoding_helpers import random_model, search

import rnnjax

pytestmark = pytest.mark.usefixtures("quick_compilation")


@pytest.mark.slow
@pytest.mark.parametrize("average", ["log", "prob"])
def test_ensembles_search_the_averaged_distribution(average):
    models, carries = zip(*(random_model(seed) for seed in (1, 2)), strict=True)
    step_fn = rnnjax.decoding.ensemble(models, weights=(3, 1), average=average)

    def twin(carry, token):
        outs = [model(c, token) for model, c in zip(models, carry, strict=True)]
        probs = [jax.nn.softmax(logits) for _, logits in outs]
        mixed = probs[0] ** 0.75 * probs[1] ** 0.25 if average == "log" else 0.75 * probs[0] + 0.25 * probs[1]
        return tuple(after for after, _ in outs), jnp.log(mixed)

    results = [search(f, carries) for f in (step_fn, twin)]
    np.testing.assert_allclose(results[0].scores, results[1].scores, rtol=1e-4)
    assert results[0].tokens[:7].tolist() == results[1].tokens[:7].tolist()


def test_bad_ensembles():
    step_fn, _ = random_model(0)
    for message, arguments in {
        "at least one step function": {"step_fns": []},
        "2 positive weights": {"step_fns": [step_fn, step_fn], "weights": [1.0]},
        "'log' or 'prob'": {"step_fns": [step_fn], "average": "mean"},
    }.items():
        with pytest.raises(ValueError, match=f"ensemble: expected .*{message}"):
            rnnjax.decoding.ensemble(**arguments)
