"""Data sets without a network: found, downloaded, checked, and refused in one sentence."""

import hashlib
import importlib
import io
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from experiments.data import _find, texts
from experiments.data._find import DataFile, find

CONTENT = b"to be, or not to be\n" * 7_001  # more than one block
FILE = DataFile(
    folder="set",
    name="data.txt",
    url="https://example.invalid/data.txt",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    licence="public domain",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no RNNJAX_DATA, and a network that nobody may use."""

    def forbidden(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.delenv("RNNJAX_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", forbidden)
    return tmp_path / "cache" / "rnnjax"


def put(folder, content=CONTENT):
    path = folder / FILE.folder / FILE.name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return path


class Answer(io.BytesIO):
    """What urlopen returns."""

    def __init__(self, content, headers=None):
        super().__init__(content)
        self.headers = headers if headers is not None else {"Content-Length": str(len(content))}


def serve(monkeypatch, make_answer):
    asked = []

    def urlopen(url, timeout=None):
        assert timeout
        asked.append(url)
        return make_answer()

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    return asked


def test_a_copy_in_rnnjax_data_is_found(cache, tmp_path, monkeypatch):
    path = put(tmp_path / "mine")
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "mine"))
    assert find(FILE) == path


def test_a_copy_in_the_cache_is_found(cache, tmp_path, monkeypatch):
    path = put(cache)
    assert find(FILE) == path
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "empty"))
    assert find(FILE) == path


def test_rnnjax_data_comes_before_the_cache(cache, tmp_path, monkeypatch):
    put(cache)
    path = put(tmp_path / "mine")
    monkeypatch.setenv("RNNJAX_DATA", str(tmp_path / "mine"))
    assert find(FILE) == path


def test_without_xdg_the_cache_is_below_home(cache, tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = put(tmp_path / "home" / ".cache" / "rnnjax")
    assert find(FILE) == path


def test_a_copy_with_other_bytes_is_refused(cache):
    path = put(cache, CONTENT[:-1])
    with pytest.raises(ValueError, match=rf"expected {path} to be the file of {FILE.url}.*got other bytes; delete it"):
        find(FILE)
    assert path.exists()


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route to host"), TimeoutError("timed out"), OSError("reset")]
)
def test_no_network_and_no_copy_is_one_clear_sentence(cache, monkeypatch, error):
    def urlopen(*_, **__):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    with pytest.raises(FileNotFoundError) as caught:
        find(FILE)
    message = str(caught.value)
    assert FILE.url in message and str(cache / "set" / "data.txt") in message and "RNNJAX_DATA" in message
    assert "\n" not in message and caught.value.__suppress_context__
    assert not [path for path in cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("headers", [None, {}])
def test_a_download_is_checked_and_put_in_place(cache, monkeypatch, capfd, headers):
    asked = serve(monkeypatch, lambda: Answer(CONTENT, headers))
    path = find(FILE)
    assert path == cache / "set" / "data.txt" and path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == ["data.txt"]
    assert "data.txt" in capfd.readouterr().err  # of the progress bar
    assert find(FILE) == path and asked == [FILE.url]


def test_the_file_is_not_there_before_it_is_whole(cache, monkeypatch):
    class Watched(Answer):
        def read(self, *size):
            assert not (cache / "set" / "data.txt").exists()
            return super().read(*size)

    serve(monkeypatch, lambda: Watched(CONTENT))
    assert find(FILE).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"<html>moved</html>", CONTENT[:-5], b""])
def test_an_answer_with_another_sum_leaves_nothing_behind(cache, monkeypatch, content):
    serve(monkeypatch, lambda: Answer(content))
    with pytest.raises(ValueError, match=rf"expected {FILE.url} to have the SHA-256 {FILE.sha256}, got other bytes"):
        find(FILE)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_connection_that_breaks_leaves_nothing_behind(cache, monkeypatch):
    class Broken(Answer):
        def read(self, *size):
            if self.tell():
                raise ConnectionResetError("by peer")
            return super().read(*size)

    serve(monkeypatch, lambda: Broken(CONTENT))
    with pytest.raises(FileNotFoundError, match="by peer"):
        find(FILE)
    assert not [path for path in cache.rglob("*") if path.is_file()]


def data_files():
    """Every file that a module of experiments.data describes."""
    for path in sorted(Path(_find.__file__).parent.glob("[a-z]*.py")):
        for value in vars(importlib.import_module(f"experiments.data.{path.stem}")).values():
            yield from (f for f in (value.values() if isinstance(value, dict) else [value]) if isinstance(f, DataFile))


def test_every_data_file_is_described():
    files = list(data_files())
    assert len({file.folder for file in files}) >= 5
    for file in files:
        counted = ("jena_climate", "fsdd")  # what is in them, instead
        assert re.fullmatch("[0-9a-f]{64}", file.sha256) or file.folder in counted
        assert file.url.startswith("https://") and file.licence and file.folder and file.name


def test_load_text_of_the_language_reference(cache):
    text = texts.load("pydoc")
    assert 300_000 < len(text) < 1_000_000
    assert "yield" in text and text == texts.load("pydoc")


def test_load_text_of_a_path(cache, tmp_path):
    (tmp_path / "mine.txt").write_bytes("Überall\r\n".encode())
    assert texts.load(str(tmp_path / "mine.txt")) == "Überall\n"


def test_load_text_of_a_known_set(cache, monkeypatch):
    put(cache)
    monkeypatch.setattr(texts, "TINY_SHAKESPEARE", FILE)
    assert texts.load("shakespeare") == CONTENT.decode()


def test_load_text_of_nothing(cache, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected --data to be pydoc, shakespeare or the path.*'shakespear'"):
        texts.load("shakespear")
