"""The benchmark of beam search: a smoke run, and what its checks refuse."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import decoding

SMALL = decoding.Config(batch=3, beams=2, vocabulary=11, hidden=5, positions=7, steps=5)


@pytest.fixture(autouse=True)
def permissive():
    """The benchmark is written as a user would write it, without the strict flags."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def small():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        return decoding.make_problem(SMALL)


@pytest.mark.slow
def test_smoke(tmp_path, capsys):
    numbers = decoding.main(decoding.Config(smoke=True, out=str(tmp_path)))
    printed = json.loads(capsys.readouterr().out.strip().splitlines()[-1].removeprefix("result: "))
    assert {"share_beside_gemms", "geomean_twin", "worst_twin", "greedy_ratio"} <= numbers.keys()
    assert numbers.items() <= printed.items() and printed["name"] == "decoding"
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["headline"] == numbers
    assert all(len(values) == 2 and min(values) > 0 for values in found["seconds"].values())
    assert (tmp_path / "decoding.png").read_bytes().startswith(b"\x89PNG")
    assert "decoding.png" in (tmp_path / "report.md").read_text()


def test_headline():
    seconds = {"search": [2.0, 4.0, 1.0], "twin": [4.0, 4.0, 4.0], "products": [1.5, 3.0, 0.8]}
    seconds |= {"beam 1": [1.0, 1.0, 3.0], "greedy": [1.0, 2.0, 2.0]}
    assert decoding.headline_of(seconds, steps=10) == {
        "share_beside_gemms": 0.25,
        "geomean_twin": 2.0,
        "worst_twin": 1.0,
        "limit_twin": 2.67,
        "beside_twin": 5.0,
        "greedy_ratio": 1.0,
        "search_ms_a_step": 200.0,
    }


@pytest.mark.slow
def test_scores_of_the_twin_are_those_of_the_model(small):
    """The model, asked token by token, gives a hypothesis the score that the twin says it has."""
    found = jax.jit(lambda: decoding.twin(small, small.weights, small.memory))()
    source, beam = 1, 1
    memory = jax.tree.map(lambda leaf: leaf[source : source + 1], small.memory)
    carry, token, total = decoding.initial_carry(SMALL, (1,)), jnp.array([decoding.BOS]), 0.0
    for chosen in np.asarray(found.tokens)[source, beam]:
        carry, logits = decoding.step(small.weights, memory, carry, token)
        logits = np.asarray(logits, np.float64)[0]
        total += logits[chosen] - np.log(np.exp(logits).sum())
        token = jnp.array([chosen])
    assert float(found.scores[source, beam]) == pytest.approx(total, rel=1e-5)


def test_a_search_that_finds_something_else_is_refused():
    tokens = np.arange(3, 3 + 3 * 2 * 5).reshape(3, 2, 5)
    expected = decoding.Found(tokens, np.linspace(-9.0, -1.0, 6).reshape(3, 2))
    decoding.check_same("it", expected, expected)
    for tokens in (np.where(expected.tokens == 8, 9, expected.tokens), expected.tokens[:, ::-1]):
        with pytest.raises(ValueError, match="expected it to find the hypotheses of its peer, got"):
            decoding.check_same("it", expected._replace(tokens=tokens), expected)
    with pytest.raises(ValueError, match=r"got 0\.0% of them"):
        decoding.check_same("it", expected._replace(scores=expected.scores + 0.1), expected)
    ended = expected._replace(tokens=np.where(expected.tokens == 7, decoding.EOS, expected.tokens))
    with pytest.raises(ValueError, match="expected it to run for all steps"):
        decoding.check_same("it", ended, ended)


def test_all_products_of_the_model_are_there(small):
    """Their outputs, in the order of the model, for three sources and two beams."""
    shapes = [leaf.shape for leaf in jax.eval_shape(lambda: decoding.products(small, small.weights, small.memory))]
    assert shapes == [(3, 2, width) for width in (4 * 5, 4 * 5, 7, 5, 5, 11)]
    products, model = (
        str(jax.make_jaxpr(lambda run=run: run(small, small.weights, small.memory))()).count("dot_general")
        for run in (decoding.products, decoding.model)
    )
    assert products == model == len(shapes)
