"""Entities: the tagger, spans and their scores, and the field of features."""

import dataclasses

import jax
import numpy as np
import pytest
import seqeval.metrics
from experiment_runs import figures_of, smoke_fixture
from seqeval.scheme import IOB2

from experiments.data.wnut17 import Sentence, Sentences
from experiments.ner import __main__ as experiment
from experiments.ner import scores, words
from experiments.ner.baseline import features
from experiments.ner.model import make_tagger, may_follow

pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(experiment)
TAGS = ["B-a", "B-b", "I-a", "I-b", "O"]


@pytest.mark.slow
def test_smoke_leaves_its_files_and_tags(smoke):
    folder, result = smoke
    assert figures_of(folder) == {"curves", "kinds"}
    assert 0 <= result["f1"] < result["baseline_f1"] <= 1 and 0 <= result["f1_softmax"] < 1
    text = (folder / "report.md").read_text()
    assert "| Hermione |" in text and "100.0% of the test's entities are not among" in text.replace("\n", " ")
    assert "| O | " in text and "| B-person | " in text
    [answer] = experiment.predict(experiment.PredictConfig(out=str(folder), text="We met Harry."))
    assert "met" in answer


def test_only_inside_tags_need_one_of_their_kind():
    follows, first = may_follow(TAGS)
    assert first.tolist() == [True, True, False, False, True]
    assert follows[:, 2].tolist() == [True, False, True, False, False]  # I-a after B-a and I-a
    assert follows[:, [0, 1, 4]].all()


def test_a_tagger_sees_no_padding_and_its_crf_keeps_the_rules():
    config = dataclasses.replace(experiment.Config(), hidden=3, letter_hidden=2, letter_embedding=2, dropout=0.5)
    sentences = [Sentence(("We", "met", "Ann", "Lee"), ("O", "O", "B-a", "I-a")), Sentence(("No",), ("O",))]
    language = words.learn_language(dataclasses.replace(config, letters=4), Sentences(sentences * 2, [], []))
    language = language._replace(tags=TAGS)
    crf, softmax = (make_tagger(config, o, language.vectors, language.letters.size, TAGS) for o in ("crf", "softmax"))
    params = crf.init(jax.random.key(0))._replace(b_y=np.array([0.0, 0.0, 30.0, 20.0, 10.0], np.float32))  # I-a is best
    batch, wider = (words.encode(sentences, language, steps) for steps in (4, 7))

    def run(tagger):
        return jax.jit(
            lambda some: (tagger.loss(params, some), tagger.marginals(params, some), tagger.tags(params, some))
        )

    for tagger in (crf, softmax):
        (loss, chance, tags), (other_loss, other_chance, _) = run(tagger)(batch), run(tagger)(wider)
        assert float(loss.count) == 5 and np.isfinite(float(loss.sum))
        np.testing.assert_allclose(float(loss.sum), float(other_loss.sum), rtol=1e-5)
        np.testing.assert_allclose(chance, other_chance[:, :4], atol=1e-5)
        np.testing.assert_allclose(np.asarray(chance)[0].sum(axis=-1), 1.0, rtol=1e-5)
        inside = [TAGS[i] for i in np.asarray(tags)[0]]
        assert (scores.broken([[inside]]) == 0) == (tagger is crf)
        assert (float(chance[0, 0, 2]) == 0) == (tagger is crf)  # no sentence begins with I-
    dropped = jax.jit(lambda some: softmax.loss(params, some, key=jax.random.key(1)))(batch)
    assert float(dropped.sum) != pytest.approx(float(loss.sum), rel=1e-4)


def test_the_loss_of_the_softmax_is_that_of_its_marginals():
    config = dataclasses.replace(experiment.Config(), hidden=3, letter_hidden=2, letter_embedding=2)
    sentences = [Sentence(("We", "met", "Ann"), ("O", "O", "B-a")), Sentence(("No",), ("O",))]
    language = words.learn_language(config, Sentences(sentences * 2, [], []))
    tagger = make_tagger(config, "softmax", language.vectors, language.letters.size, language.tags)
    params, batch = tagger.init(jax.random.key(0)), words.encode(sentences, language, 3)
    both = jax.jit(lambda some: (tagger.loss(params, some), tagger.marginals(params, some)))
    loss, chance = both(batch)
    chance = np.take_along_axis(np.asarray(chance), batch.tags[..., None], axis=-1)[..., 0]
    expected = -np.log(chance[0]).sum() - np.log(chance[1, 0])
    assert float(loss.sum) == pytest.approx(expected, rel=1e-5)


def test_words_are_known_by_letters_at_both_ends():
    config = dataclasses.replace(experiment.Config(), letters=4)
    sentences = [Sentence(("abcdefg", "ab", "AB"), ("O", "O", "O"))]
    language = words.learn_language(config, Sentences(sentences, [], []))
    batch = words.encode([*sentences, Sentence(("zz",), ("B-new",))], language, 3)
    spelled = ["".join(language.letters.symbols[i] for i in row[:n]) for row, n in
               zip(batch.letters[0], batch.letter_counts[0], strict=True)]  # fmt: skip
    assert spelled == ["abfg", "ab", "AB"] and batch.letter_counts[1].tolist() == [2, 0, 0]
    assert batch.words.tolist() == [[0, 1, 1], [0, 0, 0]]  # "ab" occurs twice, whatever its case
    assert language.vectors.shape == (2, 50) and not language.vectors[0].any() and language.vectors[1].any()
    assert words.split_words("Harry's owl, 3.").words == ("Harry's", "owl", ",", "3", ".")


def test_scores_are_those_of_seqeval():
    rng = np.random.default_rng(0)
    truth, answers = [], [[], []]
    for _ in range(60):
        tags = ["O", "B-a", "I-a", "O", "B-b", "B-a", "I-a", "I-a"][: rng.integers(1, 9)]
        truth.append(Sentence(tuple("w" * len(tags)), tuple(tags)))
        for seed in answers:  # broken tags among them
            seed.append([tag if rng.random() < 0.8 else str(rng.choice(TAGS)) for tag in tags])
    gold = [[*s.tags] for s in truth]
    expected = seqeval.metrics.f1_score(gold * 2, [*answers[0], *answers[1]], mode="strict", scheme=IOB2)
    found = scores.span_f1(truth, answers)
    assert found.mean == pytest.approx(expected) and found.low < expected < found.high
    precision, recall = scores.precision_recall(truth, answers)
    assert 2 * precision * recall / (precision + recall) == pytest.approx(expected)
    right, there = scores.count(truth, answers).sum(axis=0)[[0, 2]]
    by_kind = [scores.count(truth, answers, kind).sum(axis=0) for kind in "ab"]
    assert sum(k[0] for k in by_kind) == right and sum(k[2] for k in by_kind) == there
    assert scores.broken([[["I-a", "I-a", "B-b", "I-b", "I-a"]], [["O"]]]) == 1.0  # two in one of two seeds


def test_features_look_at_neighbours_and_not_at_the_answer():
    first, last = features(["Harry", "ran"])
    assert (first["shape"], first["last2"], first["after word"], first["begins"]) == ("Xx", "ry", "ran", True)
    assert "before word" not in first and last["before shape"] == "Xx" and last["ends"]


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="expected --letters from 2"):
        dataclasses.replace(experiment.Config(), letters=1).check()
