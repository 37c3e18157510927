"""Addition, dates, translation and professor forcing in their smoke setting."""

import jax
import numpy as np
import pytest
from experiment_runs import smoke_fixture

from experiments import addition, dates, professor_forcing, translation
from experiments.lib import translator

pytestmark = pytest.mark.usefixtures("quick_compilation", "standard_promotion")
addition_run = smoke_fixture(addition)


def test_addition_leaves_its_files_and_answers(addition_run, capsys):
    folder, result = addition_run
    assert result["updates"] == 20 and 0 <= result["exact_match"] <= 1
    for name in ("attention.png", "loss.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert "one digit more" in (folder / "report.md").read_text()
    (answer,) = addition.predict(translator.PredictConfig(out=str(folder), text="535+61", beam=2))
    assert set(answer) <= set("0123456789+") and f"535+61 = {answer}" in capsys.readouterr().out
    with pytest.raises(ValueError, match="digits and a plus"):
        addition.predict(translator.PredictConfig(out=str(folder), text="5-3"))


def test_addition_holds_out_what_it_says():
    config = addition.Config(pairs=3000, held_out=200)
    training, held_out = addition.split(config)
    seen = {frozenset(pair) for pair in training.tolist()}
    assert len(training) == 3000 and len(held_out) == 200
    assert not seen & {frozenset(pair) for pair in held_out.tolist()}
    assert np.array_equal(addition.split(config)[1], held_out) and held_out.max() < 1000
    questions = addition.encode(held_out, 3)
    assert int(addition.text_of(questions.targets[7])) == held_out[7].sum()


def test_dates_smoke(tmp_path):
    result = dates.main(dates.Config(smoke=True, out=str(tmp_path)))
    assert 0 <= result["exact_match"] <= 1 and (tmp_path / "attention_0.png").exists()
    (answer,) = dates.predict(translator.PredictConfig(out=str(tmp_path), text="July 20th 1969", beam=1))
    assert set(answer) <= set("0123456789-")


def test_translation_smoke(tmp_path):
    result = translation.main(translation.Config(smoke=True, out=str(tmp_path)))
    assert 0 <= result["bleu"] <= 100 and (tmp_path / "exposure.png").exists()
    text = (tmp_path / "report.md").read_text()
    assert "errors of the search" in text and "Jane visite l'Afrique" in text
    config = translator.PredictConfig(out=str(tmp_path), text="Tom lit un livre.", beam=1)
    assert len(translation.predict(config)) == 1


def test_professor_forcing_smoke(tmp_path):
    result = professor_forcing.main(professor_forcing.Config(smoke=True, out=str(tmp_path)))
    assert 0 <= result["exact_match_professor_forcing"] <= 1
    assert "scheduled sampling" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize("name", translator.ATTENTIONS)
def test_every_attention_and_cell_makes_a_translator(name):
    cells = list(translator.CELLS)
    cell = cells[translator.ATTENTIONS.index(name) % len(cells)]
    options = translator.Options(attention=name, cell=cell, hidden=5, embedding=3, layers=2, batch=4)
    model = translator.make_model(options, 11, 13)
    params = model.init(jax.random.key(0))
    sources, lengths = np.arange(12).reshape(3, 4) % 11, np.array([3, 1, 4])
    found = translator.make_search(model, beam_size=2, max_steps=5)(params, sources, lengths)
    assert found.tokens.shape == (3, 5) and np.isfinite(found.scores).all()


def test_scheduled_sampling_trains(tmp_path):
    config = addition.Config(smoke=True, truth_decay="linear", truth_k=5.0, attention="none", out=str(tmp_path))
    assert addition.main(config)["updates"] == 20


def test_the_share_of_truth_decays():
    pairs = addition.encode(np.array([[1, 2], [30, 4]]), 3)
    by_hand = {"none": 1.0, "linear": 1 - 3 / 5, "exponential": 0.8**3, "inverse_sigmoid": 5 / (5 + np.exp(3 / 5))}
    for decay, share in by_hand.items():
        options = translator.Options(truth_decay=decay, truth_k=5.0, batch=2)
        np.testing.assert_allclose(translator.make_batches(options, pairs)(3).truth, share, rtol=1e-6)
    assert by_hand.keys() == {*translator.DECAYS}


def test_wrong_options_are_one_sentence():
    for option, message in (({"attention": "self"}, "--attention"), ({"cell": "lru"}, "--cell")):
        with pytest.raises(ValueError, match=f"expected {message} to be one of"):
            translator.make_model(translator.Options(**option), 11, 13)
    with pytest.raises(ValueError, match="--truth-decay"):
        translator.make_batches(translator.Options(truth_decay="cosine"), None)
