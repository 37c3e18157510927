"""Words and their letters as ids, and the vectors of words."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.data import glove
from experiments.data.wnut17 import Sentence, Sentences
from experiments.lib.pairs import Symbols
from experiments.ner.model import Batch


class Language(NamedTuple):
    """What is known before anything is trained."""

    words: dict[str, int]  # in lower case; 0 is unknown
    vectors: np.ndarray  # [V, D]
    letters: Symbols
    tags: list[str]
    width: int  # letters of a word


def learn_language(config: Any, parts: Sentences) -> Language:
    """Gives vectors to words that training has twice or the word vectors have; takes letters and tags of training."""
    counts = Counter(word.lower() for sentence in parts.train for word in sentence.words)
    words, rng = {word for word, count in counts.items() if count > 1}, np.random.default_rng(config.seed)
    if config.vectors == "none":
        vectors = rng.normal(0, 0.5, (len(words), 50))
    else:
        known = glove.load(config.vectors)
        words |= {word.lower() for part in parts[:3] for sentence in part for word in sentence.words} & {*known.words}
        vectors = glove.rows_for(sorted(words), known, rng=rng)
    places = {word: i for i, word in enumerate(sorted(words), 1)}
    letters = Symbols.of(word for sentence in parts.train for word in sentence.words)
    tags = sorted({tag for sentence in parts.train for tag in sentence.tags})
    table = np.concatenate([np.zeros((1, vectors.shape[1])), vectors]).astype(np.float32)
    return Language(places, table, letters, tags, config.letters)


def encode(sentences: Sequence[Sentence], language: Language, steps: int) -> Batch:
    """Encodes sentences of at most so many words."""
    shape, half = (len(sentences), steps), language.width // 2
    words, counts, tags = np.zeros((3, *shape), np.int32)
    letters = np.zeros((*shape, language.width), np.int32)
    for i, sentence in enumerate(sentences):
        for t, (word, tag) in enumerate(zip(*sentence, strict=True)):
            short = word if len(word) <= language.width else word[:half] + word[half - language.width :]
            ids = language.letters.encode(short)
            letters[i, t, : len(ids)], counts[i, t] = ids, len(ids)
            words[i, t] = language.words.get(word.lower(), 0)
            tags[i, t] = language.tags.index(tag) if tag in language.tags else 0
    return Batch(words, np.array([len(s.words) for s in sentences], np.int32), letters, counts, tags)


def split_words(text: str) -> Sentence:
    """Cuts a text into words and marks, without tags."""
    words = re.findall(r"\w+(?:['’]\w+)*|[^\w\s]", text)
    return Sentence(tuple(words), ("O",) * len(words))
