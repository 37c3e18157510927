"""Optimizers and losses compared: data and baselines against what is known by hand, no leakage, and a smoke run."""

import dataclasses

import numpy as np
import pytest
from experiment_runs import figures_of, smoke_fixture

from experiments.optimizers import __main__ as optimizers
from experiments.optimizers.__main__ import Config
from experiments.optimizers.rates import Found, compare
from experiments.optimizers.tasks import CLASSIFICATION, cut, generate, series_task, unigram, wave_rows, wave_task

SMALL = Config(values=2000, window=12, hidden_series=5)
pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(optimizers)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert 2 < result["nats_per_char"] < 5 and 0.01 < result["mse"] < 2 and result["noise_mse"] == 0.04
    assert result["optimizer_mse"] == "sgd" and 0 < result["mae_huber"] < 3
    assert figures_of(folder) == {"curves", "rates", "losses"}
    assert {"accuracy_hinge", "mae_mean_squared", "unigram_nats_per_char"} < set(result)


def test_windows_are_cut_in_order_of_time():
    ids = np.arange(101)
    training, validation, test = cut(ids[:-1], ids[1:], window=3, stride=2, warmup=1)
    for rows in (training, validation, test):
        assert np.array_equal(rows.targets, rows.inputs[1:] + 1)
    assert training.inputs[:, 0].tolist() == [1, 2, 3] and training.targets.max() <= validation.inputs.min()
    assert validation.targets.max() < test.inputs.min() and test.targets.max() <= 100
    assert validation.inputs.shape == test.inputs.shape and len(np.unique(test.inputs)) == test.inputs.size


def test_outliers_are_in_the_targets_but_not_in_the_inputs_nor_the_test():
    values, spikes = generate(SMALL)
    dirty, clean = (series_task(SMALL, ["huber"], outliers=which) for which in (True, False))
    assert np.array_equal(dirty.training.inputs, clean.training.inputs)
    assert np.array_equal(dirty.test.targets, clean.test.targets)
    lifted = dirty.training.targets - clean.training.targets
    assert 0.07 < np.mean(lifted > 0) < 0.13 and lifted[lifted > 0.01].min() > 2.9 and lifted.max() < 9.1
    assert np.mean(spikes > 0) == pytest.approx(0.1, abs=0.03) and values.shape == (2001,)


def test_baselines_known_by_hand():
    # Without noise, a sum of three sines is linear in its last six values.
    bases = series_task(dataclasses.replace(SMALL, noise=0.0), ["huber"], outliers=False).baselines
    assert bases["noise"] == 0 and bases["linear model"] < 1e-6 < 0.05 < bases["last value"]
    # One is added to the counts 3 and 1 of four ids: 4/6 and 2/6.
    assert unigram(np.array([0, 0, 0, 1]), np.array([0, 1]), 2) == pytest.approx(-np.log(4 / 6 * 2 / 6) / 2)


def test_wave_forms_and_wrong_labels():
    right, wrong = (wave_rows(SMALL, 4000, np.random.default_rng(3), share) for share in (0.0, 0.4))
    assert np.array_equal(right.inputs, wrong.inputs)
    assert np.mean(right.targets != wrong.targets) == pytest.approx(0.4 * 3 / 4, abs=0.03)
    power = [np.mean(right.inputs[:, right.targets[0] == label] ** 2) for label in range(4)]
    assert np.allclose(power, 1.25, atol=0.08)  # a wave of power 1, noise of 0.25


def test_losses_have_the_values_of_a_guess():
    task = wave_task(SMALL, CLASSIFICATION)
    logits, labels = np.zeros((1, 7, 4), np.float32), np.arange(7, dtype=np.int32)[None] % 4
    values = [float(loss(logits, labels).mean) for loss, _ in task.losses.values()]
    smoothed = np.array([0.925, 0.025, 0.025, 0.025])
    kl = float(np.sum(smoothed * np.log(4 * smoothed)))
    assert np.allclose(values, [np.log(2), 1.0, np.log(4), kl], atol=1e-5)
    assert not task.score(np.eye(4)[labels], labels).any()


def test_range_of_good_rates_has_no_gap():
    found = Found([1, 3, 10, 30, 100], 2, np.array([1.0, 1.2, 0.98, 1.0, np.inf]), np.zeros((1, 1)), np.zeros(1))
    assert found.good() == (10, 30)


def test_results_made_by_hand():
    def found(validation, errors):
        return Found([0.1], 0, np.array([validation]), np.reshape(errors, (2, 1, 3)), np.zeros(1))

    errors = {"a": found(0.5, [1.0, -2.0, 3.0, 2.0, -2.0, 2.0]), "b": found(0.4, [0.0, 0.0, -1.0, 1.0, 0.0, 1.0])}
    results = compare(series_task(SMALL, ["huber"], outliers=True), errors)
    assert (results["a"].test.mean, results["a"].gain.mean, results["b"].gain.mean) == (2.0, 1.5, 0.0)
    assert results["b"].seeds == pytest.approx([1 / 3, 2 / 3]) and results["a"].error == pytest.approx((2.0, 2 / 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cell": "lru"}, "expected --cell to be one of rnn, irnn"),
        ({"optimizers": ("adma",)}, "expected --optimizers to be among sgd, .*'adma'"),
        ({"losses": ("l2",)}, "expected --losses to be among mean_bias, .*'l2'"),
        ({"losses": ("huber",)}, "expected --losses to be some of mean_bias, .*, and some of binary_cross_entropy"),
        ({"outliers": 1.0}, "expected --outliers from 0 to below 1"),
        ({"seeds": 0}, "expected at least one of"),
    ],
)
def test_bad_options_are_one_sentence(options, message):
    with pytest.raises(ValueError, match=message):
        Config(**options).check()
