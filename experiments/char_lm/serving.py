"""A model that writes: from a checkpoint, or from a file of its step that needs none of the code of the model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import rnnjax
from experiments.lib.language import LanguageModel


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """Options of `export`."""

    out: str = ""  # folder of the run; the newest one of runs/char_lm by default
    file: str = ""  # to write; step.npz in the folder of the run by default


@dataclasses.dataclass(frozen=True)
class SampleConfig:
    """Options of `sample`."""

    out: str = ""  # folder of the run; the newest one of runs/char_lm by default
    exported: str = ""  # a file that `export` wrote, which stands for a run
    prompt: str = "\n"  # what the text begins with
    length: int = 500  # characters to write after it
    temperature: float = 0.8  # below 1 more cautious, above 1 bolder, 0 the most probable character
    top_k: int = 0  # draw among the k most probable characters only, 0 for all
    top_p: float = 1.0  # draw among the most probable characters that reach this probability together
    seed: int = 0  # the same seed writes the same text


class Writer(NamedTuple):
    """What is needed to write."""

    vocabulary: rnnjax.data.Vocabulary
    step: Callable[..., Any]  # (params, carry, ids [B]) -> (carry, logits [B, V])
    params: Any
    carry: Any  # of one row


def write(file: Path, vocabulary: rnnjax.data.Vocabulary, model: LanguageModel, params: Any) -> None:
    """Writes the step of a model with its parameters and the symbols of the vocabulary."""
    cell, ids = rnnjax.Cell(model.init, model.initial_carry, model.step), jax.ShapeDtypeStruct((1,), jnp.int32)
    metadata = {"symbols": vocabulary.symbols}
    rnnjax.export.save(file, rnnjax.export.export_step(cell, params, x=ids, metadata=metadata))
    print(f"exported: {file}")


def read(file: str) -> Writer:
    """Reads what `write` wrote."""
    program = rnnjax.export.load(file)
    if "symbols" not in program.metadata:
        raise ValueError(f"expected --exported to be a file that `export` wrote, got {file}, that of another program.")
    vocabulary = rnnjax.data.Vocabulary(tuple(program.metadata["symbols"]))
    return Writer(vocabulary, program.function, program.params, program.initial_carry(1))
