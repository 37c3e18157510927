"""Splice junctions and promoters: splits that do not leak, attention, what is chosen, and the smoke run."""

import dataclasses

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.data.dna import one_hot
from experiments.dna import __main__ as dna
from experiments.dna import linear, model

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(dna)
CONFIG = dataclasses.replace(dna.Config(), cell="rnn", hidden=5, folds=5, parts=3, members=2)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert figures_of(folder) == {"accuracy", "logo", "attended", "loss"}
    assert 0.2 < result["accuracy"] < 0.8 and 0.2 < result["baseline_accuracy"] < 0.8  # nothing is learned so soon
    text = (folder / "report.md").read_text()
    assert "60 rows, of which 0 repeat" in text and "2 folds" in text and "| logistic regression |" in text


def rows_with_repeats(rng):
    letters = np.array(["".join(rng.choice(list("ACGT"), 6)) for _ in range(80)])
    letters[60:70], letters[70:75] = letters[:10], letters[0]
    return letters, np.arange(80) % 3


def test_each_row_is_held_out_once_and_no_sequence_is_on_two_sides():
    letters, labels = rows_with_repeats(np.random.default_rng(0))
    splits = model.make_splits(letters, labels, CONFIG)
    assert len(splits) == 5 * 2
    assert sorted(np.concatenate([split.test for split in splits[::2]]).tolist()) == list(range(80))
    for split in splits:
        seen = [set(letters[rows]) for rows in split]
        assert not (seen[0] & seen[1] or seen[0] & seen[2] or seen[1] & seen[2])
        assert sorted(np.concatenate(split).tolist()) == list(range(80))
    for one, other in zip(splits[::2], splits[1::2], strict=True):
        assert (one.test == other.test).all() and not {*one.validation} & {*other.validation}


def test_leave_one_out():
    letters, labels = rows_with_repeats(np.random.default_rng(1))
    splits = model.make_splits(letters, labels, dataclasses.replace(CONFIG, folds=80, members=1))
    assert len(splits) == len(set(letters)) and all(len(set(letters[split.test])) == 1 for split in splits)
    assert max(len(split.test) for split in splits) >= 6


def test_attention_is_a_mean_over_positions_that_reads_both_ways():
    init, apply = model.make_model(dataclasses.replace(CONFIG, masked=0.9), 3)
    apply = jax.jit(apply)
    params, xs = init(jax.random.key(0)), one_hot(np.array(["ACGTACG", "CCGATNA"]))
    logits, weights = apply(params, xs)
    assert logits.shape == (2, 3) and weights.shape == (2, 7)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    hidden, _ = apply(params, xs, jax.random.key(1))
    assert not np.allclose(hidden, logits)
    for place in (0, 6):  # the first letter reaches the last state and the last letter the first
        other = xs.copy()
        other[:, place] = np.roll(other[:, place], 1, axis=-1)
        assert not np.allclose(apply(params, other)[0], logits)


def test_each_network_is_read_where_its_validation_is_best(tmp_path):
    """Three evaluations of two networks: a row of the test counts from the evaluation that validation chose."""
    labels = np.array([0, 1, 0, 1])
    splits = [model.Split(np.array([0]), np.array([1]), np.array([2, 3])),
              model.Split(np.array([2]), np.array([3]), np.array([0, 1]))]  # fmt: skip
    for step, (first, second) in {10: (0.3, 0.9), 20: (0.8, 0.2), 30: (0.5, 0.1)}.items():
        right = np.array([[first, step / 100, step / 100], [second, step / 100, step / 100]])
        probabilities = np.stack([1 - right, right], axis=-1)  # validation rows are of class 1
        np.savez(tmp_path / str(step), probabilities=probabilities, attention=np.full((2, 3, 5), step))
    found, losses, steps = model.choose(tmp_path, splits, labels, 5)
    assert steps.tolist() == [10, 20, 30] and losses.argmin(axis=0).tolist() == [1, 0]
    np.testing.assert_allclose(losses, -np.log([[0.3, 0.9], [0.8, 0.2], [0.5, 0.1]]))
    assert found.attention[:, 0].tolist() == [10, 10, 20, 20]
    np.testing.assert_allclose(found.probabilities[:, 1], [0.1, 0.1, 0.2, 0.2])


def test_positions_tell_a_letter_at_a_fixed_place_only():
    rng = np.random.default_rng(0)
    letters, labels = np.array(["".join(rng.choice(list("ACGT"), 6)) for _ in range(200)]), np.arange(200) % 2
    fixed = np.array([row[:2] + "AT"[label] + row[3:] for row, label in zip(letters, labels, strict=True)])
    config = dataclasses.replace(CONFIG, members=1)
    for rows, low, high in ((fixed, 0.95, 1.0), (letters, 0.3, 0.7)):
        found = linear.predict(one_hot(rows), labels, model.make_splits(rows, labels, config), 1)
        assert all(low <= np.mean(answer == labels) <= high for answer in found.values())


@pytest.mark.parametrize("changes", [{"cell": "lru"}, {"folds": 1}, {"members": 9}, {"masked": 1.0}])
def test_what_cannot_be_is_one_sentence(changes, tmp_path):
    with pytest.raises(ValueError, match="expected --"):
        dna.main(smoke_config(dna, tmp_path, **changes))
