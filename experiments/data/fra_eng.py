"""French sentences with English translations: the pairs of Tatoeba, and a small generated set."""

import itertools
import re
import unicodedata
import zipfile
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find

FRA_ENG = DataFile(
    folder="fra_eng",
    name="fra-eng.zip",
    url="https://www.manythings.org/anki/fra-eng.zip",
    sha256="16c4f7d0df9e7c5e6c54cdb0447f3f4a18a55052ff5e2e0b27dd4a06c0e49d04",
    licence="CC BY 2.0 FR, tatoeba.org and www.manythings.org/anki (142,787 sentence pairs, the file of 2017-09-29)",
    copy="https://raw.githubusercontent.com/genimind/seq2seq/4f3f8eb0adde54fcc8b89394336b002e7961244c/fra-eng.zip",
)


class Translation(NamedTuple):
    """A sentence in two languages."""

    french: str
    english: str


def load(data: str) -> list[Translation]:
    """Reads pairs: "tatoeba", sorted by the length of the English sentences; "generated"; or the path of such a file.

    Many sentences come with several translations. Newer files are at www.manythings.org/anki.
    """
    if data == "generated":
        return generate()
    path = find(FRA_ENG) if data == "tatoeba" else Path(data)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected --data to be tatoeba, generated or the path of a zip file, found none at {path}."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            text = archive.read("fra.txt").decode("utf-8-sig")
    except (zipfile.BadZipFile, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"expected {path} to be a zip file with fra.txt in UTF-8 in it, got {error}.") from None
    sentences = []
    # Not splitlines: a sentence may contain Unicode's other line ends.
    for number, line in enumerate(text.replace("\r\n", "\n").removesuffix("\n").split("\n"), 1):
        columns = line.split("\t")
        if len(columns) not in (2, 3):
            raise ValueError(
                f"expected english TAB french [TAB attribution] in fra.txt of {path}, line {number}: {line!r}."
            )
        sentences.append(Translation(french=columns[1], english=columns[0]))
    return sentences


# ---- generated -----------------------------------------------------------------------------------------------

SUBJECTS = {"Tom": "Tom", "Marie": "Mary", "mon père": "my father", "ta sœur": "your sister", "le roi": "the king"}
VERBS = {"voit": "sees", "cherche": "is looking for", "achète": "buys", "a": "has", "lit": "reads", "oublie": "forgets"}
OBJECTS = {"un livre": "a book", "la lettre": "the letter", "trois cartes": "three cards", "son nom": "his name"}
TIMES = {"": "", "aujourd'hui": "today", "ce matin": "this morning", "tous les jours": "every day", "ici": "here"}
MARKS = {".": ".", " !": "!"}


def generate() -> list[Translation]:
    """Writes every sentence of a small grammar in both languages.

    Example:
      >>> len(generate()), generate()[5]
      (1200, Translation(french='Tom voit un livre ce matin !', english='Tom sees a book this morning!'))
    """

    def sentence(words: tuple[str, ...]) -> str:
        text = " ".join(filter(None, words[:-1])) + words[-1]
        return text[0].upper() + text[1:]

    parts = (SUBJECTS, VERBS, OBJECTS, TIMES, MARKS)
    french = map(sentence, itertools.product(*parts))
    english = map(sentence, itertools.product(*(part.values() for part in parts)))
    return list(map(Translation, french, english))


# ---- the split -----------------------------------------------------------------------------------------------


