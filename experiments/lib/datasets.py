"""Data sets: where each one lies, what its bytes hash to, whose it is; found, or fetched, and checked.

A file is looked for in the folder that RNNJAX_DATA names, then in the user's cache, and else downloaded there.
"""

import hashlib
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from rnnjax.text import read_text


class DataFile(NamedTuple):
    """One file of a data set.

    Attributes:
      folder: of the data set.
      name: of the file.
      url: where it comes from.
      sha256: of its bytes.
      licence: whose it is.
    """

    folder: str
    name: str
    url: str
    sha256: str
    licence: str


TINY_SHAKESPEARE = DataFile(
    folder="tinyshakespeare",
    name="input.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    licence="public domain (40,000 lines of Shakespeare's plays, 1.1 million characters)",
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


def find(file: DataFile) -> Path:
    """The path of a data file with the right bytes, downloaded if need be."""
    folders = [Path(os.environ["RNNJAX_DATA"])] if os.environ.get("RNNJAX_DATA") else []
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnnjax"
    for folder in (*folders, cache):
        path = folder / file.folder / file.name
        if path.is_file():
            if _sha256(path) != file.sha256:
                raise ValueError(
                    f"expected {path} to be the file of {file.url} (SHA-256 {file.sha256[:12]}...), got other bytes; "
                    "delete it to fetch it again."
                )
            return path
    return _download(file, cache / file.folder / file.name)


def _download(file: DataFile, path: Path) -> Path:
    """Fetches a file with a progress bar, checks its sum, and puts it in place in one step."""
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(file.url, timeout=30) as answer, temporary.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=file.name) as bar:
                while block := answer.read(1 << 16):
                    out.write(block)
                    bar.update(len(block))
    except (urllib.error.URLError, TimeoutError, OSError) as error:
        temporary.unlink(missing_ok=True)
        raise FileNotFoundError(
            f"expected to fetch {file.url}, got {error}; fetch it by other means and put it at {path}, or set "
            f"RNNJAX_DATA to a folder that holds {file.folder}/{file.name}."
        ) from None
    if _sha256(temporary) != file.sha256:
        temporary.unlink()
        raise ValueError(f"expected {file.url} to have the SHA-256 {file.sha256}, got other bytes; try again later.")
    os.replace(temporary, path)
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
