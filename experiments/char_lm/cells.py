"""What single cells follow: a quotation, brackets, the indentation, the position in a line or a word.

Reference: Karpathy, Johnson & Fei-Fei 2015, "Visualizing and understanding recurrent networks".
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jinja2
import numpy as np

import rnnjax
from experiments.lib.html import make_page
from experiments.lib.intervals import Interval, correlation
from experiments.lib.language import LanguageModel
from experiments.lib.report import interval
from rnnjax.data import write_text

LEVELS = 6  # shades of each colour
LINE = re.compile("[^\n]*\n|[^\n]+")
BLOCK = 1000  # characters of a block of the bootstrap at most


@dataclasses.dataclass(frozen=True)
class CellsConfig:
    """Options of `cells`."""

    out: str = ""  # folder of the run; the newest one of runs/char_lm by default
    characters: int = 50_000  # of the held-out text to read, half of them to choose cells
    shown: int = 1500  # characters of the text to show for each property
    seed: int = 0  # of the network that is not trained


def read(model: LanguageModel, params: Any, ids: np.ndarray) -> np.ndarray:
    """Reads ids `[M]`: what the cells of all layers hold after each, `[M, N]`; c of an LSTM, else h."""

    @jax.jit
    def states(params, ids):
        def step(carry, some):
            carry, _ = model.step(params, carry, some)
            return carry, [layer[-1][0] for layer in carry.layers]

        return rnnjax.scan(step, model.initial_carry((1,)), ids[:, None])[1]

    return np.concatenate(states(params, ids), axis=-1)


# ---- properties: of each character of a text, from what was read so far ----------------------------------------


def in_quotation(text: str) -> list[float]:
    """Whether a double quotation mark is open; an empty line closes it."""
    return _counted(text, lambda open, character: 1 - open if character == '"' else open)


def bracket_depth(text: str) -> list[float]:
    """How many brackets are open; an empty line closes them."""
    return _counted(text, lambda depth, character: max(0, depth + (character in "([{") - (character in ")]}")))


def _counted(text: str, count: Callable[[float, str], float]) -> list[float]:
    values, value, before = [], 0.0, ""
    for character in text:
        value = 0.0 if character == before == "\n" else count(value, character)
        values.append(value)
        before = character
    return values


def indentation(text: str) -> list[float]:
    """How many spaces the line began with."""
    indents = ((len(line) - len(line.lstrip(" ")), len(line)) for line in LINE.findall(text))
    return [float(min(place + 1, indent)) for indent, length in indents for place in range(length)]


def place_in_line(text: str) -> list[float]:
    """How many characters after the last end of a line."""
    return [float(i + 1) * (line[i] != "\n") for line in LINE.findall(text) for i in range(len(line))]


def place_in_word(text: str) -> list[float]:
    """How many letters the word has so far."""
    words = re.findall(r"[^\W\d_]+|[\W\d_]", text)
    return [float(place * word.isalpha()) for word in words for place in range(1, len(word) + 1)]


PROPERTIES: dict[str, Callable[[str], list[float]]] = {
    "inside a quotation": in_quotation,
    "depth of brackets": bracket_depth,
    "indentation": indentation,
    "place in the line": place_in_line,
    "place in the word": place_in_word,
}


# ---- cells that follow them ------------------------------------------------------------------------------------


class Found(NamedTuple):
    """The cell that follows a property best on the first half of a text."""

    cell: int
    first: float  # its correlation there
    second: Interval  # and on the second half
    baselines: Mapping[str, float]  # correlations of something else


def correlations(states: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Correlations `[N]` of states `[M, N]` with values `[M]`; 0 for a cell that does not vary."""
    centred, about = states - states.mean(axis=0), values - values.mean()
    spread = np.sqrt((centred**2).sum(axis=0) * (about**2).sum())
    return np.divide(about @ centred, spread, out=np.zeros(states.shape[1]), where=spread > 0)


def best_on_second(states: np.ndarray, values: np.ndarray) -> tuple[int, float, float]:
    """The cell of the largest correlation on the first half, and its correlations on both."""
    half = len(values) // 2
    first = correlations(states[:half], values[:half])
    cell = int(np.abs(first).argmax())
    second = correlations(states[half:, [cell]], values[half:])[0]
    return cell, float(first[cell]), float(second)


