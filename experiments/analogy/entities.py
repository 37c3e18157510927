"""Sentences whose words are entities or not: WNUT-17 (Derczynski et al. 2017), or the generated text."""

from typing import NamedTuple

from experiments.data import analogies
from experiments.data._find import DataFile, find
from rnnjax.data import read_text

Tagged = list[tuple[list[str], list[str]]]  # sentences as words and their tags

COMMIT = "e52a2d2a71ac1a051ca2d532eef28653c5c02603"
SUMS = {
    "wnut17train.conll": "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5",
    "emerging.dev.conll": "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8",
    "emerging.test.annotated": "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0",
}
FILES = [
    DataFile(
        folder="wnut17",
        name=name,
        url="https://github.com/leondz/emerging_entities_17",
        sha256=sha256,
        licence="CC BY 4.0",
        copy=f"https://raw.githubusercontent.com/leondz/emerging_entities_17/{COMMIT}/{name}",
    )
    for name, sha256 in SUMS.items()
]


class Sentences(NamedTuple):
    """The parts of a data set."""

    train: Tagged
    dev: Tagged
    test: Tagged


def load(data: str, seed: int = 0) -> Sentences:
    """Loads "glove", the posts of WNUT-17, or "generated" sentences in which cities and countries are entities."""
    if data == "glove":
        return Sentences(*(parse(read_text(path), str(path)) for path in map(find, FILES)))
    places = {*analogies.CAPITALS, *analogies.CAPITALS.values()}
    text = analogies.generate(seed + 1, 1200).sentences
    tagged = [(words, ["B-place" if word in places else "O" for word in words]) for words in text]
    return Sentences(tagged[:600], tagged[600:800], tagged[800:])


def parse(text: str, source: str) -> Tagged:
    """Parses lines of a word, a tab and a tag, with an empty line behind each sentence. Errors name the source."""
    found: Tagged = [([], [])]
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            found.append(([], []))
            continue
        word, _, tag = line.partition("\t")
        if not word or tag.strip()[:2] not in ("O", "B-", "I-"):
            raise ValueError(f"expected a word, a tab and a tag in line {number} of {source}, got {line[:60]!r}.")
        found[-1][0].append(word)
        found[-1][1].append(tag.strip())
    return [sentence for sentence in found if sentence[0]]
