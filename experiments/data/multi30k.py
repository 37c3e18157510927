"""English captions of photographs, in lower case and cut into words, with the split of Multi30k.

Reference: Elliott, Frank, Sima'an & Specia 2016, "Multi30k: multilingual English-German image descriptions".
"""

from typing import NamedTuple

from experiments.data._find import DataFile, find, find_local, read_unzipped

RAW = "https://raw.githubusercontent.com/multi30k/dataset"
COMMIT = "a3d2e0d26b56f3846f66a952536ffed4e401d05a"
SUMS = {  # of the text, and of the gzipped text
    "train": (
        "08925f8e0572bcd5a006702fc5fe20e2d77c6917d4eebd576fc20de6693c2119",
        "6e07e3b9937f2bcb538f14030f9ca376fc2bb5afbaf20b66d9d85b32e8e797b1",
    ),
    "val": (
        "46573ce391ae227f1c72f873392436a20ef18e0a6d518098cfbd70b77c8572ec",
        "a707d913822b59784ee80a677601399d0953ae823fb1066706193a32149f2d20",
    ),
    "test_2016_flickr": (
        "5b7f32627cf99eced828311b955dae9800bb52bc8b91cf8b6526829e605b29d2",
        "6998552fc746040fed0995c8490a65bd93e5445ed360c884ffe5df3e65d3a226",
    ),
}


class Captions(NamedTuple):
    """Captions as words; what stands in two parts word for word is left out of the earlier one."""

    train: list[list[str]]
    valid: list[list[str]]
    test: list[list[str]]
    repeated: int = 0  # captions left out


def file_of(part: str, *, gzipped: bool) -> DataFile:
    """Describes the file of a part of the split."""
    path = f"data/task1/tok/{part}.lc.norm.tok.en"
    return DataFile(
        folder="multi30k/tok",
        name=path.rsplit("/", 1)[1] + (".gz" if gzipped else ""),
        url=f"{RAW}/master/{path}",
        sha256=SUMS[part][gzipped],
        licence="captions of Flickr30k; research use (the repository states no licence for the data)",
        copy=f"{RAW}/{COMMIT}/{path}",
    )


def load() -> Captions:
    """Loads the captions: 29,000 to train on, 1,014 for validation, 1,000 of the test."""
    texts = []
    for part in SUMS:
        path = find_local(file_of(part, gzipped=True)) or find(file_of(part, gzipped=False))
        texts.append(read_unzipped(path))
    return parse(*texts)


def parse(train: str, valid: str, test: str) -> Captions:
    """Parses parts with a caption in each line.

    >>> parse("a dog .\\na cat .\\n", "a cat .\\na fox .\\n", "a fox .\\n")
    Captions(train=[['a', 'dog', '.']], valid=[['a', 'cat', '.']], test=[['a', 'fox', '.']], repeated=2)
    """
    parts = [[line.split() for line in text.split("\n") if line.strip()] for text in (train, valid, test)]
    for name, part in zip(Captions._fields, parts, strict=False):
        if not part:
            raise ValueError(f"expected captions in the part {name}, one in a line, got none.")
    seen: set[tuple[str, ...]] = set()
    kept = []
    for part in reversed(parts):
        kept.append([caption for caption in part if tuple(caption) not in seen])
        seen |= {tuple(caption) for caption in part}
    return Captions(*reversed(kept), sum(map(len, parts)) - sum(map(len, kept)))
