"""Figures of speech: confusions, speakers, a string as it is read, and a string as it is spoken."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import confusion_matrix

from experiments.data.fsdd import RATE
from experiments.lib import plots
from experiments.speech.features import HOP, Frames
from experiments.speech.recognise import STACK, Recogniser
from experiments.speech.voice import TOGETHER, WORDS, Spoken

SECONDS = HOP / RATE  # of a frame


def draw_confusions(folder: Path, truth: np.ndarray, answers: np.ndarray) -> None:
    """Draws confusions.png: the share of answers `[N]` to each digit, of speakers that were not heard in training."""
    shares = confusion_matrix(truth, answers, labels=range(10), normalize="true")
    title, size = "Digits of new speakers", (6.4, 5.4)
    with plots.figure(folder / "confusions.png", title=title, x="heard as", y="said", size=size) as axes:
        image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
        axes.grid(visible=False)
        axes.set_xticks(range(10), WORDS, rotation=60)
        axes.set_yticks(range(10), WORDS)
        axes.figure.colorbar(image, ax=axes, label="share of what was said")


def draw_speakers(folder: Path, found: Mapping[str, Mapping[str, Any]]) -> None:
    """Draws speakers.png: accuracy on each speaker by what was learned from the others, with intervals."""
    title, x = "Digits of a speaker who was left out of training", "accuracy, 95 % intervals"
    with plots.figure(folder / "speakers.png", title=title, x=x, y="", size=(9.0, 4.2)) as axes:
        for colour, (kind, shift) in zip(plots.COLOURS, {"network": -0.12, "logistic": 0.12}.items(), strict=False):
            means, lows, highs = np.array([each[kind] for each in found.values()]).T
            rows = np.arange(len(found)) + shift
            errors = {"xerr": [means - lows, highs - means], "fmt": "o", "capsize": 4}
            axes.errorbar(means, rows, **errors, color=colour, label=kind)
        axes.set_yticks(range(len(found)), list(found))
        axes.invert_yaxis()
        axes.axvline(0.1, color=plots.COLOURS[6], linestyle="--", linewidth=1.2, label="chance")
        plots.legend_beside(axes)


def show_frames(axes: plt.Axes, frames: np.ndarray, title: str) -> None:
    """Draws frames `[T, MELS]` against seconds."""
    extent = (0, len(frames) * SECONDS, 0, frames.shape[1])
    axes.imshow(frames.T, origin="lower", aspect="auto", cmap="magma", extent=extent)
    axes.set(title=title, ylabel="mel band")
    axes.grid(visible=False)


def draw_string(folder: Path, model: Recogniser, params: Any, frames: Frames, said: Sequence[Sequence[int]]) -> None:
    """Draws string.png: a string of the test as it sounds, and the probability of each label in each step."""
    row = int(np.argmax([len(string) for string in said]))
    one = Frames(frames.values[row : row + 1], frames.lengths[row : row + 1])
    logits, lengths = model.steps(params, one)
    steps = int(lengths[0])
    shares = np.asarray(jax.nn.softmax(logits[:steps, 0], axis=-1))
    with plots.panels(folder / "string.png", rows=2, size=(11.0, 6.0), share_x=True) as axes:
        show_frames(axes[0, 0], one.values[0, : one.lengths[0]], "Said: " + " ".join(WORDS[d] for d in said[row]))
        times = (np.arange(steps) + 0.5) * STACK * SECONDS
        axes[1, 0].plot(times, shares[:, 0], color="0.6", linestyle="--", label="blank")
        for place, digit in enumerate(sorted({*said[row]})):
            style = {"color": plots.COLOURS[place % 7], "label": WORDS[digit]}
            axes[1, 0].plot(times, shares[:, digit + 1], **style)
        axes[1, 0].set(xlabel="seconds", ylabel="probability", title="What the recogniser reads")
        plots.legend_beside(axes[1, 0])


def draw_voice(folder: Path, spoken: Spoken, recorded: np.ndarray, text: str) -> None:
    """Draws voice.png: the first string as it is spoken and as it was recorded, and where the voice looked."""
    letters = " ".join(WORDS[int(digit)] for digit in text)
    with plots.panels(folder / "voice.png", rows=3, size=(9.0, 9.5)) as axes:
        show_frames(axes[0, 0], spoken.frames[0], "Spoken by the voice")
        show_frames(axes[1, 0], recorded, "Spliced from recordings of the speaker")
        weights = spoken.weights[0]
        extent = (0, len(weights) * TOGETHER * SECONDS, len(letters) - 0.5, -0.5)
        image = axes[2, 0].imshow(weights.T, aspect="auto", cmap="cividis", vmin=0, vmax=1, extent=extent)
        axes[2, 0].set(title="Where the voice looks", xlabel="seconds", ylabel="letter")
        axes[2, 0].set_yticks(range(len(letters)), [letter.replace(" ", "␣") for letter in letters])
        axes[2, 0].grid(visible=False)
        axes[2, 0].figure.colorbar(image, ax=axes[2, 0], label="weight")
