"""French sentences with English translations: the pairs of Tatoeba, and a small generated set."""

import itertools
import re
import unicodedata
import zipfile
from pathlib import Path
from typing import NamedTuple

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
    """A sentence in two languages.

    Attributes:
      french: as written.
      english: as written.
    """

    french: str
    english: str


def load(data: str) -> list[Translation]:
    """Reads the pairs that `--data` names. Many sentences come with several translations.

    Args:
      data: "tatoeba", the checked file of 2017-09-29, sorted by the length of the English sentences; "generated", a
        thousand pairs of a small grammar, nothing to download; or the path of another zip file of that kind, such as a
        newer one from www.manythings.org/anki.

    Raises:
      FileNotFoundError: no such file, and none to be fetched.
      ValueError: not a zip file, no fra.txt in it, or a line that is not english TAB french [TAB attribution].
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
