"""The speech experiment: frames and back, splicing, splits, recognisers, the voice, and a smoke run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture
from scipy.io import wavfile

from experiments.data import fsdd
from experiments.lib.pairs import EOS
from experiments.speech import __main__ as speech
from experiments.speech import features, recognise, voice
from experiments.speech.features import MELS, Frames

SMOKE = dataclasses.replace(speech.Config(), **speech.SMOKE)
pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(speech)


def random_frames(count, length, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, length, MELS)).astype(np.float32)


# ---- frames --------------------------------------------------------------------------------------------------


def test_a_tone_is_in_its_band_and_comes_back():
    wave = np.sin(2 * np.pi * 1000 * np.arange(4000) / fsdd.RATE)
    frames = features.log_mel(0.01 * wave)
    assert frames.shape == (41, MELS)
    np.testing.assert_allclose(frames, features.log_mel(wave), atol=1e-4)  # loudness is nothing
    band = frames[20].argmax()
    assert features.FILTERS[band].argmax() * fsdd.RATE / features.FFT == pytest.approx(1000, abs=60)
    back = features.to_wave(frames)
    assert np.abs(np.fft.rfft(back[:4000])).argmax() * 2 == pytest.approx(1000, abs=60)
    again = features.log_mel(back)[:41]
    assert np.corrcoef(again.ravel(), frames.ravel())[0, 1] > 0.9


def test_padding_and_warping():
    sounds = [np.ones((2, MELS), np.float32), np.ones((9, MELS), np.float32)]
    frames = features.pad(sounds, 6)
    assert frames.lengths.tolist() == [2, 6] and frames.values.sum(axis=(1, 2)).tolist() == [2 * MELS, 6 * MELS]
    bands = Frames(np.tile(np.arange(MELS, dtype=np.float32), (50, 3, 1)), np.full(50, 3))
    moved = features.warped(bands, 2, np.random.default_rng(0)).values
    assert {*moved[:, 0, 10].tolist()} == {8, 9, 10, 11, 12} and moved.max() == MELS - 1 and moved.min() == 0
    assert (moved[:, 0] == moved[:, 2]).all()


def test_strings_are_spliced_from_one_speaker_and_the_right_digits():
    tones = [500 if digit != 5 else 1500 for digit in range(10)] + [2500 if digit != 5 else 3500 for digit in range(10)]
    waves = [np.sin(2 * np.pi * tone * np.arange(1600) / fsdd.RATE) for tone in tones]
    pool = fsdd.Recordings(waves, np.tile(np.arange(10), 2), np.repeat(["a", "b"], 10), np.zeros(20, int))
    hertz, seen = features.FILTERS.argmax(axis=1) * fsdd.RATE / features.FFT, set()
    for frames in features.splice(pool, [[3, 5, 3]] * 12, np.random.default_rng(0), gap=0.1):
        assert 48 <= len(frames) <= 81  # three of 0.2 seconds, and four gaps
        heard = hertz[frames[frames.max(axis=1) > 0.5].argmax(axis=1)]
        kinds = np.round((heard - 500) / 1000).astype(int)
        order = kinds[np.flatnonzero(np.diff(kinds, prepend=-1))].tolist()
        assert order in ([0, 1, 0], [2, 3, 2])
        seen.add(order[0])
    assert seen == {0, 2}


def test_splits_do_not_leak():
    pool = fsdd.generate(12, 0, speakers=3)
    splits = recognise.split_all(pool.indices, pool.speakers)
    assert list(splits) == ["", "speaker0", "speaker1", "speaker2"]
    for name, split in splits.items():
        parts = [set(rows.tolist()) for rows in split]
        assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
        if name:
            assert {*pool.speakers[split.test]} == {name} and len(split.test) == 120
            assert name not in pool.speakers[np.concatenate([split.train, split.valid])]
    assert {*pool.indices[splits[""].test]} == set(range(5)) and {*pool.indices[splits[""].train]} == {10, 11}


# ---- recognisers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["simple_gru", ""])
def test_padding_is_inert_and_the_future_is_seen(cell):
    model = recognise.Recogniser(SMOKE, cell, 11)
    params, values = model.init(jax.random.key(0)), random_frames(2, 30)
    values[1, 21:] = 0
    lengths = np.array([30, 21])
    logits, counts = model.steps(params, Frames(values, lengths))
    assert logits.shape == (10, 2, 11) and counts.tolist() == [10, 7]
    short, _ = model.steps(params, Frames(values[1:, :21], lengths[1:]))
    np.testing.assert_allclose(short[:, 0], logits[:7, 1], rtol=1e-4, atol=1e-5)
    whole = model.whole(params, Frames(values, lengths))
    np.testing.assert_allclose(whole[1], logits[:7, 1].mean(axis=0), rtol=1e-4, atol=1e-5)
    changed = values.copy()
    changed[0, 29] += 1
    moved = np.abs(model.steps(params, Frames(changed, lengths))[0] - logits)[:, 0].max(axis=-1) > 1e-7
    assert moved.all() if cell else moved.tolist() == [False] * 5 + [True] * 5  # half a window


def test_word_errors_by_hand():
    found = recognise.word_errors([[1, 2, 3], [4], [5, 5, 5, 6]], [[1, 2, 3], [4, 4], [5, 6]])
    assert found.mean == pytest.approx(3 / 7)  # one left out, two put in
    assert found.low <= found.mean <= found.high


@pytest.mark.parametrize("beam", [1, 3])
def test_readers_collapse_paths(beam):
    class Said(recognise.Recogniser):
        def steps(self, params, frames, key=None):
            path = jnp.array([[0, 3, 3, 0, 3, 8, 8, 10], [5, 5, 0, 0, 1, 1, 7, 7]]).T
            return 20 * jax.nn.one_hot(path, 11), jnp.array([8, 6])

    read = recognise.make_reader(Said(SMOKE, "", 11), beam, 7)
    assert read(None, Frames(np.zeros((2, 24, MELS), np.float32), np.array([24, 18]))) == [[2, 2, 7, 9], [4, 0]]


# ---- the voice -----------------------------------------------------------------------------------------------


def test_spelling():
    letters, counts = voice.spell([[3], [7, 0]], 2)
    assert letters.shape == (2, 12) and counts.tolist() == [5, 10]
    assert voice.SYMBOLS.decode(letters[1, :10]) == "seven zero" and EOS not in letters


def test_speaking_is_the_trained_network_and_ends_where_it_says():
    model = voice.make_voice(SMOKE)
    params = model.init(jax.random.key(0))
    letters, counts = voice.spell([[3], [7, 0]], 2)
    frames, end, weights = model.speak(params, letters, counts, jax.random.key(1), 5)
    assert frames.shape == (5, 2, voice.TOGETHER * MELS) and end.shape == (5, 2)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-5)
    assert np.array_equal(weights[:, 0, 5:], np.zeros((5, 7)))  # behind the word
    ended = voice.make_speaker(model, 2, 5)(params._replace(b_y=params.b_y.at[-1].set(50.0)), [[3], [7, 0]], 0)
    assert [some.shape for some in ended.frames] == [(3, MELS)] * 2 and ended.weights[1].shape == (1, 10)
    never = voice.make_speaker(model, 2, 5)(params._replace(b_y=params.b_y.at[-1].set(-50.0)), [[3], [7, 0]], 0)
    assert [some.shape for some in never.frames] == [(15, MELS)] * 2


def test_padding_does_not_change_the_loss_of_the_voice():
    model = voice.make_voice(SMOKE)
    params, values = model.init(jax.random.key(0)), random_frames(2, 12)
    letters, counts = voice.spell([[3], [7]], 2)
    params = params._replace(w_in=0 * params.w_in)  # or dropout would differ
    batch = voice.Spelled(letters, counts, Frames(values, np.array([12, 9])))
    loss = model.loss(params, batch, key=jax.random.key(0))
    assert float(loss.count) == 7  # steps
    values[1, 9:] = 99.0
    other = model.loss(params, batch._replace(letters=np.where(letters, letters, 3)), key=jax.random.key(0))
    np.testing.assert_allclose(other, loss, rtol=1e-5)


def test_templates_are_means_of_stretched_recordings(monkeypatch):
    waves = [np.full(3, 10.0 * (n % 10) + n // 10) for n in range(30)]
    monkeypatch.setattr(voice, "log_mel", lambda wave: np.full((4 + int(wave[0] % 10), MELS), wave[0]))
    pool = fsdd.Recordings(waves, np.tile(np.arange(10), 3), np.array(["a"] * 30), np.repeat(np.arange(3), 10))
    templates = voice.make_templates(pool)
    assert [some.shape for some in templates] == [(5, MELS)] * 10
    assert [some.mean() for some in templates] == pytest.approx([10.0 * digit + 1 for digit in range(10)])


# ---- the whole -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    names = ("accuracy", "accuracy_new_speakers", "spoken_right")
    assert all(0 <= result[f"{prefix}{name}"] <= 1 for name in names for prefix in ("", "baseline_"))
    assert result["baseline_accuracy"] > 0.5 and 0 < result["word_error_rate"] < 4
    shown = {"speakers", "confusions", "string", "strings_network/loss", "voice", "voice/loss"}
    assert figures_of(folder) == shown
    for name in ("spoken", "recorded"):
        rate, samples = wavfile.read(folder / f"{name}.wav")
        assert (rate, samples.dtype) == (8000, np.int16) and 1000 < len(samples) < 2.5 * rate
    assert (folder / "report.html").read_text().count("<audio") == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"text": "12a"}, "--text"), ({"text": "1234"}, "--text"), ({"speaker": "nobody"}, "--speaker"),
     ({"count": 10}, "--count"), ({"cell": "grue"}, "--cell"), ({"beam": 0}, "--beam")],
)  # fmt: skip
def test_bad_options_are_one_sentence(options, expected, tmp_path):
    with pytest.raises(ValueError, match=expected) as error:
        speech.main(smoke_config(speech, tmp_path, **options))
    assert "\n" not in str(error.value)
