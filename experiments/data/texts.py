"""Texts to model: the Python language reference, which ships with the interpreter, and the tiny Shakespeare corpus."""

from pathlib import Path

from experiments.data._find import DataFile, find
from rnnjax.data import read_text

TINY_SHAKESPEARE = DataFile(
    folder="tinyshakespeare",
    name="input.txt",
    url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
    sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    licence="public domain (40,000 lines of Shakespeare's plays, 1.1 million characters)",
)


def load(data: str) -> str:
    """Reads a text: "pydoc" (465 thousand characters, nothing to download), "shakespeare", or the path of a file."""
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
