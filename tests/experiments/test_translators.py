"""Addition, dates, translation and professor forcing in their smoke setting, and the model that they share."""

import io

import jax
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_fixture

from experiments import addition, dates, professor_forcing, translation
from experiments.lib import search, translator
from experiments.lib.bleu import bleu
from experiments.lib.cells import CELLS
from experiments.lib.pairs import BOS, EOS, PAD, Pairs
from experiments.lib.report import read_metrics

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("standard_promotion")]
addition_run = smoke_fixture(addition)
dates_run = smoke_fixture(dates)
translation_run = smoke_fixture(translation)
professor_forcing_run = smoke_fixture(professor_forcing)


def test_addition_leaves_its_files_and_answers(addition_run, capsys):
    folder, result = addition_run
    assert result["updates"] == 20 and 0 <= result["exact_match"] <= 1
    assert figures_of(folder) == {"attention", "loss"}
    text = (folder / "report.md").read_text()
    assert "| general attention | " in text and "40 unseen pairs were answered wrongly" in text
    assert any("held_out_loss" in line for line in read_metrics(folder / "metrics.jsonl"))
    (answer,) = addition.predict(search.PredictConfig(out=str(folder), text="535+61", beam=2))
    assert set(answer) <= set("0123456789+<unk>") and f"535+61 = {answer}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="digits and a plus"):
        addition.predict(search.PredictConfig(out=str(folder), text="5-3"))


def test_addition_holds_out_what_it_says():
    config = addition.Config(pairs=3000, held_out=200)
    training, held_out = addition.split(config)
    seen = {frozenset(pair) for pair in training.tolist()}
    assert len(training) == 3000 and len(held_out) == 200
    assert not seen & {frozenset(pair) for pair in held_out.tolist()}
    assert np.array_equal(addition.split(config)[1], held_out) and held_out.max() < 1000
    answers = addition.encode(held_out, 3).targets
    assert int(addition.SYMBOLS.decode(answers[7])) == held_out[7].sum()


def test_dates_leaves_its_files_and_answers(dates_run):
    folder, result = dates_run
    assert 0 <= result["exact_match"] <= 1
    assert figures_of(folder) == {"attention_0", "attention_1", "loss"}
    (answer,) = dates.predict(search.PredictConfig(out=str(folder), text="July 20th 1969", beam=1))
    assert set(answer) <= set("0123456789-")


def test_lines_of_the_standard_input_are_answered_until_one_is_empty(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO("ab\n cd \n\nef\n"))
    assert search.answer_lines("", str.upper, "->") == ["AB", "CD"]
    assert capsys.readouterr().out == "ab -> AB\ncd -> CD\n"
    assert search.answer_lines("x", str.upper, "->") == ["X"]


def test_translation_leaves_its_files_and_answers(translation_run):
    folder, result = translation_run
    assert 0 <= result["bleu"] <= 100 and result["beam"] == 2
    assert figures_of(folder) == {"attention_0", "attention_1", "exposure", "loss"}
    text = (folder / "report.md").read_text()
    assert "errors of the search" in text and "Jane visite l'Afrique" in text
    config = search.PredictConfig(out=str(folder), text="Tom lit un livre.", beam=1)
    assert len(translation.predict(config)) == 1


def test_pieces_read_what_they_write(tmp_path):
    parts = translation.load(translation.Config(data="generated", held_out=0.1))
    assert not {pair.english for pair in parts[0]} & {pair.english for part in parts[1:] for pair in part}
    pieces = [translation.learn_pieces((pair[i] for pair in parts[0]), 80, tmp_path / f"{i}.model") for i in (0, 1)]
    pairs, ids = translation.encode(parts[2], *pieces, 40)
    assert [pieces[0].decode(row.tolist()) for row in ids.sources] == [pair.french for pair in pairs]
    assert pieces[1].decode([BOS, *ids.targets[3].tolist(), EOS, PAD]) == pairs[3].english
    assert [row[length - 1] for row, length in zip(ids.targets, ids.target_lengths, strict=True)] == [EOS] * len(pairs)


def test_the_interval_of_bleu_contains_it_and_is_narrower_for_more_sentences():
    found = ["the cat is on the mat .", "a dog sees my old house .", "he reads two books here ."]
    known = [["the cat is on a mat ."], ["a dog sees my house ."], ["he reads here ."]]
    few, many = bleu(found, known), bleu(found * 30, known * 30)
    assert few.low < few.mean < few.high and many.mean == pytest.approx(few.mean)
    assert many.low < many.mean < many.high and many.high - many.low < 0.5 * (few.high - few.low)
    same = bleu([text for [text] in known], known)
    assert tuple(same) == pytest.approx((100, 100, 100))
    assert bleu(found, [[*each, text] for each, text in zip(known, found, strict=True)]).mean == pytest.approx(100)


