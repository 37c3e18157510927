"""Five tasks, one of each type, whose answers are computed; held-out inputs are never trained on.

The symbols of an input are the digits of a number in base b, and the numbers that seven divides are held out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.sequence_types import models
from experiments.sequence_types.models import MARK

HELD_OUT = 7  # the divisor
ONES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
ONES += ["thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS = ("end", *ONES, *TENS, "hundred", "thousand")
TONES = ("negative", "neutral", "positive")


def largest(digits: list[int]) -> list[int]:
    """The largest digit."""
    return [max(digits)]


def in_words(digits: list[int]) -> list[int]:
    """A number of four digits in English, as ids of WORDS."""
    thousands, hundreds, *rest = digits
    words = [ONES[thousands], "thousand"] if thousands else []
    words += [ONES[hundreds], "hundred"] if hundreds else []
    tens, ones = rest
    if tens > 1:
        words += [TENS[tens - 2]] + ([ONES[ones]] if ones else [])
    elif tens or ones or not words:
        words.append(ONES[10 * tens + ones])
    return [WORDS.index(word) for word in words]


def tone(words: list[int]) -> list[int]:
    """The tone of a sentence of "the", "good", "bad" and "not", which turns the next good or bad around."""
    total, sign = 0, 1
    for word in words:
        if word == 3:
            sign = -sign
        elif word:
            total, sign = total + (sign if word == 1 else -sign), 1
    return [1 + int(np.sign(total))]


def parity(bits: list[int]) -> list[int]:
    """Whether the ones so far are odd, at each step."""
    return (np.cumsum(bits) % 2).tolist()


def in_order(digits: list[int]) -> list[int]:
    """The digits sorted, as ids behind MARK."""
    return [digit + 1 for digit in sorted(digits)]


class Task(NamedTuple):
    """A task, and the type that it is of."""

    model: Callable  # of `models`
    asked: str  # of an input
    inputs: tuple[str, ...]  # what the symbols of an input are called
    length: int  # symbols of an input
    at_once: bool  # whether they are one vector, or a step each
    answer: Callable[[list[int]], list[int]]  # ids of an input -> ids of its answer
    outputs: tuple[str, ...]  # what the symbols of an answer are called
    steps: int  # of the longest answer, its end counted


DIGITS = tuple("0123456789")
SENTENCE = ("the", "good", "bad", "not")
TASKS = (
    Task(models.one_to_one, "the largest of four digits", DIGITS, 4, True, largest, DIGITS, 1),
    Task(models.one_to_many, "a number in words", DIGITS, 4, True, in_words, WORDS, 7),
    Task(models.many_to_one, "the tone of ten words", SENTENCE, 10, False, tone, TONES, 1),
    Task(models.aligned, "whether the ones so far are odd", ("0", "1"), 16, False, parity, ("even", "odd"), 16),
    Task(models.encoder_decoder, "six digits in order", DIGITS, 6, False, in_order, ("end", *DIGITS), 7),
)
TYPES = {task.model.__name__: task for task in TASKS}


class Examples(NamedTuple):
    """N inputs with their answers."""

    symbols: np.ndarray  # ids [length, N]
    answers: np.ndarray  # ids [T, N], MARK after the end


def draw(task: Task, count: int, rng: np.random.Generator, *, held_out: bool) -> Examples:
    """Draws so many different inputs, or all there are, for training or held out."""
    base = len(task.inputs)
    numbers = np.arange(base**task.length)
    numbers = rng.permutation(numbers[(numbers % HELD_OUT == 0) == held_out])[:count]
    symbols = numbers // base ** np.arange(task.length)[::-1, None] % base
    answers = np.full((task.steps, len(numbers)), MARK)
    for row, ids in enumerate(symbols.T.tolist()):
        answer = task.answer(ids)
        answers[: len(answer), row] = answer
    return Examples(symbols, answers)


def say(task: Task, examples: Examples, row: int) -> tuple[str, str]:
    """An input and its answer as they are called."""
    read = " ".join(task.inputs[i] for i in examples.symbols[:, row])
    ids = examples.answers[:, row].tolist()
    if task.model in models.WRITERS:
        ids = ids[: [*ids, MARK].index(MARK)]
    return read, " ".join(task.outputs[i] for i in ids)
