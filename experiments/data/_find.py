"""Finding data: in the folder that RNNJAX_DATA names, then in the user's cache, and else downloaded into that cache.

Each data set has a file beside this one, which says where it comes from, what its bytes hash to, whose it is, and how
it is read. No data set is part of the repository.
"""

import gzip
import hashlib
import os
import shutil
import urllib.request
import zlib
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm


class DataFile(NamedTuple):
    """Describes one file of a data set."""

    folder: str  # name of the data set
    name: str  # of the file
    url: str  # its canonical address
    sha256: str  # of its bytes; empty if unknown, in which case the parser has to check what it reads
    licence: str  # whose it is, and on which terms
    copy: str = ""  # an address that still serves these very bytes, where `url` serves newer ones by now


def find(file: DataFile) -> Path:
    """The path of a data file with the right bytes, downloaded if need be."""
    return find_local(file) or _download(file, _cache() / file.folder / file.name)


def find_local(file: DataFile) -> Path | None:
    """The path of a data file with the right bytes, or None if it is not on this machine."""
    mine = os.environ.get("RNNJAX_DATA")
    paths = [folder / file.folder / file.name for folder in ([Path(mine)] if mine else []) + [_cache()]]
    path = next(filter(Path.is_file, paths), None)
    if path and not _right(path, file):
        raise ValueError(
            f"expected {path} to be the file of {file.url} (SHA-256 {file.sha256[:12]}...), got other bytes; "
            f"delete it to fetch it again{_newer(file)}."
        )
    return path


def read_unzipped(path: Path) -> str:
    """The text of a file in UTF-8, gzipped if its name says so."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"expected {path} to be text in UTF-8, perhaps gzipped, got {error}.") from None


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
            with tqdm.wrapattr(answer, "read", total=total, desc=file.name) as body:
                shutil.copyfileobj(body, out)
    except OSError as error:  # URLError and TimeoutError among them
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
    newer = f", or fetch {file.url}, which is newer and cannot be checked, and pass its path to the experiment"
    return newer if file.copy else ""
