"""Surnames of 18 languages, one file per language, or generated names of invented languages."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.data._find import DataFile, find
from rnnjax.data import read_text

COMMIT = "c520c52e68e945d88fff563dba1c028b6ec0197b"
SUMS = {
    "Arabic": "6f424a8dbe51cbbbabab7a57d38b617210125e4e3991f3c657cb79b8f104bafc",
    "Chinese": "09ba8f1f7e38dbc99372d461b26ad4433b811fc6bfa6a3ecca6fe11a9a777465",
    "Czech": "e17ab0ec47616a72c39cb85c783f70c3663ab64488721e5d8378f146d2226be7",
    "Dutch": "924f32b635170eae561f84538632138fc07d4c8bbd70ba3fb980de1ecc4d2af3",
    "English": "9cca037066d3d5989e24bc01801416162de506b5e28e15b7c092a47905d29bf2",
    "French": "81e65b36c60ed5b89a17422f6edcadbb89546f38ad69e960e64e7ba682012a95",
    "German": "7449cd590b97a733e18d613a4155decd77ec35dc5f8aadd7a82204dce4f051db",
    "Greek": "3555b5186de7f401e6d991b088e9e644ca3099116477818c25ab5793801389e6",
    "Irish": "cf8c7013256252a88d2503127b87282a11f21b2ff6db1bded68834c19a1ec058",
    "Italian": "f88414c27d0606a11a678b4859277828c2565d6cc4d9ee932deef6e94f3b35e4",
    "Japanese": "e0e717e114fec3e7eade4d9dabe0067c475f43147e36a22b47902ee76ad9e67f",
    "Korean": "cd54221ccb362a6cba4c78828838cf3268a0e59744767a37cf6ec4b74036b136",
    "Polish": "45bab898af2f60ed3a728bbf6980e28821011a7caa53227553b5785903a40826",
    "Portuguese": "50a8735f41f4f73757c8ce5b16cb0275cd86b2b214bcbc8c9805f508cb131c53",
    "Russian": "0cfe53ac18041e8f63666aa77313e0a3ff378facb132abee052d8ebdc8c3d62c",
    "Scottish": "78d0252711d87d948ea86fe34826c51d2d794a8e52d15b5d6f7b6244d45d62dd",
    "Spanish": "1bcb462ed3316756a85781d68232bddae04498fdddd5d9219c53fd1fbdeba7a7",
    "Vietnamese": "f3f9e4164ab47601178a6e45b216464a64122f49d05541f24bf18a757253281d",
}
NAMES = {
    language: DataFile(
        folder="names",
        name=f"{language}.txt",
        url="https://download.pytorch.org/tutorial/data.zip",
        sha256=sha256,
        licence="MIT (surnames collected for the PyTorch tutorials)",
        copy=f"https://raw.githubusercontent.com/spro/practical-pytorch/{COMMIT}/data/names/{language}.txt",
    )
    for language, sha256 in SUMS.items()
}
NAME = re.compile(r"[^\W\d_]+(?:[ '-]+[^\W\d_]+)*'?")


class Names(NamedTuple):
    """Names in lower case, each once in a language; one that several languages have is there for each of them."""

    classes: tuple[str, ...]  # names of the languages
    names: np.ndarray  # strings [N]
    languages: np.ndarray  # places in `classes` [N]
    repeated: int = 0  # lines left out: a name that this language has already
    unreadable: int = 0  # lines left out: not of letters, with spaces, hyphens and apostrophes between them


def load(data: str, *, seed: int = 0) -> Names:
    """Loads "generated" names, "names" of 18 languages, or those of a folder with a text file for each language."""
    if data == "generated":
        return parse(generate(seed))
    paths = [find(file) for file in NAMES.values()] if data == "names" else sorted(Path(data).glob("*.txt"))
    if len(paths) < 2:
        raise FileNotFoundError(
            f"expected --data to be generated, names or a folder with two languages, a .txt file each, got {data!r}."
        )
    return parse({path.stem: read_text(path) for path in paths})


def parse(texts: dict[str, str]) -> Names:
    """Parses the text of each language, a name in a line.

    >>> parse({"one": "Abel\\nDe  la Cruz\\nABEL\\n", "two": "Abel\\nMaxa/B\\n"})
    Names(classes=('one', 'two'), names=array(['abel', 'de la cruz', 'abel'], dtype='<U10'), languages=array([0, 0, 1]),
        repeated=1, unreadable=1)
    """
    found: list[tuple[str, int]] = []
    repeated = unreadable = 0
    for language, (source, text) in enumerate(texts.items()):
        lines = [" ".join(line.lower().replace("’", "'").split()) for line in text.splitlines() if line.strip()]
        good = [line for line in lines if NAME.fullmatch(line)]
        if not good:
            raise ValueError(f"expected names in {source}.txt, one in a line, got none.")
        once = dict.fromkeys(good)
        found += [(name, language) for name in once]
        repeated, unreadable = repeated + len(good) - len(once), unreadable + len(lines) - len(good)
    names, languages = zip(*found, strict=True)
    return Names(tuple(texts), np.array(names), np.array(languages), repeated, unreadable)


class Split(NamedTuple):
    """Rows of `Names`."""

    training: np.ndarray  # seven tenths of each language
    validation: np.ndarray  # a tenth
    test: np.ndarray  # two tenths


def split(data: Names, seed: int = 0) -> Split:
    """Splits by name, so that one of several languages lies in one part only."""
    rng = np.random.default_rng(seed)
    _, first, name = np.unique(data.names, return_index=True, return_inverse=True)
    tenth = np.empty(len(first), int)
    for language in range(len(data.classes)):
        members = rng.permutation(np.flatnonzero(data.languages[first] == language))
        tenth[members] = np.arange(len(members)) * 10 // max(1, len(members))
    return Split(*(np.flatnonzero(np.isin(tenth[name], part)) for part in (range(7), (7,), (8, 9))))


# ---- generated -----------------------------------------------------------------------------------------------

# Onsets, vowels and codas of a syllable, endings of a name, and how many names there are.
GRAMMARS = {
    "Arvish": ("b d g r v l s", "a e i", "r l n", "an or esh", 900),
    "Belonese": ("p t k m n l", "a o u", "m n", "one elo", 400),
    "Kelmar": ("k t l m s r h", "a o u e i", "", "mar mer", 700),  # vowels in harmony: all of aou, or all of ei
    "Kolmir": ("k t l m s r h", "a o u e i", "", "mar mer", 250),  # the same sounds without harmony
    "Ostrian": ("st tr k gr v b", "o e a", "rk st nd", "ov ik", 500),
    "Sunari": ("s n r y sh ch", "u a i", "", "ri na ko", 150),
    "Tlaxo": ("tl x q tz c", "a o i", "c l x", "tl co", 80),
}


def generate(seed: int = 0) -> dict[str, str]:
    """Writes names of invented languages, by grammars of their syllables.

    >>> generate()["Sunari"].split()[:3]
    ['...']
    """
    texts = {}
    for number, (language, (*parts, count)) in enumerate(GRAMMARS.items()):
        rng, found = np.random.default_rng((seed, number)), {}
        onsets, vowels, codas, endings = (part.split() for part in parts)
        while len(found) < count:
            own = vowels
            if language == "Kelmar":
                own = vowels[:3] if rng.random() < 0.5 else vowels[3:]
            syllables = [
                rng.choice(onsets) + rng.choice(own) + (rng.choice(codas) if codas and rng.random() < 0.4 else "")
                for _ in range(rng.integers(2, 4))
            ]
            found["".join(syllables) + (rng.choice(endings) if rng.random() < 0.3 else "")] = None
        texts[language] = "\n".join(found) + "\n"
    return texts
