"""The laws tried on a cell: on fixed cases, or on those that Hypothesis finds."""

from collections.abc import Sequence

import numpy as np

from rnnjax._types import Cell
from rnnjax.testing._case import BATCH, LENGTH, Case, MakeInputs, float_inputs
from rnnjax.testing._laws import LAWS, LAWS_OF_SHAPES, first_lines


def check_cell(
    cell: Cell,
    *,
    input_size: int | None = None,
    make_inputs: MakeInputs | None = None,
    laws: Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Tries every law on a cell, and says which one it breaks.

    Args:
      cell: the `Cell`.
      input_size: F, features of the inputs; `cell.input_size` if None.
      make_inputs: `(seed, T, batch_shape) -> xs`, for a cell whose inputs are not float arrays `[..., F]`.
      laws: names from `LAWS` to try; all if None.
      seed: of everything random.

    Raises:
      AssertionError: a law does not hold; the message names it.
      ValueError: an unknown law, or a cell that does not state its input_size.

    Examples:
      >>> import rnnjax
      >>> from rnnjax.testing import check_cell
      >>> check_cell(rnnjax.rnn(3, 2), laws=["padding_is_inert", "reverse_is_flipped"])
    """
    laws = list(LAWS) if laws is None else list(laws)
    for name in laws:
        if name not in LAWS:
            raise ValueError(f"check_cell: expected laws among {', '.join(LAWS)}, got {name!r}.")
    make = _inputs_for("check_cell", cell, input_size, make_inputs)
    edges = np.array([0, 1, LENGTH])
    some_resets = np.random.default_rng(seed).random((LENGTH, BATCH)) < 0.3
    examples = [
        Case(cell, make, seed, edges, some_resets, split=2),
        Case(cell, make, seed + 1, edges[::-1], ~some_resets, split=LENGTH),
    ]
    for name in laws:
        for case in examples[:1] if name in LAWS_OF_SHAPES else examples:
            try:
                LAWS[name](case)
            except Exception as error:
                raise AssertionError(f"the law {name!r} does not hold: {first_lines(error)}") from error


def cases(cell: Cell, make_inputs: MakeInputs | None = None, *, input_size: int | None = None):
    """Makes a Hypothesis strategy of `Case`s for a cell: lengths, resets, a split and a seed.

    Args:
      cell: the `Cell`.
      make_inputs: `(seed, T, batch_shape) -> xs [T, *batch_shape, F]`; normal floats if None.
      input_size: F, features of the normal floats; `cell.input_size` if None.

    Returns:
      A `hypothesis.strategies.SearchStrategy[Case]`. Shapes are the same in all cases, and splits among three, so that
      compiled laws are reused.

    Raises:
      ValueError: a cell that does not state its input_size.

    Examples:
      >>> import rnnjax
      >>> from rnnjax.testing import LENGTH, cases
      >>> case = cases(rnnjax.rnn(3, 2)).example()  # doctest: +SKIP
    """
    from hypothesis import strategies as st

    make = _inputs_for("cases", cell, input_size, make_inputs)
    return st.builds(
        lambda seed, lengths, resets, split: Case(
            cell, make, seed, np.array(lengths), np.array(resets).reshape(LENGTH, BATCH), split
        ),
        seed=st.integers(0, 2**16),
        lengths=st.lists(st.integers(0, LENGTH), min_size=BATCH, max_size=BATCH),
        resets=st.lists(st.booleans(), min_size=LENGTH * BATCH, max_size=LENGTH * BATCH),
        split=st.sampled_from((0, 2, LENGTH)),
    )


def _inputs_for(where: str, cell: Cell, input_size: int | None, make_inputs: MakeInputs | None) -> MakeInputs:
    if make_inputs is not None:
        return make_inputs
    size = cell.input_size if input_size is None else input_size
    if size is None:
        raise ValueError(
            f"{where}: expected a cell that states its input_size, got None; set it, as in "
            "cell._replace(input_size=...), or pass input_size or make_inputs."
        )
    return float_inputs(size)
