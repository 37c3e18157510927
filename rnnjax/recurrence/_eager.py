"""Calls outside of every transformation: traced and compiled once for a function, and forgotten with it."""

import weakref
from collections.abc import Callable, Hashable
from typing import Any

import jax
import numpy as np
from jax.extend import core

_TOP_LEVEL = core.get_opaque_trace_state(convention="flax")
_programs: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def is_eager(*trees: Any) -> bool:
    """Whether a call is made outside of every transformation, on arrays and numbers."""
    at_top = core.get_opaque_trace_state(convention="flax") == _TOP_LEVEL
    numbers = (jax.Array, np.ndarray, np.generic, int, float, complex)
    return at_top and not jax.config.jax_disable_jit and all(isinstance(x, numbers) for x in jax.tree.leaves(trees))  # type: ignore[attr-defined]


def compiled(function: Callable, options: Hashable, run: Callable[..., Any]) -> Callable | None:
    """`run(function, *args)` compiled, the same program for the same function and options.

    Programs are kept as long as the function is. None where it cannot be kept: it is not hashable, or nothing can
    refer to it weakly.
    """
    try:
        programs = _programs.setdefault(function, {})
        if options not in programs:
            reference = weakref.ref(function)
            programs[options] = jax.jit(lambda *args: run(reference(), *args))
        return programs[options]
    except TypeError:
        return None
