"""Blocks of steps: how many are worked on at once where a function is differentiated.

On CPUs, one buffer holds all that a program needs beside its results. Beyond 32 MiB the C allocator takes it from the
system anew at every call, and every page of it costs a fault. Of a long loop, what is computed for all steps at once
is therefore computed for a block of steps at a time, by an outer loop over blocks.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import jax
from jax import lax

from rnnjax.rewrite import jaxprs
from rnnjax.rewrite.jaxprs import Atom, Var
from rnnjax.rewrite.program import Program

CPU_ANEW = 32 * 2**20  # bytes of a buffer, from which on it is new at every call
CPU_SPARE = 2 * 2**20  # bytes left for what the rest of a program keeps beside the loop
CPU_BLOCK = 6 * 2**20  # bytes of a block


def size(program: Program, stacked: Iterable[Atom], taps: Iterable[Var]) -> int:
    """Steps of a block, given the taps and what is stacked up of all steps in any case: T, or a divisor of it."""
    weights = sum(map(jaxprs.size, program.parts.before.invars))
    stacked_a_step = sum(map(jaxprs.size, stacked))
    block_a_step = stacked_a_step + sum(map(jaxprs.size, [*taps, *program.parts.for_all.outvars]))
    too_much = program.length * block_a_step > CPU_ANEW
    # Beside what is stacked up: the weights turned, their gradients, and some values of single steps.
    in_blocks = program.length * stacked_a_step + 2 * weights + 4 * stacked_a_step
    would_help = in_blocks <= CPU_ANEW - CPU_SPARE
    if jax.default_backend() != "cpu" or not too_much or not would_help:
        return program.length
    wanted = max(1, CPU_BLOCK // block_a_step)
    near = sorted(range(wanted // 2 + 1, 2 * wanted + 1), key=lambda steps: abs(math.log(steps / wanted)))
    return next((steps for steps in near if program.length % steps == 0), program.length)


def split(program: Program, tree: Any, size: int) -> Any:
    """[T, ...] -> [T / size, size, ...] for every leaf; nothing to do if there is one block."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, size, *leaf.shape[1:]), tree) if size < program.length else tree


def join(program: Program, tree: Any, size: int) -> Any:
    """The reverse of `split`."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree) if size < program.length else tree


def scan(program: Program, block: Callable, init: Any, xs: Any, size: int) -> tuple[Any, Any]:
    """`block(carry, x) -> (carry, y)` over all blocks of split xs."""
    if size == program.length:
        return block(init, xs)
    return lax.scan(block, init, xs, length=program.length // size, reverse=program.reverse)
