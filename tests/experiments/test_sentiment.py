"""Sentiment: the vocabulary, what is asked, a smoke run."""

import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture

from experiments.data import glove, sst2
from experiments.sentiment import __main__ as sentiment

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(sentiment)


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    for name in ("accuracy", "accuracy_single", "baseline_accuracy", "baseline_commonest"):
        assert 0.3 < result[name] < 0.9
    assert result["network"] == "attention" and figures_of(folder) == {"accuracy", "words", "attention"}
    files = {int(path.stem): dict(np.load(path)) for path in (folder / "attention" / "answers").iterdir()}
    assert set(files) == {10, 20}
    words = len(sentiment.SENTENCE) - 5  # without commas, full stop and what the reviews do not have
    for found in files.values():
        assert found["probs"].shape[0] == 2 and len(found["weights"]) <= len(sentiment.SENTENCE)
        assert len(found["weights"]) >= words - 2 and abs(found["weights"].sum() - 1) < 1e-5
    assert not np.allclose(files[10]["probs"], files[20]["probs"])


def test_the_vocabulary_has_training_words_and_those_that_glove_knows(monkeypatch):
    part = [
        sst2.Labelled(sentences, np.zeros(len(sentences), int)) for sentences in ((("a", "b"),), (("c",),), (("d",),))
    ]
    known = glove.WordVectors(("b", "d", "taste", "other"), np.arange(200, dtype=np.float32).reshape(4, 50))
    monkeypatch.setattr(glove, "load", lambda: known)
    ids, first = sentiment.vocabulary(sst2.Reviews(*part), sentiment.Config(vectors="glove"))
    assert ids == {"a": 2, "b": 3, "d": 4, "taste": 5}  # c is in no training sentence and has no vector
    assert first.shape == (6, 50) and (first[[3, 4, 5]] == known.vectors[:3]).all()
    ids, first = sentiment.vocabulary(sst2.Reviews(*part), sentiment.Config())
    assert ids == {"a": 2, "b": 3} and first is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"models": ("mean", "elman")}, "expected models to be of mean, attention, rnn"),
        ({"models": ("lstm",)}, "expected --models to be mean and at least one more, got lstm"),
        ({"vectors": "glove"}, "expected --embedding 50 with --vectors glove, got 7"),
    ],
)
def test_bad_options_are_one_sentence(options, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        sentiment.main(smoke_config(sentiment, tmp_path, **options))
