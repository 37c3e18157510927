"""Data on the host, in NumPy: text and vocabularies, streams and windows."""

from rnnjax.data._text import Vocabulary, held_out_split, read_text, write_text
from rnnjax.data._windows import PaddedWindows, Streams, Window, make_streams, padded_windows

__all__ = [
    "PaddedWindows",
    "Streams",
    "Vocabulary",
    "Window",
    "held_out_split",
    "make_streams",
    "padded_windows",
    "read_text",
    "write_text",
]
