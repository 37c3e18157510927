"""Captions: three parts without what stands in a later one."""

import gzip
import os
from pathlib import Path

import pytest

from experiments.data import multi30k

TEXTS = {"train": "a dog .\na cat .\n", "val": "a cat .\na fox .\n", "test_2016_flickr": "a fox .\n"}


def test_captions_are_read_gzipped_or_not(tmp_path, monkeypatch):
    folder = tmp_path / "multi30k" / "tok"
    folder.mkdir(parents=True)
    for (part, text), packed in zip(TEXTS.items(), (True, False, True), strict=True):
        name = f"{part}.lc.norm.tok.en"
        content = gzip.compress(text.encode()) if packed else text.encode()
        (folder / (name + (".gz" if packed else ""))).write_bytes(content)
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"got other bytes"):
        multi30k.load()
    monkeypatch.setattr(multi30k, "SUMS", dict.fromkeys(TEXTS, ("", "")))
    found = multi30k.load()
    assert found == ([["a", "dog", "."]], [["a", "cat", "."]], [["a", "fox", "."]], 2)
    (folder / "train.lc.norm.tok.en.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="perhaps gzipped"):
        multi30k.load()


@pytest.mark.parametrize("part", [0, 1, 2])
def test_an_empty_part_is_named(part):
    texts = ["a dog .\n", "a cat .\n", "a fox .\n"]
    texts[part] = "\n"
    with pytest.raises(ValueError, match=f"captions in the part {multi30k.Captions._fields[part]}"):
        multi30k.parse(*texts)


@pytest.mark.skipif(not Path(os.environ.get("RNNJAX_DATA", "-"), "multi30k").is_dir(), reason="the files are not here")
def test_the_real_files():
    found = multi30k.load()
    assert len(found.test) == 1_000 and len(found.train) + len(found.valid) + found.repeated == 30_014
    assert not {tuple(c) for c in found.train} & {tuple(c) for c in found.valid + found.test}
