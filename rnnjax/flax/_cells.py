"""The cells that have Flax's names, made of Flax's options."""

from collections.abc import Callable
from typing import Any

import jax

from rnnjax import cells
from rnnjax._types import Activation, Cell, Initializer

LECUN, ORTHOGONAL = jax.nn.initializers.lecun_normal(), jax.nn.initializers.orthogonal()
ZEROS = jax.nn.initializers.zeros


def flax_cell(
    make: Callable[..., Cell],
    input_size: int,
    hidden_size: int,
    *,
    activation_fn: Activation,
    gate_fn: Activation | None = None,
    kernel_init: Initializer,
    recurrent_kernel_init: Initializer,
    bias_init: Initializer,
    dtype: Any,
    param_dtype: Any,
) -> Cell:
    """Makes a cell of Flax's options; gate_fn is the sigmoid if None, and activation_fn that of c, too."""
    options: dict[str, Any] = {} if gate_fn is None else {"gate_activation": gate_fn}
    if make is cells.lstm:
        options["output_activation"] = activation_fn
    return make(
        input_size, hidden_size, activation=activation_fn, w_x_init=kernel_init, w_h_init=recurrent_kernel_init,
        b_init=bias_init, dtype=dtype, param_dtype=param_dtype, **options,
    )  # fmt: skip
