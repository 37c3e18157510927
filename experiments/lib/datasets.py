"""Data sets: where each one lies, what its bytes hash to, whose it is; found, or fetched, and checked.

A file is looked for in the folder that RNNJAX_DATA names, then in the user's cache, and else downloaded there.
"""

import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from rnnjax.data import read_text


class DataFile(NamedTuple):
    """One file of a data set.

    Attributes:
      folder: of the data set.
      name: of the file.
      url: where it comes from.
      sha256: of its bytes; empty if not known here, and then the parser has to check what it reads.
      licence: whose it is.
      copy: where these very bytes are fetched, if `url` serves newer ones by now.
    """

    folder: str
    name: str
    url: str
    sha256: str
    licence: str
    copy: str = ""


TINY_SHAKESPEARE = DataFile(
    folder="tinyshakespeare",
    name="input.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    licence="public domain (40,000 lines of Shakespeare's plays, 1.1 million characters)",
)

FRA_ENG = DataFile(
    folder="fra_eng",
    name="fra-eng.zip",
    url="https://www.manythings.org/anki/fra-eng.zip",
    sha256="16c4f7d0df9e7c5e6c54cdb0447f3f4a18a55052ff5e2e0b27dd4a06c0e49d04",
    licence="CC BY 2.0 FR, tatoeba.org and www.manythings.org/anki (142,787 sentence pairs, the file of 2017-09-29)",
    copy="https://raw.githubusercontent.com/genimind/seq2seq/4f3f8eb0adde54fcc8b89394336b002e7961244c/fra-eng.zip",
)


def load_text(data: str) -> str:
    """The text that `--data` names.

    Args:
      data: "pydoc", the Python language reference that ships with the interpreter (465 thousand characters);
        "shakespeare", the tiny Shakespeare corpus; or the path of a UTF-8 file.

    Returns:
      The text.
    """
    if data == "pydoc":
        from pydoc_data.topics import topics

        return "\n".join(topics[name] for name in sorted(topics))
    if data == "shakespeare":
        return read_text(find(TINY_SHAKESPEARE))
    if not Path(data).is_file():
        raise FileNotFoundError(
            f"expected --data to be pydoc, shakespeare or the path of a text file, got {data!r}, which is no file."
        )
    return read_text(data)


class Translation(NamedTuple):
    """A sentence in two languages.

    Attributes:
      french: as written.
      english: as written.
    """

    french: str
    english: str


def load_fra_eng(path: str = "") -> list[Translation]:
    """French sentences with English translations, from Tatoeba, sorted by the length of the English ones.

    Many sentences come with several translations: split them with `experiments.lib.pairs.split_by_source`.

    Args:
      path: of another zip file of the kind, such as a newer one from www.manythings.org/anki, used as it is; the
        checked file of 2017-09-29 by default.

    Returns:
      A list of `Translation(french, english)`.

    Raises:
      ValueError: no zip file, none with fra.txt in it, or a line that is not english TAB french [TAB attribution].
      FileNotFoundError: no file.
    """
    path = path or find(FRA_ENG)
    if not Path(path).is_file():
        raise FileNotFoundError(f"expected a zip file of French and English sentences, found none at {path}.")
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("fra.txt").decode("utf-8-sig")
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"expected {path} to be a zip file with fra.txt in UTF-8 in it, got {error}.") from None
    sentences = []
    # Not splitlines: there are line ends of Unicode that a sentence may hold.
    for number, line in enumerate(text.replace("\r\n", "\n").removesuffix("\n").split("\n"), 1):
        columns = line.split("\t")
        if len(columns) not in (2, 3):
            raise ValueError(
                f"expected english TAB french [TAB attribution] in fra.txt of {path}, line {number}: {line!r}."
            )
        sentences.append(Translation(french=columns[1], english=columns[0]))
    return sentences


def find(file: DataFile) -> Path:
    """The path of a data file with the right bytes, downloaded if need be."""
    return find_local(file) or _download(file, _cache() / file.folder / file.name)


def find_local(file: DataFile) -> Path | None:
    """The path of a data file with the right bytes, or None if it is not on this machine."""
    folders = [Path(os.environ["RNNJAX_DATA"])] if os.environ.get("RNNJAX_DATA") else []
    for folder in (*folders, _cache()):
        path = folder / file.folder / file.name
        if path.is_file():
            if not _right(path, file):
                raise ValueError(
                    f"expected {path} to be the file of {file.url} (SHA-256 {file.sha256[:12]}...), got other bytes; "
                    f"delete it to fetch it again{_newer(file)}."
                )
            return path
    return None


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnjax"


def _right(path: Path, file: DataFile) -> bool:
    """Whether a file has the bytes that are known, if they are."""
    return not file.sha256 or hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256


def _download(file: DataFile, path: Path) -> Path:
    """Fetches a file with a progress bar, checks its sum, and puts it in place in one step."""
    url = file.copy or file.url
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=30) as answer, temporary.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=file.name) as bar:
                while block := answer.read(1 << 16):
                    out.write(block)
                    bar.update(len(block))
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise FileNotFoundError(
            f"expected to fetch {url}, got {error}; fetch it by other means and put it at {path}, or set "
            f"RNNJAX_DATA to a folder that holds {file.folder}/{file.name}{_newer(file)}."
        ) from None
    if not _right(temporary, file):
        temporary.unlink()
        raise ValueError(
            f"expected {url} to have the SHA-256 {file.sha256}, got other bytes; try again later{_newer(file)}."
        )
    os.replace(temporary, path)
    return path


def _newer(file: DataFile) -> str:
    """What else to do where the canonical address serves other bytes than those that are known; or nothing."""
    if not file.copy:
        return ""
    return (
        f", or fetch {file.url}, which is newer than what is known here and so cannot be checked, and pass its path to "
        "the experiment (its numbers will be others)"
    )
