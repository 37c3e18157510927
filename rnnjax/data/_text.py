"""Text as ids: reading files, character vocabularies, held-out splits. NumPy only."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np


def read_text(path: str | os.PathLike) -> str:
    """Reads the text of a UTF-8 file.

    Args:
      path: of the file.

    Returns:
      Its text, with line ends as `\\n`.

    Raises:
      FileNotFoundError: no such file.
      ValueError: the file is empty, or is not UTF-8.

    Examples:
      >>> import tempfile, pathlib
      >>> path = pathlib.Path(tempfile.mkdtemp(), "text.txt")
      >>> _ = path.write_text("To be")
      >>> read_text(path)
      'To be'
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_text: expected a text file, found none at {path}; check the path.")
    data = path.read_bytes()
    if not data:
        raise ValueError(f"read_text: expected a file with text in it, got an empty file {path}.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"read_text: expected UTF-8, got byte 0x{data[error.start]:02x} at offset {error.start} of {path}; convert "
            "it first, for example with iconv -f latin1 -t utf8."
        ) from None
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 file atomically: a kill leaves the old file or the new one.

    Args:
      path: of the file.
      text: all of it, N characters `[N]`.

    Examples:
      >>> import tempfile, pathlib
      >>> path = pathlib.Path(tempfile.mkdtemp(), "text.txt")
      >>> write_text(path, "or not to be")
      >>> read_text(path)
      'or not to be'
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


class Vocabulary(NamedTuple):
    """Symbols and their ids: symbol i has the id i.

    Attributes:
      symbols: the symbols, each once, in the order of their ids; V of them.

    Examples:
      >>> vocabulary = Vocabulary.of("hello")
      >>> vocabulary.symbols
      ('e', 'h', 'l', 'o')
      >>> vocabulary.encode("hole").tolist()
      [1, 3, 2, 0]
      >>> vocabulary.decode([1, 3, 2, 0])
      'hole'
    """

    symbols: tuple[str, ...]

    @classmethod
    def of(cls, text: Iterable[str]) -> "Vocabulary":
        """Makes the vocabulary of all symbols of a text, sorted."""
        return cls(tuple(sorted(set(text))))

    def encode(self, text: Iterable[str]) -> np.ndarray:
        """Returns the ids `[N]`, int32, of the N symbols of a text; ValueError names a symbol it does not have."""
        table = {symbol: i for i, symbol in enumerate(self.symbols)}
        try:
            return np.fromiter((table[symbol] for symbol in text), np.int32)
        except KeyError as error:
            raise ValueError(
                f"Vocabulary.encode: expected symbols among the {len(self.symbols)} of the vocabulary, got "
                f"{error.args[0]!r}."
            ) from None

    def decode(self, ids: Iterable[int]) -> str:
        """Returns the text of ids `[N]`; ValueError if one is out of range."""
        ids = [int(i) for i in ids]
        if ids and not 0 <= min(ids) <= max(ids) < len(self.symbols):
            raise ValueError(
                f"Vocabulary.decode: expected ids from 0 to {len(self.symbols) - 1}, got {min(ids)} to {max(ids)}."
            )
        return "".join(self.symbols[i] for i in ids)

    def save(self, path: str | os.PathLike) -> None:
        """Writes the symbols as JSON, atomically."""
        write_text(path, json.dumps(list(self.symbols), ensure_ascii=False))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Vocabulary":
        """Reads what `save` wrote; ValueError if it is something else."""
        try:
            symbols = json.loads(read_text(path))
        except json.JSONDecodeError as error:
            raise ValueError(f"Vocabulary.load: expected a JSON list of symbols in {path}, got {error}.") from None
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise ValueError(
                f"Vocabulary.load: expected a JSON list of symbols in {path}, got {type(symbols).__name__}."
            )
        return cls(tuple(symbols))


def held_out_split(ids: np.ndarray, fraction: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Splits ids into a first part for training and a last part that is held out, so that nothing leaks back in time.

    Args:
      ids: `[N]`.
      fraction: of the ids held out, in (0, 1).

    Returns:
      `(training [N - M], held_out [M])`, M = N * fraction rounded to the nearest; views, not copies.

    Raises:
      ValueError: a fraction outside (0, 1).

    Examples:
      >>> import numpy as np
      >>> training, held_out = held_out_split(np.arange(10), 0.3)
      >>> len(training), held_out.tolist()
      (7, [7, 8, 9])
    """
    if not 0 < fraction < 1:
        raise ValueError(f"held_out_split: expected fraction in (0, 1), got {fraction}.")
    cut = len(ids) - round(len(ids) * fraction)
    return ids[:cut], ids[cut:]
