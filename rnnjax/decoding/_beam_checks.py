"""What beam search refuses, and why: sizes, ends, and whatever has the axis of a batch."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from rnnjax._types import Array, Carry, StepFn

ENDS = ("k", "2k", "all")
ONE_SOURCE = "beam_search searches for one source, and a batch is jax.vmap of it"


def check_sizes(beam_size: int, max_steps: int, groups: int, num_results: int, diversity: float) -> None:
    """Raises unless all are in range and the groups divide the beam."""
    sizes = {"beam_size": beam_size, "max_steps": max_steps, "groups": groups, "num_results": num_results}
    for name, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"beam_search: expected {name} to be a positive int, got {value!r}.")
    if beam_size % groups:
        raise ValueError(f"beam_search: expected groups to divide beam_size {beam_size}, got {groups}.")
    if num_results > beam_size:
        raise ValueError(f"beam_search: expected num_results of at most beam_size {beam_size}, got {num_results}.")
    if not diversity >= 0:
        raise ValueError(f"beam_search: expected diversity of at least 0, got {diversity}.")


def check_ends(ends: str, finished_only: bool, eos_id: int | Array | None) -> None:
    """Raises for ends that are unknown, and for finished ones where nothing can finish."""
    if ends not in ENDS:
        raise ValueError(f"beam_search: expected ends to be one of {ENDS}, got {ends!r}.")
    if finished_only and eos_id is None:
        raise ValueError("beam_search: expected an eos_id beside finished_only, got None, with which nothing finishes.")


def check_source(bos_id: Any, prompt: Any) -> None:
    """Raises for the first token or the prompt of more than one source."""
    if np.ndim(bos_id):
        raise ValueError(f"beam_search: expected one bos_id, got shape {np.shape(bos_id)}; {ONE_SOURCE}.")
    if prompt is not None and np.ndim(prompt) != 1:
        raise ValueError(f"beam_search: expected a prompt of shape [P], got {np.shape(prompt)}; {ONE_SOURCE}.")


def of_one_source(step_fn: StepFn) -> StepFn:
    """The same step function, whose errors say that it works on the beams of one source."""

    def step(carry: Carry, token: Array) -> tuple[Carry, Array]:
        try:
            after, logits = step_fn(carry, token)
        except (TypeError, ValueError) as error:
            shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(carry)]
            error.add_note(
                f"beam_search: step_fn was given token {token.shape} and a carry of shapes {shapes}, one row a beam; "
                f"{ONE_SOURCE}."
            )
            raise
        if logits.ndim != 2 or logits.shape[0] != token.shape[0]:
            raise ValueError(
                f"beam_search: expected step_fn to return logits of shape [{token.shape[0]}, V], one row a beam, got "
                f"{logits.shape}; {ONE_SOURCE}."
            )
        return after, logits

    return step
