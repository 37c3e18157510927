"""Spoken digits: the tar file, and generated ones."""

import io
import os
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

from experiments.data import fsdd


def sound(samples, rate=8000, channels=1, width=2):
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2" if width == 2 else "u1").tobytes())
    return content.getvalue()


def packed(files, mode="w:gz"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_a_small_file_is_read_in_order(mode, tmp_path):
    files = {
        "recordings/7_theo_10.wav": sound([1, -32768, 16384]),
        "a/b/7_theo_2.wav": sound([5] * 4),
        "0_anna_3.wav": sound([9]),
        "README.md": b"no sound",
        "10_theo_3.wav": b"no digit",
    }
    found = fsdd.parse(packed(files, mode), "a file")
    assert found.digits.tolist() == [0, 7, 7] and found.indices.tolist() == [3, 2, 10]
    assert found.speakers.tolist() == ["anna", "theo", "theo"]
    assert found.waves[2].tolist() == [1 / 32768, -1.0, 0.5]
    some = found.take(found.speakers == "theo")
    assert some.indices.tolist() == [2, 10] and [len(each) for each in some.waves] == [4, 3]
    (tmp_path / "a.tar.gz").write_bytes(packed(files, mode))
    assert len(fsdd.load(str(tmp_path / "a.tar.gz")).waves) == 3


def test_links_are_not_followed():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        link = tarfile.TarInfo("1_theo_0.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "../../secret.wav"
        archive.addfile(link)
    with pytest.raises(ValueError, match=r"files such as 7_jackson_32\.wav in a file, got none"):
        fsdd.parse(content.getvalue(), "a file")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"no tar", "a file to be a tar file"),
        (packed({"1_theo_0.wav": sound([1, 2])})[:60], "a file to be a tar file"),
        (packed({"1_theo_0.wav": b"RIFF"}), "1_theo_0.wav in a file to be a WAV file"),
        (packed({"1_theo_0.wav": sound([1, 2], rate=16000)}), "8000 Hz, got 1 of 16 at 16000 Hz"),
        (packed({"1_theo_0.wav": sound([1, 2], channels=2)}), "8000 Hz, got 2 of 16 at 8000 Hz"),
        (packed({"1_theo_0.wav": sound([1, 2], width=1)}), "8000 Hz, got 1 of 8 at 8000 Hz"),
        (packed({"1_theo_0.wav": sound([])}), "and 0 samples"),
        (packed({"1_theo_0.wav": bytes(fsdd.LONGEST + 1)}), "to be one digit, got 1,048,577 bytes"),
    ],
    ids=["no tar", "cut off", "no sound", "rate", "channels", "width", "empty", "long"],
)
def test_other_files_are_refused(content, expected):
    with pytest.raises(ValueError, match=expected) as error:
        fsdd.parse(content, "a file")
    assert "\n" not in str(error.value)


def test_the_real_file_has_every_recording_once():
    path = Path(os.environ.get("RNNJAX_DATA", "none")) / "fsdd" / fsdd.FSDD_RECORDINGS.name
    if not path.is_file():
        pytest.skip("the file is not here")
    found = fsdd.load("fsdd")
    assert len({wave.tobytes() for wave in found.waves}) == 3000
    assert set(found.speakers.tolist()) == {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
    assert (np.bincount(found.digits) == 300).all() and (np.bincount(found.indices) == 60).all()


# ---- generated -----------------------------------------------------------------------------------------------


def test_generated_digits_differ_by_digit_speaker_and_seed():
    one, again, other = (
        fsdd.generate(2, 1, speakers=2),
        fsdd.generate(2, 1, speakers=2),
        fsdd.generate(2, 2, speakers=2),
    )
    assert len(one.waves) == 40 and one.speakers[0] == "speaker0" and one.indices.tolist() == [0, 1] * 20
    assert all(np.array_equal(a, b) for a, b in zip(one.waves, again.waves, strict=True))
    assert not any(a.shape == b.shape and np.array_equal(a, b) for a, b in zip(one.waves, other.waves, strict=True))
    assert all(0.05 < np.abs(wave).max() <= 1 and 0.05 < len(wave) / fsdd.RATE < 1 for wave in one.waves)
