"""Cells by name, as `--cell` takes them."""

import functools

import jax

import rnnjax

CELLS = {
    "rnn": rnnjax.rnn,
    "irnn": functools.partial(rnnjax.rnn, activation=jax.nn.relu, w_h_init=rnnjax.cells.identity_init()),
    "gru": rnnjax.gru,
    "simple_gru": rnnjax.simple_gru,
    "mgu": rnnjax.mgu,
    "lstm": rnnjax.lstm,
    "peephole_lstm": rnnjax.peephole_lstm,
    "cifg_lstm": rnnjax.cifg_lstm,
    "layer_norm_lstm": rnnjax.layer_norm_lstm,
    "layer_norm_gru": rnnjax.layer_norm_gru,
}
# Gates of the bias, for `rnnjax.cells.chrono_init`; the forget gate of the MGU lets in what it does not keep, like u.
GATES = {"gru": "run", "simple_gru": "un", "mgu": "un", "layer_norm_gru": "run"}
GATES |= {"lstm": "ifgo", "peephole_lstm": "ifgo", "cifg_lstm": "fgo", "layer_norm_lstm": "ifgo"}


def check_cell_name(name: str) -> None:
    """Raises a ValueError for a name that is not in CELLS."""
    if name not in CELLS:
        raise ValueError(f"expected --cell to be one of {', '.join(CELLS)}, got {name!r}.")


def make_cell(name: str, input_size: int, hidden_size: int, *, max_lag: float | None = None, **options) -> rnnjax.Cell:
    """Makes the cell of this name; with the longest lag to be remembered, in steps, with chrono biases."""
    check_cell_name(name)
    if max_lag is not None:
        if name not in GATES:
            raise ValueError(f"expected a cell with gates for a chrono initialisation, got {name!r}.")
        options["b_init"] = rnnjax.cells.chrono_init(max_lag, GATES[name])
    return CELLS[name](input_size, hidden_size, **options)
