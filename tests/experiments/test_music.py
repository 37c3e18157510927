"""The music experiment: what is predicted from what, the loss, baselines, MIDI and sound, and a smoke run."""

import dataclasses

import jax
import jax.numpy as jnp
import mido
import numpy as np
import pytest
from experiment_runs import figures_of, smoke_config, smoke_fixture
from scipy.io import wavfile

from experiments.data.jsb import NOTES
from experiments.music import __main__ as music
from experiments.music import models, score

SMOKE = dataclasses.replace(music.Config(), **music.SMOKE)
pytestmark = pytest.mark.usefixtures("standard_promotion")
smoke = smoke_fixture(music)


def random_rolls(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.random((length, NOTES)) < 0.05 for length in lengths]


def test_nats_of_a_chord_by_hand():
    logits, chord = np.full((2, NOTES), -np.log(3.0)), np.zeros((2, NOTES), bool)  # P(note) = 1/4
    chord[1, [7, 11]] = True
    expected = -np.log(0.75) * np.array([88, 86]) - np.log(0.25) * np.array([0, 2])
    np.testing.assert_allclose(models.nats(jnp.asarray(logits, jnp.float32), chord), expected, rtol=1e-5)


def test_the_next_chord_is_predicted_from_those_before_and_padding_is_inert():
    network = models.make_network(SMOKE)
    params = network.init(jax.random.key(0))
    rolls = random_rolls(7, 5)
    scores = models.make_score(network, 11)(params, rolls)
    assert [len(each) for each in scores] == [6, 4]
    other = [roll.copy() for roll in rolls]
    other[0][4] = ~other[0][4]
    moved = models.make_score(network, 7)(params, other)
    np.testing.assert_allclose(moved[0][:3], scores[0][:3], rtol=1e-5)  # of chords 1 to 3
    assert np.all(np.abs(moved[0][3:] - scores[0][3:]) > 1e-4)  # of chord 4, and of those after it
    np.testing.assert_allclose(moved[1], scores[1], rtol=1e-5)


def test_composing_is_the_same_network_step_by_step():
    network = models.make_network(dataclasses.replace(SMOKE, temperature=1e-4))  # always the likeliest
    params = network.init(jax.random.key(3))
    params = params._replace(w_y=30 * params.w_y)
    first = random_rolls(1, seed=2)[0][0]
    new = np.asarray(network.compose(params, first, jax.random.key(1)))
    assert new.shape == (SMOKE.length, NOTES) and np.array_equal(new[0], first)
    logits = np.asarray(network.logits(params, new[:, None]))[:, 0]
    likely = np.argsort(logits, axis=1)[:, -SMOKE.voices :]
    assert all({*np.flatnonzero(chord)} == {*notes} for chord, notes in zip(new[1:], likely[:-1], strict=True))


def test_a_logistic_regression_on_contexts():
    [roll] = random_rolls(6)
    seen = models.contexts(roll, 3)
    assert seen.shape == (5, 3 * NOTES)
    assert np.array_equal(seen[0], np.concatenate([roll[0], np.zeros(2 * NOTES, bool)]))
    assert np.array_equal(seen[4], np.concatenate([roll[4], roll[3], roll[2]]))
    alternating = np.zeros((400, NOTES), bool)
    alternating[::2, 40] = alternating[1::2, 47] = True
    share = models.frequencies([alternating])
    assert share[40] == pytest.approx(0.5, abs=0.01) and share[0] == pytest.approx(1 / 401)
    fitted = models.fit_logistic([alternating], 1, 10.0)
    by_frequency = models.Logistic(1, 0.0, np.zeros((NOTES, NOTES)), np.log(share / (1 - share)))
    assert fitted.score([alternating])[0].mean() < 0.4 < 1.3 < by_frequency.score([alternating])[0].mean()


def test_pieces_are_found_in_any_key():
    one, two = random_rolls(20, 20, seed=5)
    one[:, :9] = one[:, -9:] = False
    assert music.shared([models.transposed(one, 4)], [one, two]).tolist() == [1.0]
    assert music.shared([one], [two]).tolist() == [0.0]
    half = np.concatenate([one[:12], two[:8]])
    assert music.shared([half], [one]).tolist() == [5 / 13]


def test_the_mean_is_over_chords():
    nats = [np.array([1.0, 2.0, 3.0]), np.array([10.0])]
    assert music.per_chord(nats).mean == 4.0
    assert music.per_chord(nats, [np.zeros(3), np.array([14.0])]).mean == 0.5


def test_midi_and_sound(tmp_path):
    roll = np.zeros((4, NOTES), bool)
    roll[0:2, 48] = roll[3, 48] = roll[1, 52] = True  # the a of 440 Hz, held, and again
    assert score.held(roll) == [(69, 0, 2), (73, 1, 1), (69, 3, 1)]
    score.write_midi(tmp_path / "a.mid", roll, 0.5)
    file = mido.MidiFile(tmp_path / "a.mid")
    assert file.length == pytest.approx(2.0)
    now, sounding, heard = 0.0, set(), {}
    for message in file:
        now += message.time
        if message.type in ("note_on", "note_off"):
            (sounding.add if message.type == "note_on" else sounding.remove)(message.note)
            heard[round(now, 3)] = set(sounding)
    assert heard == {0.0: {69}, 0.5: {69, 73}, 1.0: set(), 1.5: {69}, 2.0: set()}
    signal = score.synthesize(roll, 0.5)
    spectrum = np.abs(np.fft.rfft(signal[: score.RATE // 2]))
    assert spectrum.argmax() * 2 == 440 and np.abs(signal[int(1.1 * score.RATE) : int(1.5 * score.RATE)]).max() == 0


@pytest.mark.slow
def test_smoke_leaves_its_files(smoke):
    folder, result = smoke
    assert 0 < result["nll_per_step"] < 88 * np.log(2) and 0 < result["baseline_nll_per_step"] < 30
    assert figures_of(folder) == {"positions", "predictions", "loss", "chorales"}
    rate, samples = wavfile.read(folder / "chorale.wav")
    assert (rate, samples.dtype, samples.ndim) == (16000, np.int16, 1)
    assert len(samples) == pytest.approx(12 * 0.6 * rate, rel=0.02) and np.abs(samples).max() > 20000
    files = [mido.MidiFile(folder / f"chorale_{number}.mid") for number in range(2)]
    for file in files:
        chord = {m.note for m in file.tracks[0][1:5] if m.type == "note_on" and m.time == 0}
        assert chord == {60, 67, 76, 84}
    assert '<audio controls src="data:audio' in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"first": (12,)}, "--first"), ({"first": ()}, "--first"), ({"cell": "grue"}, "--cell"), ({"draws": 0}, "--draws"),
     ({"temperature": 0.0}, "--temperature"), ({"data": "nothing"}, "generated, jsb or the path")],
)  # fmt: skip
def test_bad_options_are_one_sentence(options, expected, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=expected) as error:
        music.main(smoke_config(music, tmp_path, **options))
    assert "\n" not in str(error.value)
