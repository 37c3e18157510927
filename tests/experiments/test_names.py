"""Surnames: readers, a writer, and n-grams of letters."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_fixture
from sklearn.metrics import f1_score

from experiments.lib.pairs import EOS, pad_pairs
from experiments.names import __main__ as experiment
from experiments.names import baselines
from experiments.names.model import make_reader, make_writer

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(experiment)
TINY = dataclasses.replace(experiment.Config(), cell="irnn", hidden=5, dropout=0.5)
IDS = [[4, 5, 6], [5], [6, 6, 4, 4, 5]]


@pytest.mark.slow
def test_smoke_leaves_its_files_and_answers(smoke, capsys):
    folder, result = smoke
    assert figures_of(folder) == {"confusion", "languages", "reader/loss", "writer/loss"}
    assert 0.1 < result["accuracy"] < result["baseline_accuracy"] < 1 and 0 <= result["returned"] <= 1
    leaves = re.search(r"leaves\s+([0-9.]+) ?%", (folder / "report.md").read_text())
    assert 95 < float(leaves[1]) <= 100  # names of two languages are few
    [answer] = experiment.predict(experiment.PredictConfig(out=str(folder), text="Kelmar"))
    assert answer.count("%") == 3
    asked = experiment.SampleConfig(out=str(folder), language="Tlaxo", count=3)
    assert len(experiment.sample(asked)) == 3 and all(experiment.sample(asked))
    with pytest.raises(ValueError, match="expected --language to be one of Arvish"):
        experiment.sample(dataclasses.replace(asked, language="Latin"))
    assert json.loads((folder / "languages.json").read_text())[-1] == "Tlaxo"


def test_a_reader_sees_no_padding_and_both_ends():
    model = make_reader(TINY, 7, 3)
    params, pairs = model.init(jax.random.key(0)), pad_pairs(IDS, IDS)
    wider = pad_pairs(IDS, IDS, max_source=9)
    logits = model.apply(params, pairs)
    np.testing.assert_allclose(logits, model.apply(params, wider), atol=1e-6)
    for place in (0, -1):
        other = [[*row] for row in IDS]
        other[2][place] = 6 if other[2][place] != 6 else 5
        assert np.abs(model.apply(params, pad_pairs(other, other)) - logits).max() > 1e-3
    assert np.abs(model.apply(params, pairs, jax.random.key(1)) - logits).max() > 1e-3  # dropout


def test_a_writer_counts_what_it_writes_and_hears_the_language():
    model = make_writer(TINY, 7, 2, 6)
    params, pairs = model.init(jax.random.key(0)), pad_pairs(IDS, IDS, max_target=9)
    one, other = (model.apply(params, pairs, np.full(3, i)) for i in (0, 1))
    assert one.shape == (3,) and (np.abs(one - other) > 1e-4).all()
    flat = params._replace(w_y=params.w_y * 0)  # every letter alike, each name with its end
    np.testing.assert_allclose(model.apply(flat, pairs, np.zeros(3, int)), np.log(7) * np.array([4, 2, 6]), rtol=1e-5)
    ids = np.asarray(model.sample(params, np.zeros(40, int), jax.random.key(2), 1.0))
    assert ids.shape == (40, 6) and not np.isin(ids[:, 0], (0, 1, 2, 3)).any()  # never empty
    ended = np.cumsum(ids == EOS, axis=1) - (ids == EOS) > 0
    assert (ids[ended] == 0).all() and (ids[~ended] >= 2).all() and (ids != 3).all()


def test_macro_f1_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=200)
    answers = np.where(rng.random((2, 200)) < 0.6, truth, rng.integers(4, size=(2, 200)))
    found = baselines.macro_f1(answers, truth, 4)
    expected = np.mean([f1_score(truth, row, average="macro") for row in answers])
    assert found.mean == pytest.approx(expected) and found.low < found.mean < found.high
    assert baselines.f1_by_language(answers, truth, 4).mean() == pytest.approx(expected)


def test_the_5_gram_is_told_the_language():
    """With two languages of one letter each, the letter follows from the language, and only the end is uncertain."""
    ids = [[4], [5]] * 30
    training = pad_pairs(ids, ids), np.arange(60) % 2
    held_out = pad_pairs([[4], [4], [4, 4]], [[4], [4], [4, 4]]), np.array([0, 1, 0])
    right, wrong, longer = baselines.ngram_nats(training, held_out, 6)
    assert right < 0.3 < wrong and longer > right


@pytest.mark.parametrize("changes", [{"seeds": 0}, {"samples": 0}, {"cell": "lru"}])
def test_options_that_cannot_be(changes):
    with pytest.raises(ValueError, match="expected --"):
        dataclasses.replace(experiment.Config(), **changes).check()
