"""Compiles calls made outside of every transformation, once per function, and forgets them with the function."""

import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.extend import core

from rnnjax._jaxprs import config

_TOP_LEVEL = core.get_opaque_trace_state(convention="flax")
_programs: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def is_eager(*trees: Any) -> bool:
    """Tells whether a call is made outside of every transformation, on arrays and numbers."""
    at_top = core.get_opaque_trace_state(convention="flax") == _TOP_LEVEL
    numbers = (jax.Array, np.ndarray, np.generic, int, float, complex)
    return at_top and not config.jax_disable_jit and all(isinstance(x, numbers) for x in jax.tree.leaves(trees))


def compiled(function: Callable, options: Hashable, run: Callable[..., Any]) -> Callable | None:
    """Compiles `run(function, *args)`: the same program for the same function and options.

    Programs live as long as the function. None if the function is not hashable or cannot be referred to weakly.
    """
    try:
        programs = _programs.setdefault(function, {})
        if options not in programs:
            reference = weakref.ref(function)
            programs[options] = jax.jit(lambda *args: run(reference(), *args))
        return programs[options]
    except TypeError:
        return None