def split_by_source(
    sources: Sequence[Hashable], targets: Sequence[Hashable], fractions: Sequence[float], seed: int
) -> list[np.ndarray]:
    """Splits pairs so that no source and no target of one part occurs in another.

    Pairs that share either, directly or through others, form a group; groups in random order fill the parts, each as a
    whole, so that a part is only about as large as asked for. The indices in a part are sorted.

    Sources and targets are N keys; of texts that differ in case and spaces only, pass what remains of them, such as
    `" ".join(words(text))`. Fractions of the pairs in each part add up to 1.

    Example:
      >>> parts = split_by_source(["a", "b", "b", "c"], ["A", "A", "B", "C"], (0.75, 0.25), seed=0)
      >>> [part.tolist() for part in parts]
      [[0, 1, 2], [3]]
    """
    if len(sources) != len(targets):
        raise ValueError(
            f"split_by_source: expected as many sources as targets, got {len(sources)} and {len(targets)}."
        )
    if min(fractions, default=0) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise ValueError(f"split_by_source: expected positive fractions of sum 1, got {tuple(fractions)}.")
    groups = _groups(sources, targets)
    order = np.random.default_rng(seed).permutation(len(groups))
    # A group goes to the part that lacks most. Giant ones go first, so that the small ones even out what they leave.
    order = sorted(order, key=lambda i: len(groups[i]) > 0.01 * len(sources), reverse=True)
    parts: list[list[int]] = [[] for _ in fractions]
    missing = [fraction * len(sources) for fraction in fractions]
    for i in order:
        part = int(np.argmax(missing))
        parts[part] += groups[i]
        missing[part] -= len(groups[i])
    if not all(parts):
        raise ValueError(
            f"split_by_source: expected a group of pairs for each of {len(parts)} parts, got {len(groups)} groups, the "
            f"largest of {max(map(len, groups), default=0)} pairs; use more pairs or fewer parts."
        )
    return [np.array(sorted(part), np.int64) for part in parts]


def _groups(sources: Sequence[Hashable], targets: Sequence[Hashable]) -> list[list[int]]:
    """The indices of pairs that share a source or a target, directly or through others: union-find over pairs."""
    parent = list(range(len(sources)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]  # halves the path, so that later walks are short
            i = parent[i]
        return i

    for keys in (sources, targets):
        first: dict[Hashable, int] = {}
        for i, key in enumerate(keys):
            parent[root(i)] = root(first.setdefault(key, i))
    groups: dict[int, list[int]] = {}
    for i in range(len(parent)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


# ---- words ---------------------------------------------------------------------------------------------------

ELISION = "(?:[cçdjlmnst]|qu|jusqu|lorsqu|puisqu|quoiqu)'"  # l'homme is l' homme
CONTRACTION = r"(?:n't|'(?:s|ll|re|ve|d|m))(?!\w)"  # don't is do n't, she'll is she 'll
# avez-vous is avez -vous, a-t-il is a -t-il: or each verb would be another word with each pronoun.
INVERSION = r"-(?:t-)?(?:je|tu|ils?|elles?|on|nous|vous|ce|moi|toi|lui|leur|les?|la|y|en|ci|là|mêmes?)(?![\w'])"
TOKEN = re.compile(
    rf"""
      (?<!\w)(?:[^\W\d_]\.){{2,}}                            # p.m.
    | \d+(?:[.,:]\d+)+\w*                                  # 10:30, 3,000
    | (?<![\w'-]){ELISION}(?=\w)
    | (?<=\w)(?:{CONTRACTION}|{INVERSION})
    | (?<!\w)'(?:em|cause|til|tis|twas)(?!\w)
    | \w(?:['-]?\w)*?(?={CONTRACTION}|{INVERSION}|(?!['-]?\w))  # a word; o'clock, aujourd'hui and well-known are one
    | \.{{2,}}
    | [^\w\s]                                              # a mark
    """,
    re.VERBOSE,
)
OTHER_MARKS = str.maketrans(
    {"‘": "'", "’": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "…": "..."}
    | dict.fromkeys("\u00ad\u200b\ufeff")  # invisible
)


def words(text: str) -> list[str]:
    """Splits an English or a French sentence into its words and punctuation marks, in lower case.

    Elisions (l', qu'), contractions (n't, 's) and pronouns after a verb (-vous, -t-il) are tokens by themselves, which
    keep the mark that joins them. Spaces of any width separate words; apostrophes and quotation marks are made plain.

    Example:
      >>> words("L’homme qu'il a vu, où est-il\u202f?")
      ["l'", 'homme', "qu'", 'il', 'a', 'vu', ',', 'où', 'est', '-il', '?']
      >>> words("I don't know; it's 10:30 p.m.")
      ['i', 'do', "n't", 'know', ';', 'it', "'s", '10:30', 'p.m.']
    """
    return TOKEN.findall(unicodedata.normalize("NFC", text.lower()).translate(OTHER_MARKS))
