"""What is the digit doing? A CNN-LSTM and a ConvLSTM tell actions from their reverse, the mean of all frames cannot.

python -m experiments.video_action                  digits of fonts, nothing to download; whoever does not know the
                                                    order of the frames gets at most one clip in two right
python -m experiments.video_action --data mnist     handwritten digits: the CNN-LSTM has 98.4 % of the clips right, the
                                                    mean of frames 39.0 % (seed 0)
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import rnnjax
from experiments.data import mnist
from experiments.lib import frame, training
from experiments.lib.cells import check_cell_name, make_cell
from experiments.lib.convnet import flat, make_convnet, side_after
from experiments.lib.intervals import wilson
from experiments.lib.no_recurrence import average
from experiments.lib.readout import make_readout
from experiments.video_action import figures
from experiments.video_action.film import ACTIONS, SIZE, Clips, make_clips

NETWORKS = ("CNN-LSTM", "ConvLSTM", "mean of frames")
TASKS = {"clip": False, "frame": True}  # what is labelled, and whether the action changes
TRAIN, VALIDATION, TEST = range(3)  # kinds of random numbers


@dataclasses.dataclass(frozen=True)
class Config(training.Options):
    """Options of a run."""

    data: str = "generated"  # generated (digits of fonts), mnist (10,000), or a folder with files in its format
    networks: tuple[str, ...] = NETWORKS  # which to train
    cell: str = "lstm"  # of the CNN-LSTM: rnn, irnn, gru, simple_gru, mgu, lstm, peephole_lstm, ...
    frames: int = 10  # of a clip
    noise: float = 0.1  # standard deviation in each pixel; ink has brightness 1
    channels: tuple[int, ...] = (8, 16, 16)  # of the convolutional layers
    hidden: int = 64  # units of the layer behind them
    maps: int = 8  # channels of the ConvLSTM's state
    test: int = 2000  # held-out clips of each kind
    steps: int = 800  # updates
    batch: int = 32  # clips of an update
    learning_rate: float = 0.003  # at its peak
    evaluate_every: int = 200  # updates between evaluations on held-out data

    def check(self) -> None:
        """Raises a ValueError, one sentence, for options that cannot be."""
        super().check()
        check_cell_name(self.cell)
        if not self.networks or not set(NETWORKS) >= {*self.networks}:
            raise ValueError(f"expected --networks to be some of {', '.join(NETWORKS)}, got {self.networks}.")
        if self.frames < 7:
            raise ValueError(f"expected --frames from 7, three for each action and one before, got {self.frames}.")


SMOKE = {"networks": ("CNN-LSTM", "mean of frames"), "cell": "irnn", "frames": 7, "channels": (4,), "hidden": 7}
SMOKE |= {"test": 40, "steps": 20, "batch": 8, "evaluate_every": 20}
SMOKE |= {"optimizer": "sgd", "schedule": "constant", "clip_norm": 0.0}


class Params(NamedTuple):
    """Parameters of the convolutional layers, and of the cell and its output."""

    eyes: Any
    memory: Any


def flat_conv_lstm(side: int, inputs: int, maps: int) -> rnnjax.Cell:
    """Makes a ConvLSTM that takes and gives vectors, `[B, side side inputs]` and `[B, side side maps]`."""
    cell = rnnjax.conv_lstm(inputs, maps)

    def apply(params, carry, x):
        carry, y = cell.apply(params, carry, x.reshape(*x.shape[:-1], side, side, inputs))
        return carry, flat(y)

    def initial_carry(batch_shape=(), dtype=np.float32):
        return cell.initial_carry((*batch_shape, side, side), dtype)

    return rnnjax.Cell(cell.init, initial_carry, apply, side * side * inputs, side * side * maps)


def make_model(config: Config, network: str):
    """Makes `key -> params`, and `(params, frames [T, B, 32, 32]) -> logits [T, B, 8]` of the action at each frame."""
    init_eyes, see = make_convnet(1, config.channels)
    side, channels = side_after(SIZE, config.channels), config.channels[-1]
    if network == "ConvLSTM":
        cell = flat_conv_lstm(side, channels, config.maps)
    else:
        make = average if network == "mean of frames" else functools.partial(make_cell, config.cell)
        cell = make(side * side * channels, config.hidden)
    init_memory, read = make_readout(cell, len(ACTIONS))

    def init(key):
        key_eyes, key_memory = jax.random.split(key)
        return Params(init_eyes(key_eyes), init_memory(key_memory))

    return init, lambda params, frames: read(params.memory, flat(see(params.eyes, frames[..., None])))


def answered(logits, *, changes: bool):
    """What is scored of outputs `[T, B, 8]`: all but the first, or where nothing changes the last alone."""
    return logits[1:] if changes else logits[-1:]


def learn(config: Config, network: str, changes: bool, parts: mnist.Parts, test: Clips, folder: Path) -> np.ndarray:
    """Trains a network on fresh clips, with one action or with two; its answers about test clips, ids `[.., N]`."""
    init, apply = make_model(config, network)
    forward = jax.jit(lambda params, frames: answered(apply(params, frames), changes=changes).argmax(axis=-1))
    validation = make_clips(config, parts.validation, 300, changes, VALIDATION)

    def loss_fn(params, clips, *, key):
        logits = answered(apply(params, clips.frames), changes=changes)
        return rnnjax.losses.get_loss("cross_entropy")(logits, clips.actions[-len(logits) :])

    def answer(params, clips):
        return training.in_chunks(functools.partial(forward, params), clips.frames, axis=1, out_axis=1, size=100)

    def evaluate(state):
        found = answer(state.params, validation)
        return {"accuracy": (found == validation.actions[-len(found) :]).mean()}

    def batches(step):
        return make_clips(config, parts.training, config.batch, changes, TRAIN, step)

    name = f"{network.replace(' ', '_')}{'_per_frame' if changes else ''}"
    settings = {"name": name, "evaluate": evaluate, "batch_axes": 1, "unit": "answer"}
    result = training.train(config, init, loss_fn, batches, folder, **settings)
    return answer(result.state.params, test)


def main(config: Config) -> dict:
    """Trains the networks on both tasks, draws, writes the report, and returns the headline numbers."""
    run = frame.begin(config)
    digits = mnist.load(config.data)
    parts = mnist.split(digits, config.seed)
    tests, found, right = {}, {}, {}
    for task, changes in TASKS.items():
        test = tests[task] = make_clips(config, parts.test, config.test, changes, TEST)
        found[task] = {name: learn(config, name, changes, parts, test, run.folder) for name in config.networks}
        right[task] = {name: ids == test.actions[-len(ids) :] for name, ids in found[task].items()}
    accuracy = {task: {name: wilson(each) for name, each in of_task.items()} for task, of_task in right.items()}

    figures.draw_clips(run.folder, tests["frame"], found["frame"])
    figures.draw_confusions(run.folder, tests["clip"].actions[-1], found["clip"])
    figures.draw_frames(run.folder, tests["frame"].actions, right["frame"])
    prefixes, suffixes = dict(zip(NETWORKS, ("", "conv_lstm_", "baseline_"), strict=True)), ("", "_per_frame")
    headline = {
        f"{prefixes[name]}accuracy{suffix}": each.mean
        for suffix, of_task in zip(suffixes, accuracy.values(), strict=True)
        for name, each in of_task.items()
    }
    values = {"accuracy": accuracy, "actions": ACTIONS, "counts": [len(part) for part in parts]}
    return frame.finish(run, headline, duplicates=len(digits.images) - sum(values["counts"]), **values)


if __name__ == "__main__":
    frame.command_line(main, smoke=SMOKE)