def test_professor_forcing_compares_three_ways(professor_forcing_run):
    folder, result = professor_forcing_run
    assert 0 <= result["exact_match_professor_forcing"] <= 1
    assert figures_of(folder) == {"exposure"}
    assert "| scheduled sampling | " in (folder / "report.md").read_text()


# ---- the model -----------------------------------------------------------------------------------------------


def make(**options):
    """A small model, its parameters, and pairs of ragged sources and targets."""
    model = translator.make_model(translator.Options(hidden=5, embedding=3, **options), 11, 13)
    rng = np.random.default_rng(0)
    lengths, target_lengths = np.array([3, 1, 4], np.int32), np.array([2, 5, 1], np.int32)
    sources = np.where(np.arange(4) < lengths[:, None], rng.integers(4, 11, (3, 4)), PAD)
    targets = np.where(np.arange(5) < target_lengths[:, None], rng.integers(4, 13, (3, 5)), PAD)
    return model, model.init(jax.random.key(0)), Pairs(sources, lengths, targets, target_lengths)


@pytest.mark.parametrize("name", translator.ATTENTIONS)
def test_what_a_model_reads_it_also_writes(name):
    cell = list(CELLS)[list(translator.ATTENTIONS).index(name) % len(CELLS)]
    model, params, pairs = make(attention=name, cell=cell)
    found = search.make_search(model, beam_size=2, max_steps=5)(params, pairs)
    assert found.tokens.shape == (3, 5) and not np.isin(found.tokens[:, 0], (0, 1)).any()
    # The score of the search, that of the scorer and the loss of teacher forcing are one number.
    told = pairs._replace(targets=found.tokens, target_lengths=found.lengths)
    np.testing.assert_allclose(search.make_scorer(model)(params, told), found.scores, rtol=1e-4, atol=1e-5)
    loss = translator.target_loss(model.project(params, model.outputs(params, told)), told)
    np.testing.assert_allclose(loss.sum, -found.scores.sum(), rtol=1e-4)
    assert int(loss.count) == found.lengths.sum()


def test_padding_changes_nothing():
    model, params, pairs = make(layers=2)
    wide = Pairs(np.pad(pairs.sources, ((0, 0), (0, 3)), constant_values=7), *pairs[1:])
    find = search.make_search(model, beam_size=1, max_steps=5, weights=True)
    narrow, padded = find(params, pairs), find(params, wide)
    assert np.array_equal(narrow.tokens, padded.tokens) and narrow.weights.shape == (3, 5, 4)
    np.testing.assert_allclose(narrow.weights, padded.weights[..., :4], atol=1e-6)
    assert not padded.weights[..., 4:].any() and search.exact_match(narrow, pairs).tolist() == [False] * 3
    told = pairs._replace(targets=narrow.tokens, target_lengths=narrow.lengths)
    np.testing.assert_allclose(search.make_scorer(model)(params, told), narrow.scores, rtol=1e-4)
    same = pairs._replace(targets=np.pad(narrow.tokens, ((0, 0), (0, 2))))
    assert search.exact_match(narrow, same).all()


def test_scheduled_sampling_without_own_samples_is_teacher_forcing():
    key, losses = jax.random.key(1), {}
    for decay in ("none", "linear"):
        model, params, pairs = make(truth_decay=decay, batch=3)
        batch = translator.Batch(pairs, np.ones(3, np.float32))
        losses[decay] = float(translator.make_loss(model)(params, batch, key=key).mean)
    assert losses["none"] == pytest.approx(losses["linear"], rel=1e-5)
    own = translator.make_loss(model)(params, batch._replace(truth=np.zeros(3, np.float32)), key=key)
    assert abs(float(own.mean) - losses["linear"]) > 1e-4


def test_the_share_of_truth_decays():
    pairs = addition.encode(np.array([[1, 2], [30, 4]]), 3)
    by_hand = {"none": 1.0, "linear": 1 - 3 / 5, "exponential": 0.8**3, "inverse_sigmoid": 5 / (5 + np.exp(3 / 5))}
    for decay, share in by_hand.items():
        options = translator.Options(truth_decay=decay, truth_k=5.0, batch=2)
        np.testing.assert_allclose(translator.make_batches(options, pairs)(3).truth, [share] * 2, rtol=1e-6)
    assert by_hand.keys() == {*translator.DECAYS}


def test_wrong_options_are_one_sentence():
    for option in ({"attention": "self"}, {"cell": "lru"}, {"truth_decay": "cosine"}):
        name = next(iter(option)).replace("_", "-")
        with pytest.raises(ValueError, match=f"expected --{name} to be one of"):
            translator.Options(**option).check()