def find(states: np.ndarray, untrained: np.ndarray, values: np.ndarray, ids: np.ndarray) -> Found | None:
    """Finds the cell that follows values `[M]`; None if they do not vary in both halves.

    The cell is chosen on the first half and measured on the second, so that the choice among N cells does not flatter.
    The baselines are chosen and measured likewise: the cells of a network that was not trained; the trained cells for a
    property that belongs to another place of the text, rotated within each half; and, without any memory, the mean of
    the property for each character.
    """
    half = len(values) // 2
    if not (values[:half].std() and values[half:].std()):
        return None
    cell, first, _ = best_on_second(states, values)
    rotated = np.concatenate([np.roll(part, len(part) // 2) for part in (values[:half], values[half:])])
    counts = np.bincount(ids[:half], minlength=ids.max() + 1)
    means = np.bincount(ids[:half], values[:half], minlength=ids.max() + 1) / np.maximum(counts, 1)
    baselines = {
        "untrained network": best_on_second(untrained, values)[2],
        "rotated text": best_on_second(states, rotated)[2],
        "the character alone": float(correlations(means[ids[half:], None], values[half:])[0]),
    }
    return Found(cell, first, correlation(states[half:, cell], values[half:], block=block_for(half)), baselines)


def block_for(count: int) -> int:
    """How many characters a block of the bootstrap has, of which there are twenty or more."""
    return min(BLOCK, max(1, count // 20))


# ---- the page --------------------------------------------------------------------------------------------------


def liveliest(values: np.ndarray, length: int) -> int:
    """Where the piece of this length begins in which values `[M]` vary most."""
    sums, squares = (np.concatenate([[0], np.cumsum(values**power)]) for power in (1, 2))
    starts = np.arange(0, max(1, len(values) - length + 1), 50)
    ends = np.minimum(starts + length, len(values))
    variance = (squares[ends] - squares[starts]) / length - ((sums[ends] - sums[starts]) / length) ** 2
    return int(starts[variance.argmax()])


def shaded(text: str, activations: np.ndarray) -> list[tuple[int, str]]:
    """Cuts a text into pieces of one shade, from -LEVELS to LEVELS, by activations `[M]` with mean 0."""
    top = np.percentile(np.abs(activations), 98) or 1.0
    levels = np.rint(LEVELS * np.clip(activations / top, -1, 1)).astype(int)
    pairs = itertools.groupby(zip(levels.tolist(), text, strict=True), key=lambda pair: pair[0])
    return [(level, "".join(character for _, character in pairs)) for level, pairs in pairs]


def look(model, params, untrained, ids: np.ndarray, text: str, shown: int) -> dict[str, tuple[Found, list]]:
    """Finds the cells that follow each property of a text, with ids `[M]`, and shades a piece of its second half."""
    states, plain = (read(model, some, ids) for some in (params, untrained))
    seen, half = {}, len(text) // 2
    for name, measure in PROPERTIES.items():
        values = np.array(measure(text))
        if found := find(states, plain, values, ids):
            begin = half + liveliest(values[half:], shown)
            held = states[:, found.cell] - states[half:, found.cell].mean()
            piece = slice(begin, begin + shown)
            seen[name] = found, shaded(text[piece], np.sign(found.first) * held[piece])
    return seen


def show(path: Path, model: LanguageModel, params: Any, ids: np.ndarray, text: str, config: CellsConfig):
    """Writes the page, which needs nothing beside it, and prints what it found: `Found` by property."""
    if len(text) < 4:
        raise ValueError(f"expected --characters and a held-out text of at least 4 characters, got {len(text)}.")
    seen = look(model, params, model.init(jax.random.key(config.seed)), ids, text, config.shown)
    if not seen:
        raise ValueError("expected a held-out text with quotations, brackets or lines, got one without; pass a longer.")
    missing = [name for name in PROPERTIES if name not in seen]
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True)
    body = environment.get_template("cells.html").render(
        seen=seen, missing=missing, levels=LEVELS, block=block_for(len(text) // 2), characters=len(text)
    )
    write_text(path, make_page("What single cells follow", body))
    for name, (found, _) in seen.items():
        against = ", ".join(f"{what} {value:+.2f}" for what, value in found.baselines.items())
        print(f"{name}: cell {found.cell}, {interval(found.second, '+.2f')}; {against}")
    print(f"page: {path}")
    return {name: found for name, (found, _) in seen.items()}
