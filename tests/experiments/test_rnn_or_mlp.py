"""Recurrent network or MLP: the generated questions against answers made by hand, no leakage, a smoke run."""

import dataclasses

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_fixture

from experiments.rnn_or_mlp import __main__ as rnn_or_mlp
from experiments.rnn_or_mlp import questions
from experiments.rnn_or_mlp.__main__ import Config
from experiments.rnn_or_mlp.learning import make_model, size_of, width_for

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(rnn_or_mlp)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    text = (folder / "report.md").read_text()
    for kind in ("sequential", "longer", "static", "shuffled"):
        for model in ("rnn", "mlp"):
            assert 0.3 < result[f"accuracy_{model}_{kind}"] < 0.9 and str(result[f"accuracy_{model}_{kind}"]) in text
    assert 0.5 <= result["chance_sequential"] < 0.6 and 0.5 <= result["chance_static"] < 0.6
    assert figures_of(folder) == {"accuracy", "lengths"}
    assert "(ms)" in (folder / "times.md").read_text() and "(ms)" not in text


def test_order_has_each_pattern_once_and_says_which_is_first():
    lengths = np.repeat([5, 6, 7, 11, 30], 200)
    found = questions.order(lengths, np.random.default_rng(3))
    firsts = set()
    for x, length, label in zip(np.moveaxis(found.xs, 1, 0), lengths, found.labels, strict=True):
        assert (x[:length].sum(axis=1) == 1).all() and not x[length:].any()
        text = "".join("abcd"[i] for i in x[:length].argmax(axis=1))
        assert text.count("ab") == text.count("ba") == 1 and label == (text.index("ab") < text.index("ba"))
        firsts.add(min(text.index("ab"), text.index("ba")) if length == 30 else 0)
    assert firsts >= set(range(12)) and 0.4 < found.labels.mean() < 0.6
    # Letters alone say nothing: as many a as b come with either answer.
    counts = [found.xs[:, found.labels == label, :2].sum(axis=0).mean(axis=0) for label in (0, 1)]
    np.testing.assert_allclose(counts[0], counts[1], rtol=0.15)


def test_parity_is_that_of_the_flagged_ones():
    lengths = np.repeat([1, 2, 7, 13], 250)
    xs, _, labels = questions.parity(lengths, np.random.default_rng(3), 0.3)
    real = np.arange(13)[:, None] < lengths
    assert set(np.unique(xs[..., 0][real])) == {-1.0, 1.0} and not xs[~real].any()
    expected = [sum(1 for bit, flag in x if bit == 1 and flag == 1) % 2 for x in np.moveaxis(xs, 1, 0)]
    assert labels.tolist() == expected and 0.42 < labels.mean() < 0.58
    assert (xs[..., 1].sum(axis=0) >= 1).all()


def test_static_answers_made_by_hand():
    found = questions.interactions(50, np.random.default_rng(3), features=7, pairs=2)
    x = found.xs[..., 0]
    assert (found.labels == (x[0] * x[1] + x[2] * x[3] > 0)).all()
    far, best = questions.clusters(200, np.random.default_rng(3), np.array([[-50.0, 0.0], [50.0, 0.0]]))
    assert best == 1.0 and (far.labels == (far.xs[0, :, 0] > 0)).all()
    near, best = questions.clusters(20000, np.random.default_rng(3), np.array([[-1.0, 0.0], [1.0, 0.0]]))
    assert abs(best - 0.8413) < 0.01  # the normal distribution within one standard deviation of its mean, one-sided
    assert abs(np.mean(near.labels == (near.xs[0, :, 0] > 0)) - best) < 1e-9


def test_the_window_holds_the_last_steps():
    xs = np.arange(1.0, 6.0, dtype=np.float32)[:, None, None] * np.ones((1, 2, 1), np.float32)
    xs[2:, 0] = 0
    short_and_long = questions.Examples(xs, np.array([2, 5]), np.array([0, 1]))
    found = questions.last_steps(short_and_long, 3)
    assert found.xs.tolist() == [[[0, 1, 2], [3, 4, 5]]] and found.lengths.tolist() == [1, 1]
    changed = xs.copy()
    changed[:2, 1] = 99  # before the window
    again = questions.last_steps(short_and_long._replace(xs=changed), 3)
    np.testing.assert_array_equal(found.xs, again.xs)


def test_parts_share_nothing_and_shuffling_only_moves_columns():
    config = Config(examples=900, validation=200, held_out=100)
    tasks = rnn_or_mlp.generate(config)
    for name, task in tasks.items():
        parts = []
        for part in task[:3]:
            parts.append({x[:n].tobytes() for x, n in zip(np.moveaxis(part.xs, 1, 0), part.lengths, strict=True)})
            assert part.lengths.max() <= (30 if name in rnn_or_mlp.SEQUENTIAL and part is not task.test else 120)
        assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2], name
    for name in rnn_or_mlp.STATIC:
        plain, shuffled = tasks[name].test, tasks[name + rnn_or_mlp.SHUFFLED].test
        assert not np.array_equal(plain.xs, shuffled.xs)
        np.testing.assert_array_equal(np.sort(plain.xs, axis=0), np.sort(shuffled.xs, axis=0))
        np.testing.assert_array_equal(plain.labels, shuffled.labels)
    more = rnn_or_mlp.generate(dataclasses.replace(config, examples=500))  # training data do not move the test
    np.testing.assert_array_equal(more["order"].test.xs, tasks["order"].test.xs)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_both_have_as_many_parameters(cell):
    for features, window in ((4, 30), (2, 30), (1, 20)):
        sizes = [size_of(make_model(Config(cell=cell), m, features, window, True)[0]) for m in ("rnn", "mlp")]
        assert abs(sizes[1] / sizes[0] - 1) < 0.06, (features, sizes)
    assert width_for(3 * 7 + 7 + 49 + 7 + 14 + 2, 3) == 7


@pytest.mark.slow
def test_padding_changes_no_answer():
    init, apply = make_model(Config(hidden=7), "rnn", 2, 30, True)
    params, apply = jax.jit(init)(jax.random.key(0)), jax.jit(apply)
    xs = np.random.default_rng(0).standard_normal((11, 3, 2)).astype(np.float32)
    lengths, noisy = np.array([11, 4, 7]), xs.copy()
    noisy[4:, 1] = 9.0
    found = apply(params, xs, lengths)
    np.testing.assert_array_equal(found, apply(params, noisy, lengths))
    np.testing.assert_allclose(found[1], apply(params, xs[:4], np.array([4, 4, 4]))[1], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cell": "elman"}, "expected --cell to be one of"),
        ({"rates": ()}, "expected at least one of --rates"),
        ({"seeds": 0}, "expected at least one of --rates"),
        ({"tasks": ("order",)}, "expected --tasks to be some of order, parity, and some of clusters, interactions"),
        ({"tasks": ("order", "clusters", "poetry")}, "expected --tasks to be some of"),
        ({"tested": (6, 10)}, "expected --tested on both sides of --longest 30"),
        ({"tested": (3, 50)}, "expected 5 <= --shortest"),
        ({"shortest": 4}, "expected 5 <= --shortest"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        Config(**options).check()
