"""A grammar of sentences with nested relative clauses, whose verbs agree with their subjects over any distance.

    sentence   = [beside the PLACE] the ANIMATE modifier (was | were)
    phrase     = the [old] NOUN modifier                                NOUN is a PLACE after "beside", else an ANIMATE
    modifier   = nothing | outside | beside phrase | relative
    relative   = which [already] slept | which [already] ate phrase     in the past tense, which tells no number
               | which phrase chases                                    the verb agrees with the noun of its phrase
               | relative and relative

The number of words between the subject and its verb is given, and so is the number of the subject. How many of the
other nouns are plural is drawn for each sentence, from none to all, so that they tell nothing of the subject.
"""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SINGULAR = ("cat", "dog", "mouse", "bird", "man", "child", "girl", "farmer")
PLURAL = ("cats", "dogs", "mice", "birds", "men", "children", "girls", "farmers")
ANIMATE = tuple(zip(SINGULAR, PLURAL, strict=True))
PLACES = tuple((place, place + "s") for place in ("house", "tree", "garden", "river"))
PRESENT = tuple((verb + "s", verb) for verb in ("chase", "see", "feed", "like", "hear", "know"))
PAST = ("ate", "chased", "saw", "fed", "followed")
RESTED = ("ate", "slept", "ran", "sang", "waited")
ADVERBS = ("already", "often", "never", "quietly")
WHERE = ("outside", "nearby")
BESIDE = ("near", "behind", "beside")
ADJECTIVES = ("old", "small", "hungry")
TO_BE = ("was", "were")
INFLECTED = [word for pairs in (ANIMATE, PLACES, PRESENT) for pair in pairs for word in pair]
PLAIN = ["the", "which", "and", *PAST, *RESTED, *ADVERBS, *WHERE, *BESIDE, *ADJECTIVES]
WORDS = tuple(dict.fromkeys(["", *PLAIN, *INFLECTED, *TO_BE]))  # the first is padding
NUMBER = {pair[plural]: plural for pair in ANIMATE + PLACES for plural in (0, 1)}  # of the nouns
DEEPEST = 3  # subjects within the clauses that wait for their verbs at once
OPENING = 5  # words before and with the subject, at most


class Verb(NamedTuple):
    """A verb that agrees with a subject."""

    position: int  # in the sentence
    plural: int  # number of the subject, 0 or 1
    distance: int  # words between the two
    attractors: int  # nouns of the other number between the two


class Writer:
    """Writes one sentence, word by word. Every method that takes n writes exactly n words."""

    def __init__(self, rng: random.Random):
        self.words: list[str] = []
        self.verbs: list[Verb] = []
        self.rng, self.plurals = rng, rng.random()  # how many nouns are plural, from none to all

    def sentence(self, distance: int, plural: int) -> None:
        """[near the houses] the SUBJECT ... was, up to and with the verb."""
        if self.rng.random() < 0.5:
            self.words += [self.rng.choice(BESIDE), "the", self.noun(PLACES)]
        self.words += ["the", self.rng.choice(ANIMATE)[plural]]
        subject = len(self.words) - 1
        self.modifier(distance, 0)
        self.agree(subject, TO_BE)

    def noun(self, pairs: Sequence[tuple[str, str]]) -> str:
        return self.rng.choice(pairs)[self.rng.random() < self.plurals]

    def agree(self, subject: int, forms: tuple[str, str]) -> None:
        """The verb of the noun at this position."""
        plural = NUMBER[self.words[subject]]
        between = self.words[subject + 1 :]
        attractors = sum(NUMBER.get(word, plural) != plural for word in between)
        self.verbs.append(Verb(len(self.words), plural, len(between), attractors))
        self.words.append(forms[plural])

    def phrase(self, n: int, pairs: Sequence[tuple[str, str]], depth: int) -> int:
        """the [old] NOUN ..., and the position of the noun."""
        adjective = [self.rng.choice(ADJECTIVES)] if n > 2 and self.rng.random() < 0.3 else []
        self.words += ["the", *adjective, self.noun(pairs)]
        noun = len(self.words) - 1
        self.modifier(n - 2 - len(adjective), depth)
        return noun

    def modifier(self, n: int, depth: int) -> None:
        """What follows a noun: nothing, outside, near the houses ..., which ..."""
        if n == 1:
            self.words.append(self.rng.choice(WHERE))
        elif n > 2 and self.rng.random() < 0.3:
            self.words.append(self.rng.choice(BESIDE))
            self.phrase(n - 1, PLACES, depth)
        elif n > 1:
            self.relative(n, depth)

    def relative(self, n: int, depth: int) -> None:
        """which [already] ate [the mice ...], which the dogs ... chase, or two of these with "and"."""
        kind = self.rng.random()
        if n > 4 and kind < 0.3:
            first = self.rng.randint(2, n - 3)
            self.relative(first, depth)
            self.words.append("and")
            self.relative(n - 1 - first, depth)
        elif n > 3 and kind < 0.65 and depth < DEEPEST:
            self.words.append("which")
            self.agree(self.phrase(n - 2, ANIMATE, depth + 1), self.rng.choice(PRESENT))
        else:
            adverb = [self.rng.choice(ADVERBS)] if n == 3 or (n > 4 and self.rng.random() < 0.5) else []
            self.words += ["which", *adverb, self.rng.choice(PAST if n > 3 else RESTED)]
            if n > 3:
                self.phrase(n - 2 - len(adverb), ANIMATE, depth)


class Sentence(NamedTuple):
    """A sentence up to the verb of its main clause."""

    words: tuple[str, ...]  # without that verb
    verbs: tuple[Verb, ...]  # in order; the last is that of the main clause


def write(count: int, distances: Sequence[int], rng: random.Random, known: set[tuple[str, ...]]) -> list[Sentence]:
    """Writes sentences with distances drawn from these, singular and plural in turn, none of the known ones."""
    found: list[Sentence] = []
    while len(found) < count:
        writer = Writer(rng)
        writer.sentence(rng.choice(distances), len(found) % 2)
        words = tuple(writer.words[:-1])
        if words not in known:
            found.append(Sentence(words, tuple(writer.verbs)))
    return found


class Encoded(NamedTuple):
    """Sentences as arrays `[T, N]`."""

    words: np.ndarray  # ids, 0 behind the last word before the verb
    numbers: np.ndarray  # at the word before a verb that counts, the number of that verb; else -1


def encode(sentences: Sequence[Sentence], length: int, *, every_verb: bool) -> Encoded:
    """Makes arrays of T = length words, with the numbers of all verbs or of the main ones."""
    ids = {word: i for i, word in enumerate(WORDS)}
    words, numbers = np.zeros((length, len(sentences)), np.int32), np.full((length, len(sentences)), -1, np.int32)
    for column, sentence in enumerate(sentences):
        words[: len(sentence.words), column] = [ids[word] for word in sentence.words]
        for verb in sentence.verbs[None if every_verb else -1 :]:
            numbers[verb.position - 1, column] = verb.plural
    return Encoded(words, numbers)


def parse(text: str) -> Sentence:
    """Reads a sentence written by hand, "the SUBJECT ..."; of its verbs only the main one, which comes next, counts."""
    words = tuple(text.split())
    plural = NUMBER[words[1]]
    attractors = sum(NUMBER.get(word, plural) != plural for word in words[2:])
    return Sentence(words, (Verb(len(words), plural, len(words) - 2, attractors),))
