"""Sentences whose words are entities or not: WNUT-17, or the generated text."""

from experiments.data import analogies, wnut17
from experiments.data.wnut17 import Sentence, Sentences


def load(data: str, seed: int = 0) -> Sentences:
    """Loads "glove", the posts of WNUT-17, or "generated" sentences in which cities and countries are entities."""
    if data == "glove":
        return wnut17.load("wnut17")
    places = {*analogies.CAPITALS, *analogies.CAPITALS.values()}
    text = analogies.generate(seed + 1, 1200).sentences
    tagged = [Sentence(tuple(words), tuple("B-place" if word in places else "O" for word in words)) for words in text]
    return Sentences(tagged[:600], tagged[600:800], tagged[800:])
